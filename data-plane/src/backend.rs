//! The backend leg: from a destination's name to a connection that waits for a credential (behaviour §4).
//!
//! `Backends` is what a node knows of its destinations: their settings, their TLS, their breakers, their last good
//! addresses. `establish` makes a leg; nothing in it has seen a credential, so it may be retried and dropped.

pub mod announce;
pub mod breaker;
pub mod dial;
pub mod establish;
pub mod loops;
pub mod names;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use mailswitch_config::protocol::Keyword as _;
use mailswitch_config::table::destination::{Destination, Endpoint};
use mailswitch_config::table::server::Server;
use mailswitch_config::{DestinationName, FleetConfig, Protocol, TlsMode};
use mailswitch_proto::fleet::v1 as wire;
use parking_lot::Mutex;

use self::breaker::{Breaker, Change, Failure, Gate, Policy, Status};
use self::dial::Dialler;
use self::establish::EstablishError;
use self::loops::OwnListeners;
use crate::report::{BreakerNews, Report};
use crate::tls::{ClientTls, ClientTlsError, Complaint, PlatformTrust, Validity, Watched};

/// A destination, ready to be dialled.
#[derive(Debug)]
pub struct Backend {
    /// Its table.
    pub destination: Destination,
    /// Of the legs that use it. Why there is none is logged when the configuration is taken, and again by each login
    /// that needs it.
    tls: Result<BTreeMap<Protocol, ClientTls>, Arc<ClientTlsError>>,
    identity: Option<Identity>,
}

/// Its client certificate.
#[derive(Debug)]
struct Identity {
    validity: Option<Validity>,
    files: Arc<Mutex<Watched>>,
}

impl Backend {
    fn new(destination: &Destination, trust: &mut PlatformTrust) -> Self {
        let identity = destination.client_certificate.as_ref().map(|identity| {
            let files = Watched::new([identity.cert.clone(), identity.key.clone()]);
            Identity {
                validity: Validity::of_file(&identity.cert),
                files: Arc::new(Mutex::new(files)),
            }
        });
        let tls = legs(destination, trust);
        if let Err(error) = &tls {
            tracing::error!(destination = %destination.name, error = crate::error_chain(error), "no TLS connection to this destination can be made");
        }
        Self {
            destination: destination.clone(),
            tls: tls.map_err(Arc::new),
            identity,
        }
    }

    /// The same with the client certificate that is on the disk now. None: it is the one in use, or cannot be used.
    fn renewed(&self, trust: &mut PlatformTrust) -> Option<Self> {
        let shared = &self.identity.as_ref()?.files;
        let mut files = shared.lock();
        let stamp = files.look()?;
        let name = &self.destination.name;
        match legs(&self.destination, trust) {
            Ok(tls) => {
                tracing::info!(destination = %name, "the client certificate was replaced on disk: new connections show it");
                files.took(stamp);
                Some(Self {
                    destination: self.destination.clone(),
                    tls: Ok(tls),
                    identity: Some(Identity {
                        validity: Validity::of_file(&self.destination.client_certificate.as_ref()?.cert),
                        files: Arc::clone(shared),
                    }),
                })
            }
            Err(error) => {
                let error = crate::error_chain(&error);
                if files.refused(&error) == Complaint::New {
                    tracing::warn!(destination = %name, error, "the client certificate on disk cannot be used: what was in use stays");
                }
                None
            }
        }
    }

    /// The TLS of a leg; none: the leg is plain.
    fn tls(&self, protocol: Protocol) -> Result<Option<&ClientTls>, &Arc<ClientTlsError>> {
        self.tls.as_ref().map(|legs| legs.get(&protocol))
    }
}

fn legs(
    destination: &Destination,
    trust: &mut PlatformTrust,
) -> Result<BTreeMap<Protocol, ClientTls>, ClientTlsError> {
    let mut encrypted = destination
        .endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.tls != TlsMode::Plain)
        .map(|(protocol, _)| *protocol)
        .peekable();
    if encrypted.peek().is_none() {
        return Ok(BTreeMap::new());
    }
    let tls = ClientTls::new(destination, trust)?;
    Ok(encrypted.map(|protocol| (protocol, tls.for_leg())).collect())
}

/// Every destination of a node.
#[derive(Debug)]
pub struct Backends {
    by_name: ArcSwap<HashMap<DestinationName, Arc<Backend>>>,
    breakers: Mutex<HashMap<(DestinationName, Protocol), (Breaker, String)>>,
    trust: Mutex<PlatformTrust>,
    dialler: Dialler,
    limits: ArcSwap<Limits>,
    report: Arc<Report>,
}

/// `[server]`, as far as it concerns backends.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One budget from the connect to the end of the handshake; another for the answer to the credential.
    pub timeout: std::time::Duration,
    /// Extra attempts.
    pub retries: u32,
    /// The breakers'.
    pub breaker: Policy,
}

