//! What is asked of nodes, with a scripted control plane: `node drain|resume`, `session kick`.

use crate::support::{Fleet, exits, stderr, stdout};
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::control::v1::{NodeKicked, NodeSessions, NodeStatus, Problem, StatusResponse};
use mailswitch_proto::fleet::v1::{Session, SessionPage};

fn away(kind: Kind) -> Problem {
    Problem::new(kind, "node fra-1 is not connected", "start it").on_nodes(["fra-1".to_owned()])
}

fn registered(names: &[&str]) -> StatusResponse {
    let node = |name: &&str| NodeStatus {
        name: (*name).to_owned(),
        connected: true,
        ..NodeStatus::default()
    };
    StatusResponse {
        nodes: names.iter().map(node).collect(),
        ..StatusResponse::default()
    }
}

#[test]
fn a_node_between_two_streams_is_waited_for_and_told_again() {
    let fleet = Fleet::start();
    let passing = away(Kind::Unproven).passing();
    *fleet.script.drains.lock().unwrap() = vec![Err(passing.clone()), Err(passing), Ok(3)];
    let output = fleet.run(&["node", "resume", "fra-1"]);
    exits(&output, 0);
    assert_eq!(stdout(&output), "fra-1 admits sessions again; it has 3 open\n");
    assert_eq!(
        stderr(&output).matches("waiting up to 15 s").count(),
        1,
        "{}",
        stderr(&output)
    );
    let told = fleet.script.drained.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|request| request == &told[0] && request.resume));
}

#[test]
fn a_node_that_stays_away_is_said_to_be_so_when_the_time_is_up() {
    let fleet = Fleet::start();
    *fleet.script.drains.lock().unwrap() = vec![Err(away(Kind::Unproven).passing())];
    let output = fleet.run(&["node", "resume", "fra-1", "--reconnect-for", "1s"]);
    exits(&output, 7);
    assert!(
        stderr(&output).ends_with("error: node fra-1 is not connected\n  start it\n  nodes: fra-1\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_a_node_refuses_is_not_asked_for_again() {
    let fleet = Fleet::start();
    *fleet.script.drains.lock().unwrap() = vec![Err(away(Kind::Unproven))];
    exits(&fleet.run(&["node", "resume", "fra-1"]), 7);
    assert_eq!(fleet.script.drained.lock().unwrap().len(), 1);
}

#[test]
fn a_node_that_is_not_connected_cannot_leave_and_exits_3() {
    let fleet = Fleet::start();
    *fleet.script.status.lock().unwrap() = registered(&["fra-1"]);
    *fleet.script.drains.lock().unwrap() = vec![Err(away(Kind::Precondition).passing())];
    let leave = ["node", "drain", "fra-1", "--leave", "--reconnect-for", "500ms"];
    let output = fleet.run(&leave);
    exits(&output, 3);
    assert_eq!(stdout(&output), "");
    assert!(fleet.script.drained.lock().unwrap().iter().all(|told| told.leave));
}

#[test]
fn a_node_that_does_not_say_goodbye_in_time_exits_7_and_names_what_is_left() {
    let fleet = Fleet::start();
    *fleet.script.status.lock().unwrap() = registered(&["fra-1"]);
    let session = |id: &str| Session {
        id: id.to_owned(),
        protocol: "imap".to_owned(),
        destination: "legacy".to_owned(),
        state: "bridged".to_owned(),
        ..Session::default()
    };
    *fleet.script.sessions.lock().unwrap() = vec![NodeSessions {
        node: "fra-1".to_owned(),
        page: Some(SessionPage {
            sessions: vec![session("s-1")],
            total: 1,
            ..SessionPage::default()
        }),
        ..NodeSessions::default()
    }];
    let leave = ["node", "drain", "fra-1", "--leave", "--wait", "1s"];
    let output = fleet.run(&leave);
    exits(&output, 7);
    assert_eq!(stdout(&output), "");
    for named in [
        "node fra-1 has not said goodbye within 1 s; 1 session is left: s-1 (imap on legacy, bridged)",
        "node resume fra-1",
    ] {
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
    *fleet.script.status.lock().unwrap() = registered(&[]);
    exits(&fleet.run(&leave), 0);
}

fn kicked(node: &str, sessions: u64, error: &str) -> NodeKicked {
    NodeKicked {
        node: node.to_owned(),
        sessions,
        error: error.to_owned(),
    }
}

#[test]
fn a_session_that_was_ended_is_done_though_another_node_is_silent() {
    let fleet = Fleet::start();
    *fleet.script.kicks.lock().unwrap() = vec![kicked("fra-1", 1, ""), kicked("nyc-1", 0, "not connected")];
    exits(&fleet.run(&["session", "kick", "--session", "s-1"]), 0);
    // Of an account there may be more on the silent one.
    exits(&fleet.run(&["session", "kick", "alice"]), 7);
}

#[test]
fn a_session_that_no_node_has_is_3_and_an_account_without_sessions_is_0() {
    let fleet = Fleet::start();
    *fleet.script.kicks.lock().unwrap() = vec![kicked("fra-1", 0, "")];
    let output = fleet.run(&["session", "kick", "alice"]);
    exits(&output, 0);
    assert_eq!(
        stdout(&output),
        "NODE   ENDED  REMARK\nfra-1      0\nno session was open\n"
    );
    let problem = Problem::new(Kind::Precondition, "there is no session s-1 on node fra-1", "");
    *fleet.script.refusal.lock().unwrap() = Some(problem);
    exits(&fleet.run(&["session", "kick", "--session", "s-1"]), 3);
}
