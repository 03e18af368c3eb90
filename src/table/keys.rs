//! Key columns: no two live rows with the same key, no NULL in a key.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::changeset::{ConflictReason, RowConflict};
use crate::table::layout::{Layout, columns_digest};
use crate::table::rebase::{CONFLICTS_MAX, Moves};
use crate::table::scan::conform;
use crate::table::snapshot::DataFile;
use crate::table::stored;
use crate::table::write::KeyDigester;

/// Digests of the keys of a file's rows, by position.
pub(crate) type KeyDigests = [u128];

/// The key columns of a schema.
///
/// # Errors
/// `Invalid` if one of them does not exist.
pub(crate) fn key_schema(schema: &Schema, keys: &[String]) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> = keys
        .iter()
        .map(|key| {
            schema.field_with_name(key).cloned().map_err(|_| {
                Error::invalid("key column does not exist").with("column", key.escape_debug())
            })
        })
        .collect();
    Ok(Arc::new(Schema::new(fields?)))
}

fn conflict(reason: ConflictReason, new_row: Option<u64>, current_row: Option<u64>) -> RowConflict {
    RowConflict { base_row: None, new_row, current_row, twin: None, reason }
}

/// Checks the new rows among themselves; returns their ordinals by key.
pub(crate) fn among_themselves(
    digests: &[u128],
    null_key: Option<u64>,
) -> std::result::Result<HashMap<u128, u64>, Vec<RowConflict>> {
    let mut found = Vec::new();
    if let Some(row) = null_key {
        found.push(conflict(ConflictReason::NullKey, Some(row), None));
    }
    let mut by_key = HashMap::with_capacity(digests.len());
    for (row, digest) in (0_u64..).zip(digests) {
        let twin = by_key.insert(*digest, row);
        if twin.is_some() && found.len() < CONFLICTS_MAX {
            let twice = conflict(ConflictReason::DuplicateKey, Some(row), None);
            found.push(RowConflict { twin, ..twice });
        }
    }
    if found.is_empty() { Ok(by_key) } else { Err(found) }
}

impl Table {
    /// Digests of a stored file's keys for the key columns `keys` (names and types).
    ///
    /// # Errors
    /// Those of reading the file.
    pub(crate) async fn key_digests(
        &self,
        file: &DataFile,
        keys: &SchemaRef,
    ) -> Result<Arc<KeyDigests>> {
        let cache_key = (Arc::clone(&file.path), columns_digest(keys));
        if let Some(known) = self.parts.caches.keys.get(&cache_key) {
            return Ok(known);
        }
        let names: Vec<String> = keys.fields().iter().map(|field| field.name().clone()).collect();
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let batches = stored::read_columns(&self.parts.objects, file, &wanted).await?;
        let mut digester = KeyDigester::new(keys, &names)?;
        for batch in &batches {
            digester.observe(&conform(batch, keys)?)?;
        }
        let digests: Arc<KeyDigests> = digester.finish().0.into();
        if u64::try_from(digests.len()).is_ok_and(|rows| rows != file.rows) {
            return Err(Error::corrupt("data file lost rows").with("file", &file.path));
        }
        self.parts.caches.keys.insert(cache_key, Arc::clone(&digests));
        Ok(digests)
    }

    /// Looks for the new rows' keys among the live rows that the moves do not remove.
    ///
    /// # Errors
    /// Those of reading key columns.
    pub(crate) async fn existing_keys(
        &self,
        layout: &Layout,
        files: &[DataFile],
        keys: &SchemaRef,
        new_rows: &HashMap<u128, u64>,
        moves: &Moves,
    ) -> Result<Vec<(u64, u64)>> {
        let mut removed = moves.deletions.clone();
        removed.sort_by_key(|range| range.start);
        let mut found = Vec::new();
        self.for_each_key(layout, files, keys, |ordinal, digest| {
            if let Some(new_row) = new_rows.get(&digest)
                && !within(&removed, ordinal)
            {
                found.push((*new_row, ordinal));
            }
        })
        .await?;
        Ok(found)
    }

    /// Checks that all live rows have different keys, none of them NULL (a key was configured).
    ///
    /// # Errors
    /// Those of reading key columns.
    pub(crate) async fn all_keys(
        &self,
        layout: &Layout,
        files: &[DataFile],
        keys: &SchemaRef,
        moves: &Moves,
        new_rows: &HashMap<u128, u64>,
    ) -> Result<Vec<RowConflict>> {
        let mut removed = moves.deletions.clone();
        removed.sort_by_key(|range| range.start);
        let nulls = null_digests(keys)?;
        let mut seen: HashSet<u128> = new_rows.keys().copied().collect();
        let mut found = Vec::new();
        self.for_each_key(layout, files, keys, |ordinal, digest| {
            if found.len() >= CONFLICTS_MAX || within(&removed, ordinal) {
                return;
            }
            if nulls.contains(&digest) {
                found.push(conflict(ConflictReason::NullKey, None, Some(ordinal)));
            } else if !seen.insert(digest) {
                found.push(conflict(ConflictReason::DuplicateKey, None, Some(ordinal)));
            }
        })
        .await?;
        Ok(found)
    }

    async fn for_each_key(
        &self,
        layout: &Layout,
        files: &[DataFile],
        keys: &SchemaRef,
        mut visit: impl FnMut(u64, u128),
    ) -> Result<()> {
        let by_path: HashMap<&str, &DataFile> =
            files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let mut ordinal = 0_u64;
        for piece in &layout.pieces {
            let path = layout.path(piece.file)?;
            let file = by_path.get(path.as_ref()).ok_or_else(|| {
                Error::corrupt("layout names a file that is gone").with("file", path)
            })?;
            let digests = self.key_digests(file, keys).await?;
            for digest in rows_of(&digests, piece.range())? {
                visit(ordinal, *digest);
                ordinal += 1;
            }
        }
        Ok(())
    }
}

fn rows_of(digests: &KeyDigests, rows: Range<u32>) -> Result<&[u128]> {
    let (Ok(from), Ok(to)) = (usize::try_from(rows.start), usize::try_from(rows.end)) else {
        return Err(Error::internal("row number out of range"));
    };
    digests.get(from..to).ok_or_else(|| Error::corrupt("layout names rows that a file lacks"))
}

/// Whether ascending ranges hold `at`.
fn within(ranges: &[Range<u64>], at: u64) -> bool {
    let next = ranges.partition_point(|range| range.start <= at);
    next.checked_sub(1).and_then(|last| ranges.get(last)).is_some_and(|range| range.contains(&at))
}

/// The digest of a key of NULLs only. Keys of several columns with one NULL among them are
/// checked where rows are written.
fn null_digests(keys: &SchemaRef) -> Result<HashSet<u128>> {
    let names: Vec<String> = keys.fields().iter().map(|field| field.name().clone()).collect();
    let columns = keys
        .fields()
        .iter()
        .map(|field| arrow::array::new_null_array(field.data_type(), 1))
        .collect();
    let batch = arrow::record_batch::RecordBatch::try_new(Arc::clone(keys), columns)
        .map_err(|error| Error::internal("row of NULLs").caused_by(error))?;
    let mut digester = KeyDigester::new(keys, &names)?;
    digester.observe(&batch)?;
    Ok(digester.finish().0.into_iter().collect())
}
