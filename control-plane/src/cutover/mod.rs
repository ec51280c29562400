//! Cutovers: one account moves, as one recorded operation (design section 7, promise F1 to F6).
//!
//! The path: `request` (what is asked) -> `begin` (may it be, and its record) -> `driver` (one task per operation, which
//! asks `steps` what follows) -> `arm`, `hold`, `flip`, `release` (the changes that it commits). `proof` says which nodes
//! count as quiet, by `clock` and `timing`. `take_over` finds who drives; `watch` shows it.

pub mod arm;
pub mod begin;
pub mod clock;
mod driver;
pub mod flip;
pub mod hold;
mod news;
pub mod operation;
pub mod proof;
pub mod release;
pub mod request;
pub mod steps;
mod take_over;
mod timing;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::id::{HoldId, InstanceId, OperationId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch as channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::begin::Begin;
use self::operation::{HookKind, Operation};
use self::request::{HookLease, HookReport, Rollback, Start, View};
use crate::change::patience::patiently;
use crate::change::sessions::Nodes;
use crate::change::{Committed, Context, Error, Mode, Refusal, Writer};
use crate::store::audit::{self, Entry, Proof};
use crate::store::{self};

/// How long a hook's runner may go on without renewing (promise F6).
pub const HOOK_LEASE: Duration = Duration::from_secs(10);

/// All cutovers of this replica. Cheap to clone.
#[derive(Clone)]
pub struct Cutovers {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    nodes: Arc<dyn Nodes>,
    instance: InstanceId,
    stop: CancellationToken,
    tasks: TaskTracker,
    driven: Mutex<HashMap<OperationId, Driven>>,
}

/// An operation that a task of this process drives.
struct Driven {
    wake: Arc<Notify>,
    view: channel::Sender<Arc<View>>,
}

impl Cutovers {
    /// Takes over what a process that is gone has left open, now and whenever one falls silent. The tasks end with
    /// `stop`; what they drive then waits for whoever takes it over.
    #[must_use]
    pub fn start(
        writer: Writer,
        nodes: Arc<dyn Nodes>,
        instance: InstanceId,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let inner = Inner {
            writer,
            nodes,
            instance,
            stop,
            tasks: tasks.clone(),
            driven: Mutex::new(HashMap::new()),
        };
        let cutovers = Self {
            inner: Arc::new(inner),
        };
        tasks.spawn(take_over::take_over_forever(cutovers.clone()));
        tasks.spawn(news::listen_forever(cutovers.clone()));
        cutovers
    }

    /// Records a cutover and drives it. A dry run records nothing.
    ///
    /// # Errors
    /// Refused when it may not be: nothing changed.
    pub async fn begin(&self, context: &Context, start: &Start) -> Result<Committed<OperationId>, Error> {
        self.launch(
            context,
            &Begin::cutover(start.clone(), context, self.inner.instance),
        )
        .await
    }

    /// Records a cutover the other way of the account's last one, and drives it.
    ///
    /// # Errors
    /// Refused when it may not be: nothing changed.
    pub async fn roll_back(
        &self,
        context: &Context,
        rollback: &Rollback,
    ) -> Result<Committed<OperationId>, Error> {
        self.launch(
            context,
            &Begin::rollback(rollback.clone(), context, self.inner.instance),
        )
        .await
    }

    /// A dry run of `begin`: what would be recorded.
    ///
    /// # Errors
    /// Refused when it may not be.
    pub async fn try_begin(&self, context: &Context, start: &Start) -> Result<Committed<Operation>, Error> {
        let begin = Begin::cutover(start.clone(), context, self.inner.instance);
        self.rehearse(context, begin).await
    }

    /// A dry run of `roll_back`.
    ///
    /// # Errors
    /// Refused when it may not be.
    pub async fn try_roll_back(
        &self,
        context: &Context,
        rollback: &Rollback,
    ) -> Result<Committed<Operation>, Error> {
        let begin = Begin::rollback(rollback.clone(), context, self.inner.instance);
        self.rehearse(context, begin).await
    }

    async fn rehearse(&self, context: &Context, begin: Begin) -> Result<Committed<Operation>, Error> {
        let tried = self.inner.writer.commit(context, &begin).await?;
        let operation = match begin.planned() {
            Some(operation) => operation,
            None => self.get(OperationId::from(tried.output)).await?.operation,
        };
        Ok(Committed {
            position: None,
            output: operation,
            notes: tried.notes,
        })
    }

    async fn launch(&self, context: &Context, begin: &Begin) -> Result<Committed<OperationId>, Error> {
        let committed = self.inner.writer.commit(context, begin).await?;
        let id = OperationId::from(committed.output);
        if context.mode == Mode::Commit
            && let Err(error) = take_over::drive_if_ours(self, id).await
        {
            // It is recorded: nothing may be answered that says otherwise. The patrol drives it.
            tracing::warn!(operation = %id, %error, "an operation is recorded, and not driven yet");
        }
        Ok(Committed {
            position: committed.position,
            output: id,
            notes: committed.notes,
        })
    }

