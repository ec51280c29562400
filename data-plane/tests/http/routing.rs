//! Which backend a request goes to, and which one the next on the same connection (behaviour 8.2, 8.3).

use std::time::Duration;

use mailswitch_config::FleetConfig;
use mailswitch_config::table::http::{RouteFallback, RouteTarget};

use crate::rig::{Differences, Talk, basic, ok, world};

const MOVED: Differences<'_> = Differences {
    server: "",
    listener: "",
    http: "",
    routes: "",
    moved: "ann@example.org new\n",
    destination: "",
    leg: "",
};

#[tokio::test]
async fn a_request_goes_where_its_account_is_and_what_does_not_frame_it_passes_unchanged() {
    let world = world(MOVED).await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say(format!(
            "GET /jmap/session?x=%2F HTTP/1.1\r\nHost: mail.example.org\r\n{}X-Custom: a b\r\nKeep-Alive: 5\r\n\r\n",
            basic("ann@example.org")
        ))
        .await;
    let mut backend = world.new.accept().await;
    let request = backend.message().await;
    assert_eq!(request.start, "GET /jmap/session?x=%2F HTTP/1.1");
    assert_eq!(request.field("host"), Some("mail.example.org"));
    assert_eq!(request.field("x-custom"), Some("a b"));
    assert_eq!(request.field("keep-alive"), None);
    assert!(
        request
            .field("via")
            .is_some_and(|via| via.starts_with("1.1 mailswitch-"))
    );
    assert!(request.field("authorization").is_some());
    backend.say(ok("hello")).await;
    let answer = client.message().await;
    assert_eq!(answer.start, "HTTP/1.1 200 OK");
    assert_eq!(answer.field("content-length"), Some("5"));
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn one_connection_serves_two_accounts_on_two_servers_and_each_leg_is_used_again() {
    let world = world(MOVED).await;
    let mut client = Talk::to(world.node.address).await;
    let ask = |who: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n", basic(who));
    client.say(ask("ann@example.org", "/1")).await;
    let mut new = world.new.accept().await;
    assert_eq!(new.message().await.start, "GET /1 HTTP/1.1");
    new.say(ok("new")).await;
    assert_eq!(client.message().await.text(), "new");
    client.say(ask("bob@example.org", "/2")).await;
    let mut old = world.old.accept().await;
    assert_eq!(old.message().await.start, "GET /2 HTTP/1.1");
    old.say(ok("old")).await;
    assert_eq!(client.message().await.text(), "old");
    for round in 0..3 {
        client.say(ask("ann@example.org", "/3")).await;
        assert_eq!(new.message().await.start, "GET /3 HTTP/1.1", "{round}");
        new.say(ok("again")).await;
        assert_eq!(client.message().await.text(), "again");
    }
    client.say(ask("bob@example.org", "/4")).await;
    assert_eq!(old.message().await.start, "GET /4 HTTP/1.1");
    old.say(ok("again")).await;
    assert_eq!(client.message().await.text(), "again");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_idle_legs_along() {
    let world = world(MOVED).await;
    let mut client = Talk::to(world.node.address).await;
    client.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut old = world.old.accept().await;
    old.message().await;
    old.say(ok("hello")).await;
    client.message().await;
    assert!(old.is_silent(Duration::from_millis(200)).await);
    drop(client);
    old.ends().await;
}

const ROUTES: &str = r#"
[[http.route]]
match = "/pinned/**"
destination = "new"
[[http.route]]
match = "/query"
extract = { from = "query", param = "user" }
fallback = "new"
[[http.route]]
match = "/field"
extract = { from = "header", header = "X-Account" }
fallback = "default"
[[http.route]]
match = "/rest/**"
fallback = "new"
"#;

#[tokio::test]
async fn each_route_sends_its_requests_where_it_says() {
    let world = world(Differences {
        routes: ROUTES,
        moved: "ann@example.org new\nbob@example.org old\n",
        ..Differences::default()
    })
    .await;
    let rows = [
        ("/pinned/x", "", "new"),
        ("/query?a=b&user=bob%40example.org", "", "old"),
        ("/query?user=ANN@example.org%25", "", "old"),
        // One that has no mapping: the default, not the fallback.
        ("/query?user=nobody@example.org", "", "old"),
        // None: the fallback.
        ("/query?other=x", "", "new"),
        ("/field", "X-Account: ann@example.org\r\n", "new"),
        ("/field", "", "old"),
        ("/field/", "X-Account: ann@example.org\r\n", "new"),
        ("/rest/x", "", "new"),
    ];
    for (path, fields, to) in rows {
        let mut client = Talk::to(world.node.address).await;
        client
            .say(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .await;
        let (there, other) = match to {
            "new" => (&world.new, &world.old),
            _ => (&world.old, &world.new),
        };
        let mut backend = there.accept().await;
        backend.message().await;
        backend.say(ok(to)).await;
        assert_eq!(client.message().await.text(), to, "{path}");
        assert!(other.nobody_comes(Duration::from_millis(20)).await);
    }
}

#[tokio::test]
async fn what_is_no_identifier_is_refused() {
    let world = world(Differences {
        routes: ROUTES,
        ..Differences::default()
    })
    .await;
    for path in ["/query?user=a%00b", "/query?user=", "/query?user=a%20b"] {
        let mut client = Talk::to(world.node.address).await;
        client
            .say(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.message().await.start, "HTTP/1.1 400 Bad Request", "{path}");
        client.ends().await;
    }
    assert!(world.old.nobody_comes(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_client_that_asks_again_at_once_finds_the_leg_of_its_last_request() {
    let world = world(MOVED).await;
    let mut client = Talk::to(world.node.address).await;
    let ask = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    client.say(ask).await;
    let mut leg = world.old.accept().await;
    for round in 0..200 {
        leg.message().await;
        if round % 2 == 0 {
            leg.say(ok("hello")).await;
            client.message().await;
        } else {
            leg.say("HTTP/1.1 204 No Content\r\n\r\n").await;
            client.head().await;
        }
        client.say(ask).await;
    }
    leg.message().await;
}

#[tokio::test]
async fn a_fallback_that_changes_while_a_request_is_read_is_the_new_one() {
    let world = world(Differences {
        routes: "[[http.route]]\nmatch = \"/**\"\nextract = { from = \"body\", regex = \"user=([^&]+)\" }\nfallback = \"old\"\n",
        ..Differences::default()
    })
    .await;
    let mut client = Talk::to(world.node.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    // Its route is known: the start of its body is read.
    assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
    let knowledge = &world.node.running.as_ref().expect("a node").node().knowledge;
    let mut config = FleetConfig::clone(&knowledge.config());
    let RouteTarget::Extracted(_, fallback) = &mut config.http.routes[0].target else {
        panic!("{:?}", config.http.routes);
    };
    *fallback = RouteFallback::Destination("new".into());
    knowledge.set_config(config);
    client.say("a=b&c").await;
    let mut backend = world.new.accept().await;
    assert_eq!(backend.message().await.text(), "a=b&c");
    backend.say(ok("new")).await;
    assert_eq!(client.message().await.text(), "new");
}
