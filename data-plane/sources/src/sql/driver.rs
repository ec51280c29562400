//! One statement on one of several connections, for each database alike; and what differs: how to connect, and which types
//! of a column are the name of a destination.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlQueryResult, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgTypeKind};
use sqlx::sqlite::{SqliteConnectOptions, SqliteQueryResult, SqliteRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection, Database, Encode, Error, Executor, IntoArguments, MySql,
    Postgres, Row as _, Sqlite, Type, TypeInfo as _, ValueRef as _,
};
use tokio::sync::Semaphore;

/// A connection that nobody used for this long is not trusted: firewalls forget what is silent, and tell nobody.
const LONGEST_IDLE: Duration = Duration::from_secs(120);

/// Connections to one database: at most so many, made when they are needed, and only those kept that gave an answer.
///
/// sqlx has a pool of its own. It tries a refused connection again until the time is over, asks the server before and after each
/// use, and waits for a frozen one to take a connection back: a login would pay for each of these.
pub(super) struct Pool<DB: Database> {
    options: Options<DB>,
    places: Semaphore,
    idle: Mutex<Vec<Idle<DB>>>,
}

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

struct Idle<DB: Database> {
    connection: DB::Connection,
    since: Instant,
}

/// Whether a connection could have been lost while nobody used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Idle,
    JustMade,
}

/// What differs between databases.
pub(super) trait Driver: Database {
    /// The first column as text. An error when it is something else.
    fn text(row: &Self::Row) -> Result<Option<String>, Error>;
    fn affected(result: &Self::QueryResult) -> u64;
}

pub(super) fn postgres(url: &str, most: usize) -> Result<Pool<Postgres>, Error> {
    Ok(Pool::new(
        PgConnectOptions::from_str(url)?.disable_statement_logging(),
        most,
    ))
}

pub(super) fn mysql(url: &str, most: usize) -> Result<Pool<MySql>, Error> {
    Ok(Pool::new(
        MySqlConnectOptions::from_str(url)?.disable_statement_logging(),
        most,
    ))
}

pub(super) fn sqlite(url: &str, most: usize, busy: Duration) -> Result<Pool<Sqlite>, Error> {
    let options = SqliteConnectOptions::from_str(url)?.busy_timeout(busy);
    Ok(Pool::new(options.disable_statement_logging(), most))
}

impl<DB: Database> Pool<DB> {
    fn new(options: Options<DB>, most: usize) -> Self {
        Self {
            options,
            places: Semaphore::new(most.max(1)),
            idle: Mutex::default(),
        }
    }

    /// The one that was used last: the others may become old.
    fn idle(&self) -> Option<DB::Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.since.elapsed() < LONGEST_IDLE);
        idle.pop().map(|idle| idle.connection)
    }

    fn keep(&self, connection: DB::Connection) {
        self.idle.lock().push(Idle {
            connection,
            since: Instant::now(),
        });
    }
}

impl<DB: Database> std::fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} idle)", self.idle.lock().len())
    }
}

impl<DB> Pool<DB>
where
    DB: Driver,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    DB::Arguments: IntoArguments<DB>,
{
    pub(super) async fn first(&self, query: &Arc<str>, value: &str) -> Result<Option<String>, Error> {
        match self.answered(query, &[value], Wants::Row).await? {
            Given::Row(Some(row)) => DB::text(&row),
            _ => Ok(None),
        }
    }

    /// The first column of every row.
    pub(super) async fn all(&self, query: &Arc<str>) -> Result<Vec<Option<String>>, Error> {
        match self.answered(query, &[], Wants::Rows).await? {
            Given::Rows(rows) => rows.iter().map(DB::text).collect(),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) async fn execute(&self, statement: &Arc<str>, values: &[&str]) -> Result<u64, Error> {
        match self.answered(statement, values, Wants::Count).await? {
            Given::Count(affected) => Ok(affected),
            _ => Ok(0),
        }
    }

    /// A connection that was lost while nobody used it is noticed by the first statement: that one is sent again, over a
    /// new one. Given up, the future takes its connection with it.
    async fn answered(&self, sql: &Arc<str>, values: &[&str], wants: Wants) -> Result<Given<DB>, Error> {
        let _place = self.places.acquire().await.map_err(|_| Error::PoolClosed)?;
        let (mut connection, was) = match self.idle() {
            Some(connection) => (connection, Was::Idle),
            None => (self.options.connect().await?, Was::JustMade),
        };
        let mut answer = Self::ask(&mut connection, sql, values, wants).await;
        if was == Was::Idle && !is_an_answer(&answer) {
            // So are the others, after a restart of the database.
            self.idle.lock().clear();
            connection = self.options.connect().await?;
            answer = Self::ask(&mut connection, sql, values, wants).await;
        }
        if is_an_answer(&answer) {
            self.keep(connection);
        }
        answer
    }

    async fn ask(
        connection: &mut DB::Connection,
        sql: &Arc<str>,
        values: &[&str],
        wants: Wants,
    ) -> Result<Given<DB>, Error> {
        let statement = sqlx::query::<DB>(AssertSqlSafe(Arc::clone(sql)));
        let statement = values
            .iter()
            .fold(statement, |statement, value| statement.bind((*value).to_owned()));
        Ok(match wants {
            Wants::Row => Given::Row(statement.fetch_optional(connection).await?),
            Wants::Rows => Given::Rows(statement.fetch_all(connection).await?),
            Wants::Count => Given::Count(DB::affected(&statement.execute(connection).await?)),
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Wants {
    /// The first one.
    Row,
    /// All of them.
    Rows,
    /// Of rows that were changed.
    Count,
}

enum Given<DB: Database> {
    Row(Option<DB::Row>),
    Rows(Vec<DB::Row>),
    Count(u64),
}

fn is_an_answer<T>(answer: &Result<T, Error>) -> bool {
    match answer {
        Ok(_) => true,
        // PostgreSQL says so when it ends a connection: class 57, operator intervention.
        Err(Error::Database(error)) => !error.code().is_some_and(|code| code.starts_with("57P")),
        Err(_) => false,
    }
}

impl Driver for Postgres {
    fn text(row: &PgRow) -> Result<Option<String>, Error> {
        let is_enum = matches!(row.try_get_raw(0)?.type_info().kind(), PgTypeKind::Enum(_));
        if is_enum {
            return row.try_get_unchecked(0);
        }
        row.try_get(0)
    }

    fn affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Driver for MySql {
    /// Text in any collation, the binary ones included.
    fn text(row: &MySqlRow) -> Result<Option<String>, Error> {
        let bytes: Option<Vec<u8>> = row.try_get(0)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|error| Error::Decode(Box::new(error)))
    }

    fn affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Driver for Sqlite {
    /// By the value, not by the column: SQLite stores any type in any column.
    fn text(row: &SqliteRow) -> Result<Option<String>, Error> {
        let value = row.try_get_raw(0)?;
        let found = value.type_info();
        if !value.is_null() && found.name() != "TEXT" {
            return Err(Error::Decode(format!("the column holds {}", found.name()).into()));
        }
        row.try_get(0)
    }

    fn affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
}
