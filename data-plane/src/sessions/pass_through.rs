//! The sessions that are passed through (SMTP, LMTP; behaviour §6.5). Nobody signs in on them, so they belong to no
//! account: they stand beside the registry and not in it. No hold collects them, no proof waits for them, no kick and no
//! drain ends them; they are listed and counted, and the process's stop ends them like all connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mailswitch_config::DestinationName;
use parking_lot::Mutex;

use super::Sessions;
use super::about::{About, ActingFor};
use super::entry::Phase;
use super::list::{Listed, Which};

/// Those that are open, by serial.
pub(super) type Open = Mutex<BTreeMap<u64, Entry>>;

#[derive(Debug)]
pub(super) struct Entry {
    about: Arc<About>,
    destination: DestinationName,
    phase: Phase,
    since: Instant,
}

/// A session that is passed through; listed until it is dropped.
#[derive(Debug)]
pub struct PassedThrough {
    sessions: Arc<Sessions>,
    about: Arc<About>,
    destination: DestinationName,
    serial: u64,
}

impl Sessions {
    /// Lists a session that is passed through to a destination, before it is dialled.
    #[must_use]
    pub fn pass_through(self: &Arc<Self>, about: About, destination: DestinationName) -> PassedThrough {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let about = Arc::new(about);
        let entry = Entry {
            about: Arc::clone(&about),
            destination: destination.clone(),
            phase: Phase::Dialling,
            since: Instant::now(),
        };
        self.passed_through.lock().insert(serial, entry);
        PassedThrough {
            sessions: Arc::clone(self),
            about,
            destination,
            serial,
        }
    }

    /// Those that are meant. Whoever asks for an account's sessions means none of them.
    pub(crate) fn passed_through(&self, which: &Which) -> Vec<Listed> {
        if !which.keys.is_empty() {
            return Vec::new();
        }
        let open = self.passed_through.lock();
        open.values()
            .filter(|entry| {
                which.session.as_ref().is_none_or(|id| entry.about.id == *id)
                    && which
                        .destination
                        .as_ref()
                        .is_none_or(|on| entry.destination == *on)
            })
            .map(|entry| Listed {
                about: (*entry.about).clone(),
                acting_for: ActingFor::nobody(),
                key: None,
                phase: entry.phase,
                destination: Some(entry.destination.clone()),
                lease: None,
                age: entry.since.elapsed(),
            })
            .collect()
    }
}

impl PassedThrough {
    /// What was said of it.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Where it goes.
    #[must_use]
    pub fn destination(&self) -> &DestinationName {
        &self.destination
    }

    /// The registry that it stands beside.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Bytes move, or its leg is followed to its end.
    pub(crate) fn enters(&self, phase: Phase) {
        if let Some(entry) = self.sessions.passed_through.lock().get_mut(&self.serial) {
            entry.phase = phase;
        }
    }
}

impl Drop for PassedThrough {
    fn drop(&mut self) {
        self.sessions.passed_through.lock().remove(&self.serial);
    }
}
