//! The exact order of a snapshot's rows: the stored layout where it fits, else a healed one.
//!
//! Files and deletion vector alone are the truth. A layout that was made for other files or
//! deletes is reconciled with them: rows that are not live drop out, rows that it does not name
//! come last, in the order of the document's files and of the rows in them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::store;
use crate::table::Table;
use crate::table::codec;
use crate::table::deletes::{self, DeadRows, holds};
use crate::table::edits::{self, Draft, Edited};
use crate::table::layout::{self, Layout};
use crate::table::snapshot::{DataFile, Deletes, LayoutRef, Snapshot};
use crate::table::stored::{self, RowIds};

/// Objects read at the same time.
const READS_AT_ONCE: usize = 16;

impl Table {
    /// The order of the snapshot's rows: every live row exactly once, byte lengths for the
    /// snapshot's columns.
    ///
    /// # Errors
    /// `Corrupt` if files or deletion vectors are missing or contradict the snapshot.
    pub async fn layout(&self, snapshot: &Snapshot) -> Result<Arc<Layout>> {
        let digest = layout::digest(&snapshot.files, &snapshot.deletes);
        let columns = layout::columns_digest(&snapshot.schema);
        let key = (digest.clone(), columns.clone());
        if let Some(known) = self.parts.caches.layouts.get(&key) {
            return Ok(known);
        }
        let stored = self.stored_layout(codec::carried_layout(&snapshot.document)).await?;
        if let Some(stored) = &stored
            && stored.digest == digest
            && stored.columns == columns
            && stored.rows() == snapshot.rows()
        {
            self.parts.caches.layouts.insert(key, Arc::clone(stored));
            return Ok(Arc::clone(stored));
        }
        let stored = stored.unwrap_or_default();
        let mut healed = self.heal(snapshot, &stored, stored.columns == columns).await?;
        healed.digest = digest;
        healed.columns = columns;
        let healed = Arc::new(healed);
        self.parts.caches.layouts.insert(key, Arc::clone(&healed));
        Ok(healed)
    }

    /// The layout that a document carries; one that cannot be read is as good as none.
    pub(crate) async fn stored_layout(&self, stored: LayoutRef) -> Result<Option<Arc<Layout>>> {
        let path = match stored {
            LayoutRef::Missing => return Ok(None),
            LayoutRef::Inline(layout) => return Ok(Some(layout)),
            LayoutRef::Object(path) => path,
        };
        let layout = store::get(&self.parts.objects, &path)
            .await?
            .and_then(|bytes| layout::unpack(&bytes))
            .map(Arc::new);
        if layout.is_none() {
            tracing::warn!(table = %self.id, path, "layout cannot be read: rows are re-ordered");
        }
        Ok(layout)
    }

    async fn heal(
        &self,
        snapshot: &Snapshot,
        stored: &Layout,
        lengths_fit: bool,
    ) -> Result<Layout> {
        let live = self.live_rows(snapshot).await?;
        let edited = reconcile(&snapshot.files, &live, stored, lengths_fit)?;
        let measure = self.parts.measure.as_ref();
        edits::finish(&edited, &snapshot.files, &snapshot.schema, measure).await
    }

    /// Live rows of each file, as ascending runs.
    pub(crate) async fn live_rows(
        &self,
        snapshot: &Snapshot,
    ) -> Result<HashMap<Arc<str>, Vec<Range<u32>>>> {
        let dead = self.dead_rows(&snapshot.deletes).await?.ids();
        // Requests are made before the stream, see `edits::finish`.
        let requests: Vec<_> =
            snapshot.files.iter().map(|file| self.live_rows_of(file, &dead)).collect();
        futures::stream::iter(requests).buffer_unordered(READS_AT_ONCE).try_collect().await
    }

