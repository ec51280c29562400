//! The servers that mappings are read from: each as a store, and as somebody else who writes to it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};
use mailswitch_config::secret::StoreUrl;
use mailswitch_config::table::mapping::{MappingStore, Redis as RedisTable, Sql as SqlTable};
use mailswitch_sources::Mappings;
use mailswitch_tests::mariadb::MariaDb;
use mailswitch_tests::place::Place;
use mailswitch_tests::postgres::Postgres;
use mailswitch_tests::redis::Redis;
use nix::sys::signal::Signal;

use crate::rig::open;

/// A server that mappings are read from.
pub(crate) trait Server {
    fn store(&self) -> MappingStore;
    /// Behind our back, as another program would.
    fn write(&self, login: &str, destination: &str) -> Result<()>;
    fn signal(&self, signal: Signal) -> Result<()>;
    fn kill(&mut self) -> Result<()>;
    fn restart(&mut self) -> Result<()>;
}

impl Server for Redis {
    fn store(&self) -> MappingStore {
        redis_at(&format!("{}/3", self.url()))
    }

    fn write(&self, login: &str, destination: &str) -> Result<()> {
        self.ask(&["-n", "3", "SET", &format!("route:{login}"), destination])?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    fn kill(&mut self) -> Result<()> {
        self.process.kill_dash_nine()
    }

    fn restart(&mut self) -> Result<()> {
        Self::restart(self)
    }
}

pub(crate) fn redis_at(url: &str) -> MappingStore {
    MappingStore::Redis(RedisTable {
        url: StoreUrl::new(url.to_owned()),
        key_prefix: "route:".to_owned(),
        pool_size: 3,
    })
}

const TABLE: &str = "CREATE TABLE placement (login VARCHAR(200) PRIMARY KEY, node VARCHAR(200))";

impl Server for Postgres {
    fn store(&self) -> MappingStore {
        postgres_at(&self.url())
    }

    fn write(&self, login: &str, destination: &str) -> Result<()> {
        let statement = format!(
            "INSERT INTO placement VALUES ('{login}', '{destination}') ON CONFLICT (login) DO UPDATE SET node = excluded.node"
        );
        self.sql("mailswitch", &statement).map(|_| ())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Self::signal(self, signal)
    }

    fn kill(&mut self) -> Result<()> {
        Self::kill(self)
    }

    fn restart(&mut self) -> Result<()> {
        Self::restart(self)
    }
}

/// The statements of example 7c.
pub(crate) fn postgres_at(url: &str) -> MappingStore {
    MappingStore::Sql(SqlTable {
        url: StoreUrl::new(url.to_owned()),
        query: "SELECT node FROM placement WHERE login = $1".to_owned(),
        pool_size: 3,
        upsert_query: Some(
            "INSERT INTO placement(login, node) VALUES ($1, $2) ON CONFLICT (login) DO UPDATE SET node = excluded.node"
                .to_owned(),
        ),
        delete_query: Some("DELETE FROM placement WHERE login = $1".to_owned()),
    })
}

pub(crate) fn postgres(place: &Place) -> Postgres {
    let server = Postgres::start(place).unwrap();
    server.sql("mailswitch", TABLE).unwrap();
    server
}

impl Server for MariaDb {
    fn store(&self) -> MappingStore {
        mariadb_at(&self.url())
    }

    fn write(&self, login: &str, destination: &str) -> Result<()> {
        self.sql(&format!(
            "REPLACE INTO mail.placement VALUES ('{login}', '{destination}')"
        ))
        .map(|_| ())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    fn kill(&mut self) -> Result<()> {
        self.process.kill_dash_nine()
    }

    fn restart(&mut self) -> Result<()> {
        Self::restart(self)
    }
}

pub(crate) fn mariadb_at(url: &str) -> MappingStore {
    MappingStore::Sql(SqlTable {
        url: StoreUrl::new(url.to_owned()),
        query: "SELECT node FROM placement WHERE login = ?".to_owned(),
        pool_size: 3,
        upsert_query: Some("REPLACE INTO placement VALUES (?, ?)".to_owned()),
        delete_query: Some("DELETE FROM placement WHERE login = ?".to_owned()),
    })
}

pub(crate) fn mariadb(place: &Place) -> MariaDb {
    let server = MariaDb::start(place, None).unwrap();
    server.sql(&format!("USE mail; {TABLE}")).unwrap();
    server
}

/// No server, but a file that another program may write, too.
pub(crate) struct Sqlite {
    pub(crate) path: PathBuf,
}

impl Sqlite {
    pub(crate) fn new(place: &Place) -> Self {
        let sqlite = Self {
            path: place.path().join("routes.db"),
        };
        sqlite.sql(TABLE).unwrap();
        sqlite
    }

    pub(crate) fn sql(&self, statement: &str) -> Result<()> {
        let output = Command::new("sqlite3").arg(&self.path).arg(statement).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    pub(crate) fn store(&self) -> MappingStore {
        MappingStore::Sql(SqlTable {
            url: StoreUrl::new(format!("sqlite://{}", self.path.display())),
            query: "SELECT node FROM placement WHERE login = ?1".to_owned(),
            pool_size: 3,
            upsert_query: Some("INSERT OR REPLACE INTO placement VALUES (?1, ?2)".to_owned()),
            delete_query: Some("DELETE FROM placement WHERE login = ?1".to_owned()),
        })
    }
}

pub(crate) async fn mappings_of(server: &impl Server) -> Arc<Mappings> {
    open(server.store()).await.unwrap()
}

/// The same database, with something else in its table.
pub(crate) fn changed(store: MappingStore, change: impl FnOnce(&mut SqlTable)) -> MappingStore {
    let MappingStore::Sql(mut sql) = store else {
        panic!("{store:?} is no database")
    };
    change(&mut sql);
    MappingStore::Sql(sql)
}
