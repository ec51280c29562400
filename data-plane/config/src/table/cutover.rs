//! `[cutover]`: the times of a cutover (design section 5, promise A5, Q3, L1).

use std::time::Duration;

use crate::protocol::keyword;
use crate::read::TableReader;

/// `[cutover]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutover {
    /// How long one login waits while its account is held; at most `MAX_HOLD_LOGIN_TIMEOUT`.
    pub hold_login_timeout: Duration,
    /// How long a cutover may hold its account before it is released to the source.
    pub max_hold: Duration,
    /// When a session that has not become quiet is ended anyway. At most `max_hold` when the file does not say.
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

impl Cutover {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let max_hold = table.duration("max_hold", absent.max_hold);
        let cutover = Self {
            hold_login_timeout: table.duration("hold_login_timeout", absent.hold_login_timeout),
            max_hold,
            drain_timeout: table.duration("drain_timeout", absent.drain_timeout.min(max_hold)),
            lease: table.duration("lease", absent.lease),
            held_reply: table.keyword("held_reply", absent.held_reply),
        };
        if cutover.hold_login_timeout > Self::MAX_HOLD_LOGIN_TIMEOUT {
            table.report.error(
                &table.at("hold_login_timeout"),
                "a login may wait 60s at most: clients give up by then",
                "write \"60s\" or less",
            );
        }
        for (key, duration, usual) in [
            ("max_hold", cutover.max_hold, absent.max_hold),
            ("drain_timeout", cutover.drain_timeout, absent.drain_timeout),
            ("lease", cutover.lease, absent.lease),
        ] {
            if duration.is_zero() {
                table.report.error(
                    &table.at(key),
                    "with no time at all every cutover would be released",
                    format!("write \"{}\", or remove the key", crate::duration::format(usual)),
                );
            }
        }
        if cutover.drain_timeout > cutover.max_hold {
            table.report.warning(
                &table.at("drain_timeout"),
                "sessions may take longer to end than their account is held: cutovers will be released",
                format!(
                    "write at most max_hold, which is \"{}\"",
                    crate::duration::format(cutover.max_hold)
                ),
            );
        }
        table.finish();
        cutover
    }
}
