//! A table's lock while somebody holds it: renewed in the background, released at the end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{SharedCatalog, scaffold};
use crate::clock::{Clock, SharedClock, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;

/// Times of a lease.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// How long the lock lives without renewal (the Python library's 30 seconds).
    pub ttl: Duration,
    /// How long to wait for another holder.
    pub wait: Duration,
    /// How long to wait between two attempts.
    pub poll: Duration,
    /// Whose locks of an earlier life may be released.
    pub owner: Option<LockOwner>,
}

/// Somebody who takes locks in one life after the other: a gateway with its state directory. What a
/// life that ended in a kill or a power cut left locked, the next one releases; it need not wait
/// until the lock expires. There must be one life at a time, which the state directory's own lock
/// sees to. A copied state directory costs no more than politeness: safety rests on no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOwner {
    name: String,
    life: String,
}

impl LockOwner {
    /// The next life of the owner of this name.
    pub fn new(name: &str, clock: &dyn Clock) -> Self {
        Self { name: name.to_owned(), life: random_hex(clock) }
    }

    fn token(&self, clock: &dyn Clock) -> String {
        format!("{}-{}-{}", self.name, self.life, scaffold::uuid4(clock))
    }

    /// Whether an earlier life made a token.
    fn had(&self, token: &str) -> bool {
        let rest = token.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.starts_with(&*self.life))
    }
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            wait: Duration::from_secs(60),
            poll: Duration::from_millis(50),
            owner: None,
        }
    }
}

/// A held lock (format spec section 1.3). It is politeness: after a pause longer than its time to
/// live somebody else may hold it too, and nothing breaks.
pub struct TableLease {
    held: Option<Held>,
}

struct Held {
    catalog: SharedCatalog,
    table: TableId,
    token: String,
    lost: Arc<AtomicBool>,
    renewal: tokio::task::JoinHandle<()>,
}

impl TableLease {
    /// Takes the lock of a table, waiting for other holders, and renews it three times within its
    /// time to live until it is released or dropped.
    ///
    /// # Errors
    /// `Busy` if it was not free in time; `Unavailable` if the catalogue does not answer.
    pub async fn acquire(
        catalog: &SharedCatalog,
        clock: &SharedClock,
        table: &TableId,
        settings: &LeaseSettings,
    ) -> Result<Self> {
        let token = match &settings.owner {
            Some(owner) => owner.token(clock.as_ref()),
            None => scaffold::uuid4(clock.as_ref()),
        };
        let start = clock.monotonic_ns();
        let wait = u64::try_from(settings.wait.as_nanos()).unwrap_or(u64::MAX);
        // Looked at once: an earlier life takes no new locks.
        let mut owner = settings.owner.as_ref();
        while !catalog.acquire(table, &token, settings.ttl).await? {
            if let Some(owner) = owner.take() {
                let holder = catalog.holder(table).await?;
                if let Some(former) = holder.filter(|token| owner.had(token)) {
                    tracing::info!(%table, "releasing the lock that an earlier process left");
                    catalog.release(table, &former).await?;
                    continue;
                }
            }
            if clock.monotonic_ns().saturating_sub(start) >= wait {
                return Err(Error::new(ErrorKind::Busy, "another writer holds the table")
                    .with("table", table)
                    .with("waited_ms", settings.wait.as_millis()));
            }
            clock.sleep(pause(clock.as_ref(), settings.poll)).await;
        }
        let lost = Arc::new(AtomicBool::new(false));
        let renewal = tokio::spawn(renew(
            Arc::clone(catalog),
            Arc::clone(clock),
            table.clone(),
            token.clone(),
            settings.ttl,
            Arc::clone(&lost),
        ));
        let (catalog, table) = (Arc::clone(catalog), table.clone());
        Ok(Self { held: Some(Held { catalog, table, token, lost, renewal }) })
    }

    /// Whether the lock is known to be lost. `false` is no promise.
    pub fn is_lost(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.lost.load(Ordering::Acquire))
    }

    /// The token in the lock.
    pub fn token(&self) -> &str {
        self.held.as_ref().map_or("", |held| &held.token)
    }

    /// Notes that the lock was given back in the catalogue by other means
    /// ([`Catalog::swap_and_release`](super::Catalog::swap_and_release)).
    pub fn was_released(mut self) {
        if let Some(held) = self.held.take() {
            // A renewal that is under way compares the token and brings nothing back.
            held.renewal.abort();
        }
    }

    /// Releases the lock; `false` if it was lost before.
    ///
    /// # Errors
    /// `Unavailable` if the catalogue does not answer; the lock then expires by itself.
    pub async fn release(mut self) -> Result<bool> {
        match self.held.take() {
            Some(held) => held.release().await,
            None => Ok(false),
        }
    }
}

