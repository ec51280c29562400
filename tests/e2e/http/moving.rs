//! Accounts that move while they are used over HTTP: the next request follows, also on a connection that is kept alive; what
//! was executed was executed once; streams end, and their successors are at the target.

use std::{collections::HashMap, process::Child};

use anyhow::Result;
use mailswitch_tests::{
    fleet::{at, rows},
    http::{
        fleet::{WebFleet, WebPlan},
        python::Running,
        web::Web,
    },
    raw::{Raw, Role},
    sockets::open_at,
    when::wait_until,
};
use serde_json::{Value, json};

use super::{SOON, answer, basic, url};

/// A connection over TLS to the first node.
fn connection(fleet: &WebFleet) -> Result<Raw> {
    let mut raw = Raw::connect(fleet.nodes[0].https)?;
    raw.tls(Role::Client(fleet.ca.pem()))?;
    Ok(raw)
}

/// Which server answers a user's next request on this connection.
fn server(raw: &mut Raw, user: &str) -> Result<String> {
    raw.send(format!(
        "GET /whoami HTTP/1.1\r\nHost: a\r\n{}\r\n",
        basic(&at(user))
    ))?;
    let got = answer(raw)?;
    assert_eq!(got.status, 200, "{got:?}");
    let said: Value = serde_json::from_str(&got.body)?;
    Ok(said["server"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_flipped_account_follows_on_its_next_request_over_the_same_connection() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let mut raw = connection(&fleet)?;
    assert_eq!(server(&mut raw, "alice")?, "legacy");
    assert_eq!(server(&mut raw, "bob")?, "legacy");
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    // Also by the other form of the login.
    assert_eq!(server(&mut raw, "alice")?, "new");
    raw.send(format!(
        "GET /whoami HTTP/1.1\r\nHost: a\r\n{}\r\n",
        basic("Alice")
    ))?;
    assert!(answer(&mut raw)?.body.contains("\"new\""));
    assert_eq!(server(&mut raw, "bob")?, "legacy");
    fleet.cutover("alice", "new", "legacy")?.expect(0)?;
    assert_eq!(server(&mut raw, "alice")?, "legacy");
    Ok(())
}

#[test]
fn no_request_of_the_account_is_open_at_the_source_when_the_cutover_is_reported() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let mut raw = connection(&fleet)?;
    raw.send(format!(
        "POST /add?wait=1 HTTP/1.1\r\nHost: a\r\n{}Content-Length: 3\r\n\r\none",
        basic(&at("alice"))
    ))?;
    wait_until("it is being executed", SOON, || {
        fleet.legacy.events("executed").len() == 1
    })?;
    // The hold waits for its answer (A3); it is not cut off.
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    assert_eq!(fleet.legacy.events("answered").len(), 1);
    assert_eq!(answer(&mut raw)?.status, 200);
    assert_eq!(server(&mut raw, "alice")?, "new");
    Ok(())
}

/// A POST that is open at the source, and a cutover that waits for it: others that come are held.
fn held_by_an_open_post(fleet: &WebFleet) -> Result<(Raw, Child)> {
    let mut open = connection(fleet)?;
    open.send(format!(
        "POST /add?wait=5 HTTP/1.1\r\nHost: a\r\n{}Content-Length: 3\r\n\r\none",
        basic(&at("alice"))
    ))?;
    wait_until("it is being executed", SOON, || {
        fleet.legacy.events("executed").len() == 1
    })?;
    let cutover = fleet
        .control_plane
        .ctl_command(&[
            "cutover",
            &at("alice"),
            "--from",
            "legacy",
            "--to",
            "new",
            "--reason",
            "test",
        ])
        .spawn()?;
    Ok((open, cutover))
}

#[test]
fn requests_that_come_under_a_hold_wait_and_land_at_the_target() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let (mut open, mut cutover) = held_by_an_open_post(&fleet)?;
    wait_until("there is a hold", SOON, || {
        let status = fleet
            .ctl(&["status", "--output", "json"])
            .and_then(|said| said.json());
        status.is_ok_and(|status| {
            let operations = rows(&status, "operations");
            operations
                .iter()
                .any(|operation| operation["hold_revision"].as_u64() > Some(0))
        })
    })?;
    assert!(fleet.legacy.events("answered").is_empty(), "too late to be held");
    let mut waiting: Vec<Raw> = Vec::new();
    for number in 0..5 {
        let mut raw = connection(&fleet)?;
        raw.send(format!(
            "POST /add HTTP/1.1\r\nHost: a\r\n{}Content-Length: 2\r\n\r\nw{number}",
            basic(&at("alice"))
        ))?;
        waiting.push(raw);
    }
    for raw in &mut waiting {
        assert_eq!(answer(raw)?.status, 200);
    }
    assert!(cutover.wait()?.success());
    assert_eq!(answer(&mut open)?.status, 200);
    let executed = executed_once(&fleet)?;
    assert_eq!(executed.len(), 6, "{executed:?}");
    for (id, server) in executed {
        assert_eq!(server, if id == "one" { "legacy" } else { "new" }, "{id}");
    }
    Ok(())
}

