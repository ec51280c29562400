//! Cutovers on a real database, with nodes that are played: the flip's conditions, takeovers, and every way to end.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use mailswitch_control_plane::change::log::changes_after;
use mailswitch_control_plane::change::memory::Memory;
use mailswitch_control_plane::change::node::{Forget, Since, Word, node_forget, node_register};
use mailswitch_control_plane::change::sessions::{NoNodes, Nodes, Observed, Whose};
use mailswitch_control_plane::change::{Context, Error, Mode, RefusalKind, Writer};
use mailswitch_control_plane::cutover::flip::Flip;
use mailswitch_control_plane::cutover::operation::{Fence, Hook, HookKind, Outcome, Step};
use mailswitch_control_plane::cutover::request::{
    HookReport, Hooks, NewMail, Reach, Rollback, Start, Times, Will,
};
use mailswitch_control_plane::store;
use mailswitch_control_plane::store::audit::{Proof, audit_list};
use mailswitch_control_plane::store::hold::{Ack, HookResult, Met, Stuck, hold_ack_add};
use mailswitch_proto::fleet::v1::{ChangeSet, change::Kind};
use mailswitch_proto::id::{HoldId, InstanceId, OperationId};
use mailswitch_proto::revision::Revision;
use prost::Message as _;
use scene::{Scene, cutover, refusal};
use sqlx::postgres::PgListener;

const LONG: Duration = Duration::from_secs(60);
const ALICE: &str = "alice@example.org";

async fn kinds_after(scene: &Scene, revision: Revision) -> Vec<Kind> {
    changes_after(scene.database.pool(), revision, 100)
        .await
        .unwrap()
        .iter()
        .flat_map(|logged| ChangeSet::decode(logged.payload.as_slice()).unwrap().changes)
        .filter_map(|change| change.kind)
        .collect()
}

