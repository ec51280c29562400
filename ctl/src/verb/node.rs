//! `node list|drain|resume|forget`: the nodes of the fleet; `node fence|unfence` is `fence`.

use std::time::Duration;

use mailswitch_proto::control::v1::{
    NodeDrainRequest, NodeDrainResponse, NodeForgetRequest, NodeSessions, SessionListRequest, StatusRequest,
};
use mailswitch_proto::id::InstanceId;
use serde::Serialize;
use tokio::time::Instant;

use super::Context;
use super::apply::CommittedView;
use super::cutover::duration;
use super::fence::{FenceArguments, UnfenceArguments};
use super::status::NodeView;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, or_dash, printable};

/// Between two looks for the goodbye of a node.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Between two tries to reach a node that has no stream.
const TRY_EVERY: Duration = Duration::from_millis(300);
/// Sessions that an error names.
const NAMED_SESSIONS: u32 = 20;

/// `node …`
#[derive(Debug, clap::Subcommand)]
pub enum NodeVerb {
    /// The nodes, what each was sent, and what it has applied.
    List,
    /// Admit no more sessions on a node, and end those there are at quiet moments.
    Drain(LeavableArguments),
    /// Let a drained node admit sessions again; one that left is registered anew first.
    Resume(DrainArguments),
    /// Tell a node to close all its sessions at once and leave, for good until it is unfenced; one that does not hear it gets no
    /// more leases.
    Fence(FenceArguments),
    /// Let a fenced node serve again: it counts again at once.
    Unfence(UnfenceArguments),
    /// Count a node as gone. Only for one that is stopped for good: no cutover waits for it any more.
    Forget(ForgetArguments),
}

/// `node drain NAME [--leave]`
#[derive(Debug, clap::Args)]
pub struct LeavableArguments {
    #[command(flatten)]
    drain: DrainArguments,
    /// Leave the fleet: when its last session is over, the node says goodbye, and no cutover waits for it any more. It serves
    /// nobody until it is resumed or restarted.
    #[arg(long)]
    leave: bool,
    /// Watch for the goodbye no longer than this; then exit 7, and the node goes on leaving.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s", requires = "leave")]
    wait: Duration,
}

/// `node resume NAME`
#[derive(Debug, clap::Args)]
pub struct DrainArguments {
    /// The node.
    name: String,
    /// Try to reach a node that has no stream to the control plane for this long: it may be between two.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s")]
    reconnect_for: Duration,
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
            Self::Drain(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Resume(arguments) => context
                .output
                .print(&arguments.run(context, Direction::Resume).await?)?,
            Self::Fence(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Unfence(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Forget(arguments) => context.output.print(&arguments.run(context).await?)?,
        }
        Ok(Exit::Done)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Drain,
    Leave,
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
            leave: told == Direction::Leave,
        };
        let mut connection = context.connect().await?;
        let until = Instant::now() + self.reconnect_for;
        let mut said = false;
        loop {
            let answer = connection
                .change(&change, async |mut control| {
                    control.node_drain(request.clone()).await
                })
                .await;
            match answer {
                Ok(NodeDrainResponse { sessions }) => {
                    return Ok(Drained {
                        node: self.name,
                        told,
                        sessions,
                    });
                }
                // It is told again when its next stream stands; told twice, it does it once.
                Err(failure) if failure.passing && Instant::now() + TRY_EVERY < until => {
                    if !said {
                        let seconds = self.reconnect_for.as_secs();
                        eprintln!("{}; waiting up to {seconds} s for it", printable(&failure.what));
                        said = true;
                    }
                    tokio::time::sleep(TRY_EVERY).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl LeavableArguments {
    async fn run(self, context: &Context) -> Result<Drained, Failure> {
        if !self.leave {
            return self.drain.run(context, Direction::Drain).await;
        }
        let node = self.drain.name.clone();
        let only_checked = self.drain.change.dry_run;
        let told = self.drain.run(context, Direction::Leave).await?;
        if !only_checked {
            until_gone(context, &node, self.wait).await?;
        }
        Ok(told)
    }
}

/// The goodbye is a revision of its own. It is looked for in what is registered, on whichever endpoint answers.
pub(super) async fn until_gone(context: &Context, node: &str, wait: Duration) -> Result<(), Failure> {
    let until = Instant::now() + wait;
    loop {
        if let Ok(false) = is_registered(context, node).await {
            return Ok(());
        }
        if Instant::now() + LOOK_EVERY >= until {
            return Err(not_gone(context, node, wait).await);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn is_registered(context: &Context, name: &str) -> Result<bool, Failure> {
    let connection = context.connect().await?;
    let status = connection
        .ask(async |mut control| control.status(StatusRequest {}).await)
        .await?;
    Ok(status.nodes.iter().any(|node| node.name == name && !node.left))
}

/// What is in its way, as far as it says.
async fn not_gone(context: &Context, name: &str, wait: Duration) -> Failure {
    let request = SessionListRequest {
        node: name.to_owned(),
        limit: NAMED_SESSIONS,
        ..SessionListRequest::default()
    };
    let listed = async {
        let connection = context.connect().await?;
        connection
            .ask(async |mut control| control.session_list(request.clone()).await)
            .await
    };
    let left = match listed.await {
        Ok(list) => list.nodes.iter().map(what_is_left).collect(),
        Err(failure) => format!("; what is left on it is not known: {}", failure.what),
    };
    let mut failure = Failure::new(
        Exit::Unproven,
        format!("node {name} has not said goodbye within {} s{left}", wait.as_secs()),
    )
    .remedy(format!(
        "it still counts, and goes on leaving: repeat the command to watch, end its sessions with `mailswitchctl session kick \
         --session ID`, or take it back with `mailswitchctl node resume {name}`"
    ));
    failure.nodes = vec![name.to_owned()];
    failure
}

fn what_is_left(listed: &NodeSessions) -> String {
    let Some(page) = listed.page.as_ref().filter(|_| listed.error.is_empty()) else {
        return format!("; what is left on it is not known: {}", listed.error);
    };
    if page.sessions.is_empty() {
        return "; it has no session left".to_owned();
    }
    let named: Vec<_> = page
        .sessions
        .iter()
        .map(|session| {
            format!(
                "{} ({} on {}, {})",
                session.id, session.protocol, session.destination, session.state
            )
        })
        .collect();
    let left = match page.total {
        1 => "1 session is left".to_owned(),
        many => format!("{many} sessions are left"),
    };
    format!("; {left}: {}", named.join(", "))
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
            Direction::Leave => {
                format!("{node} has left the fleet: no session is on it, and no cutover waits for it\n")
            }
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
