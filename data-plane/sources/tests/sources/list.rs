//! Listing everything that a store has: who has an entry, as the store says; where they go, as a login finds out.

use std::time::Duration;

use mailswitch_config::table::mapping::{MappingStore, Redis as RedisTable, Sql as SqlTable};
use mailswitch_proto::identifier::Normalization;
use mailswitch_sources::StoreError;
use mailswitch_sources::list::{Goes, Listed, of_redis, of_sql};
use mailswitch_tests::place::Place;
use mailswitch_tests::redis::Redis;

use crate::servers::{Server, Sqlite, mariadb, postgres};

const SOON: Duration = Duration::from_secs(10);
const EVERY: &str = "SELECT login FROM placement";

fn redis_table(store: MappingStore) -> RedisTable {
    match store {
        MappingStore::Redis(table) => table,
        other => panic!("{other:?}"),
    }
}

fn sql_table(store: MappingStore) -> SqlTable {
    match store {
        MappingStore::Sql(table) => table,
        other => panic!("{other:?}"),
    }
}

/// `written login -> where`, in the order of the list.
fn said(listed: &[Listed]) -> Vec<String> {
    let goes = |goes: &Goes| match goes {
        Goes::To(destination) => destination.to_string(),
        Goes::Nowhere => "nowhere".to_owned(),
        Goes::Unreadable(_) => "unreadable".to_owned(),
    };
    listed
        .iter()
        .map(|one| format!("{} {} -> {}", one.written, one.login, goes(&one.goes)))
        .collect()
}

async fn of_database(store: MappingStore, statement: &str) -> Result<Vec<String>, StoreError> {
    let table = sql_table(store);
    let listed = of_sql(&table, statement, &Normalization::Lowercase, SOON).await;
    listed.map(|listed| said(&listed))
}

#[tokio::test]
async fn every_key_of_redis_with_the_prefix_is_listed_and_no_other() {
    let place = Place::new().unwrap();
    let redis = Redis::start(&place, None).unwrap();
    // More than one step of a scan.
    let fill = "for i = 0, 1499 do redis.call('SET', string.format('route:u%04d@x.example', i), 'new') end";
    redis.ask(&["-n", "3", "EVAL", fill, "0"]).unwrap();
    redis.write("Ann@x.example", "old").unwrap();
    redis.ask(&["-n", "3", "SADD", "route:set", "new"]).unwrap();
    redis.ask(&["-n", "3", "SET", "router:ann", "new"]).unwrap();
    redis.ask(&["-n", "3", "SET", "other:ann", "new"]).unwrap();
    // A prefix that would mean something else as a pattern.
    redis.ask(&["-n", "3", "SET", "r[ou]te*:eve", "new"]).unwrap();
    let table = redis_table(redis.store());
    let listed = said(&of_redis(&table, SOON).await.unwrap());
    assert_eq!(listed.len(), 1502);
    assert_eq!(listed[0], "Ann@x.example Ann@x.example -> old");
    assert_eq!(listed[1], "set set -> unreadable");
    assert_eq!(listed[1501], "u1499@x.example u1499@x.example -> new");
    let odd = RedisTable {
        key_prefix: "r[ou]te*:".to_owned(),
        ..table.clone()
    };
    assert_eq!(said(&of_redis(&odd, SOON).await.unwrap()), ["eve eve -> new"]);

    // Who may read and not list is told so.
    redis.ask(&["ACL", "SETUSER", "default", "-scan"]).unwrap();
    let refused = of_redis(&table, SOON).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(why) if why.contains("scan")),
        "{refused}"
    );
}

#[tokio::test]
async fn each_row_of_postgresql_goes_where_the_query_sends_its_login_and_not_where_the_row_says() {
    let place = Place::new().unwrap();
    let server = postgres(&place);
    for (login, node) in [
        ("ann", "new"),
        ("Bob", "new"),
        ("bob", "old"),
        ("Cyd", "new"),
        ("eve", ""),
    ] {
        server.write(login, node).unwrap();
    }
    let expected = [
        // A login is looked up in lower case.
        "Bob Bob -> new",
        "Cyd cyd -> nowhere",
        "ann ann -> new",
        "bob bob -> old",
        "eve eve -> nowhere",
    ];
    assert_eq!(
        sorted(of_database(server.store(), EVERY).await.unwrap()),
        expected
    );
    // The operator's statement finds them otherwise.
    let table = SqlTable {
        query: "SELECT node FROM placement WHERE lower(login) = $1 ORDER BY login DESC".to_owned(),
        ..sql_table(server.store())
    };
    let listed = of_database(MappingStore::Sql(table), EVERY).await.unwrap();
    assert!(listed.contains(&"Cyd cyd -> new".to_owned()), "{listed:?}");

    for (wrong, why) in [
        ("SELECT 7", "first column"),
        ("SELECT nothing FROM placement", "nothing"),
    ] {
        let refused = of_database(server.store(), wrong).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Refused(said) if said.contains(why)),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn mariadb_finds_a_login_whose_row_has_other_letters_and_the_list_says_so() {
    let place = Place::new().unwrap();
    let server = mariadb(&place);
    server.write("Ann@x.example", "new").unwrap();
    server.write("bob@x.example", "old").unwrap();
    let listed = of_database(server.store(), EVERY).await.unwrap();
    // Its collation takes both for one.
    assert_eq!(
        listed,
        [
            "Ann@x.example ann@x.example -> new",
            "bob@x.example bob@x.example -> old"
        ]
    );
}

#[tokio::test]
async fn sqlite_is_listed_too_and_a_number_is_no_name() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    sqlite
        .sql("INSERT INTO placement VALUES ('ann', 'new'), ('bob', CAST(7 AS BLOB)), ('cyd', NULL)")
        .unwrap();
    let listed = of_database(sqlite.store(), EVERY).await.unwrap();
    assert_eq!(
        listed,
        ["ann ann -> new", "bob bob -> unreadable", "cyd cyd -> nowhere"]
    );
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_nothing_is_listed_in_part() {
    let place = Place::new().unwrap();
    let mut server = postgres(&place);
    let store = server.store();
    Server::kill(&mut server).unwrap();
    let refused = of_database(store, EVERY).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
    let mut redis = Redis::start(&place, None).unwrap();
    let table = redis_table(redis.store());
    Server::kill(&mut redis).unwrap();
    let refused = of_redis(&table, SOON).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}
