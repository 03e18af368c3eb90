//! Rows found again after their files were rewritten.
//!
//! Rewritten files keep the row ids, in a column or in their footer, so they hold ids of the base.
//! SuperTable 2.0 rewrites files without: there, rows are found by what they hold.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::error::Result;
use crate::table::Table;
use crate::table::deletes::holds;
use crate::table::snapshot::{DataFile, Snapshot};
use crate::table::stored::{RowIds, is_derived};

/// Rows of a base whose files are gone, in the files of a newer snapshot.
#[derive(Debug, Default)]
pub(crate) struct MovedRows {
    /// Highest row id of the base that a counter gave.
    limit: i64,
    /// Ids of the base's files that are gone.
    ids: HashMap<Arc<str>, RowIds>,
    /// Those among them that no counter gave.
    derived: HashSet<i64>,
    /// Where rows with ids of the base are now.
    now: HashMap<i64, (Arc<str>, u32)>,
    /// Ids of the new files that hold some of them.
    rewritten: HashMap<Arc<str>, RowIds>,
    /// Rows of new files that were found by what they hold.
    equal: HashSet<(Arc<str>, u32)>,
}

impl MovedRows {
    /// Where a row of a file that is gone is now.
    pub(crate) fn find(&self, file: &str, row: u32) -> Option<(Arc<str>, u32)> {
        self.now.get(&self.ids.get(file)?.at(row)?).cloned()
    }

    /// Whether a row of a new file may have been in the base.
    pub(crate) fn is_old(&self, file: &str, row: u32) -> bool {
        let Some((path, ids)) = self.rewritten.get_key_value(file) else { return false };
        ids.at(row).is_some_and(|id| self.is_old_id(id))
            || self.equal.contains(&(Arc::clone(path), row))
    }

    /// Whether all rows of a new file may have been in the base.
    pub(crate) fn holds_only_old(&self, file: &str, rows: u64) -> bool {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        (0..rows).all(|row| self.is_old(file, row))
    }

    fn is_old_id(&self, id: i64) -> bool {
        if is_derived(id) { self.derived.contains(&id) } else { id <= self.limit }
    }
}

impl Table {
    /// Where rows went whose files were rewritten since the base.
    ///
    /// # Errors
    /// Those of reading row ids and rows.
    pub(crate) async fn moved_rows(&self, base: &Snapshot, tip: &Snapshot) -> Result<MovedRows> {
        let limit = i64::try_from(base.row_id_high_watermark).unwrap_or(i64::MAX);
        let mut moved = MovedRows { limit, ..MovedRows::default() };
        let kept: HashSet<&str> = tip.files.iter().map(|file| file.path.as_ref()).collect();
        let known: HashSet<&str> = base.files.iter().map(|file| file.path.as_ref()).collect();
        let vanished: Vec<&DataFile> =
            base.files.iter().filter(|file| !kept.contains(file.path.as_ref())).collect();
        if vanished.is_empty() {
            return Ok(moved);
        }
        let by_content = tip.generation.is_without_row_ids();
        let new: Vec<&DataFile> =
            tip.files.iter().filter(|file| !known.contains(file.path.as_ref())).collect();
        if by_content {
            self.know_vanished(&vanished, &mut moved).await?;
        }
        for file in &new {
            let ids = self.row_ids(file).await?;
            if !by_content && ids.span(file.rows).is_some_and(|(lowest, _)| lowest > limit) {
                continue;
            }
            for row in 0..u32::try_from(file.rows).unwrap_or(u32::MAX) {
                if let Some(id) = ids.at(row).filter(|id| moved.is_old_id(*id)) {
                    moved.now.insert(id, (Arc::clone(&file.path), row));
                }
            }
            moved.rewritten.insert(Arc::clone(&file.path), ids);
        }
        if by_content {
            self.find_equal(base, tip, (&vanished, &new), &mut moved).await?;
        } else if !moved.now.is_empty() {
            self.know_vanished(&vanished, &mut moved).await?;
        }
        Ok(moved)
    }

    async fn know_vanished(&self, vanished: &[&DataFile], moved: &mut MovedRows) -> Result<()> {
        // Derived ids may be equal by chance: those say nothing.
        let mut twice = HashSet::new();
        for file in vanished {
            let ids = self.row_ids(file).await?;
            let all = (0..u32::try_from(file.rows).unwrap_or(u32::MAX)).filter_map(|r| ids.at(r));
            for id in all.filter(|id| is_derived(*id)) {
                if !moved.derived.insert(id) {
                    twice.insert(id);
                }
            }
            moved.ids.insert(Arc::clone(&file.path), ids);
        }
        moved.derived.retain(|id| !twice.contains(id));
        Ok(())
    }

    /// Finds rows that no id leads to by what they hold; of equal rows one is as good as another.
    async fn find_equal(
        &self,
        base: &Snapshot,
        tip: &Snapshot,
        (vanished, new): (&[&DataFile], &[&DataFile]),
        moved: &mut MovedRows,
    ) -> Result<()> {
        let dead = self.dead_rows(&base.deletes).await?.ids();
        let mut missing: HashMap<u128, VecDeque<i64>> = HashMap::new();
        for file in vanished {
            let Some(ids) = moved.ids.get(&file.path) else { continue };
            let digests = self.key_digests(file, &tip.schema).await?;
            for (row, digest) in (0_u32..).zip(digests.iter()) {
                let id = ids.at(row).filter(|id| !holds(&dead, *id));
                if let Some(id) = id.filter(|id| !moved.now.contains_key(id)) {
                    missing.entry(*digest).or_default().push_back(id);
                }
            }
        }
        for file in new {
            let digests = self.key_digests(file, &tip.schema).await?;
            for (row, digest) in (0_u32..).zip(digests.iter()) {
                if missing.is_empty() {
                    return Ok(());
                }
                if moved.is_old(&file.path, row) {
                    continue;
                }
                if let Some(id) = missing.get_mut(digest).and_then(VecDeque::pop_front) {
                    let place = (Arc::clone(&file.path), row);
                    moved.now.insert(id, place.clone());
                    moved.equal.insert(place);
                }
            }
        }
        Ok(())
    }
}
