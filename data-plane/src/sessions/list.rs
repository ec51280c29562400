//! What others ask of the registry: what has quiesced, who is there, and to end some.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_proto::id::HoldId;
use mailswitch_proto::identifier::Key;
use mailswitch_proto::revision::Position;

use super::about::{About, ActingFor};
use super::armed::Standing;
use super::entry::{Entry, Phase};
use super::hold::{Hold, Met};
use super::order::Order;
use super::{SessionId, Sessions, Stuck};
use crate::lease::Lease;

/// A hold of which no session is left here: a level, true until that hold ends (Q4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiesced {
    /// Which hold.
    pub hold: HoldId,
    /// Where it was applied.
    pub applied: Position,
    /// What it has met here so far.
    pub met: Met,
}

/// Which sessions are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Of any of these identifiers; empty: of anybody.
    pub keys: Vec<Key>,
    /// On this destination only.
    pub destination: Option<DestinationName>,
    /// This session only.
    pub session: Option<SessionId>,
}

/// What became of a kick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kicked {
    /// How many sessions and logins it found.
    pub signalled: usize,
    /// How many of them are not over yet.
    pub open: usize,
}

/// A session, as listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What was said of it.
    pub about: About,
    /// For whom it acts.
    pub acting_for: ActingFor,
    /// The key of the identifier that routes it.
    pub key: Option<Key>,
    /// Where it stands.
    pub phase: Phase,
    /// Where its leg goes.
    pub destination: Option<DestinationName>,
    /// What it lives on, where its account is armed (L1).
    pub lease: Option<Standing>,
    /// How long it has been registered.
    pub age: Duration,
}

/// Some sessions, and how many there are.
#[derive(Debug, Clone)]
pub struct Listing {
    /// At most as many as were asked for.
    pub sessions: Vec<Listed>,
    /// All that matched.
    pub total: usize,
    /// Those of them that are passed through: no cutover waits for them.
    pub passed_through: usize,
}

impl Sessions {
    /// The holds of which no session is left here. Only holds of operations: what this node holds for reasons of its
    /// own (a change that it does not know) is nobody's business.
    #[must_use]
    pub fn quiesced(&self) -> Vec<Quiesced> {
        let table = self.table.read();
        let holds = self.holds.lock();
        holds
            .values()
            .filter(|hold| hold.is_quiesced() && table.is_hold_of_an_operation(hold.id))
            .map(|hold| hold.quiesced())
            .collect()
    }

    /// The holds that were quiet and are over since this was last asked, with all that they have met. For the operator:
    /// their acknowledgements are true no longer, and prove nothing.
    #[must_use]
    pub fn ended_holds(&self) -> Vec<Quiesced> {
        std::mem::take(&mut *self.ended_holds.lock())
    }

    /// Waits until a hold may have quiesced. One waiter: the feed.
    pub async fn quiesced_changed(&self) {
        self.quiesced.notified().await;
    }

    /// The legs that do not end while a hold waits for them, or were reset under one (Q2).
    #[must_use]
    pub fn stuck_legs(&self) -> Vec<Stuck> {
        let torn: Vec<Stuck> = self.holds.lock().values().flat_map(|hold| hold.torn()).collect();
        self.shards
            .all()
            .iter()
            .filter_map(|entry| self.stuck_for(entry))
            .chain(torn)
            .collect()
    }

    /// How many sessions a hold still waits for; none when it is not in force.
    #[must_use]
    pub fn outstanding(&self, hold: HoldId) -> Option<usize> {
        self.holds.lock().get(&hold).map(|hold| hold.outstanding())
    }

    /// Lists sessions.
    #[must_use]
    pub fn list(&self, which: &Which, limit: usize) -> Listing {
        let matching = self.matching(which);
        let passed_through = self.passed_through(which);
        Listing {
            total: matching.len() + passed_through.len(),
            passed_through: passed_through.len(),
            sessions: matching
                .iter()
                .map(|entry| listed(entry, self.lease()))
                .chain(passed_through)
                .take(limit)
                .collect(),
        }
    }

    /// Ends sessions now, lets logins in progress look again, and says how many. Not those that are passed through: they
    /// belong to no account.
    pub fn kick(&self, which: &Which) -> usize {
        self.kick_all(which).len()
    }

    /// As `kick`, and waits until all that it found is over: a leg that was there when this was called serves nobody any
    /// more. Not longer than `patience`.
    pub async fn kick_to_the_end(&self, which: &Which, patience: Duration) -> Kicked {
        let kicked = self.kick_all(which);
        let all_over = async {
            loop {
                let over = self.kicked_out.notified();
                if kicked.iter().all(|entry| entry.is_kicked_out()) {
                    return;
                }
                over.await;
            }
        };
        // Late is told by what is still open.
        let _ = tokio::time::timeout(patience, all_over).await;
        Kicked {
            signalled: kicked.len(),
            open: kicked.iter().filter(|entry| !entry.is_kicked_out()).count(),
        }
    }

    fn kick_all(&self, which: &Which) -> Vec<Arc<Entry>> {
        let matching = self.matching(which);
        for entry in &matching {
            entry.kick();
            // The operator's word that a leg of which nobody knows the end is over.
            if entry.phase() == Phase::Lost {
                self.remove(entry);
            }
        }
        matching
    }

    /// Resets the backend legs of sessions at once, and says how many (L1). Nobody has to have seen the end of a leg that
    /// is lost: its task took the connection along.
    pub fn reset(&self, which: &Which) -> usize {
        let matching = self.matching(which);
        for entry in &matching {
            entry.force(Order::Reset);
            if entry.phase() == Phase::Lost {
                self.remove(entry);
            }
        }
        matching.len()
    }

    fn matching(&self, which: &Which) -> Vec<Arc<Entry>> {
        let mut found = if which.keys.is_empty() {
            self.shards.all()
        } else {
            which
                .keys
                .iter()
                .flat_map(|key| self.shards.under(*key))
                .collect()
        };
        found.sort_by_key(|entry| entry.serial);
        found.dedup_by_key(|entry| entry.serial);
        found.retain(|entry| {
            which.session.as_ref().is_none_or(|id| entry.about.id == *id)
                && which
                    .destination
                    .as_ref()
                    .is_none_or(|on| entry.destination().as_ref() == Some(on))
        });
        found
    }
}

impl Hold {
    pub(super) fn quiesced(&self) -> Quiesced {
        Quiesced {
            hold: self.id,
            applied: self.applied,
            met: self.met(),
        }
    }
}

fn listed(entry: &Entry, lease: &Lease) -> Listed {
    Listed {
        about: entry.about.clone(),
        acting_for: entry.acting_for.clone(),
        key: entry.first_key(),
        phase: entry.phase(),
        destination: entry.destination(),
        lease: entry.term.standing(lease),
        age: entry.since.elapsed(),
    }
}
