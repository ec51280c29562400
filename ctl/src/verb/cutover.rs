//! `cutover ID --from A --to B`: try it, precopy, start it, watch it, run what it needs, say what became of it.

use std::time::Duration;

use mailswitch_proto::control::v1::{CutoverStartRequest, Operation};

use super::Context;
use crate::change::{ChangeArguments, rehearsed};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, FollowArguments};
use crate::hook::{Commands, Environment, HookName, precopy};
use crate::interrupt::Interrupt;
use crate::node_api::Plan;
use crate::operation::{Ended, ResultView};

/// `cutover ID --from A --to B`
#[derive(Debug, clap::Args)]
#[command(after_help = HOOKS)]
pub struct CutoverArguments {
    /// Any identifier of the account.
    identifier: String,
    /// Where it must be now; several are alternatives. Otherwise nothing is moved.
    #[arg(long, required = true, value_name = "DESTINATION", value_delimiter = ',')]
    from: Vec<String>,
    /// Where it goes.
    #[arg(long, value_name = "DESTINATION")]
    to: String,
    /// The identifier belongs to no account, and moves alone.
    #[arg(long, conflicts_with = "also")]
    single: bool,
    /// With --node-api: another login of the same account, several times or with commas. A fleet knows them.
    #[arg(long, value_name = "LOGIN", value_delimiter = ',')]
    also: Vec<String>,
    /// A command to run before the hold: the long first copy.
    #[arg(long, value_name = "COMMAND")]
    precopy: Option<String>,
    #[command(flatten)]
    under_hold: HoldArguments,
    #[command(flatten)]
    follow: FollowArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

/// What `cutover` and `rollback` do under the hold.
#[derive(Debug, clap::Args)]
pub struct HoldArguments {
    /// A command to run under the hold, when no session is left: the last, short copy.
    #[arg(long, value_name = "COMMAND")]
    copy: Option<String>,
    /// A command to run under the hold, after the copy: if it fails, the account stays.
    #[arg(long, value_name = "COMMAND")]
    verify: Option<String>,
    /// Your word, which is recorded: the machines of fenced nodes that prove nothing are off. If one still runs, an account
    /// may have sessions on two servers.
    #[arg(long)]
    pub(super) fenced_is_off: bool,
    /// The account is released when it was held for so long [default: of the fleet].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    max_hold: Option<Duration>,
    /// Sessions that are not quiet by then are ended [default: of the fleet].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    drain_timeout: Option<Duration>,
}

/// For `--help`.
pub const HOOKS: &str = "\
Commands are run by /bin/sh in a process group of their own, which is ended before the hold is. They find
  MAILSWITCH_HOOK         precopy, copy or verify
  MAILSWITCH_ACCOUNT      the account's name
  MAILSWITCH_IDENTIFIERS  all its identifiers, one a line
  MAILSWITCH_SOURCE       where it is (one a line, when --from has several)
  MAILSWITCH_TARGET       where it goes
  MAILSWITCH_OPERATION    the operation's id (not for precopy)
  MAILSWITCH_HOLD         the hold's id (not for precopy)
  TRACEPARENT             the W3C trace context, when there is a trace
Exit 0 is success. What they print goes to stderr.";

impl CutoverArguments {
    /// A node that runs alone knows no accounts: whoever asks says which logins belong together.
    pub(crate) fn for_one_node(self) -> Result<Plan, Failure> {
        if !self.single && self.also.is_empty() {
            return Err(Failure::new(
                Exit::Precondition,
                format!(
                    "a node that runs alone does not know which other logins {} has",
                    self.identifier
                ),
            )
            .remedy("name them with --also, or say --single: half an account must not move by accident"));
        }
        Ok(Plan {
            logins: std::iter::once(self.identifier).chain(self.also).collect(),
            from: self.from,
            to: self.to,
            precopy: self.precopy,
            commands: self.under_hold.commands(),
            max_hold: self.under_hold.max_hold,
            dry_run: self.change.dry_run,
            quiet: self.follow.is_quiet(),
        })
    }

