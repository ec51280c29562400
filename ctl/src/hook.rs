//! The commands that a cutover runs on this machine: `--precopy` before the hold, `--copy` and `--verify` under it.
//!
//! - `lease`: when a command must be renewed for, and when it must be gone (promise F6); pure.
//! - `process`: a command in its own process group.
//! - `run`: one command under its lease, and what the control plane is told about it.
//!
//! Each command runs at most once for a hold. It is gone before its lease or the hold's deadline ends, whichever
//! comes first: a copy that runs into the next hold, or after the release, would copy while people write.

pub mod lease;
mod process;
mod run;

use mailswitch_proto::control::v1::{Operation, Step};
use mailswitch_proto::trace_context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::operation::Ended;
use crate::output::identity;
use process::Group;

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookName {
    /// Before the hold.
    Precopy,
    /// Under the hold: the last copy.
    Copy,
    /// Under the hold: the check of the copy.
    Verify,
}

impl HookName {
    /// As the protocol and the environment name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precopy => "precopy",
            Self::Copy => "copy",
            Self::Verify => "verify",
        }
    }
}

/// The commands to run under the hold.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// When the operation copies.
    pub copy: Option<String>,
    /// When the operation verifies.
    pub verify: Option<String>,
}

/// What a command is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment(Vec<(&'static str, String)>);

impl Environment {
    /// For this command of this operation.
    #[must_use]
    pub fn of(hook: HookName, operation: &Operation) -> Self {
        let mut variables = vec![
            ("MAILSWITCH_HOOK", hook.as_str().to_owned()),
            ("MAILSWITCH_ACCOUNT", operation.account.clone()),
            ("MAILSWITCH_IDENTIFIERS", operation.identifiers.join("\n")),
            ("MAILSWITCH_SOURCE", operation.from.join("\n")),
            ("MAILSWITCH_TARGET", operation.to.clone()),
        ];
        if hook != HookName::Precopy {
            variables.push((
                "MAILSWITCH_OPERATION",
                identity(&operation.id).unwrap_or_default(),
            ));
            variables.push(("MAILSWITCH_HOLD", identity(&operation.hold).unwrap_or_default()));
        }
        let traceparent = trace_context::traceparent();
        if !traceparent.is_empty() {
            variables.push(("TRACEPARENT", traceparent));
        }
        Self(variables)
    }
}

/// Runs the first copy. Ctrl-C ends it.
///
/// # Errors
/// It did not succeed; nothing was changed.
pub async fn precopy(
    command: &str,
    environment: &Environment,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let failed = |why: String| {
        Failure::new(
            Exit::Precondition,
            format!("the precopy failed: {why}; nothing was changed"),
        )
    };
    let mut group = Group::spawn(command, environment).map_err(|error| failed(error.to_string()))?;
    tokio::select! {
        ended = group.ended() => match ended {
            Ok(()) => Ok(()),
            Err(why) => Err(failed(why)),
        },
        () = interrupt.heard() => {
            group.end().await;
            Err(Failure::new(Exit::Interrupted, "interrupted in the precopy, which was ended; nothing was changed"))
        }
    }
}

/// Runs a command while a single node delays logins, until a deadline. Ctrl-C ends it.
///
/// # Errors
/// It did not succeed, and why; none: we were told to stop.
pub(crate) async fn under_delay(
    command: &str,
    environment: &Environment,
    until: std::time::Instant,
    interrupt: &mut Interrupt,
) -> Result<(), Option<String>> {
    let mut group = Group::spawn(command, environment).map_err(|error| Some(error.to_string()))?;
    // Asked to end, it has a moment.
    let deadline = until.checked_sub(process::GRACE).unwrap_or(until);
    tokio::select! {
        ended = group.ended() => ended.map_err(Some),
        () = tokio::time::sleep_until(deadline.into()) => {
            group.end().await;
            Err(Some("it took longer than --max-hold leaves it, and was ended".to_owned()))
        }
        () = interrupt.heard() => {
            group.end().await;
            Err(None)
        }
    }
}

/// Runs each command when the operation comes to it.
pub(crate) struct Hooks {
    connection: Connection,
    commands: Commands,
    running: Option<Running>,
    begun: Vec<(HookName, Vec<u8>)>,
}

struct Running {
    hook: HookName,
    hold: Vec<u8>,
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

/// Why a command must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It need not.
    No,
    /// The operation has gone on without it: nobody waits for its result.
    Left,
    /// We were interrupted: the control plane is told that it failed.
    Interrupted,
}

impl Hooks {
    pub(crate) fn new(connection: Connection, commands: Commands) -> Self {
        Self {
            connection,
            commands,
            running: None,
            begun: Vec::new(),
        }
    }

    /// Starts the command that the operation is at, and ends one that it has left.
    pub(crate) async fn attend(&mut self, operation: &Operation) {
        let (hook, command) = match operation.step() {
            Step::Copying => (Some(HookName::Copy), self.commands.copy.clone()),
            Step::Verifying => (Some(HookName::Verify), self.commands.verify.clone()),
            _ => (None, None),
        };
        let left = |running: &Running| Some(running.hook) != hook || running.hold != operation.hold;
        if self.running.as_ref().is_some_and(left) {
            self.stop(Stop::Left).await;
        }
        let (Some(hook), Some(command)) = (hook, command) else {
            return;
        };
        let this = (hook, operation.hold.clone());
        if self.begun.contains(&this) {
            return;
        }
        let (stop, stopped) = watch::channel(Stop::No);
        let run = run::Run {
            connection: self.connection.clone(),
            hook,
            operation: operation.id.clone(),
            hold: operation.hold.clone(),
            command,
            environment: Environment::of(hook, operation),
            stopped,
        };
        self.running = Some(Running {
            hook,
            hold: this.1.clone(),
            stop,
            task: tokio::spawn(run.until_it_ends().in_current_span()),
        });
        self.begun.push(this);
    }

    /// Nothing runs any more.
    pub(crate) async fn end(&mut self, ended: Ended) {
        let why = match ended {
            Ended::Outcome(_) | Ended::Tried => Stop::Left,
            Ended::TimedOut | Ended::Lost | Ended::Interrupted => Stop::Interrupted,
        };
        self.stop(why).await;
    }

    async fn stop(&mut self, why: Stop) {
        if let Some(running) = self.running.take() {
            // It may have ended by itself.
            let _ = running.stop.send(why);
            // A panic in it has killed its group by drop.
            let _ = running.task.await;
        }
    }
}
