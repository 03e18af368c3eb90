//! Collects text records into batches of the target's columns.

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, Result};
use crate::ingest::convert::convert;
use crate::ingest::{CellKind, Emit, Record, shown};

/// Rows of a batch.
const ROWS_MAX: usize = 8_192;
/// Bytes of text of a batch, after which it is handed on even if it has few rows.
const BYTES_MAX: usize = 8 << 20;

/// Where a target column comes from.
struct Column {
    texts: StringBuilder,
    /// Whether a value of the column may be empty.
    may_be_empty: bool,
}

/// Batches under construction.
pub(super) struct Batches {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// For each input column known so far, the target column it goes to.
    targets: Vec<Option<usize>>,
    /// For each target column, the input column it comes from.
    sources: Vec<Option<usize>>,
    lines: Vec<u64>,
    bytes: usize,
}

impl Batches {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| Column {
            texts: StringBuilder::new(),
            may_be_empty: matches!(
                field.data_type(),
                DataType::Utf8
                    | DataType::LargeUtf8
                    | DataType::Utf8View
                    | DataType::Binary
                    | DataType::LargeBinary
                    | DataType::BinaryView
            ),
        };
        Self {
            schema: schema.clone(),
            columns: schema.fields().iter().map(column).collect(),
            targets: Vec::new(),
            sources: vec![None; schema.fields().len()],
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes one record.
    pub(super) fn push(
        &mut self,
        names: &[String],
        record: &Record,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        while let Some(name) = names.get(self.targets.len()) {
            let target = self.schema.fields().find(name).map(|(index, _)| index);
            if let Some(source) = target.and_then(|index| self.sources.get_mut(index)) {
                *source = Some(self.targets.len());
            }
            self.targets.push(target);
        }
        for (column, source) in self.columns.iter_mut().zip(&self.sources) {
            let (text, kind) = source.map_or(("", CellKind::Null), |index| record.cell(index));
            // Programs that quote everything write a missing number as "".
            let empty = kind == CellKind::Quoted && text.is_empty() && !column.may_be_empty;
            if kind == CellKind::Null || empty {
                column.texts.append_null();
            } else {
                column.texts.append_value(text);
                self.bytes += text.len();
            }
        }
        self.lines.push(record.line);
        if self.lines.len() >= ROWS_MAX || self.bytes >= BYTES_MAX {
            self.finish(emit)?;
        }
        Ok(())
    }

    /// Hands on what is left.
    pub(super) fn finish(&mut self, emit: &mut Emit<'_>) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            let texts = column.texts.finish();
            let field = self.schema.field(index);
            let array = convert(&texts, field.data_type()).map_err(|misfit| {
                let value = if texts.is_valid(misfit.row) { texts.value(misfit.row) } else { "" };
                let source = self.sources.get(index).copied().flatten();
                Error::invalid(misfit.reason)
                    .with("line", self.lines.get(misfit.row).copied().unwrap_or_default())
                    .with("column", source.map_or(0, |source| source + 1))
                    .with("name", field.name())
                    .with("value", shown(value))
            })?;
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.lines.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| Error::invalid("build rows").caused_by(error))?;
        self.lines.clear();
        self.bytes = 0;
        emit(batch)
    }
}
