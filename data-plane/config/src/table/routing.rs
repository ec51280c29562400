//! `[routing]`: where accounts go that no mapping names, and what belongs to no account (configuration 3.5,
//! design section 5).

use crate::name::DestinationName;
use crate::protocol::keyword;

/// `[routing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// Unmapped accounts, missing identifiers. None only in a fleet to which no `[routing]` was applied yet, or
    /// when the applied one cannot be used: logins that would go there get the temporary failure (A4).
    pub default_destination: Option<DestinationName>,
    /// Every smtp and lmtp session, with `smtp_routing = "passthrough"`.
    pub smtp_passthrough_destination: Option<DestinationName>,
    /// An identifier is cut at the earliest of any of them. None of them is empty.
    pub master_user_separators: Vec<String>,
    /// Completes a login without `@`, in A-labels and lower case. Only in a fleet.
    pub bare_domain: Option<String>,
    /// Logins without an identifier.
    pub unidentified: OnUnknown,
    /// Identifiers of no account.
    pub unknown: OnUnknown,
    /// How inbound SMTP and LMTP are routed.
    pub smtp_routing: SmtpRouting,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            default_destination: None,
            smtp_passthrough_destination: None,
            master_user_separators: vec!["%".to_owned()],
            bare_domain: None,
            unidentified: OnUnknown::Default,
            unknown: OnUnknown::Default,
            smtp_routing: SmtpRouting::Passthrough,
        }
    }
}

keyword! {
    /// What happens to a login that no account stands behind.
    OnUnknown {
        /// It goes to the default destination.
        Default = "default",
        /// It gets the temporary failure.
        Refuse = "refuse",
    }
}

keyword! {
    /// How inbound SMTP and LMTP are routed.
    SmtpRouting {
        /// Every session to one destination, unread.
        Passthrough = "passthrough",
        /// Each transaction by its first recipient's mapping.
        Recipient = "recipient",
    }
}
