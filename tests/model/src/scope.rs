//! What is looked at exhaustively: bounds, and which parts take part. Each scope is small enough to be searched whole; what
//! every fault needs is in one of them.

use crate::fault::Fault;
use crate::world::Budget;

/// The bounds of one search.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Its name, for the command.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How often what may happen.
    pub budget: Budget,
    /// Ticks of a lease; 0: nothing is armed.
    pub lease: u8,
    /// How a client signs in.
    pub logins: Logins,
    /// Whose links fail, as often as they like, and who restarts, leaves and is fenced.
    pub trouble: Trouble,
    /// When the answer to a Hello arrives.
    pub welcome: Welcome,
    /// How many nodes there are: one, or both.
    pub nodes: usize,
    /// Whether cutovers verify.
    pub verify: Verified,
    /// Who arms.
    pub arming: Arming,
}

/// How clients sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logins {
    /// Every step of a login is a step of the model: mail on the first node, HTTP requests on the second.
    StepByStep,
    /// A login that is let in is bridged in one step: for scopes that are about something else. One that would wait is
    /// not begun.
    AtOnce,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No link fails, nothing restarts.
    Nowhere,
    /// On the first node.
    OnOne,
    /// On each.
    Anywhere,
}

impl Trouble {
    /// Whether this node has it.
    #[must_use]
    pub const fn is_on(self, node: usize) -> bool {
        match self {
            Self::Nowhere => false,
            Self::OnOne => node == 0,
            Self::Anywhere => true,
        }
    }
}

/// When the answer to a Hello arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// With the Hello.
    AtOnce,
    /// Later.
    Late,
}

/// Whether cutovers verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// They do.
    Asked,
    /// They do not.
    Not,
}

/// Who arms the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arming {
    /// Nobody.
    None,
    /// Each cutover, which takes it back at its end.
    ByCutover,
    /// Somebody ahead: it lasts.
    Ahead,
}

const NONE: Budget = Budget {
    cutovers: 0,
    crashes: 0,
    takeovers: 0,
    mishaps: 0,
    leaves: 0,
    fences: 0,
    going_back: 0,
    domain: 0,
    armings: 0,
};

const BASE: Scope = Scope {
    name: "",
    about: "",
    budget: NONE,
    lease: 0,
    logins: Logins::AtOnce,
    trouble: Trouble::OnOne,
    welcome: Welcome::AtOnce,
    nodes: 2,
    verify: Verified::Not,
    arming: Arming::None,
};

/// The scopes that CI searches whole.
pub const SMALL: [Scope; 9] = [
    Scope {
        name: "sessions",
        about: "each step of a login in every order with a cutover",
        budget: Budget {
            cutovers: 1,
            mishaps: 1,
            ..NONE
        },
        logins: Logins::StepByStep,
        trouble: Trouble::Nowhere,
        ..BASE
    },
    Scope {
        name: "restarts",
        about: "a node that is cut off and restarts on a lagging file, a driver that dies or is replaced",
        budget: Budget {
            cutovers: 1,
            crashes: 2,
            takeovers: 1,
            ..NONE
        },
        welcome: Welcome::Late,
        ..BASE
    },
    Scope {
        name: "again",
        about: "a second cutover with what is left of the first on its way; verifications; a domain that goes elsewhere",
        budget: Budget {
            cutovers: 2,
            domain: 1,
            ..NONE
        },
        trouble: Trouble::Nowhere,
        verify: Verified::Asked,
        ..BASE
    },
    Scope {
        name: "leases",
        about: "an armed account, and a node that falls silent and restarts",
        budget: Budget {
            cutovers: 1,
            crashes: 1,
            ..NONE
        },
        lease: 2,
        nodes: 1,
        arming: Arming::ByCutover,
        ..BASE
    },
    Scope {
        name: "armed ahead",
        about: "an account that is armed ahead and moves forth and back",
        budget: Budget {
            cutovers: 2,
            armings: 1,
            ..NONE
        },
        lease: 1,
        nodes: 1,
        arming: Arming::Ahead,
        ..BASE
    },
    Scope {
        name: "armed twice",
        about: "two cutovers that each arm the account",
        budget: Budget { cutovers: 2, ..NONE },
        lease: 1,
        nodes: 1,
        arming: Arming::ByCutover,
        ..BASE
    },
    Scope {
        name: "leaving",
        about: "a node that leaves, is fenced, restarts, and comes back",
        budget: Budget {
            cutovers: 1,
            leaves: 1,
            fences: 1,
            crashes: 1,
            ..NONE
        },
        nodes: 1,
        ..BASE
    },
    Scope {
        name: "going back",
        about: "a database that goes back in time, and what an operator decides",
        budget: Budget {
            cutovers: 1,
            going_back: 1,
            ..NONE
        },
        trouble: Trouble::Nowhere,
        ..BASE
    },
    Scope {
        name: "fenced while going back",
        about: "a node is fenced and does not hear it, and the database goes back in time",
        budget: Budget {
            cutovers: 1,
            going_back: 1,
            fences: 1,
            ..NONE
        },
        nodes: 1,
        ..BASE
    },
];

