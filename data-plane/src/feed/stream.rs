//! The life of one stream. Hello first, with what the node knows; then whatever comes is taken, and whatever became
//! true is said. Nothing is delayed for company: a hold is applied when it arrives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::fleet_client::FleetClient;
use mailswitch_proto::fleet::v1::fleet_message::Message as FromFleet;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::id::{FleetId, HoldId, InstanceId, InvalidId};
use mailswitch_proto::revision::{Position, Revision};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::goodbye::Membership;
use super::take::TakeError;
use super::{Backoff, Host, Identity, goodbye};
use crate::lease::asking::Asking;
use crate::report::FeedState;
use crate::sessions::{Met, Stuck};
use crate::source::Knowledge;
use crate::source::resources::Resources;
use crate::state_file::{Directory, DirectoryError, Estate, Writer};
use crate::table::{Builder, Rejection, Serving};

/// Between two reports of counters.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at files that a resource lacks.
const LOOK_AT_FILES_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether a process still lives that handed the state directory over.
const LOOK_WHO_LIVES_EVERY: Duration = Duration::from_secs(1);
/// A stream that outlives its process is noticed within its keep-alive.
const NAME_AGAIN_AFTER: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Messages that wait for the connection. More make the node wait with reading, and lose nothing.
const OUTGOING: usize = 256;
/// A chunk of a snapshot is about one MiB; a change set is sent as it is up to three.
const LARGEST_MESSAGE: usize = 64 << 20;

/// What outlives a stream.
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) writer: Writer,
    pub(crate) resources: Resources,
    /// What cannot be used of the resources that are in force.
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) stuck: mpsc::UnboundedReceiver<Stuck>,
    pub(crate) breaker_changes: mpsc::UnboundedReceiver<wire::Breaker>,
    pub(crate) membership: Membership,
    pub(crate) asking: Asking,
}

impl Node {
    /// What it leaves to the next process.
    pub(crate) fn estate(&self) -> Arc<Estate> {
        Estate::new(Arc::clone(&self.directory), &self.writer)
    }
}

/// How a stream ended without a fault of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The replica asked us to go to another one.
    Moved,
    /// The control plane ended it.
    ByControlPlane,
    /// A process that had our state directory is gone: the next Hello names it.
    Replaces,
}

/// Why a stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// It was refused, or broke.
    #[error("{0}")]
    Refused(Box<Status>),
    /// Something came before Welcome.
    #[error("the control plane sent something before its welcome")]
    NotWelcomed,
    /// An id that is not one.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// It is another fleet than the one of our table. Ours stays.
    #[error("the control plane belongs to fleet {theirs}, this node's table to fleet {ours}")]
    AnotherFleet {
        /// In Welcome.
        theirs: FleetId,
        /// In the state file.
        ours: FleetId,
    },
    /// Who we are could not be written down.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What came does not follow what we have.
    #[error(transparent)]
    Take(#[from] TakeError),
}

impl From<Status> for StreamError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// One stream, while it lasts.
pub(super) struct Stream<'a> {
    pub(super) node: &'a mut Node,
    pub(super) host: &'a dyn Host,
    /// None: this node has said all that it will say on this stream.
    pub(super) outgoing: Option<mpsc::Sender<wire::NodeMessage>>,
    pub(super) fleet: Option<FleetId>,
    /// The node serves only at or after this (N4).
    pub(super) not_before: Option<Revision>,
    /// A snapshot that is being received.
    pub(super) building: Option<Builder>,
    /// Said on this stream, and still true.
    pub(super) said: HashMap<HoldId, Met>,
    pub(super) said_applied: Option<Revision>,
    pub(super) leave_at: Option<Instant>,
    /// Whom our Hello said that we replace.
    replaces: Vec<InstanceId>,
    /// The Hello registered us: those are replaced.
    registered: bool,
}

