//! Rows of data files.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};

/// `batch` with exactly the columns of `schema`.
///
/// # Errors
/// `Unsupported` if a value has no counterpart in the wanted type.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let failed = |e: arrow::error::ArrowError| Error::unsupported("show columns").caused_by(e);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns = Vec::new();
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(column) => {
                cast_with_options(column, field.data_type(), &options).map_err(failed)?
            }
        });
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed)
}
