//! Digests of rows' key columns: equal keys have equal digests.

use arrow::array::Array;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};

/// Computes a 128-bit BLAKE3 digest of each row's key columns in Arrow's row encoding.
///
/// The digest depends on the columns' types: compare only rows that were brought to the same
/// schema.
pub struct KeyDigester {
    names: Vec<String>,
    converter: RowConverter,
    digests: Vec<u128>,
    null_key: Option<u64>,
    rows: u64,
}

impl std::fmt::Debug for KeyDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyDigester").field("names", &self.names).finish_non_exhaustive()
    }
}

impl KeyDigester {
    /// Prepares digests of the columns `keys` of `schema`.
    ///
    /// # Errors
    /// `Invalid` if a column does not exist or its type cannot be a key.
    pub fn new(schema: &Schema, keys: &[String]) -> Result<Self> {
        let mut fields = Vec::with_capacity(keys.len());
        for key in keys {
            let field = schema.field_with_name(key).map_err(|_| {
                Error::invalid("key column does not exist").with("column", key.escape_debug())
            })?;
            fields.push(SortField::new(field.data_type().clone()));
        }
        let converter = RowConverter::new(fields)
            .map_err(|error| Error::invalid("columns cannot be a key").caused_by(error))?;
        Ok(Self { names: keys.to_vec(), converter, digests: Vec::new(), null_key: None, rows: 0 })
    }

    /// Adds the rows of a batch that has the key columns.
    ///
    /// # Errors
    /// `Internal` if the batch does not have the columns the digester was made for.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut columns = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| Error::internal("batch without key column").with("column", name))?;
            columns.push(column.clone());
        }
        if self.null_key.is_none() {
            let null = (0..batch.num_rows()).find(|row| columns.iter().any(|c| c.is_null(*row)));
            self.null_key = null.and_then(|row| u64::try_from(row).ok()).map(|row| row + self.rows);
        }
        let rows = self
            .converter
            .convert_columns(&columns)
            .map_err(|error| Error::internal("encode key columns").caused_by(error))?;
        for row in &rows {
            let digest = blake3::hash(row.as_ref());
            let half = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
            self.digests.push(u128::from_le_bytes(half));
        }
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Takes the digests made since the last call, in the order of the rows.
    pub fn take(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.digests)
    }

    /// All digests that were not taken, and the first row (from 0) with a NULL in its key.
    pub fn finish(self) -> (Vec<u128>, Option<u64>) {
        (self.digests, self.null_key)
    }
}
