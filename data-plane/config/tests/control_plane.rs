//! A control plane's file.

mod support;

use insta::assert_snapshot;
use mailswitch_config::ControlPlaneConfig;
use mailswitch_config::control_plane::Database;
use support::Files;

const FILE: &str = r#"
[control_plane]
bind = "0.0.0.0:7443"
advertise = "https://cp1.example.org:7443"
state_dir = "/var/lib/mailswitch/control-plane"
ca = "/etc/mailswitch/chain.pem"
cert = "/etc/mailswitch/chain.pem"
key = "/etc/mailswitch/key.pem"
"#;

fn said(toml: &str) -> String {
    let files = Files::new();
    let result = ControlPlaneConfig::parse(&files.here(toml), "control-plane.toml");
    files.shown(result)
}

#[test]
fn without_a_database_there_is_the_private_one() {
    let files = Files::new();
    let checked = ControlPlaneConfig::parse(&files.here(FILE), "control-plane.toml").unwrap();
    assert_eq!(checked.warnings.to_string(), "");
    assert_eq!(checked.config.database, Database::Private);
    assert_eq!(checked.config.web, None);
    assert_eq!(checked.config.metrics, None);
}

#[test]
fn all_of_its_tables_are_read() {
    let more = "
[server]
log_level = \"debug\"
[web]
bind = \"0.0.0.0:7444\"
[database]
url = \"postgres://mailswitch:hunter2@db.example.org/mailswitch\"
[telemetry]
otlp_endpoint = \"http://collector.example.org:4317\"
[metrics]
";
    let files = Files::new();
    let toml = files.here(&format!("{FILE}{more}"));
    let config = ControlPlaneConfig::parse(&toml, "control-plane.toml")
        .unwrap()
        .config;
    assert!(matches!(&config.database, Database::External(url) if url.expose().contains("hunter2")));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.metrics.unwrap().bind.to_string(), "127.0.0.1:9181");
    assert_eq!(config.server.log_level, "debug");
}

#[test]
fn everything_that_is_wrong_in_it_is_reported_in_one_run() {
    let said = said(
        "
[control_plane]
bind = \"7443\"
advertise = \"cp1.example.org\"
ca = \"/nonexistent/ca.pem\"
cert = \"/etc/mailswitch/chain.pem\"
key = \"/etc/mailswitch/chain.pem\"
[databse]
[database]
url = \"mysql://mailswitch:hunter2@db.example.org/mailswitch\"
[web]
",
    );
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said);
}

#[test]
fn two_of_its_sockets_are_never_the_same() {
    assert_snapshot!(said(&format!("{FILE}[web]\nbind = \"0.0.0.0:7443\"\n")));
}
