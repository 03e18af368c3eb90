//! The rows of an answer: columns as tables have them, and no more rows or time than allowed.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::future::{BoxFuture, Either, Fuse};

use super::refusal::refused;
use crate::config::SqlSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::Answer;
use crate::table::schema;

/// A query under way.
struct Running {
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    deadline: Fuse<BoxFuture<'static, ()>>,
    settings: SqlSettings,
    given: u64,
    over: bool,
}

/// The rows within the limits.
pub(super) fn bounded(
    rows: SendableRecordBatchStream,
    settings: &SqlSettings,
    deadline: Fuse<BoxFuture<'static, ()>>,
    repeatable: bool,
) -> Result<Answer> {
    let schema = shown(&rows.schema())?;
    let running = Running {
        rows,
        schema: Arc::clone(&schema),
        deadline,
        settings: settings.clone(),
        given: 0,
        over: false,
    };
    let rows = futures::stream::unfold(running, |mut running| async move {
        if running.over {
            return None;
        }
        let next = running.next().await;
        running.over = !matches!(next, Some(Ok(_)));
        next.map(|next| (next, running))
    });
    Ok(Answer { schema, rows: rows.boxed(), repeatable })
}

impl Running {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let next = self.rows.next();
            let batch = match futures::future::select(next, &mut self.deadline).await {
                Either::Left((batch, _)) => batch?,
                Either::Right(((), _)) => return Some(Err(too_slow(&self.settings))),
            };
            let batch = match batch {
                Ok(batch) if batch.num_rows() == 0 => continue,
                Ok(batch) => batch,
                Err(error) => return Some(Err(refused(error))),
            };
            self.given += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
            if self.given > self.settings.rows_max {
                return Some(Err(Error::new(
                    ErrorKind::TooLarge,
                    "the answer has more rows than `sql.rows_max` allows; use LIMIT or raise it",
                )
                .with("rows_max", self.settings.rows_max)));
            }
            return Some(in_shown_columns(&batch, &self.schema));
        }
    }
}

/// The error of a query that took too long.
pub(super) fn too_slow(settings: &SqlSettings) -> Error {
    Error::new(ErrorKind::TooLarge, "the query took longer than `sql.time_max` allows")
        .with("time_max_ms", settings.time_max.as_millis())
}

/// Columns of an answer as those of a table: types that have a text, and each name once.
fn shown(schema: &Schema) -> Result<SchemaRef> {
    let mut names: HashSet<String> =
        schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut seen: HashSet<String> = HashSet::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut name = field.name().clone();
        if !seen.insert(name.clone()) {
            let free = (1_u32..).map(|n| format!("{name}_{n}")).find(|name| !names.contains(name));
            name = free.ok_or_else(|| Error::internal("name a column"))?;
            names.insert(name.clone());
            seen.insert(name.clone());
        }
        let data_type =
            shown_type(field.data_type()).map_err(|error| error.with("column", field.name()))?;
        fields.push(Field::new(name, data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn shown_type(data_type: &DataType) -> Result<DataType> {
    match data_type {
        // Lengths of time with months have no form that a table could hold.
        DataType::Interval(_) => Ok(DataType::Utf8),
        other => schema::shown(other),
    }
}

fn in_shown_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        let column = cast_with_options(column, field.data_type(), &options).map_err(|error| {
            Error::unsupported("values of the answer cannot be shown")
                .with("column", field.name())
                .caused_by(error)
        })?;
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal("columns of the answer").caused_by(error))
}
