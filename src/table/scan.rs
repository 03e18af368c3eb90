//! Rows of data files as record batches of the wanted columns.
//!
//! A read fetches only the pages that hold its rows (Parquet offset index); the bytes are fetched
//! first and decoded afterwards in one step that never waits, so that callers can run it on a
//! thread of their choice. Data files are immutable: footers are cached by path and size.
//! Nothing here knows which rows are deleted; layouts do.

use std::ops::Range;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;

use crate::error::{Error, ErrorKind, Result};
use crate::store::Objects;
use crate::table::snapshot::DataFile;

mod bounds;
mod conform;
mod footer;

pub use bounds::{Bounds, GroupBounds};
pub use conform::conform;
use footer::FooterCache;
pub(crate) use footer::pages_digest;
pub use footer::{Footer, PAGES_KEY};

/// Rows per batch of [`FileReader::scan`].
const SCAN_BATCH_ROWS: u32 = 32_768;
/// Batches that a scan reads ahead of its consumer.
const SCAN_AHEAD: usize = 2;

/// Reads data files; cheap to clone, clones share the footer cache.
#[derive(Debug, Clone)]
pub struct FileReader {
    objects: Objects,
    footers: Arc<FooterCache>,
}

impl FileReader {
    /// Makes a reader whose footer cache holds about `footer_bytes_max` bytes.
    pub fn new(objects: Objects, footer_bytes_max: u64) -> Self {
        Self { objects, footers: Arc::new(FooterCache::new(footer_bytes_max)) }
    }

    /// The store that is read.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The file's Parquet metadata.
    ///
    /// # Errors
    /// `Corrupt` if the object is missing, has another size or another number of rows than
    /// `file` says, or is not Parquet; `Unavailable` if the store does not answer.
    pub async fn footer(&self, file: &DataFile) -> Result<Arc<Footer>> {
        self.footers.load(&self.objects, file).await
    }

    /// Fetches the pages that hold `rows` (positions in the file) of the columns that `schema`
    /// names.
    ///
    /// # Errors
    /// As [`Self::footer`]; `Internal` if `rows` reaches behind the file's end.
    pub async fn fetch(
        &self,
        file: &DataFile,
        rows: Range<u32>,
        schema: &SchemaRef,
    ) -> Result<FetchedRows> {
        self.fetch_in(file, rows, schema, usize::MAX).await
    }

    /// The same, to be decoded in batches of at most `batch_rows` rows.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_in(
        &self,
        file: &DataFile,
        rows: Range<u32>,
        schema: &SchemaRef,
        batch_rows: usize,
    ) -> Result<FetchedRows> {
        let footer = self.footer(file).await?;
        if u64::from(rows.end) > file.rows || rows.start > rows.end {
            return Err(Error::internal("read rows that the data file does not have")
                .with("path", &file.path)
                .with("rows", format_args!("{}..{}", rows.start, rows.end)));
        }
        let mut fetched = FetchedRows {
            path: file.path.clone(),
            rows: rows.end - rows.start,
            schema: schema.clone(),
            parts: Vec::new(),
        };
        let columns = wanted_columns(footer.schema(), schema);
        if columns.is_empty() || fetched.rows == 0 {
            return Ok(fetched);
        }
        let mut needed = Vec::new();
        for part in footer.row_group_parts(&rows) {
            let mut decoder = decoder(&footer, &columns, &part, batch_rows)
                .map_err(|error| damaged(&file.path, "open row group").caused_by(error))?;
            let ranges = match decoder.try_next_reader() {
                Ok(DecodeResult::NeedsData(ranges)) => ranges,
                Ok(_) => return Err(damaged(&file.path, "row group without data")),
                Err(error) => return Err(damaged(&file.path, "open row group").caused_by(error)),
            };
            fetched.parts.push(Part { decoder, rows: part.rows.end - part.rows.start });
            needed.push(ranges);
        }
        self.fill(file, &mut fetched, needed).await?;
        Ok(fetched)
    }

    /// Gets all byte ranges in one call and hands them to the parts that need them.
    async fn fill(
        &self,
        file: &DataFile,
        fetched: &mut FetchedRows,
        needed: Vec<Vec<Range<u64>>>,
    ) -> Result<()> {
        let all: Vec<Range<u64>> = needed.iter().flatten().cloned().collect();
        if all.iter().any(|range| range.end > file.bytes || range.start > range.end) {
            return Err(damaged(&file.path, "page lies outside of the file"));
        }
        let mut bytes = get_ranges(&self.objects, file, &all).await?.into_iter();
        for (part, ranges) in fetched.parts.iter_mut().zip(needed) {
            let data: Vec<Bytes> = bytes.by_ref().take(ranges.len()).collect();
            part.decoder
                .push_ranges(ranges, data)
                .map_err(|error| damaged(&file.path, "read pages").caused_by(error))?;
        }
        Ok(())
    }

    /// Rows `rows` of a file with exactly the columns of `schema`: a column that the file does
    /// not hold is NULL, one of another type is converted (integer to float, anything to text).
    ///
    /// # Errors
    /// As [`Self::fetch`] and [`FetchedRows::decode`].
    pub async fn read_rows(
        &self,
        file: &DataFile,
        rows: Range<u32>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let fetched = self.fetch(file, rows, schema).await?;
        let path = file.path.clone();
        off_thread(&path, move || fetched.decode()).await
    }

    /// The rows of the given runs, one run after the other, in batches of bounded size.
    pub fn scan(
        &self,
        runs: Vec<(DataFile, Range<u32>)>,
        schema: SchemaRef,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let reader = self.clone();
        let chunks = runs
            .into_iter()
            .flat_map(|(file, rows)| chunks(rows).map(move |rows| (file.clone(), rows)));
        stream::iter(chunks)
            .map(move |(file, rows)| {
                let (reader, schema) = (reader.clone(), schema.clone());
                // A task of its own, so that the next batch is decoded while this one is used.
                tokio::spawn(async move { reader.read_rows(&file, rows, &schema).await })
            })
            .buffered(SCAN_AHEAD)
            .map(|joined| joined.unwrap_or_else(|error| Err(crashed(error))))
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
            .boxed()
    }
}

