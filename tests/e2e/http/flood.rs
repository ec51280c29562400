//! Floods of HTTP/2 frames end the connection that they come over, before they cost anything (CVE-2023-44487 and its
//! relatives): the backend is hardly asked, the node's memory stays, and everybody else is served.

use anyhow::{Context, Result};
use mailswitch_tests::{
    http::{
        python,
        web::{BY_LOGIN, Web, destination},
    },
    lone::Lone,
    when::wait_until,
};
use serde_json::{Value, json};

use super::{ALICE, SOON, Scene};

fn flood(scene: &Scene, node: &Lone, what: &str, most: u32) -> Result<Value> {
    let server = node.at("http", "implicit")?;
    python::run(
        "frames.py",
        &json!({"host": server.ip(), "port": server.port(), "ca": scene.ca.pem(), "what": what, "most": most, "user": ALICE}),
    )
}

/// In KiB.
fn memory(node: &Lone) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.pid()))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("its memory")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

fn scene_with_node() -> Result<(Scene, Web, Lone)> {
    let scene = Scene::new()?;
    let web = Web::start(&scene.place, &scene.ca, "legacy")?;
    let node = scene.node(&(destination(&web, "implicit", "") + BY_LOGIN), "")?;
    assert_eq!(scene.curl(&node)?.user(ALICE).get("/whoami")?.status, 200);
    Ok((scene, web, node))
}

#[test]
fn streams_that_are_opened_and_reset_end_the_connection_and_hardly_reach_the_backend() -> Result<()> {
    let (scene, web, node) = scene_with_node()?;
    let before = memory(&node)?;
    let said = flood(&scene, &node, "reset", 20_000)?;
    assert!(said["closed"] == true || said["goaway"].is_number(), "{said}");
    assert!(said["sent"].as_u64() < Some(20_000), "{said}");
    assert!(
        web.requests("/wait").len() < 500,
        "{} requests for {said}",
        web.requests("/wait").len()
    );
    wait_until("what was reset is over at the backend too", SOON, || {
        web.events("cancelled").len() + web.events("answered").len() >= web.events("request").len()
    })?;
    assert!(
        memory(&node)? < before + 64 * 1024,
        "{before} KiB before, {} KiB now",
        memory(&node)?
    );
    assert_eq!(scene.curl(&node)?.user(ALICE).get("/whoami")?.status, 200);
    Ok(())
}

#[test]
fn a_head_that_never_ends_ends_the_connection() -> Result<()> {
    let (scene, _web, node) = scene_with_node()?;
    let before = memory(&node)?;
    let said = flood(&scene, &node, "continuation", 20_000)?;
    assert!(said["closed"] == true || said["goaway"].is_number(), "{said}");
    assert!(said["sent"].as_u64() < Some(20_000), "{said}");
    assert!(
        memory(&node)? < before + 64 * 1024,
        "{before} KiB before, {} KiB now",
        memory(&node)?
    );
    assert_eq!(scene.curl(&node)?.user(ALICE).get("/whoami")?.status, 200);
    Ok(())
}

#[test]
fn pings_settings_and_empty_data_cost_a_node_no_memory() -> Result<()> {
    let (scene, _web, node) = scene_with_node()?;
    let before = memory(&node)?;
    for what in ["ping", "settings", "empty"] {
        // Each piece is ten frames. They are answered or end the connection; they are not kept.
        let said = flood(&scene, &node, what, 5_000)?;
        assert!(said["sent"].is_number(), "{what}: {said}");
        if what != "empty" {
            // There is no request that they could belong to.
            assert!(said["closed"] == true || said["goaway"].is_number(), "{said}");
        }
        let now = memory(&node)?;
        assert!(
            now < before + 64 * 1024,
            "{what}: {before} KiB before, {now} KiB now; {said}"
        );
    }
    assert_eq!(scene.curl(&node)?.user(ALICE).get("/whoami")?.status, 200);
    Ok(())
}
