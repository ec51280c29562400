//! `/mappings`, `/mappings/reload` and `/cache/invalidate` (management API 3.3, 3.5), and a move by PUT and kick.

use serde_json::json;

use crate::rig::{Differences, world};

#[tokio::test]
async fn a_mapping_is_shown_as_a_login_would_meet_it() {
    let world = world(Differences {
        moved: "bob@x.example old\n",
        ..Differences::default()
    })
    .await;
    let put = world
        .api
        .put("/mappings?identifier=ann@x.example&destination=new")
        .await;
    put.expect(200, "ok\n");
    let shown = world.api.get("/mappings?identifier=Ann@X.example").await.json();
    assert_eq!(shown["identifier"], "Ann@X.example");
    assert_eq!(shown["normalized"], "ann@x.example");
    assert_eq!(
        (&shown["destination"], &shown["source"]),
        (&json!("new"), &json!("mapping"))
    );
    assert_eq!(shown["routed_to_default"], false);
    // The example of the reference: what was written is not an answer that a login got.
    assert_eq!(shown["cached"], false);
    let again = world.api.get("/mappings?identifier=ann@x.example").await.json();
    assert_eq!(again["cached"], true, "it may fill the cache");
    // Mapped to the default destination, and not mapped at all.
    for (login, source) in [("bob@x.example", "mapping"), ("eve@x.example", "default")] {
        let shown = world
            .api
            .get(&format!("/mappings?identifier={login}"))
            .await
            .json();
        assert_eq!(
            (&shown["destination"], &shown["source"]),
            (&json!("old"), &json!(source))
        );
        assert_eq!(shown["routed_to_default"], true);
    }
    // Nobody logged in.
    let stats = world.api.get("/stats").await.json();
    assert_eq!(
        (&stats["cache_hits"], &stats["cache_misses"]),
        (&json!(0), &json!(0))
    );
    world.session("ann@x.example", &world.new).await;
    let stats = world.api.get("/stats").await.json();
    let counted = stats["cache_hits"].as_u64().unwrap() + stats["cache_misses"].as_u64().unwrap();
    assert_eq!(counted, 1, "{stats}");
}

