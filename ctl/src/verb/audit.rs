//! `audit`: who changed what, when and why. Newest first.

use futures::TryStreamExt as _;
use mailswitch_proto::control::v1::{AuditEntry, AuditRequest};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, filled, or_dash, time};

/// Of a change in the table.
const LONGEST_CHANGE: usize = 60;

/// `audit`
#[derive(Debug, clap::Args)]
pub struct AuditArguments {
    /// Only what concerns this identifier.
    #[arg(long, value_name = "IDENTIFIER")]
    identifier: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct EntryView {
    id: u64,
    revision: Option<u64>,
    at: Option<String>,
    who: String,
    from: Option<String>,
    verb: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
    reason: Option<String>,
    trace: Option<String>,
    /// It was done without the proof of a cutover.
    unproven: bool,
}

/// Some entries.
#[derive(Debug, Serialize)]
pub struct AuditView {
    /// Newest first.
    pub entries: Vec<EntryView>,
}

impl AuditArguments {
    /// Prints it.
    ///
    /// # Errors
    /// The control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = AuditRequest {
            identifier: self.identifier.unwrap_or_default(),
            limit: self.limit,
        };
        let connection = context.connect().await?;
        let pages = connection
            .ask(async |mut control| control.audit(request).await)
            .await?;
        let entries = pages
            .map_ok(|page| page.entries.into_iter().map(EntryView::from))
            .try_fold(Vec::new(), async |mut entries, page| {
                entries.extend(page);
                Ok(entries)
            })
            .await;
        let entries = entries.map_err(|status| connection.refused(&status))?;
        context.output.print(&AuditView { entries })?;
        Ok(Exit::Done)
    }
}

impl From<AuditEntry> for EntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            revision: (entry.revision > 0).then_some(entry.revision),
            at: time(entry.at_unix_millis),
            who: entry.who,
            from: filled(&entry.from),
            verb: entry.verb,
            subject: entry.subject,
            before: filled(&entry.before),
            after: filled(&entry.after),
            reason: filled(&entry.reason),
            trace: filled(&entry.trace),
            unproven: entry.unproven,
        }
    }
}

/// A table of the configuration would fill the screen; the JSON has it whole.
fn short(change: &str) -> String {
    match change.char_indices().nth(LONGEST_CHANGE) {
        Some((end, _)) => format!("{}…", &change[..end]),
        None => change.to_owned(),
    }
}

impl Render for AuditView {
    fn table(&self) -> String {
        let mut grid =
            Grid::new(["AT", "REVISION", "WHO", "VERB", "SUBJECT", "CHANGE", "REASON"]).numbers(&[1]);
        for entry in &self.entries {
            let change = match (&entry.before, &entry.after) {
                (None, None) => "-".to_owned(),
                (before, after) => format!("{} -> {}", or_dash(before), or_dash(after)),
            };
            let change = if entry.unproven {
                format!("{change} (unproven)")
            } else {
                change
            };
            grid.row([
                or_dash(&entry.at),
                entry
                    .revision
                    .map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
                entry.who.clone(),
                entry.verb.clone(),
                entry.subject.clone(),
                short(&change),
                or_dash(&entry.reason),
            ]);
        }
        grid.text_or("there are no entries")
    }
}
