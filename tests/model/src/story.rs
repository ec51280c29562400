//! A way to a state, told in words.

use std::fmt;

use mailswitch_control_plane::cutover::operation::Outcome;

use crate::control::News;
use crate::fleet::Act;
use crate::world::{Commit, Leg, Link, World};

const NODES: [&str; 2] = ["node A", "node B"];
const REPLICAS: [&str; 2] = ["replica 1", "replica 2"];

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |node: &usize| NODES[*node];
        let r = |driver: &usize| REPLICAS[*driver];
        match self {
            Self::Login(node) => write!(f, "{}: a client signs in", n(node)),
            Self::Look(node) => write!(f, "{}: the login looks where it goes", n(node)),
            Self::Dialled(node) => write!(f, "{}: the leg stands", n(node)),
            Self::DialFails(node) => write!(f, "{}: the dial fails", n(node)),
            Self::Answered(node) => write!(f, "{}: the backend says OK", n(node)),
            Self::Recalled(node) => write!(f, "{}: the login hears of the hold", n(node)),
            Self::BridgeEnds(node) => write!(f, "{}: the session ends at a quiet moment", n(node)),
            Self::BackendEnds(node) => write!(f, "{}: the backend has ended the leg", n(node)),
            Self::LegStuck(node) => write!(f, "{}: the leg does not end in time", n(node)),
            Self::ClientGoes(node) => write!(f, "{}: the client goes", n(node)),
            Self::HoldEnded(node) => write!(f, "{}: the waiting login may go on", n(node)),
            Self::WaitedTooLong(node) => write!(f, "{}: the waiting login gives up", n(node)),
            Self::Deliver(node) => write!(f, "{}: the next revision arrives", n(node)),
            Self::SayQuiesced(node) => write!(f, "{}: says that no session is left", n(node)),
            Self::HearQuiesced(hold, node, instance) => write!(
                f,
                "the control plane hears that {} (process {instance}) has quiesced hold {hold}",
                n(node)
            ),
            Self::Cut(node) => write!(f, "{}: its link breaks", n(node)),
            Self::Hello(node) => write!(f, "{}: says Hello, and is heard", n(node)),
            Self::Welcome(node) => write!(f, "{}: is welcomed", n(node)),
            Self::OldSnapshot(node, revision) => {
                write!(
                    f,
                    "{}: is welcomed with a snapshot of revision {revision}",
                    n(node)
                )
            }
            Self::Restart(node, revision) => {
                write!(
                    f,
                    "{}: is killed, and starts from its file at revision {revision}",
                    n(node)
                )
            }
            Self::Ask(node) => write!(f, "{}: asks for a lease", n(node)),
            Self::Grant(node) => write!(f, "the control plane grants {} the lease", n(node)),
            Self::Granted(node) => write!(f, "{}: the grant arrives", n(node)),
            Self::SayArmed(node) => write!(f, "{}: acknowledges the arming", n(node)),
            Self::HearArmed(arming, node, instance) => write!(
                f,
                "the control plane hears that {} (process {instance}) has acknowledged arming {arming}",
                n(node)
            ),
            Self::Tick => f.write_str("time passes"),
            Self::Leave(node) => write!(f, "{}: is told to leave", n(node)),
            Self::Left(node) => write!(f, "{}: has no session any more, and says goodbye", n(node)),
            Self::Fence(node) => write!(f, "the operator fences {}", n(node)),
            Self::Fenced(node) => write!(
                f,
                "{}: hears that it is fenced, closes its sessions, and says goodbye",
                n(node)
            ),
            Self::Unfence(node) => write!(f, "the operator unfences {}", n(node)),
            Self::HearGoodbye(node) => write!(f, "the control plane hears the goodbye of {}", n(node)),
            Self::Begin(driver) => write!(f, "an operator asks for a cutover; {} drives it", r(driver)),
            Self::Drive(driver, news) => {
                let what = match news {
                    News::Due => "does what is due",
                    News::ArmingWaited => "has waited for the arming",
                    News::AllQuiet => "sees that nobody is missing",
                    News::Verified => "sees that the verification passed",
                    News::Deadline => "sees that the hold's time is over",
                    News::Abort => "hears that the operator wants its end",
                };
                write!(f, "{}: {what}", r(driver))
            }
            Self::Commit(driver) => write!(f, "{}: commits", r(driver)),
            Self::SeeHold(driver) => write!(
                f,
                "{}: sees the hold committed, and begins to wait for leases",
                r(driver)
            ),
            Self::TakeOver(driver) => write!(f, "{}: takes the operation over", r(driver)),
            Self::DriverDies(driver) => write!(f, "{}: dies", r(driver)),
            Self::Verify => f.write_str("the verification passes, and its runner says so"),
            Self::HearVerified => f.write_str("the control plane hears of the verification"),
            Self::Tell => f.write_str("the operator is told how it ended"),
            Self::Arm => f.write_str("the operator arms the account"),
            Self::DomainMoves => f.write_str("the domain's mapping goes to the other server"),
            Self::Backup => f.write_str("the database is backed up"),
            Self::GoBack => f.write_str("the database goes back to the backup"),
            Self::TakeBack(node) => write!(f, "the operator takes the lost revisions from {}", n(node)),
            Self::GiveUp(to) => write!(
                f,
                "the operator gives the lost revisions up; the account is to go to {}",
                to.text()
            ),
            Self::Settle => f.write_str("the given-up account is released"),
        }
    }
}

