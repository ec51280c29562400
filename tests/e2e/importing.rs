//! `mailswitchctl import` of a single proxy's file: its mappings are read from the real Redis, PostgreSQL or MariaDB that
//! the file names; and what it does, refuses and repeats in front of a running control plane.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use mailswitch_tests::{
    fleet::{ControlPlane, Plan, program},
    mariadb::MariaDb,
    place::Place,
    postgres::Postgres,
    redis::Redis,
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data-plane/config/tests/examples");

/// The reference's example, with these changes, as `proxy.toml` in a folder of its own.
fn proxy(place: &Place, name: &str, example: &str, changes: &[(&str, &str)]) -> Result<PathBuf> {
    let folder = place.folder(name)?;
    let mut text = std::fs::read_to_string(format!("{EXAMPLES}/{example}.toml"))?;
    for (from, to) in changes {
        anyhow::ensure!(text.contains(from), "{from}: {text}");
        text = text.replace(from, to);
    }
    std::fs::write(folder.join("proxy.toml"), text)?;
    Ok(folder)
}

/// Only the files; no control plane runs.
fn import(folder: &Path, more: &[&str]) -> Result<Output> {
    Ok(Command::new(program("mailswitchctl")?)
        .args(["import", "proxy.toml", "--node", "fra-1", "--files-only"])
        .args(more)
        .current_dir(folder)
        .env("HOME", folder)
        .env("MAILSWITCH_ENDPOINT", "https://cp1.example.org:7443")
        .output()?)
}

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn mappings(folder: &Path) -> Result<String> {
    std::fs::read_to_string(folder.join("mappings.tsv")).context("the mappings")
}

#[test]
fn the_mappings_of_a_proxy_with_redis_are_listed_there() -> Result<()> {
    let place = Place::new()?;
    let redis = Redis::start(&place, None)?;
    for (key, destination) in [
        ("kim@club.example", "v2"),
        ("kim", "v2"),
        ("Lee@club.example", "v2"),
        ("webadmin", "v1"),
        ("sam", "v3"),
        ("kim@club.example%root", "v1"),
    ] {
        redis.ask(&["SET", &format!("route:{key}"), destination])?;
    }
    redis.ask(&["SADD", "route:set", "v2"])?;
    let url = format!("{}/0", redis.url());
    let folder = proxy(&place, "club", "club", &[("redis://127.0.0.1:6379/0", &url)])?;
    let done = import(&folder, &[])?;
    says(
        &done,
        0,
        &[
            "listing the keys \"route:*\" of redis://",
            "7 entries become 3 mappings",
            "key route:Lee@club.example: Lee@club.example: no login finds it: logins are looked up in lower case",
            "key route:sam: sam: there is no destination \"v3\"",
            "key route:set: set: the key holds something else than a string, so it goes to the default destination today",
            "kim@club.example%root: no login finds it: logins are cut at the master-user separator",
        ],
    );
    assert_eq!(
        mappings(&folder)?,
        "kim\tv2\nkim@club.example\tv2\nwebadmin\tv1\n"
    );

    // What is written by hand comes before what the store has.
    std::fs::write(folder.join("mine.tsv"), "zoe v2\n")?;
    says(
        &import(&folder, &["--mappings", "mine.tsv", "--replace"])?,
        0,
        &["1 entry becomes 1 mapping"],
    );
    assert_eq!(mappings(&folder)?, "zoe\tv2\n");
    says(
        &import(&folder, &["--list-query", "SELECT 1"])?,
        1,
        &["--list-query is for mappings in a database"],
    );
    Ok(())
}

#[test]
fn a_store_that_is_away_stops_the_import_without_its_password_in_the_error() -> Result<()> {
    let place = Place::new()?;
    let nobody = place.port(place.server())?;
    let url = format!("redis://:hunter2@{nobody}/0");
    let folder = proxy(&place, "club", "club", &[("redis://127.0.0.1:6379/0", &url)])?;
    let refused = import(&folder, &[])?;
    says(
        &refused,
        3,
        &[
            "the mappings cannot be listed; nothing was done",
            "--mappings FILE",
        ],
    );
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("hunter2"));
    assert!(!folder.join("fleet.toml").exists());
    Ok(())
}

const TABLE: &str = "CREATE TABLE placement (login VARCHAR(200) PRIMARY KEY, node VARCHAR(200));
    INSERT INTO placement VALUES ('ann@x.example', 'n2'), ('Bob@x.example', 'n2'), ('cyd@x.example', 'n1');";
const URL: &str = "postgres://router:hunter2@db.lan.example/mail";
const QUERY: &str = "SELECT node FROM placement WHERE login = $1";

#[test]
fn the_mappings_of_a_proxy_with_postgresql_are_listed_with_a_statement_made_of_its_query() -> Result<()> {
    let place = Place::new()?;
    let postgres = Postgres::start(&place)?;
    postgres.sql("mailswitch", TABLE)?;
    let folder = proxy(&place, "cluster", "cluster", &[(URL, &postgres.url())])?;
    says(
        &import(&folder, &[])?,
        0,
        &[
            "SELECT login FROM placement",
            "3 entries become 2 mappings",
            "row Bob@x.example: bob@x.example: mapping.sql.query finds nothing for bob@x.example, so it goes to the default",
        ],
    );
    assert_eq!(mappings(&folder)?, "ann@x.example\tn2\ncyd@x.example\tn1\n");

    // A query that does more cannot be turned round; each login that a statement lists is asked for with it.
    let more =
        "SELECT CASE WHEN login LIKE 'c%' THEN 'n2' ELSE node END FROM placement WHERE lower(login) = $1";
    let folder = proxy(
        &place,
        "more",
        "cluster",
        &[(URL, &postgres.url()), (QUERY, more)],
    )?;
    says(&import(&folder, &[])?, 3, &["--list-query 'SELECT login FROM …'"]);
    says(
        &import(&folder, &["--list-query", "SELECT login FROM placement"])?,
        0,
        &["3 entries become 3 mappings"],
    );
    assert_eq!(
        mappings(&folder)?,
        "ann@x.example\tn2\nbob@x.example\tn2\ncyd@x.example\tn2\n"
    );
    says(
        &import(&folder, &["--list-query", "SELECT login FROM elsewhere"])?,
        3,
        &["elsewhere"],
    );
    Ok(())
}

