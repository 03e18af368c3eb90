//! What the embedded catalogue tells about itself.

use std::path::PathBuf;

use super::EmbeddedCatalog;
use crate::catalog::examine::{Facts, LATENCY_CALLS, median};
use crate::catalog::{keys, sqlite};
use crate::error::Result;

impl EmbeddedCatalog {
    /// Checks the structure of the file and measures a read.
    pub(in crate::catalog) async fn facts(&self, file: Option<PathBuf>) -> Result<Facts> {
        let integrity = self.read(sqlite::integrity).await?;
        let mut times = Vec::with_capacity(LATENCY_CALLS);
        for _ in 0..LATENCY_CALLS {
            let start = self.clock.monotonic_ns();
            self.read(|c| sqlite::value(c, keys::ORGANIZATIONS).map(|_| ())).await?;
            times.push(self.clock.monotonic_ns().saturating_sub(start) / 1_000);
        }
        Ok(Facts::Embedded { file, integrity, latency_us: median(times) })
    }
}
