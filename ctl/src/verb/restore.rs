//! `restore FILE`: replaces everything that the control plane keeps. It is a database that goes back in time
//! (promise D3): nodes that are ahead of it keep what they have until that is decided.

use std::path::PathBuf;

use futures::StreamExt as _;
use mailswitch_proto::control::v1::{RestoreRequest, RestoreResponse};
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::Context;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::output::{Render, printable};

const CHUNK: usize = 64 * 1024;

/// `restore FILE`
#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// A file of `backup`.
    file: PathBuf,
    /// Lose what is in the database: without this, only an empty one is restored into.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

#[derive(Debug, Serialize)]
struct Restored {
    revision: u64,
    notes: Vec<String>,
}

impl RestoreArguments {
    /// Sends the file.
    ///
    /// # Errors
    /// It cannot be read, or it is refused.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let unreadable = |error| Failure::usage(format!("{} cannot be read: {error}", self.file.display()));
        let mut file = File::open(&self.file).await.map_err(unreadable)?;
        let connection = context.connect().await?;
        let first = RestoreRequest {
            change: Some(self.change.context()),
            data: Vec::new(),
            replace: self.replace,
        };
        let (sender, chunks) = tokio::sync::mpsc::channel(4);
        // A file that cannot be read to its end must not look like a shorter one: the stream never ends then, and
        // the answer is not waited for.
        let reading = async move {
            let _ = sender.send(first).await;
            loop {
                let mut data = vec![0; CHUNK];
                let read = file.read(&mut data).await?;
                data.truncate(read);
                if read == 0 || sender.send(piece(data)).await.is_err() {
                    return Ok::<_, std::io::Error>(());
                }
            }
        };
        let mut control = connection.control();
        let answer = control.restore(tokio_stream::wrappers::ReceiverStream::new(chunks).boxed());
        tokio::pin!(answer, reading);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            read = &mut reading => match read {
                Ok(()) => answer.await,
                Err(error) => return Err(unreadable(error)),
            },
        };
        let RestoreResponse { revision, notes } =
            answer.map_err(|status| connection.refused(&status))?.into_inner();
        context.output.print(&Restored { revision, notes })?;
        Ok(Exit::Done)
    }
}

fn piece(data: Vec<u8>) -> RestoreRequest {
    RestoreRequest {
        data,
        ..RestoreRequest::default()
    }
}

impl Render for Restored {
    fn table(&self) -> String {
        let notes: String = self
            .notes
            .iter()
            .map(|note| format!("note: {}\n", printable(note)))
            .collect();
        format!("{notes}restored, at revision {}\n", self.revision)
    }
}
