//! `mailswitchctl cutover` as a process, against a control plane whose answers are written here: exit codes, lost
//! answers, crashes, Ctrl-C, and the commands under the hold (promise F6).

use std::time::{Duration, Instant};

use crate::support::{Fleet, at, exits, operation, stderr, stdout, until};
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::control::v1::{HookLease, Outcome, Problem, Step};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const MOVE: [&str; 6] = ["cutover", "alice", "--from", "legacy", "--to", "new"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    MOVE.iter().chain(more).copied().collect()
}

fn lease(lease_millis: u64, until_deadline_millis: u64) -> HookLease {
    HookLease {
        lease_millis,
        until_deadline_millis,
    }
}

/// Whether a process is there; one that has ended and was not waited for is not.
fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

fn pid_in(fleet: &Fleet, file: &str) -> i32 {
    let path = fleet.folder().join(file);
    until("the command wrote its pid", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))
    });
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn done_is_0_and_stdout_is_data_only() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Done, Outcome::Done);
    let output = fleet.run(&with(&["--output", "json", "--reason", "batch 7"]));
    exits(&output, 0);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["result"], "done");
    assert_eq!(json["account"], "alice@example.org");
    let started = fleet.script.started.lock().unwrap();
    let change = started[0].change.as_ref().unwrap();
    assert_eq!(
        (change.reason.as_str(), change.idempotency_key.len()),
        ("batch 7", 16)
    );
}

#[test]
fn every_outcome_and_every_refusal_has_its_exit_code() {
    let fleet = Fleet::start();
    for (outcome, code) in [(Outcome::Released, 4), (Outcome::Unproven, 7)] {
        fleet.becomes(Step::Aborted, outcome);
        exits(&fleet.run(&MOVE), code);
    }
    for (kind, code) in [
        (Kind::Invalid, 1),
        (Kind::Precondition, 3),
        (Kind::Unavailable, 5),
        (Kind::Unproven, 7),
        (Kind::NotAllowed, 8),
    ] {
        let problem =
            Problem::new(kind, "alice is on new", "nothing is left to do").on_nodes(["fra-1".to_owned()]);
        *fleet.script.refusal.lock().unwrap() = Some(problem);
        let output = fleet.run(&MOVE);
        exits(&output, code);
        assert_eq!(stdout(&output), "");
        assert_eq!(
            stderr(&output),
            "error: alice is on new\n  nothing is left to do\n  nodes: fra-1\n"
        );
    }
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Done, Outcome::Done);
    *fleet.script.lost_answers.lock().unwrap() = 2;
    exits(&fleet.run(&MOVE), 0);
    let started = fleet.script.started.lock().unwrap();
    assert_eq!(started.len(), 3);
    assert!(started.iter().all(|start| start == &started[0]));
}

#[test]
fn a_refusal_after_a_lost_answer_does_not_say_that_nothing_changed() {
    let fleet = Fleet::start();
    let problem = Problem::new(Kind::Precondition, "the database cannot be reached", "try again");
    for kind in [Kind::Precondition, Kind::Unproven, Kind::NotAllowed] {
        let kind = kind.into();
        *fleet.script.refusal.lock().unwrap() = Some(Problem {
            kind,
            ..problem.clone()
        });
        *fleet.script.lost_answers.lock().unwrap() = 1;
        let output = fleet.run(&MOVE);
        exits(&output, 5);
        assert!(
            stderr(&output).contains("the outcome is unknown: the database cannot be reached"),
            "{output:?}"
        );
        assert!(stderr(&output).contains("--idempotency-key"), "{output:?}");
    }
}

#[test]
fn a_key_that_is_given_is_the_one_that_is_sent() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Done, Outcome::Done);
    let key = "6b1f8f0e-0000-4000-8000-00000000abcd";
    exits(
        &fleet.run(&with(&[
            "--idempotency-key",
            "6b1f8f0e-0000-4000-8000-00000000abcd",
        ])),
        0,
    );
    let started = fleet.script.started.lock().unwrap();
    let sent = &started[0].change.as_ref().unwrap().idempotency_key;
    assert_eq!(uuid::Uuid::from_slice(sent).unwrap().to_string(), key);
}