    /// Asks for the end of an operation: its driver releases the account to the source, unless it flips first.
    ///
    /// # Errors
    /// Refused when there is no such operation, or it has ended. `OutcomeUnknown` when it may have been recorded.
    pub async fn abort(&self, context: &Context, id: OperationId) -> Result<View, Error> {
        let mut txn = self.inner.writer.pool().begin().await?;
        let why = match context.reason.as_str() {
            "" => format!("aborted by {}", context.actor.who),
            reason => format!("aborted by {}: {reason}", context.actor.who),
        };
        if !store::operation::operation_abort_ask(&mut txn, id, &why).await? {
            let view = self.get(id).await?;
            return Err(Refusal::precondition(
                format!("operation {id} has ended as {}", view.operation.step.text()),
                "an account that was moved goes back with `mailswitchctl rollback`",
            )
            .into());
        }
        let author = audit::Author {
            change: None,
            who: &context.actor.who,
            from: &context.actor.from,
            reason: &context.reason,
            trace: context.trace_id(),
        };
        let entry = Entry {
            verb: "cutover abort".to_owned(),
            subject: id.to_string(),
            before: String::new(),
            after: why,
            proof: Proof::Standing,
        };
        audit::audit_add(&mut txn, &author, &[entry]).await?;
        let committed = txn.commit().await.map_err(store::Error::from);
        self.say([id]).await;
        match (committed, self.get(id).await) {
            (Ok(()), view) => view.map_err(Error::after_the_commit),
            // Asked for, by this very commit or by another: what was wished is so.
            (Err(_), Ok(view)) if view.operation.abort_asked.is_some() => Ok(view),
            (Err(error), _) if error.is_unavailable() => Err(Error::OutcomeUnknown(Box::new(error))),
            (Err(error), _) => Err(error.into()),
        }
    }

    /// A command's runner goes on for another lease.
    ///
    /// # Errors
    /// Refused when that hold is over: the command must be stopped.
    pub async fn hook_renew(
        &self,
        id: OperationId,
        hold: HoldId,
        hook: HookKind,
    ) -> Result<HookLease, Error> {
        let mut conn = self.inner.writer.pool().acquire().await?;
        if !store::hold::hook_renew(&mut conn, hold, hook.text()).await? {
            return Err(hold_is_over(id));
        }
        drop(conn);
        let _ = self.wake_of([id]);
        let view = self.get(id).await?;
        let left = view.operation.deadline.map_or(Duration::ZERO, |deadline| {
            (deadline - view.at).to_std().unwrap_or(Duration::ZERO)
        });
        Ok(HookLease {
            lease: HOOK_LEASE,
            until_deadline: left,
        })
    }

    /// A command's result. One that names a hold which is over, or comes a second time, changes nothing.
    ///
    /// # Errors
    /// Refused when there is no such operation.
    pub async fn hook_finish(&self, report: &HookReport) -> Result<View, Error> {
        let mut conn = self.inner.writer.pool().acquire().await?;
        store::hold::hook_finish(
            &mut conn,
            report.hold,
            report.hook.text(),
            report.result,
            &report.detail,
        )
        .await?;
        drop(conn);
        self.say([report.operation]).await;
        self.get(report.operation).await
    }

    /// An operation as it is now.
    ///
    /// # Errors
    /// Refused when there is none of that id.
    pub async fn get(&self, id: OperationId) -> Result<View, Error> {
        patiently(|| watch::view(self.inner.writer.pool(), id)).await
    }

    /// An operation as it is now, and every time that it moves; the sender is gone once it has ended.
    ///
    /// # Errors
    /// Refused when there is none of that id.
    pub async fn watch(&self, id: OperationId) -> Result<channel::Receiver<Arc<View>>, Error> {
        if let Some(driven) = self.inner.driven.lock().get(&id) {
            return Ok(driven.view.subscribe());
        }
        watch::from_afar(self, id).await
    }

    /// `news` after a commit, whose outcome it cannot change any more.
    async fn say<const N: usize>(&self, ids: [OperationId; N]) {
        if let Err(error) = self.news(ids).await {
            tracing::debug!(%error, "the operation's driver has to look by itself");
        }
    }

    /// Something that all drivers wait for has happened: a registration, or its end.
    pub fn wake(&self) {
        for driven in self.inner.driven.lock().values() {
            driven.wake.notify_one();
        }
    }

    /// Something has happened to these operations. Returns those that no task of this process drives: another replica's
    /// are woken by `news`.
    fn wake_of(&self, ids: impl IntoIterator<Item = OperationId>) -> Vec<OperationId> {
        let driven = self.inner.driven.lock();
        let unknown = |id: &OperationId| match driven.get(id) {
            Some(driven) => {
                driven.wake.notify_one();
                false
            }
            None => true,
        };
        ids.into_iter().filter(unknown).collect()
    }

    /// Wakes whoever drives these operations, here or in another replica. A word that is lost costs its driver half a
    /// second: then it looks by itself.
    ///
    /// # Errors
    /// The database's; who drives them here is woken all the same.
    pub async fn news(&self, ids: impl IntoIterator<Item = OperationId>) -> Result<(), store::Error> {
        let elsewhere = self.wake_of(ids);
        if elsewhere.is_empty() {
            return Ok(());
        }
        let mut conn = self.inner.writer.pool().acquire().await?;
        store::operation::operation_news(&mut conn, &elsewhere).await
    }
}

fn hold_is_over(id: OperationId) -> Error {
    Refusal::precondition(
        format!("the hold of operation {id} is over"),
        "stop the command; the operation says how it ended",
    )
    .into()
}
