//! The circuit breaker of one destination's protocol leg: a pure core that takes the time as an argument.
//!
//! It opens on a streak of failures that either are the host's own (no connection came about) or come from enough
//! different clients: one banned client must not take a server away from everybody (behaviour §7.2). Open, it
//! rejects at once; after the cooldown one connection at a time is let through as a probe.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many client addresses of a streak are remembered: more would only cost memory.
const MAX_REMEMBERED_SOURCES: usize = 1024;

/// When it opens and for how long: `server.host_down_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Failures that open it; 0: never.
    pub threshold: u32,
    /// Distinct clients that a streak of client-attributed failures must span; 0: the number alone counts.
    pub min_clients: u32,
    /// Rejecting at once for this long, before a probe.
    pub cooldown: Duration,
}

/// Whom a failure speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No TCP connection came about: name, connect, time-out before it existed.
    HostLevel,
    /// Anything after the connect: it may be about this client only.
    ClientAttributed(IpAddr),
}

/// Whether a connection may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// As usual.
    Pass,
    /// As the one probe: its outcome decides, and nobody else passes until it is known or abandoned.
    Probe,
    /// Marked down: answer the temporary failure at once.
    Reject,
}

/// What a recorded outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others need to hear of.
    None,
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

/// As reported to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Connections are rejected, or only probed.
    pub open: bool,
    /// The length of the streak.
    pub consecutive_failures: u32,
    /// How many different clients it spans.
    pub failure_sources: u32,
    /// It contains a failure of the host itself.
    pub host_level_failure: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Down { until: Instant },
    Probing,
}

/// The state of one leg.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    failures: u32,
    host_level: u32,
    sources: HashSet<IpAddr>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            failures: 0,
            host_level: 0,
            sources: HashSet::new(),
        }
    }
}

impl Breaker {
    /// Asked before a connection is made. After `Probe`, one of `failed`, `succeeded` or `abandoned` must follow.
    pub fn gate(&mut self, now: Instant) -> Gate {
        match self.state {
            State::Closed => Gate::Pass,
            State::Down { until } if now >= until => {
                self.state = State::Probing;
                Gate::Probe
            }
            State::Down { .. } | State::Probing => Gate::Reject,
        }
    }

    /// One client connection failed to establish its backend leg, after its retries.
    pub fn failed(&mut self, gate: Gate, failure: Failure, now: Instant, policy: &Policy) -> Change {
        self.failures = self.failures.saturating_add(1);
        match failure {
            Failure::HostLevel => self.host_level = self.host_level.saturating_add(1),
            Failure::ClientAttributed(client) => self.remember(client),
        }
        match (self.state, gate) {
            // The probe's own failure: down again. What began before it went down says nothing new.
            (State::Probing, Gate::Probe) => {
                self.state = State::Down {
                    until: now + policy.cooldown,
                }
            }
            (State::Closed, _) if self.trips(policy) => {
                self.state = State::Down {
                    until: now + policy.cooldown,
                };
                return Change::Opened;
            }
            _ => {}
        }
        Change::None
    }

    /// A backend leg was established: clears everything.
    pub fn succeeded(&mut self) -> Change {
        let was_closed = matches!(self.state, State::Closed);
        *self = Self::default();
        if was_closed { Change::None } else { Change::Closed }
    }

    /// A connection ended without saying anything about the destination (the client left, no endpoint, a
    /// loop): if it was the probe, the next one is.
    pub fn abandoned(&mut self, gate: Gate, now: Instant) {
        if let (State::Probing, Gate::Probe) = (self.state, gate) {
            self.state = State::Down { until: now };
        }
    }

    /// For reports.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            open: !matches!(self.state, State::Closed),
            consecutive_failures: self.failures,
            failure_sources: u32::try_from(self.sources.len()).unwrap_or(u32::MAX),
            host_level_failure: self.host_level > 0,
        }
    }

    fn trips(&self, policy: &Policy) -> bool {
        let sources = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        policy.threshold > 0
            && (self.host_level >= policy.threshold
                || (self.failures >= policy.threshold
                    && (policy.min_clients == 0 || sources >= policy.min_clients)))
    }

    fn remember(&mut self, client: IpAddr) {
        if self.sources.len() < MAX_REMEMBERED_SOURCES {
            self.sources.insert(subscriber(client));
        }
    }
}

