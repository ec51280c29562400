//! The cache and what overtakes it: writes and invalidations while a lookup is under way, many who miss at once, and how
//! long an answer lives (behaviour 10). Against PostgreSQL, whose statements see the state of the moment at which they began.

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_sources::{Counted, Mappings, Origin, What};
use mailswitch_tests::place::Place;
use mailswitch_tests::postgres::Postgres;
use mailswitch_tests::when::wait_until;

use crate::rig::{fleet, goes_to, login, named, open_with, who};
use crate::servers::{Server as _, Sqlite, mappings_of, postgres};

/// A query that waits for a lock after it has begun: it answers what stood there when it began.
struct Slow {
    postgres: Postgres,
    mappings: Arc<Mappings>,
    _place: Place,
}

/// What the query waits for. A row lock of a session of psql, taken with `pg_sleep`: it ends when the test ends it.
const LOCKED: &str = "SELECT pg_advisory_lock(7), pg_sleep(600)";

impl Slow {
    async fn new() -> Self {
        let place = Place::new().unwrap();
        let postgres = postgres(&place);
        postgres.write("ann", "old").unwrap();
        postgres.write("bob", "old").unwrap();
        // Asked is written down, outside of the transaction's snapshot.
        postgres
            .sql(
                "mailswitch",
                "CREATE SEQUENCE asked;
                 CREATE FUNCTION waiting() RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
                 BEGIN
                   PERFORM nextval('asked');
                   PERFORM pg_advisory_lock_shared(7);
                   PERFORM pg_advisory_unlock_shared(7);
                   RETURN true;
                 END $$",
            )
            .unwrap();
        let MappingStore::Sql(mut sql) = postgres.store() else {
            unreachable!()
        };
        sql.pool_size = 16;
        sql.query = "SELECT node FROM placement, waiting() WHERE login = $1".to_owned();
        let mapping = Mapping {
            lookup_timeout: Duration::from_secs(60),
            ..Mapping::new(MappingStore::Sql(sql))
        };
        let mappings = open_with(&mapping, &fleet()).await.unwrap();
        Self {
            postgres,
            mappings,
            _place: place,
        }
    }

    /// From now on lookups wait.
    fn block(&self) -> Blocked<'_> {
        let url = self.postgres.url();
        let child = std::process::Command::new("psql")
            .args(["-X", "-q", &url, "-c", LOCKED])
            .spawn()
            .unwrap();
        self.sql_until(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted",
            "1",
        );
        Blocked { slow: self, child }
    }

    fn sql_until(&self, query: &str, expected: &str) {
        wait_until(query, Duration::from_secs(30), || {
            self.postgres
                .sql("mailswitch", query)
                .is_ok_and(|found| found.trim() == expected)
        })
        .unwrap();
    }

    fn asked(&self) -> u64 {
        let asked = self.postgres.sql(
            "mailswitch",
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM asked",
        );
        asked.unwrap().trim().parse().unwrap()
    }

    fn login(&self, login: &str) -> tokio::task::JoinHandle<mailswitch_sources::Found> {
        let (mappings, who) = (Arc::clone(&self.mappings), who(login));
        tokio::spawn(async move { mappings.route(&who, Counted::Login).await })
    }
}

struct Blocked<'a> {
    slow: &'a Slow,
    child: std::process::Child,
}

