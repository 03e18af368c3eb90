//! Offset indexes of data files: from the file's footer, from the local index directory, or made
//! once by reading the file on all cores.
//!
//! An index depends only on the immutable file and the shown columns. The directory is a cache:
//! losing it costs time.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::{self, StreamExt, TryStreamExt};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::cache::weighted;
use super::index::{FileIndex, Shown};
use super::kept::KeptIndexes;
use crate::csv::{self, OffsetIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::table::scan::{FileReader, Footer};
use crate::table::snapshot::DataFile;
use crate::table::write::block_rows_for;

/// Rows that one task reads when an index is made, where single pages can be read.
const CHUNK_ROWS: u32 = 122_880;
/// Rows that are decoded at a time; what is measured is then still in the processor's cache.
const MEASURED_ROWS: usize = 8_192;

type Key = (Arc<str>, u64, u128);

#[derive(Debug, Clone)]
struct IndexWeight;

impl Weighter<Key, Arc<FileIndex>> for IndexWeight {
    fn weight(&self, key: &Key, index: &Arc<FileIndex>) -> u64 {
        index.weight() + u64::try_from(key.0.len()).unwrap_or_default()
    }
}

/// All offset indexes that are in memory.
#[derive(Debug)]
pub(super) struct Indexes {
    reader: FileReader,
    kept: Option<Arc<KeptIndexes>>,
    cores: usize,
    cache: Cache<Key, Arc<FileIndex>, IndexWeight>,
}

impl Indexes {
    pub(super) fn new(
        reader: FileReader,
        kept: Option<KeptIndexes>,
        bytes_max: u64,
        cores: usize,
    ) -> Self {
        let kept = kept.map(Arc::new);
        Self { reader, kept, cores, cache: weighted(bytes_max, 1024, IndexWeight) }
    }

    /// The index of a file for the shown columns; made if there is none, once however many ask.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(super) async fn get(&self, file: &DataFile, shown: &Shown) -> Result<Arc<FileIndex>> {
        let key = (file.path.clone(), file.bytes, shown.digest);
        self.cache
            .get_or_insert_async(&key, async { self.load(file, shown).await.map(Arc::new) })
            .await
    }

    async fn load(&self, file: &DataFile, shown: &Shown) -> Result<FileIndex> {
        let footer = self.reader.footer(file).await?;
        let schema = &shown.schema;
        let paged = footer.has_page_index();
        if let Some(index) = from_footer(file, &footer)
            && let Some(lengths) = index.block_bytes(schema)
        {
            return FileIndex::new(file, index.block_rows, &lengths, paged);
        }
        // Made for the stored columns, an index serves whatever part of them is shown.
        let own = user_columns(footer.schema());
        let index = self.stored_or_made(file, &footer, &own, 0).await?;
        if let Some(lengths) = index.block_bytes(schema) {
            return FileIndex::new(file, index.block_rows, &lengths, paged);
        }
        let index = self.stored_or_made(file, &footer, schema, shown.digest).await?;
        let lengths = index.block_bytes(schema).ok_or_else(|| {
            Error::internal("offset index lacks a shown column").with("path", &file.path)
        })?;
        FileIndex::new(file, index.block_rows, &lengths, paged)
    }

    /// An index from the directory or, if it is not there, from reading the file.
    async fn stored_or_made(
        &self,
        file: &DataFile,
        footer: &Footer,
        schema: &SchemaRef,
        columns: u128,
    ) -> Result<Arc<OffsetIndex>> {
        if let Some(kept) = self.kept.clone() {
            let file = file.clone();
            if let Some(index) = blocking(move || Ok(kept.read(&file, columns))).await? {
                return Ok(Arc::new(index));
            }
        }
        tracing::info!(path = %file.path, rows = file.rows, "measure the text of a data file");
        let index = Arc::new(self.make(file, footer, schema).await?);
        if let Some(kept) = self.kept.clone() {
            let (named, index) = (file.clone(), Arc::clone(&index));
            if let Err(error) = blocking(move || kept.write(&named, columns, &index)).await {
                tracing::warn!(path = %file.path, %error, "keep offset index");
            }
        }
        Ok(index)
    }

    /// Measures the parts of the file on all cores.
    async fn make(
        &self,
        file: &DataFile,
        footer: &Footer,
        schema: &SchemaRef,
    ) -> Result<OffsetIndex> {
        let row_bytes = footer.uncompressed_bytes() / u64::from(footer.rows()).max(1);
        let block_rows = block_rows_for(row_bytes);
        let parts: Vec<(u32, OffsetIndex)> = stream::iter(parts(footer, schema, block_rows))
            .map(|(rows, columns)| self.measure(file, rows, columns, block_rows))
            .buffer_unordered(self.cores)
            .try_collect()
            .await?;
        let mut all = OffsetIndex::builder(schema, block_rows).finish();
        all.rows = u64::from(footer.rows());
        join(&mut all, &parts);
        Ok(all)
    }

    /// The text of some columns of some rows, with the row where it begins.
    async fn measure(
        &self,
        file: &DataFile,
        rows: Range<u32>,
        columns: SchemaRef,
        block_rows: u32,
    ) -> Result<(u32, OffsetIndex)> {
        let first = rows.start;
        let fetched = self.reader.fetch_in(file, rows, &columns, MEASURED_ROWS).await?;
        let measured = blocking(move || {
            let builder = OffsetIndex::builder(&columns, block_rows);
            let mut builder = builder.beginning_at(u64::from(first));
            fetched.decode_each(&mut |batch| builder.observe(&batch))?;
            Ok((first, builder.finish()))
        });
        measured.await.map_err(|error| error.with("path", &file.path))
    }
}

