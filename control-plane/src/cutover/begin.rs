//! May it be? Checks a cutover or a rollback and records it as planned. Nothing is held yet.

use chrono::Utc;
use mailswitch_proto::id::{InstanceId, OperationId};
use mailswitch_proto::identifier::Key;
use parking_lot::Mutex;

use super::operation::{Fence, FencedIs, Hook, Kind, Operation, Step, Subject};
use super::request::{Hooks, NewMail, Reach, Rollback, Start, Times, Will};
use crate::change::rules::{Rules, Whereabouts};
use crate::change::{Change, Context, Draft, Error, Refusal};
use crate::store;
use crate::store::audit::Proof;

/// A hold that lasts longer is no cutover: every login of the account would have given up.
const MAX_HOLD: std::time::Duration = std::time::Duration::from_secs(3600);

/// How long a leg may take to close (3 s, promise Q2), and the way of the word that it did.
const CLOSING: std::time::Duration = std::time::Duration::from_secs(4);

/// The change that records an operation.
pub struct Begin {
    ask: Ask,
    context: Context,
    holder: InstanceId,
    /// What was last made, for a dry run: it is recorded nowhere.
    made: Mutex<Option<Operation>>,
}

enum Ask {
    Cutover(Start),
    Rollback(Rollback),
}

impl Begin {
    pub(super) fn cutover(start: Start, context: &Context, holder: InstanceId) -> Self {
        Self {
            ask: Ask::Cutover(start),
            context: context.clone(),
            holder,
            made: Mutex::default(),
        }
    }

    pub(super) fn rollback(rollback: Rollback, context: &Context, holder: InstanceId) -> Self {
        Self {
            ask: Ask::Rollback(rollback),
            context: context.clone(),
            holder,
            made: Mutex::default(),
        }
    }

    /// The operation that it would record; none when it was done before, with the same key.
    pub(super) fn planned(self) -> Option<Operation> {
        self.made.into_inner()
    }
}

impl Change for Begin {
    type Output = uuid::Uuid;

    fn verb(&self) -> &'static str {
        match self.ask {
            Ask::Cutover(_) => "cutover start",
            Ask::Rollback(_) => "rollback start",
        }
    }

    fn request(&self) -> String {
        match &self.ask {
            Ask::Cutover(start) => format!("{start:?}"),
            Ask::Rollback(rollback) => format!("{rollback:?}"),
        }
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<uuid::Uuid, Error> {
        let rules = Rules::read(draft.conn).await?;
        let planned = match &self.ask {
            Ask::Cutover(start) => self.plan_cutover(draft, &rules, start).await?,
            Ask::Rollback(rollback) => self.plan_rollback(draft, &rules, rollback).await?,
        };
        some_node_is_fenced(draft, planned.fenced).await?;
        let operation = self.record(&rules, planned)?;
        store::operation::operation_add(draft.conn, &operation).await?;
        draft.audit(
            self.verb(),
            &operation.subject.name,
            &operation.source,
            &operation.target,
            Proof::Standing,
        );
        let id = operation.id.uuid();
        *self.made.lock() = Some(operation);
        Ok(id)
    }
}

struct Planned {
    kind: Kind,
    subject: Subject,
    from: Vec<String>,
    source: String,
    target: String,
    fenced: FencedIs,
    hooks: Hooks,
    times: Times,
}

