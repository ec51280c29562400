//! The probes of `check`: whether what a configuration names is there, and is as it says.
//!
//! `mailswitch-data-plane --check FILE` and `mailswitchctl check --file FILE` run the same ones: each leg of each
//! destination is dialled as a session would dial it, up to the credential, and no further: none is ever sent. No
//! port is bound. All legs are probed at once, each within its own time, so that a dead host costs seconds.
//!
//! A probe is a file in `probe/`; it gives groups of findings, one tick a line. `docs/decisions/` says why this is a
//! crate of its own.

mod announce;
mod certificate;
mod dial;
mod offer;
mod probe;
mod report;
mod subject;
mod talk;
mod tls;

use futures::future::join_all;

pub use report::{Finding, Group, Report, Status};
pub use subject::Subject;

/// Probes everything that the subject names. Takes no longer than the slowest leg.
pub async fn run(subject: &Subject) -> Report {
    let mut groups = vec![probe::certificates::check(subject)];
    let legs = join_all(subject.legs().map(|leg| probe::leg::check(subject, leg)));
    let (mappings, control_plane, mut legs) = tokio::join!(
        probe::mappings::check(subject),
        probe::control_plane::check(subject),
        legs
    );
    groups.extend([mappings, control_plane]);
    probe::leg::conclude(&mut legs);
    groups.push(probe::egress::check(subject, &legs));
    groups.push(probe::logins::check(subject, &legs));
    groups.push(probe::capabilities::check(subject, &legs));
    groups.push(probe::routing::check(subject));
    let at = 3;
    let legs = legs.into_iter().map(|leg| leg.group);
    groups.splice(at..at, legs);
    groups.retain(|group| !group.findings.is_empty());
    Report { groups }
}
