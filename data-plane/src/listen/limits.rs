//! How many connections there may be: per listener, per client, and before login on the whole node.
//!
//! A connection holds its `Permit` for its whole life. Each limit stops one way to fill the node: a listener that
//! starves the others, one client that takes all, and clients that connect and never sign in.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::backend::breaker::subscriber;

/// Descriptors that are not for sessions: listeners, logs, the feed, name lookups.
const RESERVED_DESCRIPTORS: u64 = 128;
/// A session is two connections.
const DESCRIPTORS_PER_SESSION: u64 = 2;
const SHARDS: usize = 16;

/// What the node has room for. Printed at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Connections of one client (IPv6: of one /64).
    pub per_client: usize,
    /// Connections that have not signed in, on all listeners.
    pub before_login: usize,
    /// Of these, logins that wait while their account is held: never so many that nobody else can sign in.
    pub held: usize,
}

impl Room {
    /// Derived from the descriptor limit: one client may take half of what there is room for (a company behind one
    /// address, another proxy), and so may all that have not signed in.
    #[must_use]
    pub fn for_descriptors(limit: u64) -> Self {
        let sessions = limit.saturating_sub(RESERVED_DESCRIPTORS) / DESCRIPTORS_PER_SESSION;
        let half = usize::try_from(sessions / 2).unwrap_or(usize::MAX).max(16);
        Self {
            per_client: half,
            before_login: half,
            held: half / 2,
        }
    }
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Occupied {
    /// `max_connections` of the listener.
    #[error("the listener is full")]
    Listener,
    /// `Room::per_client`.
    #[error("the client has too many connections")]
    Client,
    /// `Room::before_login`.
    #[error("too many connections have not signed in")]
    BeforeLogin,
}

impl Occupied {
    /// As in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener_full",
            Self::Client => "client_limit",
            Self::BeforeLogin => "login_limit",
        }
    }
}

/// The counters of one node.
#[derive(Debug)]
pub struct Limits {
    room: Room,
    before_login: AtomicUsize,
    clients: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    hasher: RandomState,
}

impl Limits {
    /// None are taken.
    #[must_use]
    pub fn new(room: Room) -> Arc<Self> {
        Arc::new(Self {
            room,
            before_login: AtomicUsize::new(0),
            clients: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        })
    }

    /// Connections now that have not signed in.
    #[must_use]
    pub fn before_login(&self) -> usize {
        self.before_login.load(Ordering::Relaxed)
    }

    /// Takes the place of one connection. `listener` counts the connections of its listener.
    ///
    /// # Errors
    /// Which limit is reached; then nothing is taken.
    pub fn take(
        self: &Arc<Self>,
        listener: &Arc<AtomicUsize>,
        max_connections: usize,
        client: IpAddr,
    ) -> Result<Permit, Occupied> {
        let of_listener = Place::take(listener, max_connections).ok_or(Occupied::Listener)?;
        if self.before_login.fetch_add(1, Ordering::Relaxed) >= self.room.before_login {
            self.before_login.fetch_sub(1, Ordering::Relaxed);
            return Err(Occupied::BeforeLogin);
        }
        let before_login = BeforeLogin(Arc::clone(self));
        let of_client = self.take_client(client).ok_or(Occupied::Client)?;
        Ok(Permit {
            _listener: of_listener,
            before_login: Some(before_login),
            client: of_client,
        })
    }

    fn take_client(self: &Arc<Self>, client: IpAddr) -> Option<OfClient> {
        let client = subscriber(client);
        let mut counts = self.shard(client).lock();
        let count = counts.entry(client).or_insert(0);
        if *count >= self.room.per_client {
            return None;
        }
        *count += 1;
        Some(OfClient {
            limits: Arc::clone(self),
            client,
        })
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let shard = self.hasher.hash_one(client) as usize % SHARDS;
        &self.clients[shard]
    }
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    _listener: Place,
    before_login: Option<BeforeLogin>,
    client: OfClient,
}

impl Permit {
    /// It signed in: it does not count among those who have not.
    pub fn signed_in(&mut self) {
        self.before_login = None;
    }

    /// The client turned out to be somebody else (an inbound PROXY header): counts for that one.
    ///
    /// # Errors
    /// When that client has too many.
    pub fn adopt(&mut self, client: IpAddr) -> Result<(), Occupied> {
        let limits = Arc::clone(&self.client.limits);
        self.client = limits.take_client(client).ok_or(Occupied::Client)?;
        Ok(())
    }
}

#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(counter: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let place = Self(Arc::clone(counter));
        // Dropping the place takes the count back.
        (counter.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct BeforeLogin(Arc<Limits>);

impl Drop for BeforeLogin {
    fn drop(&mut self) {
        self.0.before_login.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct OfClient {
    limits: Arc<Limits>,
    client: IpAddr,
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut counts = self.limits.shard(self.client).lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn logins_that_wait_for_a_held_account_never_take_all_places_before_login() {
        for descriptors in [0, 256, 1024, 65_536, u64::MAX] {
            let room = Room::for_descriptors(descriptors);
            assert!(room.held > 0 && room.held < room.before_login, "{room:?}");
        }
    }

    #[test]
    fn a_full_listener_takes_one_more_when_one_leaves() {
        let limits = Limits::new(Room::for_descriptors(4096));
        let listener = Arc::default();
        let client = address("192.0.2.1");
        let first = limits.take(&listener, 2, client).expect("room");
        let _second = limits.take(&listener, 2, client).expect("room");
        assert_eq!(limits.take(&listener, 2, client).err(), Some(Occupied::Listener));
        drop(first);
        assert!(limits.take(&listener, 2, client).is_ok());
        assert_eq!(listener.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_client_cannot_take_everything_and_an_ipv6_network_is_one_client() {
        let room = Room {
            per_client: 2,
            before_login: 100,
            held: 1,
        };
        let limits = Limits::new(room);
        let listener = Arc::default();
        let take = |text| limits.take(&listener, 100, address(text));
        let _a = take("2001:db8::1").expect("room");
        let b = take("2001:db8::2").expect("room");
        assert_eq!(take("2001:db8::3").err(), Some(Occupied::Client));
        assert!(take("2001:db8:0:1::3").is_ok());
        drop(b);
        assert!(take("2001:db8::3").is_ok());
    }

    #[test]
    fn those_who_never_sign_in_cannot_keep_others_out_once_they_signed_in() {
        let room = Room {
            per_client: 100,
            before_login: 2,
            held: 1,
        };
        let limits = Limits::new(room);
        let listener = Arc::default();
        let take = || limits.take(&listener, 100, address("192.0.2.1"));
        let mut a = take().expect("room");
        let _b = take().expect("room");
        assert_eq!(take().err(), Some(Occupied::BeforeLogin));
        a.signed_in();
        assert!(take().is_ok());
        assert_eq!(limits.before_login(), 1);
    }

    #[test]
    fn an_announced_client_counts_for_itself_and_not_for_its_proxy() {
        let room = Room {
            per_client: 1,
            before_login: 100,
            held: 1,
        };
        let limits = Limits::new(room);
        let listener = Arc::default();
        let mut behind_proxy = limits.take(&listener, 100, address("10.0.0.1")).expect("room");
        behind_proxy.adopt(address("192.0.2.1")).expect("room");
        let mut another = limits.take(&listener, 100, address("10.0.0.1")).expect("room");
        assert_eq!(another.adopt(address("192.0.2.1")), Err(Occupied::Client));
    }
}
