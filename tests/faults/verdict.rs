//! What must be true after a cell, whatever failed. The truth about visits is in the backends' logs; `mailswitchctl`'s exit
//! code and the operation's record must say the same.

use std::{collections::HashMap, time::Duration};

use anyhow::{Result, bail, ensure};
use mailswitch_tests::when::{Moment, wait_until};
use serde_json::Value;

use crate::{
    cell::{Cell, Fault, Protocol, Victim, Way},
    trial::Happened,
    visits::{Event, Visit, visits},
    world::World,
};

/// A line is in a log a little after what it tells of: the log has a process of its own, on a busy machine.
const LOG_DELAY: Duration = Duration::from_millis(250);

/// The transaction that would have recorded the operation was not committed.
const NEVER_BEGUN: &str = "never begun";

/// A line about what happened, or what is broken.
pub(crate) fn judge(
    world: &World,
    cell: Cell,
    happened: &Happened,
    operation: Option<&Value>,
    seen: &[Event],
) -> Result<String> {
    let outcome = operation.map_or(NEVER_BEGUN.to_owned(), |operation| {
        operation["outcome"].as_str().unwrap_or_default().to_lowercase()
    });
    let home = match outcome.as_str() {
        "done" => "new",
        "released" | "unproven" | NEVER_BEGUN => "legacy",
        other => bail!("an outcome {other:?}: {operation:#?}"),
    };
    the_exit_code_is_no_lie(happened, &outcome)?;
    nobody_was_told_that_his_password_is_wrong(seen)?;
    all_visits_end(world, cell, happened)?;
    let visits_to = |side: &str| visits(world.side(side), &happened.account, cell.protocol);
    let (source, target) = (visits_to("legacy"), visits_to("new"));
    if happened.code == Some(0) {
        nobody_is_on_the_source_after_success(&source, over(cell), happened.returned)?;
    }
    never_on_both_at_once(&source, &target, over(cell))?;
    match cell.protocol {
        Protocol::Imap | Protocol::Submission => every_message_is_there_once(world, happened, home, seen)?,
        Protocol::Http => every_post_is_executed_once(world, &happened.account, seen)?,
        Protocol::WebSocket => {}
    }
    let code = happened
        .code
        .map_or("killed".to_owned(), |code| format!("exit {code}"));
    let let_in = seen.iter().filter(|event| event.kind == "in").count();
    let out: Vec<&Event> = seen.iter().filter(|event| event.kind == "out").collect();
    let last = out
        .last()
        .map_or(String::new(), |event| format!(" ({})", event.error));
    Ok(format!(
        "{code}, {outcome}; {let_in} visits, {} not let in{last}",
        out.len()
    ))
}

fn the_exit_code_is_no_lie(happened: &Happened, outcome: &str) -> Result<()> {
    let right = match happened.code {
        Some(0) => outcome == "done",
        Some(4) => outcome == "released",
        Some(7) => outcome == "unproven",
        // Unknown, timed out, interrupted, killed: it has promised nothing.
        Some(5 | 6 | 130) | None => true,
        Some(_) => false,
    };
    ensure!(right, "exit {:?}, and the operation is {outcome}", happened.code);
    Ok(())
}

fn nobody_was_told_that_his_password_is_wrong(seen: &[Event]) -> Result<()> {
    let refused: Vec<_> = seen.iter().filter(|event| event.kind == "refused").collect();
    ensure!(refused.is_empty(), "a password was refused: {refused:?}");
    Ok(())
}

/// When a visit could do nothing any more. A node that stands still ends nothing on the wire, and asks for nothing either: the
/// backend's own log shows by when it did something for it for the last time.
fn over(cell: Cell) -> impl Fn(&Visit) -> Moment {
    move |visit| match cell.fault {
        Fault::Stop(Victim::Node) => visit.served,
        _ => visit.ended.unwrap_or(Moment::now()),
    }
}

/// Where a success was reported, the source has seen the end of every visit. Otherwise a link to a backend that is lost may have
/// swallowed the reset that would have told it (`docs/promise.md`: what a lost link hides until the server's own timeout).
fn all_visits_end(world: &World, cell: Cell, happened: &Happened) -> Result<()> {
    let hidden = matches!(
        cell.fault,
        Fault::Link(Way::NodeAndSource | Way::NodeAndTarget, _)
    );
    let sides: &[&str] = match (hidden, happened.code) {
        (false, _) => &["legacy", "new"],
        (true, Some(0)) => &["legacy"],
        (true, _) => return Ok(()),
    };
    wait_until(
        "the backends have seen the end of every visit",
        Duration::from_secs(30),
        || {
            sides.iter().all(|side| {
                visits(world.side(side), &happened.account, cell.protocol)
                    .iter()
                    .all(|visit| visit.ended.is_some())
            })
        },
    )
}

