//! The instruments of the two servers, with their units. Make them once, after `start`, and hand them down.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

use crate::name::metric;

/// From a tenth of a millisecond, a lookup, to a minute, the longest hold of a login.
const SECONDS: [f64; 18] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0,
    30.0, 60.0,
];

/// Those of a node.
#[derive(Debug, Clone)]
pub struct NodeInstruments {
    /// Sessions now, by protocol and destination.
    pub sessions: UpDownCounter<i64>,
    /// By protocol, destination and outcome.
    pub logins: Counter<u64>,
    /// Seconds, by protocol and destination.
    pub login_duration: Histogram<f64>,
    /// Seconds, by protocol.
    pub hold_wait: Histogram<f64>,
    /// Logins now, by protocol.
    pub hold_waiting: UpDownCounter<i64>,
    /// By outcome.
    pub mapping_lookups: Counter<u64>,
    /// Now.
    pub mapping_entries: Gauge<u64>,
    /// Seconds, by protocol and destination.
    pub dial_duration: Histogram<f64>,
    /// 0 or 1, by protocol and destination.
    pub breaker_open: Gauge<u64>,
    /// By listener.
    pub connections: Counter<u64>,
    /// By listener.
    pub connections_refused: Counter<u64>,
    /// Seconds since 1970, by certificate, or by the destination that a client certificate is for.
    pub certificate_not_after: Gauge<u64>,
    /// Bytes, by protocol, destination and direction. Added when a bridge ends, and now and then before.
    pub bridge_io: Counter<u64>,
    /// Applied.
    pub revision: Gauge<u64>,
    /// 0 or 1.
    pub connected: Gauge<u64>,
}

impl NodeInstruments {
    /// Makes them.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            sessions: now(meter, metric::SESSIONS, "{session}", "Sessions that are open now"),
            logins: counter(meter, metric::LOGINS, "{login}", "Logins by outcome"),
            login_duration: seconds(
                meter,
                metric::LOGIN_DURATION,
                "From a login to its answer, holds not counted",
            ),
            hold_wait: seconds(meter, metric::HOLD_WAIT, "How long logins waited on a hold"),
            hold_waiting: now(
                meter,
                metric::HOLD_WAITING,
                "{login}",
                "Logins that wait on a hold now",
            ),
            mapping_lookups: counter(
                meter,
                metric::MAPPING_LOOKUPS,
                "{login}",
                "Logins that asked the mappings of a node that runs alone",
            ),
            mapping_entries: gauge(
                meter,
                metric::MAPPING_ENTRIES,
                "Answers of the mappings' store that are kept",
            ),
            dial_duration: seconds(
                meter,
                metric::DIAL_DURATION,
                "From connect to the end of the handshake",
            ),
            breaker_open: gauge(
                meter,
                metric::BREAKER_OPEN,
                "1 while a destination is marked down",
            ),
            connections: counter(
                meter,
                metric::CONNECTIONS,
                "{connection}",
                "Connections that were taken",
            ),
            connections_refused: counter(
                meter,
                metric::CONNECTIONS_REFUSED,
                "{connection}",
                "Connections that were closed at once because the listener was full",
            ),
            certificate_not_after: meter
                .u64_gauge(metric::CERTIFICATE_NOT_AFTER)
                .with_unit("s")
                .with_description("The last second of a certificate, since 1970")
                .build(),
            bridge_io: counter(meter, metric::BRIDGE_IO, "By", "Bytes that were bridged"),
            revision: gauge(meter, metric::REVISION, "The revision that is applied"),
            connected: gauge(meter, metric::CONNECTED, "1 while connected to a control plane"),
        }
    }
}

/// What a node's lease is when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseNow {
    /// Armings in force.
    pub armings: u64,
    /// It is live.
    pub live: bool,
    /// Since the request that was granted last. None: none was.
    pub age: Option<Duration>,
}

/// Shows a node's lease: asked when somebody looks, because nothing tells when time has gone by. None: there is nothing to
/// be shown any more.
pub fn observe_lease(meter: &Meter, now: impl Fn() -> Option<LeaseNow> + Clone + Send + Sync + 'static) {
    let (armings, live, age) = (now.clone(), now.clone(), now);
    meter
        .u64_observable_gauge(metric::ARMINGS)
        .with_description("Armings in force")
        .with_callback(move |gauge| {
            if let Some(lease) = armings() {
                gauge.observe(lease.armings, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge(metric::LEASE_LIVE)
        .with_description("1 while the node's lease is live: armed accounts are admitted")
        .with_callback(move |gauge| {
            if let Some(lease) = live() {
                gauge.observe(u64::from(lease.live), &[]);
            }
        })
        .build();
    meter
        .f64_observable_gauge(metric::LEASE_AGE)
        .with_unit("s")
        .with_description("Since the node asked for the lease that it was granted last")
        .with_callback(move |gauge| {
            if let Some(age) = age().and_then(|lease| lease.age) {
                gauge.observe(age.as_secs_f64(), &[]);
            }
        })
        .build();
}

/// Those of a control plane.
#[derive(Debug, Clone)]
pub struct ControlPlaneInstruments {
    /// Committed.
    pub revision: Gauge<u64>,
    /// Connected to this replica.
    pub nodes: Gauge<u64>,
    /// By outcome.
    pub cutovers: Counter<u64>,
    /// Seconds, by outcome.
    pub cutover_hold: Histogram<f64>,
    /// Seconds.
    pub commit_duration: Histogram<f64>,
}

impl ControlPlaneInstruments {
    /// Makes them.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            revision: gauge(meter, metric::REVISION, "The revision that is committed"),
            nodes: gauge(meter, metric::NODES, "Nodes that are connected to this replica"),
            cutovers: counter(meter, metric::CUTOVERS, "{cutover}", "Cutovers by outcome"),
            cutover_hold: seconds(
                meter,
                metric::CUTOVER_HOLD,
                "From the hold to the flip or the release",
            ),
            commit_duration: seconds(
                meter,
                metric::COMMIT_DURATION,
                "A writing transaction, until it is committed",
            ),
        }
    }
}

fn counter(meter: &Meter, name: &'static str, unit: &'static str, what: &'static str) -> Counter<u64> {
    meter
        .u64_counter(name)
        .with_unit(unit)
        .with_description(what)
        .build()
}

fn now(meter: &Meter, name: &'static str, unit: &'static str, what: &'static str) -> UpDownCounter<i64> {
    meter
        .i64_up_down_counter(name)
        .with_unit(unit)
        .with_description(what)
        .build()
}

fn gauge(meter: &Meter, name: &'static str, what: &'static str) -> Gauge<u64> {
    meter.u64_gauge(name).with_description(what).build()
}

fn seconds(meter: &Meter, name: &'static str, what: &'static str) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(what)
        .with_boundaries(SECONDS.to_vec())
        .build()
}
