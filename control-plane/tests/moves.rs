//! Whatever changes where an admissible account resolves is a cutover, or is refused (promise F4).

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod scene;

use futures::future::BoxFuture;
use mailswitch_config::resource::Resource;
use mailswitch_control_plane::change::account::{Wish as AccountWish, account_import};
use mailswitch_control_plane::change::mapping::{Wish, mapping_write};
use mailswitch_control_plane::change::resource::resources_apply;
use mailswitch_control_plane::change::sessions::{NoNodes, Nodes, Observed, Whose};
use mailswitch_control_plane::change::{Context, Error, RefusalKind};
use mailswitch_control_plane::store::audit::{Proof, audit_list};
use scene::{Scene, configuration, destination, refusal, resource};

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

/// Nodes that say this, whoever is asked for.
struct Say(u64, &'static [&'static str]);

impl Nodes for Say {
    fn sessions(&self, _: Whose) -> BoxFuture<'_, Observed> {
        let unanswered = self.1.iter().map(|name| (*name).to_owned()).collect();
        Box::pin(std::future::ready(Observed {
            sessions: self.0,
            unanswered,
        }))
    }

    fn repeat_acknowledgements(&self) {}
}

async fn set(
    scene: &Scene,
    nodes: &dyn Nodes,
    wishes: &[(&str, Option<&str>)],
    proof: Proof,
) -> Result<u64, Error> {
    let wishes: Vec<Wish> = wishes
        .iter()
        .map(|(identifier, destination)| Wish {
            identifier: (*identifier).to_owned(),
            destination: destination.map(ToOwned::to_owned),
        })
        .collect();
    mapping_write(
        &scene.writer,
        nodes,
        &Context::own("test"),
        "mapping set",
        &wishes,
        proof,
    )
    .await
    .map(|committed| committed.position.map_or(0, |position| position.revision.0))
}

