//! Another writer's commit on an old snapshot, applied to the newest where rows have no ids.
//!
//! What it did is the difference of two bags of rows. The rows that it removed are removed from
//! the newest snapshot if they are still there, the rows that it added come last. Where both sides
//! changed a key, ours stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::table::Table;
use crate::table::commit::{NextDocument, Prepared};
use crate::table::edits;
use crate::table::keys;
use crate::table::layout::{self, Layout, Piece};
use crate::table::rebase::Moves;
use crate::table::snapshot::{DataFile, Deletes, Lineage, Snapshot};

/// A row of a snapshot: its file's path, its place in it, digests of all its cells and of its key.
struct Row {
    file: Arc<str>,
    row: u32,
    cells: u128,
    key: u128,
}

/// What the other side did to its base.
#[derive(Default)]
struct Difference {
    /// Rows that it added.
    added: Vec<Row>,
    /// Rows that it removed, by their cells.
    removed: HashMap<u128, u64>,
}

impl Table {
    /// The document that makes their change on `tip`, and how many of their new rows lost.
    ///
    /// # Errors
    /// Those of reading rows and writing objects.
    pub(crate) async fn merged_by_rows(
        &self,
        base: &Arc<Snapshot>,
        theirs: &Arc<Snapshot>,
        tip: &Arc<Snapshot>,
        (schema, names): (&SchemaRef, &[String]),
        lineage: impl FnOnce(u64) -> Lineage,
    ) -> Result<Prepared> {
        let before = self.live(base, schema, names).await?;
        let after = self.live(theirs, schema, names).await?;
        let now = self.live(tip, schema, names).await?;
        let mut ours: HashSet<u128> = HashSet::new();
        if !names.is_empty() {
            let change = difference(&before, self.live(tip, schema, names).await?);
            ours.extend(change.added.iter().map(|row| row.key));
            let mut removed = change.removed;
            ours.extend(before.iter().filter(|row| take(&mut removed, row.cells)).map(|r| r.key));
        }
        let mut change = difference(&before, after);
        let wanted = change.added.len();
        change.added.retain(|row| !ours.contains(&row.key));
        let lost = u64::try_from(wanted - change.added.len()).unwrap_or(u64::MAX);
        let tip_layout = self.layout(tip).await?;
        let (files, new) = added_rows(theirs, tip, &change.added)?;
        let mut moves = Moves::default();
        for (at, row) in (0_u64..).zip(&now) {
            if take(&mut change.removed, row.cells) {
                moves.deletions.push(at..at + 1);
            }
        }
        moves.inserts.push((tip_layout.rows(), 0..new.rows()));
        let mut edited = edits::apply(&tip_layout, &moves.placed(), &new)?;
        for draft in &mut edited.drafts {
            draft.bytes = None;
        }
        let measure = self.parts.measure.as_ref();
        let mut placed = edits::finish(&edited, &files, schema, measure).await?;
        placed.columns = layout::columns_digest(schema);
        let next = NextDocument {
            schema,
            files: &files,
            deletes: &Deletes::None,
            row_id_high_watermark: tip.row_id_high_watermark.max(theirs.row_id_high_watermark),
            config: &tip.config,
            marks: vec![("merged_from", theirs.path.clone())],
        };
        self.document(tip, next, &Arc::new(placed), &lineage(lost)).await
    }

    /// The rows that a snapshot shows, in their order.
    async fn live(
        &self,
        snapshot: &Snapshot,
        schema: &SchemaRef,
        names: &[String],
    ) -> Result<Vec<Row>> {
        let layout = self.layout(snapshot).await?;
        let keys = keys::key_schema(schema, names)?;
        let files: HashMap<&str, &DataFile> =
            snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let mut rows = Vec::new();
        for piece in &layout.pieces {
            let path = layout.path(piece.file)?;
            let Some(file) = files.get(path.as_ref()) else { continue };
            let cells = self.key_digests(file, schema).await?;
            let own = match names.is_empty() {
                true => Arc::clone(&cells),
                false => self.key_digests(file, &keys).await?,
            };
            for row in piece.range() {
                let at = usize::try_from(row).unwrap_or(usize::MAX);
                if let (Some(cells), Some(key)) = (cells.get(at), own.get(at)) {
                    let file = Arc::clone(path);
                    rows.push(Row { file, row, cells: *cells, key: *key });
                }
            }
        }
        Ok(rows)
    }
}

/// Takes one of a bag; whether there was one.
fn take(bag: &mut HashMap<u128, u64>, digest: u128) -> bool {
    match bag.get_mut(&digest) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

fn difference(before: &[Row], after: Vec<Row>) -> Difference {
    let mut change = Difference::default();
    for row in before {
        *change.removed.entry(row.cells).or_default() += 1;
    }
    for row in after {
        if !take(&mut change.removed, row.cells) {
            change.added.push(row);
        }
    }
    change
}

/// The files of the tip with those that hold added rows, and these rows as a layout.
fn added_rows(theirs: &Snapshot, tip: &Snapshot, added: &[Row]) -> Result<(Vec<DataFile>, Layout)> {
    let mut files: Vec<DataFile> = tip.files.to_vec();
    let mut new = Layout::default();
    for row in added {
        if new.files.last() != Some(&row.file) {
            new.files.push(Arc::clone(&row.file));
        }
        let file = u32::try_from(new.files.len().saturating_sub(1))
            .map_err(|_| crate::error::Error::unsupported("more than 2^32 new files"))?;
        new.pieces.push(Piece { file, first: row.row, rows: 1, bytes: 0 });
        if !files.iter().any(|known| known.path == row.file) {
            files.extend(theirs.files.iter().find(|known| known.path == row.file).cloned());
        }
    }
    Ok((files, new))
}
