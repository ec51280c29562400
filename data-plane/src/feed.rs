//! The node's side of the feed (design section 4): one stream to one control plane at a time, for as long as the node
//! lives. Without one the node goes on with what it has.
//!
//! - `stream`: the life of one stream: Hello, then what comes and what is to be said, in any order.
//! - `take`: snapshots and deltas become the table, the state file, the configuration.
//! - `say`: acknowledgements, as levels (promise Q6).
//! - `ask`: for leases (promise L1).
//! - `answer`: requests.
//! - `goodbye`: leaving the fleet, and coming back (promise N2).
//! - `backoff`: when to try again.

mod answer;
mod ask;
mod backoff;
mod goodbye;
mod say;
mod stream;
mod take;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use mailswitch_config::{DestinationName, NodeName, SiteName};
use mailswitch_proto::channel::{ConnectError, Credentials, Link, Reload};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::identifier::Identifier;
use tonic::Status;
use tonic::transport::Channel;

use crate::report::FeedState;
use backoff::Backoff;
pub(crate) use goodbye::Membership;
pub(crate) use stream::Node;
use stream::{Ended, StreamError};

/// Who the node says it is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// As in its certificate.
    pub node: NodeName,
    /// Where it stands.
    pub site: SiteName,
    /// What it serves.
    pub listeners: Vec<wire::Listener>,
}

/// What a request reaches beyond the registry.
pub trait Host: Send + Sync + 'static {
    /// Closes a destination's breakers.
    ///
    /// # Errors
    /// There is no such destination.
    fn reset_breaker(&self, destination: &DestinationName) -> Result<(), String>;

    /// How this node shows an identifier: redacted, unless `telemetry.identifiers = "plain"`.
    fn show(&self, identifier: &Identifier) -> String;
}

/// The feed of this node, not running yet.
pub struct Feed {
    connect: Box<dyn Connect>,
    endpoints: Vec<String>,
    node: Node,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Feed {
    pub(crate) fn new(node: Node, endpoints: Vec<String>, credentials: Credentials) -> Self {
        Self {
            connect: Box::new(Secured(credentials)),
            endpoints,
            node,
        }
    }

    /// Runs until `stop` ends. What was applied is on disk when this returns.
    pub async fn run(mut self, host: Arc<dyn Host>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut backoff = Backoff::default();
        self.node.knowledge.sessions().report().feed(FeedState::Away);
        let mut next = rand::random_range(0..self.endpoints.len().max(1));
        loop {
            let Some(endpoint) = self.endpoints.get(next % self.endpoints.len().max(1)).cloned() else {
                return;
            };
            let once = run_once(&*self.connect, &endpoint, &mut self.node, &*host, &mut backoff);
            let ended = tokio::select! {
                () = stop.as_mut() => return,
                ended = once => ended,
            };
            if let Ok(Ended::Replaces) = ended {
                tracing::info!("a process of this node that handed over is gone: the control plane is told");
                continue;
            }
            next = next.wrapping_add(1);
            self.node.knowledge.sessions().report().feed(FeedState::Away);
            match ended {
                Ok(_) if self.node.has_said_its_last() => return,
                Ok(Ended::Replaces) => {}
                Ok(Ended::Moved) => tracing::info!(
                    endpoint,
                    "the control plane replica goes away: connecting to another"
                ),
                Ok(Ended::ByControlPlane) => tracing::info!(endpoint, "the control plane ended the stream"),
                Err(error) => {
                    tracing::warn!(endpoint, %error, "no feed from the control plane: the node goes on with what it has");
                    if error.is_of_a_copy()
                        && let Err(error) = self.node.directory.renew()
                    {
                        tracing::error!(%error, "the state directory cannot name this process anew");
                    }
                }
            }
            tokio::select! {
                () = stop.as_mut() => return,
                () = tokio::time::sleep(backoff.pause(&mut rand::rng())) => {}
            }
        }
    }
}

/// Why there is no feed.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the control plane refused the stream: {0}")]
    Refused(#[source] Box<Status>),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

async fn run_once(
    connect: &dyn Connect,
    endpoint: &str,
    node: &mut Node,
    host: &dyn Host,
    backoff: &mut Backoff,
) -> Result<Ended, FeedError> {
    let line = connect.connect(endpoint).await?;
    match stream::run(line.channel, node, host, backoff).await {
        Err(StreamError::Refused(status)) => Err(match line.link.and_then(|link| link.explain(&status)) {
            Some(explained) => FeedError::Connect(explained),
            None => FeedError::Refused(status),
        }),
        ended => Ok(ended?),
    }
}

impl FeedError {
    /// Another process runs with our instance: one state directory is a copy of the other (promise N1).
    fn is_of_a_copy(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == tonic::Code::AlreadyExists)
    }
}

/// A connection to a control plane.
struct Line {
    channel: Channel,
    link: Option<Link>,
}

/// How a connection is made.
trait Connect: Send + Sync {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Result<Line, ConnectError>>;
}

/// Over mutual TLS.
struct Secured(Credentials);

impl Connect for Secured {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, Result<Line, ConnectError>> {
        Box::pin(async move {
            // A renewed certificate is taken by the next connection, without a restart.
            match self.0.reload() {
                Ok(Reload::Changed) => tracing::info!("the node's certificate was replaced"),
                Ok(Reload::Unchanged) => {}
                Err(error) => {
                    tracing::error!(%error, "the node's certificate cannot be used; the one before stays")
                }
            }
            let link = mailswitch_proto::channel::connect(endpoint, &self.0).await?;
            Ok(Line {
                channel: link.channel(),
                link: Some(link),
            })
        })
    }
}
