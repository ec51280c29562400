//! The log of changes and what it adds up to: the same for the database, a node's memory and its disk.
//!
//! A position is a revision and the branch on which it was written: the branch stands for the digest chain (D2).

use crate::world::Dest;

/// One committed change of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Its domain goes elsewhere.
    Domain(Dest),
    /// It is armed.
    Armed(u8),
    /// The arming is taken back, by a cutover that never held.
    Disarmed,
    /// It is held.
    Held(u8),
    /// The hold ends, and it goes there.
    Ended {
        /// Which hold.
        hold: u8,
        /// Written explicitly; none: it follows its domain, which only a fault does.
        to: Option<Dest>,
        /// The arming is taken back.
        disarmed: bool,
    },
}

/// A change as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Written on this branch.
    pub branch: u8,
    /// What it says.
    pub change: Change,
}

/// The log, from revision 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Log(pub Vec<Entry>);

impl Log {
    /// How many revisions there are.
    #[must_use]
    pub fn head(&self) -> u8 {
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }

    /// What follows a revision.
    #[must_use]
    pub fn after(&self, revision: u8) -> Option<Entry> {
        self.0.get(usize::from(revision)).copied()
    }

    /// Whether a table stands on this log.
    #[must_use]
    pub fn has(&self, table: &Table) -> bool {
        match table.revision.checked_sub(1) {
            None => true,
            Some(before) => self
                .0
                .get(usize::from(before))
                .is_some_and(|entry| entry.branch == table.branch),
        }
    }

    /// From where the last hold was to take the account: a hold says so itself (Q1).
    #[must_use]
    pub fn last_held_from(&self) -> Option<Dest> {
        let held = |entry: &Entry| matches!(entry.change, Change::Held(_));
        let before = self.0.iter().rposition(held)?;
        Some(self.at(u8::try_from(before).unwrap_or(u8::MAX)).resolves())
    }

    /// What the first revisions of it add up to.
    #[must_use]
    pub fn at(&self, revision: u8) -> Table {
        let mut table = Table::default();
        for entry in self.0.iter().take(usize::from(revision)) {
            table.apply(*entry);
        }
        table
    }
}

/// What is known of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    /// How far.
    pub revision: u8,
    /// On which branch.
    pub branch: u8,
    /// Its own mapping.
    pub own: Option<Dest>,
    /// Its domain's.
    pub domain: Dest,
    /// Its hold; 0: none.
    pub hold: u8,
    /// Its arming; 0: none.
    pub arming: u8,
    /// Where it was armed.
    pub armed_at: u8,
    /// The last change of the account while it was armed, its disarming included (L2).
    pub armed_changed: u8,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            revision: 0,
            branch: 0,
            own: None,
            domain: Dest::Old,
            hold: 0,
            arming: 0,
            armed_at: 0,
            armed_changed: 0,
        }
    }
}

impl Table {
    /// Where it is when nothing bars it.
    #[must_use]
    pub fn resolves(&self) -> Dest {
        self.own.unwrap_or(self.domain)
    }

    /// One more revision.
    pub fn apply(&mut self, entry: Entry) {
        self.revision += 1;
        self.branch = entry.branch;
        match entry.change {
            Change::Domain(to) => self.domain = to,
            Change::Armed(id) => {
                self.arming = id;
                self.armed_at = self.revision;
            }
            Change::Disarmed => self.disarm(),
            Change::Held(id) => self.hold = id,
            Change::Ended { to, disarmed, .. } => {
                self.hold = 0;
                self.own = to;
                if disarmed {
                    self.disarm();
                }
            }
        }
        if self.arming != 0 {
            self.armed_changed = self.revision;
        }
    }

    fn disarm(&mut self) {
        self.arming = 0;
        self.armed_at = 0;
        // A change of an armed account, too: who has not applied it must get no lease.
        self.armed_changed = self.revision;
    }
}
