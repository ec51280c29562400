//! What the fleet has already, and what an import adds to it. Two proxies that are imported one after the other must agree:
//! what the fleet has otherwise is never overwritten here.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use mailswitch_proto::control::v1::{
    ApplyRequest, ChangeContext, DiffRequest, Finding, Mapping, MappingImportRequest, MappingListRequest,
};

use super::halves::Halves;
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::import::view::FleetState;
use crate::rows::ROWS_A_MESSAGE;
use crate::verb::Context;

/// Findings that are shown.
const SHOWN: usize = 100;

/// A fleet, compared.
pub(super) struct Fleet {
    connection: Connection,
    apply: ApplyRequest,
    /// Keys that the fleet lacks.
    missing_keys: usize,
    /// Keys that it has otherwise, or has and the file has not.
    other_keys: Vec<Finding>,
    missing_rows: Vec<Mapping>,
    /// Rows that it has otherwise.
    other_rows: Vec<Finding>,
}

impl Fleet {
    pub(super) async fn ask(context: &Context, halves: &Halves) -> Result<Self, Failure> {
        let connection = context.connect().await?;
        let (toml, file) = (halves.fleet.text.clone(), halves.fleet.path.display().to_string());
        let request = DiffRequest {
            toml: toml.clone(),
            file: file.clone(),
        };
        let diff = connection
            .ask(async |mut control| control.diff(request).await)
            .await?;
        let (other, missing): (Vec<_>, Vec<_>) = diff
            .differences
            .into_iter()
            .partition(|difference| !difference.before.is_empty());
        let other_keys = other.into_iter().map(|difference| Finding {
            severity: "error".to_owned(),
            file: "fleet".to_owned(),
            key: difference.key,
            value: difference.before,
            message: match difference.after.as_str() {
                "" => format!("{file} does not have it"),
                after => format!("{file} says {after}"),
            },
            ..Finding::default()
        });
        let mut fleet = Self {
            apply: ApplyRequest {
                change: None,
                toml,
                file: file.clone(),
                unproven: false,
            },
            missing_keys: missing.len(),
            other_keys: other_keys.collect(),
            missing_rows: Vec::new(),
            other_rows: Vec::new(),
            connection,
        };
        fleet.compare_rows(halves).await?;
        Ok(fleet)
    }

    async fn compare_rows(&mut self, halves: &Halves) -> Result<(), Failure> {
        let request = MappingListRequest::default();
        let pages = self
            .connection
            .ask(async |mut control| control.mapping_list(request).await)
            .await?;
        let there: HashMap<String, String> = pages
            .try_fold(HashMap::new(), async |mut there, page| {
                let rows = page.mappings.into_iter();
                there.extend(rows.map(|row| (row.identifier, row.destination)));
                Ok(there)
            })
            .await
            .map_err(|status| self.connection.refused(&status))?;
        for (identifier, destination) in &halves.rows {
            match there.get(identifier) {
                Some(same) if same == destination => {}
                Some(other) => self.other_rows.push(Finding {
                    severity: "error".to_owned(),
                    file: "fleet".to_owned(),
                    value: identifier.clone(),
                    message: format!("it goes to \"{other}\" there, and to \"{destination}\" in the proxy"),
                    ..Finding::default()
                }),
                None => self.missing_rows.push(Mapping {
                    identifier: identifier.clone(),
                    destination: destination.clone(),
                }),
            }
        }
        Ok(())
    }

    pub(super) fn lacks(&self) -> FleetState {
        FleetState {
            asked: true,
            missing_keys: self.missing_keys,
            missing_rows: self.missing_rows.len(),
            ..FleetState::default()
        }
    }

    /// It has something else already.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let others = self.other_keys.iter().chain(&self.other_rows);
        let findings: Vec<Finding> = others.cloned().collect();
        if findings.is_empty() {
            return None;
        }
        let mut failure = Failure::new(Exit::Precondition, "the fleet has something else already; nothing was done").remedy(
            "make them agree: `mailswitchctl export` and `mapping get` show the fleet's; what differs by site goes into \
             [site.NAME.destination.*]. --files-only writes the node's file alone",
        );
        failure.findings_total = findings.len() as u64;
        failure.findings = findings.into_iter().take(SHOWN).collect();
        Some(failure)
    }

    /// Gives it what it lacks: first the destinations, then who goes there.
    pub(super) async fn take(
        &mut self,
        change: &ChangeContext,
        state: &mut FleetState,
    ) -> Result<(), Failure> {
        if self.missing_keys > 0 {
            let request = ApplyRequest {
                change: Some(change.clone()),
                ..self.apply.clone()
            };
            let applied = self
                .connection
                .change(change, async |mut control| control.apply(request.clone()).await)
                .await?;
            state.applied = applied.committed.map(|committed| committed.revision);
        }
        if self.missing_rows.is_empty() {
            return Ok(());
        }
        let change = beside(change);
        let first = MappingImportRequest {
            change: Some(change.clone()),
            unproven: false,
            mappings: Vec::new(),
        };
        let rest = self
            .missing_rows
            .chunks(ROWS_A_MESSAGE)
            .map(|mappings| MappingImportRequest {
                change: None,
                unproven: false,
                mappings: mappings.to_vec(),
            });
        let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
        let imported = self
            .connection
            .change(&change, async |mut control| {
                control.mapping_import(tokio_stream::iter(messages.clone())).await
            })
            .await?;
        state.imported = imported.committed.map(|committed| committed.revision);
        Ok(())
    }
}

/// The second change of one command has a key of its own, made of the given one: repeated, both are done once.
fn beside(change: &ChangeContext) -> ChangeContext {
    let mut change = change.clone();
    if let Some(last) = change.idempotency_key.last_mut() {
        *last ^= 1;
    }
    change
}
