//! What the nodes reported, added up over the fleet: sessions and logins by destination and protocol, waits on
//! holds, breakers. Counters are since the start of each node.

use std::collections::BTreeMap;

use mailswitch_proto::fleet::v1::{Breaker, Report, WaitTimes};
use serde::Serialize;

use crate::output::{Grid, filled, printable, span};

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Traffic {
    destinations: Vec<Leg>,
    waits: Waits,
    breakers: Vec<BreakerView>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Leg {
    /// None: no destination was resolved.
    destination: Option<String>,
    protocol: String,
    sessions: u64,
    accepted: u64,
    refused: u64,
    temporary_failures: u64,
    client_gone: u64,
}

/// How long logins waited on holds.
#[derive(Debug, Default, Serialize)]
struct Waits {
    logins: u64,
    /// An upper bound: the nodes count in powers of two.
    p50_millis: u64,
    max_millis: u64,
}

#[derive(Debug, Serialize)]
struct BreakerView {
    node: String,
    destination: String,
    protocol: String,
    open: bool,
    consecutive_failures: u32,
    last_error: Option<String>,
}

impl Traffic {
    pub(super) fn of<'a>(reports: impl Iterator<Item = (&'a str, &'a Report)>) -> Self {
        let mut legs = BTreeMap::<(String, String), Leg>::new();
        let mut waits = WaitTimes::default();
        let mut breakers = Vec::new();
        for (node, report) in reports {
            for active in &report.active {
                leg(&mut legs, &active.destination, &active.protocol).sessions += active.sessions;
            }
            for logins in &report.logins {
                leg(&mut legs, &logins.destination, &logins.protocol).count(&logins.outcome, logins.count);
            }
            if let Some(more) = &report.hold_waits {
                add(&mut waits, more);
            }
            breakers.extend(
                report
                    .breakers
                    .iter()
                    .map(|breaker| BreakerView::of(node, breaker)),
            );
        }
        Self {
            destinations: legs.into_values().collect(),
            waits: Waits::of(&waits),
            breakers,
        }
    }

    /// For the screen: what there is to say.
    pub(super) fn sections(&self) -> Vec<String> {
        vec![self.legs(), self.waits(), self.open_breakers()]
    }

    fn legs(&self) -> String {
        if self.destinations.is_empty() {
            return String::new();
        }
        let headings = [
            "DESTINATION",
            "PROTOCOL",
            "SESSIONS",
            "ACCEPTED",
            "REFUSED",
            "TEMPORARY FAILURES",
            "CLIENT GONE",
        ];
        let mut grid = Grid::new(headings).numbers(&[2, 3, 4, 5, 6]);
        for leg in &self.destinations {
            grid.row([
                leg.destination.clone().unwrap_or_else(|| "(none)".to_owned()),
                leg.protocol.clone(),
                leg.sessions.to_string(),
                leg.accepted.to_string(),
                leg.refused.to_string(),
                leg.temporary_failures.to_string(),
                leg.client_gone.to_string(),
            ]);
        }
        grid.text()
    }

    fn waits(&self) -> String {
        match self.waits.logins {
            0 => String::new(),
            logins => format!(
                "{logins} logins waited on a hold: half of them at most {}, the longest {}\n",
                span(self.waits.p50_millis),
                span(self.waits.max_millis)
            ),
        }
    }

    fn open_breakers(&self) -> String {
        self.breakers
            .iter()
            .filter(|breaker| breaker.open)
            .map(|breaker| {
                let error = breaker.last_error.as_deref().unwrap_or("unknown");
                let line = format!(
                    "breaker open on {}: {} {}, {} failures in a row, last: {error}",
                    breaker.node, breaker.destination, breaker.protocol, breaker.consecutive_failures
                );
                format!("{}\n", printable(&line))
            })
            .collect()
    }
}

fn leg<'a>(legs: &'a mut BTreeMap<(String, String), Leg>, destination: &str, protocol: &str) -> &'a mut Leg {
    legs.entry((destination.to_owned(), protocol.to_owned()))
        .or_insert_with(|| Leg {
            destination: filled(destination),
            protocol: protocol.to_owned(),
            ..Leg::default()
        })
}

impl Leg {
    fn count(&mut self, outcome: &str, count: u64) {
        match outcome {
            "accepted" => self.accepted += count,
            "refused" => self.refused += count,
            "client_gone" => self.client_gone += count,
            // An outcome of a newer node is not a success.
            _ => self.temporary_failures += count,
        }
    }
}

fn add(sum: &mut WaitTimes, more: &WaitTimes) {
    let longest = sum.buckets.len().max(more.buckets.len());
    sum.buckets.resize(longest, 0);
    sum.buckets
        .iter_mut()
        .zip(&more.buckets)
        .for_each(|(sum, more)| *sum += more);
    sum.count += more.count;
    sum.sum_millis += more.sum_millis;
    sum.max_millis = sum.max_millis.max(more.max_millis);
}

impl Waits {
    fn of(times: &WaitTimes) -> Self {
        let half = times.count.div_ceil(2);
        let mut seen = 0;
        let bucket = times.buckets.iter().position(|count| {
            seen += count;
            seen >= half
        });
        let bound = bucket.map_or(times.max_millis, |bucket| {
            1_u64.checked_shl(bucket as u32).unwrap_or(u64::MAX)
        });
        Self {
            logins: times.count,
            p50_millis: if times.count == 0 {
                0
            } else {
                bound.min(times.max_millis)
            },
            max_millis: times.max_millis,
        }
    }
}

impl BreakerView {
    fn of(node: &str, breaker: &Breaker) -> Self {
        Self {
            node: node.to_owned(),
            destination: breaker.destination.clone(),
            protocol: breaker.protocol.clone(),
            open: breaker.open,
            consecutive_failures: breaker.consecutive_failures,
            last_error: filled(&breaker.last_error),
        }
    }
}
