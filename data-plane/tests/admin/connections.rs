//! `/connections/kick` and `/connections/delay` (management API 3.6, behaviour 9).

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::rig::{Differences, eventually, world};

const ANN: &str = "ann@x.example";

#[tokio::test]
async fn a_kick_ends_the_sessions_of_one_identifier_and_says_how_many() {
    let world = world(Differences::default()).await;
    let (mut client, mut backend) = world.session(ANN, &world.old).await;
    let (mut other, mut others_backend) = world.session("bob@x.example", &world.old).await;
    let kicked = tokio::spawn({
        let api = world.api.clone();
        async move { api.post("/connections/kick?identifier=Ann%40X.example").await }
    });
    // Its backend sees the end, and has its own before the answer comes.
    assert_eq!(backend.rest().await, "");
    drop(backend);
    kicked.await.unwrap().expect(200, "kicked 1\n");
    client.rest().await;
    others_backend.say("* 1 EXISTS\r\n").await;
    other.expect("* 1 EXISTS").await;
    let nobody = world.api.post("/connections/kick?identifier=ann@x.example").await;
    nobody.expect(200, "kicked 0\n");
}

#[tokio::test]
async fn the_answer_to_a_kick_waits_for_a_backend_that_does_not_close_no_longer_than_that_takes() {
    let world = world(Differences::default()).await;
    let (_client, mut backend) = world.session(ANN, &world.old).await;
    let kicked = world.api.post("/connections/kick?identifier=ann@x.example").await;
    kicked.expect(200, "kicked 1\n");
    // It was reset: what the backend says now reaches nobody.
    eventually("the leg is gone", async || {
        let written = backend.0.get_mut().write_all(b"* 1 EXISTS\r\n").await;
        written.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn must_do_better_a_login_in_progress_is_kicked_too_counted_and_looks_again() {
    let world = world(Differences::default()).await;
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    let mut first = world.old.greeted().await;
    first.expect("a AUTHENTICATE PLAIN").await;
    let kick = tokio::spawn({
        let api = world.api.clone();
        async move { api.post("/connections/kick?identifier=ann@x.example").await }
    });
    assert_eq!(first.rest().await, "", "its leg is dropped");
    drop(first);
    kick.await.unwrap().expect(200, "kicked 1\n");
    let mut second = world.old.greeted().await;
    second.expect("a AUTHENTICATE PLAIN").await;
    second.say("a OK in\r\n").await;
    client.expect("a OK in").await;
}

#[tokio::test]
async fn must_do_better_an_identifier_is_cut_and_checked_as_a_login_is() {
    let world = world(Differences::default()).await;
    let (_client, _backend) = world.session("ann@x.example%root", &world.old).await;
    let kicked = world
        .api
        .post("/connections/kick?identifier=ann@x.example%25other")
        .await;
    kicked.expect(200, "kicked 1\n");
    for (wrong, why) in [
        (
            "%25root",
            "the login is empty once the master-user suffix is cut off",
        ),
        (
            "a%20b",
            "the login holds a control character, a space or a double quote",
        ),
        ("%FF", "this is not UTF-8"),
    ] {
        for target in ["/connections/kick?", "/connections/delay?seconds=1&"] {
            let refused = world.api.post(&format!("{target}identifier={wrong}")).await;
            refused.expect(400, &format!("identifier: {why}\n"));
        }
    }
}

#[tokio::test]
async fn logins_of_a_delayed_identifier_wait_and_go_on_when_it_is_taken_back() {
    let world = world(Differences::default()).await;
    let delayed = world
        .api
        .post("/connections/delay?identifier=ann@x.example&seconds=86400")
        .await;
    delayed.expect(200, "ok\n");
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    // Others do not wait.
    world.session("bob@x.example", &world.old).await;
    eventually("she waits", async || {
        let running = world.running.as_ref()?;
        (running.node().knowledge.sessions().waiting() == 1).then_some(())
    })
    .await;
    // A kick finds her, and she goes on waiting: nothing was looked up that could be stale.
    let kicked = world.api.post("/connections/kick?identifier=ann@x.example").await;
    kicked.expect(200, "kicked 1\n");
    let undone = world
        .api
        .post("/connections/delay?identifier=Ann@x.example&seconds=0")
        .await;
    undone.expect(200, "ok\n");
    let mut backend = world.old.greeted().await;
    backend.expect("a AUTHENTICATE PLAIN").await;
    backend.say("a OK in\r\n").await;
    client.expect("a OK in").await;
}

#[tokio::test]
async fn a_later_delay_replaces_an_earlier_one_and_a_delay_ends_by_itself() {
    let world = world(Differences::default()).await;
    let delay = async |seconds: &str| {
        let target = format!("/connections/delay?identifier=ann@x.example&seconds={seconds}");
        world.api.post(&target).await.expect(200, "ok\n");
    };
    delay("600").await;
    let mut client = world.client().await;
    client.say("a LOGIN ann@x.example secret\r\n").await;
    let sessions = world
        .running
        .as_ref()
        .unwrap()
        .node()
        .knowledge
        .sessions()
        .clone();
    eventually("she waits", async || (sessions.waiting() == 1).then_some(())).await;
    delay("1").await;
    let mut backend = world.old.greeted().await;
    backend.expect("a AUTHENTICATE PLAIN").await;
    backend.say("a OK in\r\n").await;
    client.expect("a OK in").await;
    assert_eq!(sessions.waiting(), 0);
}

#[tokio::test]
async fn a_delayed_login_whose_client_leaves_waits_no_longer_and_none_counts_for_the_time_before_login() {
    let world = world(Differences {
        listener: "preauth_timeout = \"300ms\"",
        ..Differences::default()
    })
    .await;
    let delayed = world
        .api
        .post("/connections/delay?identifier=ann@x.example&seconds=60")
        .await;
    delayed.expect(200, "ok\n");
    let sessions = world
        .running
        .as_ref()
        .unwrap()
        .node()
        .knowledge
        .sessions()
        .clone();
    let (mut stays, mut leaves) = (world.client().await, world.client().await);
    for client in [&mut stays, &mut leaves] {
        client.say("a LOGIN ann@x.example secret\r\n").await;
    }
    eventually("both wait", async || (sessions.waiting() == 2).then_some(())).await;
    drop(leaves);
    eventually("one has left", async || (sessions.waiting() == 1).then_some(())).await;
    // Longer than the time before login.
    let early = tokio::time::timeout(Duration::from_millis(600), stays.line()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(sessions.waiting(), 1);
}

#[tokio::test]
async fn must_do_better_a_delay_of_more_than_a_day_or_of_no_number_is_refused() {
    let world = world(Differences::default()).await;
    let ask = async |query: &str| world.api.post(&format!("/connections/delay?{query}")).await;
    ask("").await.expect(400, "missing parameter: identifier\n");
    ask("identifier=ann")
        .await
        .expect(400, "missing parameter: seconds\n");
    for wrong in ["86401", "18446744073709551615", "-1", "1.5", "soon", "%2B5", "+5"] {
        ask(&format!("identifier=ann&seconds={wrong}"))
            .await
            .expect(400, "seconds: write a whole number from 0 to 86400\n");
    }
}
