//! `GET /stats`: how the cache does, and how many clients are connected (management API 3.1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{Api, Standing};

#[derive(Debug, Serialize)]
pub(super) struct Stats {
    /// Since the start of the process.
    cache_hits: u64,
    cache_misses: u64,
    /// Of a hundred; 0 when nobody has asked.
    hit_rate_pct: f64,
    /// Now.
    cache_entries: u64,
    /// Accepted connections of clients, on all listeners.
    active_connections: usize,
    #[serde(flatten)]
    standing: Option<Standing>,
}

pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<Stats> {
    // A node of a fleet has its whole table in memory, and no cache before it.
    let cache = api
        .node
        .knowledge
        .mappings()
        .map(|mappings| mappings.stats())
        .unwrap_or_default();
    Json(Stats {
        cache_hits: cache.hits,
        cache_misses: cache.misses,
        hit_rate_pct: cache.hit_rate_pct(),
        cache_entries: cache.entries,
        active_connections: api.node.connections.count(),
        standing: api.standing(),
    })
}
