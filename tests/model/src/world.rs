//! Everything that the model looks at: the database, the drivers, the nodes with their disks, the backends' truth, and what
//! is on its way between them. Values only; who changes them is in the file of the part.
//!
//! One account, two destinations. Ids and instances are small numbers that are never used again, also not after the
//! database went back: they stand for random ones.

use mailswitch_admission as admission;
use mailswitch_control_plane::cutover::operation::{Hook, Outcome, Step};

use crate::table::{Log, Table};

/// How many nodes there are.
pub const NODES: usize = 2;
/// How many replicas can drive.
pub const DRIVERS: usize = 2;

/// A backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dest {
    /// Where the account is at the beginning.
    Old,
    /// Where the first cutover takes it.
    New,
}

impl Dest {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }

    /// Its name in a story.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Old => "the old server",
            Self::New => "the new server",
        }
    }
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// What is committed.
    pub db: Db,
    /// What a backup or a standby that lags has kept of it.
    pub backup: Option<Box<Db>>,
    /// The log that was lost when the database went back: what a node can give back.
    pub lost: Option<Box<Log>>,
    /// The replicas' drivers.
    pub drivers: [Driver; DRIVERS],
    /// The nodes.
    pub nodes: [Node; NODES],
    /// What nodes have said and no replica has heard yet. It may stay there for ever.
    pub words: Words,
    /// What has been told and done, for the properties: no program sees it.
    pub truth: Truth,
    /// What may still happen.
    pub left: Budget,
    /// The last ids that were given.
    pub ids: Ids,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Db {
    /// The change log.
    pub log: Log,
    /// What it adds up to.
    pub table: Table,
    /// Which instance of each node is registered.
    pub registry: [Option<u8>; NODES],
    /// At which revision: it serves from there on (N4).
    pub registered_at: [u8; NODES],
    /// Which nodes are fenced (N3).
    pub fenced: [bool; NODES],
    /// The last operation.
    pub op: Option<Op>,
    /// Who has quiesced the hold in force.
    pub quiesced: Said,
    /// Who has acknowledged the arming in force.
    pub armed: Said,
    /// The verification's result for the hold in force.
    pub verified: bool,
    /// Who has still to say where it stands (D3).
    pub doubts: [bool; NODES],
    /// Revisions were given up: who stands on them adopts what there is now (D4).
    pub given_up: bool,
    /// The hold under which given-up revisions are settled, and where the account goes then (D4).
    pub settling: Option<(u8, Dest)>,
}

/// A set of (id, node, instance): ids to 3, instances to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Said(u32);

impl Said {
    const fn bit(id: u8, node: usize, instance: u8) -> u32 {
        1 << (((id as usize & 3) * NODES + node) * 4 + (instance as usize & 3))
    }

    /// It was said.
    pub fn add(&mut self, id: u8, node: usize, instance: u8) {
        self.0 |= Self::bit(id, node, instance);
    }

    /// It is not on its way any more.
    pub fn remove(&mut self, id: u8, node: usize, instance: u8) {
        self.0 &= !Self::bit(id, node, instance);
    }

    /// Whether it was said.
    #[must_use]
    pub const fn has(self, id: u8, node: usize, instance: u8) -> bool {
        self.0 & Self::bit(id, node, instance) != 0
    }

    /// All of it.
    pub fn all(self) -> impl Iterator<Item = (u8, usize, u8)> {
        (0..4u8)
            .flat_map(|id| {
                (0..NODES).flat_map(move |node| (0..4u8).map(move |instance| (id, node, instance)))
            })
            .filter(move |(id, node, instance)| self.has(*id, *node, *instance))
    }

    /// Only what is about these ids.
    pub fn retain(&mut self, keep: impl Fn(u8) -> bool) {
        for (id, node, instance) in self.all().collect::<Vec<_>>() {
            if !keep(id) {
                self.remove(id, node, instance);
            }
        }
    }
}

/// What is recorded of a cutover, as far as the rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// Where it stands.
    pub step: Step,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// From where.
    pub source: Dest,
    /// To where.
    pub target: Dest,
    /// Its hold; 0: none yet.
    pub hold: u8,
    /// Whether its release says that nodes were missing.
    pub missing: bool,
    /// Its verification.
    pub verify: Hook,
    /// Whether it armed the account itself, and takes that back.
    pub own_arming: bool,
    /// Who drives it.
    pub fence: Fence,
}

/// The term and the process that drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Goes up with each takeover, and back with the database.
    pub term: u8,
    /// Never comes again.
    pub holder: u8,
}

