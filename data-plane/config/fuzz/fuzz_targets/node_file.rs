#![no_main]
//! Whatever a node's file holds: a configuration or findings, never a panic; every error names the file and a remedy, and
//! no finding shows a token or a password.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::{NodeConfig, Severity};

const SECRETS: &str =
    "\n[admin]\nbearer_token = \"hunter2\"\n[mapping.redis]\nurl = \"redis://:hunter2@h/0\"\n";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(findings) = NodeConfig::parse_of_another_machine(text, "proxy.toml") {
        assert!(findings.has_errors());
        for finding in findings.iter() {
            assert_eq!(finding.file, "proxy.toml");
            assert!(
                !finding.remedy.is_empty() && !finding.to_string().contains('\n'),
                "{finding}"
            );
        }
        let first_warning = findings.iter().position(|one| one.severity == Severity::Warning);
        assert!(
            first_warning.is_none() || findings.len() > 1,
            "a warning alone refuses nothing"
        );
    }
    // In front: what follows may be the rest of whatever was not closed.
    let secret = format!("{SECRETS}{text}");
    if !text.contains("hunter")
        && let Err(findings) = NodeConfig::parse_of_another_machine(&secret, "proxy.toml")
    {
        assert!(!findings.to_string().contains("hunter2"), "{findings}");
    }
});