#[test]
fn the_mappings_of_a_proxy_with_mariadb_are_those_that_its_collation_finds() -> Result<()> {
    let place = Place::new()?;
    let mariadb = MariaDb::start(&place, None)?;
    mariadb.sql(&format!("USE mail; {TABLE}"))?;
    let query = QUERY.replace("$1", "?");
    let folder = proxy(
        &place,
        "cluster",
        "cluster",
        &[(URL, &mariadb.url()), (QUERY, &query)],
    )?;
    says(&import(&folder, &[])?, 0, &["3 entries become 3 mappings"]);
    assert_eq!(
        mappings(&folder)?,
        "ann@x.example\tn2\nbob@x.example\tn2\ncyd@x.example\tn1\n"
    );
    Ok(())
}

/// What `import` says to a control plane that runs.
fn into(control_plane: &ControlPlane, folder: &Path, more: &[&str]) -> Result<Output> {
    let (file, folder) = (folder.join("proxy.toml"), folder.display().to_string());
    let given = [
        "--mappings",
        "moved.tsv",
        "--node",
        "fra-1",
        "--into",
        &folder,
        "--reason",
        "test",
    ];
    let file = file.display().to_string();
    let arguments = [&["import", file.as_str()][..], &given, more].concat();
    let mut command = control_plane.ctl_command(&arguments);
    Ok(command.current_dir(&folder).output()?)
}

fn revision(control_plane: &ControlPlane) -> Result<u64> {
    let status = control_plane
        .ctl(&["status", "--output", "json"])?
        .expect(0)?
        .json()?;
    let revision = status.pointer("/revision").and_then(serde_json::Value::as_u64);
    revision.with_context(|| status.to_string())
}

#[test]
fn a_fleet_gets_what_it_lacks_once_and_one_that_has_something_else_is_not_changed() -> Result<()> {
    let place = Place::new()?;
    let plan = Plan {
        nodes: 0,
        ..Plan::default()
    };
    let mut control_plane = ControlPlane::start(&place, &plan)?;
    let folder = proxy(&place, "shop", "shop", &[])?;
    std::fs::write(
        folder.join("moved.tsv"),
        "ann@shop.example fresh\nbob@shop.example fresh\n",
    )?;

    let before = revision(&control_plane)?;
    says(
        &into(&control_plane, &folder, &["--dry-run"])?,
        0,
        &["the fleet lacks", "and 2 mappings", "not written"],
    );
    assert_eq!(
        (revision(&control_plane)?, folder.join("fleet.toml").exists()),
        (before, false)
    );
    says(
        &into(&control_plane, &folder, &[])?,
        0,
        &[
            "the fleet: configuration applied at revision",
            "mappings imported at revision",
        ],
    );
    // The second time there is nothing to do.
    let after = revision(&control_plane)?;
    says(
        &into(&control_plane, &folder, &[])?,
        0,
        &["the fleet has all of it already"],
    );
    assert_eq!(revision(&control_plane)?, after);

    // Another proxy of the same place, whose file and mappings differ.
    let other = proxy(
        &place,
        "other",
        "shop",
        &[("fresh.lan.example", "other.lan.example")],
    )?;
    std::fs::write(
        other.join("moved.tsv"),
        "ann@shop.example dovecot\ncyd@shop.example fresh\n",
    )?;
    let refused = into(&control_plane, &other, &[])?;
    says(
        &refused,
        3,
        &[
            "the fleet has something else already; nothing was done",
            "destination.fresh.host",
            "other.lan.example",
            "ann@shop.example: it goes to \"fresh\" there, and to \"dovecot\" in the proxy",
            "--files-only writes the node's file alone",
        ],
    );
    assert!(!other.join("fleet.toml").exists());
    assert_eq!(revision(&control_plane)?, after);

    // A mapping that the fleet would only move by a cutover: what is done before it is said.
    let accounts = place.path().join("accounts.txt");
    std::fs::write(&accounts, "eve@shop.example\n")?;
    let accounts = accounts.display().to_string();
    control_plane
        .ctl(&["account", "import", &accounts, "--reason", "test"])?
        .expect(0)?;
    std::fs::write(folder.join("moved.tsv"), "eve@shop.example fresh\n")?;
    let refused = into(&control_plane, &folder, &["--replace"])?;
    says(&refused, 3, &["eve@shop.example"]);

    // Nobody answers: nothing is written either.
    control_plane.kill()?;
    let late = proxy(&place, "late", "shop", &[])?;
    std::fs::write(late.join("moved.tsv"), "")?;
    let lost = into(&control_plane, &late, &[])?;
    assert_ne!(lost.status.code(), Some(0));
    assert!(!late.join("fleet.toml").exists());
    Ok(())
}
