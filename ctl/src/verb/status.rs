//! `status`: the whole fleet on one screen. Tells apart what is committed, what a node was sent, what it has applied.

mod traffic;

use mailswitch_proto::control::v1::{Database, NodeStatus, StatusRequest, StatusResponse};
use mailswitch_proto::fleet::v1::{Listener, Rejected};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::operation::{OperationView, operations_grid, to_the_second};
use crate::output::{Grid, Render, filled, hex, identity, or_dash, printable, span, time};
use traffic::Traffic;

/// `status`
#[derive(Debug, clap::Args)]
pub struct StatusArguments {}

impl StatusArguments {
    /// Prints it.
    ///
    /// # Errors
    /// The control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let connection = context.connect().await?;
        let status = connection
            .ask(async |mut control| control.status(StatusRequest {}).await)
            .await?;
        context.output.print(&StatusView::from(status))?;
        Ok(Exit::Done)
    }
}

/// The fleet.
#[derive(Debug, Serialize)]
pub struct StatusView {
    fleet: Option<String>,
    /// Committed in the database.
    revision: u64,
    digest: String,
    version: String,
    replica: String,
    database: DatabaseView,
    default_destination: Option<String>,
    mappings: u64,
    accounts: u64,
    /// Accounts that are admitted only under a lease.
    armed: u64,
    /// The oldest arming.
    armed_since: Option<String>,
    lease_millis: u64,
    nodes: Vec<NodeView>,
    traffic: Traffic,
    operations: Vec<OperationView>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DatabaseView {
    reachable: bool,
    kind: String,
    version: String,
    error: Option<String>,
}

/// One node.
#[derive(Debug, Serialize)]
pub struct NodeView {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) instance: Option<String>,
    pub(crate) version: String,
    connected: bool,
    in_sync: bool,
    diverged: bool,
    draining: bool,
    /// Another process of it has its sockets: it goes when its last session is over.
    retiring: bool,
    /// It said goodbye, and is connected still: it is not registered.
    left: bool,
    /// It is not to serve.
    fenced: bool,
    /// Revisions that are committed and that it has not applied.
    behind: u64,
    pub(crate) sent_revision: u64,
    pub(crate) applied_revision: u64,
    applied_digest: String,
    registered_revision: u64,
    /// None: not since this control plane started.
    seen_millis_ago: Option<u64>,
    pub(crate) sessions: u64,
    /// Logins that wait on a hold.
    pub(crate) waiting: u64,
    listeners: Vec<ListenerView>,
    pub(crate) rejected: Vec<RejectedView>,
}

#[derive(Debug, Serialize)]
struct ListenerView {
    name: String,
    protocol: String,
    binds: Vec<String>,
    tls: String,
}

/// A resource that a node cannot use: it keeps its last good one.
#[derive(Debug, Serialize)]
pub struct RejectedView {
    revision: u64,
    resource: String,
    reason: String,
}

impl From<StatusResponse> for StatusView {
    fn from(status: StatusResponse) -> Self {
        let committed = status.revision;
        Self {
            fleet: identity(&status.fleet),
            revision: committed,
            digest: hex(&status.digest),
            version: status.version,
            replica: status.replica,
            database: status.database.unwrap_or_default().into(),
            default_destination: filled(&status.default_destination),
            mappings: status.mappings,
            accounts: status.accounts,
            armed: status.armed,
            armed_since: i64::try_from(status.armed_since_unix_millis).ok().and_then(time),
            lease_millis: status.lease_millis,
            traffic: Traffic::of(
                status
                    .nodes
                    .iter()
                    .filter_map(|node| Some((node.name.as_str(), node.report.as_ref()?))),
            ),
            nodes: status
                .nodes
                .into_iter()
                .map(|node| NodeView::of(node, committed))
                .collect(),
            operations: status.operations.into_iter().map(OperationView::from).collect(),
            warnings: status.warnings,
        }
    }
}

impl From<Database> for DatabaseView {
    fn from(database: Database) -> Self {
        Self {
            reachable: database.reachable,
            kind: database.kind,
            version: database.version,
            error: filled(&database.error),
        }
    }
}

impl NodeView {
    /// A node, against the revision that is committed.
    #[must_use]
    pub fn of(node: NodeStatus, committed: u64) -> Self {
        let report = node.report.unwrap_or_default();
        Self {
            left: node.left,
            fenced: node.fenced,
            in_sync: node.connected && !node.diverged && node.applied_revision >= committed,
            behind: committed.saturating_sub(node.applied_revision),
            name: node.name,
            site: node.site,
            instance: identity(&node.instance),
            version: node.version,
            connected: node.connected,
            diverged: node.diverged,
            draining: node.draining,
            retiring: report.retiring,
            sent_revision: node.sent_revision,
            applied_revision: node.applied_revision,
            applied_digest: hex(&node.applied_digest),
            registered_revision: node.registered_revision,
            seen_millis_ago: Some(node.seen_millis_ago).filter(|millis| *millis < u64::MAX),
            sessions: report.active.iter().map(|active| active.sessions).sum(),
            waiting: report.waiting,
            listeners: node.listeners.into_iter().map(ListenerView::from).collect(),
            rejected: node.rejected.into_iter().map(RejectedView::from).collect(),
        }
    }

