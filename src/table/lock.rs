//! The table's lock: politeness towards other writers, never a reason to be right.

use crate::catalog::{LeaseSettings, TableLease};
use crate::error::Result;
use crate::table::Table;

impl Table {
    /// Takes the lock, waiting a bounded time for its holder.
    ///
    /// # Errors
    /// `Busy` if it stays held; those of the catalogue.
    pub(crate) async fn lock(&self) -> Result<TableLease> {
        let settings = LeaseSettings {
            ttl: self.parts.settings.lock_ttl,
            wait: self.parts.settings.lock_wait,
            ..LeaseSettings::default()
        };
        TableLease::acquire(&self.parts.catalog, &self.parts.clock, &self.id, &settings).await
    }

    /// Gives the lock back; a failure only delays others until it expires.
    pub(crate) async fn unlock(&self, lease: TableLease) {
        if let Err(error) = lease.release().await {
            tracing::debug!(table = %self.id, %error, "lock was not released");
        }
    }
}