/// A replica's driver: what it has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Driver {
    /// As whom it drives.
    pub fence: Option<Fence>,
    /// What it is about to commit, and what it looked like then.
    pub about_to: Option<(Commit, Op)>,
    /// The hold that it has seen committed, and the ticks that it still waits for leases to lapse (L3).
    pub saw: Option<(u8, u8)>,
}

/// A transaction of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Commit {
    /// The arming.
    Arm,
    /// The hold.
    Hold,
    /// The flip.
    Flip,
    /// The release.
    Release,
}

/// A node: its process and its disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its instance.
    pub instance: u8,
    /// In memory.
    pub table: Table,
    /// The oldest state that its disk may have: what was synced.
    pub disk: Table,
    /// The *left* mark in the state file (N2).
    pub mark: bool,
    /// The instance that said goodbye: it never serves again.
    pub left_as: Option<u8>,
    /// Whom it serves.
    pub serving: Serving,
    /// Its stream.
    pub link: Link,
    /// Its session was found by the hold in force and has not confirmed its end (Q4).
    pub owes: bool,
    /// Ticks that its lease still runs.
    pub lease: u8,
    /// Ticks that the held account's lease still runs (L3).
    pub frozen: u8,
    /// The lease that it has asked for.
    pub asked: Option<Asked>,
    /// Until which revision the node had applied what its lease was asked behind.
    pub lease_behind: u8,
    /// No lease was granted behind the arming yet (L4): sessions that are open have time for that, and nobody counts on
    /// this node's lapse.
    pub rests_on_nothing: bool,
    /// One client's login.
    pub session: Option<Session>,
    /// What a backend still processes of a leg that this node takes as over.
    pub lingering: Option<Dest>,
}

/// Whom a node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serving {
    /// By its table.
    Yes,
    /// Nobody, until it has applied this revision (N4).
    From(u8),
    /// Nobody (N2, N5).
    No,
}

/// A node's stream to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// There is none.
    Down,
    /// Its Hello has been answered, and the answer is on its way: from this revision, new or known.
    Answered(u8, bool),
    /// Deltas come.
    Up,
}

/// A request for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Ticks that are left of what it asked for, from when it asked (L1).
    pub left: u8,
    /// What it had applied when it asked.
    pub applied: u8,
    /// The branch of that.
    pub branch: u8,
    /// The grant is on its way.
    pub granted: bool,
}

/// A login, from its registration on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// The real admission state.
    pub state: admission::State<Dest>,
    /// Its backend leg.
    pub leg: Leg,
    /// Whether a hold finds it (A2).
    pub registered: bool,
    /// What it has looked at before it registered: only a fault has that.
    pub looked: Option<admission::View<Dest>>,
}

/// A backend leg, as the backend knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leg {
    /// There is none, or the backend's end was read, or it was reset.
    None,
    /// It is being made, or stands.
    Open(Dest),
    /// It was half-closed; what is queued may still be processed (Q2).
    Closing(Dest),
}

/// On their way from nodes to replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Words {
    /// `Quiesced`, by hold.
    pub quiesced: Said,
    /// `ArmingApplied`, by arming.
    pub armed: Said,
    /// The goodbye of an instance.
    pub goodbye: [Option<u8>; NODES],
    /// The verification's result, of this hold.
    pub verified: Option<u8>,
}

/// What the properties are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Truth {
    /// After success, nobody may be here.
    pub cleared: Option<Dest>,
    /// What the operator was told of the last operation.
    pub told: Option<Outcome>,
    /// Whether that operation has ever been flipped.
    pub flipped: bool,
    /// The outcome that was told is not what happened.
    pub lied: bool,
    /// A flip went past a node that had not said that it is quiet.
    pub past_silence: bool,
    /// A flip rested on another hold's verification.
    pub unverified: bool,
}

/// What may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Cutovers.
    pub cutovers: u8,
    /// Nodes that die and come back, and drivers that die.
    pub crashes: u8,
    /// Drivers that are replaced while they live.
    pub takeovers: u8,
    /// Legs that do not end, dials that fail, clients that go.
    pub mishaps: u8,
    /// Nodes that are told to leave.
    pub leaves: u8,
    /// Nodes that are fenced.
    pub fences: u8,
    /// A backup, and the way back to it.
    pub going_back: u8,
    /// A domain's mapping that changes.
    pub domain: u8,
    /// An arming ahead.
    pub armings: u8,
}

/// The last ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ids {
    /// Of a hold.
    pub hold: u8,
    /// Of an arming.
    pub arming: u8,
    /// Of a driver.
    pub holder: u8,
    /// Of a branch of the log.
    pub branch: u8,
}
