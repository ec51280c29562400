//! `operation list|watch|abort`: operations outlive the command that started them; here they are joined again.

use mailswitch_proto::control::v1::{OperationAbortRequest, OperationListRequest, OperationRef, Outcome};
use mailswitch_proto::id::OperationId;
use serde::Serialize;

use super::Context;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, FollowArguments};
use crate::interrupt::Interrupt;
use crate::operation::{Ended, OperationView, ResultView, operations_grid};
use crate::output::Render;

/// `operation …`
#[derive(Debug, clap::Subcommand)]
pub enum OperationVerb {
    /// Those that run; with --ended also those that ended.
    List(ListArguments),
    /// Watch one to its end. Exits as the cutover would have.
    Watch(WatchArguments),
    /// End one before its flip: the account is released to the source. Exit 3 when it was done already.
    Abort(AbortArguments),
}

/// `operation list`
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Also those that ended, newest first.
    #[arg(long)]
    ended: bool,
    /// Only those of this identifier's account.
    #[arg(long, value_name = "IDENTIFIER")]
    identifier: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// `operation watch ID`
#[derive(Debug, clap::Args)]
pub struct WatchArguments {
    /// The operation's id.
    #[arg(value_parser = operation_id)]
    id: OperationId,
    #[command(flatten)]
    follow: FollowArguments,
}

/// `operation abort ID`
#[derive(Debug, clap::Args)]
pub struct AbortArguments {
    /// The operation's id.
    #[arg(value_parser = operation_id)]
    id: OperationId,
    #[command(flatten)]
    follow: FollowArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Serialize)]
struct Operations {
    operations: Vec<OperationView>,
}

impl OperationVerb {
    /// Does it.
    ///
    /// # Errors
    /// There is no such operation, it is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List(arguments) => arguments.run(context).await,
            Self::Watch(arguments) => arguments.run(context).await,
            Self::Abort(arguments) => arguments.run(context).await,
        }
    }
}

impl ListArguments {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = OperationListRequest {
            ended: self.ended,
            identifier: self.identifier.unwrap_or_default(),
            limit: self.limit,
        };
        let connection = context.connect().await?;
        let answer = connection
            .ask(async |mut control| control.operation_list(request).await)
            .await?;
        let operations = answer.operations.into_iter().map(OperationView::from).collect();
        context.output.print(&Operations { operations })?;
        Ok(Exit::Done)
    }
}

impl WatchArguments {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut interrupt = Interrupt::listen()?;
        let connection = context.connect().await?;
        let wanted = OperationRef { id: self.id.to_vec() };
        let operation = connection
            .ask(async |mut control| control.operation_get(wanted).await)
            .await?;
        let (operation, ended) = Follow::new(connection, &self.follow)
            .until_it_ends(operation, &mut interrupt)
            .await;
        context.output.print(&ResultView::new(operation, ended))?;
        Ok(ended.exit())
    }
}

impl AbortArguments {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut interrupt = Interrupt::listen()?;
        let change = self.change.context();
        let request = OperationAbortRequest {
            change: Some(change.clone()),
            id: self.id.to_vec(),
        };
        let mut connection = context.connect().await?;
        let operation = connection
            .change(&change, async |mut control| {
                control.operation_abort(request.clone()).await
            })
            .await?;
        let (operation, ended) = match change.dry_run {
            true => (operation, Ended::Tried),
            false => {
                Follow::new(connection, &self.follow)
                    .until_it_ends(operation, &mut interrupt)
                    .await
            }
        };
        context.output.print(&ResultView::new(operation, ended))?;
        Ok(match ended {
            // Released is what was asked for, and done is what can no longer be prevented.
            Ended::Outcome(Outcome::Released | Outcome::Unproven) => Exit::Done,
            Ended::Outcome(Outcome::Done) => Exit::Precondition,
            other => other.exit(),
        })
    }
}

impl Render for Operations {
    fn table(&self) -> String {
        operations_grid(&self.operations).text_or("there are no such operations")
    }
}

/// An id as `operation list` shows it.
fn operation_id(text: &str) -> Result<OperationId, String> {
    text.parse().map_err(|_| {
        "it is not an operation's id; `mailswitchctl operation list --ended` shows them".to_owned()
    })
}
