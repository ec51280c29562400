//! A node enters the registry, in one transaction that the flip is serialised with (promise F1, N1, D5). From then on
//! no account is cut over without it.
//!
//! The position that is read after its Hello arrived is where the answer must come from at the earliest (promise N4).

use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::channel::Peer;
use mailswitch_proto::control::v1::{Problem, problem::Kind};
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::{Position, Revision};
use tonic::Status;

use super::FeedError;
use super::accept::{Hello, Purpose};
use super::report::Report;
use crate::change::node::{self, Since, node_register};
use crate::change::{self, Actor, Context, log};
use crate::nodes::ask::{FENCE, Link};
use crate::nodes::registry::listeners_json;
use crate::process::ControlPlane;
use crate::store;

/// A registered node.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    /// The revision of its registration.
    pub revision: Revision,
    /// Whether it was registered before.
    pub since: Since,
    /// Where the database stood after its Hello had arrived.
    pub read: Position,
}

/// Why a node has no answer to its Hello.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It was not let in, or the database did not take it.
    #[error(transparent)]
    Change(#[from] change::Error),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// This replica does not believe the database.
    #[error("{0}")]
    Suspect(String),
    /// This replica does not know yet what the database knows.
    #[error("this replica has not read revision {revision} within {} s", .within.as_secs())]
    Behind {
        /// What has to be known.
        revision: Revision,
        /// For how long it was waited for.
        within: Duration,
    },
}

impl RegisterError {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Change(change::Error::Refused(refusal)) => Problem::from(refusal.clone()).into_status(),
            _ => {
                let remedy = "the node tries again by itself; see `mailswitchctl status`";
                Problem::new(Kind::Unavailable, self.to_string(), remedy).into_status()
            }
        }
    }
}

/// Registers the process, or finds it registered.
///
/// # Errors
/// When its name is another machine's, the database does not answer, or is not believed: a registration lets a node serve
/// what this database says, and is a revision like any other (decision 0019).
pub async fn register(
    plane: &Arc<ControlPlane>,
    peer: &Peer,
    hello: &Hello,
    report: Report,
) -> Result<Registered, RegisterError> {
    if hello.purpose == Purpose::Left || report == Report::Diverged {
        // It is a guest. Whether one that has left is registered still is decided by the goodbye that it repeats; a diverged
        // one would be registered on a branch that may be given up, and until then its doubt stops every flip.
        return Ok(Registered {
            revision: Revision::NONE,
            since: Since::Before,
            read: log::position(plane.writer.pool()).await?,
        });
    }
    let context = Context {
        actor: Actor {
            who: peer.name.to_string(),
            from: peer.address.ip().to_string(),
        },
        ..Context::own("said Hello")
    };
    let said = node::Hello {
        node: row(hello),
        replaces: hello.replaces.clone(),
    };
    let registered = node_register(&plane.writer, &context, &said).await?;
    let read = log::position(plane.writer.pool()).await?;
    if registered.since == Since::Now {
        tracing::info!(instance = %hello.instance, revision = registered.revision, "the node is registered");
    }
    if registered.since == Since::Now || !hello.replaces.is_empty() {
        // It counts in the flips that are waited for now, and whom it replaces no longer does.
        plane.cutovers.wake();
    }
    Ok(Registered {
        revision: registered.into(),
        since: registered.since,
        read,
    })
}

/// A look after the stream can be reached from outside: a `node forget` that was committed before it did not see the
/// stream, and ended nothing (promise N3). One that comes after it does.
///
/// # Errors
/// When it is not registered any more, or the database does not answer.
pub async fn still_registered(plane: &Arc<ControlPlane>, instance: InstanceId) -> Result<(), FeedError> {
    let mut conn = plane
        .writer
        .pool()
        .acquire()
        .await
        .map_err(store::Error::from)
        .map_err(RegisterError::from)?;
    match store::node::node_exists(&mut conn, instance)
        .await
        .map_err(RegisterError::from)?
    {
        true => Ok(()),
        false => Err(FeedError::NotRegistered),
    }
}

/// A fenced node is told so before anything else: it closes its sessions, marks its disk and says goodbye (promise N3).
///
/// # Errors
/// When the database does not answer.
pub async fn ordered(plane: &Arc<ControlPlane>, hello: &Hello, link: &Link) -> Result<(), RegisterError> {
    if hello.purpose == Purpose::Left {
        return Ok(());
    }
    let pool = plane.writer.pool();
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let fences = store::fence::fence_list(&mut conn).await?;
    if fences.iter().any(|fence| fence.node == hello.node) {
        tracing::warn!("the node is fenced: it is told to leave at once");
        link.tell(FENCE);
    }
    Ok(())
}

fn row(hello: &Hello) -> store::node::Node {
    store::node::Node {
        instance: hello.instance,
        name: hello.node.clone(),
        machine: hello.machine.clone(),
        site: hello.site.clone(),
        version: hello.version.clone(),
        listeners: listeners_json(&hello.listeners),
        registered: Revision::NONE,
    }
}
