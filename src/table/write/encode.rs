//! One Parquet data file in the making: user's columns, system columns, offset index in the footer.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::{count, footer_ids};
use crate::csv;
use crate::error::{Error, Result};
use crate::table::generation::SystemColumns;
use crate::table::scan::{PAGES_KEY, pages_digest};

/// Most rows of a data file.
pub(super) const FILE_ROWS_MAX: u64 = 1 << 20;
/// A file that reached this many bytes takes no more rows.
const FILE_BYTES_MAX: usize = 48 << 20;
/// Rows of a row group: what the Python library writes (format spec section 2.1).
const ROW_GROUP_ROWS: usize = 122_880;
/// A row group of wide rows ends before it reaches this many bytes.
const ROW_GROUP_BYTES_MAX: usize = 32 << 20;
/// A dictionary has to be decoded for each read of a few rows, so it must stay small.
const DICTIONARY_BYTES_MAX: usize = 128 << 10;
/// Text of a block of rows should not exceed this by far.
const BLOCK_TEXT_BYTES: u64 = 1 << 20;
/// Fewest rows of a block.
const BLOCK_ROWS_MIN: u32 = 16;
/// System column: id of the row, unique in the table (format spec section 6.2).
const ROW_ID: &str = "__rowid__";
/// Footer entry with the row ids of a file that has no column for them.
pub(crate) const FOOTER_IDS_KEY: &str = "mountable.rowids.v1";
/// Footer entry of files whose row ids do not ascend by one.
pub(crate) const LISTED_IDS_KEY: &str = "mountable.ids.v1";

/// A complete Parquet file in memory.
#[derive(Debug)]
pub(super) struct EncodedFile {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
    pub(super) columns: u64,
    pub(super) first_row_id: u64,
    pub(super) text_bytes: u64,
    /// Whether the file belongs into a folder of its day.
    pub(super) by_day: bool,
}

/// A Parquet file that takes rows.
pub(super) struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    index: csv::IndexBuilder,
    shown: SchemaRef,
    stored: SchemaRef,
    system: SystemColumns,
    first_row_id: u64,
    /// Ids of rows that keep theirs, where the footer has to list them.
    listed: Vec<i64>,
    rows: u64,
    rows_max: u64,
    written_us: i64,
    /// Whether row ids ascend by one from the first.
    dense: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Begins a file for at most `rows_max` rows; `sample` are its first rows, from which the
    /// number of rows per block is chosen.
    pub(super) fn new(
        shown: &SchemaRef,
        system: SystemColumns,
        first_row_id: u64,
        rows_max: u64,
        written_us: i64,
        sample: &[RecordBatch],
    ) -> Result<Self> {
        Self::with_blocks(shown, system, first_row_id, rows_max, written_us, block_rows(sample)?)
    }

    /// [`Self::new`] with a number of rows per block.
    pub(super) fn with_blocks(
        shown: &SchemaRef,
        system: SystemColumns,
        first_row_id: u64,
        rows_max: u64,
        written_us: i64,
        block_rows: u32,
    ) -> Result<Self> {
        let stored = system.behind(shown);
        let writer = ArrowWriter::try_new(Vec::new(), stored.clone(), Some(properties()?))
            .map_err(not_encoded)?;
        Ok(Self {
            writer,
            index: csv::OffsetIndex::builder(shown, block_rows),
            shown: shown.clone(),
            stored,
            system,
            first_row_id,
            listed: Vec::new(),
            rows: 0,
            rows_max,
            written_us,
            dense: true,
        })
    }

    /// Rows that may still be written.
    pub(super) fn room(&self) -> u64 {
        let bytes = self.writer.bytes_written().saturating_add(self.writer.in_progress_size());
        if bytes >= FILE_BYTES_MAX { 0 } else { self.rows_max.saturating_sub(self.rows) }
    }

    /// Writes rows, at most [`Self::room`].
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.index.observe(batch)?;
        // Pages end where blocks end, so that a block's rows lie in one page of each column.
        let page = u64::from(csv::BLOCK_ROWS);
        let mut start = 0;
        while start < batch.num_rows() {
            let left = usize::try_from(page - self.rows % page).unwrap_or(usize::MAX);
            let rows = left.min(batch.num_rows() - start);
            let part = self.with_system_values(&batch.slice(start, rows))?;
            self.writer.write(&part).map_err(not_encoded)?;
            self.rows += count(rows)?;
            start += rows;
        }
        Ok(())
    }

    /// Begins a file of rows that keep their system columns.
    pub(super) fn keeping(
        shown: &SchemaRef,
        system: SystemColumns,
        sample: &[RecordBatch],
    ) -> Result<Self> {
        Self::with_blocks(shown, system, 0, FILE_ROWS_MAX, 0, block_rows(sample)?)
    }

    /// Writes rows with their system columns ([`SystemColumns::behind`]) and ids, at most
    /// [`Self::room`].
    pub(super) fn write_kept(&mut self, batch: &RecordBatch, ids: &[i64]) -> Result<()> {
        self.index.observe(batch)?;
        if ids.len() != batch.num_rows() {
            return Err(Error::corrupt("row without row id"));
        }
        if self.system != SystemColumns::RowIdAndTime {
            self.listed.extend_from_slice(ids);
        }
        for (id, row) in ids.iter().zip(self.rows..) {
            let id = u64::try_from(*id).map_err(|_| Error::corrupt("row id below 0"))?;
            if row == 0 {
                self.first_row_id = id;
            }
            self.dense &= self.first_row_id.checked_add(row) == Some(id);
        }
        let page = u64::from(csv::BLOCK_ROWS);
        let mut start = 0;
        while start < batch.num_rows() {
            let left = usize::try_from(page - self.rows % page).unwrap_or(usize::MAX);
            let rows = left.min(batch.num_rows() - start);
            self.writer.write(&batch.slice(start, rows)).map_err(not_encoded)?;
            self.rows += count(rows)?;
            start += rows;
        }
        Ok(())
    }

    fn with_system_values(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let first = i64::try_from(self.first_row_id.saturating_add(self.rows))
            .map_err(|_| Error::internal("row ids are used up"))?;
        let rows = i64::try_from(batch.num_rows()).map_err(|_| Error::internal("row count"))?;
        let ids = Int64Array::from_iter_values(first..first.saturating_add(rows));
        let times = TimestampMicrosecondArray::from_value(self.written_us, batch.num_rows())
            .with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        if self.system == SystemColumns::RowIdAndTime {
            columns.push(Arc::new(ids));
        }
        if self.system != SystemColumns::None {
            columns.push(Arc::new(times));
        }
        RecordBatch::try_new(self.stored.clone(), columns)
            .map_err(|error| Error::internal("add system columns").caused_by(error))
    }

    /// Ends the file.
    pub(super) fn close(self) -> Result<EncodedFile> {
        let ids = self.footer_ids()?;
        let by_day = self.is_by_day();
        let Self { mut writer, index, shown, stored, first_row_id, rows, dense, .. } = self;
        let index = index.finish();
        let blocks = index
            .block_bytes(&shown)
            .ok_or_else(|| Error::internal("offset index does not know its own columns"))?;
        let value = BASE64.encode(index.encode());
        writer.flush().map_err(not_encoded)?;
        let pages = pages_digest(writer.flushed_row_groups().iter());
        writer.append_key_value_metadata(KeyValue::new(csv::FOOTER_KEY.to_owned(), value));
        writer.append_key_value_metadata(KeyValue::new(PAGES_KEY.to_owned(), pages));
        if let Some(ids) = ids {
            writer.append_key_value_metadata(KeyValue::new(FOOTER_IDS_KEY.to_owned(), ids));
        } else if !dense {
            let listed = Some("listed".to_owned());
            writer.append_key_value_metadata(KeyValue::new(LISTED_IDS_KEY.to_owned(), listed));
        }
        let bytes = writer.into_inner().map_err(not_encoded)?;
        Ok(EncodedFile {
            bytes,
            rows,
            columns: count(stored.fields().len())?,
            first_row_id,
            text_bytes: blocks.iter().sum(),
            by_day,
        })
    }

    /// The entry with the row ids, if they have no column.
    fn footer_ids(&self) -> Result<Option<String>> {
        if self.system == SystemColumns::RowIdAndTime {
            return Ok(None);
        }
        if !self.listed.is_empty() {
            return footer_ids::encode(&self.listed).map(Some);
        }
        let first = i64::try_from(self.first_row_id);
        let first = first.map_err(|_| Error::internal("row ids are used up"))?;
        let rows = i64::try_from(self.rows).map_err(|_| Error::internal("row count"))?;
        let ids: Vec<i64> = (first..first.saturating_add(rows)).collect();
        footer_ids::encode(&ids).map(Some)
    }

    /// Release 2.0.2 takes the folders of a day for columns, so they must not hold such columns.
    fn is_by_day(&self) -> bool {
        let taken = |field: &Arc<Field>| matches!(field.name().as_str(), "year" | "month" | "day");
        match self.system {
            SystemColumns::RowIdAndTime => true,
            SystemColumns::Time => !self.shown.fields().iter().any(taken),
            SystemColumns::None => false,
        }
    }
}

