//! SQL: the operator's own statements, over PostgreSQL, MySQL or MariaDB, and SQLite (behaviour 10).
//!
//! `query` takes the identifier and answers in the first column of its first row. Without both `upsert_query` and
//! `delete_query` the store is read-only. A statement whose answer does not come takes its connection with it.

mod driver;

use std::sync::Arc;
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_config::table::mapping::Sql as Settings;
use mailswitch_proto::identifier::Identifier;
use sqlx::{MySql, Postgres, Sqlite};
use tokio::time::timeout;

use self::driver::Pool;
use crate::store::{Existed, StoreError};

#[derive(Debug)]
pub(crate) struct Sql {
    database: Database,
    query: Arc<str>,
    /// None: read-only.
    writing: Option<Writing>,
}

#[derive(Debug)]
enum Database {
    Postgres(Pool<Postgres>),
    MySql(Pool<MySql>),
    Sqlite(Pool<Sqlite>),
}

#[derive(Debug)]
struct Writing {
    upsert: Arc<str>,
    delete: Arc<str>,
}

impl Sql {
    /// Connects, and asks for a login that nobody can present: that the database is there, lets us in, and understands
    /// the query.
    pub(crate) async fn open(settings: &Settings, within: Duration) -> Result<Self, StoreError> {
        let most = settings.pool_size;
        let url = settings.url.expose();
        let database = match settings.url.scheme() {
            "mysql" => driver::mysql(url, most).map(Database::MySql),
            "sqlite" => driver::sqlite(url, most, within).map(Database::Sqlite),
            _ => driver::postgres(url, most).map(Database::Postgres),
        };
        // What is wrong with an address is not shown: it may be its password.
        let database = database
            .map_err(|_| StoreError::Unreachable(format!("the url cannot be used: {}", settings.url)))?;
        let writing = settings
            .upsert_query
            .as_deref()
            .zip(settings.delete_query.as_deref());
        let sql = Self {
            database,
            query: settings.query.as_str().into(),
            writing: writing.map(|(upsert, delete)| Writing {
                upsert: upsert.into(),
                delete: delete.into(),
            }),
        };
        sql.first("", within).await?;
        Ok(sql)
    }

    pub(crate) async fn get(
        &self,
        identifier: &Identifier,
        within: Duration,
    ) -> Result<Option<DestinationName>, StoreError> {
        let name = self.first(identifier.as_str(), within).await?;
        Ok(name.map(DestinationName::from))
    }

    pub(crate) async fn put(
        &self,
        identifier: &Identifier,
        destination: &DestinationName,
        within: Duration,
    ) -> Result<(), StoreError> {
        let Some(writing) = &self.writing else {
            return Err(StoreError::Refused("it is read-only".to_owned()));
        };
        let values = [identifier.as_str(), destination.as_str()];
        self.execute(&writing.upsert, &values, within).await?;
        Ok(())
    }

    pub(crate) async fn delete(
        &self,
        identifier: &Identifier,
        within: Duration,
    ) -> Result<Existed, StoreError> {
        let Some(writing) = &self.writing else {
            return Err(StoreError::Refused("it is read-only".to_owned()));
        };
        let removed = self
            .execute(&writing.delete, &[identifier.as_str()], within)
            .await?;
        Ok(if removed > 0 { Existed::Yes } else { Existed::No })
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.writing.is_none()
    }

    /// The first column of every row of another statement.
    pub(crate) async fn all(
        &self,
        statement: &str,
        within: Duration,
    ) -> Result<Vec<Option<String>>, StoreError> {
        let statement: Arc<str> = statement.into();
        let all = async {
            match &self.database {
                Database::Postgres(pool) => pool.all(&statement).await,
                Database::MySql(pool) => pool.all(&statement).await,
                Database::Sqlite(pool) => pool.all(&statement).await,
            }
        };
        match timeout(within, all).await {
            Ok(answer) => answer.map_err(|error| explain(&error, "")),
            Err(_) => Err(StoreError::TimedOut(within)),
        }
    }

    pub(crate) async fn first(
        &self,
        identifier: &str,
        within: Duration,
    ) -> Result<Option<String>, StoreError> {
        let first = async {
            match &self.database {
                Database::Postgres(pool) => pool.first(&self.query, identifier).await,
                Database::MySql(pool) => pool.first(&self.query, identifier).await,
                Database::Sqlite(pool) => pool.first(&self.query, identifier).await,
            }
        };
        match timeout(within, first).await {
            Ok(answer) => answer.map_err(|error| explain(&error, identifier)),
            Err(_) => Err(StoreError::TimedOut(within)),
        }
    }

    async fn execute(
        &self,
        statement: &Arc<str>,
        values: &[&str],
        within: Duration,
    ) -> Result<u64, StoreError> {
        let execute = async {
            match &self.database {
                Database::Postgres(pool) => pool.execute(statement, values).await,
                Database::MySql(pool) => pool.execute(statement, values).await,
                Database::Sqlite(pool) => pool.execute(statement, values).await,
            }
        };
        match timeout(within, execute).await {
            Ok(affected) => affected.map_err(|error| explain(&error, values.first().unwrap_or(&""))),
            Err(_) => Err(StoreError::TimedOut(within)),
        }
    }
}

/// A database quotes in its errors what it was given: a login is not shown.
fn explain(error: &sqlx::Error, identifier: &str) -> StoreError {
    let said = match identifier {
        "" => error.to_string(),
        identifier => error.to_string().replace(identifier, "…"),
    };
    match error {
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => StoreError::Answer(said),
        sqlx::Error::Database(_) => StoreError::Refused(said),
        _ => StoreError::Unreachable(said),
    }
}
