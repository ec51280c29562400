//! What may not be, and what is answered when nobody knows (promise F3, F4).

use mailswitch_control_plane::change::{Context, Error, Mode, RefusalKind};
use mailswitch_control_plane::cutover::operation::Outcome;
use mailswitch_control_plane::cutover::request::{Reach, Start};
use mailswitch_control_plane::store::audit::Proof;

use super::{ALICE, LONG, begin};
use crate::scene::{self, Scene, cutover, refusal};

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
async fn of_two_operators_on_one_account_one_wins_and_the_same_key_is_one_operation() {
    let scene = Scene::new().await;
    scene.account(&[ALICE, "alice"]).await;
    scene.node("fra-1").await;
    let replica = scene.replica();
    let context = Context::own("batch 7");
    let (by_name, by_login) = (cutover(ALICE, LONG), cutover("alice", LONG));
    let (first, second) = tokio::join!(
        replica.cutovers.begin(&context, &by_name),
        replica.cutovers.begin(&context, &by_login)
    );
    let (won, lost) = if first.is_ok() {
        (first, second)
    } else {
        (second, first)
    };
    let won = won.unwrap().output;
    let found = refusal(lost);
    assert_eq!(found.kind, RefusalKind::Precondition);
    assert!(found.what.contains(&won.to_string()), "{found}");
    replica.cutovers.abort(&context, won).await.unwrap();
    replica.outcome(won).await;

    let keyed = Context {
        idempotency_key: Some(uuid::Uuid::new_v4()),
        ..context
    };
    let (first, second) = tokio::join!(
        replica.cutovers.begin(&keyed, &by_name),
        replica.cutovers.begin(&keyed, &by_name)
    );
    let id = first.unwrap().output;
    assert_eq!(second.unwrap().output, id);
    // Also when it has ended; and another request does not hide behind the key.
    replica.cutovers.abort(&keyed, id).await.unwrap();
    replica.outcome(id).await;
    assert_eq!(replica.cutovers.begin(&keyed, &by_name).await.unwrap().output, id);
    let other = refusal(replica.cutovers.begin(&keyed, &by_login).await);
    assert_eq!(other.kind, RefusalKind::Invalid, "{other}");
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
