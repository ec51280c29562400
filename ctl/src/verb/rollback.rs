//! `rollback ID`: a cutover the other way (promise F5).

use mailswitch_proto::control::v1::RollbackStartRequest;

use super::Context;
use super::cutover::{HOOKS, HoldArguments, interrupted_at_start};
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, FollowArguments};
use crate::interrupt::Interrupt;
use crate::operation::{Ended, ResultView};

/// `rollback ID`
#[derive(Debug, clap::Args)]
#[command(after_help = HOOKS)]
pub struct RollbackArguments {
    /// Any identifier of the account.
    identifier: String,
    /// Mail that came to the new place since the cutover stays there.
    #[arg(long)]
    leave_new_mail: bool,
    #[command(flatten)]
    under_hold: HoldArguments,
    #[command(flatten)]
    follow: FollowArguments,
    #[command(flatten)]
    change: ChangeArguments,
}

impl RollbackArguments {
    /// Moves the account back.
    ///
    /// # Errors
    /// It is refused, and nothing was changed; or the control plane was lost before it said whether it began.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut interrupt = Interrupt::listen()?;
        let change = self.change.context();
        let commands = self.under_hold.commands();
        let request = RollbackStartRequest {
            change: Some(change.clone()),
            identifier: self.identifier,
            leave_new_mail: self.leave_new_mail,
            has_copy: commands.copy.is_some(),
            has_verify: commands.verify.is_some(),
            drain_timeout_millis: self.under_hold.drain_timeout_millis(),
            max_hold_millis: self.under_hold.max_hold_millis(),
            fenced_is_off: self.under_hold.fenced_is_off,
        };
        let mut connection = context.connect().await?;
        let starting = connection.change(&change, async |mut control| {
            control.rollback_start(request.clone()).await
        });
        let operation = tokio::select! {
            started = starting => started?,
            () = interrupt.heard() => return Err(interrupted_at_start()),
        };
        let (operation, ended) = match change.dry_run {
            true => (operation, Ended::Tried),
            false => {
                let follow = Follow::new(connection, &self.follow).running(commands);
                follow.until_it_ends(operation, &mut interrupt).await
            }
        };
        context.output.print(&ResultView::new(operation, ended))?;
        Ok(ended.exit())
    }
}
