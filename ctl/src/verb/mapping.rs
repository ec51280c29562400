//! `mapping …`: which identifier or domain goes where.

use std::path::PathBuf;

use futures::TryStreamExt as _;
use mailswitch_proto::control::v1::{
    Mapping, MappingGetRequest, MappingGetResponse, MappingImportRequest, MappingListRequest,
    MappingSetRequest, MappingUnsetRequest,
};
use serde::Serialize;

use super::Context;
use super::apply::CommittedView;
use super::resolve::rule_words;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, data, filled, identity, or_dash, printable};
use crate::rows::{self, Imported, ROWS_A_MESSAGE, Wrong};

/// `mapping …`
#[derive(Debug, clap::Subcommand)]
pub enum MappingVerb {
    /// Where an identifier goes, and by which rule.
    Get {
        /// The identifier, or @domain.
        identifier: String,
    },
    /// Send an identifier or a domain to a destination. For an account use `cutover`.
    Set(SetArguments),
    /// Let an identifier follow its domain, or a domain the default destination.
    Unset(UnsetArguments),
    /// All mappings.
    List(ListArguments),
    /// Set many mappings in one revision, from lines `identifier<TAB>destination`.
    Import(ImportArguments),
    /// All mappings as lines for `mapping import`.
    Export(ListArguments),
}

/// `mapping set`
#[derive(Debug, clap::Args)]
pub struct SetArguments {
    /// The identifier, or @domain.
    identifier: String,
    /// Where to.
    destination: String,
    /// Also when it has sessions or an account, without the proof of a cutover.
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

/// `mapping unset`
#[derive(Debug, clap::Args)]
pub struct UnsetArguments {
    /// The identifier, or @domain.
    identifier: String,
    /// Also when it has sessions or an account, without the proof of a cutover.
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

/// `mapping list`, `mapping export`
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Only those that go there.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only those of this domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
}

/// `mapping import`
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// Lines `identifier<TAB>destination`; `#` begins a comment; `-` is stdin.
    file: PathBuf,
    /// Also for those that have sessions or an account, without the proof of a cutover.
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

impl MappingVerb {
    /// Does it.
    ///
    /// # Errors
    /// It is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Get { identifier } => {
                let request = MappingGetRequest { identifier };
                let connection = context.connect().await?;
                let found = connection
                    .ask(async |mut control| control.mapping_get(request).await)
                    .await?;
                context.output.print(&MappingView::from(found))?;
            }
            Self::Set(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Unset(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::List(arguments) => {
                let mappings = arguments.all(context).await?;
                context.output.print(&Mappings { mappings })?;
            }
            Self::Import(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Export(arguments) => {
                let mappings = arguments.all(context).await?;
                let lines: String = mappings
                    .iter()
                    .map(|row| format!("{}\t{}\n", row.identifier, row.destination))
                    .collect();
                data(lines.as_bytes())?;
            }
        }
        Ok(Exit::Done)
    }
}

impl SetArguments {
    pub(crate) fn parts(&self) -> (&str, &str, &ChangeArguments) {
        (&self.identifier, &self.destination, &self.change)
    }

    async fn run(self, context: &Context) -> Result<CommittedView, Failure> {
        let change = self.change.context();
        let request = MappingSetRequest {
            change: Some(change.clone()),
            identifier: self.identifier,
            destination: self.destination,
            unproven: self.unproven,
        };
        let mut connection = context.connect().await?;
        connection
            .change(&change, async |mut control| {
                control.mapping_set(request.clone()).await
            })
            .await
            .map(Into::into)
    }
}

impl UnsetArguments {
    pub(crate) fn parts(&self) -> (&str, &ChangeArguments) {
        (&self.identifier, &self.change)
    }

