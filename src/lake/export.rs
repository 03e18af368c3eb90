//! The rows of a version in formats of other tools.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::json::WriterBuilder;
use arrow::json::writer::{JsonArray, LineDelimited, Writer as JsonWriter};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::rows::cut;
use super::{Answer, Lake, Principal, Snapshot};
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
    /// As CSV, with tabs between the fields.
    Tsv,
    /// One JSON object a line.
    JsonLines,
    /// A JSON array of objects.
    Json,
    /// Parquet, compressed with zstd.
    Parquet,
    /// Arrow IPC file (Feather 2).
    Arrow,
}

/// Writes batches in one format.
enum Encoder<W: Write + Send> {
    Csv { out: W, guard: Guard },
    Tsv(W),
    JsonLines(Box<JsonWriter<W, LineDelimited>>),
    Json(Box<JsonWriter<W, JsonArray>>),
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

    /// Writes rows of some columns of a version.
    ///
    /// # Errors
    /// As [`Lake::export`]; `NotFound` for a column that there is not.
    pub async fn export_columns<W: Write + Send>(
        &self,
        who: &Principal,
        snapshot: &Arc<Snapshot>,
        columns: &[&str],
        out: W,
    ) -> Result<u64> {
        let mut fields = Vec::with_capacity(columns.len());
        for name in columns {
            let found = snapshot.schema.fields().find(name).map(|(_, field)| Arc::clone(field));
            fields.push(
                found.ok_or_else(|| {
                    Error::not_found("there is no such column").with("column", name)
                })?,
            );
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        self.allow(who, &snapshot.table, Permission::Read).await?;
        let (runs, rows) = self.runs_of(snapshot, 0..u64::MAX).await?;
        let mut encoder = Encoder::new(ExportFormat::Csv, &schema, out)?;
        let reader = self.0.views.reader();
        for run in runs.into_iter().flat_map(cut) {
            encoder.write(&reader.read_rows(&run.file, run.rows, &schema).await?)?;
        }
        encoder.finish()?;
        Ok(rows)
    }
}

/// Writes the rows of an answer; the number of rows.
///
/// # Errors
/// Those of the answer; `Unsupported` if the format has no such type; those of `out`.
pub async fn write_answer<W: Write + Send>(
    mut answer: Answer,
    format: ExportFormat,
    out: W,
) -> Result<u64> {
    let mut encoder = Encoder::new(format, &answer.schema, out)?;
    let mut rows = 0_u64;
    while let Some(batch) = answer.rows.next().await {
        let batch = batch?;
        rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        encoder.write(&batch)?;
    }
    encoder.finish()?;
    Ok(rows)
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
            ExportFormat::Tsv => {
                let mut head = Vec::new();
                csv::render_header(schema, &mut head);
                out.write_all(&tabbed(&head))?;
                Self::Tsv(out)
            }
            ExportFormat::JsonLines => {
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                Self::JsonLines(Box::new(builder.build(out)))
            }
            ExportFormat::Json => {
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
            Self::Tsv(out) => {
                let (mut text, mut ends) = (Vec::new(), Vec::new());
                csv::render(batch, &mut text, &mut ends)?;
                Ok(out.write_all(&tabbed(&text))?)
            }
            Self::JsonLines(writer) => writer.write(batch).map_err(not_arrow),
            Self::Json(writer) => writer.write(batch).map_err(not_arrow),
            Self::Parquet(writer) => writer.write(batch).map_err(not_parquet),
            Self::Arrow(writer) => writer.write(batch).map_err(not_arrow),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Csv { mut out, .. } | Self::Tsv(mut out) => Ok(out.flush()?),
            Self::JsonLines(mut writer) => {
                writer.finish().map_err(not_arrow)?;
                Ok((*writer).into_inner().flush()?)
            }
            Self::Json(mut writer) => {
                writer.finish().map_err(not_arrow)?;
                Ok((*writer).into_inner().flush()?)
            }
            Self::Parquet(writer) => Ok(writer.into_inner().map_err(not_parquet)?.flush()?),
            Self::Arrow(writer) => Ok((*writer).into_inner().map_err(not_arrow)?.flush()?),
        }
    }
}

/// CSV with tabs in the place of its commas; a field that holds a tab is put into quotes.
fn tabbed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut rest, mut field_begins) = (text, true);
    while let Some(first) = rest.first() {
        if field_begins && *first == b'"' {
            let end = end_of_quoted(rest);
            out.extend_from_slice(rest.get(..end).unwrap_or_default());
            rest = rest.get(end..).unwrap_or_default();
            field_begins = false;
            continue;
        }
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'\n')).unwrap_or(rest.len());
        let field = rest.get(..end).unwrap_or_default();
        if field.contains(&b'\t') {
            out.push(b'"');
            out.extend_from_slice(field);
            out.push(b'"');
        } else {
            out.extend_from_slice(field);
        }
        out.extend(rest.get(end).map(|byte| if *byte == b',' { b'\t' } else { *byte }));
        rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        field_begins = true;
    }
    out
}

/// Bytes of a field in quotes; two quotes within it are one.
fn end_of_quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte == b'"' {
            if text.get(at) != Some(&b'"') {
                break;
            }
            at += 1;
        }
    }
    at
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tabs_take_the_place_of_commas_between_fields_only() {
        let text = |csv: &str| String::from_utf8(tabbed(csv.as_bytes())).unwrap();
        assert_eq!(text("a,b\n1,2\n"), "a\tb\n1\t2\n");
        assert_eq!(text("\"x,y\",2\n,\n"), "\"x,y\"\t2\n\t\n");
        assert_eq!(
            text("\"say \"\"a,b\"\"\",\"line\nbreak\"\n"),
            "\"say \"\"a,b\"\"\"\t\"line\nbreak\"\n"
        );
        assert_eq!(text("a\tb,c\n\"\",\n"), "\"a\tb\"\tc\n\"\"\t\n");
    }
}
