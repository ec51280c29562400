//! What a node counts for the fleet's sight: logins by outcome, active sessions, how long logins waited, breakers.
//!
//! Counters are cumulative since the start of the process, gauges are of now, and nothing here is chosen by a client.

mod sync_age;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::{CertificateName, DestinationName, Protocol};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::revision::Revision;
use mailswitch_sources::{Found, Origin};
use mailswitch_telemetry::{NodeInstruments, name};
use opentelemetry::KeyValue;
use opentelemetry::metrics::UpDownCounter;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::sync_age::SyncAge;
use crate::listen::Occupied;

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoginOutcome {
    /// The backend let the client in.
    Accepted,
    /// The backend did not.
    Refused,
    /// The protocol's temporary failure.
    TemporaryFailure,
    /// The client went before there was an answer.
    ClientGone,
}

impl LoginOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::TemporaryFailure => "temporary_failure",
            Self::ClientGone => "client_gone",
        }
    }
}

/// Waits of up to 2^19 ms, nearly nine minutes; the last bucket takes the rest.
const BUCKETS: usize = 20;

/// The counters.
#[derive(Debug)]
pub struct Report {
    logins: Mutex<BTreeMap<(String, Protocol, LoginOutcome), u64>>,
    active: Mutex<BTreeMap<(DestinationName, Protocol), u64>>,
    waits: [AtomicU64; BUCKETS],
    waited_max_millis: AtomicU64,
    waited_sum_millis: AtomicU64,
    breakers: Mutex<BTreeMap<(String, String), wire::Breaker>>,
    breaker_changes: mpsc::UnboundedSender<wire::Breaker>,
    sync_age: Mutex<SyncAge>,
    instruments: NodeInstruments,
}

