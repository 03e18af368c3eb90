//! The table's lock: politeness towards other writers, never a reason to be right.

use crate::clock::random_hex;
use crate::error::{Error, ErrorKind, Result};
use crate::table::Table;

/// Time between two tries (the Python library's: format spec section 1.3).
const RETRY: std::time::Duration = std::time::Duration::from_millis(50);

/// A lock that was taken.
#[derive(Debug)]
pub(crate) struct Held {
    token: String,
}

impl Table {
    /// Takes the lock, waiting a bounded time for its holder.
    ///
    /// # Errors
    /// `Busy` if it stays held; those of the catalogue.
    pub(crate) async fn lock(&self) -> Result<Held> {
        let clock = &self.parts.clock;
        let token = format!("{}{}", random_hex(clock.as_ref()), random_hex(clock.as_ref()));
        let wait = u64::try_from(self.parts.settings.lock_wait.as_nanos()).unwrap_or(u64::MAX);
        let until = clock.monotonic_ns().saturating_add(wait);
        loop {
            let ttl = self.parts.settings.lock_ttl;
            if self.parts.catalog.acquire(&self.id, &token, ttl).await? {
                return Ok(Held { token });
            }
            if clock.monotonic_ns() >= until {
                return Err(Error::new(ErrorKind::Busy, "another writer holds the table")
                    .with("table", &self.id));
            }
            clock.sleep(RETRY).await;
        }
    }

    /// Gives the lock back; a failure only delays others until it expires.
    pub(crate) async fn unlock(&self, held: Held) {
        if let Err(error) = self.parts.catalog.release(&self.id, &held.token).await {
            tracing::debug!(table = %self.id, %error, "lock was not released");
        }
    }
}