fn nobody_is_on_the_source_after_success(
    source: &[Visit],
    over: impl Fn(&Visit) -> Moment,
    success: Moment,
) -> Result<()> {
    let limit = success.plus(LOG_DELAY);
    let late: Vec<&Visit> = source
        .iter()
        .filter(|visit| visit.began > limit || over(visit) > limit)
        .collect();
    ensure!(late.is_empty(), "on the source after success: {late:?}");
    Ok(())
}

fn never_on_both_at_once(source: &[Visit], target: &[Visit], over: impl Fn(&Visit) -> Moment) -> Result<()> {
    for old in source {
        for new in target {
            let together = old.began.plus(LOG_DELAY) < over(new) && new.began.plus(LOG_DELAY) < over(old);
            ensure!(
                !together,
                "on both at once: {old:?} on the source and {new:?} on the target"
            );
        }
    }
    Ok(())
}

fn every_message_is_there_once(world: &World, happened: &Happened, home: &str, seen: &[Event]) -> Result<()> {
    let side = world.side(home);
    wait_until("all is delivered", Duration::from_secs(30), || {
        [&world.legacy, &world.new]
            .iter()
            .all(|side| side.postfix.queued().is_ok_and(|queued| queued == 0))
    })?;
    each_once(seen, side.dovecot.message_ids(&happened.account)?)
}

fn every_post_is_executed_once(world: &World, account: &str, seen: &[Event]) -> Result<()> {
    let executed = [&world.legacy, &world.new]
        .into_iter()
        .flat_map(|side| side.web.events("executed"))
        .filter(|entry| entry.user == account)
        .map(|entry| entry.id);
    each_once(seen, executed)
}

/// All that a server has said that it has is there, and nothing is there twice.
fn each_once(seen: &[Event], there: impl IntoIterator<Item = String>) -> Result<()> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for id in there {
        *counts.entry(id).or_default() += 1;
    }
    let lost: Vec<&str> = accepted(seen).filter(|id| !counts.contains_key(*id)).collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(doubled.is_empty(), "doubled: {doubled:?}");
    Ok(())
}

fn accepted(seen: &[Event]) -> impl Iterator<Item = &str> {
    seen.iter()
        .filter(|event| event.kind == "accepted")
        .map(|event| event.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn visit(began: u64, ended: u64) -> Visit {
        Visit {
            began: Moment(began * SECOND),
            ended: Some(Moment(ended * SECOND)),
            served: Moment(began * SECOND),
        }
    }

    fn ended(visit: &Visit) -> Moment {
        visit.ended.expect("it has")
    }

    #[test]
    fn a_visit_to_the_source_that_begins_or_lasts_behind_the_success_is_found() {
        let judged = |visit| nobody_is_on_the_source_after_success(&[visit], ended, Moment(10 * SECOND));
        assert!(judged(visit(8, 9)).is_ok());
        assert!(judged(visit(11, 12)).is_err());
        assert!(judged(visit(8, 12)).is_err());
    }

    #[test]
    fn two_visits_at_one_time_on_two_sides_are_found() {
        let judged = |old, new| never_on_both_at_once(&[old], &[new], ended);
        assert!(judged(visit(1, 3), visit(3, 5)).is_ok());
        assert!(judged(visit(4, 6), visit(1, 3)).is_ok());
        assert!(judged(visit(1, 4), visit(3, 5)).is_err());
        assert!(judged(visit(1, 9), visit(3, 5)).is_err());
    }

    #[test]
    fn what_is_lost_and_what_is_doubled_is_found() {
        let seen: Vec<Event> = ["accepted", "unknown"]
            .into_iter()
            .map(|kind| Event {
                at: Moment(0),
                kind: kind.to_owned(),
                endpoint: std::net::Ipv4Addr::LOCALHOST.into(),
                id: kind.to_owned(),
                error: String::new(),
            })
            .collect();
        let there = |ids: &[&str]| each_once(&seen, ids.iter().map(|id| (*id).to_owned()));
        assert!(there(&["accepted"]).is_ok());
        assert!(there(&["accepted", "unknown"]).is_ok());
        assert!(there(&["unknown"]).is_err());
        assert!(there(&["accepted", "accepted"]).is_err());
        assert!(there(&["accepted", "unknown", "unknown"]).is_err());
    }

    #[test]
    fn an_exit_code_that_says_another_thing_than_the_record_is_found() {
        let said = |code, outcome| {
            let happened = Happened {
                account: String::new(),
                code,
                said: String::new(),
                returned: Moment(0),
            };
            the_exit_code_is_no_lie(&happened, outcome)
        };
        assert!(said(Some(0), "done").is_ok() && said(Some(4), "released").is_ok());
        assert!(
            said(Some(7), "unproven").is_ok()
                && said(Some(5), "done").is_ok()
                && said(None, "released").is_ok()
                && said(None, NEVER_BEGUN).is_ok()
        );
        for (code, outcome) in [
            (0, "released"),
            (0, NEVER_BEGUN),
            (4, NEVER_BEGUN),
            (4, "done"),
            (7, "done"),
            (3, "done"),
            (1, "released"),
        ] {
            assert!(said(Some(code), outcome).is_err(), "{code} {outcome}");
        }
    }
}
