//! The protocols, and what is said of a leg: how it is secured, and how the client is announced on it
//! (configuration section 2, 3.3, 3.4).

/// An enumeration whose values are written in the file exactly as `as_str` gives them.
pub trait Keyword: Copy + Sized + 'static {
    /// Every value, in the order in which messages list them.
    const ALL: &'static [Self];

    /// As it is written in the file.
    fn as_str(self) -> &'static str;

    /// The value that is written so.
    fn from_keyword(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == text)
    }
}

macro_rules! keyword {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $crate::protocol::Keyword for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::protocol::Keyword::as_str(*self))
            }
        }
    };
}
pub(crate) use keyword;

keyword! {
    /// What a listener speaks, and a destination's endpoint answers.
    Protocol {
        /// IMAP (RFC 9051, RFC 3501).
        Imap = "imap",
        /// POP3 (RFC 1939).
        Pop3 = "pop3",
        /// ManageSieve (RFC 5804).
        ManageSieve = "managesieve",
        /// Message submission (RFC 6409).
        Submission = "submission",
        /// Inbound SMTP (RFC 5321), passed through.
        Smtp = "smtp",
        /// LMTP (RFC 2033), passed through.
        Lmtp = "lmtp",
        /// HTTP (RFC 9110): JMAP, DAV, web mail.
        Http = "http",
    }
}

impl Protocol {
    /// A client signs in over it.
    #[must_use]
    pub const fn bears_credentials(self) -> bool {
        !self.is_pass_through()
    }

    /// The client speaks before login with us: a dialogue, then a bridge.
    #[must_use]
    pub const fn is_interactive(self) -> bool {
        matches!(
            self,
            Self::Imap | Self::Pop3 | Self::ManageSieve | Self::Submission
        )
    }

    /// Bytes go to one destination, unread.
    #[must_use]
    pub const fn is_pass_through(self) -> bool {
        matches!(self, Self::Smtp | Self::Lmtp)
    }
}

keyword! {
    /// How a leg is secured.
    TlsMode {
        /// TLS from the first byte (RFC 8314).
        Implicit = "implicit",
        /// In clear until the protocol's own upgrade.
        StartTls = "starttls",
        /// In clear.
        Plain = "plain",
    }
}

keyword! {
    /// How a backend learns who the client is (behaviour section 5).
    Forwarding {
        /// A PROXY protocol v2 header before anything else.
        Proxy = "proxy",
        /// XCLIENT (submission, POP3, ManageSieve) or ID (IMAP).
        Xclient = "xclient",
        /// Not at all.
        None = "none",
    }
}

/// The values of an enumeration as a message lists them: `"a", "b" or "c"`.
#[must_use]
pub fn choices<K: Keyword>() -> String {
    let mut list = String::new();
    for (index, value) in K::ALL.iter().enumerate() {
        list.push_str(match index {
            0 => "",
            _ if index + 1 == K::ALL.len() => " or ",
            _ => ", ",
        });
        list.push('"');
        list.push_str(value.as_str());
        list.push('"');
    }
    list
}
