//! The newest snapshot of each table as far as this process knows, bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Snapshot, TableId};
use crate::table::snapshot_bytes;

/// Newest snapshots by table, each with the time when it was fetched.
///
/// A younger entry than `lasts_ns` is never dropped: until then it is what keeps this process's
/// own commits in sight, while an older answer may be under way. What is older saves a
/// comparison, and shows tables while the catalogue is away.
#[derive(Debug)]
pub(super) struct Pointers {
    entries: HashMap<TableId, (u64, Arc<Snapshot>)>,
    bytes: u64,
    bytes_max: u64,
    /// When so many bytes are reached, old entries are looked for.
    look_at: u64,
    lasts_ns: u64,
}

impl Pointers {
    pub(super) fn new(bytes_max: u64, lasts_ns: u64) -> Self {
        Self { entries: HashMap::new(), bytes: 0, bytes_max, look_at: bytes_max, lasts_ns }
    }

    /// Notes an answer; the answer is the newest snapshot, as the object that others have of it.
    pub(super) fn note(&mut self, snapshot: Arc<Snapshot>, now_ns: u64) -> Arc<Snapshot> {
        let Some((fetched, known)) = self.entries.get_mut(&snapshot.table) else {
            self.bytes += snapshot_bytes(&snapshot);
            let entry = (now_ns, Arc::clone(&snapshot));
            self.entries.insert(snapshot.table.clone(), entry);
            self.make_room(now_ns);
            return snapshot;
        };
        *fetched = now_ns;
        // The same version is kept as the same object, so that views of it are shared; an answer
        // that was under way while a newer commit was noted does not take its place.
        let newer = (snapshot.version, snapshot.committed_ms) > (known.version, known.committed_ms)
            || snapshot.committed_ms > known.committed_ms;
        if known.path != snapshot.path && newer {
            self.bytes += snapshot_bytes(&snapshot);
            self.bytes = self.bytes.saturating_sub(snapshot_bytes(known));
            *known = snapshot;
        }
        let newest = Arc::clone(known);
        self.make_room(now_ns);
        newest
    }

    /// Drops what was fetched longest ago until half of the room is free. Looked for again when
    /// there is twice as much: a listing of very many tables does not do it for each.
    fn make_room(&mut self, now_ns: u64) {
        if self.bytes <= self.look_at {
            return;
        }
        let old = |(id, (fetched, _)): (&TableId, &(u64, Arc<Snapshot>))| {
            let old = now_ns.saturating_sub(*fetched) >= self.lasts_ns;
            old.then(|| (*fetched, id.clone()))
        };
        let mut old: Vec<(u64, TableId)> = self.entries.iter().filter_map(old).collect();
        old.sort_unstable_by_key(|(fetched, _)| *fetched);
        for (_, id) in old {
            if self.bytes <= self.bytes_max / 2 {
                break;
            }
            self.remove(&id);
        }
        self.look_at = self.bytes_max.max(self.bytes.saturating_mul(2));
    }

    pub(super) fn remove(&mut self, id: &TableId) {
        if let Some((_, snapshot)) = self.entries.remove(id) {
            self.bytes = self.bytes.saturating_sub(snapshot_bytes(&snapshot));
        }
    }

    /// The newest snapshot, of whatever age.
    pub(super) fn get(&self, id: &TableId) -> Option<&Arc<Snapshot>> {
        self.entries.get(id).map(|(_, snapshot)| snapshot)
    }

    /// The newest snapshot, if it was fetched a moment ago.
    pub(super) fn recent(&self, id: &TableId, now_ns: u64) -> Option<Arc<Snapshot>> {
        let (fetched, snapshot) = self.entries.get(id)?;
        (now_ns.saturating_sub(*fetched) < self.lasts_ns).then(|| Arc::clone(snapshot))
    }

    /// Lets an entry count as old, but keeps it.
    pub(super) fn age(&mut self, id: &TableId, now_ns: u64) {
        if let Some((fetched, _)) = self.entries.get_mut(id) {
            *fetched = now_ns.saturating_sub(self.lasts_ns).min(*fetched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Deletes, Generation, LayoutRef, Lineage, TableConfig};

    fn snapshot(table: usize, version: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            table: TableId::parse(&format!("a/b/t{table}")).expect("valid"),
            version,
            path: format!("{table}/{version}"),
            committed_ms: i64::try_from(version).expect("small"),
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            files: Arc::from([]),
            deletes: Deletes::None,
            previous: None,
            row_id_high_watermark: 0,
            generation: Generation::G4,
            keeps_time: false,
            layout: LayoutRef::Missing,
            lineage: Lineage::default(),
            config: TableConfig::default(),
            document: Arc::default(),
        })
    }

    #[test]
    fn what_was_fetched_long_ago_makes_room_and_what_is_recent_stays() {
        let each = snapshot_bytes(&snapshot(0, 1));
        let mut pointers = Pointers::new(each * 10, 100);
        for table in 0..10 {
            pointers.note(snapshot(table, 1), 0);
        }
        assert_eq!(pointers.entries.len(), 10);
        // All of them are recent: more than the bound for a moment.
        for table in 10..15 {
            pointers.note(snapshot(table, 1), 50);
        }
        assert_eq!(pointers.entries.len(), 15);
        for table in 15..25 {
            pointers.note(snapshot(table, 1), 120);
        }
        let left: u64 = pointers.entries.values().map(|(_, kept)| snapshot_bytes(kept)).sum();
        assert_eq!(pointers.bytes, left);
        assert!((10..25).all(|table| pointers.get(&snapshot(table, 1).table).is_some()));
        assert!((0..10).all(|table| pointers.get(&snapshot(table, 1).table).is_none()));
        pointers.remove(&snapshot(20, 1).table);
        assert_eq!(pointers.bytes, left - each);
    }

    #[test]
    fn an_older_answer_does_not_take_the_place_of_a_newer_one() {
        let mut pointers = Pointers::new(1 << 20, 100);
        let newest = pointers.note(snapshot(1, 5), 0);
        assert!(Arc::ptr_eq(&pointers.note(snapshot(1, 4), 10), &newest));
        assert!(Arc::ptr_eq(&pointers.note(snapshot(1, 5), 20), &newest));
        assert_eq!(pointers.note(snapshot(1, 6), 30).version, 6);
        assert_eq!(pointers.recent(&newest.table, 129).map(|kept| kept.version), Some(6));
        assert!(pointers.recent(&newest.table, 130).is_none());
        pointers.age(&newest.table, 130);
        assert!(pointers.recent(&newest.table, 130).is_none());
        assert!(pointers.get(&newest.table).is_some());
    }
}
