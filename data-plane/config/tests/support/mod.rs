//! A directory with the files that configurations name, and findings with its path written as `/etc/mailswitch`.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a module of tests, outside of a test function"
)]

use std::path::PathBuf;

use mailswitch_config::node::Environment;
use mailswitch_config::{Checked, Findings, NodeConfig};

/// What a file in the tests calls the directory.
pub const DIR: &str = "/etc/mailswitch";

pub struct Files(tempfile::TempDir);

impl Files {
    /// With a certificate, its key, an authority, and an empty mapping file.
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
        files.write("chain.pem", &made.cert.pem());
        files.write("key.pem", &made.signing_key.serialize_pem());
        files.write("moved.tsv", "");
        files.write("admin.token", "0123456789abcdef0123456789abcdef\n");
        files
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn node(&self, toml: &str) -> Result<Checked<NodeConfig>, Findings> {
        NodeConfig::parse(&self.here(toml), "proxy.toml", &Environment::default())
    }

    /// What is said about a node's file.
    pub fn about_node(&self, toml: &str) -> String {
        self.shown(self.node(toml))
    }

    pub fn shown<T>(&self, result: Result<Checked<T>, Findings>) -> String {
        let said = match result {
            Ok(checked) => checked.warnings,
            Err(findings) => findings,
        };
        said.to_string().replace(&self.path(), DIR)
    }

    pub fn here(&self, toml: &str) -> String {
        toml.replace(DIR, &self.path())
    }

    fn path(&self) -> String {
        self.0.path().display().to_string()
    }
}

/// A file that is in order, with nothing that is not needed. Lines start in column one for `with`.
pub const NODE: &str = r#"
[listener.imap]
protocol = "imap"
bind = ["127.0.0.1:1143"]
tls = "plain"
[destination.legacy]
host = "legacy.example.org"
[destination.legacy.protocol.imap]
port = 993
tls = "implicit"
[destination.new]
host = "new.example.org"
[destination.new.protocol.imap]
port = 993
tls = "implicit"
[routing]
default_destination = "legacy"
[mapping]
source = "file"
[mapping.file]
path = "/etc/mailswitch/moved.tsv"
"#;

/// `NODE` with a piece replaced, which has to be there.
pub fn with(old: &str, new: &str) -> String {
    assert!(NODE.contains(old), "{old:?} does not stand in the file");
    NODE.replacen(old, new, 1)
}

/// `NODE` with something behind it.
pub fn and(more: &str) -> String {
    format!("{NODE}{more}")
}
