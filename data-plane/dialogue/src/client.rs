//! The dialogue toward the client: from the greeting to a `Login`, or to the end of the connection.
//!
//! Here is what every protocol shares: how it is configured, what it ends with, who may log in (`Access`). The
//! words are in the protocol's folder. Cutting, checking and normalising the identifier is not done here but by
//! `mailswitch_proto::identifier`, once for all programs.

pub(crate) mod pre_login;

use std::sync::Arc;

use self::pre_login::PreLogin;
use crate::attributes::{Helo, Hops};
use crate::command::ClientCommand;
use crate::dialogue::Dialogue;
use crate::input::TlsEstablished;
use crate::sasl::{Credential, Mechanism, Routing};
use crate::{Protocol, imap, managesieve, pop3, submission};

/// The dialogue toward a client.
pub type ClientSide = Box<dyn Dialogue<Done = ClientOutcome> + Send>;

/// Starts the dialogue: its first step says the greeting.
#[must_use]
pub fn client_side(config: ClientSideConfig) -> ClientSide {
    let ClientSideConfig {
        presentation,
        access,
        leg,
        peer,
    } = config;
    let access = Access::new(access, &leg);
    match presentation {
        Presentation::Imap { banner, advertise } => {
            let words = imap::Words { banner, advertise };
            Box::new(PreLogin::new(imap::ClientSide::new(words), access, &leg, peer))
        }
        Presentation::Pop3 {
            banner,
            implementation,
        } => {
            let words = pop3::Words {
                banner,
                implementation,
            };
            Box::new(PreLogin::new(pop3::ClientSide::new(words), access, &leg, peer))
        }
        Presentation::ManageSieve {
            implementation,
            sieve,
        } => {
            let words = managesieve::Words {
                implementation,
                sieve,
            };
            Box::new(PreLogin::new(
                managesieve::ClientSide::new(words),
                access,
                &leg,
                peer,
            ))
        }
        Presentation::Submission {
            hostname,
            banner,
            ehlo,
        } => {
            let words = submission::Words {
                hostname,
                banner,
                ehlo,
            };
            Box::new(PreLogin::new(
                submission::ClientSide::new(words),
                access,
                &leg,
                peer,
            ))
        }
    }
}

/// What the dialogue is to know. Cheap to make per connection: texts are shared.
#[derive(Debug)]
pub struct ClientSideConfig {
    /// The protocol, and what we say of ourselves in it.
    pub presentation: Presentation,
    /// Who may log in, and how often it may fail.
    pub access: AccessConfig,
    /// The client's leg.
    pub leg: ClientLeg,
    /// Whether what the client says about hops counts.
    pub peer: PeerTrust,
}

/// `[capabilities.*]` of the protocol, sent as it stands there.
#[derive(Debug, Clone)]
pub enum Presentation {
    /// `[capabilities.imap]`.
    Imap {
        /// Text of the greeting.
        banner: Arc<str>,
        /// Capabilities before `AUTH=…`.
        advertise: Arc<[String]>,
    },
    /// `[capabilities.pop3]`.
    Pop3 {
        /// Text of the greeting.
        banner: Arc<str>,
        /// `IMPLEMENTATION` of CAPA.
        implementation: &'static str,
    },
    /// `[capabilities.managesieve]`.
    ManageSieve {
        /// `IMPLEMENTATION`.
        implementation: Arc<str>,
        /// Extensions.
        sieve: Arc<[String]>,
    },
    /// `[capabilities.submission]`.
    Submission {
        /// `server.hostname`, or the address of the local socket.
        hostname: Arc<str>,
        /// Text of the greeting.
        banner: Arc<str>,
        /// EHLO keywords with their parameters.
        ehlo: Arc<[String]>,
    },
}

impl Presentation {
    /// The protocol that it belongs to.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Imap { .. } => Protocol::Imap,
            Self::Pop3 { .. } => Protocol::Pop3,
            Self::ManageSieve { .. } => Protocol::ManageSieve,
            Self::Submission { .. } => Protocol::Submission,
        }
    }
}

/// Who may log in.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// `sasl`: advertised and accepted, in this order.
    pub sasl: Arc<[Mechanism]>,
    /// `allow_plain_auth_without_tls`.
    pub cleartext: CleartextAuth,
    /// `max_auth_attempts`; 0 acts as 1.
    pub max_failures: u32,
    /// `oauth.jwt_username_claim`.
    pub jwt_claim: Arc<str>,
}

