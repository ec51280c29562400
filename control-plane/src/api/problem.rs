//! Refusals and failures of the parts below, as problems: what happened, what to do, and which exit code follows
//! (design section 7).

use mailswitch_config::{Findings, Severity, finding};
use mailswitch_proto::control::v1::{self as wire, Problem, problem::Kind};
use mailswitch_proto::identifier::InvalidIdentifier;

use crate::change::{self, Detail, Refusal, RefusalKind, doubt};
use crate::store;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::Invalid => Kind::Invalid,
            RefusalKind::Precondition => Kind::Precondition,
            RefusalKind::Unproven => Kind::Unproven,
        };
        let details = refusal.details.into_iter().map(|detail| wire::Finding {
            severity: Severity::Error.to_string(),
            message: detail.what,
            remedy: detail.remedy,
            row: detail.row,
            ..wire::Finding::default()
        });
        Self::new(kind, refusal.what, refusal.remedy)
            .on_nodes(refusal.nodes)
            .with_findings(details.collect())
            .of_findings(refusal.details_total)
    }
}

impl From<change::Error> for Problem {
    fn from(error: change::Error) -> Self {
        use change::Error;
        let what = error.to_string();
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::OutcomeUnknown(_) => Self::new(
                Kind::Unavailable,
                what,
                "when the database is back, look at `mailswitchctl audit`, or repeat the command with the same \
                 idempotency key: done twice, it is done once",
            ),
            Error::Busy(_) => Self::new(Kind::Precondition, what, "try again"),
            Error::WentBack { .. } => Self::new(Kind::Precondition, what, doubt::MEMORY_REMEDY),
            Error::Doubted(doubts) => {
                Self::new(Kind::Precondition, what, doubt::remedy(&doubts)).on_nodes(doubt::nodes_of(&doubts))
            }
            Error::Store(_) => Self::new(
                Kind::Precondition,
                what,
                "see `mailswitchctl status`, and try again when the database is reachable",
            ),
            Error::NotOurs(_) => {
                Self::new(Kind::Precondition, what, "look at it with `mailswitchctl status`")
            }
            Error::Kept(_) => Self::new(Kind::Precondition, what, "use another idempotency key"),
        }
    }
}

/// Of an import. What is wrong with its only row is said of that row, as with more of them, so that it is told at its line.
pub(super) fn of_rows(error: change::Error, rows: usize) -> Problem {
    match error {
        change::Error::Refused(refusal) if rows == 1 && refusal.details.is_empty() => {
            let only = Detail {
                row: 1,
                what: refusal.what,
                remedy: refusal.remedy,
            };
            let refusal = Refusal {
                what: "the only row was refused".to_owned(),
                remedy: "nothing was changed; correct it and try again".to_owned(),
                details: vec![only],
                details_total: 1,
                ..refusal
            };
            refusal.into()
        }
        error => error.into(),
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        let remedy = if error.is_unavailable() {
            "see `mailswitchctl status`, and try again when the database is reachable"
        } else {
            tracing::error!(%error, "the database did not do what it was asked");
            "look into the control plane's log, and into PostgreSQL's"
        };
        Self::new(Kind::Precondition, format!("the database: {error}"), remedy)
    }
}

/// A caller that stopped in the middle of what it sends.
pub(super) fn cut_off(status: &tonic::Status) -> Problem {
    let what = format!(
        "the rows did not arrive whole ({}); nothing was changed",
        status.message()
    );
    Problem::new(Kind::Invalid, what, "repeat the command")
}

/// An identifier that an operator wrote and no client could present.
pub(super) fn identifier(text: &str, error: InvalidIdentifier) -> Problem {
    Problem::new(
        Kind::Invalid,
        format!("{text:?} is no identifier: {error}"),
        "write the login as a client presents it, such as alice@example.org",
    )
}

/// A configuration that cannot be applied: all that is wrong with it, and warnings between.
pub(super) fn findings(found: Findings) -> Problem {
    let errors = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let what = match errors {
        1 => "the configuration has an error; nothing was changed".to_owned(),
        count => format!("the configuration has {count} errors; nothing was changed"),
    };
    Problem::new(Kind::Invalid, what, "each finding says what to write instead")
        .with_findings(found.into_iter().map(finding_of).collect())
}

/// As it goes over the wire.
pub(super) fn finding_of(found: finding::Finding) -> wire::Finding {
    wire::Finding {
        severity: found.severity.to_string(),
        file: found.file,
        line: found.line.unwrap_or(0),
        key: found.key,
        value: found.value.unwrap_or_default(),
        message: found.message,
        remedy: found.remedy,
        row: 0,
    }
}
