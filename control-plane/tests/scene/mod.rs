//! A control plane's lower half on a private PostgreSQL of its own: destinations `legacy` (the default) and `new`, and
//! helpers that speak as nodes do.
// Each test file uses what it needs.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::resource::{Resource, ResourceKey};
use mailswitch_control_plane::change::memory::Memory;
use mailswitch_control_plane::change::node::{Hello, Registered, node_register};
use mailswitch_control_plane::change::resource::resources_apply;
use mailswitch_control_plane::change::sessions::{NoNodes, Nodes};
use mailswitch_control_plane::change::{Context, Error, Refusal, Writer, account, mapping};
use mailswitch_control_plane::cutover::Cutovers;
use mailswitch_control_plane::cutover::operation::{FencedIs, Outcome};
use mailswitch_control_plane::cutover::request::{Hooks, Reach, Start, Times, View};
use mailswitch_control_plane::database::{Database, Place};
use mailswitch_control_plane::store;
use mailswitch_control_plane::store::audit::Proof;
use mailswitch_control_plane::store::hold::Ack;
use mailswitch_control_plane::store::node::Node;
use mailswitch_proto::id::{HoldId, InstanceId, OperationId};
use mailswitch_proto::revision::Position;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[path = "../stage/watchdog.rs"]
pub mod watchdog;

use watchdog::Watchdog;

pub struct Scene {
    pub database: Database,
    pub writer: Writer,
    pub watchdog: Watchdog,
    pub state_dir: tempfile::TempDir,
}

pub fn resource(kind: &str, name: &str, body: serde_json::Value) -> Resource {
    Resource {
        key: ResourceKey {
            kind: kind.to_owned(),
            name: name.to_owned(),
            site: String::new(),
        },
        body: body.to_string(),
    }
}

pub fn destination(name: &str, host: &str, port: u16) -> Resource {
    let body = serde_json::json!({
        "host": host,
        "allow_plaintext_auth": true,
        "proxy_protocol": false,
        "protocol": { "imap": { "port": port, "tls": "plain" } },
    });
    resource("destination", name, body)
}

pub fn configuration() -> Vec<Resource> {
    vec![
        destination("legacy", "legacy.example.org", 143),
        destination("new", "new.example.org", 143),
        resource(
            "routing",
            "",
            serde_json::json!({"default_destination": "legacy"}),
        ),
    ]
}

impl Scene {
    pub async fn bare() -> Self {
        let state_dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::over(state_dir.path());
        let database = Database::open(Place::Private(state_dir.path())).await.unwrap();
        let writer = Writer::new(database.pool().clone(), Arc::new(Memory::volatile()));
        Self {
            database,
            writer,
            watchdog,
            state_dir,
        }
    }

    pub async fn new() -> Self {
        let scene = Self::bare().await;
        resources_apply(
            &scene.writer,
            &NoNodes,
            &Context::own("test"),
            &configuration(),
            Proof::Standing,
        )
        .await
        .unwrap();
        scene
    }

    pub async fn map(
        &self,
        identifier: &str,
        destination: Option<&str>,
        proof: Proof,
    ) -> Result<Option<Position>, Error> {
        let wish = mapping::Wish {
            identifier: identifier.to_owned(),
            destination: destination.map(ToOwned::to_owned),
        };
        mapping::mapping_write(
            &self.writer,
            &NoNodes,
            &Context::own("test"),
            "mapping set",
            &[wish],
            proof,
        )
        .await
        .map(|committed| committed.position)
    }

    pub async fn account(&self, identifiers: &[&str]) {
        let wish = account::Wish {
            identifiers: identifiers.iter().map(|text| (*text).to_owned()).collect(),
            addresses: vec![],
            group: String::new(),
        };
        account::account_import(&self.writer, &Context::own("test"), &[wish], Proof::Standing)
            .await
            .unwrap();
    }

    pub async fn node(&self, name: &str) -> InstanceId {
        let instance = InstanceId::random();
        self.register(name, instance, None, 1).await.unwrap();
        instance
    }

    pub async fn register(
        &self,
        name: &str,
        instance: InstanceId,
        replaces: Option<InstanceId>,
        machine: u8,
    ) -> Result<Registered, Error> {
        node_register(
            &self.writer,
            &Context::own("hello"),
            &hello(name, instance, replaces, machine),
        )
        .await
    }

    pub async fn position(&self) -> Position {
        mailswitch_control_plane::change::log::position(self.database.pool())
            .await
            .unwrap()
    }

    /// A node acknowledges a hold where the log stands now.
    pub async fn acknowledge(&self, instance: InstanceId, hold: HoldId) -> Vec<OperationId> {
        let ack = Ack {
            hold,
            instance,
            applied: self.position().await,
            met: store::hold::Met::default(),
        };
        let mut conn = self.database.pool().acquire().await.unwrap();
        store::hold::hold_ack_add(&mut conn, &[ack]).await.unwrap()
    }

    pub async fn mapped(&self, identifier: &str) -> Option<String> {
        let mut conn = self.database.pool().acquire().await.unwrap();
        store::mapping::mapping_get(&mut conn, identifier).await.unwrap()
    }

    pub fn replica(&self) -> Replica {
        Replica::start(self.writer.clone())
    }
}

/// The cutovers of one process, which can be ended in the middle.
pub struct Replica {
    pub cutovers: Cutovers,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl Replica {
    pub fn start(writer: Writer) -> Self {
        Self::with_nodes(writer, Arc::new(NoNodes))
    }

    pub fn with_nodes(writer: Writer, nodes: Arc<dyn Nodes>) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let cutovers = Cutovers::start(writer, nodes, InstanceId::random(), stop.clone(), &tasks);
        Self {
            cutovers,
            stop,
            tasks,
        }
    }

    /// Its drivers stop wherever they are.
    pub async fn crash(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits until the operation is as it should be.
    pub async fn until(&self, id: OperationId, what: impl Fn(&View) -> bool) -> View {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let view = self.cutovers.get(id).await.unwrap();
            if what(&view) {
                return view;
            }
            assert!(tokio::time::Instant::now() < deadline, "it stays at {view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn outcome(&self, id: OperationId) -> (Outcome, View) {
        let view = self.until(id, |view| view.operation.outcome.is_some()).await;
        (view.operation.outcome.unwrap(), view)
    }

    pub async fn held(&self, id: OperationId) -> HoldId {
        let view = self.until(id, |view| view.operation.hold.is_some()).await;
        view.operation.hold.unwrap()
    }
}

pub fn hello(name: &str, instance: InstanceId, replaces: Option<InstanceId>, machine: u8) -> Hello {
    Hello {
        node: Node {
            instance,
            name: name.to_owned(),
            machine: vec![machine; 16],
            site: "fra".to_owned(),
            version: "0.1.0".to_owned(),
            listeners: serde_json::json!([]),
            registered: mailswitch_proto::revision::Revision::NONE,
        },
        replaces: replaces.into_iter().collect(),
    }
}

pub fn cutover(identifier: &str, max_hold: Duration) -> Start {
    Start {
        identifier: identifier.to_owned(),
        from: vec!["legacy".to_owned()],
        to: "new".to_owned(),
        reach: Reach::Account,
        fenced: FencedIs::Unsaid,
        hooks: Hooks::default(),
        times: Times {
            drain_timeout: None,
            max_hold: Some(max_hold),
        },
    }
}

pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}
