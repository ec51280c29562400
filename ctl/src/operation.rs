//! A cutover or rollback, as it is shown while it runs and when it has ended.

use mailswitch_proto::control::v1::{NodeProof, Operation, Outcome, Step};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{Grid, Render, filled, identity, or_dash, printable, span, time};

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct OperationView {
    /// None: it was only tried.
    pub id: Option<String>,
    account: String,
    identifiers: Vec<String>,
    from: Vec<String>,
    to: String,
    step: &'static str,
    /// None: it goes on.
    outcome: Option<&'static str>,
    /// Why it was released.
    cause: Option<String>,
    hold: Option<String>,
    hold_revision: Option<u64>,
    /// Of the flip or the release.
    end_revision: Option<u64>,
    /// From the hold's commit to its end.
    held_millis: Option<u64>,
    proofs: Vec<ProofView>,
    /// Nodes without a proof.
    missing: Vec<String>,
    /// Nodes that the flip counted as gone because their lease was over.
    lapsed: Vec<String>,
    /// Nodes that the flip counted as gone because they are fenced, and on the operator's word that they are off.
    taken_as_off: Vec<String>,
    /// `--fenced-is-off` was given.
    fenced_is_off: bool,
    lease_millis: Option<u64>,
    started_at: Option<String>,
    held_at: Option<String>,
    ended_at: Option<String>,
    deadline: Option<String>,
    reason: Option<String>,
    started_by: String,
    traceparent: Option<String>,
    /// What this program runs for it, and nobody runs after it.
    #[serde(skip)]
    commands: Vec<&'static str>,
    /// For the operator, a sentence each.
    notes: Vec<String>,
}

/// What a node has proven.
#[derive(Debug, Clone, Serialize)]
pub struct ProofView {
    node: String,
    instance: Option<String>,
    /// No session of the account is left there, and none will be admitted.
    quiesced: bool,
    connected: bool,
    /// That were open, or being opened, and ended for the hold.
    sessions_closed: u64,
    /// That waited for its end.
    logins_parked: u64,
    /// It acknowledged the arming that the hold follows: it can have no session once its lease is over.
    armed: bool,
    fenced: bool,
    /// The flip counted it as gone because its lease was over.
    lapsed: bool,
    /// The flip counted it as gone on the operator's word.
    taken_as_off: bool,
    /// A session that did not end in time.
    stuck: Option<StuckView>,
}

/// A backend leg that did not end.
#[derive(Debug, Clone, Serialize)]
pub struct StuckView {
    destination: String,
    session: String,
    protocol: String,
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        Self {
            step: step_words(operation.step()),
            outcome: outcome_words(operation.outcome()),
            id: identity(&operation.id),
            commands: [(operation.has_copy, "copy"), (operation.has_verify, "verify")]
                .into_iter()
                .filter_map(|(has, name)| has.then_some(name))
                .collect(),
            held_millis: (operation.held_unix_millis > 0 && operation.ended_unix_millis > 0).then(|| {
                operation
                    .ended_unix_millis
                    .saturating_sub(operation.held_unix_millis)
            }),
            account: operation.account,
            identifiers: operation.identifiers,
            from: operation.from,
            to: operation.to,
            cause: filled(&operation.cause),
            hold: identity(&operation.hold),
            hold_revision: (operation.hold_revision > 0).then_some(operation.hold_revision),
            end_revision: (operation.end_revision > 0).then_some(operation.end_revision),
            proofs: operation.proofs.into_iter().map(ProofView::from).collect(),
            missing: operation.missing,
            lapsed: operation.lapsed,
            taken_as_off: operation.taken_as_off,
            fenced_is_off: operation.fenced_is_off,
            lease_millis: (operation.lease_millis > 0).then_some(operation.lease_millis),
            started_at: at(operation.started_unix_millis),
            held_at: at(operation.held_unix_millis),
            ended_at: at(operation.ended_unix_millis),
            deadline: at(operation.deadline_unix_millis),
            reason: filled(&operation.reason),
            started_by: operation.started_by,
            traceparent: filled(&operation.traceparent),
            notes: operation.notes,
        }
    }
}

impl From<NodeProof> for ProofView {
    fn from(proof: NodeProof) -> Self {
        Self {
            node: proof.node,
            instance: identity(&proof.instance),
            quiesced: proof.quiesced,
            connected: proof.connected,
            sessions_closed: proof.sessions_closed,
            logins_parked: proof.logins_parked,
            armed: proof.armed,
            fenced: proof.fenced,
            lapsed: proof.lapsed,
            taken_as_off: proof.taken_as_off,
            stuck: proof.stuck.map(|stuck| StuckView {
                destination: stuck.destination,
                session: stuck.session,
                protocol: stuck.protocol,
            }),
        }
    }
}