impl Begin {
    async fn plan_cutover(
        &self,
        draft: &mut Draft<'_>,
        rules: &Rules,
        start: &Start,
    ) -> Result<Planned, Error> {
        if start.from.is_empty() || start.to.is_empty() {
            return Err(Refusal::invalid(
                "both --from and --to are needed",
                "say where it is, and where it is to go",
            )
            .into());
        }
        for name in start.from.iter().chain([&start.to]) {
            rules.destination(name)?;
        }
        let subject = subject(draft, rules, &start.identifier, start.reach).await?;
        let source = source(draft, rules, &subject).await?;
        if source == start.to {
            return Err(Refusal::precondition(
                format!("{} is on {source} already", subject.name),
                "nothing has to be done",
            )
            .into());
        }
        if !start.from.contains(&source) {
            return Err(Refusal::precondition(
                format!(
                    "{} is on {source}, and --from says {}",
                    subject.name,
                    start.from.join(" or ")
                ),
                "nothing was changed; check the list that this came from",
            )
            .into());
        }
        Ok(Planned {
            kind: Kind::Cutover,
            subject,
            from: start.from.clone(),
            source,
            target: start.to.clone(),
            fenced: start.fenced,
            hooks: start.hooks,
            times: start.times,
        })
    }

    /// Nobody counts an account's sessions and deliveries on the target yet, so it is taken that there were some (promise
    /// F5).
    async fn plan_rollback(
        &self,
        draft: &mut Draft<'_>,
        rules: &Rules,
        ask: &Rollback,
    ) -> Result<Planned, Error> {
        let subject = subject(draft, rules, &ask.identifier, Reach::Single).await?;
        let last = store::operation::operation_last_done_get(draft.conn, &subject.name)
            .await?
            .ok_or_else(|| {
                Refusal::precondition(
                    format!("no cutover of {} is recorded as done", subject.name),
                    "move it with `mailswitchctl cutover`",
                )
            })?;
        let source = source(draft, rules, &subject).await?;
        if source != last.target {
            return Err(Refusal::precondition(
                format!(
                    "{} is on {source}, and its last cutover took it to {}",
                    subject.name, last.target
                ),
                "move it with `mailswitchctl cutover`",
            )
            .into());
        }
        rules.destination(&last.source)?;
        if ask.hooks.copy == Will::Not && ask.new_mail == NewMail::Unsaid {
            return Err(Refusal::precondition(
                format!(
                    "{} is on {source} since {}, and may have got mail or changes there: neither its sessions of that time nor \
                     its deliveries are recorded",
                    subject.name,
                    last.ended_at
                        .map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
                ),
                "give --copy to bring it back, or --leave-new-mail to leave it there",
            )
            .into());
        }
        Ok(Planned {
            kind: Kind::Rollback(last.id),
            subject,
            from: vec![source.clone()],
            source,
            target: last.source,
            fenced: ask.fenced,
            hooks: ask.hooks,
            times: ask.times,
        })
    }

    fn record(&self, rules: &Rules, planned: Planned) -> Result<Operation, Refusal> {
        let set = &rules.config.cutover;
        let max_hold = planned.times.max_hold.unwrap_or(set.max_hold);
        // What does not become quiet is ended early enough for its leg to close before the hold is over.
        let latest = max_hold.saturating_sub(CLOSING).max(max_hold / 2);
        let drain_timeout = planned
            .times
            .drain_timeout
            .unwrap_or(set.drain_timeout)
            .min(latest);
        if max_hold.is_zero() || max_hold > MAX_HOLD {
            return Err(Refusal::invalid(
                format!("max_hold is {max_hold:?}"),
                format!("take more than nothing and at most {MAX_HOLD:?}"),
            ));
        }
        let hook = |will| match will {
            Will::Not => Hook::None,
            Will::Run => Hook::Wanted,
        };
        Ok(Operation {
            id: OperationId::random(),
            kind: planned.kind,
            subject: planned.subject,
            from_any: planned.from,
            source: planned.source,
            target: planned.target,
            step: Step::Planned,
            outcome: None,
            arming: None,
            lease_ms: millis(set.lease),
            fenced: planned.fenced,
            lapsed: Vec::new(),
            taken_as_off: Vec::new(),
            hold: None,
            hold_revision: None,
            end_revision: None,
            copy: hook(planned.hooks.copy),
            verify: hook(planned.hooks.verify),
            drain_timeout_ms: millis(drain_timeout),
            max_hold_ms: millis(max_hold),
            deadline: None,
            abort_asked: None,
            cause: String::new(),
            missing: Vec::new(),
            traceparent: self.context.traceparent.clone(),
            reason: self.context.reason.clone(),
            started_by: self.context.actor.who.clone(),
            started_from: self.context.actor.from.clone(),
            started_at: Utc::now(),
            held_at: None,
            ended_at: None,
            fence: Fence {
                term: 1,
                holder: self.holder,
            },
        })
    }
}

