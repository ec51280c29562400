//! The stream of an operation's states, from whichever control plane answers.
//!
//! A control plane that has just started ends the watch of an operation that it does not drive yet, perhaps several
//! times. That is one interruption, said once, and its end is said once: a stream has to stay up before the next one
//! counts as another.

use std::time::Duration;

use mailswitch_proto::control::v1::{Operation, OperationRef};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;
use tracing::Instrument as _;

use crate::connection::{Connection, is_lost};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A stream that stayed up for so long was not part of the last interruption.
const STEADY: Duration = Duration::from_secs(5);

/// What there is to see.
pub(super) enum Seen {
    /// The operation as it stands.
    Now(Box<Operation>),
    /// The control plane was lost; it is being looked for.
    Interruption(String),
    /// It has answered again.
    Back,
    /// It was not found again, or no longer knows the operation.
    Lost(String),
}

/// A watch that runs until it is dropped.
pub(super) struct Watched {
    seen: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Watched {
    pub(super) async fn next(&mut self) -> Seen {
        // The task ends only after it said `Lost`.
        self.seen
            .recv()
            .await
            .unwrap_or_else(|| Seen::Lost("the watch has ended".to_owned()))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn start(connection: Connection, id: Vec<u8>, patience: Duration) -> Watched {
    let (sender, seen) = mpsc::channel(16);
    let watch = Watch {
        connection,
        id,
        patience,
        sender,
    };
    Watched {
        seen,
        task: tokio::spawn(watch.run().in_current_span()),
    }
}

/// What was said of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    /// There was none, or it is long over.
    None,
    /// That there is one.
    Said,
    /// That it is over; the stream has not stayed up for long yet.
    Over,
}

struct Watch {
    connection: Connection,
    id: Vec<u8>,
    patience: Duration,
    sender: mpsc::Sender<Seen>,
}

impl Watch {
    async fn run(mut self) {
        let mut interruption = Interruption::None;
        let mut lost_since = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let (status, any) = self.stream(&mut interruption).await;
            if any {
                lost_since = None;
            }
            if any && began.elapsed() >= STEADY {
                (interruption, pause) = (Interruption::None, FIRST_PAUSE);
            }
            // A stream that ended without an outcome is a control plane that is going away.
            let lost = status.is_some();
            let why = match &status {
                Some(status) => self.connection.refused(status).what,
                None => "the control plane ended the watch".to_owned(),
            };
            if status.is_some_and(|status| !is_lost(&status)) {
                return self.say(Seen::Lost(why)).await;
            }
            if interruption == Interruption::None || (lost && interruption == Interruption::Over) {
                self.say(Seen::Interruption(why.clone())).await;
                interruption = Interruption::Said;
            }
            if lost_since.get_or_insert(began).elapsed() >= self.patience {
                return self.say(Seen::Lost(why)).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Whether it succeeds shows when the stream is asked for again.
            let _ = self.connection.reconnect().await;
        }
    }

    /// Passes on what comes; why it ended, and whether anything came.
    async fn stream(&self, interruption: &mut Interruption) -> (Option<Status>, bool) {
        let mut any = false;
        let wanted = OperationRef { id: self.id.clone() };
        let mut states = match self.connection.control().operation_watch(wanted).await {
            Ok(states) => states.into_inner(),
            Err(status) => return (Some(status), any),
        };
        loop {
            match states.message().await {
                Ok(Some(operation)) => {
                    any = true;
                    if *interruption == Interruption::Said {
                        *interruption = Interruption::Over;
                        self.say(Seen::Back).await;
                    }
                    self.say(Seen::Now(Box::new(operation))).await;
                }
                Ok(None) => return (None, any),
                Err(status) => return (Some(status), any),
            }
        }
    }

    async fn say(&self, seen: Seen) {
        // Nobody listens any more: the task is about to be aborted.
        let _ = self.sender.send(seen).await;
    }
}
