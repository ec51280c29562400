//! A node in the same process: it speaks the feed over real mTLS, keeps what it is sent, and checks the digest chain.

use std::time::Duration;

use mailswitch_control_plane::routing::state::State;
use mailswitch_proto::fleet::v1::fleet_client::FleetClient;
use mailswitch_proto::fleet::v1::{self as wire, fleet_message, node_message};
use mailswitch_proto::id::{FleetId, HoldId, InstanceId};
use mailswitch_proto::identifier::{HashKey, Key};
use mailswitch_proto::revision::{Digest, Position, Revision};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{SOON, Stage};

/// What a node is before it connects, and what it still is after it restarts.
#[derive(Debug, Clone)]
pub struct Self_ {
    pub name: String,
    pub instance: InstanceId,
    pub replaces: Vec<InstanceId>,
    pub machine: [u8; 16],
    pub known: Position,
    pub fleet: Option<FleetId>,
    pub listeners: Vec<wire::Listener>,
    pub left: bool,
    /// Empty: of a node of before.
    pub process: Vec<u8>,
}

impl Self_ {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: InstanceId::random(),
            replaces: Vec::new(),
            machine: [9; 16],
            known: Position::NONE,
            fleet: None,
            listeners: Vec::new(),
            left: false,
            process: Vec::new(),
        }
    }

    pub fn hello(&self) -> wire::Hello {
        wire::Hello {
            node: self.name.clone(),
            instance: self.instance.to_vec(),
            replaces_instance: self.replaces.iter().map(|one| one.to_vec()).collect(),
            machine: self.machine.to_vec(),
            site: "fra".to_owned(),
            version: "0.1.0".to_owned(),
            listeners: self.listeners.clone(),
            known_revision: self.known.revision.0,
            known_digest: self.known.digest.to_vec(),
            fleet: self.fleet.map(FleetId::to_vec).unwrap_or_default(),
            left: self.left,
            process: self.process.clone(),
        }
    }
}

/// A connected node.
pub struct Node {
    pub me: Self_,
    pub welcome: wire::Welcome,
    pub state: Option<State>,
    pub deltas: usize,
    pub snapshots: usize,
    outbox: mpsc::Sender<wire::NodeMessage>,
    inbox: Streaming<wire::FleetMessage>,
}

impl Node {
    /// Connects and hears Welcome.
    pub async fn connect(stage: &Stage, me: Self_) -> Self {
        Self::try_connect(stage, me).await.expect("the feed opens")
    }

    pub async fn try_connect(stage: &Stage, me: Self_) -> Result<Self, Status> {
        let link = stage.link(&format!("urn:mailswitch:node:{}", me.name)).await;
        let (outbox, messages) = mpsc::channel(64);
        let hello = node_message::Message::Hello(me.hello());
        outbox
            .send(wire::NodeMessage { message: Some(hello) })
            .await
            .unwrap();
        let mut client = FleetClient::new(link.channel());
        let mut inbox = client.feed(ReceiverStream::new(messages)).await?.into_inner();
        let first = tokio::time::timeout(SOON, inbox.message())
            .await
            .expect("Welcome comes")?;
        let Some(fleet_message::Message::Welcome(welcome)) = first.and_then(|first| first.message) else {
            panic!("the first message is Welcome")
        };
        Ok(Self {
            me,
            welcome,
            state: None,
            deltas: 0,
            snapshots: 0,
            outbox,
            inbox,
        })
    }

    pub async fn say(&self, message: node_message::Message) {
        let message = wire::NodeMessage {
            message: Some(message),
        };
        self.outbox.send(message).await.unwrap();
    }

    /// The next message; none when the stream has ended.
    pub async fn hear(&mut self) -> Result<Option<fleet_message::Message>, Status> {
        let message = tokio::time::timeout(SOON, self.inbox.message())
            .await
            .expect("a message comes")?;
        Ok(message.and_then(|message| message.message))
    }

