//! `import` without a control plane: what is shown and written of the reference's three examples, conflicts, and what it
//! refuses. With one: `tests/e2e/joining.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data-plane/config/tests/examples");

macro_rules! golden {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

/// With a copy of an example, `proxy.toml`, and mappings.
fn folder(example: &str, mappings: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(format!("{EXAMPLES}/{example}.toml")).unwrap();
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    std::fs::write(folder.path().join("moved.tsv"), mappings).unwrap();
    folder
}

fn import(folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mailswitchctl"))
        .args(["import", "proxy.toml", "--node", "fra-1", "--files-only"])
        .args(more)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("MAILSWITCH_ENDPOINT", "https://cp1.example.org:7443")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        stdout(output),
        stderr(output)
    );
}

/// What is shown, and the two halves.
fn all_of(example: &str, mappings: &str, more: &[&str]) -> String {
    let folder = folder(example, mappings);
    let output = import(folder.path(), more);
    exits(&output, 0);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    format!(
        "{}---- node-fra-1.toml\n{}---- fleet.toml\n{}---- mappings.tsv\n{}",
        stdout(&output),
        read("node-fra-1.toml"),
        read("fleet.toml"),
        read("mappings.tsv")
    )
}

#[test]
fn a_file_source_with_both_login_forms_becomes_a_fleet_with_a_bare_domain() {
    let moved = "# moved\nann@shop.example\tfresh\nann\tfresh\nBob@shop.example\tfresh\tsince Monday\n@sales.example\tfresh\n";
    let more = [
        "--mappings",
        "moved.tsv",
        "--bare-domain",
        "shop.example",
        "--site",
        "fra",
    ];
    golden!("import-shop", all_of("shop", moved, &more));
}

#[test]
fn a_redis_source_with_entries_that_nobody_finds_becomes_a_fleet_without_them() {
    let moved =
        "kim@club.example v2\nkim v2\nLee@club.example v2\nwebadmin v1\nsam v3\nkim@club.example%root v1\n";
    golden!("import-club", all_of("club", moved, &["--mappings", "moved.tsv"]));
}

#[test]
fn an_sql_source_becomes_a_fleet() {
    golden!(
        "import-cluster",
        all_of("cluster", "ann@x.example n2\n", &["--mappings", "moved.tsv"])
    );
}

#[test]
fn conflicts_are_named_with_file_and_line_and_nothing_is_written() {
    let moved = "ann@shop.example fresh\n\nann dovecot\nbob fresh\n";
    let folder = folder("shop", moved);
    let output = import(
        folder.path(),
        &["--mappings", "moved.tsv", "--bare-domain", "shop.example"],
    );
    exits(&output, 3);
    let shown = stdout(&output);
    for line in [
        "conflicts: one identifier in a fleet, several destinations: 1\n  ann@shop.example\n",
        "    moved.tsv:1: ann@shop.example goes to \"fresh\"\n",
        "    moved.tsv:3: ann goes to \"dovecot\"\n",
        "not written: ",
    ] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
    assert_eq!(
        stderr(&output),
        "error: 1 conflict; nothing was done\n  correct the entries that are named above, and repeat the command\n"
    );
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 2, "proxy.toml and moved.tsv");
}

#[test]
fn a_dry_run_shows_the_same_and_writes_nothing() {
    let folder = folder("shop", "ann fresh\n");
    let tried = import(folder.path(), &["--mappings", "moved.tsv", "--dry-run"]);
    exits(&tried, 0);
    assert!(!folder.path().join("fleet.toml").exists());
    let done = import(folder.path(), &["--mappings", "moved.tsv"]);
    assert_eq!(stdout(&tried).replace("not written", "written"), stdout(&done));
}

#[test]
fn done_twice_it_is_done_once_and_what_is_there_otherwise_is_not_overwritten() {
    let folder = folder("shop", "ann fresh\n");
    for _ in 0..2 {
        exits(&import(folder.path(), &["--mappings", "moved.tsv"]), 0);
    }
    let fleet = folder.path().join("fleet.toml");
    std::fs::write(&fleet, "# mine\n").unwrap();
    let refused = import(folder.path(), &["--mappings", "moved.tsv"]);
    exits(&refused, 3);
    assert!(
        stderr(&refused).contains("fleet.toml is there already"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(std::fs::read_to_string(&fleet).unwrap(), "# mine\n");
    exits(
        &import(folder.path(), &["--mappings", "moved.tsv", "--replace"]),
        0,
    );
    assert_ne!(std::fs::read_to_string(&fleet).unwrap(), "# mine\n");
}

#[test]
fn what_is_made_of_a_file_is_read_by_nobody_who_may_not_read_it() {
    let folder = folder("shop", "");
    let proxy = folder.path().join("proxy.toml");
    std::fs::set_permissions(&proxy, std::fs::Permissions::from_mode(0o600)).unwrap();
    exits(&import(folder.path(), &["--mappings", "moved.tsv"]), 0);
    for name in ["node-fra-1.toml", "fleet.toml", "mappings.tsv"] {
        let mode = std::fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_its_line() {
    // As the proxy itself says it, all at once.
    let broken = folder("broken", "");
    let output = import(broken.path(), &["--mappings", "moved.tsv"]);
    exits(&output, 1);
    assert!(
        stderr(&output).matches("proxy.toml:").count() > 3,
        "{}",
        stderr(&output)
    );
    // A line without a destination, and one that names none.
    for (mappings, line) in [
        (
            "ann fresh\nbob\n",
            "moved.tsv:2: error: this line has no destination",
        ),
        (
            "\nann nowhere\n",
            "moved.tsv:2: error: \"nowhere\": there is no destination of this name",
        ),
    ] {
        let folder = folder("shop", mappings);
        let output = import(folder.path(), &["--mappings", "moved.tsv"]);
        exits(&output, 1);
        assert!(stderr(&output).contains(line), "{}", stderr(&output));
    }
    // The mappings are somewhere else.
    let shop = folder("shop", "");
    let output = import(shop.path(), &[]);
    exits(&output, 3);
    assert!(stderr(&output).contains("--mappings FILE"), "{}", stderr(&output));
}

#[test]
fn the_proxys_own_file_is_never_overwritten() {
    let folder = folder("shop", "");
    std::fs::rename(folder.path().join("proxy.toml"), folder.path().join("fleet.toml")).unwrap();
    std::os::unix::fs::symlink("fleet.toml", folder.path().join("proxy.toml")).unwrap();
    let before = std::fs::read_to_string(folder.path().join("fleet.toml")).unwrap();
    let output = import(folder.path(), &["--mappings", "moved.tsv", "--replace"]);
    exits(&output, 1);
    assert!(stderr(&output).contains("not overwritten"), "{}", stderr(&output));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("fleet.toml")).unwrap(),
        before
    );
}
