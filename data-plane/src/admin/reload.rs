//! `POST /config/reload`: reads the configuration anew (management API 3.4; `node/reload.rs`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Api;
use super::answer::Refusal;
use crate::node::reload::ReloadError;

const NOTE: &str = "a restart is needed for: the set of listeners and their bind, protocol, tls and proxy_protocol; \
                    [admin] bind and token; mapping.cache_max_entries, positive_ttl and negative_ttl; server.threads; \
                    [metrics]; [telemetry]; [control_plane]";

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    reloaded: bool,
    note: &'static str,
    /// Those of them that differ from what runs.
    restart_required: Vec<String>,
    warnings: Vec<String>,
}

pub(super) async fn reload(State(api): State<Arc<Api>>) -> Result<Json<Answer>, Refusal> {
    tracing::info!("management API: the configuration is to be reloaded");
    let reloader = Arc::clone(&api.reloader);
    // A client that leaves does not break it off in the middle.
    let reload = tokio::spawn(async move { reloader.reload().await });
    match reload.await.unwrap_or(Err(ReloadError::Stopping)) {
        Ok(reloaded) => Ok(Json(Answer {
            reloaded: true,
            note: NOTE,
            restart_required: reloaded.restart_required,
            warnings: reloaded.warnings,
        })),
        Err(ReloadError::NoFile) => Err(Refusal::NoFile),
        Err(error) => Err(Refusal::Invalid(format!(
            "reload failed: {}",
            crate::error_chain(&error)
        ))),
    }
}
