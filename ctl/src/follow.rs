//! Watches an operation to its end, over lost connections and crashed control planes, and runs the commands that it
//! asks for. What is reported is only what the control plane has said: when it says nothing any more, the outcome is
//! unknown.

mod progress;
mod watch;

use std::time::Duration;

use mailswitch_proto::control::v1::{Operation, Outcome};
use tokio::time::{Instant, sleep_until};

use crate::connection::Connection;
use crate::hook::{Commands, Hooks};
use crate::interrupt::Interrupt;
use crate::operation::Ended;
use progress::Progress;
use watch::Seen;

/// The flags of the verbs that watch.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Watching")]
pub struct FollowArguments {
    /// Watch no longer than this: exit 6, and the operation goes on. Without it, until it ends. A `--copy` or `--verify` ends
    /// with the watch, and the account is released.
    #[arg(long, value_name = "TIME", value_parser = crate::verb::cutover::duration)]
    wait: Option<Duration>,
    /// Try to reach a lost control plane for this long: then exit 5.
    #[arg(long, value_name = "TIME", value_parser = crate::verb::cutover::duration, default_value = "60s")]
    reconnect_for: Duration,
    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
}

impl FollowArguments {
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// An operation that is being watched.
pub struct Follow {
    connection: Connection,
    hooks: Hooks,
    progress: Progress,
    until: Option<Instant>,
    reconnect_for: Duration,
}

impl Follow {
    /// Without commands.
    #[must_use]
    pub fn new(connection: Connection, arguments: &FollowArguments) -> Self {
        let connection = connection.patient(arguments.reconnect_for);
        Self {
            hooks: Hooks::new(connection.clone(), Commands::default()),
            connection,
            progress: Progress::new(arguments.quiet),
            until: arguments.wait.map(|wait| Instant::now() + wait),
            reconnect_for: arguments.reconnect_for,
        }
    }

    /// With these commands.
    #[must_use]
    pub fn running(mut self, commands: Commands) -> Self {
        self.hooks = Hooks::new(self.connection.clone(), commands);
        self
    }

    /// Until it ends, or watching does. When this returns, no command of ours runs any more.
    pub async fn until_it_ends(
        mut self,
        operation: Operation,
        interrupt: &mut Interrupt,
    ) -> (Operation, Ended) {
        let mut watched = watch::start(self.connection.clone(), operation.id.clone(), self.reconnect_for);
        let mut last = operation;
        let ended = loop {
            self.progress.show(&last);
            if last.outcome() != Outcome::Unspecified {
                break Ended::Outcome(last.outcome());
            }
            self.hooks.attend(&last).await;
            tokio::select! {
                seen = watched.next() => match seen {
                    Seen::Now(operation) => last = with_notes(*operation, last.notes),
                    Seen::Back => self.progress.say("the control plane is back"),
                    Seen::Interruption(why) => self.progress.say(&format!("{why}; trying again")),
                    Seen::Lost(why) => {
                        self.progress.say(&why);
                        break Ended::Lost;
                    }
                },
                () = interrupt.heard() => break Ended::Interrupted,
                () = elapsed(self.until) => break Ended::TimedOut,
            }
        };
        self.hooks.end(ended).await;
        (last, ended)
    }
}

async fn elapsed(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Notes come only in the answer to the start.
fn with_notes(operation: Operation, notes: Vec<String>) -> Operation {
    match operation.notes.is_empty() {
        true => Operation { notes, ..operation },
        false => operation,
    }
}