impl Blocked<'_> {
    /// So many statements wait.
    fn until_waiting(&self, number: u32) {
        self.slow.sql_until(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
            &number.to_string(),
        );
    }

    fn release(mut self) {
        self.slow
            .postgres
            .sql(
                "mailswitch",
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted",
            )
            .unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mdb_a_lookup_that_started_before_a_write_is_not_cached_after_it() {
    let slow = Slow::new().await;
    let blocked = slow.block();
    let under_way = slow.login("ann");
    blocked.until_waiting(1);
    slow.mappings.put(&who("ann"), &named("new")).await.unwrap();
    blocked.release();
    let found = under_way.await.unwrap();
    assert_eq!(
        found.destination,
        Some(named("new")),
        "what it read first was old"
    );
    assert_eq!(slow.asked(), 2, "what was old, and anew");
    let cached = login(&slow.mappings, "ann").await;
    assert_eq!((cached.destination, cached.cached), (Some(named("new")), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn mdb_a_lookup_that_started_before_an_invalidation_is_not_cached_after_it() {
    for all in [false, true] {
        let slow = Slow::new().await;
        let blocked = slow.block();
        let under_way = slow.login("ann");
        blocked.until_waiting(1);
        slow.postgres.write("ann", "new").unwrap();
        let ann = who("ann");
        slow.mappings
            .invalidate(if all { What::All } else { What::One(&ann) });
        // Who comes now does not join what is under way.
        let later = slow.login("ann");
        blocked.until_waiting(2);
        blocked.release();
        assert_eq!(under_way.await.unwrap().destination, Some(named("new")));
        assert_eq!(later.await.unwrap().destination, Some(named("new")));
        assert_eq!(goes_to(&slow.mappings, "ann").await, "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_miss_the_same_identifier_ask_once() {
    let slow = Slow::new().await;
    let blocked = slow.block();
    let mut logins: Vec<_> = (0..50).map(|_| slow.login("ann")).collect();
    // The one that asks may go: the others have their answer all the same.
    blocked.until_waiting(1);
    logins.remove(0).abort();
    let stats = || slow.mappings.stats();
    wait_until("all have come", Duration::from_secs(10), || stats().misses >= 49).unwrap();
    blocked.release();
    for login in logins {
        assert_eq!(login.await.unwrap().destination, Some(named("old")));
    }
    assert_eq!(slow.asked(), 1, "one for all");
    assert_eq!(stats().hits, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_lookup_of_one_holds_up_nobody_else() {
    let slow = Slow::new().await;
    login(&slow.mappings, "ann").await;
    let blocked = slow.block();
    let _under_way = slow.login("bob");
    blocked.until_waiting(1);
    assert!(login(&slow.mappings, "ann").await.cached);
    blocked.release();
}

#[tokio::test]
async fn what_is_written_by_us_is_remembered_for_a_store_that_fails_right_after() {
    let place = Place::new().unwrap();
    let mut postgres = postgres(&place);
    postgres.write("ann", "old").unwrap();
    let mappings = mappings_of(&postgres).await;
    login(&mappings, "ann").await;
    mappings.put(&who("ann"), &named("new")).await.unwrap();
    mappings.put(&who("bob"), &named("new")).await.unwrap();
    mappings.delete(&who("bob")).await.unwrap();
    postgres.kill().unwrap();
    let found = login(&mappings, "ann").await;
    assert_eq!(
        (found.destination, found.origin),
        (Some(named("new")), Origin::RememberedMapping)
    );
    let found = login(&mappings, "bob").await;
    assert_eq!(
        (found.destination, found.origin),
        (Some(named("old")), Origin::RememberedDefault)
    );
}

#[tokio::test]
async fn mdb_an_answer_that_was_invalidated_is_not_remembered() {
    let place = Place::new().unwrap();
    let mut postgres = postgres(&place);
    postgres.write("ann", "new").unwrap();
    let mappings = mappings_of(&postgres).await;
    assert_eq!(goes_to(&mappings, "ann").await, "new");
    postgres.kill().unwrap();
    mappings.invalidate(What::One(&who("ann")));
    let found = login(&mappings, "ann").await;
    assert_eq!(
        (found.destination, found.origin),
        (Some(named("old")), Origin::Error)
    );
}

#[tokio::test]
async fn the_cache_has_no_more_entries_than_it_may_and_zero_keeps_nothing() {
    let place = Place::new().unwrap();
    let sqlite = Sqlite::new(&place);
    sqlite.sql("INSERT INTO placement VALUES ('ann', 'new')").unwrap();
    for (most, cached) in [(10, true), (0, false)] {
        let mapping = Mapping {
            cache_max_entries: most,
            ..Mapping::new(sqlite.store())
        };
        let mappings = open_with(&mapping, &fleet()).await.unwrap();
        for n in 0..200 {
            login(&mappings, &format!("user{n}")).await;
            login(&mappings, "ann").await;
        }
        assert!(mappings.stats().entries <= most);
        assert_eq!(login(&mappings, "ann").await.cached, cached, "what is used stays");
        assert!(!login(&mappings, "user3").await.cached);
    }
}
