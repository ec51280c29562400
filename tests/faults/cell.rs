//! The cells: every fault at every step, for every protocol. A cell's name says all of it, so that one can be run again.

use std::fmt;

use anyhow::{Context, Result};
use mailswitch_tests::net::Trouble;

/// A process that is killed, or stopped for longer than a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Node,
    ControlPlane,
    Postgres,
    Ctl,
}

/// Two hosts, the first and the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    NodeAndControlPlane,
    ControlPlaneAndPostgres,
    CtlAndControlPlane,
    NodeAndSource,
    NodeAndTarget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`; started again a little later, as a supervisor would (not `mailswitchctl`).
    Kill(Victim),
    /// SIGSTOP for longer than a lease, then SIGCONT.
    Stop(Victim),
    /// For as long; then the link is whole again.
    Link(Way, Trouble),
}

/// The step that the operation has just recorded, or is about to have recorded, when the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Planned,
    Arming,
    Holding,
    Draining,
    Copying,
    Verifying,
    Flipping,
    /// Of a cutover whose verify command fails.
    Releasing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Imap,
    Submission,
    Http,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) fault: Fault,
    pub(crate) at: At,
    pub(crate) protocol: Protocol,
}

const VICTIMS: [Victim; 4] = [Victim::Node, Victim::ControlPlane, Victim::Postgres, Victim::Ctl];
const WAYS: [Way; 5] = [
    Way::NodeAndControlPlane,
    Way::ControlPlaneAndPostgres,
    Way::CtlAndControlPlane,
    Way::NodeAndSource,
    Way::NodeAndTarget,
];
const TROUBLES: [Trouble; 5] = [
    Trouble::CutBoth,
    Trouble::CutForward,
    Trouble::CutBack,
    Trouble::Slow,
    Trouble::Stall,
];
const STEPS: [At; 8] = [
    At::Planned,
    At::Arming,
    At::Holding,
    At::Draining,
    At::Copying,
    At::Verifying,
    At::Flipping,
    At::Releasing,
];
const PROTOCOLS: [Protocol; 4] = [
    Protocol::Imap,
    Protocol::Submission,
    Protocol::Http,
    Protocol::WebSocket,
];

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let killed = VICTIMS.map(Fault::Kill);
        let stopped = VICTIMS.map(Fault::Stop);
        let links = WAYS
            .into_iter()
            .flat_map(|way| TROUBLES.map(|trouble| Fault::Link(way, trouble)));
        let faults: Vec<Fault> = killed.into_iter().chain(stopped).chain(links).collect();
        let mut cells = Vec::new();
        for fault in faults {
            for at in STEPS {
                cells.extend(PROTOCOLS.map(|protocol| Self { fault, at, protocol }));
            }
        }
        cells
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let victim = |victim: &Victim| match victim {
            Victim::Node => "node",
            Victim::ControlPlane => "control-plane",
            Victim::Postgres => "postgres",
            Victim::Ctl => "ctl",
        };
        match self {
            Self::Kill(who) => write!(out, "kill-{}", victim(who)),
            Self::Stop(who) => write!(out, "stop-{}", victim(who)),
            Self::Link(way, trouble) => {
                let (a, b) = match way {
                    Way::NodeAndControlPlane => ("node", "control-plane"),
                    Way::ControlPlaneAndPostgres => ("control-plane", "postgres"),
                    Way::CtlAndControlPlane => ("ctl", "control-plane"),
                    Way::NodeAndSource => ("node", "source"),
                    Way::NodeAndTarget => ("node", "target"),
                };
                match trouble {
                    Trouble::CutBoth => write!(out, "cut-{a}-and-{b}"),
                    Trouble::CutForward => write!(out, "cut-{a}-to-{b}"),
                    Trouble::CutBack => write!(out, "cut-{b}-to-{a}"),
                    Trouble::Slow => write!(out, "slow-{a}-and-{b}"),
                    Trouble::Stall => write!(out, "stall-{a}-and-{b}"),
                }
            }
        }
    }
}

impl At {
    /// As the operation records it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Arming => "arming",
            Self::Holding => "holding",
            Self::Draining => "draining",
            Self::Copying => "copying",
            Self::Verifying => "verifying",
            Self::Flipping => "flipping",
            Self::Releasing => "releasing",
        }
    }
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Submission => "submission",
            Self::Http => "http",
            Self::WebSocket => "websocket",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.fault, self.at.name(), self.protocol.name())
    }
}

/// Which cells a run is to cover.
#[derive(Debug)]
pub(crate) struct Wanted {
    which: Which,
    pub(crate) seed: u64,
}

#[derive(Debug)]
enum Which {
    All,
    Some(usize),
    Named(String),
}

impl Wanted {
    /// A dozen by default: the suite's share.
    pub(crate) fn of_the_environment() -> Result<Self> {
        let seed = match std::env::var("MAILSWITCH_FAULTS_SEED") {
            Ok(text) => text.parse().context("MAILSWITCH_FAULTS_SEED is a number")?,
            Err(_) => 1,
        };
        let which = match std::env::var("MAILSWITCH_FAULTS") {
            Ok(text) if text == "all" => Which::All,
            Ok(text) => match text.parse() {
                Ok(count) => Which::Some(count),
                Err(_) => Which::Named(text),
            },
            Err(_) => Which::Some(24),
        };
        Ok(Self { which, seed })
    }

    /// In an order that the seed makes, so that also a run that is broken off has covered some of everything.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Cell::all();
        let mut chance = Chance(self.seed);
        for last in (1..cells.len()).rev() {
            cells.swap(last, chance.below(last + 1));
        }
        match &self.which {
            Which::All => {}
            Which::Some(count) => cells.truncate(*count),
            Which::Named(part) => cells.retain(|cell| cell.to_string().contains(part.as_str())),
        }
        cells
    }
}

/// Numbers that a seed makes (splitmix64).
#[derive(Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }
}

#[test]
fn the_same_seed_makes_the_same_cells_and_each_name_is_of_one_cell() {
    let wanted = |seed| Wanted {
        which: Which::Some(50),
        seed,
    };
    assert_eq!(wanted(7).cells(), wanted(7).cells());
    assert_ne!(wanted(7).cells(), wanted(8).cells());
    let mut names: Vec<String> = Cell::all().iter().map(ToString::to_string).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), count), (1056, 1056));
}
