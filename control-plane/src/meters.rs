//! What a replica counts: revision, nodes, commits, and how cutovers end. For sight only; nothing decides by it.
//!
//! The instruments are made at the first use, which must come after telemetry was started.

use std::sync::OnceLock;
use std::time::Duration;

use mailswitch_telemetry::{ControlPlaneInstruments, name};
use opentelemetry::KeyValue;

use crate::cutover::operation::Operation;

/// This process's instruments.
pub(crate) fn instruments() -> &'static ControlPlaneInstruments {
    static INSTRUMENTS: OnceLock<ControlPlaneInstruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| ControlPlaneInstruments::new(&mailswitch_telemetry::meter()))
}

/// A writing transaction was committed.
pub(crate) fn committed(after: Duration) {
    instruments().commit_duration.record(after.as_secs_f64(), &[]);
}

/// A cutover has ended, and this process drove it.
pub(crate) fn ended(operation: &Operation) {
    let Some(outcome) = operation.outcome else { return };
    let outcome = [KeyValue::new(name::OUTCOME, outcome.text())];
    instruments().cutovers.add(1, &outcome);
    let held = operation.held_at.zip(operation.ended_at);
    if let Some(held) = held.and_then(|(from, to)| (to - from).to_std().ok()) {
        instruments().cutover_hold.record(held.as_secs_f64(), &outcome);
    }
}
