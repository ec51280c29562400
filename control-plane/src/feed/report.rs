//! What a Hello says of the database (promise D3): a node that is ahead of it, or on another branch, shows that it may
//! have gone back in time, and is written down as a doubt; one that stands on the chain settles its own.
//!
//! Decided on the database itself, not on memory: what is written here stops every replica.

use std::sync::Arc;

use mailswitch_proto::revision::Position;

use super::accept::{Hello, Purpose};
use super::register::RegisterError;
use crate::change;
use crate::change::log::{Relation, relation};
use crate::nodes::registry;
use crate::process::ControlPlane;
use crate::store;
use crate::store::doubt::{Doubt, doubt_put, doubt_settle};

/// How a node stands to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// On its chain, or so far back that nothing can be said.
    OnChain,
    /// It knows something else. It keeps that and is not registered: it may be shown what is going on, and is sent nothing.
    Diverged,
}

/// Hears where a node stands.
///
/// # Errors
/// When this replica does not believe the database at all now, or it does not answer.
pub async fn report(plane: &Arc<ControlPlane>, hello: &Hello) -> Result<Report, RegisterError> {
    if let Some(suspect) = plane.trouble.suspect.lock().clone() {
        return Err(RegisterError::Suspect(suspect));
    }
    let pool = plane.writer.pool();
    let foreign = hello.fleet.is_some_and(|fleet| fleet != plane.routing.fleet());
    let report = match relation(pool, hello.known).await? {
        Relation::OnChain | Relation::Trimmed if !foreign => Report::OnChain,
        _ => Report::Diverged,
    };
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let changed = match report {
        Report::Diverged => {
            let doubt = Doubt {
                instance: hello.instance,
                node: hello.node.clone(),
                at: Some(hello.known),
            };
            doubt_put(&mut conn, &doubt).await?;
            true
        }
        Report::OnChain => {
            // The processes that it replaces cannot say anything any more: it speaks for all. Not without a table (N6: the
            // state file was set aside): what that process knew is lost then, and for `node forget` to decide on.
            let spoken_for = hello.replaces.iter().filter(|_| hello.known != Position::NONE);
            let heard: Vec<_> = std::iter::once(&hello.instance)
                .chain(spoken_for)
                .copied()
                .collect();
            doubt_settle(&mut conn, &heard, hello.known).await? > 0
        }
    };
    drop(conn);
    if changed {
        registry::refresh(pool, &plane.nodes).await?;
        if plane.nodes.doubts().is_empty() {
            tracing::info!("every node has said where it stands: the database is believed again");
        }
        plane.cutovers.wake();
    }
    // One that has no table would begin to serve by a snapshot of a database that may be wrong.
    let doubts = plane.nodes.doubts();
    if hello.purpose == Purpose::Serve && hello.known == Position::NONE && !doubts.is_empty() {
        return Err(change::Error::Doubted(doubts).into());
    }
    Ok(report)
}