/// `allow_plain_auth_without_tls`: whether credentials are taken from a client that is not encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleartextAuth {
    /// Refused before they are asked for.
    Refused,
    /// Taken.
    Allowed,
}

/// The client's leg when the dialogue starts.
#[derive(Debug)]
pub enum ClientLeg {
    /// TLS stands.
    Encrypted(TlsEstablished),
    /// In clear, STARTTLS is offered.
    StartTls,
    /// In clear, and stays so.
    Plain,
}

/// Whether the peer is inside the listener's `proxy_trusted` (behaviour §7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerTrust {
    /// An ordinary client.
    Client,
    /// A proxy of ours: its `x-proxy-ttl` (IMAP ID) or `TTL=` (XCLIENT) is taken.
    Proxy,
}

/// How the dialogue ended.
#[derive(Debug)]
#[must_use]
pub enum ClientOutcome {
    /// A login was read. Nothing was answered yet.
    Login(Box<Login>),
    /// Everything was answered: write it, then close.
    Closed(Why),
}

/// Why a dialogue ended without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The client said so.
    Quit,
    /// `max_auth_attempts` was reached.
    TooManyFailures,
    /// A line, literal or response over `LINE_LIMIT`.
    TooLong,
}

/// What the client presented.
#[derive(Debug)]
pub struct Login {
    /// For the backend, as it is.
    pub credential: Credential,
    /// Whose session it is, before cut, check and normal form.
    pub routing: Routing,
    /// How it was presented: tells which mechanisms clients use.
    pub method: Method,
    /// The command that waits for its answer.
    pub command: ClientCommand,
    /// EHLO or HELO argument.
    pub helo: Option<Helo>,
    /// The hop count that a trusted proxy gave.
    pub hops: Option<Hops>,
}

/// The form of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// A SASL mechanism.
    Sasl(Mechanism),
    /// IMAP `LOGIN`, POP3 `USER` and `PASS`.
    Command,
}

/// Who may log in now: the gate, the list, and the failures so far.
#[derive(Debug)]
pub(crate) struct Access {
    config: AccessConfig,
    gate: Gate,
    failures: u32,
}

/// Whether credentials are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}

/// What a failure means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Attempt {
    /// The client may go on.
    MayGoOn,
    /// That was the last one.
    Last,
}

impl Access {
    fn new(config: AccessConfig, leg: &ClientLeg) -> Self {
        let gate = match (leg, config.cleartext) {
            (ClientLeg::Encrypted(_), _) | (_, CleartextAuth::Allowed) => Gate::Open,
            (ClientLeg::StartTls | ClientLeg::Plain, CleartextAuth::Refused) => Gate::Shut,
        };
        Self {
            config,
            gate,
            failures: 0,
        }
    }

    /// TLS stands: the proof opens the gate.
    pub(crate) fn encrypted(&mut self, _proof: &TlsEstablished) {
        self.gate = Gate::Open;
    }

    pub(crate) const fn gate(&self) -> Gate {
        self.gate
    }

    /// What is advertised: nothing while the gate is shut.
    pub(crate) fn offered(&self) -> &[Mechanism] {
        match self.gate {
            Gate::Open => &self.config.sasl,
            Gate::Shut => &[],
        }
    }

    /// Their names, between blanks.
    pub(crate) fn offered_names(&self) -> String {
        let names: Vec<&str> = self
            .offered()
            .iter()
            .map(|mechanism| mechanism.as_str())
            .collect();
        names.join(" ")
    }

    /// The mechanism of that name, if it is in `sasl`.
    pub(crate) fn mechanism(&self, name: &[u8]) -> Option<Mechanism> {
        Mechanism::from_name(name).filter(|mechanism| self.config.sasl.contains(mechanism))
    }

    pub(crate) fn jwt_claim(&self) -> &str {
        &self.config.jwt_claim
    }

    /// Counts a failure (behaviour §1 says which are).
    pub(crate) fn failed(&mut self) -> Attempt {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.config.max_failures {
            Attempt::Last
        } else {
            Attempt::MayGoOn
        }
    }
}
