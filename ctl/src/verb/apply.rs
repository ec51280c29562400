//! `apply -f FILE`: makes the fleet's configuration what the file says.

use mailswitch_proto::control::v1::{ApplyRequest, ApplyResponse, Committed};
use serde::Serialize;

use super::Context;
use super::diff::DifferenceView;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure, finding_line};
use crate::file::FileArgument;
use crate::output::{Render, hex, printable};
use crate::rows::text_of;

/// `apply -f FILE`
#[derive(Debug, clap::Args)]
pub struct ApplyArguments {
    #[command(flatten)]
    file: FileArgument,
    /// Also when it moves identifiers that have sessions or an account, without the proof of a cutover.
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

/// A change that was made.
#[derive(Debug, Serialize)]
pub struct CommittedView {
    /// None: nothing changed, or it was only tried.
    revision: Option<u64>,
    digest: Option<String>,
    pub(super) notes: Vec<String>,
}

/// What `apply` did.
#[derive(Debug, Serialize)]
pub struct AppliedView {
    #[serde(flatten)]
    committed: CommittedView,
    differences: Vec<DifferenceView>,
    warnings: Vec<String>,
}

impl ApplyArguments {
    /// Sends the file, and prints what changed.
    ///
    /// # Errors
    /// It is refused, with everything that is wrong in it.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let toml = text_of(self.file.path())?;
        let request = ApplyRequest {
            change: Some(self.change.context()),
            toml,
            file: self.file.path().display().to_string(),
            unproven: self.unproven,
        };
        let mut connection = context.connect().await?;
        let change = request.change.clone().unwrap_or_default();
        let applied = connection
            .change(&change, async |mut control| control.apply(request.clone()).await)
            .await?;
        context.output.print(&AppliedView::from(applied))?;
        Ok(Exit::Done)
    }
}

impl From<Committed> for CommittedView {
    fn from(committed: Committed) -> Self {
        Self {
            revision: (committed.revision > 0).then_some(committed.revision),
            digest: (!committed.digest.is_empty()).then(|| hex(&committed.digest)),
            notes: committed.notes,
        }
    }
}

impl From<ApplyResponse> for AppliedView {
    fn from(response: ApplyResponse) -> Self {
        Self {
            committed: response.committed.unwrap_or_default().into(),
            differences: response.differences.into_iter().map(Into::into).collect(),
            warnings: response.warnings.iter().map(finding_line).collect(),
        }
    }
}

impl Render for CommittedView {
    fn table(&self) -> String {
        let mut text: String = self
            .notes
            .iter()
            .map(|note| format!("note: {}\n", printable(note)))
            .collect();
        match self.revision {
            Some(revision) => text.push_str(&format!("revision {revision}\n")),
            None => text.push_str("nothing changed\n"),
        }
        text
    }
}

impl Render for AppliedView {
    fn table(&self) -> String {
        let mut text: String = self
            .warnings
            .iter()
            .map(|warning| format!("{warning}\n"))
            .collect();
        text.extend(self.differences.iter().map(DifferenceView::lines));
        text + &self.committed.table()
    }
}
