//! New rows: record batches to Parquet data files.
//!
//! A [`RowWriter`] streams: it holds a few thousand rows, the encoded bytes of the file that is
//! being filled and the one that is being stored. Files are put create-only under names that
//! nobody else has; they are garbage until a commit names them. Encoding runs on blocking
//! threads, storing in a task of its own.

use std::mem;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::catalog::SharedCatalog;
use crate::clock::{SharedClock, now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;
use crate::store::{self, Objects, PutCreate, Retries};
use crate::table::generation::SystemColumns;
use crate::table::scan::conform;
use crate::table::snapshot::DataFile;

mod encode;
pub(crate) mod footer_ids;
mod kept;
mod key;
#[cfg(test)]
mod tests;

use encode::{EncodedFile, Encoder, FILE_ROWS_MAX};
pub(crate) use encode::{FOOTER_IDS_KEY, LISTED_IDS_KEY, block_rows_for};
pub(crate) use kept::KeptRows;
pub use key::KeyDigester;

/// Rows held before a file is begun: a write of fewer rows reserves exactly as many row ids.
const HELD_ROWS_MAX: u64 = 32_768;
/// Bytes held before a file is begun.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Most rows that a finished write leaves in memory for the commit.
const KEPT_ROWS_MAX: u64 = 4_096;
/// Most bytes of them.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Names tried for a data file; a second one is needed only if random numbers repeat.
const NAMES_TRIED: usize = 3;

/// Rows that are not yet part of any snapshot: in data files, or few of them in memory.
#[derive(Debug, Clone, Default)]
pub struct NewRows {
    /// The data files in the order of the rows; each holds at least one row.
    pub files: Vec<NewFile>,
    /// All rows, if there are no files: the commit stores them, with those of other changes that
    /// it makes at the same time.
    pub held: Option<HeldRows>,
    /// Number of rows.
    pub rows: u64,
    /// Digest of each row's key columns, in the order of the rows; empty without key columns.
    pub key_digests: Vec<u128>,
    /// The first row with a NULL in a key column, counted from 0.
    pub null_key: Option<u64>,
}

impl NewRows {
    /// No rows at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// These rows with others behind them.
    #[must_use]
    pub fn followed_by(mut self, mut other: Self) -> Self {
        let first = self.rows;
        let null_key = other.null_key.map(|row| row.saturating_add(first));
        self.files.append(&mut other.files);
        self.rows = first.saturating_add(other.rows);
        self.key_digests.append(&mut other.key_digests);
        self.null_key = self.null_key.or(null_key);
        self
    }
}

/// Few rows in memory.
#[derive(Debug, Clone)]
pub struct HeldRows {
    /// The columns.
    pub(crate) schema: SchemaRef,
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// Bytes of the batches in memory.
    pub(crate) memory_bytes: usize,
    /// Bytes of CSV text of all rows, newlines included.
    pub(crate) text_bytes: u64,
}

/// A data file of new rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// The file.
    pub file: DataFile,
    /// `__rowid__` of its first row; those of the others follow without gaps.
    pub first_row_id: u64,
    /// Bytes of CSV text of all its rows, newlines included.
    pub text_bytes: u64,
    /// When it was put, by the clock that counts sleep.
    pub written_ns: u64,
}

/// What a [`RowWriter`] works with.
#[derive(Debug, Clone)]
pub struct WriterParts {
    /// Where the files go.
    pub objects: Objects,
    /// Where row ids are reserved.
    pub catalog: SharedCatalog,
    /// Time of the write and random names.
    pub clock: SharedClock,
    /// The table.
    pub table: TableId,
    /// Columns beside the user's.
    pub system: SystemColumns,
    /// Highest row id that is known to be taken; new ones lie above it.
    pub row_ids_above: u64,
}

/// Streams rows to new data files of a table.
#[derive(Debug)]
pub struct RowWriter {
    parts: Arc<WriterParts>,
    schema: SchemaRef,
    written_us: i64,
    held: Vec<RecordBatch>,
    held_rows: u64,
    held_bytes: usize,
    /// The file being filled; `None` while it is on a blocking thread or none is begun.
    encoder: Option<Box<Encoder>>,
    encoding: Option<JoinHandle<Result<Encoded>>>,
    storing: Option<JoinHandle<Result<NewFile>>>,
    keys: Option<KeyDigester>,
    done: NewRows,
}