/// `--fenced-is-off` is a word on nodes that are fenced: without one it is a slip, or the fence was forgotten.
async fn some_node_is_fenced(draft: &mut Draft<'_>, fenced: FencedIs) -> Result<(), Error> {
    if fenced == FencedIs::Off && store::fence::fence_list(draft.conn).await?.is_empty() {
        return Err(Refusal::precondition(
            "--fenced-is-off says that fenced nodes are off, and no node is fenced",
            "fence the node first: mailswitchctl node fence NAME",
        )
        .into());
    }
    Ok(())
}

/// Whom it moves; nobody whom another operation moves.
async fn subject(draft: &mut Draft<'_>, rules: &Rules, text: &str, reach: Reach) -> Result<Subject, Error> {
    let (identifier, key) = rules
        .identifier(text)
        .map_err(|why| Refusal::invalid(why, "give a login of the account"))?;
    if identifier.is_domain_entry() {
        return Err(Refusal::precondition(
            format!("{identifier} is a whole domain"),
            "its accounts are moved one by one, or together by a wave",
        )
        .into());
    }
    let account = store::account::account_of_identifier_get(draft.conn, identifier.as_str()).await?;
    let subject = match (account, reach) {
        (Some(account), _) => {
            let (identifiers, keys): (Vec<String>, Vec<Key>) = account.identifiers.into_iter().unzip();
            Subject {
                account: Some(account.id),
                name: account.name,
                identifiers,
                keys,
            }
        }
        (None, Reach::Single) => Subject {
            account: None,
            name: identifier.to_string(),
            identifiers: vec![identifier.to_string()],
            keys: vec![key],
        },
        (None, Reach::Account) => {
            return Err(Refusal::precondition(
                format!("{identifier} belongs to no account, and other logins of the same mailbox would stay behind"),
                "import the account with all its identifiers, or give --single",
            )
            .into());
        }
    };
    if let Some(other) = store::operation::operation_open_on_get(draft.conn, &subject.identifiers).await? {
        return Err(Refusal::precondition(
            format!("operation {other} already moves {}", subject.name),
            format!("wait for it, or abort it: mailswitchctl operation abort {other}"),
        )
        .into());
    }
    Ok(subject)
}

/// Where all of its identifiers are.
async fn source(draft: &mut Draft<'_>, rules: &Rules, subject: &Subject) -> Result<String, Error> {
    let whereabouts = Whereabouts::read(draft.conn, rules, &subject.identifiers).await?;
    Ok(agreed(&whereabouts, subject)?)
}

/// The one destination of a subject's identifiers.
pub(super) fn agreed(whereabouts: &Whereabouts, subject: &Subject) -> Result<String, Refusal> {
    let mut found: Option<&str> = None;
    for identifier in &subject.identifiers {
        let Some(here) = whereabouts.resolved(identifier) else {
            return Err(Refusal::precondition(
                format!("{identifier} has no destination: no mapping names it, and there is no default"),
                "map it first, or set routing.default_destination",
            ));
        };
        match found {
            Some(there) if there != here => {
                return Err(Refusal::precondition(
                    format!(
                        "the identifiers of {} are not on one destination: {identifier} is on {here}, others on {there}",
                        subject.name
                    ),
                    "bring them together with `mailswitchctl mapping set --unproven`, while nobody is signed in",
                ));
            }
            _ => found = Some(here),
        }
    }
    found.map(ToOwned::to_owned).ok_or_else(|| {
        Refusal::precondition(
            format!("{} has no identifiers", subject.name),
            "import the account again",
        )
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
