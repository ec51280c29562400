//! What needs no control plane: usage, settings, certificates, checking files, completion.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use mailswitch_proto::channel::{Credentials, Files, Role};

fn ctl(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailswitchctl"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder);
    command
}

fn said(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    let stream = if code == 0 { output.stdout } else { output.stderr };
    String::from_utf8(stream).unwrap()
}

#[test]
fn every_usage_error_is_1_because_2_is_what_diff_says() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &[][..],
        &["frobnicate"],
        &["cutover", "alice"],
        &[
            "cutover",
            "alice",
            "--from",
            "a",
            "--to",
            "b",
            "--max-hold",
            "soon",
        ],
        &["node", "forget", "fra-1"],
        &["session", "kick"],
        &["apply"],
        &["apply", "-f", "a.toml", "b.toml"],
        &["check"],
        &["session", "kick", "alice", "--session", "s-1"],
        &["operation", "watch", "not-an-id"],
        &["mapping", "set", "alice", "new", "--idempotency-key", "7"],
        &["status", "--output", "yaml"],
        &["status"],
    ] {
        ctl(folder.path(), wrong).assert().code(1).stdout("");
    }
    for right in [
        &["--help"][..],
        &["--version"],
        &["help", "cutover"],
        &["cutover", "--help"],
    ] {
        ctl(folder.path(), right).assert().code(0);
    }
}

#[test]
fn help_lists_every_exit_code_and_says_that_there_is_no_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let help = said(&mut ctl(folder.path(), &["--help"]), 0);
    for line in [
        "0  done",
        "2  differs",
        "5  outcome unknown",
        "7  not proven",
        "130  interrupted",
        "no YAML",
    ] {
        assert!(help.contains(line), "{line}:\n{help}");
    }
}

#[test]
fn missing_settings_are_named_with_every_way_to_give_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = said(&mut ctl(folder.path(), &["status"]), 1);
    for way in ["--endpoint", "MAILSWITCH_ENDPOINT", "config.toml"] {
        assert!(text.contains(way), "{way}: {text}");
    }
    let text = said(
        ctl(folder.path(), &["status", "--endpoint", "https://localhost:1"]).env("MAILSWITCH_CA", "x"),
        1,
    );
    assert!(text.contains("--cert"), "{text}");
}

#[test]
fn a_profile_says_what_flags_do_not_and_its_paths_start_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join(".config/mailswitch");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(
        config.join("config.toml"),
        "[profile.default]\nendpoints = [\"https://127.0.0.1:1\"]\nca = \"ca.pem\"\ncert = \"me.pem\"\nkey = \"me.key\"\n",
    )
    .unwrap();
    let text = said(&mut ctl(folder.path(), &["status"]), 1);
    let beside = config.join("ca.pem").display().to_string();
    assert!(text.contains(&beside), "{text}");
    let text = said(&mut ctl(folder.path(), &["status", "--ca", "other.pem"]), 1);
    assert!(text.contains("error: other.pem"), "{text}");
    let text = said(&mut ctl(folder.path(), &["status", "--profile", "lab"]), 1);
    assert!(text.contains("there is no [profile.lab]"), "{text}");
    std::fs::write(config.join("config.toml"), "[profile.default]\nendpoint = 1\n").unwrap();
    let text = said(&mut ctl(folder.path(), &["status"]), 1);
    assert!(
        text.contains("config.toml") && text.contains("endpoint"),
        "{text}"
    );
}

