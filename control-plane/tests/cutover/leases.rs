//! Arming, lapses and fences (promise L1 to L5, N3, F1), with nodes that are played.

use std::time::{Duration, Instant};

use mailswitch_config::resource::Resource;
use mailswitch_control_plane::change::arming::{Counts, Way, account_arm};
use mailswitch_control_plane::change::fence::{node_fence, node_unfence};
use mailswitch_control_plane::change::resource::resources_apply;
use mailswitch_control_plane::change::sessions::NoNodes;
use mailswitch_control_plane::change::{Context, Error, RefusalKind, account};
use mailswitch_control_plane::cutover::flip::Flip;
use mailswitch_control_plane::cutover::operation::{FencedIs, Outcome};
use mailswitch_control_plane::cutover::request::Start;
use mailswitch_control_plane::store;
use mailswitch_control_plane::store::arming::{Ack, Arming, arming_ack_add, arming_on_list};
use mailswitch_control_plane::store::audit::{Proof, audit_list};
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::id::{ArmingId, InstanceId, OperationId};

use super::{ALICE, LONG, at_the_flip, begin, kinds_after};
use crate::scene::{self, Scene, cutover, refusal};

/// With leases of this length.
fn configured(lease: &str) -> Vec<Resource> {
    let mut all = scene::configuration();
    all.push(scene::resource(
        "cutover",
        "",
        serde_json::json!({ "lease": lease }),
    ));
    all
}

async fn apply(scene: &Scene, wished: &[Resource]) -> Result<(), Error> {
    let context = Context::own("test");
    resources_apply(&scene.writer, &NoNodes, &context, wished, Proof::Waived)
        .await
        .map(|_| ())
}

/// Leases of one second, alice with two logins, armed ahead.
async fn armed() -> Scene {
    let scene = Scene::new().await;
    apply(&scene, &configured("1s")).await.unwrap();
    scene.account(&[ALICE, "alice"]).await;
    arm(&scene, &["alice"], Way::Arm).await.unwrap();
    scene
}

async fn arm(scene: &Scene, identifiers: &[&str], way: Way) -> Result<Counts, Error> {
    let identifiers: Vec<String> = identifiers.iter().map(|text| (*text).to_owned()).collect();
    let done = account_arm(&scene.writer, &Context::own("batch 7"), &identifiers, way).await?;
    Ok(done.output)
}

async fn arming(scene: &Scene) -> Option<Arming> {
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let found = arming_on_list(&mut conn, &[ALICE.to_owned(), "alice".to_owned()])
        .await
        .unwrap();
    found.into_iter().map(|(arming, _)| arming).next()
}

/// A node says that it admits the account only under its lease.
async fn say_armed(scene: &Scene, instance: InstanceId, arming: ArmingId) -> Vec<OperationId> {
    let ack = Ack {
        arming,
        instance,
        applied: scene.position().await,
    };
    let mut conn = scene.database.pool().acquire().await.unwrap();
    arming_ack_add(&mut conn, &[ack]).await.unwrap()
}