#[test]
fn a_control_plane_that_crashes_is_found_again_and_what_it_says_is_reported() {
    for (outcome, step, code) in [
        (Outcome::Done, Step::Done, 0),
        (Outcome::Released, Step::Aborted, 4),
    ] {
        let mut fleet = Fleet::start();
        let ctl = fleet.spawn(&MOVE);
        until("it watches", || fleet.script.operation.receiver_count() > 0);
        fleet.crash();
        fleet.becomes(step, outcome);
        fleet.resurrect();
        exits(&ctl.output(), code);
    }
}

#[test]
fn a_watch_that_ends_again_and_again_after_a_restart_is_told_once_and_so_is_its_end() {
    let mut fleet = Fleet::start();
    let ctl = fleet.spawn(&MOVE);
    until("it watches", || fleet.script.operation.receiver_count() > 0);
    fleet.crash();
    *fleet.script.short_watches.lock().unwrap() = 4;
    fleet.resurrect();
    until("it watches again, and stays", || {
        *fleet.script.short_watches.lock().unwrap() == 0 && fleet.script.operation.receiver_count() > 0
    });
    fleet.becomes(Step::Done, Outcome::Done);
    let output = ctl.output();
    exits(&output, 0);
    let told = |what: &str| stderr(&output).matches(what).count();
    assert_eq!(
        (told("trying again"), told("the control plane is back")),
        (1, 1),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_control_plane_that_stays_away_leaves_the_outcome_unknown() {
    let mut fleet = Fleet::start();
    let ctl = fleet.spawn(&with(&["--reconnect-for", "1s", "-o", "json"]));
    until("it watches", || fleet.script.operation.receiver_count() > 0);
    fleet.crash();
    let output = ctl.output();
    exits(&output, 5);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&json["result"], &json["outcome"]),
        (&"unknown".into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_control_plane_that_is_not_there_changes_nothing() {
    let mut fleet = Fleet::start();
    fleet.crash();
    let output = fleet.run(&MOVE);
    exits(&output, 3);
    assert!(
        stderr(&output).contains("nobody listens there"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn another_endpoint_is_taken_when_one_is_not_there() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Done, Outcome::Done);
    let both = format!("https://127.0.0.1:1,{}", fleet.endpoint());
    let output = fleet
        .command(&MOVE)
        .env("MAILSWITCH_ENDPOINT", both)
        .output()
        .unwrap();
    exits(&output, 0);
}

#[test]
fn waiting_ends_when_it_is_told_to_and_the_operation_goes_on() {
    let fleet = Fleet::start();
    let output = fleet.run(&with(&["--wait", "1s"]));
    exits(&output, 6);
    assert!(
        stdout(&output).contains("operation watch 01010101-"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn ctrl_c_leaves_the_operation_and_says_how_to_find_it() {
    let fleet = Fleet::start();
    let ctl = fleet.spawn(&MOVE);
    until("it watches", || fleet.script.operation.receiver_count() > 0);
    ctl.signal(Signal::SIGINT);
    let output = ctl.output();
    exits(&output, 130);
    assert!(
        stdout(&output).contains("operation watch 01010101-"),
        "{}",
        stdout(&output)
    );
    assert_eq!(fleet.script.operation.borrow().outcome(), Outcome::Unspecified);
}

#[test]
fn copy_and_verify_run_under_the_hold_each_once_and_know_what_they_work_on() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    *fleet.script.after_copy.lock().unwrap() = Some(operation(Step::Verifying));
    let said = "echo $MAILSWITCH_HOOK $MAILSWITCH_ACCOUNT $MAILSWITCH_IDENTIFIERS $MAILSWITCH_SOURCE $MAILSWITCH_TARGET \
                $MAILSWITCH_OPERATION $MAILSWITCH_HOLD >> said; echo to the operator";
    let mut arguments: Vec<String> = with(&["--output", "json", "--copy", said, "--verify"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    arguments.push(format!("{said}; test -e go"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ctl = fleet.spawn(&arguments);
    until("verify was refused", || {
        fleet.script.finished.lock().unwrap().len() == 2
    });
    let output = ctl.output();
    // The script answers the second finish, a failure, with a release.
    exits(&output, 4);
    serde_json::from_str::<serde_json::Value>(&stdout(&output)).unwrap();
    assert!(stderr(&output).contains("to the operator"));
    let common = "alice@example.org alice@example.org alice legacy new \
                  01010101-0101-0101-0101-010101010101 02020202-0202-0202-0202-020202020202";
    let said = std::fs::read_to_string(fleet.folder().join("said")).unwrap();
    assert_eq!(said, format!("copy {common}\nverify {common}\n"));
    let finished = fleet.script.finished.lock().unwrap();
    let results: Vec<_> = finished
        .iter()
        .map(|f| (f.hook.as_str(), f.succeeded, f.detail.as_str()))
        .collect();
    assert_eq!(
        results,
        [("copy", true, ""), ("verify", false, "it exited with 1")]
    );
    assert!(
        finished
            .iter()
            .all(|finish| finish.hold == [2; 16] && finish.operation == [1; 16])
    );
}

#[test]
fn a_long_copy_renews_its_lease() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    *fleet.script.lease.lock().unwrap() = Some(lease(1_200, 60_000));
    exits(&fleet.run(&with(&["--copy", "sleep 3"])), 0);
    assert!(fleet.script.renewed.lock().unwrap().len() >= 4);
}

#[test]
fn a_copy_that_cannot_be_renewed_is_gone_with_all_it_started_before_its_lease_ends() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    let length = Duration::from_millis(3_000);
    *fleet.script.lease.lock().unwrap() = Some(lease(3_000, 60_000));
    // It does not end when it is asked to.
    let ctl = fleet.spawn(&with(&[
        "--copy",
        "trap '' TERM; (trap '' TERM; sleep 60) & echo $! > pid; sleep 60",
    ]));
    until("it asked for a lease", || {
        !fleet.script.renewed.lock().unwrap().is_empty()
    });
    let asked = Instant::now();
    let pid = pid_in(&fleet, "pid");
    *fleet.script.lease.lock().unwrap() = None;
    until("the command is gone", || !lives(pid));
    assert!(asked.elapsed() < length, "{:?}", asked.elapsed());
    exits(&ctl.output(), 4);
    assert!(!fleet.script.finished.lock().unwrap()[0].succeeded);
}

#[test]
fn a_copy_is_gone_before_the_holds_deadline_however_often_it_is_renewed() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    let deadline = Instant::now() + Duration::from_millis(3_000);
    let left = move || u64::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap();
    *fleet.script.lease.lock().unwrap() = Some(lease(60_000, left()));
    let ctl = fleet.spawn(&with(&["--copy", "echo $$ > pid; exec sleep 60"]));
    let pid = pid_in(&fleet, "pid");
    until("the command is gone", || {
        *fleet.script.lease.lock().unwrap() = Some(lease(60_000, left()));
        !lives(pid)
    });
    assert!(left() > 0);
    exits(&ctl.output(), 4);
}

#[test]
fn a_copy_is_ended_when_its_operation_is_released_without_it() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    let ctl = fleet.spawn(&with(&["--copy", "echo $$ > pid; exec sleep 60"]));
    let pid = pid_in(&fleet, "pid");
    fleet.becomes(Step::Aborted, Outcome::Released);
    exits(&ctl.output(), 4);
    assert!(!lives(pid));
    assert!(fleet.script.finished.lock().unwrap().is_empty());
}

#[test]
fn ctrl_c_ends_a_copy_and_says_that_it_failed() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    let ctl = fleet.spawn(&with(&["--copy", "echo $$ > pid; exec sleep 60"]));
    let pid = pid_in(&fleet, "pid");
    ctl.signal(Signal::SIGINT);
    let output = ctl.output();
    exits(&output, 130);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("without its copy command, and releases the account to legacy"),
        "{said}"
    );
    assert!(!lives(pid));
    assert!(!fleet.script.finished.lock().unwrap()[0].succeeded);
}

#[test]
fn a_killed_mailswitchctl_leaves_no_copy_behind() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    let ctl = fleet.spawn(&with(&["--copy", "sleep 60 & echo $! > pid; wait"]));
    let pid = pid_in(&fleet, "pid");
    assert!(kill(Pid::from_raw(pid), None).is_ok());
    ctl.signal(Signal::SIGKILL);
    until("the command is gone", || !lives(pid));
}

#[test]
fn what_cannot_be_moved_is_not_copied_either() {
    let fleet = Fleet::start();
    let problem = Problem::new(Kind::Precondition, "alice is on new, not on legacy", "");
    *fleet.script.refusal.lock().unwrap() = Some(problem);
    exits(&fleet.run(&with(&["--precopy", "touch copied"])), 3);
    assert!(!fleet.folder().join("copied").exists());
}

#[test]
fn a_precopy_runs_before_anything_starts_and_its_failure_changes_nothing() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Done, Outcome::Done);
    let output = fleet.run(&with(&[
        "--precopy",
        "echo $MAILSWITCH_HOOK $MAILSWITCH_ACCOUNT $MAILSWITCH_IDENTIFIERS $MAILSWITCH_SOURCE $MAILSWITCH_TARGET; exit 9",
    ]));
    exits(&output, 3);
    assert!(
        stderr(&output).contains("precopy alice@example.org alice@example.org alice legacy new\n"),
        "{}",
        stderr(&output)
    );
    assert!(
        stderr(&output).contains("it exited with 9"),
        "{}",
        stderr(&output)
    );
    let dry = |fleet: &Fleet| {
        let started = fleet.script.started.lock().unwrap();
        started
            .iter()
            .map(|start| start.change.as_ref().unwrap().dry_run)
            .collect::<Vec<_>>()
    };
    assert_eq!(dry(&fleet), [true]);
    exits(&fleet.run(&with(&["--precopy", "true"])), 0);
    assert_eq!(dry(&fleet), [true, true, false]);
}

#[test]
fn a_dry_run_says_whom_it_would_move_from_where_to_where() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Planned, Outcome::Unspecified);
    fleet
        .script
        .operation
        .send_modify(|operation| operation.id.clear());
    let output = fleet.run(&with(&["--dry-run"]));
    exits(&output, 0);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "alice@example.org could be moved from legacy to new; nothing was changed\n  \
         identifiers   alice@example.org, alice\n",
    );
}

