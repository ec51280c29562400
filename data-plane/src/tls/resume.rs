//! What a leg toward a backend remembers to take its sessions up again (RFC 8446 §2.2, RFC 5077).
//!
//! One store for each leg of each destination, and a new one whenever its settings change: a ticket got under one pin or
//! trust is never shown under another. Tickets of TLS 1.3 are used once.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// So many logins to one backend may be under way at once and still each have a ticket. A ticket is about 2 KB.
const MOST_TICKETS: usize = 64;

/// Of one leg: it has one server name.
#[derive(Debug, Default)]
pub(super) struct LegSessions(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first.
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl ClientSessionStore for LegSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.lock().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.lock().tls12.clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut remembered = self.0.lock();
        if remembered.tls13.len() >= MOST_TICKETS {
            remembered.tls13.pop_front();
        }
        remembered.tls13.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().tls13.pop_back()
    }
}