fn at(unix_millis: u64) -> Option<String> {
    i64::try_from(unix_millis).ok().and_then(time)
}

/// A step, in the words of the design.
#[must_use]
pub const fn step_words(step: Step) -> &'static str {
    match step {
        Step::Unspecified => "unknown",
        Step::Planned => "planned",
        Step::Arming => "arming",
        Step::Holding => "holding",
        Step::Draining => "draining",
        Step::Copying => "copying",
        Step::Verifying => "verifying",
        Step::Flipping => "flipping",
        Step::Done => "done",
        Step::Releasing => "releasing",
        Step::Aborted => "aborted",
    }
}

/// An outcome; none while it goes on.
#[must_use]
pub const fn outcome_words(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Unspecified => None,
        Outcome::Done => Some("done"),
        Outcome::Released => Some("released"),
        Outcome::Unproven => Some("unproven"),
    }
}

/// How our watching of an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With the operation itself.
    Outcome(Outcome),
    /// It was only tried.
    Tried,
    /// It goes on, and we no longer wait.
    TimedOut,
    /// The control plane was lost.
    Lost,
    /// Ctrl-C.
    Interrupted,
}

impl Ended {
    /// The exit code of the verbs that move an account.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Outcome(Outcome::Done) | Self::Tried => Exit::Done,
            Self::Outcome(Outcome::Released) => Exit::Released,
            Self::Outcome(Outcome::Unproven) => Exit::Unproven,
            Self::Outcome(Outcome::Unspecified) | Self::TimedOut => Exit::TimedOut,
            Self::Lost => Exit::Unknown,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Outcome(Outcome::Done) => "done",
            Self::Outcome(Outcome::Released) => "released",
            Self::Outcome(Outcome::Unproven) => "unproven",
            Self::Tried => "tried",
            Self::Outcome(Outcome::Unspecified) | Self::TimedOut => "timed-out",
            Self::Lost => "unknown",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The last thing that a verb that moves an account prints.
#[derive(Debug, Serialize)]
pub struct ResultView {
    result: &'static str,
    exit: u8,
    #[serde(flatten)]
    operation: OperationView,
    #[serde(skip)]
    ended: Ended,
}

impl ResultView {
    /// What became of an operation.
    #[must_use]
    pub fn new(operation: Operation, ended: Ended) -> Self {
        Self {
            result: ended.words(),
            exit: ended.exit() as u8,
            operation: operation.into(),
            ended,
        }
    }

    fn headline(&self) -> String {
        let OperationView {
            account,
            from,
            to,
            cause,
            ..
        } = &self.operation;
        let source = from.join(" or ");
        let cause = cause
            .as_ref()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        match self.ended {
            Ended::Outcome(Outcome::Done) => format!("{account} is on {to}"),
            Ended::Outcome(Outcome::Released) => format!("{account} stays on {source}{cause}"),
            Ended::Outcome(Outcome::Unproven) => {
                format!(
                    "{account} stays on {source}: not proven on {}",
                    self.operation.missing.join(", ")
                )
            }
            Ended::Tried => format!("{account} could be moved from {source} to {to}; nothing was changed"),
            Ended::TimedOut | Ended::Outcome(Outcome::Unspecified) => {
                format!("{account}: not ended yet; {}", self.goes_on())
            }
            Ended::Lost => format!(
                "{account}: the control plane was lost; the outcome is unknown, the operation recorded"
            ),
            Ended::Interrupted => format!("{account}: interrupted; {}", self.goes_on()),
        }
    }

    /// Its commands ended with us, and it does not flip without them.
    fn goes_on(&self) -> String {
        let commands = &self.operation.commands;
        if commands.is_empty() {
            return "the operation goes on".to_owned();
        }
        format!(
            "the operation goes on without its {} command, and releases the account to {} unless it has flipped already",
            commands.join(" and "),
            self.operation.from.join(" or "),
        )
    }