    async fn live_rows_of(
        &self,
        file: &DataFile,
        dead: &[i64],
    ) -> Result<(Arc<str>, Vec<Range<u32>>)> {
        let rows = u32::try_from(file.rows)
            .map_err(|_| Error::unsupported("data file of more than 2^32 rows"))?;
        let runs = if dead.is_empty() {
            std::iter::once(0..rows).filter(|run| !run.is_empty()).collect()
        } else {
            live_runs(&self.row_ids(file).await?, rows, dead)
        };
        Ok((Arc::clone(&file.path), runs))
    }

    /// All dead rows of a deletion vector.
    pub(crate) async fn dead_rows(&self, deletes: &Deletes) -> Result<DeadRows> {
        let parts = match deletes {
            Deletes::None => return Ok(DeadRows::default()),
            Deletes::ByKey(dead) => return Ok(DeadRows::clone(dead)),
            Deletes::Rows { parts, .. } => parts,
        };
        let requests: Vec<_> = parts.iter().map(|part| self.dead_part(part)).collect();
        let parts: Vec<Arc<DeadRows>> = futures::stream::iter(requests)
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error: Error| error.with("table", &self.id))?;
        let mut all = DeadRows::default();
        for part in parts {
            all.extend(&part);
        }
        Ok(all)
    }

    async fn dead_part(&self, part: &str) -> Result<Arc<DeadRows>> {
        if let Some(known) = self.parts.caches.dead.get(part) {
            return Ok(known);
        }
        let read = Arc::new(deletes::read_part(&self.parts.objects, part).await?);
        self.parts.caches.dead.insert(part.to_owned(), Arc::clone(&read));
        Ok(read)
    }

    /// The row ids of a file.
    pub(crate) async fn row_ids(&self, file: &DataFile) -> Result<RowIds> {
        if let Some(known) = self.parts.caches.row_ids.get(&file.path) {
            return Ok(known);
        }
        let ids = stored::read_row_ids(&self.parts.objects, file).await?;
        self.parts.caches.row_ids.insert(Arc::clone(&file.path), ids.clone());
        Ok(ids)
    }
}

/// Runs of rows whose ids are not in the ascending list `dead`.
fn live_runs(ids: &RowIds, rows: u32, dead: &[i64]) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    let mut push = |run: Range<u32>| {
        if run.is_empty() {
            return;
        }
        match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        }
    };
    match ids {
        RowIds::From(first) => {
            let mut start = 0;
            let from = dead.partition_point(|id| id < first);
            for id in dead.iter().skip(from) {
                match u32::try_from(id - first) {
                    Ok(row) if row < rows => {
                        push(start..row);
                        start = row + 1;
                    }
                    _ => break,
                }
            }
            push(start..rows);
        }
        RowIds::Each(list) => {
            for (row, id) in (0..rows).zip(list.iter()) {
                if !holds(dead, *id) {
                    push(row..row + 1);
                }
            }
        }
    }
    runs
}

/// Lays the live rows out as `stored` says, the rest behind.
fn reconcile(
    files: &[DataFile],
    live: &HashMap<Arc<str>, Vec<Range<u32>>>,
    stored: &Layout,
    lengths_fit: bool,
) -> Result<Edited> {
    let mut edited = Edited {
        files: files.iter().map(|file| Arc::clone(&file.path)).collect(),
        ..Edited::default()
    };
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for (number, file) in (0_u32..).zip(files) {
        if numbers.insert(&file.path, number).is_some() {
            return Err(Error::corrupt("snapshot lists a file twice").with("file", &file.path));
        }
    }
    let mut left = live.clone();
    for piece in &stored.pieces {
        let path = stored.path(piece.file)?;
        let (Some(number), Some(runs)) = (numbers.get(path.as_ref()), left.get_mut(path)) else {
            continue;
        };
        let whole = runs.iter().any(|run| run.start <= piece.first && run.end >= piece.range().end);
        for rows in take(runs, piece.range()) {
            let bytes = (whole && lengths_fit).then_some(piece.bytes);
            edited.push(Draft { file: *number, rows, bytes });
        }
    }
    for file in files {
        let Some(number) = numbers.get(file.path.as_ref()) else { continue };
        for rows in left.get(&file.path).into_iter().flatten() {
            edited.push(Draft { file: *number, rows: rows.clone(), bytes: None });
        }
    }
    Ok(edited)
}

