//! Who asks, from where, and whether its role suffices. The name is that of the certificate, which is what the audit
//! log keeps.

use mailswitch_proto::channel::{Role, peer_of};
use mailswitch_proto::control::v1::{self as wire, Problem, problem::Kind};
use mailswitch_proto::revision::Position;
use mailswitch_proto::trace_context;
use tonic::{Request, Status};

use super::Answer;
use crate::change::{self, Actor, Committed, Context, Mode, doubt};
use crate::process::ControlPlane;
use crate::store::audit::Proof;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// It reads.
    View,
    /// It changes.
    Operate,
    /// It cannot be taken back, or shows everything.
    Administer,
}

/// A caller whose role suffices.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The certificate's name.
    pub(super) who: String,
    /// The peer's address.
    pub(super) from: String,
}

impl Caller {
    /// Checks the role before anything of the request is looked at.
    pub(super) fn of<T>(request: &Request<T>, method: &str, needs: Needs) -> Result<Self, Status> {
        let peer = peer_of(request)?;
        if !allows(peer.role, needs) {
            let what = format!("{} {} may not call {method}", peer.role, peer.name);
            let remedy = format!("it takes a certificate of the role `{}`", least(needs));
            return Err(Problem::new(Kind::NotAllowed, what, remedy).into_status());
        }
        Ok(Self {
            who: peer.name.to_string(),
            from: peer.address.ip().to_string(),
        })
    }

    /// For the writer: who, why, and how often.
    pub(super) fn context(&self, change: Option<wire::ChangeContext>) -> Answer<Context> {
        let change = change.unwrap_or_default();
        let idempotency_key = match change.idempotency_key.as_slice() {
            [] => None,
            key => Some(uuid::Uuid::from_slice(key).map_err(|_| {
                let what = format!("the idempotency key has {} bytes instead of 16", key.len());
                Problem::new(Kind::Invalid, what, "send 16 random bytes, or none")
            })?),
        };
        Ok(Context {
            actor: Actor {
                who: self.who.clone(),
                from: self.from.clone(),
            },
            reason: change.reason,
            idempotency_key,
            mode: if change.dry_run {
                Mode::DryRun
            } else {
                Mode::Commit
            },
            traceparent: trace_context::traceparent(),
        })
    }
}

const fn allows(role: Role, needs: Needs) -> bool {
    match needs {
        Needs::View => role.may_view(),
        Needs::Operate => role.may_operate(),
        Needs::Administer => role.may_administer(),
    }
}

const fn least(needs: Needs) -> Role {
    match needs {
        Needs::View => Role::Viewer,
        Needs::Operate => Role::Operator,
        Needs::Administer => Role::Admin,
    }
}

/// `--unproven` (promise F4).
pub(super) const fn proof(unproven: bool) -> Proof {
    if unproven { Proof::Waived } else { Proof::Standing }
}

/// What came of a change, and what it put out.
pub(super) fn committed<T>(done: Committed<T>) -> (wire::Committed, T) {
    let position = done.position.unwrap_or(Position::NONE);
    let committed = wire::Committed {
        revision: position.revision.0,
        digest: match done.position {
            Some(position) => position.digest.to_vec(),
            None => Vec::new(),
        },
        notes: done.notes,
    };
    (committed, done.output)
}

/// No routing write while the database may have gone back in time (promise D3): it would be made on the wrong branch.
pub(super) fn believed(plane: &ControlPlane) -> Answer<()> {
    if let Some(suspect) = plane.trouble.suspect.lock().clone() {
        return Err(Problem::new(Kind::Precondition, suspect, doubt::MEMORY_REMEDY));
    }
    match plane.nodes.doubts() {
        doubts if doubts.is_empty() => Ok(()),
        doubts => Err(change::Error::Doubted(doubts).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_is_its_own_and_no_more() {
        let may = |role| [Needs::View, Needs::Operate, Needs::Administer].map(|needs| allows(role, needs));
        assert_eq!(may(Role::Node), [false, false, false]);
        assert_eq!(may(Role::ControlPlane), [false, false, false]);
        assert_eq!(may(Role::Viewer), [true, false, false]);
        assert_eq!(may(Role::Operator), [true, true, false]);
        assert_eq!(may(Role::Admin), [true, true, true]);
    }
}
