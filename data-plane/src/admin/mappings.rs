//! `/mappings`, `/mappings/reload` and `/cache/invalidate`: where an identifier goes (management API 3.3, 3.5).
//!
//! A write changes the store first, then what was answered before counts no more: it holds for the next login. Sessions that
//! stand stay until they are kicked. In a fleet mappings belong to the control plane: they are shown here, never written.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use mailswitch_config::DestinationName;
use mailswitch_proto::identifier::Identifier;
use mailswitch_sources::{Mappings, Removal, What, WriteError};
use serde::Serialize;

use super::answer::{Refusal, line};
use super::parameters::Parameters;
use super::{Api, Standing};
use crate::error_chain;
use crate::route::{Look, Route, Rule};
use crate::sessions::ActingFor;

#[derive(Debug, Serialize)]
pub(super) struct Mapping {
    /// As given.
    identifier: String,
    /// As looked up.
    normalized: String,
    /// Where a login would go now; null: nowhere.
    destination: Option<String>,
    routed_to_default: bool,
    cached: bool,
    /// `mapping`, `domain`, `default`, `error`; in a fleet also `held` and `refused`.
    source: &'static str,
    #[serde(flatten)]
    standing: Option<Standing>,
    /// In a fleet: why a login would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    parameters: Parameters,
) -> Result<Json<Mapping>, Refusal> {
    let given = parameters.need("identifier")?;
    let identifier = api.identifier(&parameters)?;
    let mapping = match api.node.knowledge.mappings() {
        Some(mappings) => of_source(&api, given, &identifier, mappings).await,
        None => of_table(&api, given, &identifier),
    };
    Ok(Json(mapping))
}

async fn of_source(api: &Api, given: String, identifier: &Identifier, mappings: &Mappings) -> Mapping {
    let found = mappings.get(identifier).await;
    Mapping {
        identifier: given,
        normalized: identifier.as_str().to_owned(),
        routed_to_default: api.is_default(found.destination.as_ref()),
        destination: found.destination.as_ref().map(|name| name.as_str().to_owned()),
        cached: found.cached,
        source: found.origin.as_str(),
        standing: None,
        reason: None,
    }
}

/// By the very look that a login makes.
fn of_table(api: &Api, given: String, identifier: &Identifier) -> Mapping {
    let look = api
        .node
        .knowledge
        .sessions()
        .look(&ActingFor::one(identifier.clone(), []));
    let (destination, source, reason) = match look {
        Look::Route(Route { destination, rule }) => {
            let source = match rule {
                Rule::Mapping => "mapping",
                Rule::Domain => "domain",
                _ => "default",
            };
            (Some(destination), source, None)
        }
        Look::Refused(refusal) => (None, "refused", Some(refusal.to_string())),
        _ => (None, "held", None),
    };
    Mapping {
        identifier: given,
        normalized: identifier.as_str().to_owned(),
        routed_to_default: api.is_default(destination.as_ref()),
        destination: destination.map(|name| name.as_str().to_owned()),
        // The whole table is in memory.
        cached: true,
        source,
        standing: api.standing(),
        reason,
    }
}

pub(super) async fn put(State(api): State<Arc<Api>>, parameters: Parameters) -> Result<Response, Refusal> {
    let identifier = api.identifier(&parameters)?;
    let destination = DestinationName::from(parameters.need("destination")?);
    let mappings = Arc::clone(api.own_mappings()?);
    let (who, to) = (identifier.clone(), destination.clone());
    // A client that leaves does not break a write off in the middle.
    let written = tokio::spawn(async move { mappings.put(&who, &to).await });
    finished(written.await)?.map_err(Refusal::from)?;
    tracing::info!(user = api.redacted(&identifier), %destination, "management API: a mapping is written");
    Ok(line("ok"))
}

pub(super) async fn delete(State(api): State<Arc<Api>>, parameters: Parameters) -> Result<Response, Refusal> {
    let identifier = api.identifier(&parameters)?;
    let mappings = Arc::clone(api.own_mappings()?);
    let who = identifier.clone();
    let removed = tokio::spawn(async move { mappings.delete(&who).await });
    let removal = finished(removed.await)?.map_err(Refusal::from)?;
    let said = match removal {
        Removal::Removed => "removed",
        Removal::Absent => "absent",
    };
    tracing::info!(
        user = api.redacted(&identifier),
        said,
        "management API: a mapping is removed"
    );
    Ok(line(said))
}

/// Reads the mapping file anew; of the other sources there is nothing to read.
pub(super) async fn reload(State(api): State<Arc<Api>>) -> Result<Response, Refusal> {
    if let Some(mappings) = api.node.knowledge.mappings() {
        let reloaded = mappings.reload().await;
        reloaded.map_err(|error| Refusal::Failed(format!("reload failed: {}", error_chain(&error))))?;
    }
    tracing::info!("management API: the mappings are reloaded");
    Ok(line("reloaded"))
}

/// Of one identifier, or of everybody.
pub(super) async fn invalidate(
    State(api): State<Arc<Api>>,
    parameters: Parameters,
) -> Result<Response, Refusal> {
    let identifier = match parameters.get("identifier")? {
        Some(_) => Some(api.identifier(&parameters)?),
        None => None,
    };
    if let Some(mappings) = api.node.knowledge.mappings() {
        mappings.invalidate(identifier.as_ref().map_or(What::All, What::One));
    }
    let user = identifier.map_or_else(|| "everybody".to_owned(), |who| api.redacted(&who));
    tracing::info!(user, "management API: cached answers are dropped");
    Ok(line("ok"))
}

impl Api {
    fn is_default(&self, destination: Option<&DestinationName>) -> bool {
        let config = self.node.knowledge.config();
        destination.is_some() && destination == config.routing.default_destination.as_ref()
    }

    fn own_mappings(&self) -> Result<&Arc<Mappings>, Refusal> {
        self.node.knowledge.mappings().ok_or_else(|| {
            Refusal::ReadOnly(
                "this node belongs to a fleet: move accounts with mailswitchctl cutover, or mailswitchctl mapping"
                    .to_owned(),
            )
        })
    }
}

fn finished<T>(joined: Result<T, tokio::task::JoinError>) -> Result<T, Refusal> {
    joined.map_err(|_| Refusal::Failed("the node stops".to_owned()))
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        let text = error_chain(&error);
        match error {
            WriteError::ReadOnly => Self::ReadOnly(text),
            WriteError::Undeclared { .. } | WriteError::Uncovered(_) | WriteError::CannotHold(_) => {
                Self::Invalid(text)
            }
            WriteError::Conflict(_) => Self::Conflict(text),
            WriteError::File(_) | WriteError::Store(_) => Self::Failed(text),
        }
    }
}
