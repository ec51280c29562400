//! Who may not ask for a while: addresses that failed to show the token too often (management API 1).
//!
//! Stops guessing, and its memory is bounded: whoever has many addresses must not fill the node. Pure: the time is an
//! argument.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::backend::breaker::subscriber;

/// Addresses that are remembered; then the one that failed longest ago is forgotten.
const MOST_ADDRESSES: usize = 16_384;

/// `[admin] lockout_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Failures.
    pub(super) threshold: u32,
    /// Since the last of them.
    pub(super) duration: Duration,
}

/// Failures by address; of IPv6 by /64.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    addresses: HashMap<IpAddr, Failures>,
    /// By the number of their last failure: the first one is the oldest.
    oldest: BTreeMap<u64, IpAddr>,
    next: u64,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    number: u64,
}

impl Lockout {
    /// How much longer an address is locked out.
    pub(super) fn remaining(&self, client: IpAddr, now: Instant, policy: Policy) -> Option<Duration> {
        let failures = self.addresses.get(&subscriber(client))?;
        let remaining = (failures.last + policy.duration).checked_duration_since(now)?;
        (failures.count >= policy.threshold && !remaining.is_zero()).then_some(remaining)
    }

    /// It failed once more: its clock starts anew.
    pub(super) fn failed(&mut self, client: IpAddr, now: Instant, policy: Policy) {
        let client = subscriber(client);
        // Those that are over stand in the front: durations are all alike.
        while let Some((&number, &oldest)) = self.oldest.first_key_value() {
            let over = self
                .addresses
                .get(&oldest)
                .is_none_or(|failures| now.saturating_duration_since(failures.last) >= policy.duration);
            let makes_room = self.addresses.len() >= MOST_ADDRESSES && !self.addresses.contains_key(&client);
            if !over && !makes_room {
                break;
            }
            self.oldest.remove(&number);
            self.addresses.remove(&oldest);
        }
        let number = self.next;
        self.next += 1;
        let failures = self.addresses.entry(client).or_insert(Failures {
            count: 0,
            last: now,
            number,
        });
        self.oldest.remove(&failures.number);
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.number = number;
        self.oldest.insert(number, client);
    }

    /// It showed the token.
    pub(super) fn succeeded(&mut self, client: IpAddr) {
        if let Some(failures) = self.addresses.remove(&subscriber(client)) {
            self.oldest.remove(&failures.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const POLICY: Policy = Policy {
        threshold: 3,
        duration: Duration::from_secs(300),
    };
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: u64) -> Instant {
        use std::sync::LazyLock;
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_is_locked_out_at_the_threshold_until_the_time_since_its_last_failure_is_over() {
        let mut lockout = Lockout::default();
        for second in [0, 100, 200] {
            assert_eq!(lockout.remaining(CLIENT, at(second), POLICY), None);
            lockout.failed(CLIENT, at(second), POLICY);
        }
        assert_eq!(
            lockout.remaining(CLIENT, at(260), POLICY),
            Some(Duration::from_secs(240))
        );
        assert!(lockout.remaining(CLIENT, at(499), POLICY).is_some());
        assert_eq!(lockout.remaining(CLIENT, at(500), POLICY), None);
        lockout.failed(CLIENT, at(501), POLICY);
        assert_eq!(
            lockout.remaining(CLIENT, at(501), POLICY),
            None,
            "it starts from nothing"
        );
    }

    #[test]
    fn the_right_token_clears_the_count() {
        let mut lockout = Lockout::default();
        lockout.failed(CLIENT, at(0), POLICY);
        lockout.failed(CLIENT, at(0), POLICY);
        lockout.succeeded(CLIENT);
        lockout.failed(CLIENT, at(1), POLICY);
        assert_eq!(lockout.remaining(CLIENT, at(1), POLICY), None);
        assert_eq!(lockout.oldest.len(), 1);
    }

    #[test]
    fn a_whole_ipv6_network_of_one_subscriber_counts_as_one_and_a_mapped_address_as_ipv4() {
        let mut lockout = Lockout::default();
        for host in 1..=3 {
            let one: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, host).into();
            lockout.failed(one, at(0), POLICY);
            lockout.failed(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(), at(0), POLICY);
        }
        let another: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 9).into();
        let elsewhere: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 1, 3, 0, 0, 0, 1).into();
        assert!(lockout.remaining(another, at(1), POLICY).is_some());
        assert!(lockout.remaining(CLIENT, at(1), POLICY).is_some());
        assert_eq!(lockout.remaining(elsewhere, at(1), POLICY), None);
    }

    #[test]
    fn memory_is_bounded_and_those_that_are_over_are_forgotten_first_then_the_oldest() {
        let mut lockout = Lockout::default();
        let client = |number: usize| IpAddr::V4(Ipv4Addr::from_bits(number as u32));
        let once = Policy {
            threshold: 1,
            ..POLICY
        };
        for number in 0..MOST_ADDRESSES {
            lockout.failed(client(number), at(if number < 10 { 0 } else { 100 }), once);
        }
        // The first of them fails again: it is the newest now.
        lockout.failed(client(0), at(200), once);
        // Nine are over by now, and make room for all that come.
        lockout.failed(client(MOST_ADDRESSES), at(310), once);
        assert_eq!(lockout.addresses.len(), MOST_ADDRESSES - 8);
        for number in 1..=20 {
            lockout.failed(client(MOST_ADDRESSES + number), at(311), once);
            assert!(lockout.addresses.len() <= MOST_ADDRESSES);
            assert_eq!(lockout.addresses.len(), lockout.oldest.len());
        }
        assert!(lockout.remaining(client(0), at(311), once).is_some());
        assert!(lockout.remaining(client(MOST_ADDRESSES), at(311), once).is_some());
        assert_eq!(
            lockout.remaining(client(10), at(311), once),
            None,
            "the oldest made room"
        );
    }
}
