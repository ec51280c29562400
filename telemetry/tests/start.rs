//! The life of telemetry in a process. Each test is a process of its own: what it starts is global.

use std::time::{Duration, Instant};

use mailswitch_config::table::telemetry::Telemetry as Settings;
use mailswitch_telemetry::{Logs, NodeInstruments, Service, meter, start};

fn service() -> Service {
    Service {
        name: "mailswitch-data-plane",
        version: "0.0.0",
        instance: Some("fra-1".to_owned()),
        attributes: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_nothing_up() {
    // A port that nobody listens on: bound, then closed again.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let settings = Settings {
        otlp_endpoint: Some(format!("http://{free}")),
        ..Settings::default()
    };
    let logs = Logs::Server {
        level: "info".to_owned(),
    };
    let telemetry = start(&service(), &settings, &logs).unwrap();
    let instruments = NodeInstruments::new(&meter());
    instruments.logins.add(1, &[]);
    for _ in 0..10_000 {
        drop(tracing::info_span!("session").entered());
    }
    let page = telemetry.page();
    assert!(page.render().unwrap().contains("mail_logins_total 1"));
    let before = Instant::now();
    telemetry.shutdown().await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_in_one_process_is_refused() {
    let logs = Logs::Command;
    let first = start(&service(), &Settings::default(), &logs).unwrap();
    let second = start(&service(), &Settings::default(), &logs);
    assert_eq!(
        second.unwrap_err().to_string(),
        "telemetry was started twice in one process"
    );
    first.shutdown().await;
}
