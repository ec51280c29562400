//! `destination reset NAME`: closes the breakers of a destination, on every node.

use mailswitch_proto::control::v1::{BreakerResetRequest, NodeKicked};
use serde::Serialize;

use super::Context;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, filled};

/// `destination …`
#[derive(Debug, clap::Subcommand)]
pub enum DestinationVerb {
    /// Close its circuit breakers on every node: it is tried again at once. Exit 7 when a node did not hear it.
    Reset(ResetArguments),
}

/// `destination reset NAME`
#[derive(Debug, clap::Args)]
pub struct ResetArguments {
    /// The destination.
    destination: String,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Serialize)]
struct NodeReset {
    node: String,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reset {
    /// No breaker was closed.
    dry_run: bool,
    nodes: Vec<NodeReset>,
}

impl ResetArguments {
    pub(crate) fn destination(&self) -> &str {
        &self.destination
    }

    pub(crate) const fn is_dry_run(&self) -> bool {
        self.change.dry_run
    }
}

impl DestinationVerb {
    /// Does it.
    ///
    /// # Errors
    /// It is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self::Reset(arguments) = self;
        let change = arguments.change.context();
        let request = BreakerResetRequest {
            change: Some(change.clone()),
            destination: arguments.destination,
        };
        let mut connection = context.connect().await?;
        let answer = connection
            .change(&change, async |mut control| {
                control.breaker_reset(request.clone()).await
            })
            .await?;
        let nodes = answer.nodes.into_iter().map(NodeReset::from).collect();
        let reset = Reset {
            dry_run: change.dry_run,
            nodes,
        };
        context.output.print(&reset)?;
        let all = reset.nodes.iter().all(|node| node.error.is_none());
        Ok(if all { Exit::Done } else { Exit::Unproven })
    }
}

impl From<NodeKicked> for NodeReset {
    fn from(node: NodeKicked) -> Self {
        Self {
            node: node.node,
            error: filled(&node.error),
        }
    }
}

impl Render for Reset {
    fn table(&self) -> String {
        let mut grid = Grid::new(["NODE", "BREAKERS"]);
        for node in &self.nodes {
            let state = match &node.error {
                None if self.dry_run => "would be closed".to_owned(),
                None => "closed".to_owned(),
                Some(error) => format!("not reached: {error}"),
            };
            grid.row([node.node.clone(), state]);
        }
        grid.text_or("there are no nodes")
    }
}