/// Rows `rows` of `file` as [`FileReader::read_rows`] returns them.
///
/// # Errors
/// As [`FileReader::read_rows`].
pub async fn read_rows(
    reader: &FileReader,
    file: &DataFile,
    rows: Range<u32>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    reader.read_rows(file, rows, schema).await
}

/// Cuts a run of rows at multiples of the batch size, where pages and blocks begin as well.
fn chunks(rows: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let mut start = rows.start;
    std::iter::from_fn(move || {
        let border = (start / SCAN_BATCH_ROWS).saturating_add(1).saturating_mul(SCAN_BATCH_ROWS);
        let chunk = start..rows.end.min(border);
        start = chunk.end;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Pages in memory, ready to be decoded without waiting.
pub struct FetchedRows {
    path: Arc<str>,
    rows: u32,
    schema: SchemaRef,
    parts: Vec<Part>,
}

impl std::fmt::Debug for FetchedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedRows")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// The pages of one row group.
struct Part {
    decoder: ParquetPushDecoder,
    rows: u32,
}

impl FetchedRows {
    /// Decodes the pages. Works on the calling thread: call it where that may take a while.
    ///
    /// # Errors
    /// `Corrupt` if the pages are damaged; `Unsupported` if a column cannot be converted.
    pub fn decode(self) -> Result<RecordBatch> {
        let rows = usize::try_from(self.rows).map_err(|_| Error::internal("row count"))?;
        let (schema, path) = (self.schema.clone(), self.path.clone());
        let mut batches = Vec::with_capacity(self.parts.len());
        self.decode_each(&mut |batch| {
            batches.push(batch);
            Ok(())
        })?;
        match (batches.pop(), batches.is_empty()) {
            (Some(batch), true) => Ok(batch),
            (Some(last), false) => {
                batches.push(last);
                concat_batches(&schema, &batches)
                    .map_err(|error| damaged(&path, "join row groups").caused_by(error))
            }
            (None, _) => {
                let empty = RecordBatch::try_new_with_options(
                    Arc::new(Schema::empty()),
                    Vec::new(),
                    &RecordBatchOptions::new().with_row_count(Some(rows)),
                );
                let empty = empty.map_err(|e| Error::internal("empty batch").caused_by(e))?;
                conform(&empty, &schema)
            }
        }
    }

    /// Decodes the pages and hands the batches over in the order of the rows; none if the file
    /// holds none of the columns. Works on the calling thread.
    ///
    /// # Errors
    /// As [`Self::decode`]; those of `each`.
    pub fn decode_each(self, each: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        for mut part in self.parts {
            let mut decoded = 0;
            decode_part(&self.path, &mut part.decoder, &self.schema, &mut |batch| {
                decoded += batch.num_rows();
                each(batch)
            })?;
            if u32::try_from(decoded) != Ok(part.rows) {
                return Err(damaged(&self.path, "row group holds another number of rows"));
            }
        }
        Ok(())
    }
}

fn decode_part(
    path: &Arc<str>,
    decoder: &mut ParquetPushDecoder,
    schema: &SchemaRef,
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let reader = match decoder.try_next_reader() {
        Ok(DecodeResult::Data(reader)) => reader,
        Ok(_) => return Err(damaged(path, "row group without data")),
        Err(error) => return Err(damaged(path, "open row group").caused_by(error)),
    };
    for batch in reader {
        let batch = batch.map_err(|error| damaged(path, "decode pages").caused_by(error))?;
        each(conform(&batch, schema).map_err(|error| error.with("path", path))?)?;
    }
    Ok(())
}

/// A run of rows within one row group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowGroupPart {
    /// The row group.
    pub(crate) group: usize,
    /// Rows, counted from the row group's first.
    pub(crate) rows: Range<u32>,
}

fn decoder(
    footer: &Footer,
    columns: &[usize],
    part: &RowGroupPart,
    batch_rows: usize,
) -> Result<ParquetPushDecoder, ParquetError> {
    let skip = usize::try_from(part.rows.start).unwrap_or(usize::MAX);
    let take = usize::try_from(part.rows.end - part.rows.start).unwrap_or(usize::MAX);
    let selection = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(take)]);
    let mask = ProjectionMask::roots(footer.arrow().parquet_schema(), columns.iter().copied());
    ParquetPushDecoderBuilder::new_with_metadata(footer.arrow().clone())
        .with_projection(mask)
        .with_row_groups(vec![part.group])
        .with_row_selection(selection)
        .with_batch_size(take.min(batch_rows.max(1)))
        .build()
}

