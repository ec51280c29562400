//! `[destination.*]`: the backends (configuration 3.4).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use rustls_pki_types::ServerName;

use crate::name::DestinationName;
use crate::protocol::{Forwarding, Protocol, TlsMode};

mod read;

/// `[destination.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its key in the file.
    pub name: DestinationName,
    /// Where it is.
    pub host: Host,
    /// SNI and the name that is verified. Present whenever an endpoint speaks TLS (V10, V11).
    pub tls_server_name: Option<ServerName<'static>>,
    /// How its certificate is checked.
    pub verification: Verification,
    /// Mutual TLS.
    pub client_certificate: Option<ClientCertificate>,
    /// Local addresses to dial from, round robin within the family; empty: the system's choice.
    pub source_ips: Vec<IpAddr>,
    /// HTTP: append `Forwarded` and `X-Forwarded-For`.
    pub forwarded: bool,
    /// A generic text instead of the backend's rejection.
    pub hide_auth_errors: bool,
    /// Credentials may go over a `plain` leg.
    pub allow_plaintext_auth: bool,
    /// What it serves.
    pub endpoints: BTreeMap<Protocol, Endpoint>,
}

impl Destination {
    /// The endpoint of a protocol; none: accounts there cannot use it.
    #[must_use]
    pub fn endpoint(&self, protocol: Protocol) -> Option<&Endpoint> {
        self.endpoints.get(&protocol)
    }
}

/// `[destination.NAME.protocol.P]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// 1 to 65535.
    pub port: u16,
    /// How the leg is secured. A smtp or lmtp leg is never `starttls`: it is passed through, read as `plain`.
    pub tls: TlsMode,
    /// How the client is announced: of the protocol table, else the destination, else `proxy_protocol`.
    pub forwarding: Forwarding,
    /// HTTP: the backend speaks HTTP/2, and is spoken to in it.
    pub http2: bool,
}

/// Where a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Resolved at every connection.
    Name(String),
    /// An IP literal.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// How a backend's certificate is checked. TLS signatures are checked in any case but `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// The platform's trust store, with `tls_server_name`.
    Platform,
    /// SHA-256 of the leaf; replaces chain, name and date checks. Wins over `tls_allow_invalid_certs`.
    Pinned(Pin),
    /// Not at all.
    None,
}

/// SHA-256 of a leaf certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From 64 hexadecimal digits; colons and blanks between them are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text
            .chars()
            .filter(|character| !matches!(character, ':' | ' ' | '\t'));
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            let high = digits.next()?.to_digit(16)?;
            let low = digits.next()?.to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        digits.next().is_none().then_some(Self(bytes))
    }
}

impl From<[u8; 32]> for Pin {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// `tls_client_cert` and `tls_client_key`: both or neither (V12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM: the leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}