#[tokio::test]
async fn a_mapping_is_removed_once() {
    let world = world(Differences {
        moved: "ann@x.example new\n",
        ..Differences::default()
    })
    .await;
    for said in ["removed\n", "absent\n"] {
        let answer = world
            .api
            .ask("DELETE", "/mappings?identifier=ANN@x.example")
            .await;
        answer.expect(200, said);
    }
    world.session("ann@x.example", &world.old).await;
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_and_changes_nothing() {
    let world = world(Differences {
        tables: "[destination.web]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
                 protocol.http = { port = 9, tls = \"plain\" }\n",
        ..Differences::default()
    })
    .await;
    let put = async |query: &str| world.api.put(&format!("/mappings?{query}")).await;
    put("").await.expect(400, "missing parameter: identifier\n");
    put("destination=new")
        .await
        .expect(400, "missing parameter: identifier\n");
    put("identifier=ann")
        .await
        .expect(400, "missing parameter: destination\n");
    put("identifier=ann&destination=")
        .await
        .expect(400, "missing parameter: destination\n");
    let undeclared = put("identifier=ann&destination=nowhere").await;
    assert!(
        undeclared.status == 400 && undeclared.body.contains("nowhere"),
        "{undeclared:?}"
    );
    // Must do better: its next start would fail (V18).
    let uncovered = put("identifier=ann&destination=web").await;
    assert!(
        uncovered.status == 400 && uncovered.body.contains("imap"),
        "{uncovered:?}"
    );
    // Must do better: a comment in the file.
    assert_eq!(put("identifier=%23ann&destination=new").await.status, 400);
    world
        .api
        .ask("DELETE", "/mappings")
        .await
        .expect(400, "missing parameter: identifier\n");
    world
        .api
        .get("/mappings")
        .await
        .expect(400, "missing parameter: identifier\n");
    assert_eq!(std::fs::read_to_string(world.moved()).unwrap(), "");
    let other = world.api.post("/mappings").await;
    other.expect(405, "method not allowed\n");
    assert_eq!(other.field("allow"), Some("GET, PUT, DELETE"));
    std::fs::write(world.moved(), "ann\n").unwrap();
    let conflict = put("identifier=bob&destination=new").await;
    assert!(
        conflict.status == 409 && conflict.body.contains("moved.tsv:1"),
        "{conflict:?}"
    );
}

#[tokio::test]
async fn a_reload_of_the_mappings_takes_a_good_file_and_keeps_the_table_before_a_bad_one() {
    let world = world(Differences::default()).await;
    std::fs::write(world.moved(), "ann@x.example new\n").unwrap();
    world.api.post("/mappings/reload").await.expect(200, "reloaded\n");
    world.session("ann@x.example", &world.new).await;
    std::fs::write(world.moved(), "ann@x.example\n").unwrap();
    let failed = world.api.post("/mappings/reload").await;
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("moved.tsv:1"), "{}", failed.body);
    world.session("ann@x.example", &world.new).await;
}

#[tokio::test]
async fn an_invalidation_drops_one_answer_or_all_of_them() {
    let world = world(Differences::default()).await;
    let cached = async |login: &str| {
        let shown = world.api.get(&format!("/mappings?identifier={login}")).await;
        shown.json()["cached"].clone()
    };
    let (ann, bob) = ("ann@x.example", "bob@x.example");
    for (target, anns, bobs) in [
        ("/cache/invalidate?identifier=Ann@x.example%25root", false, true),
        ("/cache/invalidate", false, false),
        // Without a value it is not there.
        ("/cache/invalidate?identifier=", false, false),
    ] {
        for login in [ann, bob] {
            cached(login).await;
            assert_eq!(cached(login).await, true);
        }
        world.api.post(target).await.expect(200, "ok\n");
        assert_eq!(
            (cached(ann).await, cached(bob).await),
            (json!(anns), json!(bobs)),
            "{target}"
        );
    }
}

#[tokio::test]
async fn must_do_better_what_no_login_could_be_is_refused_of_every_endpoint_that_takes_an_identifier() {
    let world = world(Differences::default()).await;
    for (method, target) in [
        ("GET", "/mappings?"),
        ("PUT", "/mappings?destination=new&"),
        ("DELETE", "/mappings?"),
        ("POST", "/cache/invalidate?"),
    ] {
        let refused = world.api.ask(method, &format!("{target}identifier=a%20b")).await;
        let why = "identifier: the login holds a control character, a space or a double quote\n";
        refused.expect(400, why);
        let empty = world
            .api
            .ask(method, &format!("{target}identifier=%25root"))
            .await;
        assert_eq!(empty.status, 400, "{method} {target}");
    }
    assert_eq!(std::fs::read_to_string(world.moved()).unwrap(), "");
}

#[tokio::test]
async fn a_session_stays_where_it_is_after_a_put_until_it_is_kicked() {
    let world = world(Differences::default()).await;
    let (mut client, mut backend) = world.session("ann@x.example", &world.old).await;
    let put = world
        .api
        .put("/mappings?identifier=ann@x.example&destination=new")
        .await;
    put.expect(200, "ok\n");
    backend.say("* 1 EXISTS\r\n").await;
    client.expect("* 1 EXISTS").await;
    world.session("ann@x.example", &world.new).await;
}

#[tokio::test]
async fn a_mapping_file_that_cannot_be_read_or_written_is_500_and_nothing_changes() {
    let world = world(Differences {
        moved: "ann@x.example new\n",
        ..Differences::default()
    })
    .await;
    std::fs::remove_file(world.moved()).unwrap();
    for (method, target) in [
        ("PUT", "/mappings?identifier=ann@x.example&destination=old"),
        ("DELETE", "/mappings?identifier=ann@x.example"),
        ("POST", "/mappings/reload"),
    ] {
        let failed = world.api.ask(method, target).await;
        assert_eq!(failed.status, 500, "{method}: {failed:?}");
        assert!(failed.body.contains("moved.tsv"), "{}", failed.body);
        assert_eq!(failed.body.lines().count(), 1);
    }
    world.session("ann@x.example", &world.new).await;
}

#[tokio::test]
async fn must_do_better_no_login_in_flight_survives_a_put_and_a_kick_on_the_side_that_was_left() {
    // Stopped in the dial, before the credentials, and behind them.
    for stage in ["greeting", "credentials"] {
        let world = world(Differences::default()).await;
        let mut client = world.client().await;
        client.say("a LOGIN ann@x.example secret\r\n").await;
        let mut left = world.old.silent().await;
        if stage == "credentials" {
            left.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
                .await;
            left.expect("a AUTHENTICATE PLAIN").await;
        }
        let put = world
            .api
            .put("/mappings?identifier=ann@x.example&destination=new")
            .await;
        put.expect(200, "ok\n");
        let kick = tokio::spawn({
            let api = world.api.clone();
            async move { api.post("/connections/kick?identifier=ann@x.example").await }
        });
        // What the backend says now is too late.
        assert_eq!(left.rest().await, "", "{stage}: no credential");
        drop(left);
        kick.await.unwrap().expect(200, "kicked 1\n");
        let mut backend = world.new.greeted().await;
        backend.expect("a AUTHENTICATE PLAIN").await;
        backend.say("a OK in\r\n").await;
        client.expect("a OK in").await;
    }
}

#[tokio::test]
async fn an_answer_of_the_side_that_was_left_is_not_relayed_even_before_the_kick() {
    let world = world(Differences::default()).await;
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    let mut left = world.old.greeted().await;
    left.expect("a AUTHENTICATE PLAIN").await;
    let put = world
        .api
        .put("/mappings?identifier=ann@x.example&destination=new")
        .await;
    put.expect(200, "ok\n");
    left.say("a OK too late\r\n").await;
    assert_eq!(left.rest().await, "", "no command");
    drop(left);
    let mut backend = world.new.greeted().await;
    backend.expect("a AUTHENTICATE PLAIN").await;
    backend.say("a OK in\r\n").await;
    client.expect("a OK in").await;
}
