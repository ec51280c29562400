//! Who may ask: token, lockout, and in which order things are checked (management API 1).

use std::net::Ipv4Addr;

use crate::rig::{Differences, TOKEN, World, world};

const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

async fn guess(world: &World, from: Ipv4Addr) -> u16 {
    world.api.ask_from(from, "wrong", "GET", "/stats").await.status
}

#[tokio::test]
async fn without_the_token_there_is_nothing_but_health() {
    let world = world(Differences::default()).await;
    let bare = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    world
        .api
        .raw(bare("/healthz").as_bytes())
        .await
        .expect(200, "ok\n");
    // A path that does not exist is nobody's business without a token.
    for target in ["/stats", "/nowhere"] {
        let answer = world.api.raw(bare(target).as_bytes()).await;
        answer.expect(401, "unauthorized\n");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn must_do_better_the_scheme_is_not_case_sensitive() {
    let world = world(Differences::default()).await;
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let request = format!("GET /stats HTTP/1.1\r\nHost: a\r\nauthorization: {scheme} {TOKEN}\r\n\r\n");
        assert_eq!(world.api.raw(request.as_bytes()).await.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn an_address_that_failed_too_often_is_refused_with_the_right_token_too_and_another_is_not() {
    let world = world(Differences::default()).await;
    for _ in 0..5 {
        assert_eq!(guess(&world, A).await, 401);
    }
    let refused = world.api.get("/stats").await;
    refused.expect(429, "too many failures\n");
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert_eq!(world.api.ask_from(B, TOKEN, "GET", "/stats").await.status, 200);
    // What cannot be read comes after the lockout.
    world
        .api
        .raw(b"nonsense\r\n\r\n")
        .await
        .expect(429, "too many failures\n");
}

#[tokio::test]
async fn must_do_better_a_probe_that_is_locked_out_still_sees_health() {
    let world = world(Differences {
        admin: "lockout_threshold = 0",
        ..Differences::default()
    })
    .await;
    assert_eq!(guess(&world, A).await, 401, "0 acts as 1");
    assert_eq!(guess(&world, A).await, 429);
    world.api.get("/healthz").await.expect(200, "ok\n");
}

#[tokio::test]
async fn the_right_token_clears_the_count_and_health_neither_counts_nor_clears() {
    let world = world(Differences {
        admin: "lockout_threshold = 2",
        ..Differences::default()
    })
    .await;
    for _ in 0..3 {
        assert_eq!(guess(&world, A).await, 401);
        assert_eq!(world.api.get("/stats").await.status, 200);
    }
    assert_eq!(guess(&world, A).await, 401);
    world.api.get("/healthz").await.expect(200, "ok\n");
    assert_eq!(guess(&world, A).await, 401);
    assert_eq!(guess(&world, A).await, 429);
}

#[tokio::test]
async fn a_lockout_ends() {
    let world = world(Differences {
        admin: "lockout_threshold = 1\nlockout_duration = \"300ms\"",
        ..Differences::default()
    })
    .await;
    assert_eq!(guess(&world, A).await, 401);
    crate::rig::eventually("the lockout ends", async || {
        (world.api.get("/stats").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_token_comes_before_the_path_and_the_method_before_the_parameters() {
    let world = world(Differences::default()).await;
    let answer = world.api.ask_from(A, "wrong", "POST", "/connections/kick").await;
    answer.expect(401, "unauthorized\n");
    let answer = world.api.get("/connections/kick").await;
    answer.expect(405, "method not allowed\n");
    let answer = world.api.post("/connections/kick").await;
    answer.expect(400, "missing parameter: identifier\n");
}

#[tokio::test]
async fn a_node_that_stops_answers_to_the_end_and_says_that_it_is_not_healthy() {
    let mut world = world(Differences {
        server: "shutdown_grace = \"30s\"",
        ..Differences::default()
    })
    .await;
    let (client, _backend) = world.session("ann@x.example", &world.old).await;
    let stop = tokio::spawn(world.running.take().unwrap().stop());
    crate::rig::eventually("it says so", async || {
        let answer = world.api.get("/healthz").await;
        (answer.status == 503).then(|| answer.expect(503, "stopping\n"))
    })
    .await;
    assert_eq!(world.api.get("/stats").await.json()["active_connections"], 1);
    drop(client);
    stop.await.unwrap();
}
