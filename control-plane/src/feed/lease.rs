//! Grants leases (promise L2): an answer rests on a database read that began after its request had arrived. One read answers
//! all requests that were there when it began, so that a fleet of any size costs one read at a time.
//!
//! What cannot be granted is not answered: the node asks again, and its armed accounts lapse if that goes on. Nothing is
//! kept here: whether a silent node may still have a lease is told by waiting (promise L3), not by a list.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::SiteName;
use mailswitch_config::fleet::{Files, FleetConfig};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Revision;
use tokio::sync::mpsc;

use crate::nodes::ask::Link;
use crate::process::ControlPlane;
use crate::store;
use crate::store::lease::{Grounds, lease_grounds_get};

/// Requests that wait for a read. A node has one under way; above it, they are let go and asked again.
const WAITING: usize = 4096;

/// One request for a lease.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub instance: InstanceId,
    /// Where the answer goes.
    pub link: Link,
    /// Of the request.
    pub serial: u64,
    /// What the node has applied.
    pub applied: Revision,
}

/// Where requests are put.
#[derive(Debug, Clone)]
pub struct Leases {
    asked: mpsc::Sender<Asked>,
}

/// Where they are taken from.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Asked>);

impl Leases {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Requests) {
        let (asked, requests) = mpsc::channel(WAITING);
        (Self { asked }, Requests(requests))
    }

    /// Asks for a lease. One that cannot wait here is lost, and asked for again.
    pub fn ask(&self, asked: Asked) {
        let _ = self.asked.try_send(asked);
    }
}

/// Answers until the process stops.
pub async fn grant_forever(plane: Arc<ControlPlane>, mut requests: Requests) {
    let mut waiting = Vec::new();
    loop {
        let more = tokio::select! {
            () = plane.stopping.cancelled() => return,
            more = requests.0.recv_many(&mut waiting, WAITING) => more,
        };
        if more == 0 {
            return;
        }
        // Only now the read begins; who asks from here on waits for the next one.
        let asked = std::mem::take(&mut waiting);
        if let Err(error) = grant(&plane, &asked).await {
            tracing::warn!(%error, nodes = asked.len(), "no lease is granted: the database cannot be read");
        }
    }
}

async fn grant(plane: &ControlPlane, asked: &[Asked]) -> Result<(), store::Error> {
    let instances: Vec<InstanceId> = asked.iter().map(|asked| asked.instance).collect();
    // In this order: what is remembered meanwhile may be newer than what was read.
    let seen = plane.writer.memory().seen().position;
    let mut conn = plane.writer.pool().acquire().await?;
    let grounds = lease_grounds_get(&mut conn, &instances).await?;
    drop(conn);
    if grounds.position.revision < seen.revision
        || (grounds.position.revision == seen.revision && grounds.position != seen)
        || plane.trouble.suspect.lock().is_some()
    {
        tracing::debug!("no lease is granted: the database may have gone back in time");
        return Ok(());
    }
    let lease = lease_of(&grounds);
    for asked in asked {
        match decide(&grounds, asked.instance, asked.applied) {
            Decision::Granted => asked.link.grant(wire::LeaseGrant {
                serial: asked.serial,
                lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            }),
            Decision::NotNow(why) => {
                tracing::debug!(instance = %asked.instance, applied = %asked.applied, why, "no lease is granted");
            }
        }
    }
    Ok(())
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Granted,
    NotNow(&'static str),
}

/// Only to a registered, unfenced process that has applied the last change of any armed account, and of a database that
/// is believed.
fn decide(grounds: &Grounds, instance: InstanceId, applied: Revision) -> Decision {
    if grounds.belief == store::fleet::Belief::Doubted {
        return Decision::NotNow("the database may have gone back in time");
    }
    if !grounds.entitled.contains(&instance) {
        return Decision::NotNow("it is fenced, or not registered");
    }
    if applied < grounds.armed_change || applied > grounds.position.revision {
        return Decision::NotNow("it has not applied the last change of an armed account");
    }
    Decision::Granted
}

/// As it is written, or as it is without being written.
fn lease_of(grounds: &Grounds) -> Duration {
    FleetConfig::from_resources(&grounds.cutover, &SiteName::from(""), Files::Elsewhere)
        .config
        .cutover
        .lease
}

#[cfg(test)]
mod tests {
    use mailswitch_proto::revision::Position;

    use super::*;

    #[test]
    fn a_lease_is_granted_to_who_is_entitled_and_has_applied_the_last_change_of_an_armed_account() {
        let (one, other) = (InstanceId::random(), InstanceId::random());
        let grounds = Grounds {
            position: Position {
                revision: Revision(9),
                digest: [1; 32].into(),
            },
            belief: store::fleet::Belief::Believed,
            armed_change: Revision(7),
            entitled: [one].into(),
            cutover: Vec::new(),
        };
        for (applied, granted) in [(6, false), (7, true), (9, true), (10, false)] {
            let decision = decide(&grounds, one, Revision(applied));
            assert_eq!(decision == Decision::Granted, granted, "applied {applied}");
        }
        assert_ne!(decide(&grounds, other, Revision(9)), Decision::Granted);
        let doubted = Grounds {
            belief: store::fleet::Belief::Doubted,
            ..grounds
        };
        assert_ne!(decide(&doubted, one, Revision(9)), Decision::Granted);
    }

    #[test]
    fn a_lease_is_as_long_as_the_fleet_says() {
        let mut grounds = Grounds {
            position: Position::NONE,
            belief: store::fleet::Belief::Believed,
            armed_change: Revision::NONE,
            entitled: Default::default(),
            cutover: Vec::new(),
        };
        assert_eq!(lease_of(&grounds), Duration::from_secs(10));
        grounds.cutover = vec![mailswitch_config::Resource {
            key: mailswitch_config::ResourceKey {
                kind: "cutover".to_owned(),
                name: String::new(),
                site: String::new(),
            },
            body: r#"{"lease": "1s"}"#.to_owned(),
        }];
        assert_eq!(lease_of(&grounds), Duration::from_secs(1));
    }
}