impl Held {
    async fn release(self) -> Result<bool> {
        // First stop and await the renewal, so that it cannot bring the lock back.
        self.renewal.abort();
        let _ = self.renewal.await;
        self.catalog.release(&self.table, &self.token).await
    }
}

impl Drop for TableLease {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        held.renewal.abort();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    let table = held.table.clone();
                    if let Err(error) = held.release().await {
                        tracing::debug!(%table, %error, "lock is left to expire");
                    }
                });
            }
            Err(_) => tracing::debug!(table = %held.table, "lock is left to expire"),
        }
    }
}

impl fmt::Debug for TableLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.held.as_ref().map(|held| held.table.to_string());
        f.debug_struct("TableLease")
            .field("table", &table)
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

/// The pause between two attempts, from half to one and a half of `poll`, so that those who wait
/// do not come all at once.
fn pause(clock: &dyn Clock, poll: Duration) -> Duration {
    let half = poll / 2;
    let spread = u64::try_from(poll.as_nanos()).unwrap_or(u64::MAX).max(1);
    half.saturating_add(Duration::from_nanos(clock.random() % spread))
}

async fn renew(
    catalog: SharedCatalog,
    clock: SharedClock,
    table: TableId,
    token: String,
    ttl: Duration,
    lost: Arc<AtomicBool>,
) {
    let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
    let mut renewed = clock.monotonic_ns();
    // Paced by the runtime and not by the clock: a clock that only moves when it is slept on would
    // be driven ahead by this loop.
    let mut ticks = tokio::time::interval((ttl / 3).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let start = clock.monotonic_ns();
        match catalog.renew(&table, &token, ttl).await {
            Ok(true) => {
                renewed = start;
                lost.store(false, Ordering::Release);
            }
            Ok(false) => {
                tracing::info!(%table, "lock of table was lost");
                lost.store(true, Ordering::Release);
                return;
            }
            Err(error) => {
                tracing::debug!(%table, %error, "lock could not be renewed");
                if clock.monotonic_ns().saturating_sub(renewed) >= ttl_ns {
                    lost.store(true, Ordering::Release);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::EmbeddedCatalog;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn a_lock_of_an_earlier_life_is_released_and_nobody_elses() {
        let clock: SharedClock = Arc::new(ManualClock::new(1_000, 1));
        let memory = EmbeddedCatalog::memory(Arc::clone(&clock)).expect("SQLite works");
        let catalog: SharedCatalog = Arc::new(memory);
        let id = TableId::parse("acme/shop/orders").expect("valid id");
        let life = |name: &str| LeaseSettings {
            wait: Duration::from_millis(200),
            owner: Some(LockOwner::new(name, clock.as_ref())),
            ..LeaseSettings::default()
        };
        let (first, second, other) = (life("a1"), life("a1"), life("a10"));
        let take = |settings: LeaseSettings| {
            let (catalog, clock, id) = (Arc::clone(&catalog), Arc::clone(&clock), id.clone());
            async move { TableLease::acquire(&catalog, &clock, &id, &settings).await }
        };
        let killed = take(first.clone()).await.expect("free");
        assert_eq!(take(first).await.expect_err("ours, and held").kind(), ErrorKind::Busy);
        assert_eq!(take(other).await.expect_err("somebody else's").kind(), ErrorKind::Busy);
        let none = LeaseSettings { wait: Duration::from_millis(200), ..LeaseSettings::default() };
        assert_eq!(take(none).await.expect_err("no owner").kind(), ErrorKind::Busy);
        let next = take(second).await.expect("left by an earlier life");
        assert!(!killed.release().await.expect("release"), "it was lost");
        assert!(next.release().await.expect("release"));
    }

    #[tokio::test]
    async fn a_held_lease_does_not_move_a_manual_clock() {
        let clock: SharedClock = Arc::new(ManualClock::new(1_000, 1));
        let memory = EmbeddedCatalog::memory(Arc::clone(&clock)).expect("SQLite works");
        let catalog: SharedCatalog = Arc::new(memory);
        let id = TableId::parse("acme/shop/orders").expect("valid id");
        let settings = LeaseSettings::default();
        let lease = TableLease::acquire(&catalog, &clock, &id, &settings).await.expect("free");
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.now_ns(), 1_000_000_000);
        assert!(lease.release().await.expect("release"));
    }
}
