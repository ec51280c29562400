//! Nothing of a credential is in a log, an answer of ours, a metric or a trace (behaviour section 12).

use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use mailswitch_tests::{
    collector::Collector,
    fleet::at,
    http::fleet::{WebFleet, WebPlan},
    place::Place,
    raw::Raw,
    when::wait_until,
};

use super::answer;

#[test]
fn no_log_no_answer_and_no_trace_shows_a_credential() -> Result<()> {
    let sink = Place::new()?;
    let collector = Collector::start(&sink)?;
    let fleet = WebFleet::start(&WebPlan {
        otlp: Some(collector.address),
        ..WebPlan::default()
    })?;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let user = at("alice");
    let good = encode(&format!("{user}:secret"));
    let wrong = encode(&format!("{user}:hunter2-basic"));
    let heads = [
        format!("GET /whoami?access_token=hunter2-query HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {good}\r\nCookie: session=hunter2-cookie\r\n"),
        format!("GET /whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {wrong}\r\n"),
        "GET /whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hunter2-bearer\r\n".to_owned(),
        "GET /whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Basic hunter2-broken*\r\n".to_owned(),
        format!("GET /whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {}\r\n", encode("hunter2 password typed as a name:x")),
        "GET /whoami HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hunter2-one\r\nAuthorization: Bearer hunter2-two\r\n".to_owned(),
        format!("GET /whoami?hunter2-query HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic hunter2-proxy\r\nAuthorization: Basic {good}\r\n"),
        "GET /hunter2-path-is-no-secret HTTP/1.0\r\nCookie: hunter2-cookie\r\n".to_owned(),
        format!("POST /login HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {good}\r\nContent-Length: 40\r\nContent-Type: application/x-www-form-urlencoded\r\n"),
    ];
    let mut answers = String::new();
    for head in &heads {
        let mut raw = Raw::connect(fleet.nodes[0].http)?;
        let body = if head.starts_with("POST") {
            "user=alice&password=hunter2-form&x=12345"
        } else {
            ""
        };
        raw.send(format!("{head}\r\n{body}"))?;
        let got = answer(&mut raw)?;
        if got.status >= 400 {
            answers += &format!("{:?}{}", got.head, got.body);
        }
    }
    fleet.cutover("alice", "legacy", "new")?.expect(0)?;
    wait_until("the spans have arrived", Duration::from_secs(30), || {
        !collector.spans().is_empty()
    })?;
    let logs = fleet.logs()?;
    assert!(
        logs.contains("session"),
        "the log is not a debug log: {logs:.300}"
    );
    for (name, text) in [
        ("a log", &logs),
        ("an answer", &answers),
        ("a trace", &collector.output()),
    ] {
        for secret in ["hunter2-", "hunter2 ", &good, &wrong, "secret\""] {
            let found = text
                .lines()
                .find(|line| line.contains(secret) && !line.contains("hunter2-path"));
            assert_eq!(found, None, "{name} shows {secret}");
        }
    }
    Ok(())
}
