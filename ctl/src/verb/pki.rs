//! `pki init`, `pki issue`: the fleet's own authority in a folder of PEM files. It never leaves this machine: what
//! the programs get is `ca.pem`, their certificate and their key.

mod authority;
mod place;

use std::net::IpAddr;
use std::path::PathBuf;

use mailswitch_proto::channel::{Name, PeerIdentity, Role};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};
use authority::{Authority, Request};
use place::Existing;

/// `pki …`
#[derive(Debug, clap::Subcommand)]
pub enum PkiVerb {
    /// Make the fleet's authority: DIR/ca.pem and DIR/ca.key.
    Init(InitArguments),
    /// Issue a certificate: ROLE-NAME.pem and ROLE-NAME.key.
    Issue(IssueArguments),
}

/// `pki init DIR`
#[derive(Debug, clap::Args)]
pub struct InitArguments {
    /// Where to. Made if it is not there.
    dir: PathBuf,
    /// The authority's name in its certificate.
    #[arg(long, default_value = "Mailswitch fleet authority", value_name = "TEXT")]
    name: String,
    /// For how long.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
}

/// `pki issue ROLE NAME`
#[derive(Debug, clap::Args)]
pub struct IssueArguments {
    /// node, control-plane, viewer, operator or admin.
    #[arg(value_parser = parse_role, hide_possible_values = true)]
    role: Role,
    /// The node's, replica's or person's name: letters, digits, '.', '_' and '-'.
    name: Name,
    /// The folder of `pki init`.
    #[arg(long, default_value = ".", env = "MAILSWITCH_PKI_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// A host name or address under which it is reached; a control plane needs at least one. May repeat.
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    san: Vec<String>,
    /// For how long.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// Where to; the folder of `pki init` if not given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a certificate and key that are there (a renewal).
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Serialize)]
struct Written {
    /// The authority's certificate.
    ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    not_after: String,
}

impl PkiVerb {
    /// Writes the files, and prints their names.
    ///
    /// # Errors
    /// Files are in the way, or missing; nothing was changed then.
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let written = match self {
            Self::Init(arguments) => arguments.run()?,
            Self::Issue(arguments) => arguments.run()?,
        };
        context.output.print(&written)?;
        Ok(Exit::Done)
    }
}

impl InitArguments {
    fn run(self) -> Result<Written, Failure> {
        place::folder(&self.dir)?;
        let (ca, key) = (self.dir.join("ca.pem"), self.dir.join("ca.key"));
        place::free(&[&ca, &key]).map_err(|failure| {
            failure.remedy("an authority is made once: use it, or choose another folder")
        })?;
        let made = Authority::make(&self.name, self.days)?;
        place::write_pair(
            (&ca, made.cert.as_bytes()),
            (&key, made.key.as_bytes()),
            Existing::Refuse,
        )?;
        Ok(Written {
            ca: ca.display().to_string(),
            cert: None,
            key: key.display().to_string(),
            identity: None,
            not_after: made.not_after,
        })
    }
}

impl IssueArguments {
    fn run(self) -> Result<Written, Failure> {
        let sans = self
            .san
            .iter()
            .map(|san| parse_san(san))
            .collect::<Result<Vec<_>, _>>()?;
        if self.role == Role::ControlPlane && sans.is_empty() {
            return Err(Failure::usage(
                "a control plane's certificate needs the names that nodes connect to",
            )
            .remedy("give each host name and address with --san"));
        }
        let out = self.out.as_ref().unwrap_or(&self.dir);
        let stem = format!("{}-{}", self.role, self.name);
        let (cert, key) = (out.join(format!("{stem}.pem")), out.join(format!("{stem}.key")));
        let existing = if self.replace {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        if existing == Existing::Refuse {
            place::free(&[&cert, &key]).map_err(|failure| failure.remedy("--replace renews it"))?;
        }
        let authority = Authority::load(&self.dir)?;
        let identity = PeerIdentity {
            role: self.role,
            name: self.name,
        };
        let made = authority.issue(&Request {
            identity: &identity,
            sans: &sans,
            days: self.days,
        })?;
        place::folder(out)?;
        place::write_pair(
            (&cert, made.cert.as_bytes()),
            (&key, made.key.as_bytes()),
            existing,
        )?;
        Ok(Written {
            ca: self.dir.join("ca.pem").display().to_string(),
            cert: Some(cert.display().to_string()),
            key: key.display().to_string(),
            identity: Some(identity.urn()),
            not_after: made.not_after,
        })
    }
}

impl Render for Written {
    fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, value: &str| text.push_str(&format!("{what:<10} {}\n", printable(value)));
        line("authority", &self.ca);
        if let Some(cert) = &self.cert {
            line("cert", cert);
        }
        line("key", &self.key);
        if let Some(identity) = &self.identity {
            line("identity", identity);
        }
        line("not after", &self.not_after);
        text
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_| {
        let known: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        format!("write one of {}", known.join(", "))
    })
}

fn parse_san(text: &str) -> Result<rcgen::SanType, Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(rcgen::SanType::IpAddress(address));
    }
    let host = text.trim_start_matches("*.");
    let well_formed = !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    match text.try_into() {
        Ok(name) if well_formed => Ok(rcgen::SanType::DnsName(name)),
        _ => Err(Failure::usage(format!("--san {text:?} is neither a host name nor an address"))
            .remedy("a name that is not ASCII is written in its xn-- form; a port or https:// does not belong here")),
    }
}
