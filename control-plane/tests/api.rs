//! What operators can do: over real mTLS, on a real PostgreSQL, with nodes that answer.

// A test says with a panic what it did not expect.
#![allow(clippy::unwrap_used)]

mod stage;

use mailswitch_control_plane::change::Context;
use mailswitch_control_plane::change::node::{Forget, Word, node_forget};
use mailswitch_proto::control::v1 as control;
use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::fleet::v1 as fleet;
use mailswitch_proto::fleet::v1::{answer, node_message, request};
use mailswitch_proto::revision::Revision;
use stage::node::{Node, Self_};
use stage::{Stage, answered, because, refused, until};

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
async fn a_cutover_is_done_when_every_node_has_said_that_it_is_quiet() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org"]).await;
    let mut nodes = [stage.node("fra-1").await, stage.node("ber-1").await];
    for node in &mut nodes {
        node.follow_to(node.welcome.registered_revision).await;
    }
    let mut operator = stage.operator().await;
    let begun = answered(operator.cutover_start(cutover()).await);
    let mut watched = answered(
        operator
            .operation_watch(control::OperationRef { id: begun.id.clone() })
            .await,
    );
    for node in &mut nodes {
        let hold = held(node, "alice@example.org").await;
        node.quiesce(hold).await;
    }
    let mut last = None;
    while let Some(operation) = watched.message().await.unwrap() {
        last = Some(operation);
    }
    let last = last.expect("its states are told");
    assert_eq!(last.outcome(), control::Outcome::Done, "{last:?}");
    assert_eq!(last.proofs.len(), 2);
    assert!(last.proofs.iter().all(|proof| proof.quiesced));
    for node in &mut nodes {
        node.follow_to(last.end_revision).await;
        assert_eq!(node.mapped("alice@example.org").as_deref(), Some("new"));
        assert_eq!(node.hold_of("alice@example.org"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_a_silent_node_has_not_proven_is_released_and_names_it() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org"]).await;
    let mut quiet = stage.node("fra-1").await;
    let silent = stage.node("ber-1").await;
    quiet.follow_to(silent.welcome.registered_revision).await;
    let mut operator = stage.operator().await;
    let request = control::CutoverStartRequest {
        max_hold_millis: 1500,
        drain_timeout_millis: 500,
        ..cutover()
    };
    let begun = answered(operator.cutover_start(request).await);
    let hold = held(&mut quiet, "alice@example.org").await;
    quiet.quiesce(hold).await;
    let id = begun.id;
    let mut ended = None;
    until("it ends", async || {
        let reference = control::OperationRef { id: id.clone() };
        let now = answered(stage.operator().await.operation_get(reference).await);
        let over = now.outcome() != control::Outcome::Unspecified;
        ended = Some(now);
        over
    })
    .await;
    let ended = ended.unwrap();
    assert_eq!(ended.outcome(), control::Outcome::Unproven);
    assert_eq!(ended.missing, ["ber-1"]);
    quiet.follow_to(ended.end_revision).await;
    assert_eq!(
        quiet.mapped("alice@example.org").as_deref(),
        Some("legacy"),
        "written explicitly (promise F2)"
    );
}

fn cutover() -> control::CutoverStartRequest {
    control::CutoverStartRequest {
        change: because("a test"),
        identifier: "alice".to_owned(),
        from: vec!["legacy".to_owned()],
        to: "new".to_owned(),
        ..Default::default()
    }
}

async fn held(node: &mut Node, identifier: &str) -> mailswitch_proto::id::HoldId {
    loop {
        let next = node.me.known.revision.0 + 1;
        node.follow_to(next).await;
        if let Some(hold) = node.hold_of(identifier) {
            return hold;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_asked_of_every_node_and_one_that_is_away_is_named() {
    let stage = Stage::configured().await;
    stage.account(&["alice@example.org", "al@example.org"]).await;
    let mut node = stage.node("fra-1").await;
    drop(stage.node("ber-1").await);
    until("it is known to be away", async || {
        stage
            .status()
            .await
            .nodes
            .iter()
            .any(|node| node.name == "ber-1" && !node.connected)
    })
    .await;
    let answering = tokio::spawn(async move {
        let (id, asked) = node.asked().await;
        let page = fleet::SessionPage {
            total: 3,
            ..Default::default()
        };
        node.answer(id, answer::Answer::Sessions(page)).await;
        (node, asked)
    });
    let request = control::SessionListRequest {
        identifier: "al@example.org".to_owned(),
        ..Default::default()
    };
    let listed = answered(stage.client("viewer").await.session_list(request).await).nodes;
    let (_node, asked) = answering.await.unwrap();
    let request::Request::ListSessions(asked) = asked else {
        panic!("sessions are asked for: {asked:?}")
    };
    assert_eq!(asked.keys.len(), 32, "both logins of the account");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].node, "ber-1");
    assert!(listed[0].page.is_none());
    assert!(listed[0].error.contains("not connected"), "{}", listed[0].error);
    assert_eq!(listed[1].page.as_ref().map(|page| page.total), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_rejects_is_shown_until_it_has_taken_a_later_version() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let rejected = fleet::Rejected {
        revision: node.me.known.revision.0,
        resource: "destination.new".to_owned(),
        reason: "new.pem cannot be read".to_owned(),
    };
    node.say(node_message::Message::Rejected(rejected.clone())).await;
    until("status shows it", async || {
        stage.status().await.nodes[0].rejected == [rejected.clone()]
    })
    .await;

    let corrected = stage::CONFIGURATION.replace("new.example.org", "newer.example.org");
    let request = control::ApplyRequest {
        change: because("a test"),
        toml: corrected,
        file: "fleet.toml".to_owned(),
        unproven: true,
    };
    let applied = answered(stage.operator().await.apply(request).await);
    assert_eq!(stage.status().await.nodes[0].rejected.len(), 1, "not applied yet");
    node.follow_to(applied.committed.unwrap().revision).await;
    until("it is gone", async || {
        stage.status().await.nodes[0].rejected.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_feed_stays_up_and_status_says_so() {
    let stage = Stage::configured().await;
    stage.map("alice", "new").await;
    let mut node = stage.node("fra-1").await;
    node.follow_to(node.welcome.registered_revision).await;
    let postmaster = stage.postmaster();
    // Stopped first: a supervisor cannot bring back what it believes to be running.
    nix::sys::signal::kill(postmaster, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let backends = stage::stop_children(postmaster);
    let status = stage.status().await;
    let database = status.database.unwrap();
    assert!(!database.reachable);
    assert!(!database.error.is_empty());
    assert_eq!(status.mappings, 1, "from memory");
    assert!(status.nodes[0].connected, "the feed is up");
    let resolve = control::ResolveRequest {
        login: "alice".to_owned(),
        all_nodes: false,
    };
    let resolved = answered(stage.client("viewer").await.resolve(resolve).await);
    assert_eq!(resolved.control_plane.unwrap().destination, "new");

    for pid in backends {
        // One that ended meanwhile needs no signal.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT);
    }
    nix::sys::signal::kill(postmaster, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the database is back", async || {
        stage
            .status()
            .await
            .database
            .is_some_and(|database| database.reachable)
    })
    .await;
    let committed = stage.map("bob", "new").await;
    node.follow_to(committed.revision).await;
    assert_eq!(node.snapshots, 1, "the same stream went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_forgotten_only_on_the_word_that_it_is_stopped_and_only_when_it_is_away() {
    let stage = Stage::configured().await;
    let node = stage.node("fra-1").await;
    let forget = |stopped| control::NodeForgetRequest {
        change: because("a test"),
        node: "fra-1".to_owned(),
        instance: Vec::new(),
        stopped,
    };
    let mut admin = stage.client("admin").await;
    assert_eq!(
        refused(admin.node_forget(forget(true)).await).kind(),
        Kind::Precondition,
        "it is connected"
    );
    drop(node);
    until("it is away", async || !stage.status().await.nodes[0].connected).await;
    assert_eq!(
        refused(admin.node_forget(forget(false)).await).kind(),
        Kind::Precondition
    );
    answered(admin.node_forget(forget(true)).await);
    assert!(stage.status().await.nodes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_forgotten_while_it_connects_has_to_register_anew() {
    let stage = Stage::configured().await;
    let mut node = stage.node("fra-1").await;
    let registered = node.welcome.registered_revision;
    node.follow_to(registered).await;
    // Past the check that it is away, as when it connected right after it, or to another replica.
    let forget = Forget {
        node: "fra-1".to_owned(),
        instance: None,
        word: Word::Stopped,
    };
    let context = Context::own("a test");
    let forgotten = node_forget(&stage.plane().writer, &context, &forget).await;
    let forgotten = forgotten.unwrap().position.unwrap().revision.0;
    let ended = loop {
        match node.hear().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is told why"),
            Err(status) => break status,
        }
    };
    assert!(ended.message().contains("not registered"), "{ended:?}");
    let node = Node::connect(&stage, node.me.clone()).await;
    assert!(node.welcome.newly_registered);
    assert!(node.welcome.registered_revision > forgotten);
    // The word that comes too late for it does not count for what it is now.
    let plane = stage.plane();
    plane.nodes.forgotten("fra-1", None, Revision(forgotten));
    assert!(plane.nodes.is_connected(node.me.instance));
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
