//! What changes what routes, or is refused with what to do instead.

use mailswitch_proto::control::v1 as control;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::fleet::v1 as fleet;

use crate::cutovers::cutover;
use crate::stage::node::{Node, Self_};
use crate::stage::{self, Stage, answered, because, refused};

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_is_its_own_and_no_more() {
    let stage = Stage::configured().await;
    let set = || control::MappingSetRequest {
        change: because("a test"),
        identifier: "alice".to_owned(),
        destination: "new".to_owned(),
        unproven: true,
    };
    let forget = || control::NodeForgetRequest {
        node: "fra-1".to_owned(),
        stopped: true,
        ..Default::default()
    };
    for role in ["node", "control-plane"] {
        let problem = refused(stage.client(role).await.status(control::StatusRequest {}).await);
        assert_eq!(problem.kind(), Kind::NotAllowed, "{role} may not look");
    }
    let mut viewer = stage.client("viewer").await;
    answered(viewer.status(control::StatusRequest {}).await);
    let problem = refused(viewer.mapping_set(set()).await);
    assert_eq!(problem.kind(), Kind::NotAllowed);
    assert!(problem.remedy.contains("`operator`"), "{}", problem.remedy);
    assert!(stage.status().await.mappings == 0, "nothing was changed");

    let mut operator = stage.client("operator").await;
    answered(operator.mapping_set(set()).await);
    assert_eq!(
        refused(operator.node_forget(forget()).await).kind(),
        Kind::NotAllowed
    );
    let mut admin = stage.client("admin").await;
    assert_eq!(
        refused(admin.node_forget(forget()).await).kind(),
        Kind::Precondition,
        "there is no such node"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_can_be_exported_and_differs_no_more() {
    let stage = Stage::configured().await;
    let mut operator = stage.operator().await;
    let exported = answered(operator.export(control::ExportRequest {}).await);
    assert_eq!(exported.revision, 1);
    let request = control::DiffRequest {
        toml: exported.toml,
        file: String::new(),
    };
    assert_eq!(answered(operator.diff(request).await).differences, []);
    let again = stage.apply(stage::CONFIGURATION).await;
    assert_eq!(again.committed.unwrap().revision, 0, "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_errors_is_refused_with_all_of_them() {
    let stage = Stage::new().await;
    let request = control::ApplyRequest {
        change: because("a test"),
        toml: "[routing]\ndefault_destination = \"nowhere\"\nmaster_user = 1\n".to_owned(),
        file: "broken.toml".to_owned(),
        unproven: false,
    };
    let problem = refused(stage.operator().await.apply(request).await);
    assert_eq!(problem.kind(), Kind::Invalid);
    assert!(problem.findings.len() >= 2, "{:?}", problem.findings);
    assert!(
        problem
            .findings
            .iter()
            .all(|finding| finding.file == "broken.toml" && !finding.message.is_empty())
    );
    assert_eq!(stage.status().await.revision, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_a_node_reported_needs_the_protocol_on_the_default_destination() {
    let stage = Stage::configured().await;
    let mut me = Self_::new("fra-1");
    me.listeners = vec![fleet::Listener {
        name: "pop".to_owned(),
        protocol: "pop3".to_owned(),
        binds: vec!["127.0.0.1:110".to_owned()],
        tls: "plain".to_owned(),
    }];
    let _node = Node::connect(&stage, me).await;
    let request = control::ApplyRequest {
        change: because("a test"),
        toml: stage::CONFIGURATION.to_owned(),
        file: "fleet.toml".to_owned(),
        unproven: false,
    };
    let problem = refused(stage.operator().await.apply(request).await);
    assert_eq!(problem.kind(), Kind::Invalid);
    assert!(
        problem
            .findings
            .iter()
            .any(|finding| finding.message.contains("pop3")),
        "{:?}",
        problem.findings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_of_a_known_account_is_refused_with_the_cutover_to_run_instead() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org"]).await;
    let request = |unproven| control::MappingSetRequest {
        change: because("a test"),
        identifier: "alice".to_owned(),
        destination: "new".to_owned(),
        unproven,
    };
    let mut operator = stage.operator().await;
    let problem = refused(operator.mapping_set(request(false)).await);
    assert_eq!(problem.kind(), Kind::Precondition);
    assert!(
        problem.remedy.contains("mailswitchctl cutover"),
        "{}",
        problem.remedy
    );
    answered(operator.mapping_set(request(true)).await);
    let audit = control::AuditRequest {
        identifier: "alice".to_owned(),
        limit: 1,
    };
    let mut pages = answered(operator.audit(audit).await);
    let entry = pages.message().await.unwrap().unwrap().entries.remove(0);
    assert!(entry.unproven, "the audit row says so");
    assert_eq!((entry.who.as_str(), entry.from.as_str()), ("test", "127.0.0.1"));
    assert_eq!(entry.reason, "a test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_the_same_idempotency_key_is_made_once_and_a_dry_run_never() {
    let stage = Stage::configured().await;
    let mut operator = stage.operator().await;
    let request = |destination: &str, dry_run| control::MappingSetRequest {
        change: Some(control::ChangeContext {
            idempotency_key: vec![5; 16],
            dry_run,
            ..Default::default()
        }),
        identifier: "alice".to_owned(),
        destination: destination.to_owned(),
        unproven: true,
    };
    assert_eq!(
        answered(operator.mapping_set(request("new", true)).await).revision,
        0
    );
    assert_eq!(stage.status().await.mappings, 0);
    let first = answered(operator.mapping_set(request("new", false)).await);
    let again = answered(operator.mapping_set(request("new", false)).await);
    assert_eq!(first.revision, 2);
    assert_eq!(again.revision, first.revision);
    let other = refused(operator.mapping_set(request("legacy", false)).await);
    assert_ne!(other.kind(), Kind::Unavailable, "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_it_would_do_and_one_that_would_do_nothing_does_not() {
    let stage = Stage::configured().await;
    stage
        .account(&["alice@example.org", "alice.smith@example.org"])
        .await;
    let mut operator = stage.operator().await;
    let dry = || {
        Some(control::ChangeContext {
            dry_run: true,
            ..Default::default()
        })
    };
    let request = control::CutoverStartRequest {
        change: dry(),
        ..cutover()
    };
    let planned = answered(operator.cutover_start(request).await);
    assert_eq!(planned.account, "alice@example.org");
    assert_eq!(
        planned.identifiers,
        ["alice@example.org", "alice.smith@example.org"]
    );
    assert_eq!(
        (planned.from.as_slice(), planned.to.as_str()),
        (&["legacy".to_owned()][..], "new")
    );
    assert_eq!(planned.step(), control::Step::Planned);
    assert!(
        planned.id.is_empty() && planned.started_unix_millis == 0,
        "it has not begun"
    );

    let bob = |destination: &str| control::MappingSetRequest {
        change: dry(),
        identifier: "bob".to_owned(),
        destination: destination.to_owned(),
        unproven: false,
    };
    let would = answered(operator.mapping_set(bob("new")).await);
    assert_eq!(would.notes.len(), 1, "{:?}", would.notes);
    let request = control::MappingSetRequest {
        change: because("a test"),
        ..bob("new")
    };
    answered(operator.mapping_set(request).await);
    let nothing = answered(operator.mapping_set(bob("new")).await);
    assert_eq!(
        (nothing.revision, nothing.notes.len()),
        (0, 0),
        "bob is there already"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_fleet_does_not_have_is_refused_with_the_names_that_it_has() {
    let stage = Stage::configured().await;
    let _node = Node::connect(&stage, Self_::new("fra-1")).await;
    let mut operator = stage.operator().await;
    let lagacy = "lagacy".to_owned();
    let reset = control::BreakerResetRequest {
        change: because("a test"),
        destination: lagacy.clone(),
    };
    let mapped = control::MappingListRequest {
        destination: lagacy.clone(),
        ..Default::default()
    };
    let mut pages = answered(operator.mapping_list(mapped).await);
    for problem in [
        refused(operator.breaker_reset(reset).await),
        refused(pages.message().await.map(tonic::Response::new)),
    ] {
        assert_eq!(problem.kind(), Kind::Precondition);
        assert!(problem.remedy.contains("legacy"), "{}", problem.remedy);
    }
    let drain = control::NodeDrainRequest {
        change: because("a test"),
        node: "fra-2".to_owned(),
        ..Default::default()
    };
    let list = control::SessionListRequest {
        node: "fra-2".to_owned(),
        ..Default::default()
    };
    for problem in [
        refused(operator.node_drain(drain).await),
        refused(operator.session_list(list).await),
    ] {
        assert_eq!(problem.kind(), Kind::Precondition);
        assert!(problem.remedy.contains("fra-1"), "{}", problem.remedy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_has_gone_back_in_time_and_a_node_that_knows_more_says_so() {
    let stage = Stage::configured().await;
    stage.map("alice", "new").await;
    let mut admin = stage.client("admin").await;
    let mut pages = answered(admin.backup(control::BackupRequest {}).await);
    let mut file = Vec::new();
    while let Some(chunk) = pages.message().await.unwrap() {
        file.extend(chunk.data);
    }
    stage.map("alice", "legacy").await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let me = node.me.clone();

    let request = |replace| control::RestoreRequest {
        change: because("a test"),
        data: file.clone(),
        replace,
    };
    let problem = refused(admin.restore(tokio_stream::once(request(false))).await);
    assert_eq!(problem.kind(), Kind::Precondition, "it is not empty");
    assert_eq!(stage.status().await.revision, 4);
    let restored = answered(admin.restore(tokio_stream::once(request(true))).await);
    assert_eq!(restored.revision, 2);
    assert!(node.hear().await.is_err(), "it is told to say Hello again");
    let status = stage.status().await;
    assert_eq!((status.revision, status.mappings), (2, 1));
    let resolve = control::ResolveRequest {
        login: "alice".to_owned(),
        all_nodes: false,
    };
    let resolved = answered(admin.resolve(resolve).await).control_plane.unwrap();
    assert_eq!(resolved.destination, "new", "as it was when the backup was made");

    let node = Node::connect(&stage, me).await;
    assert!(
        node.welcome.diverged,
        "it knows revisions that the database has lost"
    );
    assert_eq!(node.welcome.replica, "cp-1");
}
