//! What `check` says of HTTP legs, without a login: whether they answer, with a PROXY header or without, and whether the URLs
//! of their JMAP session keep clients at the proxy.

use std::process::Command;

use anyhow::Result;
use mailswitch_tests::{
    cyrus::Cyrus,
    fleet::program,
    http::{
        nginx::{Nginx, Told},
        recorder::{Recorder, Reply},
        web::{BY_LOGIN, at},
    },
};

use super::{ALICE, Scene};

/// The exit code and what was said, of a node's file with these tables.
fn check(scene: &Scene, tables: &str) -> Result<(Option<i32>, String)> {
    let node = scene.node(&format!("{tables}{BY_LOGIN}"), "")?;
    let output = Command::new(program("mailswitch-data-plane")?)
        .arg("--check")
        .arg(&node.config)
        .env("SSL_CERT_FILE", scene.ca.pem())
        .output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    ))
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.contains(line), "{line}\nis not in\n{text}");
}

#[test]
fn urls_that_lead_jmap_clients_past_the_proxy_are_said() -> Result<()> {
    let scene = Scene::new()?;
    let session =
        r#"{"apiUrl": "https://v1.lan.example/jmap/", "downloadUrl": "https://proxy.example.org/download"}"#;
    let legacy = Recorder::start(&scene.place, move |_| Reply::ok(session))?;
    let moved = Recorder::start(&scene.place, |_| {
        Reply::Keep(
            b"HTTP/1.1 307 Elsewhere\r\nLocation: http://proxy.example.org/jmap\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
        )
    })?;
    // It redirects to where it was asked, as it understood that: to the public name.
    let cyrus = Cyrus::start(&scene.place, &scene.ca, "third", &[ALICE])?;
    let closed = Recorder::start(&scene.place, |_| {
        Reply::Keep(b"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".to_vec())
    })?;
    let none = "forwarding = \"none\"\n";
    let tables = at("legacy", legacy.address, "plain", none)
        + &at("new", moved.address, "plain", none)
        + &at("third", cyrus.https, "implicit", none)
        + &at("fourth", closed.address, "plain", none);
    let (code, said) = check(&scene, &tables)?;
    assert_eq!(code, Some(0), "{said}");
    says(
        &said,
        "! sends JMAP clients to v1.lan.example, not to server.hostname proxy.example.org",
    );
    says(&said, "set the public URL of legacy to https://proxy.example.org");
    assert_eq!(
        said.matches("✓ names proxy.example.org in its JMAP session")
            .count(),
        3,
        "{said}"
    );
    assert_eq!(said.matches("! names http:// URLs").count(), 1, "{said}");
    says(&said, "· asks for a login before its JMAP session");
    for backend in [&legacy, &moved] {
        // The other attempt begins with a PROXY header, which is no request.
        for asked in backend
            .asked()
            .iter()
            .filter(|asked| asked.line().starts_with("GET"))
        {
            assert_eq!(asked.header("authorization"), Vec::<&str>::new());
            assert_eq!(asked.header("host"), ["proxy.example.org"]);
        }
    }
    Ok(())
}

#[test]
fn an_http_server_that_is_told_of_clients_in_the_wrong_way_is_found_out() -> Result<()> {
    let scene = Scene::new()?;
    let told = Nginx::start(&scene.place, &scene.ca, "legacy", Told::ProxyHeader)?;
    let plain = Nginx::start(&scene.place, &scene.ca, "new", Told::Field)?;
    let tables = |told_by: &str, plain_by: &str| {
        at("legacy", told.https, "implicit", told_by) + &at("new", plain.http, "plain", plain_by)
    };
    let (none, proxy) = ("forwarding = \"none\"\n", "forwarding = \"proxy\"\n");
    let (code, said) = check(&scene, &tables(proxy, none))?;
    assert_eq!(code, Some(0), "{said}");
    says(&said, "✓ answers only with a PROXY header, as it should");
    says(&said, "✓ answers as http, with 404");
    let (code, said) = check(&scene, &tables(none, proxy))?;
    assert_eq!(code, Some(1), "{said}");
    says(&said, "✗ answers only with a PROXY header, and none is sent");
    says(&said, "✗ answers only without a PROXY header");
    says(&said, "destination.new.protocol.http.forwarding = \"none\"");
    Ok(())
}