impl From<&Server> for Limits {
    fn from(server: &Server) -> Self {
        Self {
            timeout: server.backend_timeout,
            retries: server.backend_connect_retries,
            breaker: Policy {
                threshold: server.host_down_threshold,
                min_clients: server.host_down_min_clients,
                cooldown: server.host_down_cooldown,
            },
        }
    }
}

impl Backends {
    /// None known yet: `update` says which there are.
    #[must_use]
    pub fn new(own: OwnListeners, limits: Limits, report: Arc<Report>) -> Self {
        Self {
            by_name: ArcSwap::default(),
            breakers: Mutex::default(),
            trust: Mutex::default(),
            dialler: Dialler::new(own),
            limits: ArcSwap::from_pointee(limits),
            report,
        }
    }

    /// Takes what `[server]` says of backends; for connections from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Takes the destinations of a configuration. What did not change keeps its TLS sessions; breakers survive
    /// where host and endpoints are the same (configuration §4).
    pub fn update(&self, config: &FleetConfig) {
        let mut trust = self.trust.lock();
        let before = self.by_name.load();
        let after: HashMap<_, _> = config
            .destinations
            .values()
            .map(|destination| {
                let same = before
                    .get(&destination.name)
                    .filter(|known| known.destination == *destination);
                let backend = match same {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(Backend::new(destination, &mut trust)),
                };
                (destination.name.clone(), backend)
            })
            .collect();
        self.breakers
            .lock()
            .retain(|(name, protocol), _| match (before.get(name), after.get(name)) {
                (Some(old), Some(new)) => {
                    old.destination.host == new.destination.host
                        && old.destination.endpoint(*protocol) == new.destination.endpoint(*protocol)
                }
                _ => false,
            });
        self.by_name.store(Arc::new(after));
    }

    /// Looks at the files of client certificates, and shows those that were replaced to backends from now on. Their
    /// TLS sessions are forgotten with the certificate that they began with. Reads files: not for a task.
    pub fn look_again(&self) {
        let before = self.by_name.load_full();
        // A file that takes long to read keeps nobody from updating the destinations.
        let mut trust = self.trust.lock().clone();
        let renewed: Vec<(&Arc<Backend>, Backend)> = before
            .values()
            .filter_map(|backend| Some((backend, backend.renewed(&mut trust)?)))
            .collect();
        if renewed.is_empty() {
            return;
        }
        // Whoever updates them holds this too.
        let _one_at_a_time = self.trust.lock();
        let mut after = HashMap::clone(&self.by_name.load());
        for (looked_at, renewed) in renewed {
            match after.get_mut(&renewed.destination.name) {
                Some(known) if Arc::ptr_eq(known, looked_at) => *known = Arc::new(renewed),
                // It was updated meanwhile, and the files were read for that.
                _ => {}
            }
        }
        self.by_name.store(Arc::new(after));
    }

    /// The client certificates that are in use, and their times.
    #[must_use]
    pub fn validities(&self) -> Vec<(DestinationName, Validity)> {
        let known = self.by_name.load();
        let certificates = known.values().filter_map(|backend| {
            let validity = backend.identity.as_ref()?.validity?;
            Some((backend.destination.name.clone(), validity))
        });
        certificates.collect()
    }

    /// The destination of a name.
    ///
    /// # Errors
    /// When there is none of that name now.
    pub fn get(&self, name: &DestinationName) -> Result<Arc<Backend>, EstablishError> {
        let known = self.by_name.load().get(name).map(Arc::clone);
        known.ok_or_else(|| EstablishError::Unknown(name.clone()))
    }

    /// A backend that took a credential and gave no answer: it may be about this client only (behaviour §6.6).
    pub fn no_answer(
        self: &Arc<Self>,
        name: &DestinationName,
        protocol: Protocol,
        client: IpAddr,
        error: &dyn std::fmt::Display,
    ) {
        let passage = Passage {
            backends: Arc::clone(self),
            name: name.clone(),
            protocol,
            gate: Gate::Pass,
            settled: false,
        };
        passage.failed(Failure::ClientAttributed(client), error);
    }

    /// The breakers of a destination: of each leg that has failed before.
    #[must_use]
    pub fn breakers(&self, name: &DestinationName) -> Vec<(Protocol, Status)> {
        let breakers = self.breakers.lock();
        let mut of_name: Vec<(Protocol, Status)> = breakers
            .iter()
            .filter(|((destination, _), _)| destination == name)
            .map(|((_, protocol), (breaker, _))| (*protocol, breaker.status()))
            .collect();
        of_name.sort_by_key(|(protocol, _)| *protocol);
        of_name
    }

    /// Closes every breaker of a destination.
    pub fn reset_breaker(&self, name: &DestinationName) {
        let reset: Vec<Protocol> = {
            let mut breakers = self.breakers.lock();
            let of_name = breakers
                .iter_mut()
                .filter(|((destination, _), _)| destination == name);
            of_name
                .filter_map(|((_, protocol), (breaker, _))| {
                    (breaker.succeeded() == Change::Closed).then_some(*protocol)
                })
                .collect()
        };
        for protocol in reset {
            self.tell(name, protocol, Change::Closed);
        }
    }