impl Report {
    /// No counts yet. The receiver gets each breaker that opens or closes; it belongs to the feed.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<wire::Breaker>) {
        let (breaker_changes, changes) = mpsc::unbounded_channel();
        let report = Self {
            logins: Mutex::default(),
            active: Mutex::default(),
            waits: std::array::from_fn(|_| AtomicU64::new(0)),
            waited_max_millis: AtomicU64::new(0),
            waited_sum_millis: AtomicU64::new(0),
            breakers: Mutex::default(),
            breaker_changes,
            sync_age: Mutex::default(),
            instruments: NodeInstruments::new(&mailswitch_telemetry::meter()),
        };
        (report, changes)
    }

    /// A login ended. `destination`: none where none was resolved. `took`: without what it waited on holds.
    pub fn login(
        &self,
        destination: Option<&DestinationName>,
        protocol: Protocol,
        outcome: LoginOutcome,
        took: Duration,
    ) {
        let destination = destination.map_or_else(String::new, |name| name.as_str().to_owned());
        // Who left got no answer.
        if outcome != LoginOutcome::ClientGone {
            self.instruments
                .login_duration
                .record(took.as_secs_f64(), &leg(&destination, protocol));
        }
        let mut attributes = leg(&destination, protocol).to_vec();
        attributes.push(KeyValue::new(name::OUTCOME, outcome.as_str()));
        self.instruments.logins.add(1, &attributes);
        *self
            .logins
            .lock()
            .entry((destination, protocol, outcome))
            .or_default() += 1;
    }

    /// A session is bridged: counted as active until what this gives is dropped.
    pub fn open(self: &Arc<Self>, destination: &DestinationName, protocol: Protocol) -> Open {
        self.opened(destination, protocol);
        Open {
            report: Arc::clone(self),
            destination: destination.clone(),
            protocol,
        }
    }

    fn opened(&self, destination: &DestinationName, protocol: Protocol) {
        self.instruments
            .sessions
            .add(1, &leg(destination.as_str(), protocol));
        *self
            .active
            .lock()
            .entry((destination.clone(), protocol))
            .or_default() += 1;
    }

    fn closed(&self, destination: &DestinationName, protocol: Protocol) {
        self.instruments
            .sessions
            .add(-1, &leg(destination.as_str(), protocol));
        if let Some(active) = self.active.lock().get_mut(&(destination.clone(), protocol)) {
            *active = active.saturating_sub(1);
        }
    }

    /// A bridge ended, and this is what it moved.
    pub fn bridged(
        &self,
        destination: &DestinationName,
        protocol: Protocol,
        to_backend: u64,
        to_client: u64,
    ) {
        for (direction, bytes) in [("to_backend", to_backend), ("to_client", to_client)] {
            let mut attributes = leg(destination.as_str(), protocol).to_vec();
            attributes.push(KeyValue::new(name::DIRECTION, direction));
            self.instruments.bridge_io.add(bytes, &attributes);
        }
    }

    /// A leg was made, or could not be, within this time.
    pub fn dialled(&self, destination: &DestinationName, protocol: Protocol, time: Duration) {
        let attributes = leg(destination.as_str(), protocol);
        self.instruments
            .dial_duration
            .record(time.as_secs_f64(), &attributes);
    }

    /// A listener took a connection, or closed it because it was full.
    pub fn connection(&self, listener: &str, taken: Taken) {
        let listener = KeyValue::new(name::LISTENER, listener.to_owned());
        match taken {
            Taken::Yes => self.instruments.connections.add(1, &[listener]),
            Taken::No(limit) => {
                let why = KeyValue::new(name::ERROR, limit.as_str());
                self.instruments.connections_refused.add(1, &[listener, why]);
            }
        }
    }

    /// A certificate, and the last second at which it is valid.
    pub fn certificate(&self, certificate: OfCertificate<'_>, not_after: i64) {
        let attribute = match certificate {
            OfCertificate::Presented(name) => KeyValue::new(name::CERTIFICATE, name.to_string()),
            OfCertificate::ShownTo(destination) => {
                KeyValue::new(name::DESTINATION, destination.as_str().to_owned())
            }
        };
        // Before 1970 is as expired as can be.
        self.instruments
            .certificate_not_after
            .record(u64::try_from(not_after).unwrap_or_default(), &[attribute]);
    }

    /// The revision that is applied.
    pub fn revision(&self, revision: Revision) {
        self.instruments.revision.record(revision.0, &[]);
    }

    /// A login asked the mappings of a lone node.
    pub fn looked_up(&self, found: &Found) {
        let result = match (found.cached, found.origin) {
            (true, _) => "hit",
            (false, Origin::Mapping | Origin::Default) => "miss",
            (false, Origin::RememberedMapping | Origin::RememberedDefault) => "stale",
            (false, Origin::Error) => "failed",
        };
        let result = KeyValue::new(name::OUTCOME, result);
        self.instruments.mapping_lookups.add(1, &[result]);
    }

    /// How many answers of the mappings' store are kept.
    pub fn cached(&self, entries: u64) {
        self.instruments.mapping_entries.record(entries, &[]);
    }

    /// Whether the node is connected to a control plane.
    pub fn feed(&self, feed: FeedState) {
        let connected = u64::from(feed != FeedState::Away);
        self.instruments.connected.record(connected, &[]);
        self.sync_age.lock().becomes(feed, Instant::now());
    }

    /// How long ago it last knew all that its control plane knew; zero while it is connected. None: not in this process.
    pub fn sync_age(&self) -> Option<Duration> {
        self.sync_age.lock().at(Instant::now())
    }

    /// One more login waits on a hold; dropping what this gives ends its wait.
    pub fn waits(&self, protocol: Protocol) -> Waits {
        let attributes = [KeyValue::new(name::PROTOCOL, protocol.as_str())];
        let counter = self.instruments.hold_waiting.clone();
        counter.add(1, &attributes);
        Waits { counter, attributes }
    }

    /// A login waited on a hold this long.
    pub fn waited(&self, time: Duration) {
        self.instruments.hold_wait.record(time.as_secs_f64(), &[]);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let bucket = (0..BUCKETS - 1)
            .find(|bucket| millis <= 1 << bucket)
            .unwrap_or(BUCKETS - 1);
        self.waits[bucket].fetch_add(1, Ordering::Relaxed);
        self.waited_max_millis.fetch_max(millis, Ordering::Relaxed);
        self.waited_sum_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// What a breaker says now. `changed`: it opened or closed, which is told at once.
    pub fn breaker(&self, breaker: wire::Breaker, changed: BreakerNews) {
        let attributes = [
            KeyValue::new(name::DESTINATION, breaker.destination.clone()),
            KeyValue::new(name::PROTOCOL, breaker.protocol.clone()),
        ];
        self.instruments
            .breaker_open
            .record(u64::from(breaker.open), &attributes);
        let key = (breaker.destination.clone(), breaker.protocol.clone());
        self.breakers.lock().insert(key, breaker.clone());
        if changed == BreakerNews::OpenedOrClosed {
            // The receiver is gone only when the process ends, or in a node without a control plane.
            let _ = self.breaker_changes.send(breaker);
        }
    }

    /// All counts, for the feed, which adds what is no count. `waiting`: logins that wait on a hold now.
    #[must_use]
    pub fn message(&self, waiting: usize) -> wire::Report {
        let buckets: Vec<u64> = self
            .waits
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        wire::Report {
            active: self
                .active
                .lock()
                .iter()
                .map(|((destination, protocol), sessions)| wire::ActiveSessions {
                    destination: destination.as_str().to_owned(),
                    protocol: protocol.to_string(),
                    sessions: *sessions,
                })
                .collect(),
            logins: self
                .logins
                .lock()
                .iter()
                .map(|((destination, protocol, outcome), count)| wire::Logins {
                    destination: destination.clone(),
                    protocol: protocol.to_string(),
                    outcome: outcome.as_str().to_owned(),
                    count: *count,
                })
                .collect(),
            hold_waits: Some(wire::WaitTimes {
                count: buckets.iter().sum(),
                buckets,
                max_millis: self.waited_max_millis.load(Ordering::Relaxed),
                sum_millis: self.waited_sum_millis.load(Ordering::Relaxed),
            }),
            waiting: waiting as u64,
            breakers: self.breakers.lock().values().cloned().collect(),
            ..wire::Report::default()
        }
    }
}