    pub(crate) fn state_words(&self) -> String {
        if self.left {
            return match self.fenced {
                true => "left the fleet, fenced".to_owned(),
                false => "left the fleet".to_owned(),
            };
        }
        let sync = match (self.connected, self.in_sync) {
            (false, _) => match self.seen_millis_ago {
                Some(millis) => format!("not connected, seen {} ago", span(millis)),
                None => "not connected, not yet seen".to_owned(),
            },
            (true, true) => "in sync".to_owned(),
            (true, false) if self.behind > 0 => format!("{} behind", self.behind),
            // It is ahead of the database, or elsewhere: not a number of revisions.
            (true, false) => String::new(),
        };
        let marks = [
            (self.diverged, "diverged"),
            (self.fenced, "fenced"),
            (self.draining, "draining"),
            (self.retiring, "retiring"),
        ];
        let marks = marks
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| word.to_owned());
        let words: Vec<_> = Some(sync)
            .into_iter()
            .filter(|sync| !sync.is_empty())
            .chain(marks)
            .collect();
        words.join(", ")
    }
}

impl From<Listener> for ListenerView {
    fn from(listener: Listener) -> Self {
        Self {
            name: listener.name,
            protocol: listener.protocol,
            binds: listener.binds,
            tls: listener.tls,
        }
    }
}

impl From<Rejected> for RejectedView {
    fn from(rejected: Rejected) -> Self {
        Self {
            revision: rejected.revision,
            resource: rejected.resource,
            reason: rejected.reason,
        }
    }
}

impl RejectedView {
    pub(crate) fn line(&self, node: &str) -> String {
        format!(
            "{node} cannot use {} of revision {} and keeps the last good one: {}",
            self.resource, self.revision, self.reason
        )
    }
}

impl Render for StatusView {
    fn table(&self) -> String {
        let mut sections = vec![self.head(), self.node_grid()];
        sections.extend(self.traffic.sections());
        if !self.operations.is_empty() {
            sections.push(operations_grid(&self.operations).text());
        }
        let warnings: String = self
            .warnings
            .iter()
            .map(|warning| format!("warning: {}\n", printable(warning)))
            .collect();
        sections.push(warnings);
        sections.retain(|section| !section.is_empty());
        sections.join("\n")
    }
}

impl StatusView {
    fn head(&self) -> String {
        let database = match (&self.database.error, self.database.reachable) {
            (None, true) => format!("{} PostgreSQL {}", self.database.kind, self.database.version),
            (Some(error), _) => format!("not reachable: {error}"),
            (None, false) => "not reachable".to_owned(),
        };
        let lines = [
            ("fleet", or_dash(&self.fleet)),
            (
                "control plane",
                format!("{}, version {}", self.replica, self.version),
            ),
            ("database", database),
            ("committed", format!("revision {}", self.revision)),
            (
                "accounts",
                match self.database.reachable {
                    true => format!("{}, mappings {}", self.accounts, self.mappings),
                    // Only the database knows how many accounts there are.
                    false => format!("not known, mappings {}", self.mappings),
                },
            ),
            ("default", or_dash(&self.default_destination)),
        ];
        let armed = (self.armed > 0).then(|| {
            let since = self.armed_since.as_deref().map(to_the_second).unwrap_or_default();
            ("armed", format!("{}, the first since {since}", self.armed))
        });
        lines
            .into_iter()
            .chain(armed)
            .map(|(what, value)| format!("{what:<14} {}\n", printable(&value)))
            .collect()
    }

    fn node_grid(&self) -> String {
        let mut grid = Grid::new([
            "NODE",
            "SITE",
            "STATE",
            "COMMITTED",
            "SENT",
            "APPLIED",
            "SESSIONS",
            "WAITING",
        ])
        .numbers(&[3, 4, 5, 6, 7]);
        for node in &self.nodes {
            grid.row([
                node.name.clone(),
                node.site.clone(),
                node.state_words(),
                self.revision.to_string(),
                node.sent_revision.to_string(),
                node.applied_revision.to_string(),
                node.sessions.to_string(),
                node.waiting.to_string(),
            ]);
        }
        let rejected = self.nodes.iter().flat_map(|node| {
            node.rejected
                .iter()
                .map(|rejected| format!("{}\n", printable(&rejected.line(&node.name))))
        });
        grid.text_or("no node has registered") + &rejected.collect::<String>()
    }
}
