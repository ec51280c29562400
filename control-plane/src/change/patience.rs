//! Waiting for a database that is away for a moment.

use std::time::Duration;

use super::Error;
use crate::store;

/// How long to wait for a database that is restarting before the caller is told.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Does a read again while the database restarts, until it has been away for too long.
///
/// # Errors
/// Those of the read.
pub(crate) async fn patiently<T, E, F>(read: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Unavailable,
{
    let started = tokio::time::Instant::now();
    loop {
        match read().await {
            Err(error) if error.is_unavailable() && started.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

/// An error that can mean that the database is away for a moment.
pub(crate) trait Unavailable {
    fn is_unavailable(&self) -> bool;
}

impl Unavailable for store::Error {
    fn is_unavailable(&self) -> bool {
        self.is_unavailable()
    }
}

impl Unavailable for Error {
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unavailable())
    }
}
