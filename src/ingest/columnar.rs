//! Parquet and Arrow IPC: typed columns, batch by batch.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};
use crate::ingest::infer::check_name;
use crate::ingest::normalize::{cast_exactly, stored_type};
use crate::ingest::{Emit, shown};

/// Rows decoded at a time.
const ROWS: usize = 8_192;

fn from_start(file: &File) -> Result<File> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn damaged(error: ArrowError) -> Error {
    Error::invalid("the file cannot be read").caused_by(error)
}

fn parquet(file: &File) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    ParquetRecordBatchReaderBuilder::try_new(from_start(file)?)
        .map_err(|error| Error::invalid("the Parquet file cannot be read").caused_by(error))
}

/// The stored columns of a Parquet file.
pub(super) fn parquet_schema(file: &File) -> Result<SchemaRef> {
    stored(parquet(file)?.schema())
}

/// The stored columns of an Arrow file.
pub(super) fn file_schema(file: &File) -> Result<SchemaRef> {
    let reader = FileReader::try_new(BufReader::new(from_start(file)?), None).map_err(damaged)?;
    stored(&reader.schema())
}

/// The stored columns of an Arrow stream.
pub(super) fn stream_schema(file: &File) -> Result<SchemaRef> {
    let reader = StreamReader::try_new(BufReader::new(from_start(file)?), None).map_err(damaged)?;
    stored(&reader.schema())
}

/// Names and types as they will be stored; system columns of a lake's own files are left out.
fn stored(foreign: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::new();
    for field in foreign.fields().iter().filter(|field| !field.name().starts_with("__")) {
        check_name(field.name())?;
        if fields.iter().any(|other| other.name().eq_ignore_ascii_case(field.name())) {
            return Err(Error::invalid("two columns have the same name")
                .with("column", shown(field.name())));
        }
        let data_type =
            stored_type(field.data_type()).map_err(|error| error.with("column", field.name()))?;
        fields.push(Field::new(field.name(), data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Reads a Parquet file; `share` hears how much of it is done, as increments that add up to 1.
pub(super) fn read_parquet(
    file: &File,
    target: &SchemaRef,
    emit: &mut Emit<'_>,
    share: &dyn Fn(f64),
) -> Result<()> {
    let builder = parquet(file)?;
    let rows = builder.metadata().file_metadata().num_rows();
    let wanted: Vec<usize> = builder
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| target.column_with_name(field.name()).is_some())
        .map(|(index, _)| index)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(ROWS)
        .build()
        .map_err(|error| Error::invalid("the Parquet file cannot be read").caused_by(error))?;
    let mut report = |batch: RecordBatch| {
        #[expect(clippy::cast_precision_loss, reason = "only for a progress bar")]
        share(batch.num_rows() as f64 / rows.max(1) as f64);
        emit(batch)
    };
    all(reader, target, &mut report)
}

/// Reads an Arrow file.
pub(super) fn read_file(file: &File, target: &SchemaRef, emit: &mut Emit<'_>) -> Result<()> {
    let reader = FileReader::try_new(BufReader::new(from_start(file)?), None).map_err(damaged)?;
    all(reader, target, emit)
}

/// Reads an Arrow stream.
pub(super) fn read_stream(file: &File, target: &SchemaRef, emit: &mut Emit<'_>) -> Result<()> {
    let reader = StreamReader::try_new(BufReader::new(from_start(file)?), None).map_err(damaged)?;
    all(reader, target, emit)
}

fn all(
    reader: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    target: &SchemaRef,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let mut first_row = 1;
    for batch in reader {
        let batch = batch.map_err(damaged)?;
        // A batch of a file may be of any size; what is handed on is bounded.
        for offset in (0..batch.num_rows()).step_by(ROWS) {
            let part = batch.slice(offset, ROWS.min(batch.num_rows() - offset));
            let rows = part.num_rows();
            emit(as_target(&part, target).map_err(|error| error.with("rows from", first_row))?)?;
            first_row += rows;
        }
    }
    Ok(())
}

fn as_target(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(array) => cast_exactly(array, field.data_type())
                .map_err(|error| error.with("column", field.name())),
        }
    };
    let columns = target.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(target.clone(), columns, &options)
        .map_err(|error| Error::invalid("build rows").caused_by(error))
}
