//! `[control_plane]` of a node: which fleet it belongs to, and as whom (design section 5).

use std::path::PathBuf;

use crate::name::{NodeName, SiteName};
use crate::pem;
use crate::read::{Files, TableReader, url, value};

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

impl ControlPlaneLink {
    pub(crate) fn read(mut table: TableReader<'_, '_>) -> Option<Self> {
        let endpoints = read_endpoints(&mut table);
        let node = table.require(
            "node",
            "write the name in the node's certificate, such as \"fra-1\"",
            value::filled,
        );
        let site = table.get("site", value::filled).unwrap_or_default();
        let identity = Identity::read(&mut table);
        let state_dir = table.require(
            "state_dir",
            "name a directory of the node's own, such as \"/var/lib/mailswitch/node\"",
            value::filled,
        );
        table.finish();
        let identity = identity?;
        Some(Self {
            endpoints,
            node: node?.into(),
            site: site.into(),
            ca: identity.ca,
            cert: identity.cert,
            key: identity.key,
            state_dir: state_dir?.into(),
        })
    }
}

/// `ca`, `cert` and `key`: who a program of the fleet is to the others.
pub(crate) struct Identity {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    pub(crate) fn read(table: &mut TableReader<'_, '_>) -> Option<Self> {
        const MADE_BY: &str = "which `mailswitchctl pki` makes";
        let mut file = |key, what: &str| {
            let remedy = format!("name the PEM file of {what}, {MADE_BY}");
            table.require(key, &remedy, value::filled).map(PathBuf::from)
        };
        let ca = file("ca", "the fleet's authority");
        let cert = file("cert", "this program's certificate");
        let key = file("key", "this program's key");
        if table.report.files == Files::Here {
            if let Some(ca) = &ca {
                pem::check_authorities(table.report, &table.at("ca"), ca);
            }
            if let (Some(cert), Some(key)) = (&cert, &key) {
                pem::check_pair(table.report, &[table.at("cert"), table.at("key")], cert, key);
            }
        }
        Some(Self {
            ca: ca?,
            cert: cert?,
            key: key?,
        })
    }
}

fn read_endpoints(table: &mut TableReader<'_, '_>) -> Vec<String> {
    const EXAMPLE: &str = "https://cp1.example.org:7443";
    let remedy = format!("write at least one address of a control plane: [\"{EXAMPLE}\"]");
    if !table.has("endpoints") {
        table
            .report
            .missing(&table.at("endpoints"), "this key is required", remedy);
        return Vec::new();
    }
    let endpoints = table.list("endpoints", |node| url::http(node, &["https"], EXAMPLE));
    if endpoints.as_ref().is_some_and(Vec::is_empty) && !table.report.has_errors_under(&table.at("endpoints"))
    {
        table.report.error(
            &table.at("endpoints"),
            "there is no control plane to connect to",
            remedy,
        );
    }
    endpoints.unwrap_or_default()
}