    fn nodes(&self) -> Option<String> {
        let proofs = &self.operation.proofs;
        if proofs.is_empty() {
            return None;
        }
        let proven: Vec<_> = proofs
            .iter()
            .filter(|proof| proof.quiesced)
            .map(|proof| proof.node.as_str())
            .collect();
        let count = format!("{} of {}", proven.len(), proofs.len());
        Some(if proven.is_empty() {
            count
        } else {
            format!("{count}: {}", proven.join(", "))
        })
    }
}

impl Render for ResultView {
    fn table(&self) -> String {
        let operation = &self.operation;
        let mut text = format!("{}\n", printable(&self.headline()));
        let mut line = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("  {what:<13} {}\n", printable(&value)));
            }
        };
        let unproven = self.ended == Ended::Outcome(Outcome::Unproven);
        line("cause", operation.cause.clone().filter(|_| unproven));
        line("identifiers", filled(&operation.identifiers.join(", ")));
        line(
            "moved from",
            (self.ended == Ended::Outcome(Outcome::Done)).then(|| operation.from.join(", ")),
        );
        line("held for", operation.held_millis.map(span));
        line("proven on", self.nodes());
        for (node, met) in operation.proofs.iter().filter_map(ProofView::met) {
            line(&format!("on {node}"), Some(met));
        }
        let nodes = |names: &[String]| filled(&names.join(", "));
        line(
            "lease lapsed",
            nodes(&operation.lapsed).map(|nodes| format!("{nodes} (silent: waited 1.25 leases)")),
        );
        line(
            "taken as off",
            nodes(&operation.taken_as_off).map(|nodes| format!("{nodes} (fenced: this rests on your word)")),
        );
        for proof in operation.proofs.iter().filter(|proof| proof.is_open()) {
            line("not proven", Some(proof.words()));
        }
        line(
            "revision",
            operation.end_revision.map(|revision| revision.to_string()),
        );
        line("operation", operation.id.clone());
        for note in &operation.notes {
            line("note", Some(note.clone()));
        }
        let goes_on = matches!(self.ended, Ended::TimedOut | Ended::Lost | Ended::Interrupted);
        if let (true, Some(id)) = (goes_on, &operation.id) {
            line("to watch it", Some(format!("mailswitchctl operation watch {id}")));
            line("to end it", Some(format!("mailswitchctl operation abort {id}")));
        }
        text
    }
}

impl ProofView {
    /// What the hold met on this node; none where it met nothing.
    fn met(&self) -> Option<(&str, String)> {
        let counted = |count, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        };
        let parts = [
            counted(self.sessions_closed, "session ended", "sessions ended"),
            counted(self.logins_parked, "login waited", "logins waited"),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| (self.node.as_str(), parts.join(", ")))
    }

    /// Nothing stands for it.
    const fn is_open(&self) -> bool {
        !self.quiesced && !self.lapsed && !self.taken_as_off
    }

    /// Why there is no proof.
    fn words(&self) -> String {
        let why = match (&self.stuck, self.connected) {
            (Some(stuck), _) => format!(
                "{} session {} on {} did not end",
                stuck.protocol, stuck.session, stuck.destination
            ),
            (None, true) => "connected, has not said so".to_owned(),
            (None, false) if self.fenced => "not connected, fenced".to_owned(),
            (None, false) if self.armed => "not connected, armed".to_owned(),
            (None, false) => "not connected, had not acknowledged that the account is armed".to_owned(),
        };
        format!("{} ({why})", self.node)
    }
}

/// `2026-03-01T10:00:00Z` of `2026-03-01T10:00:00.123Z`.
pub(crate) fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

impl OperationView {
    fn met_by(&self, count: impl Fn(&ProofView) -> u64) -> String {
        self.proofs.iter().map(count).sum::<u64>().to_string()
    }
}

/// Many operations, one a line: what is looked at first stands within 80 columns. STATE is the step, and the outcome
/// once there is one; ENDED are sessions, WAITED logins, of all nodes.
#[must_use]
pub fn operations_grid(operations: &[OperationView]) -> Grid {
    let headings = [
        "ACCOUNT",
        "FROM",
        "TO",
        "STATE",
        "HELD",
        "ENDED",
        "WAITED",
        "STARTED",
        "OPERATION",
        "CAUSE",
    ];
    let mut grid = Grid::new(headings).numbers(&[4, 5, 6]);
    for operation in operations {
        grid.row([
            operation.account.clone(),
            operation.from.join(","),
            operation.to.clone(),
            operation.outcome.unwrap_or(operation.step).to_owned(),
            operation.held_millis.map_or_else(|| "-".to_owned(), span),
            operation.met_by(|proof| proof.sessions_closed),
            operation.met_by(|proof| proof.logins_parked),
            or_dash(&operation.started_at.as_deref().map(to_the_second)),
            or_dash(&operation.id),
            or_dash(&operation.cause),
        ]);
    }
    grid
}
