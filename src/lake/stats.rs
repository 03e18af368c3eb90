//! What a version consists of, told by its document and the footers of its data files alone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::history::rendered;
use super::{Lake, Principal, Snapshot};
use crate::access::Permission;
use crate::error::{Error, Result};
use crate::table::scan::{Bounds, Footer};

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 16;

/// Figures of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableStats {
    /// The table.
    pub table: String,
    /// The version.
    pub version: u64,
    /// Rows that are shown.
    pub rows: u64,
    /// Rows that are in the files and deleted.
    pub deleted_rows: u64,
    /// Bytes of the CSV text.
    pub csv_bytes: u64,
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Their row groups.
    pub row_groups: u64,
    /// Runs of rows that the order of the rows consists of.
    pub pieces: u64,
    /// The columns.
    pub columns: Vec<ColumnStats>,
}

/// Figures of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnStats {
    /// Its name.
    pub name: String,
    /// Nothing in the files is less, deleted rows included; `None` if a file does not tell.
    pub min: Option<String>,
    /// Nothing in the files is greater.
    pub max: Option<String>,
    /// Stored values that are NULL; `None` if a file does not tell.
    pub nulls: Option<u64>,
    /// Of a hundred row groups, how many a query for one value of the column does not read on
    /// average; `None` if it reads all, because nothing can be told of them.
    pub skipped_percent: Option<u64>,
}

impl Lake {
    /// Figures of a version.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`.
    pub async fn stats(&self, who: &Principal, snapshot: &Arc<Snapshot>) -> Result<TableStats> {
        self.allow(who, &snapshot.table, Permission::Read).await?;
        let reader = self.0.views.reader();
        let requests: Vec<_> = snapshot.files.iter().map(|file| reader.footer(file)).collect();
        let footers: Vec<Arc<Footer>> =
            futures::stream::iter(requests).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        let layout = self.table(&snapshot.table).layout(snapshot).await?;
        let columns = snapshot.schema.fields().iter().map(|field| column(field, &footers));
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(TableStats {
            table: snapshot.table.to_string(),
            version: snapshot.version,
            rows: snapshot.rows(),
            deleted_rows: snapshot.deletes.rows(),
            csv_bytes: self.view_of(snapshot).await?.len(),
            files: count(snapshot.files.len()),
            file_bytes: snapshot.files.iter().map(|file| file.bytes).sum(),
            row_groups: footers.iter().map(|footer| count(footer.row_groups().count())).sum(),
            pieces: count(layout.pieces.len()),
            columns: columns.collect::<Result<_>>()?,
        })
    }
}

fn column(field: &FieldRef, footers: &[Arc<Footer>]) -> Result<ColumnStats> {
    let mut stats = ColumnStats {
        name: field.name().clone(),
        min: None,
        max: None,
        nulls: Some(0),
        skipped_percent: skipped(field, footers)?,
    };
    let (mut mins, mut maxes, mut known) = (Vec::new(), Vec::new(), true);
    for footer in footers {
        let Bounds { min, max, nulls } = footer.bounds(field)?;
        stats.nulls = stats.nulls.zip(nulls).map(|(one, other)| one + other);
        known &= min.is_some() && max.is_some();
        mins.extend(min);
        maxes.extend(max);
    }
    if known && !footers.is_empty() {
        stats.min = extreme(field, &mins, std::cmp::Ordering::Less)?;
        stats.max = extreme(field, &maxes, std::cmp::Ordering::Greater)?;
    }
    Ok(stats)
}

/// How many row groups of a hundred the bounds of a column keep from being read, on average over
/// queries for the least and the greatest value of each group.
fn skipped(field: &FieldRef, footers: &[Arc<Footer>]) -> Result<Option<u64>> {
    let failed = |error: ArrowError| Error::internal("compare statistics").caused_by(error);
    let (mut mins, mut maxes) = (Vec::new(), Vec::new());
    for footer in footers {
        let bounds = footer.group_bounds(field)?;
        let (Some(min), Some(max)) = (bounds.min, bounds.max) else { return Ok(None) };
        mins.push(min);
        maxes.push(max);
    }
    let Some(converter) = mins.first().map(|min| SortField::new(min.data_type().clone())) else {
        return Ok(None);
    };
    let converter = RowConverter::new(vec![converter]).map_err(failed)?;
    let sorted = |arrays: &[ArrayRef]| -> Result<Vec<OwnedRow>> {
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        let all = concat(&arrays).map_err(failed)?;
        let rows = converter.convert_columns(std::slice::from_ref(&all)).map_err(failed)?;
        // A group of NULLs is read for no value.
        let valid = (0..all.len()).filter(|row| all.is_valid(*row));
        let mut rows: Vec<OwnedRow> = valid.map(|row| rows.row(row).owned()).collect();
        rows.sort_unstable();
        Ok(rows)
    };
    let groups: usize = footers.iter().map(|footer| footer.row_groups().count()).sum();
    let (mins, maxes) = (sorted(&mins)?, sorted(&maxes)?);
    if mins.is_empty() || mins.len() != maxes.len() {
        return Ok(None);
    }
    // A group is read for a value that is not less than its least and not greater than its
    // greatest.
    let read = |value: &OwnedRow| {
        let begun = mins.partition_point(|min| min <= value);
        begun - maxes.partition_point(|max| max < value)
    };
    let read: usize = mins.iter().chain(&maxes).map(read).sum();
    let asked = groups.saturating_mul(mins.len() + maxes.len()).max(1);
    let percent = asked.saturating_sub(read).saturating_mul(100) / asked;
    Ok(u64::try_from(percent).ok())
}

/// The text of the least or greatest value; nothing if all are NULL.
fn extreme(
    field: &FieldRef,
    arrays: &[ArrayRef],
    wanted: std::cmp::Ordering,
) -> Result<Option<String>> {
    let failed = |error: ArrowError| Error::internal("compare statistics").caused_by(error);
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    let all = concat(&arrays).map_err(failed)?;
    let converter =
        RowConverter::new(vec![SortField::new(all.data_type().clone())]).map_err(failed)?;
    let rows = converter.convert_columns(std::slice::from_ref(&all)).map_err(failed)?;
    let valid = (0..all.len()).filter(|row| all.is_valid(*row));
    let best =
        valid.reduce(
            |one, other| {
                if rows.row(other).cmp(&rows.row(one)) == wanted { other } else { one }
            },
        );
    let Some(best) = best.and_then(|row| u32::try_from(row).ok()) else { return Ok(None) };
    let value = take(&all, &UInt32Array::from(vec![best]), None).map_err(failed)?;
    let schema = Schema::new(vec![Field::new(field.name(), value.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![value]).map_err(failed)?;
    let line = rendered(&batch)?.concat();
    Ok(Some(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()))
}
