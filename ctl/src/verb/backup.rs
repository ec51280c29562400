//! `backup FILE`: everything that the control plane keeps, whole or not at all.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mailswitch_proto::control::v1::{BackupRequest, Chunk};
use serde::Serialize;
use tonic::Streaming;

use super::Context;
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};

/// `backup FILE`
#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// Where to; `-` is stdout. A file that is there is not overwritten. It holds keys and names: keep it safe.
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Backup {
    file: String,
    bytes: u64,
}

impl BackupArguments {
    /// Writes it.
    ///
    /// # Errors
    /// The file is there, or the backup does not arrive whole; then no file is left.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let to_stdout = self.file == Path::new("-");
        if !to_stdout && self.file.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Exit::Precondition,
                format!("{} is there already", self.file.display()),
            )
            .remedy("a backup overwrites nothing: name another file"));
        }
        let connection = context.connect().await?;
        let chunks = connection
            .ask(async |mut control| control.backup(BackupRequest {}).await)
            .await?;
        if to_stdout {
            copy(&connection, chunks, &mut io::stdout().lock())
                .await
                .map_err(|error| error.of("-"))?;
            return Ok(Exit::Done);
        }
        let bytes = save(&connection, chunks, &self.file).await?;
        context.output.print(&Backup {
            file: self.file.display().to_string(),
            bytes,
        })?;
        Ok(Exit::Done)
    }
}

enum CopyError {
    Remote(Failure),
    Local(io::Error),
}

impl CopyError {
    fn of(self, file: &str) -> Failure {
        match self {
            Self::Remote(failure) => failure.exiting(Exit::Precondition),
            Self::Local(error) => {
                Failure::new(Exit::Precondition, format!("{file} cannot be written: {error}"))
            }
        }
    }
}

/// Beside its place first: a file under its own name is whole.
async fn save(connection: &Connection, chunks: Streaming<Chunk>, path: &Path) -> Result<u64, Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let failed = |error: CopyError| error.of(&path.display().to_string());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|error| failed(CopyError::Local(error)))?;
    let copied = copy(connection, chunks, &mut file).await;
    let saved = copied.and_then(|bytes| {
        file.sync_all()
            .and_then(|()| std::fs::hard_link(&beside, path))
            .map(|()| bytes)
            .map_err(CopyError::Local)
    });
    // Under its own name it stays; without one it must go.
    let _ = std::fs::remove_file(&beside);
    saved.map_err(failed)
}

async fn copy(
    connection: &Connection,
    mut chunks: Streaming<Chunk>,
    to: &mut impl Write,
) -> Result<u64, CopyError> {
    let mut bytes = 0;
    loop {
        match chunks.message().await {
            Ok(Some(chunk)) => {
                bytes += chunk.data.len() as u64;
                to.write_all(&chunk.data).map_err(CopyError::Local)?;
            }
            Ok(None) => return to.flush().map(|()| bytes).map_err(CopyError::Local),
            Err(status) => return Err(CopyError::Remote(connection.refused(&status))),
        }
    }
}

impl Render for Backup {
    fn table(&self) -> String {
        format!("{}: {} bytes\n", printable(&self.file), self.bytes)
    }
}
