//! From the hold to the end, and back.

use std::time::Duration;

use mailswitch_control_plane::change::Context;
use mailswitch_control_plane::cutover::operation::{FencedIs, Hook, HookKind, Outcome, Step};
use mailswitch_control_plane::cutover::request::{
    HookReport, Hooks, NewMail, Reach, Rollback, Start, Times, Will,
};
use mailswitch_control_plane::store;
use mailswitch_control_plane::store::audit::audit_list;
use mailswitch_control_plane::store::hold::{Ack, HookResult, Met, Stuck, hold_ack_add};
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{HoldId, InstanceId};

use super::{ALICE, LONG, begin, kinds_after};
use crate::scene::{Scene, cutover, refusal};

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
        matches!(kinds.as_slice(), [Kind::Armed(_), Kind::Held(held), Kind::Flipped(flipped), Kind::Disarmed(_)]
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
        [
            "cutover flip",
            "cutover hold",
            "cutover arm",
            "cutover start",
            "account import"
        ]
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
        matches!(kinds_after(&scene, before).await.as_slice(), [Kind::Armed(_), Kind::Held(_), Kind::Released(released), Kind::Disarmed(_)]
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
        fenced: FencedIs::Unsaid,
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
