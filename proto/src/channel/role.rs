//! Who is at the other end: a role and a name, from the one URI in the certificate's subject alternative names.
//!
//! A certificate with two such URIs, or with none, stands for nobody.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

const PREFIX: &str = "urn:mailswitch:";

/// What a certificate lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A data-plane process: may hold a feed in its own name.
    Node,
    /// A control-plane replica: the only role that may be a server here.
    ControlPlane,
    /// An operator who only reads.
    Viewer,
    /// An operator who also changes.
    Operator,
    /// An operator who also restores, and gives the word that a node is stopped.
    Admin,
}

impl Role {
    /// All of them, as `mailswitchctl pki issue` lists them.
    pub const ALL: [Self; 5] = [
        Self::Node,
        Self::ControlPlane,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
    ];

    /// As it is written in certificates and on command lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::ControlPlane => "control-plane",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// May ask what is.
    #[must_use]
    pub const fn may_view(self) -> bool {
        matches!(self, Self::Viewer | Self::Operator | Self::Admin)
    }

    /// May change what is.
    #[must_use]
    pub const fn may_operate(self) -> bool {
        matches!(self, Self::Operator | Self::Admin)
    }

    /// May do what cannot be taken back.
    #[must_use]
    pub const fn may_administer(self) -> bool {
        matches!(self, Self::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidName(text.to_owned()))
    }
}

/// The name of a node, a replica or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Names are 1 to 64 of `a-z`, `A-Z`, `0-9`, `.`, `_`, `-`, and begin with a letter or a digit: they end up in URIs,
/// file names and tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be a name here: write 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
)]
pub struct InvalidName(String);

impl Name {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if begins_well && text.len() <= 64 && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// What it may do.
    pub role: Role,
    /// Its name.
    pub name: Name,
}

/// A certificate that stands for nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// Not X.509.
    #[error("the certificate cannot be parsed")]
    Unreadable,
    /// No URI of ours.
    #[error("the certificate has no {PREFIX}ROLE:NAME among its names")]
    Absent,
    /// More than one.
    #[error("the certificate has more than one {PREFIX}ROLE:NAME among its names")]
    Ambiguous,
    /// One that is not well formed.
    #[error("the certificate's name {0:?} is not {PREFIX}ROLE:NAME with a role and a name that we know")]
    Malformed(String),
}

impl PeerIdentity {
    /// As it stands in a certificate.
    #[must_use]
    pub fn urn(&self) -> String {
        format!("{PREFIX}{}:{}", self.role, self.name)
    }

    /// Reads it from a certificate whose chain has been, or will be, verified elsewhere.
    ///
    /// # Errors
    /// The certificate stands for nobody.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, NoIdentity> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| NoIdentity::Unreadable)?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| NoIdentity::Unreadable)?
            .ok_or(NoIdentity::Absent)?;
        let mut ours = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(PREFIX) => Some(*uri),
            _ => None,
        });
        match (ours.next(), ours.next()) {
            (Some(urn), None) => urn.parse(),
            (Some(_), Some(_)) => Err(NoIdentity::Ambiguous),
            (None, _) => Err(NoIdentity::Absent),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = NoIdentity;

    fn from_str(urn: &str) -> Result<Self, NoIdentity> {
        let malformed = || NoIdentity::Malformed(urn.to_owned());
        let (role, name) = urn
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(malformed)?;
        Ok(Self {
            role: role.parse().map_err(|_| malformed())?,
            name: name.parse().map_err(|_| malformed())?,
        })
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

/// The other end of a connection that this server accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What its certificate lets it do.
    pub role: Role,
    /// Its name, from the certificate.
    pub name: Name,
    /// Where it connected from.
    pub address: SocketAddr,
}

/// Who sent the request.
///
/// # Errors
/// `UNAUTHENTICATED`: the request did not come over a connection of [`super::listen`].
pub fn peer_of<T>(request: &Request<T>) -> Result<Peer, Status> {
    request
        .extensions()
        .get::<Peer>()
        .cloned()
        .ok_or_else(|| Status::unauthenticated("the request came without a client certificate"))
}
