//! One command under its lease. The lease is asked for before the command starts; when it cannot be renewed, the
//! command is ended before the lease is.

use std::time::Duration;

use mailswitch_proto::control::v1::{HookFinishRequest, HookLease, HookRenewRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;
use tracing::Instrument as _;

use super::lease::{BootTime, Due, Lease};
use super::process::{GRACE, Group};
use super::{Environment, HookName, Stop};
use crate::connection::{Connection, Unanswered, is_lost};

/// How often the lease is looked at. A sixteenth of the shortest lease that makes sense.
const TICK: Duration = Duration::from_millis(50);

/// What to run, and for which hold.
pub(super) struct Run {
    pub(super) connection: Connection,
    pub(super) hook: HookName,
    pub(super) operation: Vec<u8>,
    pub(super) hold: Vec<u8>,
    pub(super) command: String,
    pub(super) environment: Environment,
    pub(super) stopped: watch::Receiver<Stop>,
}

/// One renewal; then the control plane is taken for lost, and looked for.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A renewal that is under way, beside the looking at the lease: nothing may delay that.
type Renewal = JoinHandle<Renewed>;

struct Renewed {
    asked: BootTime,
    granted: Result<HookLease, Status>,
    /// Another one when it was lost.
    connection: Connection,
}

impl Run {
    /// Runs it, and tells the control plane how it ended.
    pub(super) async fn until_it_ends(mut self) {
        let result = self.under_lease().await;
        let name = self.hook.as_str();
        match &result {
            Ok(()) => eprintln!("{name} succeeded"),
            Err(why) => eprintln!("{name} failed: {why}"),
        }
        // When the operation has gone on without it, there is nobody to tell.
        let why = *self.stopped.borrow();
        if why != Stop::Left {
            self.finish(result, why).await;
        }
    }

    async fn under_lease(&mut self) -> Result<(), String> {
        let first = self
            .renew()
            .await
            .map_err(|error| format!("not started: {error}"))?;
        let granted = first
            .granted
            .map_err(|status| format!("not started: {}", self.connection.refused(&status).what))?;
        let mut lease = lease_of(first.asked, &granted);
        let group = Group::spawn(&self.command, &self.environment);
        let mut command = Ending {
            group: group.map_err(|error| format!("not started: {error}"))?,
            asked: None,
        };
        let mut renewal: Option<Renewal> = None;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                ended = command.group.ended() => return match command.asked {
                    Some((_, why)) => Err(why),
                    None => ended,
                },
                renewed = finished(&mut renewal) => {
                    renewal = None;
                    let Some(renewed) = renewed else { continue };
                    self.connection = renewed.connection;
                    match renewed.granted {
                        Ok(granted) => lease = lease.renewed(lease_of(renewed.asked, &granted)),
                        // The next tick asks again, for as long as the lease lasts.
                        Err(status) if is_lost(&status) => {}
                        Err(status) => command.ask(&self.connection.refused(&status).what),
                    }
                }
                Ok(()) = self.stopped.changed(), if command.asked.is_none() => {
                    command.ask("the operation no longer waits for it");
                }
                _ = tick.tick() => match lease.due(BootTime::now()) {
                    Due::Kill => command.kill("its lease was over"),
                    _ if command.is_overdue() => command.group.kill(),
                    Due::Terminate => command.ask("the hold was about to end, or its lease could not be renewed"),
                    Due::Renew if renewal.is_none() && command.asked.is_none() => renewal = Some(self.renew()),
                    Due::Renew | Due::Nothing => {}
                },
            }
        }
    }

    fn renew(&self) -> Renewal {
        let mut connection = self.connection.clone();
        let request = HookRenewRequest {
            operation: self.operation.clone(),
            hold: self.hold.clone(),
            hook: self.hook.as_str().to_owned(),
        };
        let renewal = async move {
            let asked = BootTime::now();
            let mut control = connection.control();
            let granted = match tokio::time::timeout(RENEWAL_TIMEOUT, control.hook_renew(request)).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded(
                    "the control plane did not answer in time",
                )),
            };
            if granted.as_ref().is_err_and(is_lost) {
                // Whether it succeeds shows at the next renewal.
                let _ = connection.reconnect().await;
            }
            Renewed {
                asked,
                granted,
                connection,
            }
        };
        tokio::spawn(renewal.in_current_span())
    }

    async fn finish(&mut self, result: Result<(), String>, why: Stop) {
        let request = HookFinishRequest {
            operation: self.operation.clone(),
            hold: self.hold.clone(),
            hook: self.hook.as_str().to_owned(),
            succeeded: result.is_ok(),
            detail: result.err().unwrap_or_default(),
        };
        if why == Stop::Interrupted {
            // Nobody waits for us: a word in passing. Without it the lease runs out, with the same result.
            self.connection = self.connection.clone().patient(Duration::from_secs(1));
        }
        match self
            .connection
            .repeat(async |mut control| control.hook_finish(request.clone()).await)
            .await
        {
            // What the operation made of it is seen by the watch.
            Ok(_) => {}
            Err(Unanswered::Refused(failure) | Unanswered::Lost(failure)) => {
                eprintln!("warning: the control plane could not be told: {}", failure.what);
            }
        }
    }
}

/// A command, and whether it was asked to end, when, and why.
struct Ending {
    group: Group,
    asked: Option<(BootTime, String)>,
}

impl Ending {
    fn ask(&mut self, why: &str) {
        if self.asked.is_none() {
            self.asked = Some((BootTime::now(), format!("ended: {why}")));
            self.group.terminate();
        }
    }

    fn kill(&mut self, why: &str) {
        self.ask(why);
        self.group.kill();
    }

    fn is_overdue(&self) -> bool {
        let since = |(asked, _): &(BootTime, String)| BootTime::now().0.saturating_sub(asked.0);
        self.asked.as_ref().is_some_and(|asked| since(asked) >= GRACE)
    }
}

fn lease_of(asked: BootTime, granted: &HookLease) -> Lease {
    let millis = Duration::from_millis;
    Lease::granted(
        asked,
        millis(granted.lease_millis),
        millis(granted.until_deadline_millis),
    )
}

/// The renewal's answer; never, when there is none under way.
async fn finished(renewal: &mut Option<Renewal>) -> Option<Renewed> {
    match renewal {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}
