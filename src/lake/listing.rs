//! Directories of the lake, remembered as long as a table's pointer may be: a listing comes in many
//! pages, and each of them would ask the catalogue for all tables again.
//!
//! What this process changes is seen at once: every change raises a generation, and what was
//! fetched in an older one is not used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Lake, Snapshot, SuperId};
use crate::error::Result;

/// Listings kept at a time, the newest ones.
const LISTINGS_MAX: usize = 4;
/// Change times of SuperTables kept at a time.
const TIMES_MAX: usize = 1_024;
/// Later pages of a listing may be older than its first page by this factor: names come in the
/// order of their cookies, so that a walk misses none that was there all the time.
const PATIENCE: u64 = 5;

/// What the directory of a SuperTable shows of the catalogue.
#[derive(Debug)]
pub struct Listing {
    /// The newest snapshots of all tables, sorted by name.
    pub tables: Vec<Arc<Snapshot>>,
    /// Whether writes were refused that belong to no table.
    pub refused: bool,
}

/// How old a listing may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The listing begins.
    First,
    /// It goes on where an earlier page ended.
    Later,
}

/// Something that was fetched.
#[derive(Debug, Clone)]
struct Fetched<T> {
    at_ns: u64,
    generation: u64,
    value: T,
}

/// The listings of a process.
#[derive(Debug, Default)]
pub(super) struct Listings {
    generation: AtomicU64,
    kept: Mutex<Vec<(SuperId, Fetched<Arc<Listing>>)>>,
    times: Mutex<HashMap<SuperId, Fetched<i64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listings {
    /// Forgets everything; also what is being fetched at the moment.
    pub(super) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn fresh<T: Clone>(&self, found: &Fetched<T>, now: u64, age_max: u64) -> Option<T> {
        let young = now.saturating_sub(found.at_ns) < age_max;
        (young && found.generation == self.generation()).then(|| found.value.clone())
    }

    fn find(&self, id: &SuperId, now: u64, age_max: u64) -> Option<Arc<Listing>> {
        let kept = lock(&self.kept);
        let (_, found) = kept.iter().find(|(kept, _)| kept == id)?;
        self.fresh(found, now, age_max)
    }

    fn keep(&self, id: &SuperId, fetched: Fetched<Arc<Listing>>) {
        let mut kept = lock(&self.kept);
        kept.retain(|(kept, _)| kept != id);
        if kept.len() >= LISTINGS_MAX {
            kept.remove(0);
        }
        kept.push((id.clone(), fetched));
    }
}

impl Lake {
    /// What the directory of a SuperTable shows, at most `Timing::pointer` old, later pages a few
    /// times that; changes made by this process are always seen.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn listing(&self, id: &SuperId, page: Page) -> Result<Arc<Listing>> {
        let inner = &self.0;
        let age_max = match page {
            Page::First => inner.pointer_ns,
            Page::Later => inner.pointer_ns.saturating_mul(PATIENCE),
        };
        let at_ns = inner.clock.monotonic_ns();
        if let Some(listing) = inner.listings.find(id, at_ns, age_max) {
            return Ok(listing);
        }
        let generation = inner.listings.generation();
        let tables = self.tables(id).await?;
        let refused = !self.super_refusals(id, 1).await?.is_empty();
        let value = Arc::new(Listing { tables, refused });
        inner.listings.keep(id, Fetched { at_ns, generation, value: Arc::clone(&value) });
        Ok(value)
    }

    /// The same snapshots, or newer ones of their tables that were met since: what a client has
    /// seen of a table never goes back because a listing was fetched earlier.
    pub fn newest_known(&self, snapshots: &[Arc<Snapshot>]) -> Vec<Arc<Snapshot>> {
        let pointers = self.pointers();
        let newest = snapshots.iter().map(|listed| match pointers.get(&listed.table) {
            Some(known) if known.committed_ms >= listed.committed_ms => Arc::clone(known),
            _ => Arc::clone(listed),
        });
        newest.collect()
    }

    /// When the SuperTable last changed, as [`Lake::super_changed_ms`] says, at most
    /// `Timing::pointer` ago.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn super_seen_ms(&self, id: &SuperId) -> Result<Option<i64>> {
        let inner = &self.0;
        let at_ns = inner.clock.monotonic_ns();
        let known = lock(&inner.listings.times).get(id).cloned();
        let known = known.and_then(|found| inner.listings.fresh(&found, at_ns, inner.pointer_ns));
        if known.is_some() {
            return Ok(known);
        }
        let generation = inner.listings.generation();
        let changed = self.super_changed_ms(id).await?;
        let mut times = lock(&inner.listings.times);
        if times.len() >= TIMES_MAX {
            times.clear();
        }
        match changed {
            Some(value) => times.insert(id.clone(), Fetched { at_ns, generation, value }),
            // That there is none is asked each time: it may be made at any moment.
            None => times.remove(id),
        };
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::datatypes::{DataType, Field, Schema};
    use object_store::memory::InMemory;