/// Cuts `wanted` out of ascending runs; returns what of it was there.
fn take(runs: &mut Vec<Range<u32>>, wanted: Range<u32>) -> Vec<Range<u32>> {
    let first = runs.partition_point(|run| run.end <= wanted.start);
    let last = runs.partition_point(|run| run.start < wanted.end).max(first);
    let mut keep = Vec::with_capacity(2);
    let mut taken = Vec::with_capacity(last - first);
    for run in runs.get(first..last).unwrap_or_default() {
        taken.push(run.start.max(wanted.start)..run.end.min(wanted.end));
        if run.start < wanted.start {
            keep.push(run.start..wanted.start);
        }
        if run.end > wanted.end {
            keep.push(wanted.end..run.end);
        }
    }
    runs.splice(first..last, keep);
    taken
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "runs are ranges")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::layout::Piece;

    fn file(name: &str, rows: u64) -> DataFile {
        DataFile { path: name.into(), bytes: 1, rows, columns: 1 }
    }

    fn text(edited: &Edited) -> String {
        let mut out = String::new();
        for draft in &edited.drafts {
            let name = &edited.files[usize::try_from(draft.file).expect("index")];
            for row in draft.rows.clone() {
                out += &format!("{name}{row} ");
            }
        }
        out.trim_end().to_owned()
    }

    fn stored(files: &[&str], pieces: &[(u32, u32, u32)]) -> Layout {
        Layout {
            files: files.iter().map(|name| (*name).into()).collect(),
            pieces: pieces
                .iter()
                .map(|(file, first, rows)| Piece {
                    file: *file,
                    first: *first,
                    rows: *rows,
                    bytes: 7,
                })
                .collect(),
            ..Layout::default()
        }
    }

    #[test]
    fn unknown_files_go_last_and_vanished_rows_drop_out() {
        let files = [file("a", 4), file("c", 2)];
        let live = HashMap::from([("a".into(), vec![0..1, 2..4]), ("c".into(), vec![0..2])]);
        let old = stored(&["b", "a"], &[(1, 2, 2), (0, 0, 3), (1, 0, 2)]);
        let edited = reconcile(&files, &live, &old, true).expect("reconcile");
        assert_eq!(text(&edited), "a2 a3 a0 c0 c1");
        let bytes: Vec<Option<u64>> = edited.drafts.iter().map(|draft| draft.bytes).collect();
        assert_eq!(bytes, [Some(7), None, None]);
    }

    proptest! {
        #[test]
        fn a_healed_layout_holds_every_live_row_once(
            rows in proptest::collection::vec(1_u32..8, 1..4),
            pieces in proptest::collection::vec((0_u32..5, 0_u32..8, 1_u32..8), 0..8),
            dead in proptest::collection::btree_set(0_i64..32, 0..10),
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let dead: Vec<i64> = dead.into_iter().collect();
            let mut files = Vec::new();
            let mut live: HashMap<Arc<str>, Vec<Range<u32>>> = HashMap::new();
            let mut expected = Vec::new();
            for (index, count) in rows.iter().enumerate() {
                files.push(file(names[index], u64::from(*count)));
                let first = i64::try_from(index).expect("small") * 8;
                let ids: Vec<i64> = (0..i64::from(*count)).map(|row| first + row).collect();
                let runs = live_runs(&RowIds::From(first), *count, &dead);
                prop_assert_eq!(&runs, &live_runs(&RowIds::Each(ids.into()), *count, &dead));
                live.insert(names[index].into(), runs);
                for row in 0..*count {
                    if !dead.contains(&(first + i64::from(row))) {
                        expected.push(format!("{}{row}", names[index]));
                    }
                }
            }
            let old = stored(&names, &pieces);
            let edited = reconcile(&files, &live, &old, true).expect("reconcile");
            let shown = text(&edited);
            let mut got: Vec<&str> = shown.split_whitespace().collect();
            got.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
        }
    }
}
