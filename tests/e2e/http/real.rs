//! Real servers and real clients of HTTP with a node between them: Cyrus (JMAP, CalDAV), nginx (DAV), curl, jmapc, caldav,
//! Chromium.

use anyhow::Result;
use mailswitch_tests::{
    cyrus::Cyrus,
    http::{
        browser,
        nginx::{Nginx, Told},
        python,
        web::{BY_LOGIN, Web, at, destination},
    },
};
use serde_json::json;

use super::{ALICE, BOB, Scene, url};

#[test]
fn a_jmap_library_and_a_caldav_library_use_cyrus_and_each_account_its_own() -> Result<()> {
    let scene = Scene::new()?;
    let legacy = Cyrus::start(&scene.place, &scene.ca, "legacy", &[ALICE, BOB])?;
    let new = Cyrus::start(&scene.place, &scene.ca, "new", &[ALICE, BOB])?;
    legacy.deliver(ALICE, "Subject: one\r\n\r\nhello\r\n")?;
    new.deliver(BOB, "Subject: two\r\n\r\nhello\r\n")?;
    new.deliver(BOB, "Subject: three\r\n\r\nhello\r\n")?;
    let tables = at("legacy", legacy.https, "implicit", "forwarding = \"none\"\n")
        + &at("new", new.https, "implicit", "forwarding = \"none\"\n")
        + BY_LOGIN;
    let node = scene.node(&tables, &format!("{BOB} new\n"))?;
    let server = node.at("http", "implicit")?;
    for (user, messages) in [(ALICE, 1), (BOB, 2)] {
        let said = python::run(
            "jmap.py",
            &json!({"host": server.to_string(), "user": user, "ca": scene.ca.pem(), "make": "Archive"}),
        )?;
        assert_eq!(said["user"], user, "{said}");
        assert_eq!(said["inbox"], messages, "{said}");
        assert!(said["mailboxes"].to_string().contains("Archive"), "{said}");
        let said = python::run(
            "dav.py",
            &json!({"url": url("https", server, ""), "user": user, "ca": scene.ca.pem(), "name": "work"}),
        )?;
        assert_eq!(said["events"], 1, "{said}");
        assert!(said["calendars"].to_string().contains("work"), "{said}");
    }
    Ok(())
}

#[test]
fn files_go_to_nginx_and_come_back_whole() -> Result<()> {
    let scene = Scene::new()?;
    let nginx = Nginx::start(&scene.place, &scene.ca, "legacy", Told::Field)?;
    let tables = at(
        "legacy",
        nginx.https,
        "implicit",
        "forwarding = \"none\"\nforwarded = true\n",
    ) + BY_LOGIN;
    let node = scene.node(&tables, "")?;
    let file = scene.place.path().join("large");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &content)?;
    let client = scene.place.address(61);
    let curl = scene.curl(&node)?.from(client);
    for (curl, version) in [(curl.clone(), "2"), (curl.clone().http1(), "1.1")] {
        let target = format!("/dav/{version}/large");
        let upload = curl
            .clone()
            .with(&["-T", &file.display().to_string()])
            .get(&target)?;
        assert_eq!((upload.status, upload.version.as_str()), (201, version));
        assert_eq!(
            std::fs::read(nginx.directory.join(format!("files{target}")))?,
            content
        );
        let back = scene.place.path().join("back");
        let got = curl
            .command(&[&target])
            .args(["-o", &back.display().to_string(), "--no-include"])
            .output()?;
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert_eq!(std::fs::read(&back)?, content);
    }
    let got = curl.with(&["-X", "DELETE"]).get("/dav/2/large")?;
    assert_eq!(got.status, 204);
    for served in nginx.served() {
        assert_eq!(served.peer, client, "{served:?}");
        assert!(served.via.contains("mailswitch-"), "{served:?}");
    }
    Ok(())
}

#[test]
fn chromium_uses_a_webmail_through_a_node_with_a_websocket_and_an_event_stream() -> Result<()> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let node = scene.node(&(destination(&web, "implicit", "") + BY_LOGIN), "")?;
    let target = url(
        "https",
        node.at("http", "implicit")?,
        &format!("/page?user={ALICE}"),
    );
    let _browser = browser::open(&scene.place, "browser", &target)?;
    assert_eq!(
        web.page_result()?,
        "fetch legacy; posts true; socket hello; events 3; protocol h2"
    );
    Ok(())
}
