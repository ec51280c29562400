//! The client's command that waits for the outcome of its login, and every answer that we may give to it ourselves.
//!
//! What the backend answered is not made here but relayed (`Answer`). None of these texts depends on a secret,
//! and none but `authentication_failed` can be read as a wrong password.

use crate::{Protocol, imap, managesieve, pop3, submission};

/// A login command whose answer is owed.
#[derive(Debug, Clone)]
pub struct ClientCommand(pub(crate) Kind);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Imap(imap::Tag),
    Pop3(pop3::Utf8),
    ManageSieve,
    Submission,
}

/// How a login that waited too long for a hold is ended (`[cutover] held_reply`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldReply {
    /// The connection ends, the command unanswered: clients reconnect without asking for a password.
    Bye,
    /// A tagged refusal with a temporary code.
    No,
}

/// Why a connection is ended before a login was read, by nobody's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// `preauth_timeout` has passed.
    Timeout,
    /// This node is stopping.
    Shutdown,
    /// The client has more connections than one may have, or too many have not signed in.
    Busy,
}

/// What is said before the connection is closed; nothing where the protocol wants silence. Not in the middle of a
/// line that is being written.
#[must_use]
pub const fn farewell(protocol: Protocol, why: Farewell) -> &'static [u8] {
    match protocol {
        Protocol::Imap => imap::farewell(why),
        Protocol::Pop3 => pop3::farewell(why),
        Protocol::ManageSieve => managesieve::farewell(why),
        Protocol::Submission => submission::farewell(why),
    }
}

impl ClientCommand {
    /// For a handshake with no login behind it: probes.
    #[must_use]
    pub fn probe(protocol: Protocol) -> Self {
        Self(match protocol {
            Protocol::Imap => Kind::Imap(imap::Tag::probe()),
            // So CAPA is asked on every leg: a probe is after what it lists.
            Protocol::Pop3 => Kind::Pop3(pop3::Utf8::Asked),
            Protocol::ManageSieve => Kind::ManageSieve,
            Protocol::Submission => Kind::Submission,
        })
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        match self.0 {
            Kind::Imap(_) => Protocol::Imap,
            Kind::Pop3(_) => Protocol::Pop3,
            Kind::ManageSieve => Protocol::ManageSieve,
            Kind::Submission => Protocol::Submission,
        }
    }

    /// The backend cannot be had: says so, in a form that no client takes for a wrong password (behaviour §7.1).
    /// Then close.
    #[must_use]
    pub fn temporary_failure(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Imap(tag) => imap::temporary_failure(tag),
            Kind::Pop3(_) => pop3::TEMPORARY_FAILURE.to_vec(),
            Kind::ManageSieve => managesieve::TEMPORARY_FAILURE.to_vec(),
            Kind::Submission => submission::TEMPORARY_FAILURE.to_vec(),
        }
    }

    /// The account was held for longer than a login waits (promise A5). Then close.
    #[must_use]
    pub fn held(&self, reply: HeldReply) -> Vec<u8> {
        match &self.0 {
            Kind::Imap(tag) => imap::held(tag, reply),
            Kind::Pop3(_) => pop3::held(reply).to_vec(),
            Kind::ManageSieve => managesieve::held(reply).to_vec(),
            Kind::Submission => submission::held(reply).to_vec(),
        }
    }

    /// The backend refused the credential, and `hide_auth_errors` replaces its words. Then close.
    #[must_use]
    pub fn authentication_failed(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Imap(tag) => imap::authentication_failed(tag),
            Kind::Pop3(_) => pop3::AUTHENTICATION_FAILED.to_vec(),
            Kind::ManageSieve => managesieve::AUTHENTICATION_FAILED.to_vec(),
            Kind::Submission => submission::AUTHENTICATION_FAILED.to_vec(),
        }
    }

    /// What follows a relayed refusal before the connection is closed: the client must not stay attached to a
    /// backend at which it could log in as somebody else (behaviour §1).
    #[must_use]
    pub const fn after_refusal(&self) -> &'static [u8] {
        match &self.0 {
            Kind::Imap(_) => imap::BYE_AFTER_REFUSAL,
            Kind::ManageSieve => managesieve::BYE_AFTER_REFUSAL,
            Kind::Pop3(_) | Kind::Submission => b"",
        }
    }
}