/// Every id at most once, and never at both servers; says where each was executed.
fn executed_once(fleet: &WebFleet) -> Result<HashMap<String, String>> {
    let mut all: HashMap<String, String> = HashMap::new();
    for web in [&fleet.legacy, &fleet.new] {
        for entry in web.events("executed") {
            let before = all.insert(entry.id.clone(), web.name.clone());
            anyhow::ensure!(
                before.is_none(),
                "{} was executed twice: at {before:?} and {}",
                entry.id,
                web.name
            );
        }
    }
    Ok(all)
}

#[test]
fn a_post_is_never_executed_twice_by_a_cutover_nor_on_both_servers() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan {
        nodes: 2,
        ..WebPlan::default()
    })?;
    let mut clients = Vec::new();
    for (number, node) in fleet.nodes.iter().enumerate() {
        for user in ["alice", "bob"] {
            clients.push(Running::start(
                "posts.py",
                &json!({"host": node.https.ip(), "port": node.https.port(), "ca": fleet.ca.pem(), "user": at(user),
                        "workers": 3, "wait": 0.03, "name": format!("{user}-{number}-")}),
            )?);
        }
    }
    let (mut from, mut to) = ("legacy", "new");
    for round in 1..=6 {
        let enough = fleet.web(from).events("executed").len() + 10;
        wait_until("posts are executed", SOON, || {
            fleet.web(from).events("executed").len() > enough
        })?;
        fleet.cutover("alice", from, to)?.expect(0)?;
        // From here on nothing of hers is executed at the source.
        let at_source = of(fleet.web(from), "alice");
        wait_until("she is served at the target", SOON, || {
            of(fleet.web(to), "alice") > usize::from(round == 1)
        })?;
        assert_eq!(
            of(fleet.web(from), "alice"),
            at_source,
            "round {round}: executed at the source behind the cutover"
        );
        (from, to) = (to, from);
    }
    let mut answered: HashMap<String, String> = HashMap::new();
    for client in &mut clients {
        client.said()?;
        let said = client.finish()?.pop().unwrap_or_default();
        // No request fails because of a cutover.
        assert_eq!(said["failed"], json!({}), "{said}");
        for (id, server) in said["answered"].as_object().into_iter().flatten() {
            answered.insert(id.clone(), server.as_str().unwrap_or_default().to_owned());
        }
    }
    // Whatever was executed was executed once, where it was answered from, and nothing else was.
    let executed = executed_once(&fleet)?;
    assert_eq!(executed, answered);
    assert!(executed.len() > 100, "{}", executed.len());
    let moved = executed
        .iter()
        .filter(|(id, server)| id.starts_with("alice") && *server == "new");
    assert!(moved.count() > 10);
    assert!(
        executed
            .iter()
            .all(|(id, server)| !id.starts_with("bob") || server == "legacy")
    );
    Ok(())
}

/// How many POSTs of a user a server has executed.
fn of(web: &Web, user: &str) -> usize {
    web.events("executed")
        .iter()
        .filter(|entry| entry.user == at(user))
        .count()
}

#[test]
fn a_websocket_ends_for_a_cutover_and_its_successor_is_at_the_target() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let argument = |user: &str| json!({"url": url("wss", fleet.nodes[0].https, "/ws"), "user": at(user), "ca": fleet.ca.pem(), "again": true});
    let mut alice = Running::start("websocket.py", &argument("alice"))?;
    let mut bob = Running::start("websocket.py", &argument("bob"))?;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.said()?["opened"], "legacy");
        assert_eq!(client.said()?, json!({"echoed": 3}));
    }
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    assert_eq!(fleet.legacy.open_streams(&at("alice")), 0);
    assert_eq!(fleet.legacy.open_streams(&at("bob")), 1);
    let mut heard = Vec::new();
    loop {
        let said = alice.said()?;
        if said["opened"] == "new" {
            break;
        }
        assert_ne!(said, Value::Null, "{heard:?}");
        assert!(said["refused"].is_null(), "{said}");
        heard.push(said);
    }
    bob.finish()?;
    Ok(())
}

/// The webmail writes the end of a stream down a moment after its connection has ended: an event stream's with the next event.
fn has_left_legacy(fleet: &WebFleet, user: &str) -> Result<()> {
    wait_until("no stream is left on legacy", SOON, || {
        fleet.legacy.open_streams(&at(user)) == 0
    })
}

#[test]
fn an_event_stream_ends_for_a_cutover_and_its_successor_is_at_the_target() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let mut events = Running::start(
        "events.py",
        &json!({"url": url("https", fleet.nodes[0].https, "/events"), "user": at("alice"), "ca": fleet.ca.pem(), "again": true}),
    )?;
    assert_eq!(events.said()?, json!({"opened": "legacy"}));
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    has_left_legacy(&fleet, "alice")?;
    let mut ended = 0;
    loop {
        let said = events.said()?;
        if said["opened"] == "new" {
            break;
        }
        assert!(said.get("ended").is_some(), "{said}");
        ended += 1;
        assert!(ended < 50, "it does not come back");
    }
    assert!(ended >= 1);
    assert_eq!(
        fleet.legacy.requests("/events").len(),
        1,
        "it came back to the source"
    );
    Ok(())
}

