//! Long answers, page by page: the next page is read from the database when the caller has taken the one before, so
//! that a list of ten million mappings needs no more memory than a page.

use std::future::Future;

use mailswitch_proto::control::v1::Problem;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument as _;

/// Rows of a page.
pub(super) const ROWS: u32 = 1000;

/// A stream of pages.
pub(super) type Pages<P> = ReceiverStream<Result<P, Status>>;

/// Where pages go; an error means that the caller went away.
pub(super) type Out<P> = mpsc::Sender<Result<P, Status>>;

/// Runs `write` beside the call, in its span. A problem ends the stream.
pub(super) fn stream<P, W>(write: impl FnOnce(Out<P>) -> W) -> Pages<P>
where
    P: Send + 'static,
    W: Future<Output = Result<(), Problem>> + Send + 'static,
{
    let (out, pages) = mpsc::channel(1);
    let writing = write(out.clone());
    tokio::spawn(
        async move {
            if let Err(problem) = writing.await {
                // The caller may have gone: then nobody wants to know.
                let _ = out.send(Err(problem.into_status())).await;
            }
        }
        .in_current_span(),
    );
    ReceiverStream::new(pages)
}
