//! `account import` and `account list`: the identifiers that move together.

use std::collections::HashMap;
use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;
use mailswitch_proto::id::{ArmingId, OperationId};
use tonic::Streaming;

use super::caller::{believed, committed, proof};
use super::pages::{self, Pages, ROWS};
use super::{Answer, Caller, problem};
use crate::change::account::{Wish, account_import};
use crate::process::ControlPlane;
use crate::routing::resolve::resolve;
use crate::store;
use crate::store::account::{Account, account_list};
use crate::store::arming::{arming_on_list, arming_unacknowledged};

/// The first message has the context, the others rows. All of it is one revision.
pub(super) async fn import(
    plane: Arc<ControlPlane>,
    caller: Caller,
    mut requests: Streaming<wire::AccountImportRequest>,
) -> Answer<wire::ImportResponse> {
    let mut first = None;
    let mut wishes = Vec::new();
    while let Some(request) = requests
        .message()
        .await
        .map_err(|status| problem::cut_off(&status))?
    {
        first.get_or_insert((request.change, request.unproven));
        wishes.extend(request.accounts.into_iter().map(|account| Wish {
            identifiers: account.identifiers,
            addresses: account.addresses,
            group: account.group,
        }));
    }
    let (change, unproven) = first.unwrap_or_default();
    let context = caller.context(change)?;
    believed(&plane)?;
    let done = account_import(&plane.writer, &context, &wishes, proof(unproven))
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
    request: wire::AccountListRequest,
) -> Answer<Pages<wire::AccountPage>> {
    let identifier = match request.identifier.as_str() {
        "" => None,
        text => Some(super::mapping::normal_form(&plane, text)?.to_string()),
    };
    Ok(pages::stream(|out| async move {
        let group = Some(request.group.as_str()).filter(|group| !group.is_empty());
        let mut after = String::new();
        loop {
            let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
            let rows = account_list(&mut conn, group, identifier.as_deref(), &after, ROWS).await?;
            drop(conn);
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.name);
            let armed = armed(&plane, &rows).await?;
            let accounts = located(&plane, rows, armed).await;
            let wanted = |account: &wire::Account| {
                (request.destination.is_empty() || account.destination == request.destination)
                    && (!request.armed || account.armed.is_some())
            };
            let page = wire::AccountPage {
                accounts: accounts.into_iter().filter(wanted).collect(),
            };
            if out.send(Ok(page)).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}

/// By each of their identifiers: since when it is armed, and who has not acknowledged that.
async fn armed(plane: &ControlPlane, rows: &[Account]) -> Result<HashMap<String, wire::Armed>, store::Error> {
    let identifiers: Vec<String> = rows
        .iter()
        .flat_map(|account| {
            account
                .identifiers
                .iter()
                .map(|(identifier, _)| identifier.clone())
        })
        .collect();
    let mut conn = plane.writer.pool().acquire().await?;
    let armings = arming_on_list(&mut conn, &identifiers).await?;
    if armings.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<ArmingId> = armings.iter().map(|(arming, _)| arming.id).collect();
    let silent = arming_unacknowledged(&mut conn, &ids).await?;
    let mut armed = HashMap::new();
    for (arming, named) in armings {
        let since = wire::Armed {
            since_unix_millis: u64::try_from(arming.armed_at.timestamp_millis()).unwrap_or(0),
            by: arming.armed_by,
            operation: arming.operation.map(OperationId::to_vec).unwrap_or_default(),
            unacknowledged: silent.get(&arming.id).cloned().unwrap_or_default(),
        };
        armed.extend(named.into_iter().map(|identifier| (identifier, since.clone())));
    }
    Ok(armed)
}

/// With where each is now, by the state that nodes are sent.
async fn located(
    plane: &ControlPlane,
    rows: Vec<Account>,
    armed: HashMap<String, wire::Armed>,
) -> Vec<wire::Account> {
    let config = plane.routing.config();
    let state = plane.routing.state().await;
    let rows = rows.into_iter();
    rows.map(|account| {
        let mut places: Vec<String> = account
            .identifiers
            .iter()
            .map(|(identifier, _)| resolve(&state, &config, identifier).destination)
            .collect();
        places.sort();
        places.dedup();
        wire::Account {
            id: account.id.to_vec(),
            armed: armed.get(&account.name).cloned(),
            name: account.name,
            identifiers: account
                .identifiers
                .into_iter()
                .map(|(identifier, _)| identifier)
                .collect(),
            addresses: account.addresses,
            group: account.group,
            destination: match places.as_mut_slice() {
                [place] => std::mem::take(place),
                _ => String::new(),
            },
        }
    })
    .collect()
}
