//! `[mapping]` of a node that runs alone: the store of its mappings (configuration 3.6).

use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::keyword;
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
            positive_ttl: Duration::from_secs(600),
            negative_ttl: Duration::from_secs(30),
            cache_max_entries: 1_000_000,
            lookup_timeout: Duration::from_secs(5),
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
