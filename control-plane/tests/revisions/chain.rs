//! Gapless, in commit order, whoever is stopped in the middle (promise D2, D6).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_control_plane::change::log::{Relation, Window, changes_after, follow, relation, trim};
use mailswitch_control_plane::change::mapping::{Wish, mapping_write};
use mailswitch_control_plane::change::memory::Memory;
use mailswitch_control_plane::change::sessions::NoNodes;
use mailswitch_control_plane::change::{Context, Mode, Writer};
use mailswitch_control_plane::store::audit::{Proof, audit_list};
use mailswitch_proto::fleet::v1::ChangeSet;
use mailswitch_proto::revision::{Position, Revision};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use crate::scene::{Scene, refusal};

/// Reads the whole log, and checks that it is one chain without gaps.
async fn chain(scene: &Scene) -> Vec<ChangeSet> {
    let mut at = Position::NONE;
    let mut sets = Vec::new();
    loop {
        let next = changes_after(scene.database.pool(), at.revision, 500)
            .await
            .unwrap();
        if next.is_empty() {
            break;
        }
        for logged in next {
            assert_eq!(logged.position, at.after(&logged.payload));
            at = logged.position;
            sets.push(ChangeSet::decode(logged.payload.as_slice()).unwrap());
        }
    }
    assert_eq!(at, scene.position().await);
    sets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_on_several_pools_make_one_gapless_chain_in_commit_order() {
    let scene = Arc::new(Scene::new().await);
    let before = scene.position().await.revision.0;
    let mut writers = Vec::new();
    for replica in 0..4 {
        let options = scene.database.pool().connect_options().as_ref().clone();
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .unwrap();
        let writer = Writer::new(pool, Arc::new(Memory::volatile()));
        for task in 0..6 {
            let writer = writer.clone();
            writers.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                for round in 0..10 {
                    let wish = Wish {
                        identifier: format!("user{replica}-{task}-{round}@example.org"),
                        destination: Some("new".to_owned()),
                    };
                    let committed = mapping_write(
                        &writer,
                        &NoNodes,
                        &Context::own("test"),
                        "mapping set",
                        &[wish],
                        Proof::Standing,
                    )
                    .await
                    .unwrap();
                    seen.push(committed.position.unwrap().revision.0);
                }
                assert!(seen.is_sorted(), "a writer's own changes are in its order");
                seen
            }));
        }
    }
    let mut seen = BTreeSet::new();
    for writer in writers {
        for revision in writer.await.unwrap() {
            assert!(seen.insert(revision), "{revision} was given twice");
        }
    }
    let expected: BTreeSet<u64> = (before + 1..=before + 240).collect();
    assert_eq!(seen, expected);
    assert_eq!(chain(&scene).await.len() as u64, before + 240);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_stopped_or_killed_in_the_middle_holds_up_nobody_and_leaves_no_gap() {
    let scene = Scene::new().await;
    let pool = scene.database.pool();
    // Stopped with its row staged and what it changed locked, before the counter: SIGSTOP at the worst instruction that
    // there is, since the counter and the commit are one message.
    let mut stopped = pool.acquire().await.unwrap();
    sqlx::raw_sql(
        "BEGIN; INSERT INTO changes (id, payload, keys, breadth) VALUES (gen_random_uuid(), 'x', '', 'keys');
         INSERT INTO mappings VALUES ('alice@example.org', '0123456789abcdef', 'new')",
    )
    .execute(&mut *stopped)
    .await
    .unwrap();
    let others = scene
        .map("bob@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    // What it holds itself is free as soon as its transaction was idle for too long.
    let same = scene
        .map("alice@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(same.revision, others.revision.next());
    assert!(
        sqlx::raw_sql("COMMIT").execute(&mut *stopped).await.is_err(),
        "it was ended meanwhile"
    );
    drop(stopped);

    // Killed within the message that seals and commits, while somebody else has the counter.
    let mut blocker = pool.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM fleet FOR UPDATE")
        .execute(&mut *blocker)
        .await
        .unwrap();
    let victim = tokio::spawn({
        let writer = scene.writer.clone();
        async move {
            let wish = Wish {
                identifier: "carol@example.org".to_owned(),
                destination: Some("new".to_owned()),
            };
            mapping_write(
                &writer,
                &NoNodes,
                &Context::own("test"),
                "mapping set",
                &[wish],
                Proof::Standing,
            )
            .await
        }
    });
    let killed = async {
        loop {
            let (pids,): (Vec<i32>,) = sqlx::query_as(
                "SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity
                 WHERE query LIKE 'SELECT change_seal%' AND wait_event_type = 'Lock'",
            )
            .fetch_one(pool)
            .await
            .unwrap();
            for pid in &pids {
                sqlx::query("SELECT pg_terminate_backend($1)")
                    .bind(pid)
                    .execute(pool)
                    .await
                    .unwrap();
            }
            if !pids.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), killed)
        .await
        .unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut *blocker).await.unwrap();
    let committed = victim.await.unwrap().unwrap();
    assert_eq!(
        committed.position.unwrap().revision,
        same.revision.next(),
        "once, and without a gap"
    );
    assert_eq!(chain(&scene).await.len() as u64, same.revision.next().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_import_is_one_revision_and_is_not_started_again_by_what_does_not_concern_it() {
    let scene = Scene::new().await;
    let before = scene.position().await;
    let wishes: Vec<Wish> = (0..20_000)
        .map(|n| Wish {
            identifier: format!("user{n}@example.org"),
            destination: Some("new".to_owned()),
        })
        .collect();
    let writer = scene.writer.clone();
    let import = tokio::spawn(async move {
        mapping_write(
            &writer,
            &NoNodes,
            &Context::own("test"),
            "mapping import",
            &wishes,
            Proof::Waived,
        )
        .await
    });
    let mut small = 0;
    while !import.is_finished() {
        scene
            .map(&format!("other{small}@example.net"), Some("new"), Proof::Standing)
            .await
            .unwrap();
        small += 1;
    }
    let imported = import.await.unwrap().unwrap();
    assert_eq!(imported.output.added, 20_000);
    assert!(small > 1);
    let sets = chain(&scene).await;
    let one = &sets[usize::try_from(imported.position.unwrap().revision.0).unwrap() - 1];
    let keys: usize = one.changes.iter().map(|change| change.keys.len() / 16).sum();
    assert_eq!(keys, 20_000);
    assert_eq!(sets.len() as u64, before.revision.0 + small + 1);
    // Its audit rows name the revision that it got in the end.
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let row = &audit_list(&mut conn, Some("user7@example.org"), None, 1)
        .await
        .unwrap()[0];
    assert_eq!(row.revision, imported.position.unwrap().revision.0);
    assert_eq!((row.entry.before.as_str(), row.entry.after.as_str()), ("", "new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_does_it_once_and_a_dry_run_does_it_never() {
    let scene = Scene::new().await;
    let context = Context {
        idempotency_key: Some(uuid::Uuid::new_v4()),
        ..Context::own("test")
    };
    let wish = |destination: &str| {
        [Wish {
            identifier: "alice@example.org".to_owned(),
            destination: Some(destination.to_owned()),
        }]
    };
    let set = async |context: &Context, destination: &str| {
        mapping_write(
            &scene.writer,
            &NoNodes,
            context,
            "mapping set",
            &wish(destination),
            Proof::Standing,
        )
        .await
    };
    let dry = Context {
        mode: Mode::DryRun,
        ..Context::own("test")
    };
    assert_eq!(set(&dry, "new").await.unwrap().position, None);
    assert_eq!(scene.mapped("alice@example.org").await, None);

    let first = set(&context, "new").await.unwrap();
    let (again, at_once) = tokio::join!(set(&context, "new"), set(&context, "new"));
    let (again, at_once) = (again.unwrap(), at_once.unwrap());
    assert_eq!(first.position, again.position);
    assert_eq!(first.position, at_once.position);
    assert_eq!(first.output, again.output);
    assert_eq!(scene.position().await, first.position.unwrap());
    assert!(
        refusal(set(&context, "legacy").await)
            .what
            .contains("another request")
    );
    // Nothing to do is no revision.
    assert_eq!(set(&Context::own("test"), "new").await.unwrap().position, None);
    // What would be refused by now is answered as it was done.
    scene.account(&["alice@example.org"]).await;
    scene
        .map("alice@example.org", Some("legacy"), Proof::Waived)
        .await
        .unwrap();
    refusal(set(&Context::own("test"), "new").await);
    assert_eq!(set(&context, "new").await.unwrap().position, first.position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_woken_by_every_commit_also_of_another_replica() {
    let scene = Scene::new().await;
    let stop = CancellationToken::new();
    let other = Writer::new(scene.database.pool().clone(), Arc::new(Memory::volatile()));
    let mut woken = follow(scene.database.pool().clone(), other.committed(), stop.clone());
    for n in 0..20 {
        let made = scene
            .map(&format!("user{n}@example.org"), Some("new"), Proof::Standing)
            .await
            .unwrap()
            .unwrap();
        let seen = tokio::time::timeout(
            Duration::from_secs(5),
            woken.wait_for(|seen| *seen >= made.revision),
        );
        seen.await.unwrap().unwrap();
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_log_keeps_its_window_and_still_knows_old_positions() {
    let scene = Scene::new().await;
    let old = scene.position().await;
    for n in 0..10 {
        let user = format!("user{n}@example.org");
        scene.map(&user, Some("new"), Proof::Standing).await.unwrap();
    }
    let pool = scene.database.pool();
    let window = Window {
        revisions: 3,
        age: Duration::from_secs(3600),
    };
    assert_eq!(trim(pool, window).await.unwrap(), 0, "not while it is young");
    let window = Window {
        age: Duration::ZERO,
        ..window
    };
    assert_eq!(trim(pool, window).await.unwrap(), old.revision.0 + 7);
    // A reader that is behind the trim is told so, and gets a snapshot; its position is known all the same.
    assert!(changes_after(pool, old.revision, 10).await.is_err());
    assert_eq!(relation(pool, old).await.unwrap(), Relation::OnChain);
    let now = scene.position().await;
    let kept = changes_after(pool, Revision(now.revision.0 - 3), 10)
        .await
        .unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[2].position, now);
    scene
        .map("erin@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap();
}