    /// Moves the account.
    ///
    /// # Errors
    /// It is refused, or a precopy fails: nothing was changed. Or the control plane was lost before it said whether
    /// the operation began.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        if !self.also.is_empty() {
            return Err(
                Failure::usage("--also is for --node-api: a fleet knows the logins of an account")
                    .remedy("tell it: `mailswitchctl account import`"),
            );
        }
        let mut interrupt = Interrupt::listen()?;
        let mut connection = context.connect().await?;
        let request = self.request();
        if let Some(command) = self.precopy.as_ref().filter(|_| !self.change.dry_run) {
            // What cannot be moved is not copied either.
            let planned = rehearse(&connection, &request).await?;
            let environment = Environment::of(HookName::Precopy, &planned);
            precopy(command, &environment, &mut interrupt).await?;
        }
        let operation = start(&mut connection, &request, &mut interrupt).await?;
        let commands = self.under_hold.commands();
        let (operation, ended) = match self.change.dry_run {
            true => (operation, Ended::Tried),
            false => {
                let follow = Follow::new(connection, &self.follow).running(commands);
                follow.until_it_ends(operation, &mut interrupt).await
            }
        };
        context.output.print(&ResultView::new(operation, ended))?;
        Ok(ended.exit())
    }

    fn request(&self) -> CutoverStartRequest {
        CutoverStartRequest {
            change: Some(self.change.context()),
            identifier: self.identifier.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            single: self.single,
            has_copy: self.under_hold.copy.is_some(),
            has_verify: self.under_hold.verify.is_some(),
            drain_timeout_millis: self.under_hold.drain_timeout_millis(),
            max_hold_millis: self.under_hold.max_hold_millis(),
            fenced_is_off: self.under_hold.fenced_is_off,
        }
    }
}

impl HoldArguments {
    pub(super) fn commands(&self) -> Commands {
        Commands {
            copy: self.copy.clone(),
            verify: self.verify.clone(),
        }
    }

    pub(super) fn drain_timeout_millis(&self) -> u64 {
        millis(self.drain_timeout)
    }

    pub(super) fn max_hold_millis(&self) -> u64 {
        millis(self.max_hold)
    }
}

/// Tries it, and finds out what the precopy is to work on: a dry run records no operation.
async fn rehearse(connection: &Connection, request: &CutoverStartRequest) -> Result<Operation, Failure> {
    let tried = CutoverStartRequest {
        change: request.change.as_ref().map(rehearsed),
        ..request.clone()
    };
    connection
        .ask(async |mut control| control.cutover_start(tried).await)
        .await
}

async fn start(
    connection: &mut Connection,
    request: &CutoverStartRequest,
    interrupt: &mut Interrupt,
) -> Result<Operation, Failure> {
    let change = request.change.clone().unwrap_or_default();
    let starting = connection.change(&change, async |mut control| {
        control.cutover_start(request.clone()).await
    });
    tokio::select! {
        started = starting => started,
        () = interrupt.heard() => Err(interrupted_at_start()),
    }
}

/// Ctrl-C while the start was under way: it may have begun.
pub(super) fn interrupted_at_start() -> Failure {
    Failure::new(
        Exit::Interrupted,
        "interrupted before the control plane answered; if the operation began, it goes on",
    )
    .remedy("`mailswitchctl operation list` shows it")
}

/// `15s`, `5m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    mailswitch_config::duration::parse(text).map_err(|error| {
        format!("it {error}; write a whole number and one unit of ms, s, m, h or d, such as \"30s\"")
    })
}

/// A time that is not zero: on the wire, zero is the fleet's own value.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(
            "it is no time at all; write at least \"1ms\", or leave it out for the fleet's value".to_owned(),
        ),
        some => Ok(some),
    }
}

fn millis(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    })
}
