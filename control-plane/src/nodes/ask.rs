//! Requests to nodes over their streams: each has an id and a deadline, and every node's failure is named.
//!
//! A node that is not connected, does not read, or does not answer in time is an error of its own in the result:
//! nothing that was asked of the whole fleet is ever answered as if a silent node had nothing to say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use mailswitch_proto::fleet::v1::{self as wire, answer::Answer, fleet_message::Message, request};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Node;

/// How long a node may take to answer: beyond what any request needs, below an operator's patience.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The order of promise N3.
pub const FENCE: request::Request = request::Request::Drain(wire::Drain {
    resume: false,
    leave: true,
    fence: true,
});

/// Why a node has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No stream.
    #[error("it is not connected")]
    NotConnected,
    /// Its stream takes nothing more.
    #[error("it does not read its stream")]
    NotReading,
    /// It took too long.
    #[error("it did not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// Its stream ended meanwhile.
    #[error("it disconnected before it answered")]
    Disconnected,
    /// It answered that it cannot.
    #[error("{0}")]
    Refused(String),
    /// It answered something else.
    #[error("it answered something else than it was asked")]
    Unexpected,
}

/// The way to a connected node. Clones reach the same stream.
#[derive(Debug, Clone)]
pub struct Link {
    outbox: mpsc::Sender<wire::FleetMessage>,
    pending: Arc<Pending>,
    repeat: Arc<Notify>,
    ended: CancellationToken,
}

/// What is asked of a node, on the side of its stream's sender.
#[derive(Debug)]
pub struct Requests {
    queue: mpsc::Receiver<wire::FleetMessage>,
    pending: Arc<Pending>,
    repeat: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Pending {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<wire::Answer>>>,
}

impl Link {
    /// A way to a node, and what its stream's sender takes from it. Above `waiting` requests the node counts as one that
    /// does not read.
    #[must_use]
    pub fn new(waiting: usize) -> (Self, Requests) {
        let (outbox, queue) = mpsc::channel(waiting);
        let pending = Arc::<Pending>::default();
        let repeat = Arc::<Notify>::default();
        let requests = Requests {
            queue,
            pending: Arc::clone(&pending),
            repeat: Arc::clone(&repeat),
        };
        let link = Self {
            outbox,
            pending,
            repeat,
            ended: CancellationToken::new(),
        };
        (link, requests)
    }

    /// Ends the stream: its node says Hello again.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Until somebody ends the stream.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Asks, and waits for the answer until the deadline.
    ///
    /// # Errors
    /// Whatever keeps the node from answering.
    pub async fn ask(
        &self,
        request: request::Request,
        traceparent: &str,
        deadline: Duration,
    ) -> Result<Answer, AskError> {
        let id = self.pending.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (answered, answer) = oneshot::channel();
        self.pending.waiting.lock().insert(id, answered);
        let result = self.exchange(id, request, traceparent, answer, deadline).await;
        self.pending.waiting.lock().remove(&id);
        let answer = result?;
        if !answer.error.is_empty() {
            return Err(AskError::Refused(answer.error));
        }
        answer.answer.ok_or(AskError::Unexpected)
    }

    /// Asks for all acknowledgements that are true (promise Q6). It is a level, not a message: it cannot be lost to a
    /// queue that is full, and asked for many times before the node could be told, it is told once.
    pub fn repeat_acknowledgements(&self) {
        self.repeat.notify_one();
    }

    /// Orders something, and waits for no answer. One that finds the stream full is lost.
    pub fn tell(&self, request: request::Request) {
        let id = self.pending.next.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = self.outbox.try_send(message(id, request, ""));
    }

    /// Sends a lease. One that finds the stream full is lost, and asked for again.
    pub fn grant(&self, grant: wire::LeaseGrant) {
        let _ = self.outbox.try_send(wire::FleetMessage {
            message: Some(Message::LeaseGrant(grant)),
        });
    }

    pub(super) fn answered(&self, answer: wire::Answer) {
        // Nobody waits any more when the deadline has passed.
        if let Some(waiting) = self.pending.waiting.lock().remove(&answer.request) {
            let _ = waiting.send(answer);
        }
    }

    async fn exchange(
        &self,
        id: u64,
        request: request::Request,
        traceparent: &str,
        answer: oneshot::Receiver<wire::Answer>,
        deadline: Duration,
    ) -> Result<wire::Answer, AskError> {
        let sent = self.outbox.try_send(message(id, request, traceparent));
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskError::NotReading,
            mpsc::error::TrySendError::Closed(_) => AskError::Disconnected,
        })?;
        tokio::select! {
            answer = timeout(deadline, answer) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(AskError::Disconnected),
                Err(_) => Err(AskError::NoAnswer(deadline)),
            },
            () = self.outbox.closed() => Err(AskError::Disconnected),
        }
    }
}

impl Requests {
    /// The next one, if there is one now.
    pub fn ready(&mut self) -> Option<wire::FleetMessage> {
        self.queue.try_recv().ok()
    }

    /// The next one; none when nobody can ask any more. Nothing is lost when it is dropped before it is ready.
    pub async fn next(&mut self) -> Option<wire::FleetMessage> {
        tokio::select! {
            request = self.queue.recv() => request,
            () = self.repeat.notified() => {
                let id = self.pending.next.fetch_add(1, Ordering::Relaxed) + 1;
                let repeat = request::Request::RepeatAcknowledgements(wire::RepeatAcknowledgements {});
                Some(message(id, repeat, ""))
            }
        }
    }
}

/// Asks all of them at once; the answers stand beside the nodes they come from, failures too.
pub async fn ask_all(
    nodes: Vec<Node>,
    request: &request::Request,
    traceparent: &str,
) -> Vec<(Node, Result<Answer, AskError>)> {
    join_all(nodes.into_iter().map(|node| async {
        let answer = match node.link() {
            Some(link) => link.ask(request.clone(), traceparent, DEADLINE).await,
            None => Err(AskError::NotConnected),
        };
        (node, answer)
    }))
    .await
}

fn message(id: u64, request: request::Request, traceparent: &str) -> wire::FleetMessage {
    wire::FleetMessage {
        message: Some(Message::Request(wire::Request {
            id,
            traceparent: traceparent.to_owned(),
            request: Some(request),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repetition_that_is_asked_for_while_the_queue_is_full_is_told_all_the_same_and_once() {
        let (link, mut requests) = Link::new(1);
        let list = request::Request::ListSessions(wire::ListSessions::default());
        let asked = link.ask(list.clone(), "", Duration::from_millis(1)).await;
        assert_eq!(asked, Err(AskError::NoAnswer(Duration::from_millis(1))));
        let asked = link.ask(list, "", Duration::from_secs(1)).await;
        assert_eq!(asked, Err(AskError::NotReading), "the queue is full");
        link.repeat_acknowledgements();
        link.repeat_acknowledgements();
        let mut repetitions = 0;
        for _ in 0..2 {
            let Some(Message::Request(told)) = requests.next().await.unwrap().message else {
                panic!("a request")
            };
            let repeat = matches!(told.request, Some(request::Request::RepeatAcknowledgements(_)));
            repetitions += usize::from(repeat);
        }
        assert_eq!(repetitions, 1);
        drop(link);
        assert!(requests.next().await.is_none(), "and nothing else");
    }
}