/// What a blocking thread gives back.
#[derive(Debug)]
struct Encoded {
    /// The file, if it has room for more rows.
    open: Option<Box<Encoder>>,
    /// The file, if it is full.
    full: Option<EncodedFile>,
    keys: Option<KeyDigester>,
    /// Rows for which there was no room.
    rest: Vec<RecordBatch>,
}

impl RowWriter {
    /// Begins a write of rows with the user's columns `schema`; `keys` names the key columns.
    ///
    /// # Errors
    /// `Invalid` if a key column does not exist, cannot be a key, or a column has a name that is
    /// kept for the system.
    pub fn new(parts: WriterParts, schema: &SchemaRef, keys: &[String]) -> Result<Self> {
        for field in schema.fields() {
            if field.name().starts_with("__") {
                return Err(Error::invalid(
                    "column names beginning with __ are kept for the system",
                )
                .with("column", field.name()));
            }
        }
        let keys =
            if keys.is_empty() { None } else { Some(KeyDigester::new(schema.as_ref(), keys)?) };
        Ok(Self {
            written_us: now_ms(parts.clock.as_ref()).saturating_mul(1000),
            parts: Arc::new(parts),
            schema: encode::nullable(schema),
            held: Vec::new(),
            held_rows: 0,
            held_bytes: 0,
            encoder: None,
            encoding: None,
            storing: None,
            keys,
            done: NewRows::none(),
        })
    }

    /// Adds rows behind those written before. Columns are found by name as in
    /// [`conform`]; a missing one is NULL.
    ///
    /// # Errors
    /// Those of encoding and of storing files that became full; the writer is of no use after.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = conform(&batch, &self.schema)?;
        self.held_rows += count(batch.num_rows())?;
        self.held_bytes += batch.get_array_memory_size();
        self.held.push(batch);
        if self.held_rows >= HELD_ROWS_MAX || self.held_bytes >= HELD_BYTES_MAX {
            self.encode_held(FILE_ROWS_MAX).await?;
        }
        Ok(())
    }

    /// As [`Self::finish`], but few rows stay in memory and are stored by the commit, which can
    /// then put the rows of several changes into one data file.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn hold(mut self) -> Result<NewRows> {
        let begun = self.encoder.is_some() || self.encoding.is_some() || self.storing.is_some();
        let few = self.held_rows <= KEPT_ROWS_MAX && self.held_bytes <= KEPT_BYTES_MAX;
        if begun || !few || self.held.is_empty() || !self.done.files.is_empty() {
            return self.finish().await;
        }
        let mut rows = NewRows { rows: self.held_rows, ..NewRows::none() };
        if let Some(mut keys) = self.keys.take() {
            for batch in &self.held {
                keys.observe(batch)?;
            }
            (rows.key_digests, rows.null_key) = keys.finish();
        }
        rows.held = Some(HeldRows {
            text_bytes: encode::text_bytes(&self.schema, &self.held)?,
            memory_bytes: self.held_bytes,
            schema: self.schema,
            batches: self.held,
        });
        Ok(rows)
    }

    /// Stores what is left and returns all files, durable.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn finish(mut self) -> Result<NewRows> {
        loop {
            self.wait_encoded().await?;
            if self.held.is_empty() {
                break;
            }
            self.encode_held(self.held_rows).await?;
        }
        if let Some(encoder) = self.encoder.take() {
            let file = blocking(move || encoder.close()).await??;
            self.store(file).await?;
        }
        self.wait_stored().await?;
        if let Some(keys) = self.keys.take() {
            (self.done.key_digests, self.done.null_key) = keys.finish();
        }
        Ok(self.done)
    }

    /// Sends the held rows to a blocking thread; a file begun for them reserves `row_ids` ids.
    async fn encode_held(&mut self, row_ids: u64) -> Result<()> {
        self.wait_encoded().await?;
        let batches = mem::take(&mut self.held);
        self.held_rows = 0;
        self.held_bytes = 0;
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let rows_max = row_ids.min(FILE_ROWS_MAX);
                let first = reserve(&self.parts, rows_max).await?;
                let (schema, written_us) = (&self.schema, self.written_us);
                let system = self.parts.system;
                Box::new(Encoder::new(schema, system, first, rows_max, written_us, &batches)?)
            }
        };
        let keys = self.keys.take();
        self.encoding = Some(tokio::task::spawn_blocking(move || encode(encoder, keys, batches)));
        Ok(())
    }

    /// Waits for the blocking thread; a file that became full goes to the store.
    async fn wait_encoded(&mut self) -> Result<()> {
        let Some(encoding) = self.encoding.take() else { return Ok(()) };
        let encoded = encoding.await.map_err(crashed)??;
        self.encoder = encoded.open;
        self.keys = encoded.keys;
        // What had no room goes in front of what was given meanwhile.
        let mut held = encoded.rest;
        for batch in &held {
            self.held_rows += count(batch.num_rows())?;
        }
        held.append(&mut self.held);
        self.held = held;
        if let Some(file) = encoded.full {
            self.store(file).await?;
        }
        Ok(())
    }

    async fn store(&mut self, file: EncodedFile) -> Result<()> {
        self.wait_stored().await?;
        let parts = self.parts.clone();
        self.storing = Some(tokio::spawn(async move { store_file(&parts, file).await }));
        Ok(())
    }

    async fn wait_stored(&mut self) -> Result<()> {
        if let Some(storing) = self.storing.take() {
            let file = storing.await.map_err(crashed)??;
            self.done.rows += file.file.rows;
            self.done.files.push(file);
        }
        Ok(())
    }
}

