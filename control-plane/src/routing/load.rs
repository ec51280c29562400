//! All of the routing state from the database, in one transaction, and the tail of the log that led to it: so that
//! nodes which come back after a restart of this replica get what they missed, and no snapshot.

use bytes::Bytes;
use mailswitch_config::{Resource, ResourceKey};
use mailswitch_proto::fleet::v1::{self as wire, change::Kind};
use mailswitch_proto::id::{ArmingId, FleetId, OperationId};
use mailswitch_proto::identifier::{HashKey, Key, pack};
use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgPool;

use super::log::{Bounds, Tail};
use super::state::{InvalidChange, State};
use crate::change::log::{Logged, changes_after};
use crate::store;
use crate::store::arming::Arming;
use crate::store::hold::Hold;
use crate::store::snapshot::{Snapshot, snapshot_get};

/// Revisions read into the tail at the start.
const RECENT: u64 = 4096;

/// Read at a time: the tail's bound in bytes holds while it fills.
const PAGE: u32 = 256;

/// The state, and how the log led to it.
#[derive(Debug)]
pub struct Loaded {
    /// Whose.
    pub fleet: FleetId,
    /// What all revisions add up to.
    pub state: State,
    /// The last of them; it ends where the state stands.
    pub tail: Tail,
}

/// The state cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What is in it.
    #[error(transparent)]
    Change(#[from] InvalidChange),
}

/// Reads everything.
///
/// # Errors
/// The database's, or what cannot be understood in it.
pub async fn load(pool: &PgPool, bounds: Bounds) -> Result<Loaded, LoadError> {
    let snapshot = snapshot_get(pool).await?;
    let (fleet, end) = (snapshot.fleet.id, snapshot.position);
    let state = state_of(snapshot)?;
    let tail = match tail_to(pool, end, bounds).await? {
        Some(tail) if tail.end() == end => tail,
        _ => Tail::new(end, bounds),
    };
    Ok(Loaded { fleet, state, tail })
}

/// The log's last revisions up to `end`. None when they do not lead there.
async fn tail_to(pool: &PgPool, end: Position, bounds: Bounds) -> Result<Option<Tail>, store::Error> {
    let start = Revision(end.revision.0.saturating_sub(RECENT + 1));
    let mut tail = None;
    let mut last = start;
    while last < end.revision {
        let page = match changes_after(pool, last, PAGE).await {
            Ok(page) if page.is_empty() => return Ok(None),
            Ok(page) => page,
            // It was trimmed past the start: nodes that are behind get a snapshot.
            Err(store::Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for Logged {
            position, payload, ..
        } in page
        {
            last = position.revision;
            if position.revision > end.revision {
                break;
            }
            let pushed = match &mut tail {
                None if start == Revision::NONE => {
                    let first = tail.insert(Tail::new(Position::NONE, bounds));
                    first.push(position, Bytes::from(payload))
                }
                // Only where it stands is needed of the one before the first.
                None => {
                    tail = Some(Tail::new(position, bounds));
                    Ok(())
                }
                Some(tail) => tail.push(position, Bytes::from(payload)),
            };
            if pushed.is_err() {
                return Ok(None);
            }
        }
    }
    Ok(tail)
}

fn state_of(snapshot: Snapshot) -> Result<State, InvalidChange> {
    let Snapshot {
        fleet,
        position,
        mappings,
        armings,
        holds,
        resources,
    } = snapshot;
    let state = with_mappings(fleet.hash_key, &mappings)?;
    drop(mappings);
    let changes: Vec<wire::Change> = resources
        .into_iter()
        .map(resource)
        .chain(armings.into_iter().map(arming))
        .chain(holds.into_iter().map(hold))
        .collect();
    state.loaded(position, &changes)
}

fn with_mappings(hash_key: HashKey, mappings: &[(Key, String)]) -> Result<State, InvalidChange> {
    let mut state = State::empty(hash_key);
    for run in mappings.chunk_by(|a, b| a.1 == b.1) {
        state.map(run.iter().map(|(key, _)| *key), &run[0].1)?;
    }
    Ok(state)
}

fn resource(resource: Resource) -> wire::Change {
    let Resource { key, body } = resource;
    let ResourceKey { kind, name, site } = key;
    let set = wire::ResourceSet {
        kind,
        name,
        site,
        body,
    };
    wire::Change {
        keys: Bytes::new(),
        kind: Some(Kind::ResourceSet(set)),
    }
}

fn arming(arming: Arming) -> wire::Change {
    let armed = wire::Armed {
        arming: arming.id.to_vec(),
        operation: arming.operation.map(OperationId::to_vec).unwrap_or_default(),
    };
    wire::Change {
        keys: pack(&arming.keys).into(),
        kind: Some(Kind::Armed(armed)),
    }
}

fn hold(hold: Hold) -> wire::Change {
    let held = wire::Held {
        hold: hold.id.to_vec(),
        operation: hold.operation.to_vec(),
        source: hold.source,
        target: hold.target,
        deadline_unix_millis: hold.deadline.timestamp_millis(),
        drain_timeout_millis: hold.drain_timeout_ms,
        arming: hold.arming.map(ArmingId::to_vec).unwrap_or_default(),
    };
    wire::Change {
        keys: pack(&hold.keys).into(),
        kind: Some(Kind::Held(held)),
    }
}
