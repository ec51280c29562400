//! The feed (design section 4): one stream per node, a file per step.
//!
//! `accept` (role, Hello) -> `report` (does it know more than the database) -> `register` (one transaction) -> `catch_up`
//! (what it needs) -> `stream` (snapshot, deltas, requests) beside `acknowledge` (what it says back) and `lease` (how long
//! it may admit armed accounts).
//!
//! What a node is sent comes from memory. Nothing here waits for another node, and nothing queues for a slow one:
//! its stream is a cursor into the log, and a cursor that falls behind the log gets a snapshot.

pub mod accept;
pub mod acknowledge;
pub mod catch_up;
pub mod lease;
pub mod predecessor;
pub mod register;
pub mod report;
pub mod stream;

use std::sync::Arc;

use mailswitch_proto::channel::Peer;
use mailswitch_proto::fleet::v1::{self as wire, fleet_server::Fleet};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::nodes::ask::Link;
use crate::process::ControlPlane;

/// Messages that wait for one node's socket. Few: what waits here cannot be replaced by a snapshot any more, and
/// a chunk of a snapshot refers to a megabyte.
const OUTBOX: usize = 4;

/// Requests that wait behind them: above that the node counts as one that does not read.
const REQUESTS: usize = 64;

/// What the node's stream is read into.
type Outbox = mpsc::Sender<Result<wire::FleetMessage, Status>>;

/// The `Fleet` service of this replica.
#[derive(Clone)]
pub struct Feed {
    plane: Arc<ControlPlane>,
}

impl Feed {
    /// Serves nodes from this replica.
    #[must_use]
    pub fn new(plane: Arc<ControlPlane>) -> Self {
        Self { plane }
    }
}

#[tonic::async_trait]
impl Fleet for Feed {
    type FeedStream = ReceiverStream<Result<wire::FleetMessage, Status>>;

    /// The response begins at once: a node may wait for it before it says Hello.
    async fn feed(
        &self,
        request: Request<Streaming<wire::NodeMessage>>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let peer = accept::node_only(&request)?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let span = tracing::info_span!("feed", node = %peer.name, client.address = %peer.address);
        let plane = Arc::clone(&self.plane);
        tokio::spawn(serve(plane, peer, request.into_inner(), outbox).instrument(span));
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// Why a stream ended before its node hung up. The node reads it, and says Hello again.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Its first message.
    #[error(transparent)]
    Accept(#[from] accept::AcceptError),
    /// It could not be registered.
    #[error(transparent)]
    Register(#[from] register::RegisterError),
    /// What it says does not fit what it was sent.
    #[error(transparent)]
    Acknowledge(#[from] acknowledge::AcknowledgeError),
    /// It was forgotten when it had just connected: no flip asks it, so it may not go on (promise N3).
    #[error("this process is not registered any more: say Hello again")]
    NotRegistered,
    /// It has to start over.
    #[error(transparent)]
    Stream(#[from] stream::StreamError),
}

async fn serve(plane: Arc<ControlPlane>, peer: Peer, messages: Streaming<wire::NodeMessage>, outbox: Outbox) {
    match session(&plane, &peer, messages, &outbox).await {
        Ok(()) => tracing::info!("the node's stream ended"),
        Err(error) => {
            tracing::warn!(%error, "the node's stream was ended");
            // A node that does not read misses the reason; it is dropped all the same.
            let _ = outbox.try_send(Err(status_of(&error)));
        }
    }
}

/// The life of a node's stream.
async fn session(
    plane: &Arc<ControlPlane>,
    peer: &Peer,
    mut messages: Streaming<wire::NodeMessage>,
    outbox: &Outbox,
) -> Result<(), FeedError> {
    let hello = accept::hello(peer, &mut messages).await?;
    let hello = predecessor::settled(&plane.nodes, hello).await?;
    let report = report::report(plane, &hello).await?;
    let registered = register::register(plane, peer, &hello, report).await?;
    let start = catch_up::start(plane, &hello, &registered).await?;

    let (link, asked) = Link::new(REQUESTS);
    register::ordered(plane, &hello, &link).await?;
    let instance = hello.instance;
    let connection = plane
        .nodes
        .connected(start.node(&hello, &registered), &hello.replaces, link.clone());
    tracing::info!(site = hello.site, version = hello.version, known = %hello.known.revision, "a node is connected");
    let serving = async {
        // Who has left is a guest: it serves nobody, registered or not (promise N2). Who has diverged is one, too.
        if hello.purpose == accept::Purpose::Serve && report == report::Report::OnChain {
            register::still_registered(plane, instance).await?;
        }
        tokio::select! {
            ended = acknowledge::listen(plane, peer, instance, link.clone(), messages) => ended.map_err(FeedError::from),
            ended = stream::send(plane, instance, start, asked, outbox) => ended.map_err(FeedError::from),
        }
    };
    let ended = tokio::select! {
        ended = serving => ended,
        () = link.ended() => Err(FeedError::NotRegistered),
        () = plane.leaving.cancelled() => Ok(()),
    };
    plane.nodes.disconnected(instance, connection);
    ended
}

fn status_of(error: &FeedError) -> Status {
    match error {
        FeedError::Accept(error) => error.status(),
        FeedError::Register(error) => error.status(),
        FeedError::Acknowledge(error) => Status::aborted(error.to_string()),
        FeedError::NotRegistered | FeedError::Stream(_) => Status::aborted(error.to_string()),
    }
}
