//! Who asks for a change, why, and how often it may be done.

use uuid::Uuid;

/// Who and from where, as authenticated by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The certificate's or token's name, or the program's own for what it does by itself.
    pub who: String,
    /// The client's address; empty for the program's own.
    pub from: String,
}

impl Actor {
    /// The control plane itself.
    #[must_use]
    pub fn own() -> Self {
        Self {
            who: "control-plane".to_owned(),
            from: String::new(),
        }
    }
}

/// Whether a change is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is.
    #[default]
    Commit,
    /// The same code without the last commit.
    DryRun,
}

/// What comes with every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Done twice with the same key, it is done once.
    pub idempotency_key: Option<Uuid>,
    /// Whether it is meant.
    pub mode: Mode,
    /// W3C trace context; empty: not traced. Goes to the nodes with the change.
    pub traceparent: String,
}

impl Context {
    /// For what the control plane does by itself.
    #[must_use]
    pub fn own(reason: &str) -> Self {
        Self {
            actor: Actor::own(),
            reason: reason.to_owned(),
            idempotency_key: None,
            mode: Mode::Commit,
            traceparent: String::new(),
        }
    }

    /// The trace id within the trace context, for the audit log.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.split('-').nth(1).unwrap_or("")
    }
}
