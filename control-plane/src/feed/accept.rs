//! The first step: who is it, and what does it say first. A node's certificate gives its role and its name; a Hello
//! in another name, or anything before Hello, ends the stream.

use std::time::Duration;

use mailswitch_proto::channel::{Peer, Role, peer_of};
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::fleet::v1::{self as wire, node_message::Message};
use mailswitch_proto::id::{FleetId, InstanceId, InvalidId};
use mailswitch_proto::revision::{Digest, InvalidDigest, Position, Revision};
use tonic::{Request, Status, Streaming};

/// A stream that says nothing costs a descriptor: it may do so for this long.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// What a node says of itself, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// Its name: that of its certificate.
    pub node: String,
    /// This process.
    pub instance: InstanceId,
    /// On no disk, so that two processes on copies of one state directory differ; none: a node of before.
    pub process: Option<InstanceId>,
    /// The processes of its state directory that are gone: the one that had it before, and such as handed it over.
    pub replaces: Vec<InstanceId>,
    /// Named there too, and still connected.
    pub not_replaced: Vec<InstanceId>,
    /// Sixteen bytes that stand for its machine.
    pub machine: Vec<u8>,
    /// Where it stands.
    pub site: String,
    /// Of its program.
    pub version: String,
    /// What it listens on.
    pub listeners: Vec<wire::Listener>,
    /// What it has already.
    pub known: Position,
    /// Of which fleet; none: of none yet.
    pub fleet: Option<FleetId>,
    /// Whether it comes to serve.
    pub purpose: Purpose,
}

/// What a process comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be registered, and to serve.
    Serve,
    /// It has left (promise N2): it can be resumed, and nothing else.
    Left,
}

/// Why a stream goes no further.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Nothing came.
    #[error("no Hello within {} s", HELLO_WITHIN.as_secs())]
    Silent,
    /// The node hung up.
    #[error("the stream ended before Hello")]
    Ended,
    /// The stream broke.
    #[error("the stream broke before Hello")]
    Broken(#[source] Box<Status>),
    /// Something else came first.
    #[error("the first message is not a Hello")]
    NotHello,
    /// It says another name than its certificate.
    #[error(
        "the node calls itself {claimed:?}, and its certificate {certified:?}: `control_plane.node` must match"
    )]
    AnotherName {
        /// In Hello.
        claimed: String,
        /// In the certificate.
        certified: String,
    },
    /// An id that is not one.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A machine id that is not one.
    #[error("the machine's id has {0} bytes instead of 16")]
    Machine(usize),
    /// Another process with the same instance is connected.
    #[error(
        "another process of {node} is connected as instance {instance}: one state directory is a copy of the other. Both \
         count, under instances of their own; give each a name, a certificate and a state directory of its own"
    )]
    Copy {
        /// Its name.
        node: String,
        /// Of both.
        instance: InstanceId,
    },
    /// A digest that is not one.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl AcceptError {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::AnotherName { .. } => Status::permission_denied(self.to_string()),
            Self::Copy { .. } => Status::already_exists(self.to_string()),
            Self::Silent | Self::Ended | Self::Broken(_) => Status::deadline_exceeded(self.to_string()),
            _ => Status::invalid_argument(self.to_string()),
        }
    }
}

/// Only a node's certificate opens a feed.
///
/// # Errors
/// `NOT_ALLOWED` for every other role.
pub fn node_only<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = peer_of(request)?;
    if peer.role == Role::Node {
        return Ok(peer);
    }
    let what = format!("{} {} may not open a feed", peer.role, peer.name);
    let remedy = "only a certificate of the role `node` may: make one with `mailswitchctl pki issue`";
    Err(Problem::new(Kind::NotAllowed, what, remedy).into_status())
}

/// Reads the first message.
///
/// # Errors
/// When it does not come, is no Hello, or not one of this peer.
pub async fn hello(peer: &Peer, messages: &mut Streaming<wire::NodeMessage>) -> Result<Hello, AcceptError> {
    let first = tokio::time::timeout(HELLO_WITHIN, messages.message()).await;
    let first = first.map_err(|_| AcceptError::Silent)?;
    let first = first.map_err(|status| AcceptError::Broken(Box::new(status)))?;
    match first.ok_or(AcceptError::Ended)?.message {
        Some(Message::Hello(hello)) => checked(peer, hello),
        _ => Err(AcceptError::NotHello),
    }
}

fn checked(peer: &Peer, hello: wire::Hello) -> Result<Hello, AcceptError> {
    if hello.node != peer.name.as_str() {
        return Err(AcceptError::AnotherName {
            claimed: hello.node,
            certified: peer.name.to_string(),
        });
    }
    if hello.machine.len() != 16 {
        return Err(AcceptError::Machine(hello.machine.len()));
    }
    Ok(Hello {
        node: hello.node,
        instance: InstanceId::try_from(hello.instance.as_slice())?,
        process: optional(&hello.process)?,
        replaces: replaced(&hello.replaces_instance)?,
        not_replaced: Vec::new(),
        machine: hello.machine,
        site: hello.site,
        version: hello.version,
        listeners: hello.listeners,
        known: Position {
            revision: Revision(hello.known_revision),
            digest: Digest::try_from(hello.known_digest.as_slice())?,
        },
        fleet: optional(&hello.fleet)?,
        purpose: if hello.left { Purpose::Left } else { Purpose::Serve },
    })
}

/// An empty one is what a node of before says that replaces nobody.
fn replaced(named: &[Vec<u8>]) -> Result<Vec<InstanceId>, InvalidId> {
    let named = named.iter().filter(|instance| !instance.is_empty());
    named
        .map(|instance| InstanceId::try_from(instance.as_slice()))
        .collect()
}

fn optional<'a, T: TryFrom<&'a [u8], Error = InvalidId>>(bytes: &'a [u8]) -> Result<Option<T>, InvalidId> {
    (!bytes.is_empty()).then(|| T::try_from(bytes)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer {
            role: Role::Node,
            name: "fra-1".parse().unwrap(),
            address: "127.0.0.1:1".parse().unwrap(),
        }
    }

    fn said() -> wire::Hello {
        wire::Hello {
            node: "fra-1".to_owned(),
            instance: vec![1; 16],
            machine: vec![2; 16],
            ..Default::default()
        }
    }

    #[test]
    fn a_hello_in_another_name_than_the_certificates_is_refused() {
        let hello = wire::Hello {
            node: "fra-2".to_owned(),
            ..said()
        };
        assert!(matches!(
            checked(&peer(), hello),
            Err(AcceptError::AnotherName { .. })
        ));
    }

    #[test]
    fn a_new_node_knows_nothing_and_replaces_nobody() {
        let hello = checked(&peer(), said()).unwrap();
        assert_eq!(hello.known, Position::NONE);
        assert_eq!(hello.replaces, []);
        assert_eq!(hello.fleet, None);
    }

    #[test]
    fn an_instance_that_is_cut_short_is_refused() {
        let hello = wire::Hello {
            instance: vec![1; 15],
            ..said()
        };
        assert!(matches!(checked(&peer(), hello), Err(AcceptError::Id(_))));
    }
}