/// What is measured at once: some rows of all columns where single pages can be read, else a
/// column of a row group, because a part of it would cost as much as all of it.
fn parts(footer: &Footer, schema: &SchemaRef, block_rows: u32) -> Vec<(Range<u32>, SchemaRef)> {
    if footer.has_page_index() {
        let step = if block_rows == csv::BLOCK_ROWS { CHUNK_ROWS } else { block_rows * 4 };
        let starts = (0..footer.rows()).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let rows = starts.map(|first| first..first.saturating_add(step).min(footer.rows()));
        return rows.map(|rows| (rows, schema.clone())).collect();
    }
    let one = |field: &FieldRef| Arc::new(Schema::new(vec![Arc::clone(field)]));
    let groups = footer.row_groups().filter(|rows| !rows.is_empty());
    groups
        .flat_map(|rows| schema.fields().iter().map(move |field| (rows.clone(), one(field))))
        .collect()
}

/// Adds the bytes of the parts to the blocks that they lie in.
fn join(all: &mut OffsetIndex, parts: &[(u32, OffsetIndex)]) {
    let blocks = usize::try_from(all.blocks()).unwrap_or(usize::MAX);
    for column in &mut all.columns {
        column.bytes = vec![0; blocks];
        for (first, part) in parts {
            let Some(found) = part.columns.iter().find(|part| part.name == column.name) else {
                continue;
            };
            let skipped = usize::try_from(first / all.block_rows.max(1)).unwrap_or(usize::MAX);
            for (sum, bytes) in column.bytes.iter_mut().skip(skipped).zip(&found.bytes) {
                *sum = sum.saturating_add(*bytes);
            }
        }
    }
}

/// The index in the file's footer, if it was made for this very file: other software may copy
/// footer entries into files that it rewrites.
fn from_footer(file: &DataFile, footer: &Footer) -> Option<OffsetIndex> {
    let value = footer.value(csv::FOOTER_KEY)?;
    if footer.value(crate::table::scan::PAGES_KEY)? != footer.pages_digest() {
        return None;
    }
    let decoded = BASE64.decode(value).ok().and_then(|bytes| OffsetIndex::decode(&bytes).ok());
    match decoded {
        Some(index) if index.rows == file.rows => Some(index),
        _ => {
            tracing::warn!(path = %file.path, "offset index in the footer cannot be used");
            None
        }
    }
}

fn user_columns(stored: &Schema) -> SchemaRef {
    let fields: Vec<_> = stored
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with("__") && csv::supported(field.data_type()))
        .cloned()
        .collect();
    Arc::new(Schema::new(fields))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::new(ErrorKind::Corrupt, "decode data file")),
        Err(error) => Err(Error::unavailable("the process is stopping").caused_by(error)),
    }
}
