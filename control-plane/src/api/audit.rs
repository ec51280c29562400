//! `audit`: who did what, newest first.

use std::sync::Arc;

use mailswitch_proto::control::v1 as wire;

use super::pages::{self, Pages, ROWS};
use super::{Answer, Caller};
use crate::change::Context;
use crate::process::ControlPlane;
use crate::store;
use crate::store::audit::{Author, Entry, Proof, Recorded, audit_add, audit_list};

/// Rows unless told otherwise.
const LIMIT: u64 = 100;

pub(super) async fn list(
    plane: Arc<ControlPlane>,
    _: Caller,
    request: wire::AuditRequest,
) -> Answer<Pages<wire::AuditPage>> {
    let subject = match request.identifier.as_str() {
        "" => None,
        // Not only identifiers are subjects: nodes and tables are too, as they are written.
        text => Some(
            super::mapping::normal_form(&plane, text).map_or(text.to_owned(), |normal| normal.to_string()),
        ),
    };
    let mut left = if request.limit == 0 { LIMIT } else { request.limit };
    Ok(pages::stream(|out| async move {
        let mut before = None;
        while left > 0 {
            let mut conn = plane.writer.pool().acquire().await.map_err(store::Error::from)?;
            let rows = audit_list(&mut conn, subject.as_deref(), before, left.min(ROWS.into())).await?;
            drop(conn);
            let Some(last) = rows.last() else { break };
            before = Some(last.id);
            left -= rows.len() as u64;
            let entries = rows.into_iter().map(entry).collect();
            if out.send(Ok(wire::AuditPage { entries })).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}

/// Records what was done to nodes or sessions and is no change of the routing. What was done stays done when the
/// database is away: then the log says so.
pub(super) async fn done(plane: &ControlPlane, context: &Context, verb: &str, subject: &str, after: &str) {
    let author = Author {
        change: None,
        who: &context.actor.who,
        from: &context.actor.from,
        reason: &context.reason,
        trace: context.trace_id(),
    };
    let entry = Entry {
        verb: verb.to_owned(),
        subject: subject.to_owned(),
        before: String::new(),
        after: after.to_owned(),
        proof: Proof::Standing,
    };
    let added = async {
        let mut conn = plane.writer.pool().acquire().await?;
        audit_add(&mut conn, &author, &[entry]).await
    };
    if let Err(error) = added.await {
        tracing::error!(%error, verb, subject, who = context.actor.who, "the audit row could not be written");
    }
}

fn entry(row: Recorded) -> wire::AuditEntry {
    wire::AuditEntry {
        id: row.id,
        revision: row.revision,
        at_unix_millis: row.at.timestamp_millis(),
        who: row.who,
        from: row.from,
        verb: row.entry.verb,
        subject: row.entry.subject,
        before: row.entry.before,
        after: row.entry.after,
        reason: row.reason,
        trace: row.trace,
        unproven: row.entry.proof == Proof::Waived,
    }
}