async fn last_audit(scene: &Scene, verb: &str) -> (String, Proof) {
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let trail = audit_list(&mut conn, None, None, 50).await.unwrap();
    let row = trail.into_iter().find(|row| row.entry.verb == verb).unwrap();
    (row.entry.after, row.entry.proof)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cutover_arms_its_account_first_and_takes_that_back_with_its_end() {
    let scene = Scene::new().await;
    scene.account(&[ALICE, "alice"]).await;
    let node = scene.node("fra-1").await;
    let replica = scene.replica();
    let before = scene.position().await.revision;
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    scene.acknowledge(node, hold).await;
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    let kinds = kinds_after(&scene, before).await;
    let [
        Kind::Armed(armed),
        Kind::Held(held),
        Kind::Flipped(_),
        Kind::Disarmed(disarmed),
    ] = kinds.as_slice()
    else {
        panic!("{kinds:?}");
    };
    assert_eq!(armed.operation, id.to_vec());
    assert_eq!((&held.arming, &disarmed.arming), (&armed.arming, &armed.arming));

    // So does one that is released.
    let before = scene.position().await.revision;
    let back = Start {
        from: vec!["new".to_owned()],
        to: "legacy".to_owned(),
        ..cutover(ALICE, LONG)
    };
    let id = begin(&scene, &replica, &back).await;
    replica.held(id).await;
    replica.cutovers.abort(&Context::own("enough"), id).await.unwrap();
    assert_eq!(replica.outcome(id).await.0, Outcome::Released);
    let kinds = kinds_after(&scene, before).await;
    assert!(
        matches!(
            kinds.as_slice(),
            [
                Kind::Armed(_),
                Kind::Held(_),
                Kind::Released(_),
                Kind::Disarmed(_)
            ]
        ),
        "{kinds:?}"
    );
    assert_eq!(arming(&scene).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_armed_ahead_stays_so_through_a_release_and_a_flip() {
    let scene = armed().await;
    let node = scene.node("fra-1").await;
    let ahead = arming(&scene).await.unwrap();
    assert_eq!((ahead.name.as_str(), ahead.keys.len()), (ALICE, 2));
    assert_eq!(
        arm(&scene, &[ALICE, "alice"], Way::Arm).await.unwrap(),
        Counts {
            changed: 0,
            unchanged: 1
        },
        "one account, and it is so already"
    );
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    replica.held(id).await;
    let found = refusal(arm(&scene, &[ALICE], Way::Disarm).await);
    assert!(found.what.contains(&id.to_string()), "{found}");
    replica.cutovers.abort(&Context::own("enough"), id).await.unwrap();
    assert_eq!(replica.outcome(id).await.0, Outcome::Released);
    assert_eq!(arming(&scene).await.as_ref(), Some(&ahead));

    let before = scene.position().await.revision;
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    scene.acknowledge(node, hold).await;
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    assert_eq!(arming(&scene).await.as_ref(), Some(&ahead));
    let kinds = kinds_after(&scene, before).await;
    assert!(
        matches!(kinds.as_slice(), [Kind::Held(held), Kind::Flipped(_)] if held.arming == ahead.id.to_vec()),
        "{kinds:?}"
    );
    assert_eq!(arm(&scene, &[ALICE], Way::Disarm).await.unwrap().changed, 1);
    assert_eq!(arming(&scene).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_that_acknowledged_the_arming_is_passed_after_one_lease_and_a_quarter() {
    let scene = armed().await;
    let (one, silent) = (scene.node("fra-1").await, scene.node("nyc-1").await);
    let ahead = arming(&scene).await.unwrap();
    assert!(say_armed(&scene, silent, ahead.id).await.is_empty());
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    let held = Instant::now();
    scene.acknowledge(one, hold).await;
    replica.cutovers.wake();
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Done);
    assert!(held.elapsed() >= Duration::from_secs(1), "{:?}", held.elapsed());
    assert_eq!(view.operation.lapsed, ["nyc-1"]);
    assert_eq!(scene.mapped("alice").await.as_deref(), Some("new"));
    let (after, proof) = last_audit(&scene, "cutover flip").await;
    assert_eq!(
        (after.as_str(), proof),
        ("new (lease lapsed: nyc-1)", Proof::Standing)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flip_counts_a_lapse_only_after_its_driver_has_waited_and_only_for_this_arming() {
    let scene = armed().await;
    let silent = scene.node("nyc-1").await;
    let ahead = arming(&scene).await.unwrap();
    say_armed(&scene, silent, ahead.id).await;
    let flip = async |id, fence, waited| {
        let flip = Flip::new(id, fence, Duration::from_millis(waited), String::new());
        scene.writer.commit(&Context::own("test"), &flip).await
    };
    let (id, _, fence) = at_the_flip(&scene, &cutover(ALICE, LONG), &[]).await;
    let found = refusal(flip(id, fence, 1_249).await);
    assert_eq!(
        (found.kind, found.nodes),
        (RefusalKind::Unproven, vec!["nyc-1".to_owned()])
    );
    // A process that is started again has acknowledged nothing, however long anybody waits.
    let again = InstanceId::random();
    scene.register("nyc-1", again, Some(silent), 1).await.unwrap();
    refusal(flip(id, fence, 3_600_000).await);
    // Of another arming, of another process, or from before the arming, it is ignored.
    say_armed(&scene, again, ArmingId::random()).await;
    say_armed(&scene, InstanceId::random(), ahead.id).await;
    refusal(flip(id, fence, 3_600_000).await);
    assert_eq!(
        say_armed(&scene, again, ahead.id).await,
        [id],
        "its driver is woken"
    );
    flip(id, fence, 1_250).await.unwrap();
    assert_eq!(scene.mapped(ALICE).await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_armed_on_a_silent_node_cannot_be_moved_past_it() {
    let scene = armed().await;
    scene.node("nyc-1").await;
    let replica = scene.replica();
    // Longer than a lease and a quarter: that is not what is missing.
    let id = begin(&scene, &replica, &cutover(ALICE, Duration::from_millis(1_800))).await;
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Unproven);
    assert_eq!(view.operation.missing, ["nyc-1"]);
    assert!(
        !view.operation.cause.contains("lease"),
        "{}",
        view.operation.cause
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_too_short_for_a_lapse_says_so() {
    let scene = armed().await;
    let silent = scene.node("nyc-1").await;
    let ahead = arming(&scene).await.unwrap();
    say_armed(&scene, silent, ahead.id).await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, Duration::from_millis(900))).await;
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Unproven);
    for word in ["the lease of nyc-1", "1.25s", "max_hold is 900ms", "--max-hold"] {
        assert!(view.operation.cause.contains(word), "{}", view.operation.cause);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_takes_over_waits_for_the_leases_anew() {
    let scene = armed().await;
    let silent = scene.node("nyc-1").await;
    say_armed(&scene, silent, arming(&scene).await.unwrap().id).await;
    let first = scene.replica();
    let id = begin(&scene, &first, &cutover(ALICE, LONG)).await;
    first.held(id).await;
    // Most of the wait is over when it dies.
    tokio::time::sleep(Duration::from_millis(800)).await;
    first.crash().await;
    let taken = Instant::now();
    let second = scene.replica();
    assert_eq!(second.outcome(id).await.0, Outcome::Done);
    assert!(
        taken.elapsed() >= Duration::from_millis(1_250),
        "{:?}",
        taken.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_node_counts_until_the_operator_says_that_it_is_off_and_the_record_says_so() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    scene.node("nyc-1").await;
    let context = Context::own("it burns");
    let off = Start {
        fenced: FencedIs::Off,
        ..cutover(ALICE, LONG)
    };
    let replica = scene.replica();
    let found = refusal(replica.cutovers.begin(&context, &off).await);
    assert!(found.what.contains("no node is fenced"), "{found}");
    refusal(node_fence(&scene.writer, &context, "nyc-2").await);
    let before = scene.position().await;
    node_fence(&scene.writer, &context, "nyc-1").await.unwrap();
    assert_eq!(scene.position().await, before, "it takes nothing but its lease");

    let id = begin(&scene, &replica, &cutover(ALICE, Duration::from_millis(600))).await;
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Unproven, "a fence proves nothing");
    assert_eq!(view.operation.missing, ["nyc-1"]);

    let id = begin(&scene, &replica, &off).await;
    let (outcome, view) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(view.operation.taken_as_off, ["nyc-1"]);
    let (after, proof) = last_audit(&scene, "cutover flip").await;
    assert_eq!(after, "new (fenced, and off on the operator's word: nyc-1)");
    assert_eq!(proof, Proof::Waived);

    // Unfenced, it counts again at once.
    node_unfence(&scene.writer, &context, "nyc-1").await.unwrap();
    refusal(node_unfence(&scene.writer, &context, "nyc-1").await);
    let back = Start {
        from: vec!["new".to_owned()],
        to: "legacy".to_owned(),
        ..cutover(ALICE, Duration::from_millis(600))
    };
    let id = begin(&scene, &replica, &back).await;
    assert_eq!(replica.outcome(id).await.0, Outcome::Unproven);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_keeps_its_length_and_logins_their_form_while_an_account_is_armed() {
    let scene = armed().await;
    let longer = apply(&scene, &configured("2s")).await;
    let found = refusal(longer);
    for word in ["1s", "2s", "1 account is armed", "0 held"] {
        assert!(found.what.contains(word), "{found}");
    }
    let mut other_form = configured("1s");
    other_form[2] = scene::resource(
        "routing",
        "",
        serde_json::json!({"default_destination": "legacy", "bare_domain": "example.org"}),
    );
    let found = refusal(apply(&scene, &other_form).await);
    assert!(found.what.contains("1 account is armed"), "{found}");
    // Nor does the account get or lose a login.
    let wish = account::Wish {
        identifiers: vec![ALICE.to_owned()],
        addresses: vec![],
        group: String::new(),
    };
    let context = Context::own("test");
    let import = account::account_import(&scene.writer, &context, &[wish], Proof::Waived).await;
    assert!(refusal(import).remedy.contains("account disarm"));
    arm(&scene, &[ALICE], Way::Disarm).await.unwrap();
    apply(&scene, &configured("2s")).await.unwrap();

    // An operation that goes on is enough.
    scene.node("fra-1").await;
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let found = refusal(apply(&scene, &configured("1s")).await);
    assert!(found.what.contains("1 operations"), "{found}");
    replica.cutovers.abort(&Context::own("enough"), id).await.unwrap();
    replica.outcome(id).await;
    apply(&scene, &configured("1s")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_rests_on_the_last_change_of_an_armed_account_and_on_nothing_else() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let node = scene.node("fra-1").await;
    let grounds = async || {
        let mut conn = scene.database.pool().acquire().await.unwrap();
        store::lease::lease_grounds_get(&mut conn, &[node]).await.unwrap()
    };
    assert!(grounds().await.entitled.contains(&node));
    arm(&scene, &[ALICE], Way::Arm).await.unwrap();
    let armed = scene.position().await.revision;
    assert_eq!(grounds().await.armed_change, armed);
    scene
        .map("bob@example.org", Some("new"), Proof::Waived)
        .await
        .unwrap();
    assert_eq!(grounds().await.armed_change, armed, "nobody who is armed");
    for (identifier, to) in [(ALICE, Some("new")), (ALICE, None), ("@example.org", Some("new"))] {
        scene.map(identifier, to, Proof::Waived).await.unwrap();
        assert_eq!(
            grounds().await.armed_change,
            scene.position().await.revision,
            "{identifier} {to:?}"
        );
    }
    // Whoever has not heard that it is over still acts on it.
    arm(&scene, &[ALICE], Way::Disarm).await.unwrap();
    let disarmed = scene.position().await.revision;
    assert_eq!(grounds().await.armed_change, disarmed);
    scene
        .map("@example.org", Some("legacy"), Proof::Waived)
        .await
        .unwrap();
    assert_eq!(grounds().await.armed_change, disarmed);
    node_fence(&scene.writer, &Context::own("it burns"), "fra-1")
        .await
        .unwrap();
    assert!(grounds().await.entitled.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_wrong_with_a_list_to_arm_is_said_at_once_and_nothing_is_armed() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let before = scene.position().await;
    let found = refusal(arm(&scene, &[ALICE, "bob@example.org", "@example.org"], Way::Arm).await);
    let rows: Vec<u64> = found.details.iter().map(|detail| detail.row).collect();
    assert_eq!((rows, scene.position().await), (vec![2, 3], before));
    let found = refusal(arm(&scene, &["bob@example.org"], Way::Arm).await);
    assert!(found.what.contains("belongs to no account"), "{found}");
}
