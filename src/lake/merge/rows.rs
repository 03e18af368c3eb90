//! Rows of the versions that are merged: read in the columns of the merged table, as values and as
//! text, and compared.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::lake::history::rendered;
use crate::lake::rows::cut;
use crate::lake::{Lake, Snapshot};
use crate::table::FileRun;

/// Steps that are read at the same time.
const STEPS_AHEAD: usize = 4;
/// Text of the rows that a merge may look at.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// Rows as values and as text.
#[derive(Debug)]
pub(super) struct Rows {
    /// The values; columns that the version does not have are NULL.
    pub(super) batch: RecordBatch,
    /// The text of each cell, row by row.
    pub(super) cells: Vec<Vec<String>>,
    bytes: usize,
}

/// Rows of the version that takes the changes, and where they stand in its text.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) rows: Rows,
    /// The place of each row.
    pub(super) ordinals: Vec<u64>,
}

impl Rows {
    fn none(columns: &SchemaRef) -> Self {
        Self { batch: RecordBatch::new_empty(Arc::clone(columns)), cells: Vec::new(), bytes: 0 }
    }

    fn of(batch: RecordBatch) -> Result<Self> {
        let mut cells = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
        let mut bytes = 0_usize;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
            let single = RecordBatch::try_new(schema, vec![Arc::clone(column)]).map_err(odd)?;
            for (row, line) in cells.iter_mut().zip(rendered(&single)?) {
                let text = String::from_utf8_lossy(&line);
                let text = text.strip_suffix('\n').unwrap_or(&text);
                bytes = bytes.saturating_add(text.len());
                row.push(text.to_owned());
            }
        }
        Ok(Self { batch, cells, bytes })
    }

    fn join(parts: Vec<Self>, columns: &SchemaRef) -> Result<Self> {
        let Some(first) = parts.first() else { return Ok(Self::none(columns)) };
        let schema = first.batch.schema();
        let batch = concat_batches(&schema, parts.iter().map(|part| &part.batch)).map_err(odd)?;
        let bytes = parts.iter().map(|part| part.bytes).sum();
        Ok(Self { batch, cells: parts.into_iter().flat_map(|part| part.cells).collect(), bytes })
    }

    /// Positions of columns.
    pub(super) fn positions(&self, names: &[String]) -> Vec<usize> {
        names.iter().filter_map(|name| self.batch.schema().index_of(name).ok()).collect()
    }

    /// Rows by the text of some of their columns; `None` if two have the same.
    pub(super) fn by(&self, columns: &[usize]) -> Option<HashMap<String, usize>> {
        let mut rows = HashMap::with_capacity(self.cells.len());
        for (index, cells) in self.cells.iter().enumerate() {
            if rows.insert(text_of(cells, columns), index).is_some() {
                return None;
            }
        }
        Some(rows)
    }
}

/// The text of some cells of a row.
pub(super) fn text_of(cells: &[String], columns: &[usize]) -> String {
    let texts: Vec<&str> =
        columns.iter().filter_map(|at| cells.get(*at)).map(String::as_str).collect();
    texts.join(",")
}

/// The text of a whole row.
pub(super) fn line_of(cells: &[String]) -> String {
    cells.join(",")
}

fn odd(error: arrow::error::ArrowError) -> Error {
    Error::internal("put rows together").caused_by(error)
}

/// The columns of a version that the merged table has.
fn common(version: &Schema, columns: &Schema) -> SchemaRef {
    let fields = columns.fields().iter();
    let fields =
        fields.filter_map(|field| Some(Arc::clone(version.fields().find(field.name())?.1)));
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}

impl Lake {
    /// All rows of a version.
    pub(super) async fn all_runs(&self, snapshot: &Arc<Snapshot>) -> Result<Vec<FileRun>> {
        Ok(self.runs_of(snapshot, 0..u64::MAX).await?.0)
    }

    /// Some rows of a version in the columns of the merged table.
    pub(super) async fn read_runs(
        &self,
        snapshot: &Snapshot,
        runs: Vec<FileRun>,
        columns: &SchemaRef,
    ) -> Result<Rows> {
        let steps = runs.into_iter().flat_map(cut);
        let requests: Vec<_> = steps.map(|run| self.read_run(snapshot, run, columns)).collect();
        let mut steps = futures::stream::iter(requests).buffered(STEPS_AHEAD);
        let (mut parts, mut bytes) = (Vec::new(), 0_usize);
        while let Some(rows) = steps.try_next().await? {
            bytes = bytes.saturating_add(rows.bytes);
            check_size(snapshot, bytes)?;
            parts.push(rows);
        }
        Rows::join(parts, columns)
    }

    async fn read_run(&self, snapshot: &Snapshot, run: FileRun, columns: &Schema) -> Result<Rows> {
        let count = usize::try_from(run.rows.end.saturating_sub(run.rows.start)).unwrap_or(0);
        let known = common(&snapshot.schema, columns);
        let stored = match known.fields().is_empty() {
            true => None,
            false => Some(self.0.views.reader().read_rows(&run.file, run.rows, &known).await?),
        };
        let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for field in columns.fields() {
            let found = stored.as_ref().and_then(|batch| batch.column_by_name(field.name()));
            let field = known.fields().find(field.name()).map_or(field, |(_, own)| own);
            arrays.push(match found {
                Some(array) => Arc::clone(array),
                None => new_null_array(field.data_type(), count),
            });
            fields.push(Arc::clone(field));
        }
        let schema = Arc::new(Schema::new(fields));
        Rows::of(RecordBatch::try_new(schema, arrays).map_err(odd)?)
    }

    /// The rows of a version whose text in some columns is one of `wanted`, which tells how many
    /// of each at most.
    pub(super) async fn find_texts(
        &self,
        snapshot: &Arc<Snapshot>,
        columns: &SchemaRef,
        by: &SchemaRef,
        mut wanted: HashMap<String, u64>,
    ) -> Result<Found> {
        let steps: Vec<FileRun> =
            self.all_runs(snapshot).await?.into_iter().flat_map(cut).collect();
        let requests: Vec<_> = steps
            .into_iter()
            .map(|run| async move {
                Ok::<_, Error>((self.read_run(snapshot, run.clone(), by).await?, run))
            })
            .collect();
        let mut steps = futures::stream::iter(requests).buffered(STEPS_AHEAD);
        let (mut parts, mut ordinals, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        let mut at = 0_u64;
        while let Some((texts, run)) = steps.try_next().await? {
            let mut mask = Vec::with_capacity(texts.cells.len());
            for (cells, ordinal) in texts.cells.iter().zip(at..) {
                let left = wanted.get_mut(&line_of(cells)).filter(|left| **left > 0);
                mask.push(left.is_some());
                if let Some(left) = left {
                    *left -= 1;
                    ordinals.push(ordinal);
                }
            }
            at = at.saturating_add(u64::try_from(texts.cells.len()).unwrap_or(0));
            if !mask.contains(&true) {
                continue;
            }
            let all = self.read_run(snapshot, run, columns).await?;
            let mask = BooleanArray::from(mask);
            let rows = Rows::of(filter_record_batch(&all.batch, &mask).map_err(odd)?)?;
            bytes = bytes.saturating_add(rows.bytes);
            check_size(snapshot, bytes)?;
            parts.push(rows);
        }
        Ok(Found { rows: Rows::join(parts, columns)?, ordinals })
    }
}

fn check_size(snapshot: &Snapshot, bytes: usize) -> Result<()> {
    if bytes <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, "too many rows changed to merge them in memory")
        .with("table", &snapshot.table)
        .with("limit", TEXT_BYTES_MAX))
}
