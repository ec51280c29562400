//! `[capabilities.*]`: what is advertised before login (configuration 3.7). Values set in the file are sent
//! verbatim; no string here holds CR, LF or NUL.

use crate::protocol::{Keyword as _, choices, keyword};
use crate::read::{Node, TableReader, Value, Wrong, value};

/// `[capabilities]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// `[capabilities.imap]`.
    pub imap: ImapCapabilities,
    /// `[capabilities.pop3]`.
    pub pop3: Pop3Capabilities,
    /// `[capabilities.submission]`.
    pub submission: SubmissionCapabilities,
    /// `[capabilities.managesieve]`.
    pub managesieve: ManageSieveCapabilities,
}

/// The keys that all four tables have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Advertised and accepted, in this order; none twice.
    pub sasl: Vec<SaslMechanism>,
    /// Credentials may be sent by a client in clear.
    pub allow_plain_auth_without_tls: bool,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            sasl: SaslMechanism::ALL.to_vec(),
            allow_plain_auth_without_tls: false,
        }
    }
}

/// `[capabilities.imap]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImapCapabilities {
    /// SASL.
    pub authentication: Authentication,
    /// The text of the greeting.
    pub banner: String,
    /// Capability names, one each.
    pub advertise: Vec<String>,
}

/// `[capabilities.pop3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop3Capabilities {
    /// SASL.
    pub authentication: Authentication,
    /// The text of the greeting.
    pub banner: String,
}

impl Pop3Capabilities {
    /// What CAPA gives as `IMPLEMENTATION`.
    pub const IMPLEMENTATION: &str = "Mailswitch";
}

/// `[capabilities.submission]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionCapabilities {
    /// SASL.
    pub authentication: Authentication,
    /// The text of the greeting, behind `220 <hostname> ESMTP `.
    pub banner: String,
    /// EHLO keywords with their parameters, one line each.
    pub ehlo: Vec<String>,
}

/// `[capabilities.managesieve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManageSieveCapabilities {
    /// SASL.
    pub authentication: Authentication,
    /// `IMPLEMENTATION`.
    pub implementation: String,
    /// Extension names, one each.
    pub sieve: Vec<String>,
}

impl Default for ImapCapabilities {
    fn default() -> Self {
        Self {
            authentication: Authentication::default(),
            banner: "Mailswitch IMAP4rev2 at your service.".to_owned(),
            advertise: words("IMAP4rev2 IMAP4rev1 ENABLE SASL-IR LITERAL+ ID UTF8=ACCEPT JMAPACCESS"),
        }
    }
}

impl Default for Pop3Capabilities {
    fn default() -> Self {
        Self {
            authentication: Authentication::default(),
            banner: "Mailswitch POP3 at your service.".to_owned(),
        }
    }
}

impl Default for SubmissionCapabilities {
    fn default() -> Self {
        Self {
            authentication: Authentication::default(),
            banner: "at your service.".to_owned(),
            ehlo: words(
                "ENHANCEDSTATUSCODES 8BITMIME BINARYMIME SMTPUTF8 PIPELINING CHUNKING REQUIRETLS SIZE",
            ),
        }
    }
}

impl Default for ManageSieveCapabilities {
    fn default() -> Self {
        Self {
            authentication: Authentication::default(),
            implementation: "Mailswitch ManageSieve".to_owned(),
            sieve: words(SIEVE),
        }
    }
}

keyword! {
    /// A SASL mechanism that we speak (behaviour section 2). Compared case-insensitively.
    SaslMechanism {
        /// RFC 4616.
        Plain = "PLAIN",
        /// draft-murchison-sasl-login.
        Login = "LOGIN",
        /// RFC 7628.
        OauthBearer = "OAUTHBEARER",
        /// Google's specification.
        Xoauth2 = "XOAUTH2",
    }
}

