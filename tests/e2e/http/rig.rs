//! The rig of HTTP itself, without any proxy: what the other tests rely on is shown to hold of the real servers.

use anyhow::Result;
use mailswitch_tests::{
    http::{
        browser,
        curl::Curl,
        nginx::{Nginx, Told},
        python::{self, Running},
        web::Web,
    },
    when::wait_until,
};
use serde_json::json;

use super::{ALICE, SOON, Scene, url};

#[test]
fn the_webmail_says_who_asked_and_notes_what_it_has_executed() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let curl = Curl::tls(web.https, scene.ca.pem()).user(ALICE);
    let got = curl.all(&["/whoami", "/whoami"])?;
    assert_eq!(got[0].server()?, "legacy");
    assert_eq!(got[0].json()?["user"], ALICE);
    assert_eq!((got[0].connects, got[1].connects), (1, 0));
    assert_eq!(Curl::plain(web.http).get("/private")?.status, 401);
    assert_eq!(curl.clone().with(&["--data", "one"]).get("/add")?.status, 200);
    let executed = web.events("executed");
    assert_eq!((executed.len(), executed[0].id.as_str()), (1, "one"));
    Ok(())
}

#[test]
fn websockets_and_event_streams_work_with_their_clients_and_are_noted() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let ca = scene.ca.pem().display().to_string();
    let mut socket = Running::start(
        "websocket.py",
        &json!({"url": url("wss", web.https, "/ws"), "user": ALICE, "ca": ca}),
    )?;
    assert_eq!(
        socket.said()?,
        json!({"opened": "legacy", "user": ALICE, "subprotocol": "echo"})
    );
    assert_eq!(socket.said()?, json!({"echoed": 3}));
    let mut events = Running::start(
        "events.py",
        &json!({"url": url("https", web.https, "/events?count=3"), "user": ALICE, "ca": ca}),
    )?;
    assert_eq!(events.said()?, json!({"opened": "legacy"}));
    assert_eq!(events.said()?, json!({"ended": 200}));
    wait_until("one stream is left", SOON, || web.open_streams(ALICE) == 1)?;
    socket.finish()?;
    wait_until("none is left", SOON, || web.open_streams(ALICE) == 0)
}

#[test]
fn nginx_speaks_both_versions_stores_files_and_takes_a_proxy_header() -> Result<()> {
    let scene = Scene::new()?;
    let nginx = Nginx::start(&scene.place, &scene.ca, "static", Told::Field)?;
    let curl = Curl::tls(nginx.https, scene.ca.pem());
    assert_eq!(curl.get("/name")?.body, "static HTTP/2.0\n");
    assert_eq!(curl.clone().http1().get("/name")?.body, "static HTTP/1.1\n");
    assert_eq!(
        curl.clone()
            .http1()
            .with(&["-X", "PUT", "--data-binary", "hello"])
            .get("/dav/a/b")?
            .status,
        201
    );
    assert_eq!(curl.http1().get("/dav/a/b")?.body, "hello");
    assert_eq!(nginx.served().len(), 4);
    let nginx = Nginx::start(&scene.place, &scene.ca, "told", Told::ProxyHeader)?;
    let curl = Curl::tls(nginx.https, scene.ca.pem()).with(&["--haproxy-protocol"]);
    assert_eq!(curl.from(scene.place.address(77)).get("/name")?.status, 200);
    assert_eq!(nginx.served()[0].peer, scene.place.address(77));
    Ok(())
}

#[test]
fn chromium_opens_the_webmail_with_its_socket_and_its_event_stream() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let _browser = browser::open(
        &scene.place,
        "browser",
        &url("https", web.https, &format!("/page?user={ALICE}")),
    )?;
    assert_eq!(
        web.page_result()?,
        "fetch legacy; posts true; socket hello; events 3; protocol http/1.1"
    );
    Ok(())
}

#[test]
fn posts_are_counted_by_client_and_server_alike() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let mut posts = Running::start(
        "posts.py",
        &json!({"host": web.https.ip(), "port": web.https.port(), "ca": scene.ca.pem(), "user": ALICE, "workers": 2, "wait": 0.01}),
    )?;
    assert_eq!(posts.said()?, json!({"started": true}));
    wait_until("some were executed", SOON, || web.events("executed").len() > 20)?;
    let said = posts.finish()?.pop().unwrap_or_default();
    assert_eq!(said["failed"], json!({}));
    assert_eq!(
        said["answered"].as_object().map(serde_json::Map::len),
        Some(web.events("executed").len())
    );
    Ok(())
}

#[test]
fn the_clients_by_hand_speak_to_a_real_http2_server() -> Result<()> {
    let scene = Scene::new()?;
    let nginx = Nginx::start(&scene.place, &scene.ca, "static", Told::Field)?;
    let said = python::run(
        "frames.py",
        &json!({"host": nginx.https.ip(), "port": nginx.https.port(), "ca": scene.ca.pem(), "what": "requests",
                "requests": [{"path": "/name"}, {"path": "/none"}]}),
    )?;
    assert_eq!(said["answers"][0]["status"], 200, "{said}");
    assert_eq!(said["answers"][0]["body"], "static HTTP/2.0\n", "{said}");
    assert_eq!(said["answers"][1]["status"], 404, "{said}");
    Ok(())
}
