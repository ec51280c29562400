//! `node list|drain|resume|forget`: the nodes of the fleet.

use mailswitch_proto::control::v1::{NodeDrainRequest, NodeDrainResponse, NodeForgetRequest, StatusRequest};
use mailswitch_proto::id::InstanceId;
use serde::Serialize;

use super::Context;
use super::apply::CommittedView;
use super::status::NodeView;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, or_dash, printable};

/// `node …`
#[derive(Debug, clap::Subcommand)]
pub enum NodeVerb {
    /// The nodes, what each was sent, and what it has applied.
    List,
    /// Admit no more sessions on a node, and end those there are at quiet moments.
    Drain(DrainArguments),
    /// Let a drained node admit sessions again.
    Resume(DrainArguments),
    /// Count a node as gone. Only for one that is stopped for good: no cutover waits for it any more.
    Forget(ForgetArguments),
}

/// `node drain NAME`, `node resume NAME`
#[derive(Debug, clap::Args)]
pub struct DrainArguments {
    /// The node.
    name: String,
    #[command(flatten)]
    change: ChangeArguments,
}

/// `node forget NAME --i-stopped-it`
#[derive(Debug, clap::Args)]
pub struct ForgetArguments {
    /// The node.
    name: String,
    /// Your word, which is recorded: its process is stopped and will not start again with its old state. If it still
    /// runs, an account may have sessions on two servers.
    #[arg(long, required = true)]
    i_stopped_it: bool,
    /// Only this instance of it, when there are two.
    #[arg(long, value_name = "UUID")]
    instance: Option<InstanceId>,
    #[command(flatten)]
    change: ChangeArguments,
}

impl NodeVerb {
    /// Does it.
    ///
    /// # Errors
    /// It is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List => {
                let connection = context.connect().await?;
                let status = connection
                    .ask(async |mut control| control.status(StatusRequest {}).await)
                    .await?;
                let committed = status.revision;
                let nodes = status
                    .nodes
                    .into_iter()
                    .map(|node| NodeView::of(node, committed))
                    .collect();
                context.output.print(&Nodes { nodes })?;
            }
            Self::Drain(arguments) => context
                .output
                .print(&arguments.run(context, Direction::Drain).await?)?,
            Self::Resume(arguments) => context
                .output
                .print(&arguments.run(context, Direction::Resume).await?)?,
            Self::Forget(arguments) => context.output.print(&arguments.run(context).await?)?,
        }
        Ok(Exit::Done)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Drain,
    Resume,
}

#[derive(Debug, Serialize)]
struct Drained {
    node: String,
    told: Direction,
    /// That it had when it was told.
    sessions: u64,
}

impl DrainArguments {
    async fn run(self, context: &Context, told: Direction) -> Result<Drained, Failure> {
        let change = self.change.context();
        let request = NodeDrainRequest {
            change: Some(change.clone()),
            node: self.name.clone(),
            resume: told == Direction::Resume,
        };
        let mut connection = context.connect().await?;
        let NodeDrainResponse { sessions } = connection
            .change(&change, async |mut control| {
                control.node_drain(request.clone()).await
            })
            .await?;
        Ok(Drained {
            node: self.name,
            told,
            sessions,
        })
    }
}

impl ForgetArguments {
    async fn run(self, context: &Context) -> Result<CommittedView, Failure> {
        let change = self.change.context();
        let request = NodeForgetRequest {
            change: Some(change.clone()),
            node: self.name,
            instance: self.instance.map(InstanceId::to_vec).unwrap_or_default(),
            stopped: self.i_stopped_it,
        };
        let mut connection = context.connect().await?;
        connection
            .change(&change, async |mut control| {
                control.node_forget(request.clone()).await
            })
            .await
            .map(Into::into)
    }
}

impl Render for Drained {
    fn table(&self) -> String {
        let node = printable(&self.node);
        match self.told {
            Direction::Drain => format!("{node} admits no more sessions; {} are ending\n", self.sessions),
            Direction::Resume => format!("{node} admits sessions again; it has {} open\n", self.sessions),
        }
    }
}

/// The nodes.
#[derive(Debug, Serialize)]
pub struct Nodes {
    /// In the order in which they came.
    pub nodes: Vec<NodeView>,
}

impl Render for Nodes {
    fn table(&self) -> String {
        let headings = [
            "NODE", "SITE", "STATE", "SENT", "APPLIED", "SESSIONS", "WAITING", "VERSION", "INSTANCE",
        ];
        let mut grid = Grid::new(headings).numbers(&[3, 4, 5, 6]);
        for node in &self.nodes {
            grid.row([
                node.name.clone(),
                node.site.clone(),
                node.state_words(),
                node.sent_revision.to_string(),
                node.applied_revision.to_string(),
                node.sessions.to_string(),
                node.waiting.to_string(),
                node.version.clone(),
                or_dash(&node.instance),
            ]);
        }
        let mut text = grid.text_or("no node has registered");
        for node in &self.nodes {
            for rejected in &node.rejected {
                text.push_str(&format!("{}\n", printable(&rejected.line(&node.name))));
            }
        }
        text
    }
}
