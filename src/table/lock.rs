//! The table's lock: politeness towards other writers, never a reason to be right.

use std::sync::atomic::{AtomicBool, Ordering};

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
            owner: self.parts.settings.lock_owner.clone(),
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

    /// Gives the lock back unless the commit under it did.
    pub(crate) async fn end(&self, lease: TableLease, hold: &Hold) {
        if hold.is_released() {
            lease.was_released();
        } else {
            self.unlock(lease).await;
        }
    }

    /// Gives back the lock that a commit did not give back itself.
    pub(crate) async fn give_back(&self, hold: &Hold) {
        let token = hold.token();
        if hold.is_released() || token.is_empty() {
            return;
        }
        match self.parts.catalog.release(&self.id, token).await {
            Ok(_) => hold.note_released(token),
            Err(error) => tracing::debug!(table = %self.id, %error, "lock was not released"),
        }
    }
}

/// The lock as a commit sees it: it may be given back in the step that ends the commit.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    token: String,
    kept: AtomicBool,
    released: AtomicBool,
}

impl Hold {
    /// A lock that is held.
    pub(crate) fn of(lease: &TableLease) -> Self {
        Self { token: lease.token().to_owned(), ..Self::default() }
    }

    /// No lock at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Says whether the lock is still needed after the commit under way.
    pub(crate) fn keep(&self, kept: bool) {
        self.kept.store(kept, Ordering::Release);
    }

    /// The token to release with a swap; empty if the lock is still needed.
    pub(crate) fn token(&self) -> &str {
        if self.kept.load(Ordering::Acquire) { "" } else { &self.token }
    }

    /// Notes that a swap released the lock of `token`, if it is one.
    pub(crate) fn note_released(&self, token: &str) {
        if !token.is_empty() {
            self.released.store(true, Ordering::Release);
        }
    }

    /// Whether the lock is gone.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }
}
