//! What this replica has seen is not there any more (promise D3, F3).

use std::sync::Arc;

use mailswitch_control_plane::change::log::{Relation, relation};
use mailswitch_control_plane::change::mapping::{Wish, mapping_write};
use mailswitch_control_plane::change::memory::Memory;
use mailswitch_control_plane::change::sessions::NoNodes;
use mailswitch_control_plane::change::{Context, Error, Writer};
use mailswitch_control_plane::store::audit::Proof;
use mailswitch_proto::revision::{Position, Revision};

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_in_time_is_not_written() {
    let scene = Scene::new().await;
    let old = scene.position().await;
    let new = scene
        .map("alice@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    let pool = scene.database.pool();
    assert_eq!(relation(pool, new).await.unwrap(), Relation::OnChain);
    sqlx::query("DELETE FROM revisions WHERE revision = $1")
        .bind(new.revision.0 as i64)
        .execute(pool)
        .await
        .unwrap();
    // What a failover to a standby that was behind looks like.
    sqlx::query("DELETE FROM changes WHERE revision = $1")
        .bind(new.revision.0 as i64)
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("UPDATE fleet SET revision = $1, digest = $2")
        .bind(old.revision.0 as i64)
        .bind(old.digest.as_bytes().as_slice())
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(relation(pool, new).await.unwrap(), Relation::Diverged);
    let result = scene.map("bob@example.org", Some("new"), Proof::Standing).await;
    assert!(
        matches!(result, Err(Error::WentBack { seen, found }) if seen == new && found == old),
        "{result:?}"
    );

    // Another replica, which remembers less, goes on; ours then finds another branch at its own revision.
    let other = Writer::new(pool.clone(), Arc::new(Memory::volatile()));
    for name in ["carol@example.org", "dave@example.org"] {
        let wish = [Wish {
            identifier: name.to_owned(),
            destination: Some("new".to_owned()),
        }];
        mapping_write(
            &other,
            &NoNodes,
            &Context::own("test"),
            "mapping set",
            &wish,
            Proof::Standing,
        )
        .await
        .unwrap();
    }
    let result = scene.map("bob@example.org", Some("new"), Proof::Standing).await;
    assert!(matches!(result, Err(Error::WentBack { .. })), "{result:?}");
    assert_eq!(relation(pool, new).await.unwrap(), Relation::Diverged);
    let ahead = Position {
        revision: Revision(999),
        digest: new.digest,
    };
    assert_eq!(relation(pool, ahead).await.unwrap(), Relation::Diverged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_not_answered_by_a_database_that_went_back_since_has_an_unknown_outcome() {
    let scene = Scene::new().await;
    let pool = scene.database.pool();
    // At the commit it waits until the test has the lock, and then the connection breaks.
    sqlx::raw_sql(
        "CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            WHILE pg_try_advisory_lock(7) LOOP
                PERFORM pg_advisory_unlock(7), pg_sleep(0.01);
            END LOOP;
            PERFORM pg_terminate_backend(pg_backend_pid());
            RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER break_off AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION break_off()",
    )
    .execute(pool)
    .await
    .unwrap();
    let change = scene.map("alice@example.org", Some("new"), Proof::Standing);
    let meanwhile = async {
        let mut conn = pool.acquire().await.unwrap();
        loop {
            let (committing,): (bool,) =
                sqlx::query_as("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")
                    .fetch_one(&mut *conn)
                    .await
                    .unwrap();
            if committing {
                break;
            }
        }
        // Another replica has made it a later one, which is lost: whether ours was before it, nobody knows.
        let later = scene.position().await.after(b"ours, perhaps").after(b"lost");
        let memory = scene.writer.memory();
        memory.remember(memory.seen().era, later);
        sqlx::query("SELECT pg_advisory_lock(7)")
            .execute(&mut *conn)
            .await
            .unwrap();
        conn
    };
    let (result, _lock) = tokio::join!(change, meanwhile);
    assert!(
        matches!(&result, Err(Error::OutcomeUnknown(why)) if why.to_string().contains("gone back in time")),
        "{result:?}"
    );
}
