//! Names of backends: resolved at every dial, once for all dials that ask at the same time; the last good addresses serve
//! while the resolver is down.
//!
//! A resolver that hangs keeps a thread for each question, so there is one question for a name at a time, whoever asks. It
//! is followed to its answer also when nobody waits for that any more.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use mailswitch_config::table::destination::Host;
use parking_lot::Mutex;

/// A resolver that has not answered by then counts as down, where there is an earlier answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The answers that the resolver gave last.
#[derive(Debug, Default)]
pub struct Names {
    resolver: Resolver,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

/// Of one name.
#[derive(Debug, Default)]
struct Known {
    addresses: Option<Arc<[IpAddr]>>,
    resolver: Did,
    asked: Option<Asked>,
}

/// What the resolver did when it was asked last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Did {
    #[default]
    Answer,
    Fail,
}

/// A question that is not answered yet.
type Asked = Shared<BoxFuture<'static, Result<Arc<[IpAddr]>, Arc<io::Error>>>>;

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
        let (asked, last) = {
            let mut all = self.known.lock();
            let known = all.entry(name.clone()).or_default();
            match (&known.asked, &known.addresses, known.resolver) {
                // Somebody has waited for it already.
                (Some(_), Some(last), Did::Fail) => return Ok(Arc::clone(last)),
                (Some(asked), last, _) => (asked.clone(), last.clone()),
                (None, last, _) => {
                    let asked = self.ask(name);
                    known.asked = Some(asked.clone());
                    (asked, last.clone())
                }
            }
        };
        let answer = match last {
            None => asked.await,
            Some(last) => tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
                if let Some(known) = self.known.lock().get_mut(name) {
                    known.failed(name, &io::ErrorKind::TimedOut.into());
                }
                Ok(last)
            }),
        };
        answer.map_err(|error| io::Error::new(error.kind(), error))
    }

    /// Asks on a task of its own, which writes the answer down.
    fn ask(&self, name: &str) -> Asked {
        let (resolver, all) = (self.resolver.clone(), Arc::clone(&self.known));
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            let found = match (resolver.0)(name.clone()).await {
                Ok(found) if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
                found => found,
            };
            let mut all = all.lock();
            let known = all.entry(name.clone()).or_default();
            known.asked = None;
            known.answered(&name, found).map_err(Arc::new)
        });
        let answer = task.map(|ended| ended.unwrap_or_else(|gone| Err(Arc::new(io::Error::other(gone)))));
        answer.boxed().shared()
    }
}