/// The scope in which a fault shows.
#[must_use]
pub fn of(fault: Fault) -> Scope {
    let name = match fault {
        Fault::ResolveBeforeRegister | Fault::RegisterAfterLogin | Fault::QuiescedAtLocalClose => "sessions",
        Fault::AcknowledgeBeforeSync
        | Fault::ConditionsBeforeFlip
        | Fault::OldSnapshot
        | Fault::NobodyTakesOver => "restarts",
        Fault::UnnamedAcknowledgements | Fault::AbortFollowsDomain | Fault::VerifyOfAnotherHold => "again",
        Fault::LeaseFromReceipt
        | Fault::ClockBeyondMargin
        | Fault::LapseKeepsSessions
        | Fault::ArmedWithoutLease
        | Fault::ArmingAcknowledgedWithoutLease
        | Fault::GrantsAfterHold
        | Fault::GrantToWhoIsBehind
        | Fault::DisarmingForgotten
        | Fault::ArmingRestsUnderHold
        | Fault::ArmedServedAfterRestart => "leases",
        Fault::LapseOfAnotherArming => "armed twice",
        Fault::DefaultOnError
        | Fault::GoodbyeWithoutMark
        | Fault::GoodbyeWithoutInstance
        | Fault::FenceCountsAtOnce
        | Fault::UnfenceWithoutSync => "leaving",
        Fault::GiveUpKeepsHold | Fault::FlipDespiteDoubt => "going back",
        Fault::FencedNotWaitedFor => "fenced while going back",
    };
    named(name).unwrap_or(SMALL[0])
}

/// By its name.
#[must_use]
pub fn named(name: &str) -> Option<Scope> {
    SMALL.into_iter().chain(WIDE).find(|scope| scope.name == name)
}

/// What the long run searches besides.
pub const WIDE: [Scope; 6] = [
    Scope {
        name: "restarts everywhere",
        about: "two nodes that are cut off and restart, a driver that is replaced, each step of a login",
        budget: Budget {
            cutovers: 1,
            crashes: 2,
            takeovers: 1,
            ..NONE
        },
        logins: Logins::StepByStep,
        trouble: Trouble::Anywhere,
        ..BASE
    },
    Scope {
        name: "restarts again",
        about: "two cutovers, two nodes that are cut off, two restarts, two takeovers",
        budget: Budget {
            cutovers: 2,
            crashes: 2,
            takeovers: 2,
            ..NONE
        },
        trouble: Trouble::Anywhere,
        ..BASE
    },
    Scope {
        name: "leases everywhere",
        about: "an armed account, two nodes that fall silent, a restart, a driver that is replaced",
        budget: Budget {
            cutovers: 1,
            crashes: 1,
            takeovers: 1,
            ..NONE
        },
        lease: 1,
        trouble: Trouble::Anywhere,
        arming: Arming::ByCutover,
        ..BASE
    },
    Scope {
        name: "longer leases",
        about: "a lease of two ticks, armed ahead, two cutovers, a restart",
        budget: Budget {
            cutovers: 2,
            armings: 1,
            crashes: 1,
            takeovers: 1,
            ..NONE
        },
        lease: 2,
        nodes: 1,
        arming: Arming::Ahead,
        ..BASE
    },
    Scope {
        name: "leaving everywhere",
        about: "nodes that leave, are fenced, restart, and come back; a driver that is replaced",
        budget: Budget {
            cutovers: 1,
            leaves: 1,
            fences: 1,
            crashes: 1,
            takeovers: 1,
            ..NONE
        },
        trouble: Trouble::Anywhere,
        ..BASE
    },
    Scope {
        name: "going back with trouble",
        about: "a database that goes back in time while a node is cut off and restarts",
        budget: Budget {
            cutovers: 1,
            going_back: 1,
            crashes: 1,
            ..NONE
        },
        ..BASE
    },
];