/// A way, step by step, with what each changed that matters.
#[must_use]
pub fn tell(way: &[(World, Option<Act>)]) -> String {
    let mut story = String::new();
    for (number, pair) in way.windows(2).enumerate() {
        let [(before, Some(act)), (after, _)] = pair else {
            continue;
        };
        story.push_str(&format!(
            "{:3}. {act}{}\n",
            number + 1,
            what_changed(before, after)
        ));
    }
    story
}

fn what_changed(before: &World, after: &World) -> String {
    let mut changed = Vec::new();
    if before.db.log.0.len() < after.db.log.0.len()
        && let Some(entry) = after.db.log.0.last()
    {
        changed.push(format!("revision {}: {:?}", after.db.log.head(), entry.change));
    }
    if let (Some(was), Some(is)) = (before.db.op, after.db.op)
        && was.step != is.step
    {
        changed.push(format!("the operation is {}", is.step.text()));
    }
    for (n, (was, is)) in before.nodes.iter().zip(&after.nodes).enumerate() {
        let leg = |node: &crate::world::Node| node.session.as_ref().map_or(Leg::None, |session| session.leg);
        match (leg(was), leg(is)) {
            (was, is) if was == is => {}
            (_, Leg::Open(to)) => changed.push(format!("{} has a leg on {}", NODES[n], to.text())),
            (_, Leg::Closing(to)) => {
                changed.push(format!("{} has closed its leg on {}", NODES[n], to.text()))
            }
            (_, Leg::None) => changed.push(format!("{} has no leg", NODES[n])),
        }
        if let (None, Some(to)) = (was.lingering, is.lingering) {
            changed.push(format!("{} still processes what is queued", to.text()));
        }
        if was.lease > 0 && is.lease == 0 {
            changed.push(format!("the lease of {} lapses", NODES[n]));
        }
        if was.link != Link::Down && is.link == Link::Down {
            changed.push(format!("{} is cut off", NODES[n]));
        }
    }
    if before.truth.told != after.truth.told
        && let Some(told) = after.truth.told
    {
        changed.push(match told {
            Outcome::Done => "told: done".to_owned(),
            other => format!("told: {}", other.text()),
        });
    }
    for commit in
        before
            .drivers
            .iter()
            .zip(&after.drivers)
            .filter_map(|(was, is)| match (was.about_to, is.about_to) {
                (None, Some((commit, _))) => Some(commit),
                _ => None,
            })
    {
        changed.push(format!(
            "about to commit the {}",
            match commit {
                Commit::Arm => "arming",
                Commit::Hold => "hold",
                Commit::Flip => "flip",
                Commit::Release => "release",
            }
        ));
    }
    if changed.is_empty() {
        String::new()
    } else {
        format!(" [{}]", changed.join("; "))
    }
}