/// Positions in the file's schema of the columns that `wanted` names.
fn wanted_columns(stored: &SchemaRef, wanted: &SchemaRef) -> Vec<usize> {
    let mut columns: Vec<usize> =
        wanted.fields().iter().filter_map(|field| stored.index_of(field.name()).ok()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

async fn get_ranges(
    objects: &Objects,
    file: &DataFile,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>> {
    let path = object_path(&file.path)?;
    let bytes = match objects.get_ranges(&path, ranges).await {
        Ok(bytes) => bytes,
        Err(error) => return Err(explain(objects, file, error).await),
    };
    let complete = bytes.len() == ranges.len()
        && bytes.iter().zip(ranges).all(|(bytes, range)| {
            u64::try_from(bytes.len()).is_ok_and(|len| len == range.end - range.start)
        });
    if complete { Ok(bytes) } else { Err(damaged(&file.path, "the store returned too few bytes")) }
}

/// Turns a failed read into an error that says whether the object is damaged or the store is.
async fn explain(objects: &Objects, file: &DataFile, error: object_store::Error) -> Error {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return damaged(&file.path, "the data file is missing").caused_by(error);
    }
    let size = match object_path(&file.path) {
        Ok(path) => objects.head(&path).await.map(|meta| meta.size),
        Err(error) => return error,
    };
    match size {
        Ok(size) if size != file.bytes => {
            damaged(&file.path, "the data file has another size than its snapshot says")
                .with("expected", file.bytes)
                .with("found", size)
        }
        Err(object_store::Error::NotFound { .. }) => {
            damaged(&file.path, "the data file is missing").caused_by(error)
        }
        _ => Error::unavailable("read data file").with("path", &file.path).caused_by(error),
    }
}

fn object_path(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|error| damaged(path, "object path is not allowed").caused_by(error))
}

/// `Corrupt` with the data file's path.
fn damaged(path: &str, message: &'static str) -> Error {
    Error::corrupt(message).with("path", path)
}

fn crashed(error: tokio::task::JoinError) -> Error {
    Error::internal("background work ended without a result").caused_by(error)
}

/// Runs `work` where it may take a while. A decoder that panics does so because of the bytes it
/// was given.
async fn off_thread<T: Send + 'static>(
    path: &Arc<str>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(Error::new(ErrorKind::Corrupt, "decode data file").with("path", path))
        }
        Err(error) => Err(Error::unavailable("the process is stopping").caused_by(error)),
    }
}