#[test]
fn every_role_gets_a_certificate_that_works_and_a_key_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join("pki").join(name);
    ctl(folder.path(), &["pki", "init", "pki"]).assert().code(0);
    for role in Role::ALL {
        let role = role.as_str();
        let issue = [
            "pki",
            "issue",
            role,
            "a-1",
            "--dir",
            "pki",
            "--san",
            "cp.example.org,127.0.0.1,::1",
            "-o",
            "json",
        ];
        let json: serde_json::Value =
            serde_json::from_str(&said(&mut ctl(folder.path(), &issue), 0)).unwrap();
        assert_eq!(json["identity"], format!("urn:mailswitch:{role}:a-1"));
        let key = path(&format!("{role}-a-1.key"));
        assert_eq!(
            std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let cert = path(&format!("{role}-a-1.pem"));
        let credentials = Credentials::load(Files {
            ca: path("ca.pem"),
            cert,
            key,
        })
        .unwrap();
        assert_eq!(credentials.identity().urn(), format!("urn:mailswitch:{role}:a-1"));
    }
    assert_eq!(
        std::fs::metadata(path("ca.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn nothing_of_the_authority_is_overwritten_unless_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(folder.path().join("pki").join(name)).unwrap();
    let issue = ["pki", "issue", "node", "fra-1", "--dir", "pki"];
    let text = said(&mut ctl(folder.path(), &issue), 3);
    assert!(text.contains("pki init"), "{text}");
    ctl(folder.path(), &["pki", "init", "pki"]).assert().code(0);
    let before = (read("ca.pem"), read("ca.key"));
    let text = said(&mut ctl(folder.path(), &["pki", "init", "pki"]), 3);
    assert!(text.contains("ca.pem is there already"), "{text}");
    assert_eq!(before, (read("ca.pem"), read("ca.key")));

    ctl(folder.path(), &issue).assert().code(0);
    let before = (read("node-fra-1.pem"), read("node-fra-1.key"));
    let text = said(&mut ctl(folder.path(), &issue), 3);
    assert!(text.contains("--replace"), "{text}");
    assert_eq!(before, (read("node-fra-1.pem"), read("node-fra-1.key")));
    let renew: Vec<_> = issue.iter().chain(&["--replace"]).copied().collect();
    ctl(folder.path(), &renew).assert().code(0);
    assert!(before.0 != read("node-fra-1.pem") && before.1 != read("node-fra-1.key"));
    let left: Vec<_> = std::fs::read_dir(folder.path().join("pki")).unwrap().collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_certificate_that_nobody_could_use_is_refused_before_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    ctl(folder.path(), &["pki", "init", "."]).assert().code(0);
    for wrong in [
        &["pki", "issue", "control-plane", "cp-1"][..],
        &["pki", "issue", "control-plane", "cp-1", "--san", "https://cp-1"],
        &["pki", "issue", "control-plane", "cp-1", "--san", "cp-1:7443"],
        &["pki", "issue", "control-plane", "cp-1", "--san", "bücher.example"],
        &["pki", "issue", "king", "arthur"],
        &["pki", "issue", "node", "../fra-1"],
        &["pki", "issue", "node", "fra-1", "--days", "0"],
    ] {
        ctl(folder.path(), wrong).assert().code(1).stdout("");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn check_says_everything_that_is_wrong_in_all_files_and_exits_1() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "fleet.toml",
        "[destination.legacy]\nprotocol = { imap = { port = 143, tls = \"sideways\" } }\n[routing]\ndefault = \"lost\"\n",
    );
    write("broken.toml", "[server\nhostname = 1\n");
    let output = ctl(folder.path(), &["check", "-f", "fleet.toml", "-f", "broken.toml"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "fleet.toml:2: error: ",
        "sideways",
        "fleet.toml:4: ",
        "broken.toml:1: error: ",
        "(a node's file): cannot be used",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    let output = ctl(folder.path(), &["check", "-f", "fleet.toml", "-o", "json"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["files"][0]["kind"], &json["files"][0]["usable"]),
        (&"fleet".into(), &false.into())
    );
    ctl(folder.path(), &["check", "-f", "absent.toml"])
        .assert()
        .code(1)
        .stdout("");
}

#[test]
fn check_probes_what_a_good_file_names_unless_it_is_told_not_to() {
    let folder = tempfile::tempdir().unwrap();
    // A port that nobody has.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let fleet = format!(
        "[destination.legacy]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
         [destination.legacy.protocol]\nimap = {{ port = {port}, tls = \"plain\" }}\n\
         [routing]\ndefault_destination = \"legacy\"\n"
    );
    std::fs::write(folder.path().join("fleet.toml"), fleet).unwrap();
    let check = ["check", "-f", "fleet.toml"];
    let output = ctl(folder.path(), &check).assert().code(1).get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "fleet.toml (the fleet's file): can be used",
        &format!("✗ nobody listens at 127.0.0.1:{port}"),
        "start the server, or correct destination.legacy.protocol.imap.port",
        "probes: 0 as it should be, 2 warnings, 1 failed",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    let text = said(&mut ctl(folder.path(), &["check", "fleet.toml", "--offline"]), 0);
    assert!(!text.contains("probes"), "{text}");
}

#[test]
fn check_probes_what_a_site_changes_and_names_the_site_and_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    };
    let (everywhere, at_site) = (free(), free());
    let fleet = format!(
        "[destination.legacy]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
         [destination.legacy.protocol]\nimap = {{ port = {everywhere}, tls = \"plain\" }}\n\
         [site.fra.destination.legacy.protocol.imap]\nport = {at_site}\n\
         [site.ber.destination.legacy]\nhost = \"127.0.0.1\"\n\
         [routing]\ndefault_destination = \"legacy\"\n"
    );
    std::fs::write(folder.path().join("fleet.toml"), fleet).unwrap();
    let check = ["check", "-f", "fleet.toml"];
    let output = ctl(folder.path(), &check).assert().code(1).get_output().clone();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        &format!("destination legacy: imap at 127.0.0.1:{everywhere}, plain\n"),
        &format!("destination legacy at site fra: imap at 127.0.0.1:{at_site}, plain\n"),
        &format!("✗ nobody listens at 127.0.0.1:{at_site}"),
        "or correct site.fra.destination.legacy.protocol.imap.port",
        "legacy at site fra: not known",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    // What is the same there is probed once.
    assert!(!text.contains("site ber"), "{text}");
}

#[test]
fn check_without_a_file_says_that_it_needs_one_and_one_that_is_not_utf_8_is_reported_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = ctl(folder.path(), &["check"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("nothing says what to check") && text.contains("mailswitchctl check --file FILE"),
        "{text}"
    );
    let bytes = b"[server]\nhostname = \"m\xfcller\"\n[listener.a]\n";
    std::fs::write(folder.path().join("latin.toml"), bytes).unwrap();
    let output = ctl(folder.path(), &["check", "latin.toml"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("latin.toml:2: error: this file is not UTF-8"),
        "{text}"
    );
}

#[test]
fn every_shell_gets_its_completion() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&mut ctl(folder.path(), &["completion", shell]), 0);
        assert!(script.contains("cutover"), "{shell}");
    }
}

#[test]
fn the_manual_has_every_verb_every_exit_code_and_every_variable() {
    use clap::CommandFactory as _;
    let manual = include_str!("../../docs/mailswitchctl.md");
    let command = mailswitchctl::arguments::Arguments::command();
    let headings: Vec<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let headed = |verb: &str| {
        headings
            .iter()
            .any(|heading| heading.split(", ").any(|part| part == verb))
    };
    for verb in command.get_subcommands() {
        assert!(headed(verb.get_name()), "no heading for {}", verb.get_name());
        for more in verb.get_subcommands() {
            let both = format!("{} {}", verb.get_name(), more.get_name());
            assert!(manual.contains(&format!("`{both}")), "{both}");
        }
    }
    for variable in command.get_arguments().filter_map(|argument| argument.get_env()) {
        assert!(manual.contains(variable.to_str().unwrap()), "{variable:?}");
    }
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130"] {
        assert!(manual.contains(&format!("\n| {code} | ")), "{code}");
    }
    for variable in mailswitchctl::verb::cutover::HOOKS
        .split_whitespace()
        .filter(|word| word.starts_with("MAILSWITCH_"))
    {
        assert!(manual.contains(variable), "{variable}");
    }
}

#[test]
fn no_time_at_all_is_not_taken_for_the_fleets_own() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--max-hold", "--drain-timeout"] {
        let all = ["cutover", "alice", "--from", "a", "--to", "b", flag, "0s"];
        let said = said(&mut ctl(folder.path(), &all), 1);
        assert!(said.contains(flag) && said.contains("no time at all"), "{said}");
    }
}

#[test]
fn a_nodes_api_is_asked_with_a_token_over_tls_and_never_without_saying_whom() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let node = ["--node-api", "https://127.0.0.1:1", "--token-file", "token"];
    let with = |arguments: &[&str]| {
        let mut all = node.to_vec();
        all.extend(arguments);
        ctl(folder.path(), &all)
    };
    for (arguments, code, word) in [
        (&["status"][..], 3, "no connection to https://127.0.0.1:1"),
        (&["node", "list"], 1, "node needs a control plane"),
        (&["mapping", "list"], 1, "cannot list"),
        (&["session", "list"], 1, "does not list sessions"),
        (&["cutover", "alice", "--from", "a", "--to", "b"], 3, "--also"),
        (
            &[
                "cutover",
                "alice",
                "--from",
                "a",
                "--to",
                "b",
                "--single",
                "--max-hold",
                "5m",
            ],
            1,
            "from 10s to 120s",
        ),
        (&["--node-pin", "ab", "status"], 1, "not 64 hex digits"),
    ] {
        let error = said(&mut with(arguments), code);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    for (url, word) in [
        ("http://127.0.0.1:1", "is no address of a management API"),
        ("https://127.0.0.1:1/path", "is no address of a management API"),
        ("127.0.0.1:9443", "is no address of a management API"),
    ] {
        let error = said(&mut ctl(folder.path(), &["--node-api", url, "status"]), 1);
        assert!(error.contains(word), "{url}: {error}");
    }
    let error = said(
        &mut ctl(folder.path(), &["--node-api", "https://127.0.0.1:1", "status"]),
        1,
    );
    assert!(error.contains("nothing gives the node's token"), "{error}");
    // Only a node delays logins, and only it is told which logins belong together.
    for arguments in [
        &["session", "delay", "alice", "30"][..],
        &["cutover", "alice", "--from", "a", "--to", "b", "--also", "al"],
    ] {
        let error = said(&mut ctl(folder.path(), arguments), 1);
        assert!(error.contains("--node-api"), "{error}");
    }
}
