//! Names of backends: resolved at every dial; the last good addresses serve while the resolver is down.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::destination::Host;
use parking_lot::Mutex;

/// A resolver that has not answered by then counts as down, where there is an earlier answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The answers that the resolver gave last.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    addresses: Arc<[IpAddr]>,
    resolver: Resolver,
}

/// What it did when it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolver {
    Answers,
    IsDown,
}

impl Names {
    /// The addresses of a host, families interleaved, the resolver's first choice first (RFC 8305 §4).
    ///
    /// # Errors
    /// When the name has none and never had.
    pub async fn addresses(&self, host: &Host) -> io::Result<Arc<[IpAddr]>> {
        let name = match host {
            Host::Address(address) => return Ok(Arc::from([*address])),
            Host::Name(name) => name,
        };
        let known = self.0.lock().get(name).cloned();
        let lookup = tokio::net::lookup_host((name.as_str(), 0));
        let answer = match &known {
            None => lookup.await,
            Some(_) => tokio::time::timeout(PATIENCE, lookup)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        let found: io::Result<Vec<IpAddr>> = answer.map(|found| found.map(|at| at.ip()).collect());
        match (found, known) {
            (Ok(found), _) if !found.is_empty() => {
                let addresses: Arc<[IpAddr]> = interleave(found).into();
                self.remember(name, &addresses, Resolver::Answers);
                Ok(addresses)
            }
            (failed, Some(known)) => {
                // Each login asks: one line for all of them, until it answers again.
                if self.remember(name, &known.addresses, Resolver::IsDown) == Some(Resolver::Answers) {
                    tracing::warn!(
                        host = name,
                        error = ?failed.err(),
                        "name lookup failed: its last addresses serve until it can be resolved again"
                    );
                }
                Ok(known.addresses)
            }
            (Err(error), None) => Err(error),
            (Ok(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Names {
    /// Gives what the resolver had done before.
    fn remember(&self, name: &str, addresses: &Arc<[IpAddr]>, resolver: Resolver) -> Option<Resolver> {
        let known = Known {
            addresses: Arc::clone(addresses),
            resolver,
        };
        let before = self.0.lock().insert(name.to_owned(), known);
        before.map(|before| before.resolver)
    }
}

/// Alternates the families, keeping the order within each, so that one family that leads nowhere costs one attempt.
fn interleave(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut unique = Vec::with_capacity(found.len());
    for address in found {
        let address = address.to_canonical();
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v6 = unique.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = unique
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect()
    }

    #[test]
    fn families_alternate_and_the_resolvers_first_choice_stays_first() {
        assert_eq!(
            interleave(addresses(&[
                "2001:db8::1",
                "2001:db8::2",
                "192.0.2.1",
                "192.0.2.1",
                "2001:db8::3"
            ])),
            addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"])
        );
    }

    #[tokio::test]
    async fn the_last_good_addresses_serve_while_a_name_cannot_be_resolved() {
        let names = Names::default();
        let host = Host::Name("no-such-host.invalid".to_owned());
        assert!(names.addresses(&host).await.is_err());
        let good: Arc<[IpAddr]> = addresses(&["192.0.2.1"]).into();
        names.remember("no-such-host.invalid", &good, Resolver::Answers);
        assert_eq!(names.addresses(&host).await.expect("the last answer"), good);
    }

    #[tokio::test]
    async fn a_literal_address_is_not_looked_up() {
        let host = Host::Address(IpAddr::from([192, 0, 2, 7]));
        let found = Names::default().addresses(&host).await.expect("itself");
        assert_eq!(*found, [IpAddr::from([192, 0, 2, 7])]);
    }
}
