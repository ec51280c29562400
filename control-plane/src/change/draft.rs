//! What a change does, while it is being made: its rows go through the transaction's connection, and what nodes
//! have to apply and what the audit log has to hold is collected here.

use mailswitch_proto::fleet::v1;
use mailswitch_proto::identifier::{self, Key};
use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgConnection;

use crate::store::audit::{Entry, Proof};
use crate::store::change::{Arming, Breadth};

/// A change in the making.
pub struct Draft<'a> {
    /// The transaction.
    pub conn: &'a mut PgConnection,
    /// The position that this change succeeds. It is read before anything else in the transaction, and the commit
    /// fails when the fleet is elsewhere by then: so conditions that were read after it hold at the commit.
    pub known: Position,
    pub(super) changes: Vec<v1::Change>,
    pub(super) entries: Vec<Entry>,
    pub(super) notes: Vec<String>,
    pub(super) breadth: Option<Breadth>,
    pub(super) traceparent: Option<String>,
    pub(super) arming: Arming,
}

impl<'a> Draft<'a> {
    pub(super) fn new(conn: &'a mut PgConnection, known: Position) -> Self {
        Self {
            conn,
            known,
            changes: Vec::new(),
            entries: Vec::new(),
            notes: Vec::new(),
            breadth: None,
            traceparent: None,
            arming: Arming::Untouched,
        }
    }

    /// The revision that the change gets.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.known.revision.next()
    }

    /// Nodes are to apply this on these keys.
    pub fn push(&mut self, keys: &[Key], kind: v1::change::Kind) {
        use v1::change::Kind;
        if matches!(&kind, Kind::Armed(_) | Kind::Disarmed(_))
            || matches!(&kind, Kind::Held(held) if !held.arming.is_empty())
        {
            self.arming = Arming::Changed;
        }
        self.changes.push(v1::Change {
            keys: identifier::pack(keys).into(),
            kind: Some(kind),
        });
        self.touch(Breadth::Keys);
    }

    /// The change takes a revision, and can affect this much, even when nodes have nothing to apply.
    pub fn touch(&mut self, breadth: Breadth) {
        self.breadth = Some(match (self.breadth, breadth) {
            (None, new) => new,
            (Some(old), new) if old == new => new,
            _ => Breadth::Everything,
        });
    }

    /// The audit log is to hold this.
    pub fn audit(&mut self, verb: &str, subject: &str, before: &str, after: &str, proof: Proof) {
        self.entries.push(Entry {
            verb: verb.to_owned(),
            subject: subject.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            proof,
        });
    }

    /// The operator is to read this.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// Nodes continue this trace instead of the caller's.
    pub fn trace(&mut self, traceparent: &str) {
        self.traceparent = Some(traceparent.to_owned());
    }
}
