//! What an operator sees: revisions apart, and one cutover as one trace through all three programs.

use std::{collections::HashSet, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    client::Login,
    collector::{Collector, Span},
    fleet::{Fleet, Plan, at, nodes_of},
    place::Place,
    when::{eventually, wait_until},
};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn status_tells_apart_what_is_committed_what_was_sent_and_what_is_applied() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let before = fleet.status()?;
    fleet.node(1).process.signal(Signal::SIGSTOP)?;
    fleet
        .ctl(&[
            "mapping",
            "set",
            "someone@example.net",
            "new",
            "--unproven",
            "--reason",
            "test",
        ])?
        .expect(0)?;
    let status = eventually("the other node has applied it", SOON, || {
        let status = fleet.status().ok()?;
        let node = nodes_of(&status)
            .into_iter()
            .find(|node| node["name"] == "node-1")?;
        (node["applied_revision"] == status["revision"]).then_some(status)
    })?;
    let frozen = nodes_of(&status)
        .into_iter()
        .find(|node| node["name"] == "node-2")
        .context("node-2")?;
    assert_ne!(status["revision"], before["revision"]);
    assert_eq!(frozen["sent_revision"], status["revision"], "{frozen:#}");
    assert_eq!(frozen["applied_revision"], before["revision"], "{frozen:#}");
    assert_eq!(frozen["in_sync"], false);
    fleet.node(1).process.signal(Signal::SIGCONT)?;
    fleet.wait_in_sync()
}

#[test]
fn sessions_are_listed_with_their_client_and_destination_and_can_be_kicked() -> Result<()> {
    let fleet = Fleet::start(&Plan::default())?;
    let client = fleet.place.address(120);
    let mut session = Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .from(client)
        .stay()?;
    let listed = fleet.ctl(&["session", "list", "--output", "json"])?.expect(0)?;
    assert!(
        listed.stdout.contains(&client.to_string()) && listed.stdout.contains("legacy"),
        "{listed:?}"
    );
    fleet
        .ctl(&["session", "kick", &at("alice"), "--reason", "test"])?
        .expect(0)?;
    assert!(!session.end()?.ok);
    Ok(())
}

#[test]
fn a_collector_receives_one_cutover_as_one_trace_linked_to_the_login_that_waited() -> Result<()> {
    let own = Place::new()?;
    let collector = Collector::start(&own)?;
    let fleet = Fleet::start(&Plan {
        otlp: Some(collector.address),
        ..Plan::default()
    })?;
    // A login that comes while alice is held for her copy, which takes a moment.
    let began = fleet.place.path().join("copy-began");
    let copy = format!("touch {}; sleep 2", began.display());
    let command = fleet
        .ctl_command(&[
            "cutover",
            &at("alice"),
            "--from",
            "legacy",
            "--to",
            "new",
            "--copy",
            &copy,
            "--reason",
            "test",
        ])
        .env(
            "MAILSWITCH_OTLP_ENDPOINT",
            format!("http://{}", collector.address),
        )
        .stdin(Stdio::null())
        .spawn()?;
    wait_until("the copy runs", SOON, || began.exists())?;
    Login::imap(fleet.node(1).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    assert!(command.wait_with_output()?.status.success());

    let services = [
        "mailswitchctl",
        "mailswitch-control-plane",
        "mailswitch-data-plane",
    ];
    // Spans come in batches: the trace is whole when every span but one has its parent in it.
    let trace = eventually("a whole trace with spans of all three programs", SOON, || {
        let spans = collector.spans();
        let start = spans.iter().find(|span| span.name.ends_with("CutoverStart"))?;
        let of: Vec<Span> = spans
            .iter()
            .filter(|span| span.trace == start.trace)
            .cloned()
            .collect();
        let all = services
            .iter()
            .all(|service| of.iter().any(|span| span.service == *service));
        let applied = of
            .iter()
            .filter(|span| span.service == services[2] && parent(&of, span) == services[1]);
        // Hold and flip, on both nodes.
        (all && applied.count() >= 2 * fleet.nodes.len() && roots(&of).len() == 1).then_some(of)
    })
    .with_context(|| summary(&collector.spans()))?;
    assert_eq!(roots(&trace)[0].service, services[0], "{}", summary(&trace));
    let ids: HashSet<&str> = trace.iter().map(|span| span.id.as_str()).collect();
    let cut: HashSet<&str> = trace.iter().map(|span| span.trace.as_str()).collect();

    // The session that waited is a trace of its own, linked to the cutover's.
    let session = eventually("the session's trace", SOON, || {
        collector.spans().into_iter().find(|span| {
            span.service == services[2]
                && !cut.contains(span.trace.as_str())
                && span
                    .links
                    .iter()
                    .any(|(trace, id)| cut.contains(trace.as_str()) && ids.contains(id.as_str()))
        })
    })
    .with_context(|| summary(&collector.spans()))?;
    assert!(!session.trace.is_empty());

    // Metrics come from both servers.
    wait_until("metrics of both servers", SOON, || {
        let output = collector.output();
        let metrics = output.split("ResourceMetrics #").skip(1);
        let of: HashSet<&str> = metrics
            .filter_map(|part| part.split_once("service.name: Str(")?.1.split(')').next())
            .collect();
        of.contains(services[1]) && of.contains(services[2])
    })
    .with_context(|| collector.output())
}

#[test]
fn both_servers_serve_metrics_and_readiness() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    for server in [fleet.control_plane.metrics, fleet.node(0).metrics] {
        let ready = get(server, "/readyz")?;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let metrics = get(server, "/metrics")?;
        assert!(metrics.contains("# TYPE"), "{metrics}");
    }
    Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    // How long the login took, by where it went.
    let metrics = get(fleet.node(0).metrics, "/metrics")?;
    let took = metrics.lines().find(|line| {
        line.starts_with("mail_login_duration_seconds_count") && line.contains("mail_destination=\"legacy\"")
    });
    assert!(took.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    Ok(())
}

pub(crate) fn get(server: std::net::SocketAddr, path: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The program that a span's parent is of.
fn parent<'a>(spans: &'a [Span], of: &Span) -> &'a str {
    let parent = spans.iter().find(|span| span.id == of.parent);
    parent.map_or("", |span| span.service.as_str())
}

/// Those whose parent is not among them.
fn roots(spans: &[Span]) -> Vec<&Span> {
    spans
        .iter()
        .filter(|span| !spans.iter().any(|other| other.id == span.parent))
        .collect()
}

fn summary(spans: &[Span]) -> String {
    spans
        .iter()
        .map(|span| {
            format!(
                "{} {} {} <- {} {} {:?}\n",
                span.trace, span.service, span.id, span.parent, span.name, span.links
            )
        })
        .collect()
}