    async fn run(self, context: &Context) -> Result<CommittedView, Failure> {
        let change = self.change.context();
        let request = MappingUnsetRequest {
            change: Some(change.clone()),
            identifier: self.identifier,
            unproven: self.unproven,
        };
        let mut connection = context.connect().await?;
        connection
            .change(&change, async |mut control| {
                control.mapping_unset(request.clone()).await
            })
            .await
            .map(Into::into)
    }
}

impl ListArguments {
    async fn all(self, context: &Context) -> Result<Vec<Row>, Failure> {
        let request = MappingListRequest {
            destination: self.destination.unwrap_or_default(),
            domain: self.domain.unwrap_or_default(),
        };
        let connection = context.connect().await?;
        let pages = connection
            .ask(async |mut control| control.mapping_list(request).await)
            .await?;
        let rows = pages
            .map_ok(|page| page.mappings.into_iter().map(Row::from))
            .try_fold(Vec::new(), async |mut rows, page| {
                rows.extend(page);
                Ok(rows)
            })
            .await;
        rows.map_err(|status| connection.refused(&status))
    }
}

impl ImportArguments {
    async fn run(self, context: &Context) -> Result<Imported, Failure> {
        let text = rows::text_of(&self.file)?;
        let parsed = rows::parse(&text, &self.file, parse_mapping);
        let change = parsed.change(self.change.context());
        let first = MappingImportRequest {
            change: Some(change.clone()),
            unproven: self.unproven,
            mappings: Vec::new(),
        };
        let rest = parsed
            .rows
            .chunks(ROWS_A_MESSAGE)
            .map(|mappings| MappingImportRequest {
                change: None,
                unproven: false,
                mappings: mappings.to_vec(),
            });
        let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
        let answer = async {
            let mut connection = context.connect().await?;
            connection
                .change(&change, async |mut control| {
                    control.mapping_import(tokio_stream::iter(messages.clone())).await
                })
                .await
        };
        let answer = answer.await;
        parsed.conclude(answer)
    }
}

/// `identifier<TAB>destination`, or spaces between them.
fn parse_mapping(line: &str) -> Result<Mapping, Wrong> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let wrong = |message: String| Wrong {
        value: format!("{:?}", line.trim()),
        message,
        remedy: "write identifier<TAB>destination".to_owned(),
    };
    match fields.as_slice() {
        [identifier, destination] => Ok(Mapping {
            identifier: (*identifier).to_owned(),
            destination: (*destination).to_owned(),
        }),
        [_] => Err(wrong("there is one field".to_owned())),
        _ => Err(wrong(format!("there are {} fields", fields.len()))),
    }
}

/// One mapping.
#[derive(Debug, Serialize)]
pub struct Row {
    identifier: String,
    destination: String,
}

impl From<Mapping> for Row {
    fn from(mapping: Mapping) -> Self {
        Self {
            identifier: mapping.identifier,
            destination: mapping.destination,
        }
    }
}

#[derive(Debug, Serialize)]
struct Mappings {
    mappings: Vec<Row>,
}

impl Render for Mappings {
    fn table(&self) -> String {
        let mut grid = Grid::new(["IDENTIFIER", "DESTINATION"]);
        for row in &self.mappings {
            grid.row([row.identifier.clone(), row.destination.clone()]);
        }
        grid.text_or("there are no such mappings: identifiers without one go to the default destination")
    }
}

/// Where an identifier goes.
#[derive(Debug, Serialize)]
pub struct MappingView {
    identifier: String,
    destination: Option<String>,
    rule: &'static str,
    account: Option<String>,
    revision: u64,
    hold: Option<String>,
}

impl From<MappingGetResponse> for MappingView {
    fn from(found: MappingGetResponse) -> Self {
        Self {
            rule: rule_words(found.rule()),
            identifier: found.identifier,
            destination: filled(&found.destination),
            account: filled(&found.account),
            revision: found.revision,
            hold: identity(&found.hold),
        }
    }
}

impl Render for MappingView {
    fn table(&self) -> String {
        let mut grid = Grid::new(["IDENTIFIER", "DESTINATION", "RULE", "ACCOUNT", "REVISION"]).numbers(&[4]);
        grid.row([
            self.identifier.clone(),
            or_dash(&self.destination),
            self.rule.to_owned(),
            or_dash(&self.account),
            self.revision.to_string(),
        ]);
        let hold = self
            .hold
            .as_ref()
            .map(|hold| format!("held: {}\n", printable(hold)))
            .unwrap_or_default();
        grid.text() + &hold
    }
}
