//! What people and scripts read, from fixed answers of a control plane: `golden/` holds every byte of it.
//! A little over 500 lines: all the answers are made of the same few messages, which stand here once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use mailswitch_proto::control::v1 as control;
use mailswitch_proto::fleet::v1 as fleet;
use mailswitchctl::exit::{Exit, Failure};
use mailswitchctl::operation::{Ended, ResultView};
use mailswitchctl::output::{Output, Render};
use mailswitchctl::verb::account::Accounts;
use mailswitchctl::verb::apply::AppliedView;
use mailswitchctl::verb::audit::AuditView;
use mailswitchctl::verb::check;
use mailswitchctl::verb::diff::DiffView;
use mailswitchctl::verb::mapping::MappingView;
use mailswitchctl::verb::node::Nodes;
use mailswitchctl::verb::resolve::ResolveView;
use mailswitchctl::verb::session::Sessions;
use mailswitchctl::verb::status::{NodeView, StatusView};

fn both(view: &impl Render) -> String {
    let of = |output: Output| output.render(view).unwrap();
    format!("{}---- json\n{}", of(Output::Table), of(Output::Json))
}

macro_rules! golden {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

// 2026-03-01T10:00:00Z
const START: u64 = 1_772_359_200_000;

fn id(byte: u8) -> Vec<u8> {
    vec![byte; 16]
}

fn node(name: &str, site: &str, connected: bool, applied: u64) -> control::NodeStatus {
    control::NodeStatus {
        name: name.into(),
        site: site.into(),
        instance: id(name.len() as u8),
        version: "0.1.0".into(),
        connected,
        sent_revision: 41,
        applied_revision: applied,
        applied_digest: vec![0xab; 32],
        seen_millis_ago: if connected { 40 } else { 94_000 },
        registered_revision: 3,
        listeners: vec![fleet::Listener {
            name: "imaps".into(),
            protocol: "imap".into(),
            binds: vec!["127.0.0.1:993".into()],
            tls: "implicit".into(),
        }],
        report: Some(report()),
        ..Default::default()
    }
}

fn report() -> fleet::Report {
    let logins = |destination: &str, outcome: &str, count| fleet::Logins {
        destination: destination.into(),
        protocol: "imap".into(),
        outcome: outcome.into(),
        count,
    };
    fleet::Report {
        active: vec![fleet::ActiveSessions {
            destination: "legacy".into(),
            protocol: "imap".into(),
            sessions: 7,
        }],
        logins: vec![
            logins("legacy", "accepted", 120),
            logins("legacy", "refused", 2),
            logins("new", "accepted", 15),
            logins("", "temporary_failure", 1),
        ],
        hold_waits: Some(fleet::WaitTimes {
            buckets: vec![0, 0, 1, 2, 3, 1],
            count: 7,
            max_millis: 31,
            sum_millis: 80,
        }),
        waiting: 1,
        breakers: vec![fleet::Breaker {
            destination: "new".into(),
            protocol: "submission".into(),
            open: true,
            consecutive_failures: 5,
            last_error: "connection refused".into(),
            ..Default::default()
        }],
        draining: false,
        retiring: false,
    }
}

fn status() -> control::StatusResponse {
    let mut behind = node("nyc-1", "nyc", false, 39);
    behind.rejected = vec![fleet::Rejected {
        revision: 40,
        resource: "destination.new".into(),
        reason: "the pin file /etc/pin is missing".into(),
    }];
    control::StatusResponse {
        fleet: id(0x5f),
        revision: 42,
        digest: vec![0xcd; 32],
        version: "0.1.0".into(),
        replica: "cp-1".into(),
        database: Some(control::Database {
            reachable: true,
            kind: "private".into(),
            version: "17.2".into(),
            error: String::new(),
        }),
        nodes: vec![node("fra-1", "fra", true, 42), behind],
        operations: vec![operation(control::Step::Draining, control::Outcome::Unspecified)],
        mappings: 12,
        accounts: 10,
        default_destination: "legacy".into(),
        warnings: vec!["logins without an identifier go to the default destination".into()],
        ..Default::default()
    }
}

fn operation(step: control::Step, outcome: control::Outcome) -> control::Operation {
    let over = outcome != control::Outcome::Unspecified;
    control::Operation {
        id: id(1),
        account: "alice@example.org".into(),
        identifiers: vec!["alice@example.org".into(), "alice".into()],
        from: vec!["legacy".into()],
        to: "new".into(),
        step: step.into(),
        outcome: outcome.into(),
        hold: id(2),
        hold_revision: 43,
        end_revision: if over { 44 } else { 0 },
        proofs: vec![
            control::NodeProof {
                node: "fra-1".into(),
                instance: id(5),
                quiesced: true,
                connected: true,
                stuck: None,
                sessions_closed: 2,
                logins_parked: 1,
                ..Default::default()
            },
            control::NodeProof {
                node: "nyc-1".into(),
                instance: id(6),
                quiesced: true,
                connected: true,
                stuck: None,
                ..Default::default()
            },
        ],
        started_unix_millis: START,
        held_unix_millis: START + 12,
        ended_unix_millis: if over { START + 140 } else { 0 },
        deadline_unix_millis: START + 15_012,
        reason: "batch 7".into(),
        started_by: "operator carol".into(),
        ..Default::default()
    }
}

fn result(operation: control::Operation) -> ResultView {
    let ended = Ended::Outcome(operation.outcome());
    ResultView::new(operation, ended)
}

#[test]
fn status_tells_committed_sent_and_applied_apart() {
    golden!("status", both(&StatusView::from(status())));
}

#[test]
fn status_of_a_fleet_without_anything() {
    let database = Some(control::Database {
        error: "connection refused".into(),
        ..Default::default()
    });
    golden!(
        "status-empty",
        both(&StatusView::from(control::StatusResponse {
            database,
            ..Default::default()
        }))
    );
}

#[test]
fn node_list_says_what_is_wrong_with_each() {
    let mut nodes = status().nodes;
    let mut more = node("sin-1", "sin", true, 40);
    (more.diverged, more.draining) = (true, true);
    nodes.push(more);
    let mut ahead = node("syd-1", "syd", true, 50);
    ahead.diverged = true;
    nodes.push(ahead);
    let nodes = nodes.into_iter().map(|node| NodeView::of(node, 42)).collect();
    golden!("node-list", both(&Nodes { nodes }));
}

#[test]
fn a_cutover_that_is_done() {
    golden!(
        "cutover-done",
        both(&result(operation(control::Step::Done, control::Outcome::Done)))
    );
}

#[test]
fn a_cutover_that_was_released_says_why() {
    let mut released = operation(control::Step::Aborted, control::Outcome::Released);
    released.cause = "a session did not end".into();
    released.proofs[1].quiesced = false;
    released.proofs[1].stuck = Some(fleet::Stuck {
        hold: id(2),
        destination: "legacy".into(),
        session: "s-77".into(),
        protocol: "imap".into(),
    });
    golden!("cutover-released", both(&result(released)));
}

#[test]
fn a_cutover_that_is_not_proven_names_the_nodes() {
    let mut unproven = operation(control::Step::Aborted, control::Outcome::Unproven);
    unproven.cause = "the drain timeout passed".into();
    unproven.missing = vec!["nyc-1".into()];
    (unproven.proofs[1].quiesced, unproven.proofs[1].connected) = (false, false);
    golden!("cutover-unproven", both(&result(unproven)));
}

#[test]
fn a_cutover_that_goes_on_without_us_says_how_to_find_it() {
    let goes_on = |ended| {
        let view = ResultView::new(
            operation(control::Step::Draining, control::Outcome::Unspecified),
            ended,
        );
        Output::Table.render(&view).unwrap()
    };
    let all = [Ended::Interrupted, Ended::TimedOut, Ended::Lost]
        .map(goes_on)
        .join("\n");
    golden!("cutover-goes-on", all);
}

#[test]
fn a_refusal_has_a_remedy_its_nodes_and_findings() {
    let failure = Failure {
        exit: Exit::Usage,
        what: "fleet.toml cannot be applied".into(),
        remedy: "correct it and apply it again".into(),
        nodes: vec!["fra-1".into(), "nyc-1".into()],
        findings: vec![
            control::Finding {
                severity: "error".into(),
                file: "fleet.toml".into(),
                line: 7,
                key: "destination.new.host".into(),
                value: "\"\"".into(),
                message: "a destination needs a host".into(),
                remedy: "write its name or address".into(),
                row: 0,
            },
            control::Finding {
                severity: "warning".into(),
                file: "fleet.toml".into(),
                message: "there is a \u{1b}[31mcontrol character".into(),
                ..Default::default()
            },
        ],
        findings_total: 0,
        passing: false,
    };
    golden!("refusal", failure.text());
}

#[test]
fn apply_and_diff_show_both_sides() {
    let difference = |key: &str, before: &str, after: &str| control::Difference {
        key: key.into(),
        before: before.into(),
        after: after.into(),
    };
    let differences = vec![
        difference("destination.new.host", "", "\"new.example.org\""),
        difference("cutover.max_hold", "\"15s\"", "\"30s\""),
        difference("destination.old", "{ host = \"old\" }", ""),
    ];
    let committed = control::Committed {
        revision: 9,
        digest: vec![1; 32],
        notes: vec!["2 nodes serve pop3".into()],
    };
    let applied = control::ApplyResponse {
        committed: Some(committed),
        differences: differences.clone(),
        warnings: vec![],
    };
    golden!("apply", both(&AppliedView::from(applied)));
    golden!(
        "diff",
        both(&DiffView::from(control::DiffResponse {
            differences,
            warnings: vec![]
        }))
    );
    golden!(
        "diff-none",
        both(&DiffView::from(control::DiffResponse::default()))
    );
}

#[test]
fn resolve_shows_who_disagrees_and_who_is_silent() {
    let resolution = |destination: &str, rule: fleet::Rule, revision| fleet::Resolution {
        identifier: "alice@example.org".into(),
        destination: destination.into(),
        rule: rule.into(),
        revision,
        ..Default::default()
    };
    let held = fleet::Resolution {
        hold: id(2),
        ..resolution("", fleet::Rule::Held, 42)
    };
    let on = |node: &str, resolution, error: &str| control::NodeResolution {
        node: node.into(),
        site: "fra".into(),
        resolution,
        error: error.into(),
    };
    let response = control::ResolveResponse {
        control_plane: Some(resolution("new", fleet::Rule::Mapping, 42)),
        nodes: vec![
            on("fra-1", Some(resolution("new", fleet::Rule::Mapping, 41)), ""),
            on("fra-2", Some(resolution("legacy", fleet::Rule::Default, 39)), ""),
            on("fra-3", Some(held), ""),
            on("fra-4", None, "not connected"),
        ],
    };
    golden!("resolve", both(&ResolveView::from(response)));
}

#[test]
fn sessions_name_silent_nodes() {
    let session = fleet::Session {
        id: "s-1".into(),
        protocol: "imap".into(),
        destination: "legacy".into(),
        state: "bridged".into(),
        client: "192.0.2.7:50123".into(),
        identifier: "al…#3f9a".into(),
        age_millis: 3_725_000,
        listener: "imaps".into(),
        ..Default::default()
    };
    let waiting = fleet::Session {
        id: "s-2".into(),
        state: "waiting".into(),
        destination: String::new(),
        identifier: String::new(),
        age_millis: 80,
        ..session.clone()
    };
    let page = fleet::SessionPage {
        sessions: vec![session, waiting],
        truncated: true,
        total: 9,
        pass_through: 0,
    };
    let nodes = vec![
        control::NodeSessions {
            node: "fra-1".into(),
            site: "fra".into(),
            page: Some(page),
            error: String::new(),
        },
        control::NodeSessions {
            node: "nyc-1".into(),
            error: "not connected".into(),
            ..Default::default()
        },
    ];
    golden!("session-list", both(&Sessions::from(nodes)));
    golden!("session-list-none", both(&Sessions::from(vec![])));
}

#[test]
fn audit_accounts_and_mappings() {
    let entry = control::AuditEntry {
        id: 8,
        revision: 42,
        at_unix_millis: START as i64,
        who: "operator carol".into(),
        from: "192.0.2.1".into(),
        verb: "mapping set".into(),
        subject: "bob@example.org".into(),
        before: "legacy".into(),
        after: "new".into(),
        reason: "test account".into(),
        unproven: true,
        ..Default::default()
    };
    golden!(
        "audit",
        both(&AuditView {
            entries: vec![entry.into()]
        })
    );

    let account = control::Account {
        id: id(9),
        name: "alice@example.org".into(),
        identifiers: vec!["alice@example.org".into(), "alice".into()],
        destination: "legacy".into(),
        ..Default::default()
    };
    let torn = control::Account {
        name: "bob".into(),
        identifiers: vec!["bob".into()],
        group: "sales".into(),
        ..Default::default()
    };
    golden!(
        "account-list",
        both(&Accounts {
            accounts: vec![account.into(), torn.into()]
        })
    );

    let held = control::MappingGetResponse {
        identifier: "alice@example.org".into(),
        destination: "legacy".into(),
        rule: fleet::Rule::Held.into(),
        account: "alice@example.org".into(),
        revision: 42,
        hold: id(2),
    };
    golden!("mapping-get", both(&MappingView::from(held)));
}

#[test]
fn a_check_is_grouped_one_tick_a_line() {
    use mailswitch_check::{Finding, Group, Report, Status};
    let finding = |status, what: &str, remedy: Option<&str>| Finding {
        status,
        what: what.into(),
        remedy: remedy.map(Into::into),
    };
    let legacy = vec![
        finding(Status::Ok, "connects in 0.4 ms, from 192.0.2.10", None),
        finding(
            Status::Failed,
            "does not offer STARTTLS",
            Some(
                "enable it there, or write destination.legacy.protocol.imap.tls = \"implicit\" or \"plain\"",
            ),
        ),
    ];
    let mechanisms = vec![
        finding(Status::Note, "the store in SQL is not probed", None),
        finding(
            Status::Warning,
            "imap: not taken by legacy: XOAUTH2; such logins fail there",
            Some("remove them from capabilities.imap.sasl, or enable them there"),
        ),
    ];
    let group = |about: &str, findings| Group {
        about: about.into(),
        findings,
    };
    let report = check::Report {
        files: vec![check::Checked {
            file: "proxy.toml".into(),
            kind: check::Kind::Node,
            usable: true,
            findings: mailswitch_config::Findings::default(),
            probes: Some(Report {
                groups: vec![
                    group(
                        "destination legacy: imap at old.example.org:143, starttls",
                        legacy,
                    ),
                    group("login mechanisms", mechanisms),
                ],
            }),
        }],
    };
    golden!("check", both(&report));
}
