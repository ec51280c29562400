//! A backup is the whole fleet at one instant; a restore is all of it or nothing.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod scene;

use std::time::Duration;

use mailswitch_control_plane::backup::{BackupError, Replace, dump, restore};
use mailswitch_control_plane::change::Error;
use mailswitch_control_plane::change::log::{Relation, relation};
use mailswitch_control_plane::cutover::operation::Outcome;
use mailswitch_control_plane::store::audit::{Proof, audit_list};
use mailswitch_control_plane::store::doubt::doubt_settle;
use mailswitch_control_plane::store::snapshot::snapshot_get;
use mailswitch_proto::id::InstanceId;
use scene::{Scene, cutover};
use sha2::{Digest as _, Sha256};

const ALICE: &str = "alice@example.org";

async fn backup_of(scene: &Scene) -> Vec<u8> {
    let (written, mut read) = tokio::io::duplex(1024);
    let mut bytes = Vec::new();
    let (header, _) = tokio::join!(
        dump(scene.database.pool(), written),
        tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes)
    );
    assert_eq!(header.unwrap().revision, scene.position().await.revision.0);
    bytes
}

/// The node says that it stands where the database does.
async fn settle(scene: &Scene, node: InstanceId) {
    let here = scene.position().await;
    let mut conn = scene.database.pool().acquire().await.unwrap();
    assert_eq!(doubt_settle(&mut conn, &[node], here).await.unwrap(), 1);
}

