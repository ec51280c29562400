//! `[mapping]` of a node that runs alone: the store of its mappings (configuration 3.6).

use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::keyword;
use crate::read::{TableReader, url, value};
use crate::secret::StoreUrl;

/// `[mapping]` with the section of the selected source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where mappings are read.
    pub store: MappingStore,
    /// Cache life of an explicit mapping; zero: not cached.
    pub positive_ttl: Duration,
    /// Cache life of a fall-through; zero: not cached.
    pub negative_ttl: Duration,
    /// Entries of the cache.
    pub cache_max_entries: u64,
    /// One lookup in the store.
    pub lookup_timeout: Duration,
}

impl Mapping {
    /// A store with the defaults of everything else.
    #[must_use]
    pub fn new(store: MappingStore) -> Self {
        Self {
            store,
            positive_ttl: POSITIVE_TTL,
            negative_ttl: NEGATIVE_TTL,
            cache_max_entries: CACHE_MAX_ENTRIES,
            lookup_timeout: LOOKUP_TIMEOUT,
        }
    }
}

/// `mapping.source` and its section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingStore {
    /// `[mapping.file]`.
    File {
        /// Lines of identifier and destination.
        path: PathBuf,
    },
    /// `[mapping.redis]`.
    Redis(Redis),
    /// `[mapping.sql]`.
    Sql(Sql),
}

/// `[mapping.redis]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// `redis://`, `rediss://` or `redis+unix://`.
    pub url: StoreUrl,
    /// Before the identifier.
    pub key_prefix: String,
    /// At least 1.
    pub pool_size: usize,
}

/// `[mapping.sql]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// `postgres://`, `postgresql://`, `mysql://` or `sqlite://`.
    pub url: StoreUrl,
    /// The identifier is parameter 1; the first column of the first row is the destination.
    pub query: String,
    /// At least 1.
    pub pool_size: usize,
    /// Identifier, destination.
    pub upsert_query: Option<String>,
    /// Identifier.
    pub delete_query: Option<String>,
}

keyword! {
    /// `mapping.source`.
    MappingSource {
        /// `[mapping.file]`.
        File = "file",
        /// `[mapping.redis]`.
        Redis = "redis",
        /// `[mapping.sql]`.
        Sql = "sql",
        /// `[control_plane]`: the node belongs to a fleet.
        ControlPlane = "control-plane",
    }
}

keyword! {
    /// `mapping.normalize`: how a node on its own brings logins into the form that is looked up.
    Normalize {
        /// As presented.
        None = "none",
        /// Unicode lower case.
        Lowercase = "lowercase",
    }
}

impl Mapping {
    /// Reads `[mapping]` of a node that runs alone, beside `source` and `normalize`.
    pub(crate) fn read(table: &mut TableReader<'_, '_>, source: MappingSource) -> Option<Self> {
        let file = read_file(table.table("file"));
        let redis = read_redis(table.table("redis"));
        let sql = read_sql(table.table("sql"));
        let store = match source {
            MappingSource::File => require_section(table, "file", file),
            MappingSource::Redis => require_section(table, "redis", redis),
            MappingSource::Sql => require_section(table, "sql", sql),
            MappingSource::ControlPlane => None,
        };
        let positive_ttl = table.duration("positive_ttl", POSITIVE_TTL);
        let negative_ttl = table.duration("negative_ttl", NEGATIVE_TTL);
        let cache_max_entries =
            table.number("cache_max_entries", CACHE_MAX_ENTRIES, 0, i64::MAX.unsigned_abs());
        let lookup_timeout = table.time_for(
            "lookup_timeout",
            LOOKUP_TIMEOUT,
            "no lookup has time to be answered: every login goes to the default destination",
        );
        Some(Self {
            store: store?,
            positive_ttl,
            negative_ttl,
            cache_max_entries,
            lookup_timeout,
        })
    }
}

const POSITIVE_TTL: Duration = Duration::from_secs(600);
const NEGATIVE_TTL: Duration = Duration::from_secs(30);
const CACHE_MAX_ENTRIES: u64 = 1_000_000;
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_SIZE: usize = 16;
const MOST_CONNECTIONS: usize = 65_536;

/// What one `[mapping.*]` section gave: absent, or present and perhaps unusable (then it is reported).
enum Section {
    Absent,
    Present(Option<MappingStore>),
}

fn require_section(table: &TableReader<'_, '_>, name: &str, section: Section) -> Option<MappingStore> {
    match section {
        Section::Present(store) => store,
        Section::Absent => {
            table.report.missing(
                &table.at("source"),
                format!("the source is \"{name}\", and there is no [mapping.{name}]"),
                format!("add [mapping.{name}], or select another source"),
            );
            None
        }
    }
}

fn read_file(mut table: TableReader<'_, '_>) -> Section {
    if !table.is_present() {
        return Section::Absent;
    }
    let path = table.require("path", "name the file of the mappings", value::filled);
    table.finish();
    Section::Present(path.map(|path| MappingStore::File { path: path.into() }))
}

fn read_redis(mut table: TableReader<'_, '_>) -> Section {
    if !table.is_present() {
        return Section::Absent;
    }
    let url = table.require("url", "write it like \"redis://127.0.0.1:6379/0\"", |node| {
        url::store(node, &["redis", "rediss", "redis+unix"])
    });
    let key_prefix = table
        .get("key_prefix", value::string)
        .unwrap_or_else(|| "route:".to_owned());
    let pool_size = table.number("pool_size", POOL_SIZE, 0, MOST_CONNECTIONS).max(1);
    table.finish();
    Section::Present(url.map(|url| {
        MappingStore::Redis(Redis {
            url,
            key_prefix,
            pool_size,
        })
    }))
}

fn read_sql(mut table: TableReader<'_, '_>) -> Section {
    if !table.is_present() {
        return Section::Absent;
    }
    let url = table.require(
        "url",
        "write it like \"postgres://router@db.example.org/mail\"",
        |node| url::store(node, &["postgres", "postgresql", "mysql", "sqlite"]),
    );
    let query = table.require(
        "query",
        "write a query that takes the identifier as its parameter and gives the destination",
        value::filled,
    );
    let pool_size = table.number("pool_size", POOL_SIZE, 0, MOST_CONNECTIONS).max(1);
    let upsert_query = table.text("upsert_query");
    let delete_query = table.text("delete_query");
    let lone = match (&upsert_query, &delete_query) {
        (Some(_), None) => Some(("upsert_query", "delete_query", "removed")),
        (None, Some(_)) => Some(("delete_query", "upsert_query", "set")),
        _ => None,
    };
    if let Some((present, absent, verb)) = lone {
        table.report.warning(
            &table.at(present),
            format!("there is no {absent} beside it: mappings cannot be {verb}"),
            format!("add {absent}"),
        );
    }
    table.finish();
    Section::Present(url.zip(query).map(|(url, query)| {
        MappingStore::Sql(Sql {
            url,
            query,
            pool_size,
            upsert_query,
            delete_query,
        })
    }))
}
