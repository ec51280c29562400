//! The TOML tables of all three programs, and the one validator (design section 5).
//!
//! Three kinds of file, read by one reader into types that cannot hold what the rules forbid:
//! - a node's file, [`NodeConfig`]: alone with everything, or in a fleet with what belongs to the machine;
//! - a control plane's file, [`ControlPlaneConfig`];
//! - a fleet's file, [`FleetFile`]: what `mailswitchctl apply -f` takes. It is stored as [`Resource`]s, and a node
//!   makes of them the same [`FleetConfig`] that a node on its own reads from its file.
//!
//! Every check runs before anything is reported: [`Findings`] holds all of them, each with file, line, key, value
//! and what to write instead. No secret is ever part of one.

pub mod cidr;
pub mod control_plane;
#[cfg(test)]
mod documented;
pub mod duration;
mod file;
pub mod finding;
pub mod fleet;
pub mod mapping_file;
pub mod name;
pub mod node;
pub mod pattern;
mod pem;
pub mod protocol;
mod read;
pub mod resource;
mod rule;
pub mod secret;
pub mod table;

pub use cidr::Cidr;
pub use control_plane::ControlPlaneConfig;
pub use finding::{Finding, Findings, Severity};
pub use fleet::{FleetConfig, FleetFile};
pub use name::{CertificateName, DestinationName, ListenerName, NodeName, SiteName};
pub use node::{NodeConfig, Source};
pub use pem::names_of_leaf;
pub use protocol::{Forwarding, Protocol, TlsMode};
pub use resource::{Resource, ResourceKey};

/// What a file says, and what its reader wants to say about it without refusing it.
#[derive(Debug, Clone)]
pub struct Checked<T> {
    /// The configuration.
    pub config: T,
    /// Warnings only.
    pub warnings: Findings,
}