/// Everything that routes, and the last audit row.
async fn state(scene: &Scene) -> String {
    let mut snapshot = snapshot_get(scene.database.pool()).await.unwrap();
    snapshot.mappings.sort();
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let audit = audit_list(&mut conn, None, None, 1000).await.unwrap();
    format!(
        "{:?} {audit:?}",
        (
            snapshot.fleet,
            snapshot.position,
            snapshot.mappings,
            snapshot.holds,
            snapshot.resources
        )
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_what_was_backed_up_and_who_is_ahead_of_it_is_found_out() {
    let scene = Scene::new().await;
    scene.account(&[ALICE, "b\\odd\u{fc}@example.org"]).await;
    scene
        .map("carol@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap();
    let node = scene.node("fra-1").await;
    let replica = scene.replica();
    let id = replica
        .cutovers
        .begin(
            &mailswitch_control_plane::change::Context::own("test"),
            &cutover(ALICE, Duration::from_secs(60)),
        )
        .await
        .unwrap()
        .output;
    let hold = replica.held(id).await;
    replica.crash().await;
    let before = state(&scene).await;
    let bytes = backup_of(&scene).await;
    let ahead = scene
        .map("dave@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();

    // Into another, empty database.
    let other = Scene::bare().await;
    let restored = restore(&other.writer, bytes.as_slice(), Replace::OnlyEmpty)
        .await
        .unwrap();
    assert_eq!(state(&other).await, before);
    assert_eq!(other.position().await, restored.position);
    // A node that has seen what came after the backup is ahead of it.
    assert_eq!(
        relation(other.database.pool(), ahead).await.unwrap(),
        Relation::Diverged
    );
    assert_eq!(
        relation(other.database.pool(), restored.position).await.unwrap(),
        Relation::OnChain
    );
    // Nothing is lost that is not said.
    let again = restore(&other.writer, bytes.as_slice(), Replace::OnlyEmpty).await;
    assert!(matches!(again, Err(BackupError::NotEmpty(_))), "{again:?}");

    // It goes on from there: the log, the audit log, and the operation that was open, in new hands; but not before its node
    // has said where it stands.
    let replica = other.replica();
    other.acknowledge(node, hold).await;
    replica.cutovers.wake();
    let moved = other.map("dave@example.org", Some("new"), Proof::Standing).await;
    assert!(
        matches!(&moved, Err(Error::Doubted(doubts)) if doubts[0].instance == node && doubts[0].at.is_none()),
        "{moved:?}"
    );
    settle(&other, node).await;
    let (outcome, _) = replica.outcome(id).await;
    assert_eq!(outcome, Outcome::Done);

    // And in the place where it was made, although that is further on.
    let restored = restore(&scene.writer, bytes.as_slice(), Replace::Whatever)
        .await
        .unwrap();
    assert_eq!(state(&scene).await, before);
    settle(&scene, node).await;
    let next = scene
        .map("erin@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.revision, restored.position.revision.next());
    assert_eq!(
        relation(scene.database.pool(), ahead).await.unwrap(),
        Relation::Diverged
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_damaged_cut_short_or_of_another_version_changes_nothing() {
    let scene = Scene::new().await;
    scene.map(ALICE, Some("new"), Proof::Standing).await.unwrap();
    let bytes = backup_of(&scene).await;
    let before = state(&scene).await;
    let refused = async |bytes: &[u8]| {
        let result = restore(&scene.writer, bytes, Replace::Whatever).await;
        result.map(|_| ()).unwrap_err()
    };
    for length in [0, 10, 25, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = refused(&bytes[..length]).await;
        assert!(
            matches!(error, BackupError::NoBackup | BackupError::Damaged(_)),
            "{length}: {error}"
        );
    }
    // One letter of a row: only the checksum knows.
    let at = bytes
        .windows(ALICE.len())
        .position(|window| window == ALICE.as_bytes())
        .unwrap();
    let mut flipped = bytes.clone();
    flipped[at] = b'b';
    assert!(matches!(refused(&flipped).await, BackupError::Damaged(_)));
    let schema = bytes
        .windows(10)
        .position(|window| window == b"\"schema\":3")
        .unwrap();
    let mut newer = bytes.clone();
    newer[schema + 9] = b'9';
    let error = refused(&newer).await;
    assert!(
        matches!(error, BackupError::OtherVersion { found_schema: 9, .. }),
        "{error}"
    );
    assert_eq!(state(&scene).await, before);
    scene
        .map("bob@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_or_restore_that_ends_in_the_middle_leaves_nothing_in_the_connections_of_others() {
    let scene = Scene::new().await;
    for number in 0..50 {
        let identifier = format!("user-{number}@example.org");
        scene
            .map(&identifier, Some("new"), Proof::Standing)
            .await
            .unwrap();
    }
    let bytes = backup_of(&scene).await;
    for round in 1..16 {
        let length = bytes.len() * round / 16;
        // Whoever wanted the backup takes so much of it and goes away.
        let (written, mut read) = tokio::io::duplex(256);
        let mut taken = vec![0; length];
        let taking = async move {
            tokio::io::AsyncReadExt::read_exact(&mut read, &mut taken)
                .await
                .unwrap();
        };
        let (dumped, ()) = tokio::join!(dump(scene.database.pool(), written), taking);
        dumped.unwrap_err();
        let restored = restore(&scene.writer, &bytes[..length], Replace::Whatever).await;
        restored.unwrap_err();
        // Every connection that the others share answers what it is asked.
        let pool = scene.database.pool();
        let mut conns = Vec::new();
        for asked in 0..4_i32 {
            let mut conn = pool.acquire().await.unwrap();
            let (answer,): (i32,) = sqlx::query_as("SELECT $1")
                .bind(asked)
                .fetch_one(&mut *conn)
                .await
                .unwrap();
            assert_eq!(answer, asked, "after {length} bytes");
            let mut txn = sqlx::Connection::begin(&mut *conn).await.unwrap();
            let (clean,): (bool,) =
                sqlx::query_as("SELECT now() >= statement_timestamp() - interval '100 milliseconds'")
                    .fetch_one(&mut *txn)
                    .await
                    .unwrap();
            assert!(clean, "it was in a transaction of somebody else");
            txn.rollback().await.unwrap();
            conns.push(conn);
        }
    }
}

/// The same backup as a control plane before armings wrote it: without their tables and the columns that came with them,
/// which are the last ones of theirs.
fn before_armings(backup: &[u8]) -> Vec<u8> {
    let (magic, mut rest) = backup.split_at(b"mailswitch backup 1\n".len());
    let mut old = magic.to_vec();
    let frame = |old: &mut Vec<u8>, letter: u8, content: &[u8]| {
        old.push(letter);
        old.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        old.extend(content);
    };
    let (mut cut, mut rows, mut skipped) = (0, Sha256::new(), false);
    while let [letter, length @ ..] = rest {
        let length = u32::from_be_bytes(length[..4].try_into().unwrap()) as usize;
        let content = &rest[5..5 + length];
        rest = &rest[5 + length..];
        match letter {
            b'H' => {
                let mut header: serde_json::Value = serde_json::from_slice(content).unwrap();
                assert_eq!(header["schema"], 3);
                header["schema"] = 2.into();
                frame(&mut old, b'H', header.to_string().as_bytes());
            }
            b'T' => {
                let mut table: serde_json::Value = serde_json::from_slice(content).unwrap();
                let name = table["name"].as_str().unwrap();
                skipped = ["armings", "armed_identifiers", "arming_acks", "fences"].contains(&name);
                cut = match name {
                    "operations" => 5,
                    "holds" | "changes" => 1,
                    _ => 0,
                };
                rows = Sha256::new();
                let columns = table["columns"].as_array_mut().unwrap();
                columns.truncate(columns.len() - cut);
                if !skipped {
                    frame(&mut old, b'T', table.to_string().as_bytes());
                }
            }
            b'R' if !skipped => {
                let text = std::str::from_utf8(content).unwrap();
                let shorter: String = text
                    .lines()
                    .map(|row| {
                        let fields: Vec<&str> = row.split('\t').collect();
                        fields[..fields.len() - cut].join("\t") + "\n"
                    })
                    .collect();
                rows.update(&shorter);
                frame(&mut old, b'R', shorter.as_bytes());
            }
            b'C' if !skipped => frame(&mut old, b'C', &rows.clone().finalize()),
            b'E' => {
                let all = Sha256::digest(&old);
                frame(&mut old, b'E', &all);
            }
            _ => {}
        }
    }
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_before_armings_and_fences_is_restored_and_its_cutover_comes_to_its_end() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    scene
        .map("bob@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap();
    let node = scene.node("fra-1").await;
    let replica = scene.replica();
    let context = mailswitch_control_plane::change::Context::own("test");
    let start = cutover(ALICE, Duration::from_secs(60));
    let id = replica.cutovers.begin(&context, &start).await.unwrap().output;
    let hold = replica.held(id).await;
    replica.crash().await;
    let (at, old) = (scene.position().await, before_armings(&backup_of(&scene).await));

    let other = Scene::bare().await;
    let restored = restore(&other.writer, old.as_slice(), Replace::OnlyEmpty)
        .await
        .unwrap();
    assert_eq!((restored.position, other.position().await), (at, at));
    assert_eq!(other.mapped("bob@example.org").await.as_deref(), Some("new"));
    settle(&other, node).await;
    let replica = other.replica();
    other.acknowledge(node, hold).await;
    assert_eq!(replica.outcome(id).await.0, Outcome::Done);
    assert_eq!(other.mapped(ALICE).await.as_deref(), Some("new"));
    replica.crash().await;
}
