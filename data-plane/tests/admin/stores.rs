//! The API in front of a real Redis and a database: what a store that is away, or that takes no writes, makes of each
//! request (management API 2, 3.5).

use std::process::Command;

use mailswitch_tests::place::Place;
use mailswitch_tests::redis::Redis;
use serde_json::json;

use crate::rig::{Differences, World, eventually, world};

const ANN: &str = "/mappings?identifier=ann@x.example";

async fn behind(redis: &Redis) -> World {
    let tables = format!("[mapping.redis]\nurl = \"{}/0\"\n", redis.url());
    world(Differences {
        source: "redis",
        mapping: "lookup_timeout = \"2s\"",
        tables: &tables,
        ..Differences::default()
    })
    .await
}

async fn of(world: &World, login: &str) -> (serde_json::Value, serde_json::Value) {
    let shown = world.api.get(&format!("/mappings?identifier={login}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let shown = shown.json();
    (shown["destination"].clone(), shown["source"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_is_500_to_a_write_and_an_error_in_what_is_shown_until_it_is_back() {
    let place = Place::new().unwrap();
    let mut redis = Redis::start(&place, None).unwrap();
    let world = behind(&redis).await;
    let put = format!("{ANN}&destination=new");
    world.api.put(&put).await.expect(200, "ok\n");
    assert_eq!(redis.ask(&["GET", "route:ann@x.example"]).unwrap().trim(), "new");
    // There is nothing to read anew, and that is no failure.
    world.api.post("/mappings/reload").await.expect(200, "reloaded\n");
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("new"), json!("mapping"))
    );

    redis.process.kill_dash_nine().unwrap();
    for (method, target) in [
        ("PUT", "/mappings?identifier=ann@x.example&destination=old"),
        ("DELETE", ANN),
    ] {
        let failed = world.api.ask(method, target).await;
        assert_eq!(failed.status, 500, "{method}: {failed:?}");
        assert!(
            failed.body.contains("the mapping store cannot be reached"),
            "{}",
            failed.body
        );
        assert!(!failed.body.contains("ann@"), "{}", failed.body);
    }
    // Who was known goes where they went; of others nothing is known.
    world.api.post("/mappings/reload").await.expect(200, "reloaded\n");
    assert_eq!(of(&world, "ann@x.example").await.0, "new");
    assert_eq!(of(&world, "eve@x.example").await, (json!("old"), json!("error")));
    world.session("ann@x.example", &world.new).await;

    redis.restart().unwrap();
    eventually("it takes changes again", async || {
        let put = world.api.put(&put).await;
        (put.status == 200).then_some(())
    })
    .await;
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("new"), json!("mapping"))
    );
}

#[tokio::test]
async fn what_another_program_wrote_is_shown_as_a_login_meets_it_until_the_answer_is_dropped() {
    let place = Place::new().unwrap();
    let redis = Redis::start(&place, None).unwrap();
    let world = behind(&redis).await;
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("old"), json!("default"))
    );
    redis.ask(&["SET", "route:ann@x.example", "new"]).unwrap();
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("old"), json!("default"))
    );
    let dropped = world.api.post("/cache/invalidate?identifier=ann@x.example").await;
    dropped.expect(200, "ok\n");
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("new"), json!("mapping"))
    );
}

#[tokio::test]
async fn a_database_without_both_statements_is_501_before_the_destination_is_looked_at() {
    let place = Place::new().unwrap();
    let path = place.path().join("routes.db");
    let made = Command::new("sqlite3")
        .arg(&path)
        .arg("CREATE TABLE placement (login TEXT PRIMARY KEY, node TEXT); INSERT INTO placement VALUES ('ann@x.example', 'new')")
        .status()
        .unwrap();
    assert!(made.success());
    let tables = format!(
        "[mapping.sql]\nurl = \"sqlite://{}\"\nquery = \"SELECT node FROM placement WHERE login = ?1\"\n\
         upsert_query = \"INSERT OR REPLACE INTO placement VALUES (?1, ?2)\"\n",
        path.display()
    );
    let world = world(Differences {
        source: "sql",
        tables: &tables,
        ..Differences::default()
    })
    .await;
    for (method, target) in [
        ("PUT", "/mappings?identifier=ann@x.example&destination=nowhere"),
        ("PUT", "/mappings?identifier=ann@x.example&destination=old"),
        ("DELETE", ANN),
    ] {
        let refused = world.api.ask(method, target).await;
        refused.expect(
            501,
            "this store is read-only: mapping.sql has no upsert_query and delete_query\n",
        );
    }
    // What is missing is said first.
    let missing = world.api.put(ANN).await;
    missing.expect(400, "missing parameter: destination\n");
    assert_eq!(
        of(&world, "ann@x.example").await,
        (json!("new"), json!("mapping"))
    );
}
