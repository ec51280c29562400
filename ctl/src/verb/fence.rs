//! `node fence` and `node unfence` (promise N3): a node that is not to serve any more is told so. Only its own goodbye says
//! that it does not; one that has not heard it still counts, and the exit code says so.

use std::time::Duration;

use mailswitch_proto::control::v1::{NodeFenceRequest, NodeFenceResponse};
use serde::Serialize;

use super::Context;
use super::apply::CommittedView;
use super::cutover::duration;
use super::node::until_gone;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};

/// `node fence NAME`
#[derive(Debug, clap::Args)]
pub struct FenceArguments {
    /// The node.
    name: String,
    /// Watch for its goodbye no longer than this; then exit 7, and it stays fenced.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    wait: Duration,
    #[command(flatten)]
    change: ChangeArguments,
}

/// `node unfence NAME`
#[derive(Debug, clap::Args)]
pub struct UnfenceArguments {
    /// The node.
    name: String,
    #[command(flatten)]
    change: ChangeArguments,
}

/// What became of it.
#[derive(Debug, Serialize)]
pub struct Fenced {
    node: String,
    state: State,
    #[serde(flatten)]
    committed: CommittedView,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It said goodbye.
    Fenced,
    /// It was only tried.
    Tried,
    /// It was told to serve again.
    Unfenced,
    /// It serves again when it connects.
    Absent,
}

impl FenceArguments {
    pub(super) async fn run(self, context: &Context) -> Result<Fenced, Failure> {
        let answer = ask(context, &self.name, &self.change, false).await?;
        let state = match self.change.dry_run {
            true => State::Tried,
            false => {
                heard(&self.name, &answer)?;
                until_gone(context, &self.name, self.wait).await?;
                State::Fenced
            }
        };
        Ok(Fenced {
            node: self.name,
            state,
            committed: answer.committed.unwrap_or_default().into(),
        })
    }
}

impl UnfenceArguments {
    pub(super) async fn run(self, context: &Context) -> Result<Fenced, Failure> {
        let answer = ask(context, &self.name, &self.change, true).await?;
        let state = match (self.change.dry_run, answer.told) {
            (true, _) => State::Tried,
            (false, 0) => State::Absent,
            (false, _) => State::Unfenced,
        };
        Ok(Fenced {
            node: self.name,
            state,
            committed: answer.committed.unwrap_or_default().into(),
        })
    }
}

async fn ask(
    context: &Context,
    node: &str,
    change: &ChangeArguments,
    unfence: bool,
) -> Result<NodeFenceResponse, Failure> {
    let change = change.context();
    let request = NodeFenceRequest {
        change: Some(change.clone()),
        node: node.to_owned(),
        unfence,
    };
    let mut connection = context.connect().await?;
    connection
        .change(&change, async |mut control| {
            control.node_fence(request.clone()).await
        })
        .await
}

/// It is fenced all the same.
fn heard(name: &str, answer: &NodeFenceResponse) -> Result<(), Failure> {
    let Some(silent) = answer.untold.first() else {
        return Ok(());
    };
    let mut failure = Failure::new(
        Exit::Unproven,
        format!(
            "node {name} is fenced, and has not heard it ({}): it may still serve",
            silent.error
        ),
    )
    .remedy(format!(
        "it gets no more leases, and is told when it connects; until then it counts. Accounts that it acknowledged as armed can be \
         moved after a lease; others with `mailswitchctl cutover --fenced-is-off`, your word that its machine is off. \
         `mailswitchctl node unfence {name}` takes the fence back"
    ));
    failure.nodes = vec![name.to_owned()];
    Err(failure)
}

impl Render for Fenced {
    fn table(&self) -> String {
        let node = printable(&self.node);
        let line = match self.state {
            State::Fenced => {
                format!("{node} is fenced, and has left: no session is on it, and no cutover waits for it\n")
            }
            State::Tried => return self.committed.table(),
            State::Unfenced => {
                format!(
                    "{node} is no longer fenced: it was told to serve again, and does when it has synced\n"
                )
            }
            State::Absent => format!(
                "{node} is no longer fenced: it is not connected; if it has left, `mailswitchctl node resume {node}` or a \
                 restart brings it back\n"
            ),
        };
        let notes = self.committed.notes.iter();
        line + &notes
            .map(|note| format!("note: {}\n", printable(note)))
            .collect::<String>()
    }
}
