//! A node: what it does with what the feed brings, with a lease, with an order, and at a start.

use mailswitch_admission::Event;

use crate::fault::Fault;
use crate::table::{Change, Entry, Table};
use crate::world::{Asked, Leg, Link, Node, Serving};

impl Default for Node {
    fn default() -> Self {
        Self {
            instance: 0,
            table: Table::default(),
            disk: Table::default(),
            mark: false,
            left_as: None,
            serving: Serving::Yes,
            link: Link::Up,
            owes: false,
            lease: 0,
            frozen: 0,
            asked: None,
            lease_behind: 0,
            rests_on_nothing: false,
            session: None,
            lingering: None,
        }
    }
}

impl Node {
    /// One delta (N7: it follows what the node has, or the stream is dropped).
    pub fn applies(&mut self, entry: Entry, fault: Option<Fault>) {
        self.table.apply(entry);
        match entry.change {
            Change::Domain(_) => {}
            Change::Armed(_) => self.rests_on_nothing = true,
            Change::Disarmed => self.rests(fault),
            Change::Held(_) => self.holds(),
            Change::Ended { .. } => self.hold_is_over(fault),
        }
        self.is_caught_up();
    }

    /// A whole new table (a snapshot, or the chain that was decided on): what differs is applied.
    pub fn adopts(&mut self, table: Table, fault: Option<Fault>) {
        let was = self.table;
        self.table = table;
        if table.arming != was.arming {
            self.rests_on_nothing = table.arming != 0;
        }
        if table.hold == 0 {
            self.hold_is_over(fault);
        } else if table.hold != was.hold {
            self.holds();
        }
        self.is_caught_up();
    }

    fn holds(&mut self) {
        self.collects();
        // L3: whatever is granted later does not extend it here.
        self.frozen = self.lease;
    }

    fn hold_is_over(&mut self, fault: Option<Fault>) {
        self.owes = false;
        self.frozen = 0;
        self.rests(fault);
        let to = self.table.resolves();
        if let Some(session) = &self.session
            && let Leg::Open(on) = session.leg
            && on != to
        {
            // What is elsewhere ends.
            self.happens(Event::Cancelled, fault);
        }
    }

    /// An arming begins to rest on a lease that was asked for behind it; never under a hold, whose sessions no lease would
    /// end (L3, L4).
    fn rests(&mut self, fault: Option<Fault>) {
        let live = self.lease > 0 && self.lease_behind >= self.table.armed_at;
        if self.table.arming == 0
            || (live && (self.table.hold == 0 || fault == Some(Fault::ArmingRestsUnderHold)))
        {
            self.rests_on_nothing = false;
        }
    }

    fn is_caught_up(&mut self) {
        if let Serving::From(revision) = self.serving
            && self.table.revision >= revision
        {
            self.serving = Serving::Yes;
            self.mark = false;
            self.left_as = None;
            self.disk = self.table;
        }
    }

    /// The answer to its Hello arrives. A node that was not registered serves only from its registration on (N4).
    pub fn is_welcomed(&mut self, from: u8, newly: bool, fault: Option<Fault>) {
        self.link = Link::Up;
        if self.mark && fault == Some(Fault::UnfenceWithoutSync) {
            self.mark = false;
            self.serving = Serving::Yes;
        } else if newly || self.serving == Serving::No {
            self.serving = Serving::From(from);
        }
        self.is_caught_up();
    }

    /// Its stream is gone, and with it what was on its way on it.
    pub fn is_cut(&mut self) {
        self.link = Link::Down;
        self.asked = None;
    }

    /// The process dies, its legs with it (linger 0), and starts again on this state of its file (N5, N6).
    pub fn restarts(&mut self, on: Table) {
        *self = Self {
            instance: self.instance + 1,
            table: on,
            disk: on,
            mark: self.mark,
            left_as: self.left_as,
            serving: if self.mark { Serving::No } else { Serving::Yes },
            link: Link::Down,
            rests_on_nothing: on.arming != 0,
            lingering: self.lingering,
            ..Self::default()
        };
    }

    /// It asks for a lease, which runs from now (L1).
    pub fn asks(&mut self, lease: u8) {
        self.asked = Some(Asked {
            left: lease,
            applied: self.table.revision,
            branch: self.table.branch,
            granted: false,
        });
    }

    /// The grant arrives.
    pub fn is_granted(&mut self, lease: u8, fault: Option<Fault>) {
        let Some(asked) = self.asked.take() else { return };
        let left = match fault {
            Some(Fault::LeaseFromReceipt) => lease,
            _ => asked.left,
        };
        self.lease = self.lease.max(left);
        self.lease_behind = asked.applied;
        self.rests(fault);
        if fault == Some(Fault::GrantsAfterHold) && self.table.hold != 0 {
            self.frozen = self.lease;
        }
    }

    /// Time passes on its clock. A lease that lapses holds the account and resets its legs (L1).
    pub fn ticks(&mut self, fault: Option<Fault>) {
        let runs = self.account_lease();
        self.lease = self.lease.saturating_sub(1);
        self.frozen = self.frozen.saturating_sub(1);
        if let Some(asked) = &mut self.asked {
            asked.left = asked.left.saturating_sub(1);
            if asked.left == 0 && fault != Some(Fault::LeaseFromReceipt) {
                self.asked = None;
            }
        }
        let lapses = runs > 0 && self.account_lease() == 0;
        if lapses
            && self.table.arming != 0
            && !self.rests_on_nothing
            && fault != Some(Fault::LapseKeepsSessions)
        {
            self.resets(fault);
        }
    }

    fn account_lease(&self) -> u8 {
        if self.table.hold == 0 {
            self.lease
        } else {
            self.frozen
        }
    }

    /// It was told to leave and has no session any more, or is fenced and has closed them: the mark is synced before the
    /// goodbye is said (N2, N3).
    pub fn leaves(&mut self, fault: Option<Fault>) {
        self.serving = Serving::No;
        self.mark = fault != Some(Fault::GoodbyeWithoutMark);
        self.left_as = Some(self.instance);
        self.is_cut();
    }

    /// What of the account a backend still has of this node.
    pub fn legs(&self) -> impl Iterator<Item = crate::world::Dest> {
        let leg = match self.session.as_ref().map(|session| session.leg) {
            Some(Leg::Open(to) | Leg::Closing(to)) => Some(to),
            _ => None,
        };
        leg.into_iter().chain(self.lingering)
    }
}