const SIEVE: &str = "body comparator-elbonia comparator-i;ascii-casemap comparator-i;ascii-numeric \
    comparator-i;octet convert copy date duplicate editheader enclose encoded-character enotify envelope \
    envelope-deliverby envelope-dsn environment ereject extlists extracttext fcc fileinto foreverypart ihave \
    imap4flags imapsieve include index mailbox mailboxid mboxmetadata mime redirect-deliverby redirect-dsn \
    regex reject relational replace servermetadata spamtest spamtestplus special-use subaddress vacation \
    vacation-seconds variables virustest";

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

impl Capabilities {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Self {
        let capabilities = Self {
            imap: ImapCapabilities::read(table.table("imap")),
            pop3: Pop3Capabilities::read(table.table("pop3")),
            submission: SubmissionCapabilities::read(table.table("submission")),
            managesieve: ManageSieveCapabilities::read(table.table("managesieve")),
        };
        table.finish();
        capabilities
    }
}

impl Authentication {
    fn read(table: &mut TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let sasl = table.list("sasl", mechanism).unwrap_or(absent.sasl);
        for (index, mechanism) in sasl.iter().enumerate() {
            if sasl[..index].contains(mechanism) {
                table.report.error(
                    &table.at("sasl"),
                    format!("{mechanism} stands here twice"),
                    "name each mechanism once",
                );
            }
        }
        Self {
            sasl,
            allow_plain_auth_without_tls: table.switch(
                "allow_plain_auth_without_tls",
                absent.allow_plain_auth_without_tls,
            ),
        }
    }
}

impl ImapCapabilities {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let imap = Self {
            authentication: Authentication::read(&mut table),
            banner: table.get("banner", line).unwrap_or(absent.banner),
            advertise: table.get("advertise", lines).unwrap_or(absent.advertise),
        };
        table.finish();
        imap
    }
}

impl Pop3Capabilities {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let pop3 = Self {
            authentication: Authentication::read(&mut table),
            banner: table.get("banner", line).unwrap_or(absent.banner),
        };
        table.finish();
        pop3
    }
}

impl SubmissionCapabilities {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let submission = Self {
            authentication: Authentication::read(&mut table),
            banner: table.get("banner", line).unwrap_or(absent.banner),
            ehlo: table.get("ehlo", lines).unwrap_or(absent.ehlo),
        };
        table.finish();
        submission
    }
}

impl ManageSieveCapabilities {
    fn read(mut table: TableReader<'_, '_>) -> Self {
        let absent = Self::default();
        let managesieve = Self {
            authentication: Authentication::read(&mut table),
            implementation: table.get("implementation", line).unwrap_or(absent.implementation),
            sieve: table.get("sieve", lines).unwrap_or(absent.sieve),
        };
        table.finish();
        managesieve
    }
}

fn mechanism(node: &Node) -> Result<SaslMechanism, Wrong> {
    let text = value::string(node)?;
    SaslMechanism::from_keyword(&text.to_ascii_uppercase()).ok_or_else(|| {
        Wrong::new(
            "this is no mechanism that can be carried over",
            format!("write {}", choices::<SaslMechanism>()),
        )
    })
}

/// It is sent within one line: a line end in it would let a value speak for the server.
fn line(node: &Node) -> Result<String, Wrong> {
    let text = value::string(node)?;
    if text.contains(['\r', '\n', '\0']) {
        return Err(Wrong::new(
            "this holds a line end or a NUL, and is sent within one line",
            "remove it",
        ));
    }
    Ok(text)
}

/// A list of texts, or one text of words.
fn lines(node: &Node) -> Result<Vec<String>, Wrong> {
    match &node.value {
        Value::Array(items) => items
            .iter()
            .map(line)
            .filter(|item| item.as_ref().map_or(true, |text| !text.trim().is_empty()))
            .collect(),
        Value::String(_) => line(node).map(|text| words(&text)),
        _ => Err(Wrong::new(
            format!("{} stands where a list of strings belongs", value::kind(node)),
            "write it between square brackets: [\"…\", \"…\"]",
        )),
    }
}