async fn apply(scene: &Scene, nodes: &dyn Nodes, resources: &[Resource], proof: Proof) -> Result<u64, Error> {
    resources_apply(&scene.writer, nodes, &Context::own("test"), resources, proof)
        .await
        .map(|committed| committed.output.set + committed.output.removed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_that_moves_somebody_is_refused_with_the_number_and_made_only_unproven() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    let found = refusal(set(&scene, &NoNodes, &[(ALICE, Some("new"))], Proof::Standing).await);
    assert!(
        found.what.contains(": 1 identifiers of accounts") && found.remedy.contains("cutover"),
        "{found}"
    );
    // The domain would take her along; so would the default.
    let found = refusal(
        set(
            &scene,
            &NoNodes,
            &[("@example.org", Some("new"))],
            Proof::Standing,
        )
        .await,
    );
    assert!(found.what.contains(": 1 identifiers"), "{found}");
    // Where she is already, she may be mapped explicitly; then the domain does not move her any more.
    set(&scene, &Say(3, &[]), &[(ALICE, Some("legacy"))], Proof::Standing)
        .await
        .unwrap();
    set(
        &scene,
        &NoNodes,
        &[("@example.org", Some("new"))],
        Proof::Standing,
    )
    .await
    .unwrap();
    let found = refusal(set(&scene, &NoNodes, &[(ALICE, None)], Proof::Standing).await);
    assert!(
        found.what.contains(": 1 identifiers"),
        "unset, she would follow her domain: {found}"
    );

    // Bob has no record. Sessions of his are in the way, and so is a node that does not say.
    let found = refusal(set(&scene, &Say(2, &[]), &[(BOB, Some("legacy"))], Proof::Standing).await);
    assert!(found.what.contains("2 sessions"), "{found}");
    let found = refusal(
        set(
            &scene,
            &Say(0, &["ams-1"]),
            &[(BOB, Some("legacy"))],
            Proof::Standing,
        )
        .await,
    );
    assert_eq!(
        (found.kind, found.nodes),
        (RefusalKind::Unproven, vec!["ams-1".to_owned()])
    );
    set(&scene, &NoNodes, &[(BOB, Some("legacy"))], Proof::Standing)
        .await
        .unwrap();

    set(
        &scene,
        &Say(2, &["ams-1"]),
        &[(ALICE, Some("new"))],
        Proof::Waived,
    )
    .await
    .unwrap();
    let mut conn = scene.database.pool().acquire().await.unwrap();
    let row = &audit_list(&mut conn, Some(ALICE), None, 1).await.unwrap()[0].entry;
    assert_eq!(
        (row.before.as_str(), row.after.as_str(), row.proof),
        ("legacy", "new", Proof::Waived)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_all_or_nothing_and_names_everything_that_is_wrong() {
    let scene = Scene::new().await;
    let before = scene.position().await;
    let wrong = [
        ("a b", Some("new")),
        ("carol@example.org", Some("new")),
        ("Carol@example.org", Some("legacy")),
        ("", None),
    ];
    let found = refusal(set(&scene, &NoNodes, &wrong, Proof::Standing).await);
    assert_eq!(
        (found.kind, found.details.len()),
        (RefusalKind::Invalid, 3),
        "{found:?}"
    );
    let found = refusal(set(&scene, &NoNodes, &[(BOB, Some("mars"))], Proof::Standing).await);
    assert!(found.remedy.contains("legacy, new"), "{found}");
    assert_eq!(scene.position().await, before);

    // Everything in one run, each with its row: form, destination, contradiction, an account, an operation.
    scene.account(&[ALICE]).await;
    scene.account(&["held@example.org"]).await;
    let start = scene::cutover("held@example.org", std::time::Duration::from_secs(60));
    scene.node("fra-1").await;
    let replica = scene.replica();
    replica
        .cutovers
        .begin(&Context::own("test"), &start)
        .await
        .unwrap();
    let wrong = [
        (BOB, Some("new")),
        ("a b", Some("mars")),
        (ALICE, Some("new")),
        ("held@example.org", Some("new")),
        ("carol@example.org", Some("new")),
        ("carol@example.org", None),
    ];
    // Nobody is asked for sessions, who might be away: one run says all.
    let found = refusal(set(&scene, &Say(7, &["fra-1"]), &wrong, Proof::Standing).await);
    let rows: Vec<u64> = found.details.iter().map(|detail| detail.row).collect();
    assert_eq!(rows, [2, 2, 3, 4, 4, 6], "{found:?}");
    assert_eq!((found.kind, found.details_total), (RefusalKind::Invalid, 6));
    assert!(found.what.contains("2 identifiers of accounts"), "{found}");
    replica.crash().await;
    // A domain that comes in the same import counts as it will be: Bob stays where he is.
    set(
        &scene,
        &Say(9, &[]),
        &[("@example.net", Some("legacy")), ("bob@example.net", None)],
        Proof::Standing,
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identifiers_of_an_account_agree_or_are_reported() {
    let scene = Scene::new().await;
    set(&scene, &NoNodes, &[(BOB, Some("new"))], Proof::Standing)
        .await
        .unwrap();
    let import = async |accounts: &[&[&str]], proof| {
        let wishes: Vec<AccountWish> = accounts
            .iter()
            .map(|identifiers| AccountWish {
                identifiers: identifiers.iter().map(|text| (*text).to_owned()).collect(),
                addresses: vec!["post@example.org".to_owned()],
                group: "sales".to_owned(),
            })
            .collect();
        account_import(&scene.writer, &Context::own("test"), &wishes, proof).await
    };
    let found = refusal(
        import(
            &[&[ALICE, BOB], &["carol", "a b"], &["carol", "dave"], &[]],
            Proof::Standing,
        )
        .await,
    );
    assert_eq!(found.details.len(), 4, "{found:?}");
    assert!(
        found
            .details
            .iter()
            .any(|detail| detail.row == 1 && detail.what.contains("bob@example.org -> new")),
        "{found:?}"
    );
    let done = import(&[&[ALICE, BOB]], Proof::Waived).await.unwrap();
    assert_eq!((done.output.added, done.notes.len()), (1, 1));
    let done = import(&[&["carol"]], Proof::Waived).await.unwrap();
    assert_eq!((done.output.added, done.notes.len()), (1, 0));
    let mut conn = scene.database.pool().acquire().await.unwrap();
    for (account, proof) in [(ALICE, Proof::Waived), ("carol", Proof::Standing)] {
        let trail = audit_list(&mut conn, Some(account), None, 1).await.unwrap();
        assert_eq!(trail[0].entry.proof, proof, "{account}");
    }
    drop(conn);
    // The same again is no change, and no revision; one identifier more is the same account.
    assert_eq!(
        import(&[&[ALICE, BOB]], Proof::Waived).await.unwrap().position,
        None
    );
    assert_eq!(
        import(&[&[ALICE, BOB, "al"]], Proof::Waived)
            .await
            .unwrap()
            .output
            .changed,
        1
    );
    let (accounts, identifiers): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM account_identifiers)")
            .fetch_one(scene.database.pool())
            .await
            .unwrap();
    assert_eq!((accounts, identifiers), (2, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_moves_or_strands_somebody_is_refused() {
    let scene = Scene::new().await;
    scene.account(&[ALICE]).await;
    assert_eq!(
        apply(&scene, &NoNodes, &configuration(), Proof::Standing)
            .await
            .unwrap(),
        0,
        "it is so already"
    );
    let with = |changed: Resource| {
        let mut all = configuration();
        all.retain(|resource| resource.key != changed.key);
        all.push(changed);
        all
    };
    // Another default, another host of the default, another form of logins: she would be elsewhere.
    let default = with(resource(
        "routing",
        "",
        serde_json::json!({"default_destination": "new"}),
    ));
    let host = with(destination("legacy", "elsewhere.example.org", 143));
    let form = with(resource(
        "routing",
        "",
        serde_json::json!({"default_destination": "legacy", "bare_domain": "example.org"}),
    ));
    let claim = with(resource(
        "oauth",
        "",
        serde_json::json!({"jwt_username_claim": "sub"}),
    ));
    for wished in [&default, &host, &form, &claim] {
        let found = refusal(apply(&scene, &NoNodes, wished, Proof::Standing).await);
        assert!(found.what.contains("1 identifiers of accounts"), "{found}");
    }
    // Sessions on a destination keep it where it is, also when no account is known there.
    let port = with(destination("new", "new.example.org", 1143));
    let found = refusal(apply(&scene, &Say(4, &[]), &port, Proof::Standing).await);
    assert!(
        found.what.contains("4 sessions") && found.what.contains("new"),
        "{found}"
    );
    assert_eq!(apply(&scene, &NoNodes, &port, Proof::Standing).await.unwrap(), 1);
    // A destination in use stays, whatever the operator says.
    set(&scene, &NoNodes, &[(BOB, Some("new"))], Proof::Standing)
        .await
        .unwrap();
    let mut gone = configuration();
    gone.retain(|resource| resource.key.name != "new");
    let found = refusal(apply(&scene, &NoNodes, &gone, Proof::Waived).await);
    assert!(found.what.contains(BOB), "{found}");
    set(&scene, &NoNodes, &[(BOB, None)], Proof::Standing)
        .await
        .unwrap();
    assert_eq!(apply(&scene, &NoNodes, &gone, Proof::Standing).await.unwrap(), 1);
    assert_eq!(apply(&scene, &NoNodes, &default, Proof::Waived).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_of_requests_that_change_are_refused_while_somebody_may_be_moved_and_more_behind_them_are_not()
{
    let scene = Scene::new().await;
    let with = |http: serde_json::Value| {
        let mut all = configuration();
        for destination in all
            .iter_mut()
            .filter(|resource| resource.key.kind == "destination")
        {
            let mut body: serde_json::Value = serde_json::from_str(&destination.body).unwrap();
            body["protocol"]["http"] = serde_json::json!({"port": 8080, "tls": "plain"});
            destination.body = body.to_string();
        }
        all.push(resource("http", "", http));
        all
    };
    let basic = serde_json::json!({"match": "/jmap/**", "extract": {"from": "authorization"}});
    let field = serde_json::json!({"match": "/jmap/**", "extract": {"from": "header", "header": "X-User"}});
    let body = serde_json::json!({"match": "/form", "extract": {"from": "body", "regex": "user=([^&]+)"}});
    let first = with(serde_json::json!({"route": [basic]}));
    let more = with(serde_json::json!({"route": [basic, body]}));
    scene.account(&[ALICE]).await;
    for wished in [&first, &more] {
        assert!(
            apply(&scene, &Say(5, &[]), wished, Proof::Standing)
                .await
                .unwrap()
                > 0
        );
    }
    for (name, changed) in [
        ("another extraction", serde_json::json!({"route": [field, body]})),
        ("another order", serde_json::json!({"route": [body, basic]})),
        ("none", serde_json::json!({})),
        (
            "more of a body",
            serde_json::json!({"route": [basic, body], "body_extract_cap": 1024}),
        ),
    ] {
        let found = refusal(apply(&scene, &NoNodes, &with(changed.clone()), Proof::Standing).await);
        assert!(
            found.what.contains("1 identifiers of accounts are on legacy") && found.what.contains("requests"),
            "{name}: {found}"
        );
        let found = refusal(apply(&scene, &Say(5, &[]), &with(changed), Proof::Standing).await);
        assert!(found.what.contains("5 sessions"), "{name}: {found}");
    }
    let slower = serde_json::json!({"route": [basic, body], "relay_idle": "61s"});
    assert_eq!(
        apply(&scene, &Say(5, &[]), &with(slower), Proof::Standing)
            .await
            .unwrap(),
        1
    );
    let changed = with(serde_json::json!({"route": [field, body]}));
    assert_eq!(
        apply(&scene, &Say(5, &[]), &changed, Proof::Waived)
            .await
            .unwrap(),
        1
    );
}