/// Bytes of CSV text of rows, newlines included.
pub(super) fn text_bytes(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<u64> {
    let mut index = csv::OffsetIndex::builder(schema, csv::BLOCK_ROWS);
    for batch in batches {
        index.observe(batch)?;
    }
    let blocks = index.finish().block_bytes(schema);
    let blocks =
        blocks.ok_or_else(|| Error::internal("offset index does not know its own columns"))?;
    Ok(blocks.iter().sum())
}

/// The same columns, all of them nullable.
pub(super) fn nullable(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|field| field.is_nullable()) {
        return schema.clone();
    }
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn properties() -> Result<WriterProperties> {
    let page_rows = usize::try_from(csv::BLOCK_ROWS).unwrap_or(usize::MAX);
    let level = ZstdLevel::try_new(1).map_err(not_encoded)?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_data_page_row_count_limit(page_rows)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        // Ids rise by one: stored as differences they take next to no space.
        .set_column_dictionary_enabled(ColumnPath::from(ROW_ID), false)
        .set_column_encoding(ColumnPath::from(ROW_ID), Encoding::DELTA_BINARY_PACKED)
        .build())
}

/// Rows per block such that blocks of wide rows stay small too.
fn block_rows(sample: &[RecordBatch]) -> Result<u32> {
    let Some(first) = sample.first() else { return Ok(csv::BLOCK_ROWS) };
    let rows = count(first.num_rows())?.max(1);
    let mut bytes = 0_u64;
    for column in first.columns() {
        bytes += csv::text_bytes(column.as_ref(), 0..first.num_rows())?;
    }
    Ok(block_rows_for(bytes.div_ceil(rows)))
}

/// Rows per block for rows of this many bytes of text: a power of two.
pub(crate) fn block_rows_for(row_bytes: u64) -> u32 {
    let mut rows = csv::BLOCK_ROWS;
    while rows > BLOCK_ROWS_MIN && u64::from(rows) * row_bytes > BLOCK_TEXT_BYTES {
        rows /= 2;
    }
    rows
}

fn not_encoded(error: ParquetError) -> Error {
    Error::internal("encode data file").caused_by(error)
}
