//! What can be told about the back end of a catalogue without changing anything in it.

use std::path::PathBuf;
use std::sync::Arc;

use super::{EmbeddedCatalog, RedisCatalog, RedisOptions};
use crate::catalog::open::{Choice, choose};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::Result;

/// Calls whose median is the latency.
pub(super) const LATENCY_CALLS: usize = 9;

/// Facts about a back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// A SQLite file, or one in memory.
    Embedded {
        /// The file.
        file: Option<PathBuf>,
        /// What SQLite says about its own structure: `ok`, or the damage.
        integrity: String,
        /// Median time of a read, in microseconds.
        latency_us: u64,
    },
    /// A Redis server.
    Redis(Box<RedisFacts>),
}

/// Facts about a Redis server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisFacts {
    /// Its address, without secrets.
    pub address: String,
    /// `redis_version`; empty if this user may not ask.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Whether changes are logged to an append-only file.
    pub append_only: bool,
    /// The `save` setting; `None` if this user may not ask.
    pub save: Option<String>,
    /// Whether the last snapshot to disk worked.
    pub last_save_ok: bool,
    /// `maxmemory-policy`.
    pub eviction: String,
    /// `maxmemory` in bytes, 0 = no limit.
    pub memory_max: u64,
    /// Replicas that are connected.
    pub replicas: u64,
    /// Milliseconds by which its clock is ahead of ours.
    pub clock_ahead_ms: i64,
    /// Median time of a `PING`, in microseconds.
    pub latency_us: u64,
}

/// Asks the back end that the settings name.
///
/// # Errors
/// As [`super::open`].
pub async fn examine(settings: &Settings, clock: SharedClock) -> Result<Facts> {
    match choose(settings)? {
        Choice::Memory => EmbeddedCatalog::memory(clock)?.facts(None).await,
        Choice::File(path) => {
            let catalog = EmbeddedCatalog::open(&path, Arc::clone(&clock)).await?;
            catalog.facts(Some(path)).await
        }
        Choice::Redis(url) => {
            let options = RedisOptions { url, settings: settings.redis.clone() };
            let catalog = RedisCatalog::connect(&options, clock).await?;
            Ok(Facts::Redis(Box::new(catalog.facts().await?)))
        }
    }
}

/// The middle one of some times.
pub(super) fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
