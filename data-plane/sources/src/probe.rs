//! A store is asked once, as a start asks it: for `check`. Nothing is written, and nothing stays open.

use std::time::Duration;

use mailswitch_config::table::mapping::{Mapping, MappingStore};
use tokio::time::Instant;

use crate::redis::Redis;
use crate::sql::Sql;
use crate::store::StoreError;

/// A store that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// To connect, and to read what nobody is mapped by.
    pub took: Duration,
    /// Whether the management API can change mappings in it.
    pub takes_changes: TakesChanges,
}

/// Whether a store can be written to, by its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesChanges {
    /// It has what it needs.
    Yes,
    /// SQL without both statements.
    No,
}

/// Connects to Redis or a database, and reads once; a mapping file is not opened here.
///
/// # Errors
/// What a start would fail with.
pub async fn probe(mapping: &Mapping) -> Result<Probed, StoreError> {
    let begun = Instant::now();
    let takes_changes = match &mapping.store {
        MappingStore::File { .. } => TakesChanges::Yes,
        MappingStore::Redis(settings) => {
            Redis::open(settings, mapping.lookup_timeout).await?;
            TakesChanges::Yes
        }
        MappingStore::Sql(settings) => {
            match Sql::open(settings, mapping.lookup_timeout).await?.is_read_only() {
                true => TakesChanges::No,
                false => TakesChanges::Yes,
            }
        }
    };
    Ok(Probed {
        took: begun.elapsed(),
        takes_changes,
    })
}