    use super::*;
    use crate::catalog::{EmbeddedCatalog, SharedCatalog};
    use crate::clock::{ManualClock, SharedClock};
    use crate::config::Settings;
    use crate::ident::SimpleName;
    use crate::lake::{Principal, TableConfig};
    use crate::store::Objects;

    struct Lab {
        clock: Arc<ManualClock>,
        ours: Lake,
        others: Lake,
        id: SuperId,
        who: Principal,
    }

    impl Lab {
        /// Two gateways on one lake.
        async fn new() -> Self {
            let clock = Arc::new(ManualClock::new(1_000_000, 1));
            let shared: SharedClock = clock.clone();
            let objects: Objects = Arc::new(InMemory::new());
            let catalog: SharedCatalog = Arc::new(EmbeddedCatalog::memory(shared.clone()).unwrap());
            let open = || {
                let (objects, catalog) = (Arc::clone(&objects), Arc::clone(&catalog));
                let settings = Settings { state: "".into(), ..Settings::default() };
                Lake::from_parts(&settings, objects, catalog, shared.clone()).unwrap()
            };
            let who = Principal {
                uid: 0,
                client: "test".into(),
                role: "superadmin".into(),
                read_only: false,
            };
            let (ours, others, id) = (open(), open(), SuperId::parse("acme/shop").unwrap());
            ours.create_super(&who, &id).await.unwrap();
            Self { clock, ours, others, id, who }
        }

        async fn create(&self, lake: &Lake, name: &str) {
            let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
            let table = self.id.table(SimpleName::new(name).unwrap());
            lake.create_table(&self.who, &table, schema, TableConfig::default()).await.unwrap();
        }

        async fn names(&self, page: Page) -> String {
            let listing = self.ours.listing(&self.id, page).await.unwrap();
            let names = listing.tables.iter().map(|table| table.table.simple_name.to_string());
            names.collect::<Vec<_>>().join(" ")
        }
    }

    #[tokio::test]
    async fn a_listing_serves_its_later_pages_and_shows_own_changes_at_once() {
        let lab = Lab::new().await;
        lab.create(&lab.ours, "a").await;
        assert_eq!(lab.names(Page::First).await, "a");
        lab.create(&lab.others, "b").await;
        assert_eq!(lab.names(Page::First).await, "a", "the catalogue is not asked again");
        lab.clock.advance(Duration::from_millis(300));
        assert_eq!(lab.names(Page::Later).await, "a", "a walk goes on in one listing");
        assert_eq!(lab.names(Page::First).await, "a b", "a new walk sees what others did");
        lab.create(&lab.ours, "c").await;
        assert_eq!(lab.names(Page::Later).await, "a b c");
        let table = lab.id.table(SimpleName::new("a").unwrap());
        lab.ours.drop_table(&lab.who, &table).await.unwrap();
        assert_eq!(lab.names(Page::Later).await, "b c");
        lab.clock.advance(Duration::from_secs(2));
        lab.create(&lab.others, "d").await;
        assert_eq!(lab.names(Page::Later).await, "b c d", "no page is older than a second");
    }

    #[tokio::test]
    async fn a_listing_never_shows_an_older_snapshot_than_was_met() {
        let lab = Lab::new().await;
        lab.create(&lab.others, "a").await;
        let listing = lab.ours.listing(&lab.id, Page::First).await.unwrap();
        let table = lab.id.table(SimpleName::new("a").unwrap());
        lab.clock.advance(Duration::from_millis(300));
        lab.others.drop_table(&lab.who, &table).await.unwrap();
        lab.create(&lab.others, "a").await;
        let met = lab.ours.latest(&lab.who, &table).await.unwrap();
        assert_ne!(met.path, listing.tables[0].path);
        let shown = lab.ours.newest_known(&listing.tables);
        assert_eq!(shown[0].path, met.path);
    }

    #[tokio::test]
    async fn the_time_of_a_supertable_is_asked_again_after_a_change_and_after_a_while() {
        let lab = Lab::new().await;
        let first = lab.ours.super_seen_ms(&lab.id).await.unwrap().unwrap();
        lab.clock.advance(Duration::from_millis(300));
        lab.ours.drop_super(&lab.who, &lab.id).await.unwrap();
        assert_eq!(lab.ours.super_seen_ms(&lab.id).await.unwrap(), None);
        lab.ours.create_super(&lab.who, &lab.id).await.unwrap();
        assert!(lab.ours.super_seen_ms(&lab.id).await.unwrap().unwrap() > first);
        lab.others.drop_super(&lab.who, &lab.id).await.unwrap();
        lab.clock.advance(Duration::from_millis(300));
        assert_eq!(lab.ours.super_seen_ms(&lab.id).await.unwrap(), None);
    }
}
