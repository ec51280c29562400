//! The control plane's part, line by line, and a node with a state directory that outlives it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use mailswitch_admission::Lease;
use mailswitch_config::table::link::ControlPlaneLink;
use mailswitch_config::{DestinationName, ListenerName, Protocol};
use mailswitch_proto::channel::ConnectError;
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::fleet::v1::fleet_server::{Fleet, FleetServer};
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::identifier::{HashKey, Identifier, Normalization, pack};
use mailswitch_proto::revision::{Digest, Position, Revision};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::feed::{Connect, Feed, Host, Line};
use crate::report::Report;
use crate::route::Look;
use crate::sessions::{About, ActingFor, SessionId, WaitPolicy};
use crate::source::Knowledge;
use crate::source::fleet::prepare;
use crate::state_file::Estate;

pub(super) const FLEET: [u8; 16] = [7; 16];
pub(super) const HASH: HashKey = HashKey([6; 16]);
/// Everything here answers at once; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane that a test plays.
pub(super) struct ControlPlane {
    pub(super) address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    serving: JoinHandle<()>,
}

/// One node's stream, as the control plane has it.
pub(super) struct Stream {
    incoming: Streaming<wire::NodeMessage>,
    outgoing: mpsc::Sender<Result<wire::FleetMessage, Status>>,
}

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Fleet for Service {
    type FeedStream = ReceiverStream<Result<wire::FleetMessage, Status>>;

    async fn feed(
        &self,
        request: Request<Streaming<wire::NodeMessage>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let (outgoing, messages) = mpsc::channel(64);
        let stream = Stream {
            incoming: request.into_inner(),
            outgoing,
        };
        self.0
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ControlPlane {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, streams) = mpsc::channel(8);
        let service = FleetServer::new(Service(accepted));
        let serving = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            streams,
            serving,
        }
    }

    /// The next stream, with its Hello.
    pub(super) async fn accept(&mut self) -> (Stream, wire::Hello) {
        let stream = tokio::time::timeout(PATIENCE, self.streams.recv()).await;
        let mut stream = stream.expect("no node connects").unwrap();
        let Some(FromNode::Hello(hello)) = stream.next().await else {
            panic!("the first message is no Hello");
        };
        (stream, hello)
    }

    /// A node that has the table of `example` and is known to this fleet.
    pub(super) async fn accept_and_fill(&mut self) -> (Stream, Position) {
        let (mut stream, _) = self.accept().await;
        stream.welcome(wire::Welcome::default()).await;
        let at = stream.snapshot(example()).await;
        stream.applied(at).await;
        (stream, at)
    }
}

impl Stream {
    pub(super) async fn say(&self, message: FromFleet) {
        let message = wire::FleetMessage {
            message: Some(message),
        };
        self.outgoing.send(Ok(message)).await.unwrap();
    }

    pub(super) async fn refuse(self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }

    pub(super) async fn welcome(&self, welcome: wire::Welcome) {
        let fleet = FLEET.to_vec();
        self.say(FromFleet::Welcome(wire::Welcome { fleet, ..welcome }))
            .await;
    }

    pub(super) async fn snapshot(&self, changes: Vec<wire::Change>) -> Position {
        let at = Position {
            revision: Revision(10),
            digest: Digest::from([10; 32]),
        };
        let begin = wire::SnapshotBegin {
            revision: at.revision.0,
            digest: at.digest.to_vec(),
            hash_key: HASH.0.to_vec(),
            keys: changes.len() as u64,
        };
        self.say(FromFleet::SnapshotBegin(begin)).await;
        for change in changes {
            self.say(FromFleet::SnapshotChunk(wire::SnapshotChunk {
                changes: vec![change],
            }))
            .await;
        }
        self.say(FromFleet::SnapshotEnd(wire::SnapshotEnd {
            revision: at.revision.0,
        }))
        .await;
        at
    }

