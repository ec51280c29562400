//! Grants leases (promise L2): an answer rests on a database read that began after its request had arrived. One read answers
//! all requests that were there when it began, so that a fleet of any size costs one read at a time.
//!
//! Who had not applied everything that the read knew of is granted its lease once it says that it has: while one armed account
//! after the other changes, nobody ever has at the moment of the read. What cannot be granted is not answered: the node asks
//! again, and its armed accounts lapse if that goes on. Nothing is kept of a grant: whether a silent node may still have a lease is told by waiting (promise L3), not by a list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::SiteName;
use mailswitch_config::fleet::{Files, FleetConfig};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::Revision;
use parking_lot::Mutex;
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
    behind: Arc<Mutex<HashMap<InstanceId, Behind>>>,
}

/// Its request was read for, and is granted once it has applied what was read.
#[derive(Debug)]
struct Behind {
    link: Link,
    grant: wire::LeaseGrant,
    needs: Revision,
}

/// Where they are taken from.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Asked>);

impl Leases {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Requests) {
        let (asked, requests) = mpsc::channel(WAITING);
        let behind = Arc::default();
        (Self { asked, behind }, Requests(requests))
    }

    /// Asks for a lease. One that cannot wait here is lost, and asked for again.
    pub fn ask(&self, asked: Asked) {
        let _ = self.asked.try_send(asked);
    }

    /// A node has applied this: what its last request waited for, perhaps. The lease runs from that request, and what was
    /// committed behind its read was committed while it ran (promise L2, L3).
    pub fn applied(&self, instance: InstanceId, revision: Revision) {
        let mut behind = self.behind.lock();
        if behind.get(&instance).is_some_and(|one| one.needs <= revision)
            && let Some(ready) = behind.remove(&instance)
        {
            ready.link.grant(ready.grant);
        }
    }

    /// Nobody is granted what it waits for: the database may have gone back in time.
    pub fn forget_who_waits(&self) {
        self.behind.lock().clear();
    }

    fn waits(&self, asked: &Asked, grant: wire::LeaseGrant, needs: Revision) {
        let one = Behind {
            link: asked.link.clone(),
            grant,
            needs,
        };
        self.behind.lock().insert(asked.instance, one);
    }

    fn waits_no_longer(&self, instance: InstanceId) {
        self.behind.lock().remove(&instance);
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
        plane.leases.forget_who_waits();
        return Ok(());
    }
    let lease = lease_of(&grounds);
    for asked in asked {
        let grant = wire::LeaseGrant {
            serial: asked.serial,
            lease_millis: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        };
        plane.leases.waits_no_longer(asked.instance);
        match decide(&grounds, asked.instance, asked.applied) {
            Decision::Granted => asked.link.grant(grant),
            Decision::Behind(needs) => plane.leases.waits(asked, grant, needs),
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
    /// Once it has applied this.
    Behind(Revision),
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
    if applied > grounds.position.revision {
        return Decision::NotNow("it has applied what the database does not have");
    }
    if applied < grounds.armed_change {
        return Decision::Behind(grounds.armed_change);
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
        let behind = decide(&grounds, one, Revision(6));
        assert_eq!(behind, Decision::Behind(Revision(7)), "once it has applied that");
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
    fn who_is_behind_is_granted_its_lease_once_it_has_applied_what_was_read() {
        let (leases, _requests) = Leases::new();
        let (link, mut sent) = Link::new(4);
        let asked = Asked {
            instance: InstanceId::random(),
            link,
            serial: 3,
            applied: Revision(6),
        };
        let grant = wire::LeaseGrant {
            serial: 3,
            lease_millis: 1000,
        };
        leases.waits(&asked, grant, Revision(8));
        leases.applied(asked.instance, Revision(7));
        leases.applied(InstanceId::random(), Revision(9));
        assert!(sent.ready().is_none(), "not before");
        leases.applied(asked.instance, Revision(9));
        let message = sent.ready().and_then(|message| message.message);
        assert_eq!(message, Some(wire::fleet_message::Message::LeaseGrant(grant)));
        leases.applied(asked.instance, Revision(10));
        assert!(sent.ready().is_none(), "once");

        // A database that may have gone back in time grants nothing any more.
        leases.waits(&asked, grant, Revision(11));
        leases.forget_who_waits();
        leases.applied(asked.instance, Revision(11));
        assert!(sent.ready().is_none());
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
