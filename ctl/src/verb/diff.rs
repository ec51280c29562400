//! `diff -f FILE`: what `apply` would change; exit 2 when it would change something.

use mailswitch_proto::control::v1::{DiffRequest, DiffResponse, Difference};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure, finding_line};
use crate::file::FileArgument;
use crate::output::{Render, filled, printable};
use crate::rows::text_of;

/// `diff -f FILE`
#[derive(Debug, clap::Args)]
pub struct DiffArguments {
    #[command(flatten)]
    file: FileArgument,
}

/// One key that differs.
#[derive(Debug, Serialize)]
pub struct DifferenceView {
    key: String,
    /// As TOML; none: absent.
    before: Option<String>,
    after: Option<String>,
}

/// Everything that differs.
#[derive(Debug, Serialize)]
pub struct DiffView {
    differences: Vec<DifferenceView>,
    warnings: Vec<String>,
}

impl DiffArguments {
    /// Prints the differences.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = DiffRequest {
            toml: text_of(self.file.path())?,
            file: self.file.path().display().to_string(),
        };
        let connection = context.connect().await?;
        let view = DiffView::from(
            connection
                .ask(async |mut control| control.diff(request).await)
                .await?,
        );
        context.output.print(&view)?;
        Ok(if view.differences.is_empty() {
            Exit::Done
        } else {
            Exit::Differs
        })
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        Self {
            key: difference.key,
            before: filled(&difference.before),
            after: filled(&difference.after),
        }
    }
}

impl From<DiffResponse> for DiffView {
    fn from(response: DiffResponse) -> Self {
        Self {
            differences: response.differences.into_iter().map(Into::into).collect(),
            warnings: response.warnings.iter().map(finding_line).collect(),
        }
    }
}

impl DifferenceView {
    /// As a diff shows it.
    #[must_use]
    pub fn lines(&self) -> String {
        let side = |sign, value: &Option<String>| match value {
            Some(value) => format!("{sign} {} = {}\n", printable(&self.key), printable(value)),
            None => String::new(),
        };
        side('-', &self.before) + &side('+', &self.after)
    }
}

impl Render for DiffView {
    fn table(&self) -> String {
        let mut text: String = self
            .warnings
            .iter()
            .map(|warning| format!("{warning}\n"))
            .collect();
        if self.differences.is_empty() {
            return text + "no difference\n";
        }
        text.extend(self.differences.iter().map(DifferenceView::lines));
        text
    }
}
