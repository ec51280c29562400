//! Logins that an operator holds back for a while on this node (behaviour 9.3): the timed hope of the procedures that come
//! from a single proxy. It holds nothing together: a hold of a cutover does.
//!
//! A login that begins while its identifier is delayed waits, before its first look, until the delay is over or is taken
//! back, at most 120 s; then it looks. In memory only, and of this process only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailswitch_proto::identifier::Identifier;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Sessions;
use super::about::ActingFor;

/// One login's wait. A client gives up before it (RFC 9051 §5.4 lets it wait 30 minutes; programs do not).
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 120 });

/// Until when each identifier is delayed.
#[derive(Debug, Default)]
pub(super) struct Delays {
    any: AtomicBool,
    until: Mutex<HashMap<Identifier, Instant>>,
}

/// How a wait for a delay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delayed {
    /// The login goes on.
    Over,
    /// Too many wait already (A5).
    NoRoom,
}

impl Sessions {
    /// Delays logins of an identifier that begin within this time. A later call replaces an earlier one; no time at all
    /// ends it.
    pub fn delay(&self, identifier: &Identifier, time: Duration) {
        let now = Instant::now();
        {
            let mut until = self.delays.until.lock();
            until.retain(|_, end| *end > now);
            match now.checked_add(time).filter(|end| *end > now) {
                Some(end) => until.insert(identifier.clone(), end),
                None => until.remove(identifier),
            };
            self.delays.any.store(!until.is_empty(), Ordering::SeqCst);
        }
        let key = self.filing.read().key_of(identifier.as_str());
        for entry in self.shards.under(key) {
            entry.hold_ended(None);
        }
    }

    /// Until when a login of these waits.
    pub(super) fn delayed_until(&self, acting_for: &ActingFor) -> Option<Instant> {
        // Nobody is delayed nearly all the time.
        if !self.delays.any.load(Ordering::SeqCst) {
            return None;
        }
        let until = self.delays.until.lock();
        let ends = acting_for.identifiers().iter();
        ends.filter_map(|identifier| until.get(identifier).copied()).max()
    }
}
