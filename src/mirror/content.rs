//! What a mirror of a snapshot has to hold: which rows of which data files, with which columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};

use super::MirrorParts;
use super::types::{portable_schema, reads_as};
use crate::error::Result;
use crate::table::{DataFile, Snapshot, Table};

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 8;
/// Hexadecimal digits of a digest in a name.
const DIGITS: usize = 24;

/// A snapshot as a mirror holds it.
#[derive(Debug)]
pub struct Content {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The columns, in types that every format has.
    pub columns: SchemaRef,
    /// Data files with live rows, in the order of the snapshot.
    pub(super) sources: Vec<Source>,
}

/// The live rows of a data file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: DataFile,
    /// Live rows as ascending runs; never empty.
    pub(super) rows: Vec<Range<u32>>,
    /// All columns of the file, system columns included.
    pub(super) stored: SchemaRef,
    /// Whether the file can be read in place: no row is deleted, and each column that the mirror
    /// shows and the file has is of the mirror's type.
    pub(super) fits: bool,
}

impl Source {
    /// Number of live rows.
    pub(super) fn live(&self) -> u64 {
        self.rows.iter().map(|run| u64::from(run.end - run.start)).sum()
    }

    /// Digest of the rows and of the form that a copy has: the file as it is, or with the columns
    /// `columns`.
    pub(super) fn digest(&self, columns: Option<&Schema>) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.file.path.as_bytes()).update(&self.file.bytes.to_le_bytes());
        if let Some(columns) = columns {
            for run in &self.rows {
                hasher.update(&run.start.to_le_bytes()).update(&run.end.to_le_bytes());
            }
            for field in columns.fields() {
                hasher.update(b"\n").update(field.name().as_bytes()).update(b"\0");
                hasher.update(field.data_type().to_string().as_bytes());
            }
        }
        hasher.finalize().to_hex().chars().take(DIGITS).collect()
    }
}

impl Content {
    /// Finds out what a mirror of a snapshot has to hold.
    ///
    /// # Errors
    /// `Corrupt` if data files or deletion vectors are missing or contradict the snapshot; those
    /// of the store.
    pub async fn of(parts: &MirrorParts, table: &Table, snapshot: &Arc<Snapshot>) -> Result<Self> {
        let columns = portable_schema(&snapshot.schema);
        let live = table.live_rows(snapshot).await?;
        let wanted: Vec<(DataFile, Vec<Range<u32>>)> = snapshot
            .files
            .iter()
            .filter_map(|file| Some((file.clone(), live.get(&file.path)?.clone())))
            .filter(|(_, rows)| rows.iter().any(|run| !run.is_empty()))
            .collect();
        let requests: Vec<_> =
            wanted.into_iter().map(|(file, rows)| source(parts, file, rows, &columns)).collect();
        let sources =
            futures::stream::iter(requests).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        Ok(Self { snapshot: Arc::clone(snapshot), columns, sources })
    }
}

async fn source(
    parts: &MirrorParts,
    file: DataFile,
    rows: Vec<Range<u32>>,
    columns: &SchemaRef,
) -> Result<Source> {
    let stored = Arc::clone(parts.reader.footer(&file).await?.schema());
    let live: u64 = rows.iter().map(|run| u64::from(run.end - run.start)).sum();
    let same_types = columns.fields().iter().all(|wanted| {
        stored
            .field_with_name(wanted.name())
            .map_or(true, |stored| reads_as(stored.data_type(), wanted.data_type()))
    });
    let fits = live == file.rows && same_types;
    Ok(Source { file, rows, stored, fits })
}
