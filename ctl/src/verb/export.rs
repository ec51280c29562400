//! `export`: the fleet's configuration as a file that `apply` takes.

use mailswitch_proto::control::v1::{ExportRequest, ExportResponse};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::Render;

/// `export`
#[derive(Debug, clap::Args)]
pub struct ExportArguments {}

#[derive(Debug, Serialize)]
struct Exported {
    revision: u64,
    toml: String,
}

impl ExportArguments {
    /// Prints it.
    ///
    /// # Errors
    /// The control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let connection = context.connect().await?;
        let ExportResponse { toml, revision } = connection
            .ask(async |mut control| control.export(ExportRequest {}).await)
            .await?;
        context.output.print(&Exported { revision, toml })?;
        Ok(Exit::Done)
    }
}

impl Render for Exported {
    fn table(&self) -> String {
        self.toml.clone()
    }
}
