//! Batches as stored to batches as wanted: columns by name, missing ones NULL, types widened.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeStringBuilder, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::csv;
use crate::error::{Error, ErrorKind, Result};

/// `batch` with exactly the columns of `schema`.
///
/// Columns are found by name, with regard to case. A column that the batch lacks is NULL.
/// Numbers become wider numbers, anything becomes text: the text that the CSV file would show.
///
/// # Errors
/// `Unsupported` if a value has no counterpart in the wanted type.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match batch.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(column) => convert(column, field)?,
        };
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::new(ErrorKind::Unsupported, "show stored columns").caused_by(error))
}

fn convert(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(column.clone());
    }
    if is_text(to) && !is_text(from) && *from != DataType::Null {
        let text = csv_text(column)?;
        return cast(&text, field);
    }
    cast(column, field)
}

fn cast(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    // Not "safe": a value that does not fit must not silently become NULL.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|error| {
        Error::unsupported("stored values do not fit the column's type")
            .with("column", field.name())
            .with("stored", column.data_type())
            .with("wanted", field.data_type())
            .caused_by(error)
    })
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Each value as the CSV file shows it, without quotes.
fn csv_text(column: &ArrayRef) -> Result<ArrayRef> {
    let schema = Schema::new(vec![Field::new("value", column.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![column.clone()])
        .map_err(|error| Error::internal("one-column batch").caused_by(error))?;
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    csv::render(&batch, &mut text, &mut ends)?;
    let mut values = LargeStringBuilder::with_capacity(column.len(), text.len());
    let mut start = 0;
    for (row, end) in ends.iter().enumerate() {
        let end = usize::try_from(*end).map_err(|_| Error::internal("text length"))?;
        let line = text.get(start..end.saturating_sub(1)).unwrap_or_default();
        start = end;
        if column.is_null(row) {
            values.append_null();
            continue;
        }
        let line = std::str::from_utf8(line)
            .map_err(|error| Error::internal("rendered text").caused_by(error))?;
        match line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => values.append_value(quoted.replace("\"\"", "\"")),
            None => values.append_value(line),
        }
    }
    Ok(Arc::new(values.finish()))
}
