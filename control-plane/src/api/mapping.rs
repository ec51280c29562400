//! `mapping get`, `set`, `unset`, `list`, `import`: where an identifier, or a whole domain, goes. What would move
//! somebody whose sessions may be open is refused by the writer, with the cutover to run instead (promise F4).

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::identifier::Identifier;
use tonic::Streaming;

use super::caller::{believed, committed, proof};
use super::pages::{self, Pages, ROWS};
use super::{Answer, Caller, problem};
use crate::change::Context;
use crate::change::mapping::{Wish, mapping_write};
use crate::process::ControlPlane;
use crate::routing::resolve::resolve;
use crate::store;
use crate::store::audit::Proof;

/// An identifier as an operator writes it, in the fleet's normal form.
pub(super) fn normal_form(plane: &ControlPlane, text: &str) -> Answer<Identifier> {
    let config = plane.routing.config();
    Identifier::written(text, &config.normalization).map_err(|error| problem::identifier(text, error))
}

pub(super) async fn get(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::MappingGetRequest,
) -> Answer<wire::MappingGetResponse> {
    let identifier = normal_form(&plane, &request.identifier)?;
    let config = plane.routing.config();
    let resolution = resolve(&*plane.routing.state().await, &config, identifier.as_str());
    let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
    let account = store::account::account_of_identifier_get(&mut conn, identifier.as_str()).await?;
    Ok(wire::MappingGetResponse {
        identifier: identifier.to_string(),
        rule: resolution.rule,
        destination: resolution.destination,
        account: account.map(|account| account.name).unwrap_or_default(),
        revision: resolution.revision,
        hold: resolution.hold,
    })
}

pub(super) async fn set(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::MappingSetRequest,
) -> Answer<wire::Committed> {
    let context = caller.context(request.change)?;
    let wish = Wish {
        identifier: request.identifier,
        destination: Some(request.destination),
    };
    one(&plane, &context, "mapping set", wish, proof(request.unproven)).await
}

pub(super) async fn unset(
    plane: Arc<ControlPlane>,
    caller: Caller,
    request: wire::MappingUnsetRequest,
) -> Answer<wire::Committed> {
    let context = caller.context(request.change)?;
    let wish = Wish {
        identifier: request.identifier,
        destination: None,
    };
    one(&plane, &context, "mapping unset", wish, proof(request.unproven)).await
}

async fn one(
    plane: &ControlPlane,
    context: &Context,
    verb: &'static str,
    wish: Wish,
    proof: Proof,
) -> Answer<wire::Committed> {
    believed(plane)?;
    let done = mapping_write(&plane.writer, &*plane.nodes, context, verb, &[wish], proof).await?;
    Ok(committed(done).0)
}

/// The first message has the context, the others rows. All of it is one revision.
pub(super) async fn import(
    plane: Arc<ControlPlane>,
    caller: Caller,
    mut requests: Streaming<wire::MappingImportRequest>,
) -> Answer<wire::ImportResponse> {
    let mut first = None;
    let mut wishes = Vec::new();
    while let Some(request) = requests
        .message()
        .await
        .map_err(|status| problem::cut_off(&status))?
    {
        let head = (request.change, request.unproven);
        first.get_or_insert(head);
        wishes.extend(request.mappings.into_iter().map(|mapping| Wish {
            identifier: mapping.identifier,
            destination: Some(mapping.destination),
        }));
    }
    let (change, unproven) = first.unwrap_or_default();
    let context = caller.context(change)?;
    believed(&plane)?;
    let proof = proof(unproven);
    let done = mapping_write(
        &plane.writer,
        &*plane.nodes,
        &context,
        "mapping import",
        &wishes,
        proof,
    )
    .await
    .map_err(|error| problem::of_rows(error, wishes.len()))?;
    let (committed, counts) = committed(done);
    Ok(wire::ImportResponse {
        committed: Some(committed),
        added: counts.added,
        changed: counts.changed,
        unchanged: counts.unchanged,
        findings: Vec::new(),
    })
}

pub(super) async fn list(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::MappingListRequest,
) -> Answer<Pages<wire::MappingPage>> {
    Ok(pages::stream(|out| async move {
        let destination = Some(request.destination.as_str()).filter(|name| !name.is_empty());
        let domain = Some(request.domain.trim_start_matches('@')).filter(|name| !name.is_empty());
        let mut after = String::new();
        loop {
            let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
            let rows = store::mapping::mapping_list(&mut conn, destination, domain, &after, ROWS).await?;
            drop(conn);
            let Some((last, _)) = rows.last() else {
                // None at all, for a name that is a slip of the pen.
                return match destination.filter(|_| after.is_empty()) {
                    Some(name) => super::destination::known(&plane, name),
                    None => Ok(()),
                };
            };
            after.clone_from(last);
            let rows = rows.into_iter();
            let mappings = rows
                .map(|(identifier, destination)| wire::Mapping {
                    identifier,
                    destination,
                })
                .collect();
            if out.send(Ok(wire::MappingPage { mappings })).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}