/// Whose certificate it is.
#[derive(Debug, Clone, Copy)]
pub enum OfCertificate<'a> {
    /// `[tls.certificate.NAME]`.
    Presented(&'a CertificateName),
    /// The client certificate of a destination.
    ShownTo(&'a DestinationName),
}

/// What became of a connection at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is served.
    Yes,
    /// There was no room.
    No(Occupied),
}

fn leg(destination: &str, protocol: Protocol) -> [KeyValue; 2] {
    [
        KeyValue::new(name::DESTINATION, destination.to_owned()),
        KeyValue::new(name::PROTOCOL, protocol.as_str()),
    ]
}

/// A bridged session, counted as active until it is dropped.
#[derive(Debug)]
pub struct Open {
    report: Arc<Report>,
    destination: DestinationName,
    protocol: Protocol,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.report.closed(&self.destination, self.protocol);
    }
}

/// A login that waits, counted until it is dropped.
#[derive(Debug)]
pub struct Waits {
    counter: UpDownCounter<i64>,
    attributes: [KeyValue; 1],
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.counter.add(-1, &self.attributes);
    }
}

/// Whether there is a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedState {
    /// The control plane has welcomed the node.
    Connected,
    /// It has, and knows less than the node (D3).
    Diverged,
    /// The node goes on with what it has.
    Away,
}

/// Whether a breaker's state is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerNews {
    /// Only its counts moved.
    CountsOnly,
    /// It opened or closed.
    OpenedOrClosed,
}