    fn gate(&self, name: &DestinationName, protocol: Protocol) -> Gate {
        let mut breakers = self.breakers.lock();
        match breakers.get_mut(&(name.clone(), protocol)) {
            Some((breaker, _)) => breaker.gate(Instant::now()),
            None => Gate::Pass,
        }
    }

    fn passed(self: &Arc<Self>, name: &DestinationName, protocol: Protocol) -> Result<Passage, Gate> {
        match self.gate(name, protocol) {
            Gate::Reject => Err(Gate::Reject),
            gate => Ok(Passage {
                backends: Arc::clone(self),
                name: name.clone(),
                protocol,
                gate,
                settled: false,
            }),
        }
    }

    fn tell(&self, name: &DestinationName, protocol: Protocol, change: Change) {
        let message = match self.breakers.lock().get(&(name.clone(), protocol)) {
            Some((breaker, last_error)) => message(name, protocol, breaker.status(), last_error),
            None => return,
        };
        match change {
            Change::Opened => tracing::warn!(
                destination = %name, protocol = protocol.as_str(), cause = message.last_error,
                "destination marked down: logins get the temporary failure until a probe succeeds"
            ),
            Change::Closed => tracing::info!(
                destination = %name, protocol = protocol.as_str(), "destination is up again"
            ),
            Change::None => {}
        }
        let news = match change {
            Change::None => BreakerNews::CountsOnly,
            Change::Opened | Change::Closed => BreakerNews::OpenedOrClosed,
        };
        self.report.breaker(message, news);
    }
}

fn message(name: &DestinationName, protocol: Protocol, status: Status, last_error: &str) -> wire::Breaker {
    wire::Breaker {
        destination: name.as_str().to_owned(),
        protocol: protocol.as_str().to_owned(),
        open: status.open,
        consecutive_failures: status.consecutive_failures,
        failure_sources: status.failure_sources,
        host_level_failure: status.host_level_failure,
        last_error: last_error.to_owned(),
    }
}

/// The breaker let a connection pass; its outcome is owed. Dropped without one, it says nothing about the
/// destination.
#[derive(Debug)]
#[must_use]
pub(crate) struct Passage {
    backends: Arc<Backends>,
    name: DestinationName,
    protocol: Protocol,
    gate: Gate,
    settled: bool,
}

impl Passage {
    /// The leg stands.
    pub(crate) fn succeeded(mut self) {
        self.settled = true;
        let change = match self
            .backends
            .breakers
            .lock()
            .get_mut(&(self.name.clone(), self.protocol))
        {
            // Nothing was ever wrong: nothing to clear, nothing to tell.
            None => return,
            Some((breaker, last_error)) => {
                last_error.clear();
                breaker.succeeded()
            }
        };
        self.backends.tell(&self.name, self.protocol, change);
    }

    /// It does not, after all retries.
    pub(crate) fn failed(mut self, failure: Failure, error: &dyn std::fmt::Display) {
        self.settled = true;
        let change = {
            let mut breakers = self.backends.breakers.lock();
            let (breaker, last_error) = breakers.entry((self.name.clone(), self.protocol)).or_default();
            *last_error = error.to_string();
            let policy = self.backends.limits.load().breaker;
            breaker.failed(self.gate, failure, Instant::now(), &policy)
        };
        self.backends.tell(&self.name, self.protocol, change);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.settled
            && let Some((breaker, _)) = self
                .backends
                .breakers
                .lock()
                .get_mut(&(self.name.clone(), self.protocol))
        {
            breaker.abandoned(self.gate, Instant::now());
        }
    }
}

/// The endpoint that serves a protocol.
fn endpoint(backend: &Backend, protocol: Protocol) -> Option<Endpoint> {
    backend.destination.endpoint(protocol).copied()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_dead_port_of_one_protocol_takes_no_other_protocol_down() {
        let limits = Limits {
            timeout: Duration::from_secs(10),
            retries: 0,
            breaker: Policy {
                threshold: 2,
                min_clients: 2,
                cooldown: Duration::from_secs(30),
            },
        };
        let report = Arc::new(Report::new().0);
        let backends = Arc::new(Backends::new(OwnListeners::default(), limits, report));
        let (legacy, new) = (DestinationName::from("legacy"), DestinationName::from("new"));
        for _ in 0..2 {
            let passage = backends.passed(&legacy, Protocol::ManageSieve);
            passage
                .expect("closed")
                .failed(Failure::HostLevel, &"nobody listens");
        }
        assert!(backends.passed(&legacy, Protocol::ManageSieve).is_err());
        assert!(backends.passed(&legacy, Protocol::Imap).is_ok());
        assert!(backends.passed(&new, Protocol::ManageSieve).is_ok());
    }
}