async fn begin(scene: &Scene, replica: &scene::Replica, start: &Start) -> OperationId {
    let _ = scene;
    replica
        .cutovers
        .begin(&Context::own("batch 7"), start)
        .await
        .unwrap()
        .output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_moves_as_a_whole_once_every_registered_node_is_quiet() {
    let scene = Scene::new().await;
    scene.account(&[ALICE, "alice"]).await;
    let (one, two) = (scene.node("fra-1").await, scene.node("ams-1").await);
    let replica = scene.replica();
    let before = scene.position().await.revision;
    let id = begin(&scene, &replica, &cutover("alice", LONG)).await;
    let mut watched = replica.cutovers.watch(id).await.unwrap();
    let hold = replica.held(id).await;
    assert_eq!(scene.acknowledge(one, hold).await, [id]);
    replica.cutovers.wake();
    let view = replica
        .until(id, |view| view.operation.step == Step::Draining)
        .await;
    assert_eq!(view.proofs.len(), 2);
    assert_eq!(
        scene.mapped(ALICE).await,
        None,
        "not before the second node is quiet"
    );
    // What names another hold, another process or another branch proves nothing.
    assert!(scene.acknowledge(two, HoldId::random()).await.is_empty());
    assert!(scene.acknowledge(InstanceId::random(), hold).await.is_empty());
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let mut elsewhere = scene.position().await;
    elsewhere.digest = [7; 32].into();
    let lie = Ack {
        hold,
        instance: two,
        applied: elsewhere,
        met: Met::default(),
    };
    assert!(
        store::hold::hold_ack_add(&mut conn, &[lie])
            .await
            .unwrap()
            .is_empty()
    );
    drop(conn);

    scene.acknowledge(two, hold).await;
    replica.cutovers.wake();
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!((outcome, view.operation.step), (Outcome::Done, Step::Done));
    for identifier in [ALICE, "alice"] {
        assert_eq!(scene.mapped(identifier).await.as_deref(), Some("new"));
    }
    let kinds = kinds_after(&scene, before).await;
    assert!(
        matches!(kinds.as_slice(), [Kind::Held(held), Kind::Flipped(flipped)]
        if held.hold == flipped.hold && held.source == "legacy" && flipped.destination == "new")
    );
    watched
        .wait_for(|view| view.operation.step == Step::Done)
        .await
        .unwrap();
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let trail: Vec<String> = audit_list(&mut conn, Some(ALICE), None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.entry.verb)
        .collect();
    assert_eq!(
        trail,
        ["cutover flip", "cutover hold", "cutover start", "account import"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hold_met_is_kept_with_each_nodes_proof_and_grows_until_its_last_word() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let (one, two) = (scene.node("fra-1").await, scene.node("fra-2").await);
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    let applied = scene.position().await;
    let say = async |instance, closed, parked| {
        let met = Met { closed, parked };
        let ack = Ack {
            hold,
            instance,
            applied,
            met,
        };
        let mut conn = scene.database.pool().acquire().await.unwrap();
        hold_ack_add(&mut conn, &[ack]).await.unwrap().len()
    };
    let met = async || -> Vec<Met> {
        let proofs = replica.cutovers.get(id).await.unwrap().proofs;
        proofs.into_iter().map(|proof| proof.met).collect()
    };
    let nothing = Met::default();
    assert_eq!(say(one, 2, 1).await, 1, "it is news for the operation");
    assert_eq!(met().await, [Met { closed: 2, parked: 1 }, nothing]);
    assert_eq!(say(one, 2, 3).await, 0, "nothing rests on it");
    // What comes late does not take anything back.
    say(one, 1, 2).await;
    assert_eq!(met().await, [Met { closed: 2, parked: 3 }, nothing]);
    // One that is not quiet has nothing to be kept with.
    say(two, 0, 0).await;
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    assert_eq!(say(one, 2, 7).await, 0, "the hold is over");
    assert_eq!(met().await, [Met { closed: 2, parked: 7 }, nothing]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer_is_named_and_the_account_goes_back_explicitly() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    scene.node("ams-1").await;
    let replica = scene.replica();
    let before = scene.position().await.revision;
    let id = begin(&scene, &replica, &cutover(ALICE, Duration::from_millis(400))).await;
    let hold = replica.held(id).await;
    scene.acknowledge(one, hold).await;
    replica.cutovers.wake();
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Unproven);
    assert_eq!(view.operation.missing, ["ams-1"]);
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("legacy"));
    assert!(
        matches!(kinds_after(&scene, before).await.as_slice(), [Kind::Held(_), Kind::Released(released)]
        if released.destination == "legacy")
    );
    // Its acknowledgement, come late, is of a hold that is over.
    assert!(scene.acknowledge(one, hold).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_leg_releases_and_names_destination_and_session() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    let stuck = Stuck {
        hold,
        instance: one,
        node: String::new(),
        destination: "legacy".to_owned(),
        session: "s-17".to_owned(),
        protocol: "imap".to_owned(),
    };
    let mut conn = scene.database.pool().acquire().await.unwrap();
    assert_eq!(
        store::hold::hold_stuck_add(&mut conn, &stuck).await.unwrap(),
        Some(id)
    );
    replica.cutovers.wake();
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Released);
    for word in ["fra-1", "legacy", "s-17"] {
        assert!(view.operation.cause.contains(word), "{}", view.operation.cause);
    }
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("legacy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_under_the_hold_and_only_their_own_results_count() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    let replica = scene.replica();
    let start = Start {
        hooks: Hooks {
            copy: Will::Run,
            verify: Will::Run,
        },
        ..cutover(ALICE, LONG)
    };
    let id = begin(&scene, &replica, &start).await;
    let hold = replica.held(id).await;
    scene.acknowledge(one, hold).await;
    replica.cutovers.wake();
    replica
        .until(id, |view| view.operation.step == Step::Copying)
        .await;
    let lease = replica
        .cutovers
        .hook_renew(id, hold, HookKind::Copy)
        .await
        .unwrap();
    assert!(lease.until_deadline > Duration::from_secs(30) && lease.until_deadline <= LONG);
    refusal(
        replica
            .cutovers
            .hook_renew(id, HoldId::random(), HookKind::Copy)
            .await,
    );
    let report = |hold, hook, result| HookReport {
        operation: id,
        hold,
        hook,
        result,
        detail: "exit status 0".to_owned(),
    };
    // Of another hold: ignored. Of verify before its turn: kept for it.
    replica
        .cutovers
        .hook_finish(&report(HoldId::random(), HookKind::Copy, HookResult::Failed))
        .await
        .unwrap();
    replica
        .cutovers
        .hook_finish(&report(hold, HookKind::Copy, HookResult::Passed))
        .await
        .unwrap();
    let view = replica
        .until(id, |view| view.operation.step == Step::Verifying)
        .await;
    assert_eq!(view.operation.copy, Hook::Passed);
    assert_eq!(scene.mapped(ALICE).await, None);
    replica
        .cutovers
        .hook_finish(&report(hold, HookKind::Verify, HookResult::Failed))
        .await
        .unwrap();
    // The first word counts.
    replica
        .cutovers
        .hook_finish(&report(hold, HookKind::Verify, HookResult::Passed))
        .await
        .unwrap();
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Released);
    assert!(
        view.operation.cause.contains("verify"),
        "{}",
        view.operation.cause
    );
}

/// Held, acknowledged by `quiet`, and at the flip, with nobody who drives it: what its transaction sees is all there is.
async fn at_the_flip(scene: &Scene, start: &Start, quiet: &[InstanceId]) -> (OperationId, HoldId, Fence) {
    let replica = scene.replica();
    let id = begin(scene, &replica, start).await;
    let hold = replica.held(id).await;
    let fence = replica.cutovers.get(id).await.unwrap().operation.fence;
    replica.crash().await;
    for instance in quiet {
        scene.acknowledge(*instance, hold).await;
    }
    sqlx::query("UPDATE operations SET step = 'flipping' WHERE id = $1")
        .bind(id.uuid())
        .execute(scene.database.pool())
        .await
        .unwrap();
    (id, hold, fence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flips_own_transaction_refuses_a_node_without_proof_and_a_command_without_result() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    let start = Start {
        hooks: Hooks {
            copy: Will::Not,
            verify: Will::Run,
        },
        ..cutover(ALICE, LONG)
    };
    let (id, hold, fence) = at_the_flip(&scene, &start, &[one]).await;
    let flip = async || {
        scene
            .writer
            .commit(&Context::own("test"), &Flip::new(id, fence, String::new()))
            .await
    };
    assert!(refusal(flip().await).what.contains("command"));
    sqlx::query("UPDATE operations SET verify = 'passed' WHERE id = $1")
        .bind(id.uuid())
        .execute(scene.database.pool())
        .await
        .unwrap();
    let late = scene.node("ams-1").await;
    let found = refusal(flip().await);
    assert_eq!(
        (found.kind, found.nodes),
        (RefusalKind::Unproven, vec!["ams-1".to_owned()])
    );
    assert_eq!(scene.mapped(ALICE).await, None);
    scene.acknowledge(late, hold).await;
    flip().await.unwrap();
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("new"));
    // Twice is once: it is not at the flip any more.
    assert!(flip().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_races_a_flip_is_before_it_with_a_proof_or_after_it() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let first = scene.node("fra-1").await;
    // As another replica: nothing but the database is between the two.
    let other = Writer::new(scene.database.pool().clone(), Arc::new(Memory::volatile()));
    let (mut flipped, mut refused) = (0, 0);
    for round in 0..60 {
        let back = scene.mapped(ALICE).await.as_deref() == Some("new");
        let (from, to) = if back {
            ("new", "legacy")
        } else {
            ("legacy", "new")
        };
        let start = Start {
            from: vec![from.to_owned()],
            to: to.to_owned(),
            ..cutover(ALICE, LONG)
        };
        let (id, hold, fence) = at_the_flip(&scene, &start, &[first]).await;
        let late = InstanceId::random();
        let name = format!("late-{round}");
        let hello = scene::hello(&name, late, None, 1);
        let context = Context::own("test");
        let flip = Flip::new(id, fence, String::new());
        let (flip, registered) = tokio::join!(
            async {
                // Somewhere within the few milliseconds that the other takes.
                tokio::time::sleep(Duration::from_micros(250 * (round % 20))).await;
                scene.writer.commit(&context, &flip).await
            },
            node_register(&other, &context, &hello)
        );
        let registered = registered.unwrap();
        match flip {
            Ok(done) => {
                flipped += 1;
                assert!(
                    done.position.unwrap().revision.0 < registered.revision,
                    "round {round}: a registered process without a proof was flipped past"
                );
            }
            Err(error) => {
                refused += 1;
                assert_eq!(refusal(Err::<(), _>(error)).nodes, [name.as_str()]);
                scene.acknowledge(late, hold).await;
                let flip = Flip::new(id, fence, String::new());
                scene.writer.commit(&context, &flip).await.unwrap();
            }
        }
        let forget = Forget {
            node: name,
            instance: None,
            word: Word::Stopped,
        };
        node_forget(&scene.writer, &context, &forget).await.unwrap();
    }
    assert!(
        flipped > 0 && refused > 0,
        "no race: {flipped} flipped first, {refused} refused"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_replaces_one_which_had_acknowledged_must_acknowledge_itself() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let (one, two) = (scene.node("fra-1").await, scene.node("ams-1").await);
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    scene.acknowledge(one, hold).await;
    let again = InstanceId::random();
    assert_eq!(
        scene.register("fra-1", again, Some(one), 1).await.unwrap().since,
        Since::Now
    );
    scene.acknowledge(two, hold).await;
    replica.cutovers.wake();
    let view = replica
        .until(id, |view| view.operation.step == Step::Draining)
        .await;
    assert_eq!(
        view.proofs.iter().filter(|proof| proof.node == "fra-1").count(),
        1,
        "{:?}",
        view.proofs
    );
    assert_eq!(view.operation.outcome, None);
    // Another machine cannot take the name, and forgetting needs the operator's word.
    let stranger = refusal(scene.register("fra-1", InstanceId::random(), None, 2).await);
    assert!(stranger.what.contains("another machine"), "{stranger}");
    let forget = |word| Forget {
        node: "ams-1".to_owned(),
        instance: None,
        word,
    };
    refusal(node_forget(&scene.writer, &Context::own("test"), &forget(Word::Missing)).await);
    scene.acknowledge(again, hold).await;
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_ends_as_done_or_released_under_the_next_driver() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    for crash_at in [
        Step::Planned,
        Step::Holding,
        Step::Copying,
        Step::Verifying,
        Step::Flipping,
        Step::Releasing,
    ] {
        if scene.mapped(ALICE).await.as_deref() == Some("new") {
            scene.map(ALICE, Some("legacy"), Proof::Waived).await.unwrap();
        }
        let crashed = scene.replica();
        let start = Start {
            hooks: Hooks {
                copy: Will::Run,
                verify: Will::Run,
            },
            ..cutover(ALICE, LONG)
        };
        let id = begin(&scene, &crashed, &start).await;
        let hold = crashed.held(id).await;
        crashed.crash().await;
        // The step at which the crash is taken to have been, as its driver would have committed it.
        let (copy, verify) = match crash_at {
            Step::Planned | Step::Holding | Step::Copying | Step::Releasing => ("wanted", "wanted"),
            Step::Verifying => ("passed", "wanted"),
            _ => ("passed", "passed"),
        };
        if crash_at == Step::Planned {
            sqlx::query("DELETE FROM holds WHERE id = $1")
                .bind(hold.uuid())
                .execute(scene.database.pool())
                .await
                .unwrap();
        }
        sqlx::query(
            "UPDATE operations SET step = $2, copy = $3, verify = $4, hold = CASE WHEN $2 = 'planned' THEN NULL ELSE hold END
             WHERE id = $1",
        )
        .bind(id.uuid())
        .bind(crash_at.text())
        .bind(copy)
        .bind(verify)
        .execute(scene.database.pool())
        .await
        .unwrap();

        let next = scene.replica();
        let hold = match crash_at {
            Step::Planned => next.held(id).await,
            _ => hold,
        };
        scene.acknowledge(one, hold).await;
        for hook in [HookKind::Copy, HookKind::Verify] {
            let report = HookReport {
                operation: id,
                hold,
                hook,
                result: HookResult::Passed,
                detail: String::new(),
            };
            next.cutovers.hook_finish(&report).await.unwrap();
        }
        let (outcome, view) = next.outcome(id).await;
        let (expected, place) = match crash_at {
            Step::Releasing => (Outcome::Released, "legacy"),
            _ => (Outcome::Done, "new"),
        };
        assert_eq!(outcome, expected, "{crash_at:?}");
        assert_eq!(scene.mapped(ALICE).await.as_deref(), Some(place), "{crash_at:?}");
        assert_eq!(view.operation.fence.term, 2);
        let (held,): (i64,) = sqlx::query_as("SELECT count(*) FROM holds")
            .fetch_one(scene.database.pool())
            .await
            .unwrap();
        assert_eq!(held, 0);
        next.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_was_taken_over_from_can_write_nothing_more() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    let first = scene.replica();
    let id = begin(&scene, &first, &cutover(ALICE, LONG)).await;
    let hold = first.held(id).await;
    let old = first.cutovers.get(id).await.unwrap().operation.fence;
    let second = scene.replica();
    second.until(id, |view| view.operation.fence != old).await;
    scene.acknowledge(one, hold).await;
    sqlx::query("UPDATE operations SET step = 'flipping' WHERE id = $1")
        .bind(id.uuid())
        .execute(scene.database.pool())
        .await
        .unwrap();
    let late = scene
        .writer
        .commit(&Context::own("late"), &Flip::new(id, old, String::new()))
        .await;
    assert!(late.is_err(), "{late:?}");
    // The term alone does not make it ours: terms can come back after a failover.
    let stolen = Fence {
        term: old.term + 1,
        holder: old.holder,
    };
    let late = scene
        .writer
        .commit(&Context::own("late"), &Flip::new(id, stolen, String::new()))
        .await;
    assert!(late.is_err(), "{late:?}");
    second.cutovers.wake();
    assert_eq!(second.outcome(id).await.0, Outcome::Done);
    first.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_dying_in_the_middle_delays_a_cutover_and_nothing_else() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let one = scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    scene.acknowledge(one, hold).await;
    let pid = std::fs::read_to_string(scene.state_dir.path().join("postgresql/postmaster.pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    replica.cutovers.wake();
    let (outcome, _) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_is_refused_before_anything_is_held() {
    let scene = Scene::new().await;
    scene.account(&[ALICE, "alice"]).await;
    scene.node("fra-1").await;
    let replica = scene.replica();
    let before = scene.position().await;
    let begin = async |start: &Start| replica.cutovers.begin(&Context::own("test"), start).await;
    let wrong_from = Start {
        from: vec!["new".to_owned()],
        to: "legacy".to_owned(),
        ..cutover(ALICE, LONG)
    };
    let found = refusal(begin(&wrong_from).await);
    assert_eq!(found.kind, RefusalKind::Precondition);
    assert!(found.what.contains("is on legacy"), "{found}");
    let nowhere = Start {
        to: "mars".to_owned(),
        ..cutover(ALICE, LONG)
    };
    assert!(refusal(begin(&nowhere).await).remedy.contains("legacy, new"));
    assert!(
        refusal(begin(&cutover("bob@example.org", LONG)).await)
            .remedy
            .contains("--single")
    );
    refusal(begin(&cutover("@example.org", LONG)).await);
    let dry = Context {
        mode: Mode::DryRun,
        ..Context::own("test")
    };
    replica.cutovers.begin(&dry, &cutover(ALICE, LONG)).await.unwrap();
    assert_eq!(scene.position().await, before);

    let id = begin(&cutover(ALICE, LONG)).await.unwrap().output;
    replica.held(id).await;
    assert!(
        refusal(begin(&cutover("alice", LONG)).await)
            .what
            .contains(&id.to_string())
    );
    // What is on its way is not mapped elsewhere, not even unproven; nor is the domain above it.
    for identifier in [ALICE, "@example.org"] {
        let found = refusal(scene.map(identifier, Some("new"), Proof::Waived).await);
        assert!(found.what.contains(&id.to_string()), "{found}");
    }
    let view = replica.cutovers.abort(&Context::own("enough"), id).await.unwrap();
    assert_eq!(view.operation.id, id);
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Released);
    assert!(view.operation.cause.contains("enough"));
    refusal(replica.cutovers.abort(&Context::own("again"), id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_a_cutover_the_other_way_and_asks_what_becomes_of_new_mail() {
    let scene = Scene::new().await;
    let replica = scene.replica();
    let single = Start {
        reach: Reach::Single,
        ..cutover(ALICE, LONG)
    };
    // Without any node there is nobody to wait for.
    let id = begin(&scene, &replica, &single).await;
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    let ask = |new_mail| Rollback {
        identifier: ALICE.to_owned(),
        new_mail,
        hooks: Hooks::default(),
        times: Times::default(),
    };
    let found = refusal(
        replica
            .cutovers
            .roll_back(&Context::own("oops"), &ask(NewMail::Unsaid))
            .await,
    );
    assert!(found.remedy.contains("--leave-new-mail"), "{found}");
    let back = replica
        .cutovers
        .roll_back(&Context::own("oops"), &ask(NewMail::Leave))
        .await
        .unwrap()
        .output;
    assert_eq!(replica.outcome(back).await.0, Outcome::Done);
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("legacy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_of_this_process_that_no_task_drives_is_driven_again() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    scene.account(&["bob@example.org"]).await;
    let node = scene.node("fra-1").await;
    let (lost, replica) = (scene.replica(), scene.replica());
    let id = begin(&scene, &lost, &cutover(ALICE, LONG)).await;
    let own = begin(&scene, &replica, &cutover("bob@example.org", LONG)).await;
    let hold = lost.held(id).await;
    lost.crash().await;
    // As after a takeover that was committed and whose answer was lost.
    let own = replica.cutovers.get(own).await.unwrap().operation.fence.holder;
    sqlx::query("UPDATE operations SET term = term + 1, holder = $2 WHERE id = $1")
        .bind(id.uuid())
        .bind(own.uuid())
        .execute(scene.database.pool())
        .await
        .unwrap();
    scene.acknowledge(node, hold).await;
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    replica.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_heard_of_an_operation_that_another_replica_drives_is_passed_on_to_it() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let node = scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    let mut heard = PgListener::connect_with(scene.database.pool()).await.unwrap();
    heard.listen(store::operation::OPERATION_NEWS).await.unwrap();
    let elsewhere = OperationId::random();
    replica.cutovers.news([id, elsewhere]).await.unwrap();
    let said = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
    assert_eq!(
        said.unwrap().unwrap().payload(),
        elsewhere.to_string(),
        "the other is driven here"
    );
    // And what another replica says is heard.
    assert_eq!(scene.acknowledge(node, hold).await, [id]);
    let mut conn = scene.database.pool().acquire().await.unwrap();
    store::operation::operation_news(&mut conn, &[id]).await.unwrap();
    drop(conn);
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    replica.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_synced_with_the_next_commit_leaves_the_connection_as_it_was() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let view = replica
        .until(id, |view| view.operation.step == Step::Draining)
        .await;
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let written = store::operation::operation_put_ahead(&mut conn, &view.operation, Step::Draining).await;
    assert_eq!(written.unwrap(), store::operation::Fenced::Written);
    let written = store::operation::operation_put_ahead(&mut conn, &view.operation, Step::Holding).await;
    assert_eq!(written.unwrap(), store::operation::Fenced::NotOurs);
    let (now,): (String,) = sqlx::query_as("SELECT current_setting('synchronous_commit')")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(now, "on");
    replica.crash().await;
}

/// Nodes that bring a driver down the first time that it asks whether the database can be believed.
struct Panic(AtomicBool);

impl Nodes for Panic {
    fn sessions(&self, whose: Whose) -> BoxFuture<'_, Observed> {
        NoNodes.sessions(whose)
    }

    fn doubt(&self) -> Option<String> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a driver that meets a bug");
        None
    }

    fn repeat_acknowledgements(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_whose_driver_panicked_is_driven_again() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let nodes = Arc::new(Panic(AtomicBool::new(false)));
    let replica = scene::Replica::with_nodes(scene.writer.clone(), nodes.clone());
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    assert!(nodes.0.load(Ordering::Relaxed), "its first driver panicked");
    replica.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_whose_commit_is_not_answered_has_an_unknown_outcome() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    replica.held(id).await;
    // The connection breaks in the middle of the commit.
    sqlx::raw_sql(
        "CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER break_off AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION break_off()",
    )
    .execute(scene.database.pool())
    .await
    .unwrap();
    let aborted = replica.cutovers.abort(&Context::own("enough"), id).await;
    assert!(matches!(aborted, Err(Error::OutcomeUnknown(_))), "{aborted:?}");
    sqlx::raw_sql("DROP TRIGGER break_off ON audit")
        .execute(scene.database.pool())
        .await
        .unwrap();
    let view = replica.cutovers.abort(&Context::own("enough"), id).await.unwrap();
    assert_eq!(
        view.operation.abort_asked.as_deref(),
        Some("aborted by control-plane: enough")
    );
    assert_eq!(replica.outcome(id).await.0, Outcome::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_form_of_logins_does_not_change_while_somebody_is_on_the_way() {
    let scene = Scene::new().await;
    let node = scene.node("fra-1").await;
    let replica = scene.replica();
    let start = Start {
        reach: Reach::Single,
        ..cutover("bob", LONG)
    };
    let id = begin(&scene, &replica, &start).await;
    let hold = replica.held(id).await;
    let mut other = scene::configuration();
    other[2] = scene::resource(
        "routing",
        "",
        serde_json::json!({"default_destination": "legacy", "bare_domain": "example.org"}),
    );
    let apply = async || {
        mailswitch_control_plane::change::resource::resources_apply(
            &scene.writer,
            &mailswitch_control_plane::change::sessions::NoNodes,
            &Context::own("test"),
            &other,
            Proof::Waived,
        )
        .await
    };
    assert_eq!(refusal(apply().await).kind, RefusalKind::Precondition);
    scene.acknowledge(node, hold).await;
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    apply().await.unwrap();
    replica.crash().await;
}
