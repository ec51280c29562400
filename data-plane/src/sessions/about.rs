//! What the registry is told of a session: for whom it acts, and what `session list` shows of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use mailswitch_config::{DestinationName, ListenerName, Protocol};
use mailswitch_proto::identifier::Identifier;

use super::trace::Trace;

/// Every identifier that a session acts for. It is registered under all of them, and held when one of them is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActingFor {
    identifiers: Box<[Identifier]>,
    sent_to: Option<DestinationName>,
}

impl ActingFor {
    /// A login that carries no identifier: nothing can hold it, `[routing] unidentified` decides about it.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The identifier that routes it, and others that it acts for (a SASL authorization identity).
    #[must_use]
    pub fn one(routed_by: Identifier, others: impl IntoIterator<Item = Identifier>) -> Self {
        let identifiers = [routed_by].into();
        Self {
            identifiers,
            sent_to: None,
        }
        .also(others)
    }

    /// These, too.
    #[must_use]
    pub(super) fn also(self, others: impl IntoIterator<Item = Identifier>) -> Self {
        let mut all = self.identifiers.into_vec();
        for other in others {
            if !all.contains(&other) {
                all.push(other);
            }
        }
        Self {
            identifiers: all.into(),
            ..self
        }
    }

    /// It goes there whatever its identifiers are mapped to: an HTTP route says so. It is held like any other.
    #[must_use]
    pub fn sent_to(self, destination: DestinationName) -> Self {
        Self {
            sent_to: Some(destination),
            ..self
        }
    }

    /// Where a route sends it.
    #[must_use]
    pub fn destination(&self) -> Option<&DestinationName> {
        self.sent_to.as_ref()
    }

    /// The identifier that routes it.
    #[must_use]
    pub fn routed_by(&self) -> Option<&Identifier> {
        self.identifiers.first()
    }

    /// All of them.
    #[must_use]
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }
}

/// The session's id, as in every log line of it: `[A-Za-z0-9-]{1,40}`, never used again (behaviour section 5).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// From the text that the accepting side made.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// What is shown of a session.
#[derive(Debug, Clone)]
pub struct About {
    /// Its id.
    pub id: SessionId,
    /// What the client speaks.
    pub protocol: Protocol,
    /// The client, as adopted from a PROXY header.
    pub client: SocketAddr,
    /// Where it came in.
    pub listener: Arc<ListenerName>,
    /// Its trace, for links from what ends it.
    pub trace: Trace,
}
