//! The flip's own transaction decides, whatever comes at the same time (promise F1).

use std::sync::Arc;
use std::time::Duration;

use mailswitch_control_plane::change::memory::Memory;
use mailswitch_control_plane::change::node::{Forget, Since, Word, node_forget, node_register};
use mailswitch_control_plane::change::{Context, RefusalKind, Writer};
use mailswitch_control_plane::cutover::flip::Flip;
use mailswitch_control_plane::cutover::operation::{Outcome, Step};
use mailswitch_control_plane::cutover::request::{Hooks, Start, Will};
use mailswitch_proto::id::InstanceId;

use super::{ALICE, LONG, at_the_flip, begin};
use crate::scene::{self, Scene, cutover, refusal};

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
            .commit(
                &Context::own("test"),
                &Flip::new(id, fence, Duration::ZERO, String::new()),
            )
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
        let flip = Flip::new(id, fence, Duration::ZERO, String::new());
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
                let flip = Flip::new(id, fence, Duration::ZERO, String::new());
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
async fn a_flip_waits_for_both_processes_of_a_node_until_one_names_the_other_as_gone() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let (old, new) = (scene.node("fra-1").await, scene.node("fra-1").await);
    let replica = scene.replica();
    let id = begin(&scene, &replica, &cutover(ALICE, LONG)).await;
    let hold = replica.held(id).await;
    scene.acknowledge(new, hold).await;
    replica.cutovers.wake();
    let view = replica
        .until(id, |view| view.operation.step == Step::Draining)
        .await;
    assert_eq!(view.operation.outcome, None, "the old one has not said so");
    assert_eq!(view.proofs.len(), 2, "{:?}", view.proofs);
    // It is registered already: naming who is gone registers nobody anew, and keeps what it has acknowledged.
    let said = scene.register("fra-1", new, Some(old), 1).await.unwrap();
    assert_eq!(said.since, Since::Before);
    replica.cutovers.wake();
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
}
