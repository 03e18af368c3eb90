//! New rows: record batches to Parquet data files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;

use crate::catalog::SharedCatalog;
use crate::clock::{SharedClock, now_ms, random_hex};
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::store::{self, Objects};
use crate::table::schema::{ROW_ID, TIMESTAMP};
use crate::table::snapshot::DataFile;

mod key;
pub use key::KeyDigester;

/// Rows that are written to data files but not yet part of any snapshot.
#[derive(Debug, Clone, Default)]
pub struct NewRows {
    /// The files, in row order.
    pub files: Vec<NewFile>,
    /// Number of rows.
    pub rows: u64,
    /// Digest of each row's key, in row order; empty for a table without key columns.
    pub key_digests: Vec<u128>,
    /// The first row with a NULL in a key column, counted from 0.
    pub null_key: Option<u64>,
}

impl NewRows {
    /// No rows at all.
    pub fn none() -> Self {
        Self::default()
    }
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
    /// Highest row id that is known to be taken; new ones lie above it.
    pub row_ids_above: u64,
}

/// Writes rows.
#[derive(Debug)]
pub struct RowWriter {
    parts: WriterParts,
    schema: SchemaRef,
    keys: Vec<String>,
    batches: Vec<RecordBatch>,
}

impl RowWriter {
    /// Begins a write.
    ///
    /// # Errors
    /// None here.
    pub fn new(parts: WriterParts, schema: &SchemaRef, keys: &[String]) -> Result<Self> {
        Ok(Self { parts, schema: Arc::clone(schema), keys: keys.to_vec(), batches: Vec::new() })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// None here.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.batches.push(batch);
        Ok(())
    }

    /// Writes the rows into one file.
    ///
    /// # Errors
    /// Those of store and catalogue.
    pub async fn finish(self) -> Result<NewRows> {
        let failed = |e: arrow::error::ArrowError| Error::internal("write rows").caused_by(e);
        let batch = arrow::compute::concat_batches(&self.schema, &self.batches).map_err(failed)?;
        let rows = u64::try_from(batch.num_rows()).unwrap_or_default();
        if rows == 0 {
            return Ok(NewRows::default());
        }
        let (mut key_digests, mut null_key) = (Vec::new(), None);
        if !self.keys.is_empty() {
            let mut digester = KeyDigester::new(&self.schema, &self.keys)?;
            digester.observe(&batch)?;
            (key_digests, null_key) = digester.finish();
        }
        let parts = &self.parts;
        let above = parts.row_ids_above;
        let first = parts.catalog.reserve_row_ids(&parts.table, rows, above).await?;
        let start = i64::try_from(first).unwrap_or_default();
        let ids = Int64Array::from_iter_values(
            (0..i64::try_from(rows).unwrap_or_default()).map(|row| start + row),
        );
        let now = now_ms(parts.clock.as_ref());
        let times = TimestampMicrosecondArray::from_value(now * 1000, batch.num_rows())
            .with_timezone("UTC");
        let mut fields: Vec<Field> =
            self.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new(ROW_ID, DataType::Int64, true));
        let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        fields.push(Field::new(TIMESTAMP, zone, true));
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns.push(Arc::new(ids));
        columns.push(Arc::new(times));
        let schema = Arc::new(Schema::new(fields));
        let width = u64::try_from(columns.len()).unwrap_or_default();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?;
        let mut out = Vec::new();
        let bad = |e: parquet::errors::ParquetError| Error::internal("write rows").caused_by(e);
        let mut writer = ArrowWriter::try_new(&mut out, schema, None).map_err(bad)?;
        writer.write(&batch).map_err(bad)?;
        writer.close().map_err(bad)?;
        let hex = random_hex(parts.clock.as_ref());
        let path = store::layout::data_file(&parts.table, now, &hex);
        let bytes = u64::try_from(out.len()).unwrap_or_default();
        if store::put_create(&parts.objects, &path, out.into()).await? == store::PutCreate::Exists {
            return Err(Error::internal("data file name is taken").with("file", path));
        }
        let file = DataFile { path: path.into(), bytes, rows, columns: width };
        let text_bytes = rows * 10;
        let files = vec![NewFile { file, first_row_id: first, text_bytes }];
        Ok(NewRows { files, rows, key_digests, null_key })
    }
}
