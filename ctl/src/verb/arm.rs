//! `account arm` and `account disarm`: accounts whose turn is near are admitted only under a lease (promise L1), so that a
//! node which is cut off delays their cutover by one lease instead of preventing it.

use std::path::PathBuf;

use mailswitch_proto::control::v1::{AccountArmRequest, AccountArmResponse};
use serde::Serialize;

use super::Context;
use super::apply::CommittedView;
use crate::change::ChangeArguments;
use crate::exit::Failure;
use crate::output::{Render, printable, span};
use crate::rows::{self, ROWS_A_MESSAGE};

/// `account arm ACCOUNT…`
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(true))]
pub struct ArmArguments {
    /// Any identifier of each account.
    #[arg(group = "whom", value_name = "ACCOUNT")]
    identifiers: Vec<String>,
    /// Also those of this file, one identifier a line; `#` begins a comment; `-` is stdin.
    #[arg(long, group = "whom", value_name = "FILE")]
    accounts: Option<PathBuf>,
    #[command(flatten)]
    change: ChangeArguments,
}

/// Which of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// `arm`.
    #[serde(rename = "armed")]
    Arm,
    /// `disarm`.
    #[serde(rename = "disarmed")]
    Disarm,
}

impl ArmArguments {
    pub(super) async fn run(self, context: &Context, way: Way) -> Result<ArmedAccounts, Failure> {
        let mut identifiers = self.identifiers;
        if let Some(file) = &self.accounts {
            let text = rows::text_of(file)?;
            // A list for `account import` is taken as it is: the name stands first.
            let named = text
                .lines()
                .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
                .filter_map(|line| line.split('\t').next());
            identifiers.extend(named.map(|name| name.trim().to_owned()));
        }
        if identifiers.is_empty() {
            return Err(Failure::usage("no account is named").remedy("name one, or a file that names some"));
        }
        let change = self.change.context();
        let first = AccountArmRequest {
            change: Some(change.clone()),
            identifiers: Vec::new(),
            disarm: way == Way::Disarm,
        };
        let rest = identifiers.chunks(ROWS_A_MESSAGE).map(|some| AccountArmRequest {
            identifiers: some.to_vec(),
            ..AccountArmRequest::default()
        });
        let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
        let mut connection = context.connect().await?;
        let answer = connection
            .change(&change, async |mut control| {
                control.account_arm(tokio_stream::iter(messages.clone())).await
            })
            .await?;
        Ok(ArmedAccounts::of(answer, way))
    }
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct ArmedAccounts {
    done: Way,
    changed: u64,
    unchanged: u64,
    lease_millis: u64,
    /// Nodes that have not acknowledged all of it.
    unacknowledged: Vec<String>,
    #[serde(flatten)]
    committed: CommittedView,
}

impl ArmedAccounts {
    /// As it is shown.
    #[must_use]
    pub fn of(answer: AccountArmResponse, done: Way) -> Self {
        Self {
            done,
            changed: answer.changed,
            unchanged: answer.unchanged,
            lease_millis: answer.lease_millis,
            unacknowledged: answer.unacknowledged,
            committed: answer.committed.unwrap_or_default().into(),
        }
    }
}

impl Render for ArmedAccounts {
    fn table(&self) -> String {
        let word = match self.done {
            Way::Arm => "armed",
            Way::Disarm => "disarmed",
        };
        let mut text = format!("{} {word}, {} were so already\n", self.changed, self.unchanged);
        if self.done == Way::Arm {
            let lease = span(self.lease_millis);
            text.push_str(&format!(
                "until they are disarmed, a node that loses the control plane ends their sessions after {lease}, and their \
                 logins there wait\n"
            ));
        }
        if !self.unacknowledged.is_empty() {
            text.push_str(&format!(
                "not acknowledged by {}: a cutover cannot go past them if they stay silent; `mailswitchctl account list --armed` \
                 shows it\n",
                printable(&self.unacknowledged.join(", "))
            ));
        }
        text + &self.committed.table()
    }
}