/// An address as one subscriber: IPv6 collapsed to its /64, mapped IPv4 unmapped. Whoever has one IPv6 address
/// has 2^64 of them.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        threshold: 5,
        min_clients: 2,
        cooldown: Duration::from_secs(30),
    };

    fn client(n: u8) -> Failure {
        Failure::ClientAttributed(IpAddr::from([192, 0, 2, n]))
    }

    fn fail_all(breaker: &mut Breaker, failures: &[Failure], policy: &Policy) -> Vec<Change> {
        let now = Instant::now();
        failures
            .iter()
            .map(|failure| breaker.failed(Gate::Pass, *failure, now, policy))
            .collect()
    }

    #[test]
    fn a_streak_of_host_failures_opens_it_at_the_threshold() {
        let mut breaker = Breaker::default();
        let changes = fail_all(&mut breaker, &[Failure::HostLevel; 5], &POLICY);
        assert_eq!(changes[3], Change::None);
        assert_eq!(changes[4], Change::Opened);
        assert_eq!(breaker.gate(Instant::now()), Gate::Reject);
        assert!(breaker.status().host_level_failure);
    }

    #[test]
    fn one_banned_client_and_a_stray_connect_error_do_not_open_it() {
        let mut breaker = Breaker::default();
        let mut failures = vec![client(1); 50];
        failures.push(Failure::HostLevel);
        failures.extend(vec![client(1); 50]);
        let changes = fail_all(&mut breaker, &failures, &POLICY);
        assert!(changes.iter().all(|change| *change == Change::None));
        assert_eq!(breaker.gate(Instant::now()), Gate::Pass);
    }

    #[test]
    fn failures_of_two_clients_open_it() {
        let mut breaker = Breaker::default();
        let changes = fail_all(
            &mut breaker,
            &[client(1), client(1), client(1), client(1), client(2)],
            &POLICY,
        );
        assert_eq!(changes[4], Change::Opened);
        assert_eq!(breaker.status().failure_sources, 2);
    }

    #[test]
    fn two_addresses_of_one_ipv6_network_are_one_client() {
        let of = |text: &str| Failure::ClientAttributed(text.parse().expect("an address"));
        let mut breaker = Breaker::default();
        let same_network = [of("2001:db8::1"), of("2001:db8::2"), of("2001:db8::3")].repeat(4);
        fail_all(&mut breaker, &same_network, &POLICY);
        assert!(!breaker.status().open);
        fail_all(&mut breaker, &[of("2001:db8:0:1::1")], &POLICY);
        assert!(breaker.status().open);
    }

    #[test]
    fn without_a_minimum_of_clients_the_number_alone_counts() {
        let policy = Policy {
            min_clients: 0,
            ..POLICY
        };
        let mut breaker = Breaker::default();
        fail_all(&mut breaker, &[client(1); 5], &policy);
        assert!(breaker.status().open);
    }

    #[test]
    fn a_threshold_of_zero_turns_it_off() {
        let policy = Policy {
            threshold: 0,
            ..POLICY
        };
        let mut breaker = Breaker::default();
        fail_all(&mut breaker, &[Failure::HostLevel; 100], &policy);
        assert_eq!(breaker.gate(Instant::now()), Gate::Pass);
    }

    #[test]
    fn one_success_clears_the_streak() {
        let mut breaker = Breaker::default();
        fail_all(&mut breaker, &[Failure::HostLevel; 4], &POLICY);
        assert_eq!(breaker.succeeded(), Change::None);
        let changes = fail_all(&mut breaker, &[Failure::HostLevel; 4], &POLICY);
        assert!(changes.iter().all(|change| *change == Change::None));
    }

    #[test]
    fn after_the_cooldown_one_probe_passes_and_its_success_closes_it() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..5 {
            breaker.failed(Gate::Pass, Failure::HostLevel, start, &POLICY);
        }
        assert_eq!(breaker.gate(start + Duration::from_secs(29)), Gate::Reject);
        let later = start + Duration::from_secs(30);
        assert_eq!(breaker.gate(later), Gate::Probe);
        assert_eq!(breaker.gate(later), Gate::Reject, "one probe at a time");
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert_eq!(breaker.gate(later), Gate::Pass);
        assert_eq!(breaker.status().consecutive_failures, 0);
    }

    #[test]
    fn a_failed_probe_opens_it_for_another_cooldown() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..5 {
            breaker.failed(Gate::Pass, Failure::HostLevel, start, &POLICY);
        }
        let probe_at = start + Duration::from_secs(31);
        assert_eq!(breaker.gate(probe_at), Gate::Probe);
        breaker.failed(Gate::Probe, client(9), probe_at, &POLICY);
        assert_eq!(breaker.gate(probe_at + Duration::from_secs(29)), Gate::Reject);
        assert_eq!(breaker.gate(probe_at + Duration::from_secs(30)), Gate::Probe);
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_try_at_once() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..5 {
            breaker.failed(Gate::Pass, Failure::HostLevel, start, &POLICY);
        }
        let later = start + Duration::from_secs(40);
        assert_eq!(breaker.gate(later), Gate::Probe);
        breaker.abandoned(Gate::Probe, later);
        assert_eq!(breaker.gate(later), Gate::Probe);
    }

    #[test]
    fn a_late_failure_of_a_connection_from_before_does_not_prolong_the_cooldown() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..5 {
            breaker.failed(Gate::Pass, Failure::HostLevel, start, &POLICY);
        }
        breaker.failed(Gate::Pass, client(1), start + Duration::from_secs(20), &POLICY);
        assert_eq!(breaker.gate(start + Duration::from_secs(30)), Gate::Probe);
    }
}
