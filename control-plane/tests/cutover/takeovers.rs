//! Whoever drives an operation can die at any step (promise D1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use mailswitch_control_plane::change::Context;
use mailswitch_control_plane::change::sessions::{NoNodes, Nodes, Observed, Whose};
use mailswitch_control_plane::cutover::flip::Flip;
use mailswitch_control_plane::cutover::operation::{Fence, HookKind, Outcome, Step};
use mailswitch_control_plane::cutover::request::{HookReport, Hooks, Start, Will};
use mailswitch_control_plane::store;
use mailswitch_control_plane::store::audit::Proof;
use mailswitch_control_plane::store::hold::HookResult;
use mailswitch_proto::id::OperationId;
use sqlx::postgres::PgListener;

use super::{ALICE, LONG, begin};
use crate::scene::{self, Scene, cutover};

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
        .commit(
            &Context::own("late"),
            &Flip::new(id, old, Duration::ZERO, String::new()),
        )
        .await;
    assert!(late.is_err(), "{late:?}");
    // The term alone does not make it ours: terms can come back after a failover.
    let stolen = Fence {
        term: old.term + 1,
        holder: old.holder,
    };
    let late = scene
        .writer
        .commit(
            &Context::own("late"),
            &Flip::new(id, stolen, Duration::ZERO, String::new()),
        )
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
