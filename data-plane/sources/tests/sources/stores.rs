//! What every store does alike, each with its real server: answer, take changes, freeze, die, come back.

use std::process::Command;
use std::time::Duration;

use mailswitch_config::secret::StoreUrl;
use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_sources::{Mappings, OpenError, Origin, Removal, StoreError};
use mailswitch_tests::place::Place;
use mailswitch_tests::redis::Redis;
use nix::sys::signal::Signal;

use crate::rig::{fleet, goes_to, login, named, open, open_with, who};
use crate::servers::{Server, Sqlite, changed, mariadb, mariadb_at, postgres, postgres_at, redis_at};

/// Nothing is cached, and errors count for no longer than a moment: every look asks the store.
pub(crate) fn always_asked(store: MappingStore) -> Mapping {
    Mapping {
        positive_ttl: Duration::ZERO,
        negative_ttl: Duration::from_millis(1),
        lookup_timeout: Duration::from_millis(700),
        ..Mapping::new(store)
    }
}

async fn origin(mappings: &Mappings, of: &str) -> (String, Origin) {
    let found = login(mappings, of).await;
    (found.destination.unwrap().to_string(), found.origin)
}

/// Asks until the store is asked again.
async fn until_it_answers(mappings: &Mappings, of: &str) {
    for _ in 0..200 {
        if matches!(
            login(mappings, of).await.origin,
            Origin::Mapping | Origin::Default
        ) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store is not asked again");
}

/// Read, written, removed; nothing, an empty name, an undeclared one.
async fn answers_and_takes_changes(store: MappingStore, write: &dyn Fn(&str, &str)) {
    let mappings = open(store.clone()).await.unwrap();
    let (ann, new) = (who("ann@x.example"), named("new"));
    assert_eq!(
        origin(&mappings, "ann@x.example").await,
        ("old".into(), Origin::Default)
    );
    mappings.put(&ann, &new).await.unwrap();
    assert_eq!(
        origin(&mappings, "ann@x.example").await,
        ("new".into(), Origin::Mapping)
    );
    mappings.put(&ann, &named("old")).await.unwrap();
    assert_eq!(
        origin(&mappings, "ann@x.example").await,
        ("old".into(), Origin::Mapping)
    );
    // Another proxy on the same store sees it.
    let other = open(store).await.unwrap();
    assert_eq!(
        origin(&other, "ann@x.example").await,
        ("old".into(), Origin::Mapping)
    );
    assert_eq!(mappings.delete(&ann).await.unwrap(), Removal::Removed);
    assert_eq!(mappings.delete(&ann).await.unwrap(), Removal::Absent);
    assert_eq!(
        origin(&mappings, "ann@x.example").await,
        ("old".into(), Origin::Default)
    );

    write("empty", "");
    assert_eq!(origin(&mappings, "empty").await, ("old".into(), Origin::Default));
    write("astray", "nowhere");
    assert_eq!(origin(&mappings, "astray").await, ("old".into(), Origin::Default));
    write("o'neil;--", "new");
    // Writing behind our back is noticed at the end of an answer's life, or when it is dropped.
    assert_eq!(
        origin(&mappings, "o'neil;--").await,
        ("new".into(), Origin::Mapping)
    );
    mappings.reload().await.unwrap();
    assert!(
        login(&mappings, "o'neil;--").await.cached,
        "there is nothing to read anew"
    );
}

/// NULL is nothing; a column of the table `others` that is no text is no name.
async fn takes_text_alone(store: MappingStore, parameter: &str) {
    let mappings = open(store.clone()).await.unwrap();
    assert_eq!(origin(&mappings, "null").await, ("old".into(), Origin::Default));
    for (column, expected) in [
        ("node", ("new", Origin::Mapping)),
        ("number", ("old", Origin::Error)),
    ] {
        let other = changed(store.clone(), |sql| {
            sql.query = format!("SELECT {column} FROM others WHERE login = {parameter}");
        });
        let mappings = open(other).await.unwrap();
        assert_eq!(origin(&mappings, "ann").await, (expected.0.into(), expected.1));
    }
}

/// What is remembered is used; who is not remembered goes to the default; and all is well again afterwards.
async fn freezes_dies_and_comes_back(mut server: impl Server) {
    server.write("ann", "new").unwrap();
    server.write("bob", "new").unwrap();
    let mapping = always_asked(server.store());
    let mappings = open_with(&mapping, &fleet()).await.unwrap();
    assert_eq!(origin(&mappings, "ann").await, ("new".into(), Origin::Mapping));

    server.signal(Signal::SIGSTOP).unwrap();
    assert_eq!(
        origin(&mappings, "ann").await,
        ("new".into(), Origin::RememberedMapping)
    );
    assert_eq!(origin(&mappings, "bob").await, ("old".into(), Origin::Error));
    let refused = mappings
        .put(&who("ann"), &named("old"))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("did not answer within 700 ms"), "{refused}");
    assert_eq!(
        origin(&mappings, "ann").await.0,
        "new",
        "nobody knows whether it was written"
    );
    server.signal(Signal::SIGCONT).unwrap();
    until_it_answers(&mappings, "ann").await;
    mappings.put(&who("ann"), &named("new")).await.unwrap();
    assert_eq!(origin(&mappings, "ann").await, ("new".into(), Origin::Mapping));
    assert_eq!(goes_to(&mappings, "bob").await, "new");

    server.kill().unwrap();
    assert_eq!(
        origin(&mappings, "ann").await,
        ("new".into(), Origin::RememberedMapping)
    );
    assert_eq!(origin(&mappings, "cyd").await, ("old".into(), Origin::Error));
    let refused = mappings.delete(&who("ann")).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be reached"), "{refused}");
    assert_eq!(
        origin(&mappings, "ann").await,
        ("new".into(), Origin::RememberedMapping)
    );
    let unreachable = open_with(&mapping, &fleet()).await.unwrap_err();
    assert!(
        matches!(
            &unreachable,
            OpenError::Store {
                source: StoreError::Unreachable(_) | StoreError::TimedOut(_),
                ..
            }
        ),
        "{unreachable:?}"
    );
    assert!(!unreachable.to_string().contains("sesame") && !unreachable.to_string().contains(":pw@"));

    server.restart().unwrap();
    until_it_answers(&mappings, "ann").await;
    assert_eq!(origin(&mappings, "ann").await, ("new".into(), Origin::Mapping));
    mappings.put(&who("cyd"), &named("new")).await.unwrap();
    assert_eq!(origin(&mappings, "cyd").await, ("new".into(), Origin::Mapping));
}

