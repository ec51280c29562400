//! The management API of this node (`[admin]`; docs/management-api.md): what a script asks a lone node, or one node of a
//! fleet, over HTTPS with a token.
//!
//! - `serve`: the socket, TLS, one request per connection.
//! - `gate`: what is checked of a request, in its order: lockout, syntax, `/healthz`, token, path and method.
//! - `lockout`, `token`, `parameters`, `answer`: what the gate and the endpoints need.
//! - the rest: a file for each path. `stats`, `destinations`, `mappings`, `connections`, `reload`.
//!
//! Nothing here waits behind a session, and no answer holds a secret.

mod answer;
mod connections;
mod destinations;
mod gate;
mod lockout;
mod mappings;
mod parameters;
mod reload;
mod serve;
mod stats;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use mailswitch_config::table::admin::Admin;
use mailswitch_proto::identifier::Identifier;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::answer::Refusal;
use self::gate::Gate;
use self::parameters::Parameters;
pub(crate) use self::serve::AdminSocket;
use crate::node::Node;
use crate::node::reload::Reloader;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    node: Arc<Node>,
    gate: Gate,
    /// Cancelled when the node stops: `/healthz` says so.
    accepting: CancellationToken,
    reloader: Arc<Reloader>,
}

/// What a node of a fleet knows, and from when.
#[derive(Debug, Serialize)]
struct Standing {
    /// The last change that it has applied.
    revision: u64,
    /// How long ago it last knew all that its control plane knew; 0 while it is connected, null: not since it started.
    sync_age_secs: Option<u64>,
}

impl Api {
    pub(crate) fn new(
        node: Arc<Node>,
        admin: &Admin,
        accepting: CancellationToken,
        reloader: Arc<Reloader>,
    ) -> Arc<Self> {
        let api = Arc::new(Self {
            node,
            gate: Gate::new(admin),
            accepting,
            reloader,
        });
        let following = Arc::downgrade(&api);
        api.reloader.tell(move |config| {
            if let (Some(api), Some(admin)) = (following.upgrade(), &config.admin) {
                api.gate.follow(admin);
            }
        });
        api
    }

    /// The parameter `identifier`, by the steps of a login (behaviour §3): what is looked up is what a login would be.
    fn identifier(&self, parameters: &Parameters) -> Result<Identifier, Refusal> {
        let login = parameters.need("identifier")?;
        let rules = self.node.knowledge.identifier_rules();
        Identifier::from_login(&login, &rules).map_err(|invalid| Refusal::invalid("identifier", invalid))
    }

    /// What an answer of a node of a fleet rests on. None: it runs alone.
    fn standing(&self) -> Option<Standing> {
        if self.node.knowledge.mappings().is_some() {
            return None;
        }
        let sessions = self.node.knowledge.sessions();
        Some(Standing {
            revision: sessions.with_table(|table| table.position().revision.0),
            sync_age_secs: sessions.report().sync_age().map(|age| age.as_secs()),
        })
    }

    /// As it may be written into the log.
    fn redacted(&self, identifier: &Identifier) -> String {
        self.node.redactor().identifier(identifier.as_str())
    }
}

/// Every path but `/healthz`, which the gate answers before it asks for a token.
fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/stats", only(Method::GET, get(stats::show)))
        .route("/destinations", only(Method::GET, get(destinations::show)))
        .route(
            "/destinations/reset",
            only(Method::POST, post(destinations::reset)),
        )
        .route("/mappings", mappings())
        .route("/mappings/reload", only(Method::POST, post(mappings::reload)))
        .route(
            "/cache/invalidate",
            only(Method::POST, post(mappings::invalidate)),
        )
        .route("/connections/kick", only(Method::POST, post(connections::kick)))
        .route("/connections/delay", only(Method::POST, post(connections::delay)))
        .route("/config/reload", only(Method::POST, post(reload::reload)))
        .fallback(async || Refusal::NotFound)
        .with_state(api)
}

/// The one path with several methods.
fn mappings() -> MethodRouter<Arc<Api>> {
    let refused = Refusal::Method("GET, PUT, DELETE");
    let of_head = refused.clone();
    get(mappings::show)
        .put(mappings::put)
        .delete(mappings::delete)
        .head(async || of_head)
        .fallback(async || refused)
}

/// The only method of a path. HEAD is not offered, and the library would answer it where there is GET.
fn only(method: Method, router: MethodRouter<Arc<Api>>) -> MethodRouter<Arc<Api>> {
    let refused = Refusal::Method(if method == Method::GET { "GET" } else { "POST" });
    let router = if method == Method::GET {
        let refused = refused.clone();
        router.head(async || refused)
    } else {
        router
    };
    router.fallback(async || refused)
}
