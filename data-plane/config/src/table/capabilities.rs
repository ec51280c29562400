//! `[capabilities.*]`: what is advertised before login (configuration 3.7). Values set in the file are sent
//! verbatim; no string here holds CR, LF or NUL.

use crate::protocol::keyword;

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
        use crate::protocol::Keyword as _;
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
