//! A node that runs alone: its mappings come from a file, Redis or SQL (the crate `mailswitch_sources`, a file per
//! source). The table beside them holds no mappings; it says who is served and what becomes of logins without an
//! identifier.

use std::sync::Arc;

use mailswitch_config::node::Alone;
use mailswitch_config::table::cutover::Cutover;
use mailswitch_config::table::listener::Listener;
use mailswitch_proto::identifier::HashKey;
use mailswitch_sources::{Mappings, OpenError, Prepared, Setup};

use super::Knowledge;
use crate::report::Report;
use crate::sessions::{Sessions, WaitPolicy};
use crate::table::{Policy, Table};

/// Opens the knowledge of a node that runs alone.
///
/// # Errors
/// When its mappings cannot be had: nobody is served with guesses.
pub async fn open(
    alone: &Alone,
    listeners: &[Listener],
    waits: WaitPolicy,
    report: Arc<Report>,
) -> Result<Arc<Knowledge>, OpenError> {
    let fleet = &alone.fleet;
    let setup = Setup {
        mapping: &alone.mapping,
        fleet,
        listeners,
    };
    let mappings = Mappings::open(setup).await?;
    // The key only has to be unknown to clients; nobody else has this table.
    let table = Table::of_a_lone_node(HashKey(rand::random()), Policy::from(&fleet.routing));
    let sessions = Sessions::of_a_lone_node(table, wait_policy(waits, &fleet.cutover), report, mappings);
    Ok(Knowledge::new(sessions, fleet.clone()))
}

/// Opens what a new configuration says of mappings. None: this node has none of its own.
///
/// # Errors
/// As `open`; nothing has changed.
pub async fn prepare(
    knowledge: &Knowledge,
    alone: &Alone,
    listeners: &[Listener],
) -> Result<Option<Prepared>, OpenError> {
    let Some(mappings) = knowledge.mappings() else {
        return Ok(None);
    };
    let setup = Setup {
        mapping: &alone.mapping,
        fleet: &alone.fleet,
        listeners,
    };
    mappings.prepare(setup).await.map(Some)
}

/// Takes it. Logins that are under way look again.
pub fn adopt(knowledge: &Knowledge, alone: &Alone, prepared: Prepared) {
    if let Some(mappings) = knowledge.mappings() {
        mappings.adopt(prepared);
    }
    let policy = Policy::from(&alone.fleet.routing);
    knowledge.sessions().adjust(|table| table.set_policy(policy));
}

pub(crate) fn wait_policy(waits: WaitPolicy, cutover: &Cutover) -> WaitPolicy {
    WaitPolicy {
        hold_login_timeout: cutover.hold_login_timeout,
        first_lease: cutover.lease,
        ..waits
    }
}
