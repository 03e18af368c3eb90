//! What a process remembers of immutable objects, bounded in bytes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use crate::ident::{SuperId, TableId};
use crate::table::deletes::DeadRows;
use crate::table::generation::Generation;
use crate::table::group::Queues;
use crate::table::keys::KeyDigests;
use crate::table::layout::Layout;
use crate::table::snapshot::Snapshot;
use crate::table::stored::RowIds;

/// Shared memory of all tables of a process. Everything in it can be read again from storage.
pub struct TableCaches {
    /// Snapshots by table and document path.
    pub(crate) snapshots: Cache<(TableId, String), Arc<Snapshot>, SnapshotWeight>,
    /// The last leaf of a table with the snapshot that it names.
    pub(crate) leaves: Cache<TableId, (Bytes, Arc<Snapshot>), LeafWeight>,
    /// Row ids by data file.
    pub(crate) row_ids: Cache<Arc<str>, RowIds, RowIdWeight>,
    /// Deletion-vector parts by path.
    pub(crate) dead: Cache<String, Arc<DeadRows>, DeadWeight>,
    /// Layouts by their digests.
    pub(crate) layouts: Cache<(String, String), Arc<Layout>, LayoutWeight>,
    /// Stored columns, in shown types, by data file.
    pub(crate) schemas: Cache<Arc<str>, SchemaRef, SchemaWeight>,
    /// Key digests by data file and columns.
    pub(crate) keys: Cache<(Arc<str>, String), Arc<KeyDigests>, KeyWeight>,
    /// Generations of SuperTables that have tables.
    pub(crate) generations: Generations,
    /// Changes that wait for the commit under way; not a memory, but shared as widely.
    pub(crate) queues: Queues,
}

impl TableCaches {
    /// Caches that hold about `bytes` bytes together.
    pub fn new(bytes: u64) -> Self {
        let part = |share: u64| (bytes / 100).saturating_mul(share).max(64 << 10);
        let items = |bytes: u64| usize::try_from(bytes / 2048).unwrap_or(usize::MAX).min(1 << 16);
        macro_rules! cache {
            ($share:expr, $weight:expr) => {
                whole(items(part($share)), part($share), $weight)
            };
        }
        Self {
            snapshots: cache!(20, SnapshotWeight),
            // With default settings the leaves of 3,000 tables: a listing asks for all of them in
            // turn, and a cache that is smaller than that keeps none long enough.
            leaves: cache!(32, LeafWeight),
            row_ids: cache!(10, RowIdWeight),
            dead: cache!(10, DeadWeight),
            layouts: cache!(10, LayoutWeight),
            schemas: cache!(5, SchemaWeight),
            keys: cache!(13, KeyWeight),
            generations: Generations::default(),
            queues: Queues::default(),
        }
    }
}

/// A cache of one shard. The weight is split between shards, and an entry that is heavier than its
/// shard is never kept: a snapshot of a table with thousands of files must be.
fn whole<K, V, W>(items: usize, weight_max: u64, weighter: W) -> Cache<K, V, W>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    W: Weighter<K, V> + Clone,
{
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(items)
        .weight_capacity(weight_max)
        .build();
    match options {
        Ok(options) => {
            Cache::with_options(options, weighter, Default::default(), Default::default())
        }
        Err(_) => Cache::with_weighter(items, weight_max, weighter),
    }
}

/// Generations by SuperTable.
#[derive(Default)]
pub(crate) struct Generations(Mutex<HashMap<SuperId, Generation>>);

impl Generations {
    fn known(&self) -> MutexGuard<'_, HashMap<SuperId, Generation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &SuperId) -> Option<Generation> {
        self.known().get(id).copied()
    }

    pub(crate) fn insert(&self, id: SuperId, generation: Generation) {
        self.known().insert(id, generation);
    }
}

impl fmt::Debug for TableCaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCaches").finish_non_exhaustive()
    }
}

fn bytes_of(count: usize, each: u64) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(each).saturating_add(256)
}

/// The document and its parsed form take a few hundred bytes for each file and column.
pub(crate) fn snapshot_bytes(snapshot: &Snapshot) -> u64 {
    bytes_of(snapshot.files.len(), 900)
        + bytes_of(snapshot.schema.fields().len(), 400)
        + match &snapshot.layout {
            crate::table::snapshot::LayoutRef::Inline(layout) => bytes_of(layout.pieces.len(), 200),
            _ => 0,
        }
}

macro_rules! weigh {
    ($name:ident, $key:ty, $value:ty, |$v:ident| $bytes:expr) => {
        /// Bytes of an entry, about.
        #[derive(Debug, Clone)]
        pub(crate) struct $name;

        impl Weighter<$key, $value> for $name {
            fn weight(&self, _key: &$key, $v: &$value) -> u64 {
                $bytes
            }
        }
    };
}

weigh!(SnapshotWeight, (TableId, String), Arc<Snapshot>, |v| snapshot_bytes(v));
// What the snapshot shares with the pointers of the lake is weighed there.
weigh!(LeafWeight, TableId, (Bytes, Arc<Snapshot>), |v| bytes_of(v.0.len(), 1)
    + snapshot_bytes(&v.1) / 4);
weigh!(RowIdWeight, Arc<str>, RowIds, |v| match v {
    RowIds::From(_) => 200,
    RowIds::Each(ids) => bytes_of(ids.len(), 8),
});
weigh!(DeadWeight, String, Arc<DeadRows>, |v| v.len().saturating_mul(40).saturating_add(200));
weigh!(LayoutWeight, (String, String), Arc<Layout>, |v| bytes_of(v.pieces.len(), 24)
    + bytes_of(v.files.len(), 150));
weigh!(KeyWeight, (Arc<str>, String), Arc<KeyDigests>, |v| bytes_of(v.len(), 16));
weigh!(SchemaWeight, Arc<str>, SchemaRef, |v| bytes_of(v.fields().len(), 200));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_half_the_cache_is_kept() {
        #[derive(Clone)]
        struct Bytes;
        impl Weighter<u64, u64> for Bytes {
            fn weight(&self, _: &u64, bytes: &u64) -> u64 {
                *bytes
            }
        }
        let cache = whole(64, 1000, Bytes);
        cache.insert(1, 500);
        assert_eq!(cache.get(&1), Some(500));
    }
}