    /// Nothing comes for this long.
    pub async fn hears_nothing_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.inbox.message()).await.is_err()
    }

    /// Applies what comes until it stands at `revision`, and says so. Panics when the chain breaks.
    pub async fn follow_to(&mut self, revision: u64) {
        while self.me.known.revision < Revision(revision) {
            match self.hear().await.unwrap().expect("the stream goes on") {
                fleet_message::Message::SnapshotBegin(begin) => self.snapshot(begin).await,
                fleet_message::Message::Delta(delta) => self.delta(&delta),
                other => panic!("unexpected: {other:?}"),
            }
        }
        self.acknowledge().await;
    }

    /// Says what it has applied.
    pub async fn acknowledge(&self) {
        self.say(node_message::Message::Applied(wire::Applied {
            revision: self.me.known.revision.0,
            digest: self.me.known.digest.to_vec(),
        }))
        .await;
    }

    /// Says that the hold of this login is quiet.
    pub async fn quiesce(&self, hold: HoldId) {
        self.say(node_message::Message::Quiesced(wire::Quiesced {
            hold: hold.to_vec(),
            applied_revision: self.me.known.revision.0,
            applied_digest: self.me.known.digest.to_vec(),
            ..Default::default()
        }))
        .await;
    }

    /// The next request, with its id.
    pub async fn asked(&mut self) -> (u64, wire::request::Request) {
        loop {
            match self.hear().await.unwrap().expect("the stream goes on") {
                fleet_message::Message::Request(request) => {
                    return (request.id, request.request.expect("it asks for something"));
                }
                fleet_message::Message::Delta(delta) => self.delta(&delta),
                fleet_message::Message::SnapshotBegin(begin) => self.snapshot(begin).await,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    pub async fn answer(&self, request: u64, answer: wire::answer::Answer) {
        self.say(node_message::Message::Answer(wire::Answer {
            request,
            error: String::new(),
            answer: Some(answer),
        }))
        .await;
    }

    pub fn state(&self) -> &State {
        self.state.as_ref().expect("it has a table")
    }

    /// Where a login goes by a mapping of its own.
    pub fn mapped(&self, identifier: &str) -> Option<String> {
        self.state().table().get(self.key(identifier)).map(str::to_owned)
    }

    pub fn hold_of(&self, identifier: &str) -> Option<HoldId> {
        self.state().hold_of(self.key(identifier))
    }

    fn key(&self, identifier: &str) -> Key {
        self.state().hash_key().key_of(identifier)
    }

    async fn snapshot(&mut self, begin: wire::SnapshotBegin) {
        let mut changes = Vec::new();
        let end = loop {
            match self.hear().await.unwrap().expect("the snapshot is whole") {
                fleet_message::Message::SnapshotChunk(chunk) => changes.extend(chunk.changes),
                fleet_message::Message::SnapshotEnd(end) => break end,
                other => panic!("unexpected: {other:?}"),
            }
        };
        assert_eq!(end.revision, begin.revision);
        let position = Position {
            revision: Revision(begin.revision),
            digest: Digest::try_from(begin.digest.as_slice()).unwrap(),
        };
        let hash_key = HashKey(begin.hash_key.as_slice().try_into().unwrap());
        let state = State::load(position, hash_key, &changes).unwrap();
        assert_eq!(state.table().len() as u64, begin.keys);
        self.state = Some(state);
        self.me.known = position;
        self.me.fleet = Some(FleetId::try_from(self.welcome.fleet.as_slice()).unwrap());
        self.snapshots += 1;
    }

    /// Promise N7: a delta that is not the successor of what it has ends the stream.
    fn delta(&mut self, delta: &wire::Delta) {
        let next = self.me.known.after(&delta.payload);
        assert_eq!(
            delta.predecessor,
            self.me.known.digest.to_vec(),
            "the chain is whole"
        );
        assert_eq!(delta.revision, next.revision.0, "no revision is left out");
        assert_eq!(
            delta.digest,
            next.digest.to_vec(),
            "the digest is that of the bytes"
        );
        let set = wire::ChangeSet::decode(delta.payload.clone()).unwrap();
        if let Some(state) = &mut self.state {
            state.apply(next, &set).unwrap();
        }
        self.me.known = next;
        self.deltas += 1;
    }
}