#[test]
fn streams_of_one_http2_connection_are_held_each_for_its_own_account() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let node = fleet.nodes[0].https;
    let mut command = Running::start(
        "frames.py",
        &json!({"host": node.ip(), "port": node.port(), "ca": fleet.ca.pem(), "what": "requests", "requests": [
            {"path": "/wait?seconds=2", "user": at("alice")}, {"path": "/wait?seconds=2", "user": at("bob")}]}),
    )?;
    wait_until("both are open", SOON, || {
        fleet.legacy.requests("/wait").len() == 2
    })?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    let said = command.said()?;
    for number in 0..2 {
        assert_eq!(said["answers"][number]["status"], 200, "{said}");
        assert!(
            said["answers"][number]["body"]
                .as_str()
                .unwrap_or_default()
                .contains("legacy"),
            "{said}"
        );
    }
    assert_eq!(fleet.curl("alice").get("/whoami")?.server()?, "new");
    assert_eq!(fleet.curl("bob").get("/whoami")?.server()?, "legacy");
    Ok(())
}

#[test]
fn what_stays_held_too_long_is_503_and_never_401() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan {
        cutover: "hold_login_timeout = \"1s\"\nmax_hold = \"20s\"\ndrain_timeout = \"10s\"\n",
        ..WebPlan::default()
    })?;
    let (_open, mut cutover) = held_by_an_open_post(&fleet)?;
    // Until there is a hold she is served; then she waits for a second.
    let mut refused = None;
    wait_until("one is refused", SOON, || {
        let got = fleet.curl("alice").get("/whoami");
        refused = got.ok().filter(|got| got.status != 200);
        refused.is_some()
    })?;
    let refused = refused.expect("just found");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert!(cutover.wait()?.success());
    Ok(())
}

#[test]
fn a_kick_ends_a_users_streams_and_nobody_elses() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let argument = |user: &str| json!({"url": url("wss", fleet.nodes[0].https, "/ws"), "user": at(user), "ca": fleet.ca.pem()});
    let mut alice = Running::start("websocket.py", &argument("alice"))?;
    let mut bob = Running::start("websocket.py", &argument("bob"))?;
    alice.said()?;
    bob.said()?;
    fleet
        .ctl(&["session", "kick", &at("alice"), "--reason", "test"])?
        .expect(0)?;
    wait_until("hers has ended", SOON, || {
        fleet.legacy.open_streams(&at("alice")) == 0
    })?;
    assert_eq!(fleet.legacy.open_streams(&at("bob")), 1);
    Ok(())
}

#[test]
fn a_request_of_nobody_goes_by_unidentified_and_an_unknown_one_by_unknown() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan {
        routing: "unidentified = \"refuse\"\nunknown = \"refuse\"\n",
        ..WebPlan::default()
    })?;
    let plain = mailswitch_tests::http::curl::Curl::tls(fleet.nodes[0].https, fleet.ca.pem());
    for curl in [plain, fleet.curl("stranger")] {
        let got = curl.get("/whoami")?;
        assert!(got.status >= 400 && got.status != 401, "{got:?}");
    }
    assert!(fleet.legacy.requests("/whoami").is_empty());
    // Once a mapping names her, she is known.
    fleet
        .ctl(&["mapping", "set", &at("alice"), "new", "--reason", "test"])?
        .expect(0)?;
    assert_eq!(fleet.curl("alice").get("/whoami")?.server()?, "new");
    Ok(())
}

#[test]
fn idle_connections_of_the_account_to_the_source_are_closed_when_it_has_moved() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan::default())?;
    let mut alice = connection(&fleet)?;
    let mut bob = connection(&fleet)?;
    assert_eq!(server(&mut alice, "alice")?, "legacy");
    assert_eq!(server(&mut bob, "bob")?, "legacy");
    assert_eq!(open_at(fleet.legacy.https)?, 2);
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    assert_eq!(open_at(fleet.legacy.https)?, 1);
    assert_eq!(server(&mut bob, "bob")?, "legacy");
    assert_eq!(server(&mut alice, "alice")?, "new");
    Ok(())
}

#[test]
fn a_post_that_outlasts_the_drain_is_broken_off_and_is_not_sent_to_the_target() -> Result<()> {
    let fleet = WebFleet::start(&WebPlan {
        cutover: "hold_login_timeout = \"30s\"\nmax_hold = \"20s\"\ndrain_timeout = \"2s\"\n",
        ..WebPlan::default()
    })?;
    let mut raw = connection(&fleet)?;
    raw.send(format!(
        "POST /add?wait=60 HTTP/1.1\r\nHost: a\r\n{}Content-Length: 3\r\n\r\none",
        basic(&at("alice"))
    ))?;
    wait_until("it is being executed", SOON, || {
        fleet.legacy.events("executed").len() == 1
    })?;
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    assert_eq!(answer(&mut raw)?.status, 502);
    assert_eq!(
        executed_once(&fleet)?,
        HashMap::from([("one".to_owned(), "legacy".to_owned())])
    );
    Ok(())
}
