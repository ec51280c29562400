//! `[routing]`: where accounts go that no mapping names, and what belongs to no account (configuration 3.5,
//! design section 5).

use mailswitch_proto::identifier::{Identifier, Normalization};

use crate::name::DestinationName;
use crate::protocol::keyword;
use crate::read::{Node, TableReader, Wrong, value};

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

impl Routing {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let routing = Self {
            default_destination: table
                .require(
                    "default_destination",
                    "name the destination of accounts that no mapping names",
                    value::filled,
                )
                .map(DestinationName::from),
            smtp_passthrough_destination: table
                .text("smtp_passthrough_destination")
                .map(DestinationName::from),
            master_user_separators: table
                .list("master_user_separators", value::string)
                .map_or(absent.master_user_separators, |separators| {
                    separators.into_iter().filter(|one| !one.is_empty()).collect()
                }),
            bare_domain: table.get("bare_domain", domain),
            unidentified: table.keyword("unidentified", absent.unidentified),
            unknown: table.keyword("unknown", absent.unknown),
            smtp_routing: table.keyword("smtp_routing", absent.smtp_routing),
        };
        table.finish();
        routing
    }
}

/// In its normal form, so that it is compared as the domain of a login is.
fn domain(node: &Node) -> Result<String, Wrong> {
    let text = value::filled(node)?;
    let wrong = || {
        Wrong::new(
            "this is no domain",
            "write one such as \"example.org\", without @",
        )
    };
    if text.contains('@') {
        return Err(wrong());
    }
    let entry = Identifier::normalized(&format!("@{text}"), &Normalization::Fleet { bare_domain: None })
        .map_err(|_| wrong())?;
    Ok(entry.as_str().trim_start_matches('@').to_owned())
}
