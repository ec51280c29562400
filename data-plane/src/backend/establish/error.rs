//! Why there is no backend leg: for the log, for the breaker (behaviour §7.2), and for whoever may try again.

use std::io;
use std::sync::Arc;

use mailswitch_config::{DestinationName, Forwarding, Protocol};
use mailswitch_dialogue::{BreakerClass, HandshakeError, Retry};

use crate::backend::announce::ClientEnds;
use crate::backend::breaker::Failure;
use crate::backend::dial::DialError;
use crate::drive::DriveError;
use crate::tls::{ClientTlsError, UpgradeError};

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Name, connect.
    Connect,
    /// TLS before the dialogue.
    Tls,
    /// PROXY header, greeting, STARTTLS, XCLIENT.
    Handshake,
}

impl Stage {
    /// As logged.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
        }
    }
}

/// Why there is no leg.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// The mapping names a destination that the configuration does not have.
    #[error("destination {0} is not configured")]
    Unknown(DestinationName),
    /// It does not serve this protocol.
    #[error("destination.{destination}.protocol.{protocol} is not configured")]
    NoEndpoint {
        /// Which.
        destination: DestinationName,
        /// What the client speaks.
        protocol: Protocol,
    },
    /// Its certificate settings cannot be used.
    #[error("TLS to destination {destination} cannot be set up")]
    NoTls {
        /// Which.
        destination: DestinationName,
        /// Why.
        #[source]
        source: Arc<ClientTlsError>,
    },
    /// The breaker is open.
    #[error("destination {0} is marked down")]
    Down(DestinationName),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed.
    #[error("the connection to the backend failed{hint}")]
    Io {
        /// How far it had come.
        stage: Stage,
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS failed.
    #[error("{source}{hint}")]
    Upgrade {
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: UpgradeError,
    },
    /// The backend's side of the dialogue.
    #[error("{source}{hint}")]
    Handshake {
        /// What may help.
        hint: &'static str,
        /// Why.
        #[source]
        source: HandshakeError,
    },
    /// `backend_timeout` is over.
    #[error("no answer within backend_timeout ({}){hint}", .stage.as_str())]
    TimedOut {
        /// How far the last attempt had come.
        stage: Stage,
        /// What may help.
        hint: &'static str,
    },
}

impl EstablishError {
    /// How far it had come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Io { stage, .. } | Self::TimedOut { stage, .. } => *stage,
            Self::Upgrade { .. } | Self::NoTls { .. } => Stage::Tls,
            Self::Handshake { .. } => Stage::Handshake,
            Self::Unknown(_) | Self::NoEndpoint { .. } | Self::Down(_) | Self::Dial(_) => Stage::Connect,
        }
    }

    /// What the breaker counts (behaviour §7.2). None: the destination is not at fault.
    pub(super) fn failure(&self, ends: &ClientEnds) -> Option<Failure> {
        match self {
            Self::Unknown(_) | Self::NoEndpoint { .. } | Self::NoTls { .. } | Self::Down(_) => None,
            Self::Dial(
                DialError::Loop(_) | DialError::NoSourceAddress { .. } | DialError::Ourselves { .. },
            ) => None,
            Self::Dial(DialError::Resolve { .. } | DialError::Connect { .. }) => Some(Failure::HostLevel),
            Self::TimedOut {
                stage: Stage::Connect,
                ..
            } => Some(Failure::HostLevel),
            Self::Handshake { source, .. } if source.breaker() == BreakerClass::None => None,
            Self::Io { .. } | Self::Upgrade { .. } | Self::Handshake { .. } | Self::TimedOut { .. } => {
                Some(Failure::ClientAttributed(ends.client.ip()))
            }
        }
    }

    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Dial(
                DialError::Resolve { .. } | DialError::Connect { .. } | DialError::Ourselves { .. },
            )
            | Self::Io { .. }
            | Self::Upgrade { .. } => Retry::Yes,
            Self::Handshake { source, .. } => source.retry(),
            Self::Unknown(_)
            | Self::NoEndpoint { .. }
            | Self::NoTls { .. }
            | Self::Down(_)
            | Self::Dial(_)
            | Self::TimedOut { .. } => Retry::No,
        }
    }
}

pub(super) fn failed(error: DriveError, stage: Stage, hint: &'static str) -> EstablishError {
    match error {
        DriveError::Closed => EstablishError::Handshake {
            hint,
            source: HandshakeError::Closed,
        },
        DriveError::Io(source) => EstablishError::Io { stage, hint, source },
        DriveError::Tls(source) => EstablishError::Upgrade { hint, source },
        DriveError::NoTls => EstablishError::Io {
            stage,
            hint: "",
            source: io::Error::other("this leg has no TLS settings"),
        },
    }
}

/// What an early end often means (behaviour §12).
pub(crate) fn hint(forwarding: Forwarding) -> &'static str {
    match forwarding {
        Forwarding::Proxy => " (a PROXY header was sent: does the backend expect one from this node?)",
        Forwarding::Xclient | Forwarding::None => {
            " (no PROXY header was sent: does the backend expect one from this node?)"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use mailswitch_dialogue::InsecureLeg;

    use super::*;
    use crate::backend::loops::OwnListeners;

    #[test]
    fn only_what_the_destination_may_be_blamed_for_is_counted_and_a_time_out_after_the_connect_is_the_clients()
     {
        let address: SocketAddr = "192.0.2.7:40000".parse().expect("an address");
        let ends = ClientEnds::new(address, address);
        let io = || io::Error::other("x");
        let (name, client) = (
            DestinationName::from("legacy"),
            Some(Failure::ClientAttributed(address.ip())),
        );
        let timed_out = |stage| EstablishError::TimedOut { stage, hint: "" };
        let dial = EstablishError::Dial;
        let into_ourselves = OwnListeners::new(vec![address])
            .check(address)
            .expect_err("a loop");
        let counted = [
            (EstablishError::Unknown(name.clone()), None),
            (
                EstablishError::NoEndpoint {
                    destination: name.clone(),
                    protocol: Protocol::Pop3,
                },
                None,
            ),
            (EstablishError::Down(name), None),
            (
                EstablishError::Handshake {
                    hint: "",
                    source: InsecureLeg.into(),
                },
                None,
            ),
            (
                EstablishError::NoTls {
                    destination: DestinationName::from("legacy"),
                    source: Arc::new(ClientTlsError::NoName("legacy".into())),
                },
                None,
            ),
            (dial(into_ourselves.into()), None),
            (dial(DialError::NoSourceAddress { host: String::new() }), None),
            (
                dial(DialError::Ourselves {
                    address,
                    from: None,
                    source: io(),
                }),
                None,
            ),
            (
                dial(DialError::Resolve {
                    host: String::new(),
                    source: io(),
                }),
                Some(Failure::HostLevel),
            ),
            (
                dial(DialError::Connect {
                    address,
                    source: io(),
                }),
                Some(Failure::HostLevel),
            ),
            (timed_out(Stage::Connect), Some(Failure::HostLevel)),
            (timed_out(Stage::Tls), client),
            (timed_out(Stage::Handshake), client),
            (failed(DriveError::Closed, Stage::Handshake, ""), client),
            (failed(DriveError::Io(io()), Stage::Handshake, ""), client),
            (
                failed(DriveError::Tls(UpgradeError::Handshake(io())), Stage::Tls, ""),
                client,
            ),
        ];
        for (error, expected) in counted {
            assert_eq!(error.failure(&ends), expected, "{error:?}");
        }
    }
}
