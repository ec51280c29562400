//! `[cutover]`: the times of a cutover (design section 5, promise A5, Q3, L1).

use std::time::Duration;

use crate::protocol::keyword;

/// `[cutover]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutover {
    /// How long one login waits while its account is held; at most `MAX_HOLD_LOGIN_TIMEOUT`.
    pub hold_login_timeout: Duration,
    /// How long a cutover may hold its account before it is released to the source.
    pub max_hold: Duration,
    /// When a session that has not become quiet is ended anyway.
    pub drain_timeout: Duration,
    /// How long a node may admit armed accounts without hearing from the control plane.
    pub lease: Duration,
    /// What an IMAP client is told when its session is drained.
    pub held_reply: HeldReply,
}

impl Cutover {
    /// Clients give up on a login after a minute or so, and try again with a dialogue of their own.
    pub const MAX_HOLD_LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
}

impl Default for Cutover {
    fn default() -> Self {
        Self {
            hold_login_timeout: Duration::from_secs(15),
            max_hold: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(15),
            lease: Duration::from_secs(10),
            held_reply: HeldReply::Bye,
        }
    }
}

keyword! {
    /// How a login that waited too long is refused over IMAP.
    HeldReply {
        /// The connection is closed with an untagged BYE.
        Bye = "bye",
        /// A tagged refusal.
        No = "no",
    }
}
