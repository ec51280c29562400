//! The tail of the change log, in memory, from which every node's deltas are sent.
//!
//! Bounded by revisions and by bytes. A node that stands inside it gets deltas, one that stands before it a
//! snapshot: so a slow node costs nothing here, and no queue grows for it. The bytes of a change set are held
//! once, however many nodes they are sent to.

use std::collections::VecDeque;

use bytes::Bytes;
use mailswitch_proto::revision::{Digest, Position, Revision};

/// What the tail may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Revisions. A wave's pace for some minutes: longer absences are cheaper as a snapshot.
    pub revisions: usize,
    /// Bytes of payload.
    pub bytes: usize,
    /// Bytes of one change set that goes as a delta; a larger one goes as a snapshot.
    pub delta: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            revisions: 16_384,
            bytes: 64 << 20,
            // A gRPC peer accepts 4 MiB a message unless told otherwise.
            delta: 3 << 20,
        }
    }
}

/// One revision as it stands in the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number and digest.
    pub position: Position,
    /// The digest before it.
    pub predecessor: Digest,
    /// The change set, as stored.
    pub payload: Bytes,
}

/// What follows a position.
#[derive(Debug)]
pub enum Following {
    /// The next one.
    Entry(Entry),
    /// Nothing yet.
    End,
    /// It is no longer in memory: a snapshot is due.
    Gone,
}

/// What a position says about the log that we have.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on our chain, and what follows it is in memory.
    OnChain,
    /// It is ahead of us, or its digest is another at the same revision (promise D3).
    Diverged,
    /// It lies before the tail: its digest cannot be compared here.
    TooOld,
}

/// The last revisions, without a gap; `start` is what lies before the first of them.
#[derive(Debug)]
pub struct Tail {
    start: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
    bounds: Bounds,
}

impl Tail {
    /// Nothing since `start`.
    #[must_use]
    pub const fn new(start: Position, bounds: Bounds) -> Self {
        Self {
            start,
            entries: VecDeque::new(),
            bytes: 0,
            bounds,
        }
    }

    /// The newest position.
    #[must_use]
    pub fn end(&self) -> Position {
        self.entries.back().map_or(self.start, |entry| entry.position)
    }

    /// Adds the successor of `end`, as it stands in the log, and lets go of what is over the bounds.
    ///
    /// # Errors
    /// When it is not its successor, or its digest is not that of its bytes: the log is not the one that was read
    /// before (promise D2, D3).
    pub fn push(&mut self, position: Position, payload: Bytes) -> Result<(), BrokenChain> {
        let end = self.end();
        if position != end.after(&payload) {
            return Err(BrokenChain {
                after: end.revision,
                found: position.revision,
            });
        }
        self.bytes += payload.len();
        self.entries.push_back(Entry {
            position,
            predecessor: end.digest,
            payload,
        });
        self.shrink();
        Ok(())
    }

    /// What comes after `revision`.
    #[must_use]
    pub fn following(&self, revision: Revision) -> Following {
        if revision >= self.end().revision {
            return Following::End;
        }
        let Some(index) = revision.0.checked_sub(self.start.revision.0) else {
            return Following::Gone;
        };
        usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index))
            .map_or(Following::Gone, |entry| Following::Entry(entry.clone()))
    }

    /// Compares a reader's position with the chain.
    #[must_use]
    pub fn standing(&self, reader: Position) -> Standing {
        if reader.revision > self.end().revision {
            return Standing::Diverged;
        }
        match self.digest_at(reader.revision) {
            Some(digest) if digest == reader.digest => Standing::OnChain,
            Some(_) => Standing::Diverged,
            None => Standing::TooOld,
        }
    }

    fn digest_at(&self, revision: Revision) -> Option<Digest> {
        if revision == self.start.revision {
            return Some(self.start.digest);
        }
        let index = revision.0.checked_sub(self.start.revision.0 + 1)?;
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        Some(entry.position.digest)
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.bounds.revisions || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.payload.len();
            self.start = oldest.position;
        }
    }
}

/// The log does not continue where we stopped reading.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the change log does not continue after revision {after}: revision {found} has another predecessor; the \
     database may have gone back in time"
)]
pub struct BrokenChain {
    /// Where we stopped.
    pub after: Revision,
    /// What came.
    pub found: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tail: &mut Tail, payload: &'static [u8]) {
        tail.push(tail.end().after(payload), Bytes::from_static(payload))
            .unwrap();
    }

    fn filled(bounds: Bounds, count: usize) -> Tail {
        let mut tail = Tail::new(Position::NONE, bounds);
        for _ in 0..count {
            push(&mut tail, b"0123456789");
        }
        tail
    }

    const SMALL: Bounds = Bounds {
        revisions: 3,
        bytes: 1 << 20,
        delta: 1 << 20,
    };

    #[test]
    fn a_reader_inside_the_tail_gets_every_revision_in_order() {
        let tail = filled(Bounds::default(), 3);
        for revision in 0..3 {
            let Following::Entry(entry) = tail.following(Revision(revision)) else {
                panic!("revision {revision} has a successor")
            };
            assert_eq!(entry.position.revision, Revision(revision + 1));
        }
        assert!(matches!(tail.following(Revision(3)), Following::End));
    }

    #[test]
    fn a_reader_before_the_tail_is_told_so() {
        let tail = filled(SMALL, 10);
        assert!(matches!(tail.following(Revision(6)), Following::Gone));
        assert!(matches!(tail.following(Revision(7)), Following::Entry(_)));
        assert_eq!(tail.standing(Position::NONE), Standing::TooOld);
    }

    #[test]
    fn the_tail_is_bounded_in_bytes_too() {
        let bounds = Bounds {
            revisions: 1000,
            bytes: 25,
            ..Bounds::default()
        };
        assert!(matches!(
            filled(bounds, 10).following(Revision(7)),
            Following::Gone
        ));
        assert!(matches!(
            filled(bounds, 10).following(Revision(8)),
            Following::Entry(_)
        ));
    }

    #[test]
    fn a_reader_ahead_or_on_another_branch_has_diverged() {
        let tail = filled(Bounds::default(), 2);
        assert_eq!(tail.standing(tail.end()), Standing::OnChain);
        assert_eq!(tail.standing(tail.end().after(b"x")), Standing::Diverged);
        let branch = Position::NONE.after(b"another first change");
        assert_eq!(tail.standing(branch), Standing::Diverged);
    }

    #[test]
    fn what_does_not_continue_the_chain_is_refused() {
        let mut tail = filled(Bounds::default(), 2);
        let skipped = tail.end().after(b"skipped").after(b"next");
        assert!(tail.push(skipped, Bytes::from_static(b"next")).is_err());
        let written = tail.end().after(b"as written");
        assert!(tail.push(written, Bytes::from_static(b"as altered")).is_err());
        assert_eq!(tail.end().revision, Revision(2));
    }
}