#[test]
fn what_is_no_operation_and_no_time_is_refused_with_what_to_write() {
    let fleet = Fleet::start();
    let output = fleet.run(&["operation", "watch", "123"]);
    exits(&output, 1);
    assert!(stderr(&output).contains("operation list"), "{}", stderr(&output));
    let output = fleet.run(&with(&["--max-hold", "20"]));
    exits(&output, 1);
    assert!(stderr(&output).contains("such as \"30s\""), "{}", stderr(&output));
}

#[test]
fn an_operation_can_be_joined_again_and_aborted() {
    let fleet = Fleet::start();
    let id = "01010101-0101-0101-0101-010101010101";
    let ctl = fleet.spawn(&["operation", "watch", id]);
    until("it watches", || fleet.script.operation.receiver_count() > 0);
    exits(&fleet.run(&["operation", "abort", id]), 0);
    exits(&ctl.output(), 4);
    fleet
        .script
        .operation
        .send_modify(|operation| *operation = at(operation.clone(), Step::Done, Outcome::Done));
    exits(&fleet.run(&["operation", "watch", id]), 0);
}

#[test]
fn a_traced_command_sends_its_context_to_the_control_plane_and_to_its_commands() {
    let fleet = Fleet::start();
    fleet.becomes(Step::Copying, Outcome::Unspecified);
    // Nobody collects there: that delays the end for a moment, and changes nothing else.
    let traced = with(&[
        "--copy",
        "echo $TRACEPARENT > traceparent",
        "--otlp-endpoint",
        "http://127.0.0.1:1",
    ]);
    exits(&fleet.run(&traced), 0);
    let trace = |traceparent: &str| traceparent.split('-').nth(1).unwrap().to_owned();
    let of_copy = std::fs::read_to_string(fleet.folder().join("traceparent")).unwrap();
    let of_start = fleet.script.traceparents.lock().unwrap()[0].clone().unwrap();
    assert_eq!((trace(&of_start), trace(&of_start).len()), (trace(&of_copy), 32));

    fleet.becomes(Step::Done, Outcome::Done);
    exits(&fleet.run(&MOVE), 0);
    assert_eq!(fleet.script.traceparents.lock().unwrap()[1], None);
}
