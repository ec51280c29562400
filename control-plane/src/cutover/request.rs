//! What an operator can ask of cutovers, as plain values.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mailswitch_proto::id::{HoldId, InstanceId, OperationId};

use super::operation::{FencedIs, HookKind, Operation};
use super::proof::{Facts, Standing};
use crate::store::hold::{HookResult, Met, Stuck};

/// `mailswitchctl cutover`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Any login of the account, as the operator wrote it.
    pub identifier: String,
    /// Where it has to be now: one of these.
    pub from: Vec<String>,
    /// Where it is to go.
    pub to: String,
    /// What to do with an identifier that belongs to no account.
    pub reach: Reach,
    /// The operator's word on fenced nodes (promise N3).
    pub fenced: FencedIs,
    /// What runs under the hold.
    pub hooks: Hooks,
    /// How long; none: as the fleet's configuration says.
    pub times: Times,
}

/// `mailswitchctl rollback`: a cutover the other way (promise F5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    /// Any login of the account, as the operator wrote it.
    pub identifier: String,
    /// What becomes of mail that came to the target since.
    pub new_mail: NewMail,
    /// The operator's word on fenced nodes (promise N3).
    pub fenced: FencedIs,
    /// What runs under the hold.
    pub hooks: Hooks,
    /// How long; none: as the fleet's configuration says.
    pub times: Times,
}

/// Whom a cutover may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// An account, with all its identifiers.
    Account,
    /// `--single`: an identifier of no account, alone.
    Single,
}

/// What becomes of mail that came to the target since the cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewMail {
    /// Nobody said.
    Unsaid,
    /// `--leave-new-mail`.
    Leave,
}

/// Which commands `mailswitchctl` will run under the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks {
    /// `--copy`.
    pub copy: Will,
    /// `--verify`.
    pub verify: Will,
}

/// Whether a command will be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Will {
    /// It will not.
    #[default]
    Not,
    /// It will, and has to pass.
    Run,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Until sessions are ended at any moment.
    pub drain_timeout: Option<Duration>,
    /// Until the account is released to the source.
    pub max_hold: Option<Duration>,
}

/// A command's result, from its runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReport {
    /// Of which operation.
    pub operation: OperationId,
    /// Under which hold: a result for another hold is ignored.
    pub hold: HoldId,
    /// Which command.
    pub hook: HookKind,
    /// What it came to.
    pub result: HookResult,
    /// Exit status or signal, in words.
    pub detail: String,
}

/// Until when a command may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookLease {
    /// Its runner stops it before this has passed, unless it has renewed.
    pub lease: Duration,
    /// The hold ends by then, come what may.
    pub until_deadline: Duration,
}

/// An operation, and what its nodes said: what is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// As it is recorded.
    pub operation: Operation,
    /// What each registered process said of its hold.
    pub proofs: Vec<Proof>,
    /// When this was read.
    pub at: DateTime<Utc>,
}

/// What one process said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its node.
    pub node: String,
    /// The process.
    pub instance: InstanceId,
    /// What it acknowledged, and whether it is fenced.
    pub facts: Facts,
    /// Whether the flip counted it by a lapse, or by the operator's word; of an operation that goes on, as far as it has
    /// said that it is quiet.
    pub standing: Standing,
    /// A leg that did not end.
    pub stuck: Option<Stuck>,
    /// What the hold has met there, so far as it has said.
    pub met: Met,
}