    pub(super) async fn delta(&self, at: Position, changes: Vec<wire::Change>) -> Position {
        let (delta, next) = delta(at, changes);
        self.say(FromFleet::Delta(delta)).await;
        next
    }

    /// The next message; none at the stream's end.
    pub(super) async fn next(&mut self) -> Option<FromNode> {
        let message = tokio::time::timeout(PATIENCE, self.incoming.message()).await;
        message
            .expect("the node says nothing")
            .ok()
            .flatten()
            .and_then(|message| message.message)
    }

    /// The next message that `wanted` takes; what comes before it is let go.
    pub(super) async fn until<T>(&mut self, wanted: impl Fn(FromNode) -> Option<T>) -> T {
        let found = async {
            loop {
                let message = self.next().await.expect("the node ended the stream");
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the node did not say it")
    }

    pub(super) async fn applied(&mut self, at: Position) {
        self.until(|message| match message {
            FromNode::Applied(applied) if applied.revision == at.revision.0 => {
                assert_eq!(applied.digest, at.digest.to_vec());
                Some(())
            }
            _ => None,
        })
        .await;
    }

    pub(super) async fn quiesced(&mut self) -> wire::Quiesced {
        self.until(|message| match message {
            FromNode::Quiesced(quiesced) => Some(quiesced),
            _ => None,
        })
        .await
    }

    pub(super) async fn rejected(&mut self) -> wire::Rejected {
        self.until(|message| match message {
            FromNode::Rejected(rejected) => Some(rejected),
            _ => None,
        })
        .await
    }

    /// Waits until the node reports that it drains, or that it does not.
    pub(super) async fn draining(&mut self, draining: bool) {
        self.until(|message| match message {
            FromNode::Report(report) if report.draining == draining => Some(()),
            _ => None,
        })
        .await;
    }

    pub(super) async fn goodbye(&mut self) -> wire::Goodbye {
        self.until(|message| match message {
            FromNode::Goodbye(goodbye) => Some(goodbye),
            _ => None,
        })
        .await
    }

    /// Waits until the node gives the stream up.
    pub(super) async fn given_up(mut self) {
        while self.next().await.is_some() {}
    }
}

pub(super) fn delta(at: Position, changes: Vec<wire::Change>) -> (wire::Delta, Position) {
    let set = wire::ChangeSet {
        changes,
        traceparent: String::new(),
    };
    let payload: Bytes = set.encode_to_vec().into();
    let next = at.after(&payload);
    let delta = wire::Delta {
        revision: next.revision.0,
        predecessor: at.digest.to_vec(),
        digest: next.digest.to_vec(),
        payload,
    };
    (delta, next)
}

pub(super) fn change(names: &[&str], kind: Kind) -> wire::Change {
    let keys: Vec<_> = names.iter().map(|name| HASH.key_of(name)).collect();
    wire::Change {
        keys: pack(&keys).into(),
        kind: Some(kind),
    }
}

pub(super) fn mapped(names: &[&str], destination: &str) -> wire::Change {
    change(
        names,
        Kind::Mapped(wire::Mapped {
            destination: destination.to_owned(),
        }),
    )
}

pub(super) fn held(names: &[&str], hold: [u8; 16]) -> wire::Change {
    let held = wire::Held {
        hold: hold.to_vec(),
        operation: vec![1; 16],
        source: "old".to_owned(),
        target: "new".to_owned(),
        deadline_unix_millis: 0,
        drain_timeout_millis: 15_000,
        ..Default::default()
    };
    change(names, Kind::Held(held))
}

pub(super) fn flipped(names: &[&str], hold: [u8; 16]) -> wire::Change {
    let flipped = wire::Flipped {
        hold: hold.to_vec(),
        operation: vec![1; 16],
        destination: "new".to_owned(),
    };
    change(names, Kind::Flipped(flipped))
}

pub(super) fn resource(kind: &str, name: &str, body: &str) -> wire::Change {
    let set = wire::ResourceSet {
        kind: kind.to_owned(),
        name: name.to_owned(),
        site: String::new(),
        body: body.to_owned(),
    };
    change(&[], Kind::ResourceSet(set))
}

pub(super) const OLD: &str =
    r#"{"host":"old.example.org","protocol":{"imap":{"port":993,"tls":"implicit"}}}"#;

/// Two accounts on the old server, and where the rest goes.
pub(super) fn example() -> Vec<wire::Change> {
    vec![
        resource("destination", "old", OLD),
        resource("destination", "new", &OLD.replace("old.", "new.")),
        resource("routing", "", r#"{"default_destination":"old"}"#),
        mapped(&["ann@example.org", "bob@example.org"], "old"),
    ]
}

/// A node that runs against the endpoints.
pub(super) struct Node {
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) estate: Arc<Estate>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Node {
    pub(super) fn start(state_dir: &Path, endpoints: &[SocketAddr]) -> Self {
        let link = ControlPlaneLink {
            endpoints: endpoints
                .iter()
                .map(|address| format!("http://{address}"))
                .collect(),
            node: "fra-1".into(),
            site: "fra".into(),
            ca: "ca.pem".into(),
            cert: "node.pem".into(),
            key: "node.key".into(),
            state_dir: state_dir.to_owned(),
        };
        let (report, news) = Report::new();
        let (knowledge, node) = prepare(&link, &[], WaitPolicy::default(), Arc::new(report), news).unwrap();
        let estate = node.estate();
        let feed = Feed {
            connect: Box::new(Plain),
            endpoints: link.endpoints,
            node,
        };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(feed.run(Arc::new(Machine), async move {
            let _ = stopped.await;
        }));
        Self {
            knowledge,
            estate,
            stop: Some(stop),
            running,
        }
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("it goes on")
            .unwrap();
    }

    /// As `kill -9` ends it: it says nothing more, and its locks are free.
    pub(super) async fn killed(self) {
        self.running.abort();
        let _ = self.running.await;
    }

    /// Hands its state directory over.
    pub(super) async fn hands_over(&self) {
        let estate = Arc::clone(&self.estate);
        tokio::task::spawn_blocking(move || estate.hand_over())
            .await
            .unwrap()
            .unwrap();
    }

    /// Ends it in order: everything that it applied is on disk then.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.running).await.unwrap();
    }

    pub(super) fn look(&self, login: &str) -> Look {
        self.knowledge.sessions().look(&ActingFor::one(who(login), []))
    }

    pub(super) fn goes_to(&self, login: &str) -> Option<DestinationName> {
        match self.look(login) {
            Look::Route(route) | Look::Armed(route, Lease::Live) => Some(route.destination),
            Look::Armed(_, Lease::Lapsed) | Look::Held | Look::AskSource | Look::Refused(_) => None,
        }
    }
}

pub(super) fn who(login: &str) -> Identifier {
    Identifier::normalized(login, &Normalization::Fleet { bare_domain: None }).unwrap()
}

pub(super) fn about(id: &str) -> About {
    About {
        id: SessionId::new(id),
        protocol: Protocol::Imap,
        client: "192.0.2.1:4711".parse().unwrap(),
        listener: Arc::new(ListenerName::from("imaps")),
        trace: None,
    }
}

struct Plain;

impl Connect for Plain {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Result<Line, ConnectError>> {
        Box::pin(async move {
            let endpoint = tonic::transport::Endpoint::from_shared(endpoint.to_owned()).unwrap();
            let unreachable = |_| ConnectError::Endpoint("unreachable".to_owned());
            let channel = endpoint.connect().await.map_err(unreachable)?;
            Ok(Line { channel, link: None })
        })
    }
}

struct Machine;

impl Host for Machine {
    fn reset_breaker(&self, destination: &DestinationName) -> Result<(), String> {
        match destination.as_str() {
            "old" => Ok(()),
            name => Err(format!("no destination {name}")),
        }
    }

    fn show(&self, identifier: &Identifier) -> String {
        format!("{}***", &identifier.as_str()[..2])
    }
}
