//! When a registered process counts as one without a session of the account: pure, so that the flip's transaction, its
//! driver and the model decide alike (promise F1, L3, L4, N3).

use std::time::Duration;

use super::operation::FencedIs;

/// What is recorded of a process when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether it acknowledged this very hold (promise Q4).
    pub hold: Said,
    /// Whether it acknowledged the arming that this hold follows (promise L4).
    pub arming: Said,
    /// Whether its node is fenced.
    pub fence: Fence,
}

/// Whether something was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was.
    Acknowledged,
    /// Nothing was heard of it.
    Nothing,
}

/// Whether a node is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// An operator fenced it.
    Fenced,
    /// Nobody did.
    None,
}

/// What the operation brings with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether its driver has waited for the leases of silent nodes.
    pub leases: Leases,
    /// The operator's word on fenced nodes.
    pub fenced: FencedIs,
}

/// Whether every lease that was granted before the hold is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// They are, wherever clocks keep their rate within the margin.
    Over,
    /// One may be live.
    MayBeLive,
}

/// How a process stands to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It said that no session is left on it, and none will be admitted (promise Q4).
    Quiesced,
    /// It can have none: the lease without which it admits nobody is over (promise L3, L4).
    Lapsed,
    /// It is fenced, and the operator says that it is off (promise N3).
    TakenAsOff,
    /// Nothing is proven.
    Missing,
}

/// How a process stands. Fencing alone proves nothing (promise N3), nor does a lapse without the acknowledgement of this
/// arming (promise L4).
#[must_use]
pub fn standing(facts: Facts, terms: Terms) -> Standing {
    match (facts, terms) {
        (
            Facts {
                hold: Said::Acknowledged,
                ..
            },
            _,
        ) => Standing::Quiesced,
        (
            Facts {
                arming: Said::Acknowledged,
                ..
            },
            Terms {
                leases: Leases::Over, ..
            },
        ) => Standing::Lapsed,
        (
            Facts {
                fence: Fence::Fenced, ..
            },
            Terms {
                fenced: FencedIs::Off,
                ..
            },
        ) => Standing::TakenAsOff,
        _ => Standing::Missing,
    }
}

/// How long a driver waits, on its own boot-time clock, from when it saw the hold committed: a lease and a quarter of
/// one, for clocks that do not run alike (promise L3).
#[must_use]
pub fn wait_of(lease: Duration) -> Duration {
    lease.saturating_mul(5) / 4
}

/// What a driver may say of leases that were granted before the hold, having waited so long. Without a lease (a record
/// of before there were any) it never may.
#[must_use]
pub fn leases_after(waited: Duration, lease: Duration) -> Leases {
    if !lease.is_zero() && waited >= wait_of(lease) {
        Leases::Over
    } else {
        Leases::MayBeLive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Facts = Facts {
        hold: Said::Nothing,
        arming: Said::Nothing,
        fence: Fence::None,
    };

    const WAITED: Terms = Terms {
        leases: Leases::Over,
        fenced: FencedIs::Unsaid,
    };

    #[test]
    fn a_lapse_counts_only_for_a_node_that_acknowledged_the_arming_and_only_after_the_wait() {
        let armed = Facts {
            arming: Said::Acknowledged,
            ..SILENT
        };
        assert_eq!(standing(armed, WAITED), Standing::Lapsed);
        assert_eq!(standing(SILENT, WAITED), Standing::Missing);
        let early = Terms {
            leases: Leases::MayBeLive,
            ..WAITED
        };
        assert_eq!(standing(armed, early), Standing::Missing);
    }

    #[test]
    fn a_fence_counts_only_with_the_operators_word_and_the_word_only_for_a_fenced_node() {
        let fenced = Facts {
            fence: Fence::Fenced,
            ..SILENT
        };
        let word = Terms {
            leases: Leases::MayBeLive,
            fenced: FencedIs::Off,
        };
        assert_eq!(standing(fenced, WAITED), Standing::Missing);
        assert_eq!(standing(fenced, word), Standing::TakenAsOff);
        assert_eq!(standing(SILENT, word), Standing::Missing);
        // What is proven does not rest on anybody's word.
        let quiet = Facts {
            hold: Said::Acknowledged,
            ..fenced
        };
        assert_eq!(standing(quiet, word), Standing::Quiesced);
    }

    #[test]
    fn the_wait_is_a_lease_and_a_quarter_and_without_a_lease_there_is_no_end_to_it() {
        let lease = Duration::from_secs(10);
        assert_eq!(wait_of(lease), Duration::from_millis(12_500));
        assert_eq!(
            leases_after(Duration::from_millis(12_499), lease),
            Leases::MayBeLive
        );
        assert_eq!(leases_after(Duration::from_millis(12_500), lease), Leases::Over);
        assert_eq!(
            leases_after(Duration::from_secs(3600), Duration::ZERO),
            Leases::MayBeLive
        );
    }
}