impl Known {
    /// Gives what is dialled then.
    fn answered(&mut self, name: &str, found: io::Result<Vec<IpAddr>>) -> io::Result<Arc<[IpAddr]>> {
        match (found, &self.addresses) {
            (Ok(found), _) => {
                let addresses: Arc<[IpAddr]> = interleave(found).into();
                self.addresses = Some(Arc::clone(&addresses));
                self.resolver = Did::Answer;
                Ok(addresses)
            }
            (Err(error), Some(last)) => {
                let last = Arc::clone(last);
                self.failed(name, &error);
                Ok(last)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn failed(&mut self, name: &str, error: &io::Error) {
        // Each login asks: one line for all of them, until it answers again.
        if std::mem::replace(&mut self.resolver, Did::Fail) == Did::Answer {
            tracing::warn!(
                host = name,
                %error,
                "name lookup failed: its last addresses serve until it can be resolved again"
            );
        }
    }
}

/// Gives the addresses of a name.
#[derive(Clone)]
struct Resolver(Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>);

impl Default for Resolver {
    /// The machine's.
    fn default() -> Self {
        Self(Arc::new(|name| {
            async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|at| at.ip()).collect())
            }
            .boxed()
        }))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
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
    use futures::future::join_all;
    use tokio::sync::{mpsc, oneshot};

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

    /// Names, and the questions that were asked for them, each to be answered by the test.
    fn names() -> (
        Names,
        mpsc::UnboundedReceiver<oneshot::Sender<io::Result<Vec<IpAddr>>>>,
    ) {
        let (sender, questions) = mpsc::unbounded_channel();
        let resolver = Resolver(Arc::new(move |_| {
            let (answer, answered) = oneshot::channel();
            let sent = sender.send(answer);
            async move {
                sent.expect("the test is there");
                answered.await.map_err(io::Error::other)?
            }
            .boxed()
        }));
        let names = Names {
            resolver,
            ..Names::default()
        };
        (names, questions)
    }

    fn host() -> Host {
        Host::Name("imap.example.org".to_owned())
    }

    #[tokio::test]
    async fn dials_at_the_same_time_ask_the_resolver_once() {
        let (names, mut questions) = names();
        let host = host();
        let dials = join_all((0..100).map(|_| names.addresses(&host)));
        let resolver = async {
            let question = questions.recv().await.expect("a question");
            question.send(Ok(addresses(&["192.0.2.1"]))).expect("they wait");
        };
        let (found, ()) = tokio::join!(dials, resolver);
        for found in found {
            assert_eq!(*found.expect("an answer"), *addresses(&["192.0.2.1"]));
        }
        assert!(questions.try_recv().is_err(), "one question");
        // The next one asks anew.
        let resolver = async {
            let question = questions.recv().await.expect("a question");
            question.send(Ok(addresses(&["192.0.2.2"]))).expect("it waits");
        };
        let (found, ()) = tokio::join!(names.addresses(&host), resolver);
        assert_eq!(*found.expect("an answer"), *addresses(&["192.0.2.2"]));
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_keeps_nobody_waiting_after_the_first_and_is_asked_once() {
        let (names, mut questions) = names();
        let host = host();
        let resolver = async {
            let question = questions.recv().await.expect("a question");
            question.send(Ok(addresses(&["192.0.2.1"]))).expect("it waits");
        };
        let (good, ()) = tokio::join!(names.addresses(&host), resolver);
        let good = good.expect("an answer");
        assert_eq!(names.addresses(&host).await.expect("the last answer"), good);
        let hung = questions.recv().await.expect("a question");
        for _ in 0..100 {
            // Without a turn of the scheduler: nothing is waited for.
            let found = names.addresses(&host).now_or_never();
            assert_eq!(found.expect("at once").expect("the last answer"), good);
        }
        assert!(questions.try_recv().is_err(), "it is asked once");
        // It is back: its answer, that nobody waits for any more, counts from then on.
        hung.send(Ok(addresses(&["192.0.2.2"]))).expect("it is followed");
        let resolver = async {
            let question = questions.recv().await.expect("a question");
            question
                .send(Err(io::ErrorKind::NotFound.into()))
                .expect("it waits");
        };
        while names.known.lock().values().any(|known| known.asked.is_some()) {
            tokio::task::yield_now().await;
        }
        let (found, ()) = tokio::join!(names.addresses(&host), resolver);
        assert_eq!(*found.expect("the last answer"), *addresses(&["192.0.2.2"]));
    }

    #[tokio::test]
    async fn the_last_good_addresses_serve_while_a_name_cannot_be_resolved() {
        let (names, mut questions) = names();
        let host = host();
        let good = addresses(&["192.0.2.1"]);
        let no_answer = || Err(io::ErrorKind::NotFound.into());
        for (answer, dialled) in [
            (no_answer(), None),
            (Ok(good.clone()), Some(&good)),
            (no_answer(), Some(&good)),
            (Ok(Vec::new()), Some(&good)),
        ] {
            let resolver = async {
                let question = questions.recv().await.expect("a question");
                question.send(answer).expect("it waits");
            };
            let (found, ()) = tokio::join!(names.addresses(&host), resolver);
            assert_eq!(found.ok().as_deref(), dialled.map(Vec::as_slice));
        }
    }

    #[tokio::test]
    async fn a_name_that_the_machines_resolver_does_not_know_is_an_error() {
        let host = Host::Name("no-such-host.invalid".to_owned());
        assert!(Names::default().addresses(&host).await.is_err());
    }

    #[tokio::test]
    async fn a_literal_address_is_not_looked_up() {
        let host = Host::Address(IpAddr::from([192, 0, 2, 7]));
        let found = Names::default().addresses(&host).await.expect("itself");
        assert_eq!(*found, [IpAddr::from([192, 0, 2, 7])]);
    }
}