async fn reserve(parts: &WriterParts, rows: u64) -> Result<u64> {
    parts.catalog.reserve_row_ids(&parts.table, rows, parts.row_ids_above).await
}

fn encode(
    mut encoder: Box<Encoder>,
    mut keys: Option<KeyDigester>,
    batches: Vec<RecordBatch>,
) -> Result<Encoded> {
    let mut rest = Vec::new();
    for batch in batches {
        let room = if rest.is_empty() { encoder.room() } else { 0 };
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(batch.num_rows());
        if fits > 0 {
            let part = batch.slice(0, fits);
            if let Some(keys) = &mut keys {
                keys.observe(&part)?;
            }
            encoder.write(&part)?;
        }
        if fits < batch.num_rows() {
            rest.push(batch.slice(fits, batch.num_rows() - fits));
        }
    }
    if encoder.room() > 0 {
        return Ok(Encoded { open: Some(encoder), full: None, keys, rest });
    }
    Ok(Encoded { open: None, full: Some(encoder.close()?), keys, rest })
}

async fn store_file(parts: &WriterParts, file: EncodedFile) -> Result<NewFile> {
    let bytes = Bytes::from(file.bytes);
    let size = count(bytes.len())?;
    let written_ns = parts.clock.monotonic_ns();
    for _ in 0..NAMES_TRIED {
        let clock = parts.clock.as_ref();
        let (now, hex) = (now_ms(clock), random_hex(clock));
        let path = match file.by_day {
            true => store::layout::data_file(&parts.table, now, &hex),
            false => store::layout::data_file_without_day(&parts.table, now, &hex),
        };
        let retries = Retries::standard(Arc::clone(&parts.clock));
        let put = store::put_unique(&parts.objects, &path, bytes.clone(), &retries);
        match put.await? {
            PutCreate::Created => {
                let file_ = DataFile {
                    path: path.into(),
                    bytes: size,
                    rows: file.rows,
                    columns: file.columns,
                };
                return Ok(NewFile {
                    file: file_,
                    first_row_id: file.first_row_id,
                    text_bytes: file.text_bytes,
                    written_ns,
                });
            }
            PutCreate::Exists => {}
        }
    }
    Err(Error::internal("no free name for a data file").with("table", &parts.table))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(crashed)
}

fn crashed(error: tokio::task::JoinError) -> Error {
    if error.is_cancelled() {
        return Error::unavailable("the process is stopping").caused_by(error);
    }
    Error::new(ErrorKind::Internal, "encode data file").caused_by(error)
}

fn count(len: usize) -> Result<u64> {
    u64::try_from(len).map_err(|_| Error::internal("length out of range"))
}

/// The bytes of a data file as a [`RowWriter`] makes it, with blocks of another size.
#[cfg(test)]
pub(crate) fn file_bytes(batch: &RecordBatch, first_row_id: u64, block_rows: u32) -> Vec<u8> {
    let schema = encode::nullable(&batch.schema());
    let system = SystemColumns::RowIdAndTime;
    let file = Encoder::with_blocks(&schema, system, first_row_id, FILE_ROWS_MAX, 1, block_rows)
        .and_then(|mut encoder| {
            encoder.write(batch)?;
            encoder.close()
        })
        .expect("encodes");
    file.bytes
}
