//! Stopping a node (behaviour §11): accept no more, end at once what is not bridged, give bridged sessions the grace,
//! end what is left, and say how many that were.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Running;
use crate::hand_over::Successor;
use crate::session::control::Phase;

/// What is ended after the grace is followed to its end for this long: the time that a backend may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(4);

/// The goodbye of a process that has no session left is heard within this, or not at all. Legs that were given up during a login
/// are followed to their end meanwhile.
const GOODBYE: Duration = Duration::from_secs(10);

/// Between two looks at who has not signed in.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Running {
    /// Ends the node, whose sockets another one has: who is connected may still sign in, because a goodbye would be a
    /// login that failed; then it ends as at any stop.
    pub async fn end_behind(self, successor: Successor) {
        tracing::info!("another node has taken the sockets over");
        self.handed_over.cancel();
        self.accepting.cancel();
        self.until_signed_in().await;
        self.stop().await;
        drop(successor);
    }

    /// Another process of this node has the sockets and the state directory. This one accepts no more, lets who is connected
    /// sign in, and keeps its sessions, answering for them, until the last one is over; then it says goodbye (decision 0027).
    pub async fn retire(&mut self) {
        let connections = Arc::clone(&self.node.connections);
        let sessions = Arc::clone(self.node.knowledge.sessions());
        tracing::info!(
            connections = connections.count(),
            "another process of this node serves from now on: this one keeps its sessions until they are over"
        );
        sessions.retire();
        self.handed_over.cancel();
        self.accepting.cancel();
        self.until_signed_in().await;
        // What is left has not signed in in time, or is HTTP that waits for another request.
        connections.stop(Phase::BeforeLogin);
        sessions.admit_nobody_more();
        connections.closed().await;
        tracing::info!("the last session is over");
        // If nobody hears the goodbye, the other process finds that we are gone.
        if let Some(feed) = &mut self.feed
            && timeout(GOODBYE, feed).await.is_ok()
        {
            self.feed = None;
        }
    }

    /// Each is ended by its own preauth_timeout, if by nothing else.
    async fn until_signed_in(&self) {
        let signed_in = async {
            while self.node.connections.before_login() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = timeout(self.longest_dialogue + LAST_MOMENT, signed_in).await;
    }

    /// Ends the node.
    pub async fn stop(mut self) {
        self.accepting.cancel();
        drop(self.offer());
        let connections = &self.node.connections;
        let sessions = self.node.knowledge.sessions();
        connections.stop(Phase::BeforeLogin);
        let grace = self.node.machine().server.shutdown_grace;
        tracing::info!(
            connections = connections.count(),
            grace_secs = grace.as_secs(),
            "stopping"
        );
        if timeout(grace, connections.closed()).await.is_err() {
            tracing::warn!(
                connections = connections.count(),
                "the grace is over: ending what is left"
            );
            sessions.shut_down();
            connections.stop(Phase::Bridged);
            if timeout(LAST_MOMENT, connections.closed()).await.is_err() {
                tracing::warn!(
                    connections = connections.count(),
                    "these did not end and are reset"
                );
            }
        }
        // Legs of logins that were given up are left: no client waits for them.
        sessions.shut_down();
        // After the sessions: the control plane hears that their accounts are quiet here. It returns when what was
        // applied is on disk.
        self.feed_stop.cancel();
        if let Some(feed) = self.feed.take() {
            let _ = timeout(LAST_MOMENT, feed).await;
        }
        self.tasks.abort_all();
        self.node.say_figures();
        tracing::info!("stopped");
    }
}
