//! The database: one that is given by url, or a private PostgreSQL of our own (design section 3). The same SQL and the
//! same migrations for both.

mod binaries;
mod private;
mod schema;
mod wait;

use std::path::Path;
use std::time::Duration;

use mailswitch_proto::id::FleetId;
use mailswitch_proto::identifier::HashKey;
use rand::RngExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

use crate::store;
use crate::store::fleet::Fleet;

pub use binaries::NotInstalled;
pub use private::PrivateError;
pub use schema::{SCHEMA, SchemaError};
pub use wait::Waiting;
pub(crate) use wait::{Again, Tries};

/// Where the database is.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// `[database] url`.
    Url(&'a str),
    /// A private one below this state directory.
    Private(&'a Path),
}

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `[database] url` is none.
    #[error("[database] url is not a PostgreSQL url: {0}; write postgres://USER@HOST/DATABASE")]
    Url(#[source] sqlx::Error),
    /// The private one.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// It does not let us in.
    #[error("{place} cannot be reached: {error}; check [database] url, and that its server runs")]
    Unreachable {
        /// Which one; no password.
        place: String,
        /// Why.
        #[source]
        error: sqlx::Error,
    },
    /// Its schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// What is in it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl OpenError {
    /// Whether it may be otherwise in a while without anything here being changed: the server is down, does not know us yet, or
    /// went away in the middle.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Schema(error) => error.is_unavailable(),
            Self::Store(error) => error.is_unavailable(),
            Self::Url(_) | Self::Private(_) => false,
        }
    }
}

/// An open database, with the schema that this program needs.
pub struct Database {
    pool: PgPool,
    fleet: Fleet,
    version: String,
    private: Option<private::Private>,
}

impl Database {
    /// Starts the private one if it is that, migrates, and makes the fleet's row in a new database.
    ///
    /// # Errors
    /// See `OpenError`: each says what to do.
    pub async fn open(place: Place<'_>) -> Result<Self, OpenError> {
        match place {
            Place::Url(url) => {
                let options: PgConnectOptions = url.parse().map_err(OpenError::Url)?;
                // The pool would try until its time is over, and not say what it met.
                let once = tokio::time::timeout(ANSWER, options.connect()).await;
                let refused = match once {
                    Ok(Ok(first)) => first.close().await.err(),
                    Ok(Err(error)) => Some(error),
                    Err(_) => Some(no_answer()),
                };
                match refused {
                    None => Self::connect(options, None).await,
                    Some(error) => Err(unreachable(&options, error)),
                }
            }
            Place::Private(state_dir) => {
                let private = private::Private::start(state_dir).await?;
                Self::connect(private.options(), Some(private)).await
            }
        }
    }

    async fn connect(
        options: PgConnectOptions,
        private: Option<private::Private>,
    ) -> Result<Self, OpenError> {
        let pool = match pool(options.clone()).await {
            Ok(pool) => pool,
            // The pool tried until its time was over, and does not say what it met.
            Err(sqlx::Error::PoolTimedOut) => return Err(unreachable(&options, refusal(&options).await)),
            Err(error) => return Err(unreachable(&options, error)),
        };
        schema::migrate(&pool).await?;
        let mut conn = pool
            .acquire()
            .await
            .map_err(|error| unreachable(&options, error))?;
        let fresh = Fleet {
            id: FleetId::random(),
            hash_key: HashKey(rand::rng().random()),
        };
        store::fleet::fleet_make(&mut conn, &fresh).await?;
        let (fleet, _) = store::fleet::fleet_get(&mut conn).await?;
        let (version,): (String,) = sqlx::query_as("SELECT current_setting('server_version')")
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| unreachable(&options, error))?;
        drop(conn);
        Ok(Self {
            pool,
            fleet,
            version,
            private,
        })
    }

    /// Connections.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whose state it holds.
    #[must_use]
    pub fn fleet(&self) -> Fleet {
        self.fleet
    }

    /// Its server's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `private` or `external`, for `status`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.private.is_some() {
            "private"
        } else {
            "external"
        }
    }

    /// Closes the connections, and stops the private server.
    pub async fn close(self) {
        self.pool.close().await;
        if let Some(private) = self.private {
            private.stop().await;
        }
    }
}

/// A server that has not let us in by then hangs, or packets to it are lost.
const ANSWER: Duration = Duration::from_secs(5);

/// Why one connection cannot be made now.
async fn refusal(options: &PgConnectOptions) -> sqlx::Error {
    let once = tokio::time::timeout(Duration::from_secs(2), options.connect()).await;
    match once {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

fn no_answer() -> sqlx::Error {
    let why = format!("no answer within {} s", ANSWER.as_secs());
    std::io::Error::new(std::io::ErrorKind::TimedOut, why).into()
}

fn unreachable(options: &PgConnectOptions, error: sqlx::Error) -> OpenError {
    let database = options.get_database().unwrap_or(options.get_username());
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    OpenError::Unreachable {
        place: format!(
            "database {database:?} on {host}, as user {:?},",
            options.get_username()
        ),
        error,
    }
}

/// Writers can be stopped at any instruction (promise D6): these bounds let nobody wait for one that was. Bulk writes
/// are many statements of 50,000 rows each, and stay below the statement's.
async fn pool(options: PgConnectOptions) -> Result<PgPool, sqlx::Error> {
    let options = options.application_name("mailswitch-control-plane").options([
        ("statement_timeout", "30s"),
        ("lock_timeout", "500ms"),
        ("idle_in_transaction_session_timeout", "2s"),
    ]);
    PgPoolOptions::new()
        .max_connections(16)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        // A connection to a server that was killed is found out by its first use, and replaced.
        .test_before_acquire(true)
        .connect_with(options)
        .await
}