#[tokio::test]
async fn redis_answers_and_takes_changes() {
    let place = Place::new().unwrap();
    let redis = Redis::start(&place, None).unwrap();
    answers_and_takes_changes(redis.store(), &|login, to| redis.write(login, to).unwrap()).await;
    redis.ask(&["-n", "3", "SADD", "route:set", "new"]).unwrap();
    let mappings = open(redis.store()).await.unwrap();
    assert_eq!(origin(&mappings, "set").await, ("old".into(), Origin::Error));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_freezes_dies_and_comes_back() {
    let place = Place::new().unwrap();
    freezes_dies_and_comes_back(Redis::start(&place, None).unwrap()).await;
}

#[tokio::test]
async fn postgresql_answers_and_takes_changes() {
    let place = Place::new().unwrap();
    let postgres = postgres(&place);
    answers_and_takes_changes(postgres.store(), &|login, to| {
        postgres.write(&login.replace('\'', "''"), to).unwrap();
    })
    .await;
    postgres
        .sql(
            "mailswitch",
            "INSERT INTO placement VALUES ('null', NULL);
             CREATE TYPE node AS ENUM ('new', 'old');
             CREATE TABLE others (login text, node node, number int);
             INSERT INTO others VALUES ('ann', 'new', 7)",
        )
        .unwrap();
    takes_text_alone(postgres.store(), "$1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_freezes_dies_and_comes_back() {
    let place = Place::new().unwrap();
    freezes_dies_and_comes_back(postgres(&place)).await;
}

#[tokio::test]
async fn mariadb_answers_and_takes_changes() {
    let place = Place::new().unwrap();
    let mariadb = mariadb(&place);
    answers_and_takes_changes(mariadb.store(), &|login, to| {
        mariadb.write(&login.replace('\'', "''"), to).unwrap();
    })
    .await;
    mariadb
        .sql(
            "USE mail; INSERT INTO placement VALUES ('null', NULL);
             CREATE TABLE others (login varchar(99), node varbinary(99), number int);
             INSERT INTO others VALUES ('ann', 'new', 7)",
        )
        .unwrap();
    takes_text_alone(mariadb.store(), "?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_freezes_dies_and_comes_back() {
    let place = Place::new().unwrap();
    freezes_dies_and_comes_back(mariadb(&place)).await;
}

#[tokio::test]
async fn sqlite_answers_and_takes_changes() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    let write = |login: &str, to: &str| {
        let login = login.replace('\'', "''");
        sqlite
            .sql(&format!("INSERT INTO placement VALUES ('{login}', '{to}')"))
            .unwrap();
    };
    answers_and_takes_changes(sqlite.store(), &write).await;
    sqlite
        .sql(
            "INSERT INTO placement VALUES ('null', NULL); INSERT INTO placement VALUES ('blob', x'6e6577');
             CREATE TABLE others (login TEXT, node, number); INSERT INTO others VALUES ('ann', 'new', 7)",
        )
        .unwrap();
    takes_text_alone(sqlite.store(), "?1").await;
    let mappings = open(sqlite.store()).await.unwrap();
    assert_eq!(origin(&mappings, "blob").await, ("old".into(), Origin::Error));
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_that_is_locked_or_gone_is_a_store_that_fails() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    sqlite.sql("INSERT INTO placement VALUES ('ann', 'new')").unwrap();
    let mapping = always_asked(sqlite.store());
    let mappings = open_with(&mapping, &fleet()).await.unwrap();
    assert_eq!(origin(&mappings, "ann").await, ("new".into(), Origin::Mapping));
    // Another program holds it for writing.
    let mut holder = Command::new("sqlite3")
        .arg(&sqlite.path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(holder.stdin.as_mut().unwrap(), b"BEGIN EXCLUSIVE;\n").unwrap();
    let mut held = false;
    for _ in 0..200 {
        held = login(&mappings, "ann").await.origin == Origin::RememberedMapping;
        if held {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(held, "it is locked");
    assert_eq!(origin(&mappings, "bob").await, ("old".into(), Origin::Error));
    assert!(mappings.put(&who("ann"), &named("old")).await.is_err());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    until_it_answers(&mappings, "ann").await;
    // The write whose answer did not come may have been made when the lock was gone.
    let (now, origin) = origin(&mappings, "ann").await;
    assert!(
        ["new", "old"].contains(&now.as_str()) && origin == Origin::Mapping,
        "{now} {origin:?}"
    );

    let missing = StoreUrl::new(format!("sqlite://{}", place.path().join("missing.db").display()));
    let gone = changed(sqlite.store(), |sql| sql.url = missing);
    let error = open(gone).await.unwrap_err().to_string();
    assert!(error.starts_with("mapping.sql: the mapping store"), "{error}");
}

#[tokio::test]
async fn a_store_without_both_statements_is_read_only() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    let read_only = changed(sqlite.store(), |sql| sql.delete_query = None);
    let mappings = open(read_only).await.unwrap();
    for refused in [
        // Before the destination is looked at.
        mappings.put(&who("ann"), &named("nowhere")).await.unwrap_err(),
        mappings.delete(&who("ann")).await.unwrap_err(),
    ] {
        assert!(
            matches!(refused, mailswitch_sources::WriteError::ReadOnly),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_query_that_the_database_does_not_understand_is_said_at_the_start() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    let misspelt = changed(sqlite.store(), |sql| {
        sql.query = "SELECT node FROM misspelt WHERE login = ?1".to_owned();
    });
    let error = open(misspelt).await.unwrap_err().to_string();
    assert!(error.contains("misspelt"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_database_does_not_show_the_login() {
    let place = Place::new().unwrap();
    let postgres = postgres(&place);
    let quoting = changed(postgres.store(), |sql| {
        sql.delete_query = Some("DELETE FROM placement WHERE login = $1 AND ($1::text)::int = 1".to_owned());
    });
    postgres.write("ann@x.example", "new").unwrap();
    let mappings = open(quoting).await.unwrap();
    let error = mappings
        .delete(&who("ann@x.example"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("invalid input syntax") && !error.contains("ann"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_said_without_its_password() {
    for store in [
        redis_at("redis://:hunter2@127.0.0.1:99999/0"),
        redis_at("rediss://:hunter2@[nowhere/0"),
        postgres_at("postgres://router:hunter2@127.0.0.1:1/mail?sslmode=sometimes"),
        mariadb_at("mysql://router:hunter2@127.0.0.1:99999/mail"),
    ] {
        let error = open(store).await.unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
