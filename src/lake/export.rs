//! The rows of a version in formats of other tools.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::json::WriterBuilder;
use arrow::json::writer::{LineDelimited, Writer as JsonWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::rows::cut;
use super::{Lake, Principal, Snapshot};
use crate::access::Permission;
use crate::csv;
use crate::error::{Error, Result};

/// Rows of a row group of an exported Parquet file.
const ROW_GROUP_ROWS: usize = 122_880;
/// First characters of text that a spreadsheet may take for a formula (OWASP ASVS 1.2.10).
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\0'];

/// A format to export rows in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The text that the mounted file has.
    Csv,
    /// The same, with a quote in front of text that a spreadsheet would take for a formula.
    SafeCsv,
    /// One JSON object a line.
    JsonLines,
    /// Parquet, compressed with zstd.
    Parquet,
    /// Arrow IPC file (Feather 2).
    Arrow,
}

/// Writes batches in one format.
enum Encoder<W: Write + Send> {
    Csv { out: W, guard: Guard },
    Json(Box<JsonWriter<W, LineDelimited>>),
    Parquet(Box<ArrowWriter<W>>),
    Arrow(Box<FileWriter<W>>),
}

/// Whether text is kept from being a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    No,
    Yes,
}

impl Lake {
    /// Writes the rows of a version in their order; the number of rows.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`; `Unsupported` if the format has no such type; those of
    /// `out`.
    pub async fn export<W: Write + Send>(
        &self,
        who: &Principal,
        snapshot: &Arc<Snapshot>,
        format: ExportFormat,
        out: W,
    ) -> Result<u64> {
        self.allow(who, &snapshot.table, Permission::Read).await?;
        let (runs, rows) = self.runs_of(snapshot, 0..u64::MAX).await?;
        let mut encoder = Encoder::new(format, &snapshot.schema, out)?;
        let reader = self.0.views.reader();
        for run in runs.into_iter().flat_map(cut) {
            let batch = reader.read_rows(&run.file, run.rows, &snapshot.schema).await?;
            encoder.write(&batch)?;
        }
        encoder.finish()?;
        Ok(rows)
    }
}

impl<W: Write + Send> Encoder<W> {
    fn new(format: ExportFormat, schema: &SchemaRef, mut out: W) -> Result<Self> {
        Ok(match format {
            ExportFormat::Csv | ExportFormat::SafeCsv => {
                let mut head = Vec::new();
                csv::render_header(schema, &mut head);
                out.write_all(&head)?;
                let guard = if format == ExportFormat::Csv { Guard::No } else { Guard::Yes };
                Self::Csv { out, guard }
            }
            ExportFormat::JsonLines => {
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                Self::Json(Box::new(builder.build(out)))
            }
            ExportFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
                Self::Parquet(Box::new(writer.map_err(not_parquet)?))
            }
            ExportFormat::Arrow => {
                let writer = FileWriter::try_new(out, schema).map_err(not_arrow)?;
                Self::Arrow(Box::new(writer))
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Csv { out, guard } => {
                let guarded;
                let batch = match guard {
                    Guard::No => batch,
                    Guard::Yes => {
                        guarded = without_formulas(batch)?;
                        &guarded
                    }
                };
                let (mut text, mut ends) = (Vec::new(), Vec::new());
                csv::render(batch, &mut text, &mut ends)?;
                Ok(out.write_all(&text)?)
            }
            Self::Json(writer) => writer.write(batch).map_err(not_arrow),
            Self::Parquet(writer) => writer.write(batch).map_err(not_parquet),
            Self::Arrow(writer) => writer.write(batch).map_err(not_arrow),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Csv { mut out, .. } => Ok(out.flush()?),
            Self::Json(mut writer) => {
                writer.finish().map_err(not_arrow)?;
                Ok((*writer).into_inner().flush()?)
            }
            Self::Parquet(writer) => Ok(writer.into_inner().map_err(not_parquet)?.flush()?),
            Self::Arrow(writer) => Ok((*writer).into_inner().map_err(not_arrow)?.flush()?),
        }
    }
}

/// The batch with a quote in front of what a spreadsheet would take for a formula.
fn without_formulas(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !is_text(column.data_type()) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        }
        let plain = cast(column, &DataType::Utf8).map_err(not_arrow)?;
        let guarded: StringArray = plain
            .as_string::<i32>()
            .iter()
            .map(|text| {
                text.map(|text| match text.starts_with(FORMULA) {
                    true => format!("'{text}"),
                    false => text.to_owned(),
                })
            })
            .collect();
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new(guarded) as ArrayRef);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(not_arrow)
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn not_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => Error::from(error),
        error => Error::unsupported("the rows cannot be written in this format").caused_by(error),
    }
}

fn not_parquet(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => Error::from(*error),
            Err(error) => Error::unavailable("write Parquet").caused_by(error),
        },
        error => Error::unsupported("the rows cannot be written as Parquet").caused_by(error),
    }
}
