//! The schema: migrations are applied at start, and the row in `versions` says which programs may read and write.
//! Migrations only expand, so an older replica keeps running beside a newer one (design section 3).

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

/// The schema that this program was written for.
pub const SCHEMA: i32 = 3;

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A migration failed.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// The row cannot be read.
    #[error("the database's schema version cannot be read: {0}")]
    Read(#[from] sqlx::Error),
    /// A newer program has closed it to us.
    #[error(
        "the database has schema {found}, which programs of schema {oldest} and later may write, and this program \
         knows schema {SCHEMA}: start a newer mailswitch-control-plane"
    )]
    TooOld {
        /// What the database has.
        found: i32,
        /// The oldest that may write it.
        oldest: i32,
    },
}

impl SchemaError {
    /// Whether the database went away in the middle.
    pub(super) fn is_unavailable(&self) -> bool {
        let unavailable = |error: &sqlx::Error| {
            matches!(
                error,
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)
            )
        };
        match self {
            Self::Migrate(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                unavailable(error)
            }
            Self::Read(error) => unavailable(error),
            Self::Migrate(_) | Self::TooOld { .. } => false,
        }
    }
}

/// Applies what is missing, and checks that we may write.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    // An older program on a newer schema: what it does not know is not missing.
    let mut migrator: Migrator = sqlx::migrate!("../migrations");
    migrator.set_ignore_missing(true);
    migrator.run(pool).await?;
    let (found, oldest): (i32, i32) = sqlx::query_as("SELECT schema, oldest_writer FROM versions")
        .fetch_one(pool)
        .await?;
    if SCHEMA < oldest {
        return Err(SchemaError::TooOld { found, oldest });
    }
    Ok(())
}
