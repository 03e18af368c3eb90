//! New rows: record batches to Parquet data files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;

use crate::clock::{now_ms, random_hex};
use crate::error::{Error, Result};
use crate::store;
use crate::table::Table;
use crate::table::keys;
use crate::table::schema::{ROW_ID, TIMESTAMP};
use crate::table::snapshot::DataFile;

/// Rows that are written to data files but not yet part of any snapshot.
#[derive(Debug, Clone, Default)]
pub struct NewRows {
    /// The files, in row order.
    pub files: Vec<NewFile>,
    /// Number of rows.
    pub rows: u64,
    /// Digest of each row's key, in row order; empty for a table without key columns.
    pub key_digests: Vec<u128>,
}

/// One written file.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// The file.
    pub file: DataFile,
    /// Id of its first row; the others follow without gaps.
    pub first_row_id: u64,
    /// Bytes of CSV text of its rows.
    pub text_bytes: u64,
}

/// Writes rows.
#[derive(Debug)]
pub struct RowWriter {
    table: Table,
    schema: SchemaRef,
    keys: Vec<String>,
    above: u64,
    batches: Vec<RecordBatch>,
}

impl RowWriter {
    pub(crate) fn new(table: Table, schema: &SchemaRef, keys: &[String], above: u64) -> Self {
        Self { table, schema: Arc::clone(schema), keys: keys.to_vec(), above, batches: Vec::new() }
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
        let key_digests = keys::digest(&batch, &self.schema, &self.keys)?;
        let parts = self.table.parts();
        let first = parts.catalog.reserve_row_ids(self.table.id(), rows, self.above).await?;
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
        let path = store::layout::data_file(self.table.id(), now, &hex);
        let bytes = u64::try_from(out.len()).unwrap_or_default();
        if store::put_create(&parts.objects, &path, out.into()).await?
            == store::PutCreate::Exists
        {
            return Err(Error::internal("data file name is taken").with("file", path));
        }
        let file = DataFile { path: path.into(), bytes, rows, columns: width };
        let all = 0..u32::try_from(rows).unwrap_or(u32::MAX);
        let text_bytes = parts.measure.bytes(&file, all, &self.schema).await?;
        let files = vec![NewFile { file, first_row_id: first, text_bytes }];
        Ok(NewRows { files, rows, key_digests })
    }
}