pub(super) async fn run(
    channel: Channel,
    node: &mut Node,
    host: &dyn Host,
    backoff: &mut Backoff,
) -> Result<Ended, StreamError> {
    let (outgoing, messages) = mpsc::channel(OUTGOING);
    let replaces = node.directory.replaces();
    let hello = hello(node, &replaces);
    let _ = outgoing.send(of(FromNode::Hello(hello))).await;
    let mut client = FleetClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let mut incoming = client.feed(ReceiverStream::new(messages)).await?.into_inner();
    let mut durable = node.writer.durable();
    let mut writing = true;
    let knowledge = node.knowledge.clone();
    let mut report = tokio::time::interval(REPORT_EVERY);
    report.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = tokio::time::interval(goodbye::LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut files = tokio::time::interval(LOOK_AT_FILES_EVERY);
    files.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lives = tokio::time::interval(LOOK_WHO_LIVES_EVERY);
    lives.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let again = Instant::now() + NAME_AGAIN_AFTER;
    let mut stream = Stream {
        node,
        host,
        outgoing: Some(outgoing),
        fleet: None,
        not_before: None,
        building: None,
        said: HashMap::new(),
        said_applied: None,
        leave_at: None,
        replaces,
        registered: false,
    };
    stream.node.asking.new_stream();
    loop {
        let ask = stream.asks_in();
        tokio::select! {
            message = incoming.message() => match message? {
                Some(message) => {
                    if stream.hear(message).await? == Heard::Welcome {
                        stream.say_report().await;
                        report.reset();
                    }
                }
                None => return Ok(Ended::ByControlPlane),
            },
            changed = durable.changed(), if writing => match changed {
                Ok(()) => {
                    stream.acknowledge().await;
                    stream.say_goodbye_once_marked().await;
                }
                // Its thread is gone: nothing new is acknowledged any more.
                Err(_) => {
                    tracing::error!("the state file is no longer written: holds are not acknowledged until a restart");
                    writing = false;
                }
            },
            () = knowledge.sessions().quiesced_changed() => stream.acknowledge().await,
            Some(stuck) = stream.node.stuck.recv() => stream.say_stuck(&stuck).await,
            Some(breaker) = stream.node.breaker_changes.recv() => stream.say_breaker(breaker).await,
            _ = report.tick(), if stream.fleet.is_some() => {
                // It has stood for a while: a stream that ends at once each time is no reason to hurry.
                backoff.reset();
                stream.say_report().await;
                stream.say_what_holds_have_met().await;
            }
            _ = files.tick(), if stream.fleet.is_some() => stream.look_at_files_again().await,
            _ = looks.tick(), if stream.is_leaving() => stream.leave_once_empty().await,
            _ = lives.tick(), if stream.may_name_somebody() => if stream.has_somebody_to_name(again) {
                return Ok(Ended::Replaces);
            },
            () = ask_in(ask) => stream.ask_for_a_lease().await,
            () = at(stream.leave_at) => return Ok(Ended::Moved),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Heard {
    Welcome,
    Other,
}

impl Stream<'_> {
    async fn hear(&mut self, message: wire::FleetMessage) -> Result<Heard, StreamError> {
        // What a later version says beside the changes is nothing to us: changes come in `Delta` only.
        let Some(message) = message.message else {
            return Ok(Heard::Other);
        };
        if let FromFleet::Welcome(welcome) = &message {
            self.welcomed(welcome).await?;
            return Ok(Heard::Welcome);
        }
        if self.fleet.is_none() {
            return Err(StreamError::NotWelcomed);
        }
        match message {
            FromFleet::Welcome(_) => {}
            FromFleet::SnapshotBegin(begin) => self.begin_snapshot(&begin)?,
            FromFleet::SnapshotChunk(chunk) => self.take_chunk(&chunk)?,
            FromFleet::SnapshotEnd(end) => self.end_snapshot(&end).await?,
            FromFleet::Delta(delta) => self.take_delta(delta).await?,
            FromFleet::Request(request) => self.answer(request).await,
            FromFleet::Move(moving) => {
                let within = Duration::from_millis(moving.within_millis);
                self.leave_at = Some(Instant::now() + rand::random_range(Duration::ZERO..=within));
            }
            FromFleet::LeaseGrant(grant) => self.take_grant(&grant).await,
        }
        Ok(Heard::Other)
    }

    async fn welcomed(&mut self, welcome: &wire::Welcome) -> Result<(), StreamError> {
        let theirs = FleetId::try_from(welcome.fleet.as_slice())?;
        let sessions = self.node.knowledge.sessions().clone();
        if let Some(ours) = sessions
            .with_table(|table| table.fleet())
            .filter(|ours| *ours != theirs)
        {
            return Err(StreamError::AnotherFleet { theirs, ours });
        }
        // One that has diverged is not registered by this: whom it replaces stays so until it is (promise D3).
        if !welcome.diverged {
            let replaced = self.replaced(welcome)?;
            self.node.directory.welcomed(&replaced)?;
            self.registered = true;
        }
        self.fleet = Some(theirs);
        sessions.report().feed(match welcome.diverged {
            true => FeedState::Diverged,
            false => FeedState::Connected,
        });
        if welcome.diverged {
            // D3: the node keeps what it has and serves it; an operator decides.
            tracing::error!(
                replica = welcome.replica,
                "the control plane's database is behind this node, or on another branch: the node keeps what it has until an operator decides"
            );
        } else {
            tracing::info!(
                replica = welcome.replica,
                revision = welcome.registered_revision,
                "connected to the control plane"
            );
        }
        // N4. Not only when this Hello registered it: a process that died before it read its welcome has left its instance
        // to this one, registered and with a table from before.
        let registered = Revision(welcome.registered_revision);
        if !welcome.diverged && sessions.with_table(|table| table.position().revision < registered) {
            self.serve_only_from(registered);
        }
        if !welcome.diverged {
            self.is_back();
        }
        self.repeat_all().await;
        self.say_goodbye_once_marked().await;
        Ok(())
    }
}

impl Stream<'_> {
    /// Whom our Hello replaced: not those of whom the control plane has a stream.
    fn replaced(&self, welcome: &wire::Welcome) -> Result<Vec<InstanceId>, InvalidId> {
        let kept = welcome.not_replaced.iter();
        let kept: Vec<InstanceId> = kept
            .map(|instance| InstanceId::try_from(instance.as_slice()))
            .collect::<Result<_, _>>()?;
        if !kept.is_empty() {
            tracing::warn!(
                ?kept,
                "the control plane still has a stream of a process that is gone here: it is named again"
            );
        }
        let all = self.replaces.iter().copied();
        Ok(all.filter(|instance| !kept.contains(instance)).collect())
    }

    /// Not on the stream of an instance that comes back as another one.
    fn may_name_somebody(&self) -> bool {
        let follows = self.registered && self.node.membership != Membership::Returns;
        follows && self.node.directory.follows_somebody()
    }

    /// Who is found to be gone is named at once; who was named in vain is named again, now and then.
    fn has_somebody_to_name(&self, again: Instant) -> bool {
        self.node.directory.look_for_gone();
        let gone = self.node.directory.replaces();
        let news = gone.iter().any(|instance| !self.replaces.contains(instance));
        news || (!gone.is_empty() && Instant::now() >= again)
    }
}

fn hello(node: &Node, replaces: &[InstanceId]) -> wire::Hello {
    let (position, fleet) = node.knowledge.sessions().with_table(|table| {
        // A table that missed a part of a change is made whole by a snapshot only (N7).
        let position = match table.serving() {
            Serving::NotSynced => Position::NONE,
            Serving::From(_) | Serving::Yes => table.position(),
        };
        (position, table.fleet())
    });
    wire::Hello {
        node: node.identity.node.as_str().to_owned(),
        instance: node.directory.instance().to_vec(),
        replaces_instance: replaces.iter().map(|instance| instance.to_vec()).collect(),
        machine: node.directory.machine().to_vec(),
        site: node.identity.site.as_str().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listeners: node.identity.listeners.clone(),
        known_revision: position.revision.0,
        known_digest: if position.revision == Revision::NONE {
            Vec::new()
        } else {
            position.digest.to_vec()
        },
        fleet: fleet.map_or_else(Vec::new, |fleet| fleet.to_vec()),
        left: node.membership == Membership::Left,
        process: node.directory.process().to_vec(),
    }
}

pub(super) fn of(message: FromNode) -> wire::NodeMessage {
    wire::NodeMessage {
        message: Some(message),
    }
}

async fn ask_in(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
