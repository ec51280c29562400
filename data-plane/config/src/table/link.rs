//! `[control_plane]` of a node: which fleet it belongs to, and as whom (design section 5).

use std::path::PathBuf;

use crate::name::{NodeName, SiteName};

/// `[control_plane]` in a node's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneLink {
    /// At least one, each `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// Must match the certificate.
    pub node: NodeName,
    /// Where the node stands; empty when the file does not say.
    pub site: SiteName,
    /// Of the fleet's authority.
    pub ca: PathBuf,
    /// The node's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Holds the state file (promise N5, N6).
    pub state_dir: PathBuf,
}
