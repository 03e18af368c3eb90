//! Which of some incoming rows are newer than the rows of a table with the same keys.
//!
//! A column tells how new a row is. An incoming row is left out if the table, or the incoming rows
//! before it, have its key with a value that is as new or newer; NULL is older than everything. So
//! the same rows can come again, and in another order, with the same result.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use futures::{StreamExt, TryStreamExt};

use super::rows::cut;
use super::{Lake, Principal, Snapshot};
use crate::access::Permission;
use crate::error::{Error, Result};

/// Steps of the table that are read at the same time.
const STEPS_AHEAD: usize = 4;

/// The newest incoming row of a key.
#[derive(Debug)]
struct Candidate {
    row: usize,
    value: Option<Box<[u8]>>,
}

/// The incoming rows of one change, by their keys.
#[derive(Debug)]
pub struct Incoming {
    columns: SchemaRef,
    keys: RowConverter,
    values: RowConverter,
    newest: HashMap<Box<[u8]>, Candidate>,
    /// Which rows are taken.
    taken: Vec<bool>,
}

/// Keys and values of a batch in comparable form.
struct Compared {
    keys: arrow::row::Rows,
    values: arrow::row::Rows,
    value: ArrayRef,
    null_key: Vec<bool>,
}

impl Incoming {
    /// Rows with the columns `schema`, known by the columns `keys`, as new as `column` says.
    ///
    /// # Errors
    /// `Invalid` if there are no keys, or a column does not exist or cannot be compared.
    pub fn new(schema: &SchemaRef, keys: &[String], column: &str) -> Result<Self> {
        let field = |name: &str| -> Result<FieldRef> {
            let found = schema.fields().find(name).map(|(_, field)| Arc::clone(field));
            found.ok_or_else(|| Error::invalid("there is no such column").with("column", name))
        };
        if keys.is_empty() {
            return Err(Error::invalid("rows are compared by their keys: the table has none"));
        }
        if keys.iter().any(|key| key == column) {
            return Err(Error::invalid("the column that tells which row is newer is a key")
                .with("column", column));
        }
        let value = field(column)?;
        let mut fields = keys.iter().map(|key| field(key)).collect::<Result<Vec<_>>>()?;
        let sort = |field: &FieldRef| SortField::new(field.data_type().clone());
        let converter = |fields: Vec<SortField>| {
            RowConverter::new(fields).map_err(|error| {
                Error::invalid("columns cannot be compared").caused_by(error).with("column", column)
            })
        };
        let key_converter = converter(fields.iter().map(sort).collect())?;
        let value_converter = converter(vec![sort(&value)])?;
        fields.push(value);
        Ok(Self {
            columns: Arc::new(Schema::new(fields)),
            keys: key_converter,
            values: value_converter,
            newest: HashMap::new(),
            taken: Vec::new(),
        })
    }

    /// Looks at the next incoming rows.
    ///
    /// # Errors
    /// `Internal` if the batch has other columns.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let compared = self.compared(batch)?;
        for row in 0..batch.num_rows() {
            let number = self.taken.len();
            // The commit tells about rows without a key.
            self.taken.push(true);
            if compared.null_key.get(row).copied().unwrap_or(true) {
                continue;
            }
            let value = compared.value_at(row);
            let key: Box<[u8]> = compared.keys.row(row).data().into();
            match self.newest.get_mut(&key) {
                None => drop(self.newest.insert(key, Candidate { row: number, value })),
                Some(best) => {
                    let loser = if is_newer(value.as_deref(), best.value.as_deref()) {
                        let before = std::mem::replace(&mut best.row, number);
                        best.value = value;
                        before
                    } else {
                        number
                    };
                    self.leave_out(loser);
                }
            }
        }
        Ok(())
    }

    /// How many of the rows are taken.
    pub fn count(&self) -> usize {
        self.taken.iter().filter(|taken| **taken).count()
    }

    /// Of the next rows, those that are taken; `first` is the number of rows before them.
    ///
    /// # Errors
    /// `Internal` if there are more rows than were observed.
    pub fn select(&self, first: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let taken = self.taken.get(first..first.saturating_add(batch.num_rows()));
        let taken = taken.ok_or_else(|| Error::invalid("a file grew while it was read"))?;
        filter_record_batch(batch, &BooleanArray::from(taken.to_vec()))
            .map_err(|error| Error::internal("select rows").caused_by(error))
    }

    fn leave_out(&mut self, row: usize) {
        if let Some(taken) = self.taken.get_mut(row) {
            *taken = false;
        }
    }

    /// Leaves out what is not newer than these rows of the table.
    fn meet(&mut self, batch: &RecordBatch) -> Result<()> {
        let compared = self.compared(batch)?;
        for row in 0..batch.num_rows() {
            let Some(best) = self.newest.get(compared.keys.row(row).data()) else { continue };
            let (number, stored) = (best.row, compared.value_at(row));
            if !is_newer(best.value.as_deref(), stored.as_deref()) {
                self.leave_out(number);
            }
        }
        Ok(())
    }

    fn compared(&self, batch: &RecordBatch) -> Result<Compared> {
        let arrays = self.columns.fields().iter().map(|field| {
            batch
                .column_by_name(field.name())
                .cloned()
                .ok_or_else(|| Error::internal("column was not read").with("column", field.name()))
        });
        let mut keys = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        let value = keys.pop().ok_or_else(|| Error::internal("no column to compare"))?;
        let rows = |converter: &RowConverter, arrays: &[ArrayRef]| {
            converter
                .convert_columns(arrays)
                .map_err(|error| Error::internal("compare rows").caused_by(error))
        };
        let null_key =
            (0..batch.num_rows()).map(|row| keys.iter().any(|key| key.is_null(row))).collect();
        Ok(Compared {
            keys: rows(&self.keys, &keys)?,
            values: rows(&self.values, std::slice::from_ref(&value))?,
            value,
            null_key,
        })
    }
}

impl Compared {
    fn value_at(&self, row: usize) -> Option<Box<[u8]>> {
        (!self.value.is_null(row)).then(|| self.values.row(row).data().into())
    }
}

fn is_newer(new: Option<&[u8]>, old: Option<&[u8]>) -> bool {
    match (new, old) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => new > old,
    }
}

impl Lake {
    /// Leaves those incoming rows out that are not newer than the rows of a version with the same
    /// keys.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`.
    pub async fn keep_newer(
        &self,
        who: &Principal,
        base: &Arc<Snapshot>,
        incoming: &mut Incoming,
    ) -> Result<()> {
        self.allow(who, &base.table, Permission::Read).await?;
        let columns = Arc::clone(&incoming.columns);
        let (runs, _) = self.runs_of(base, 0..u64::MAX).await?;
        let reader = self.0.views.reader();
        let requests: Vec<_> = runs
            .into_iter()
            .flat_map(cut)
            .map(|run| {
                let columns = Arc::clone(&columns);
                async move { reader.read_rows(&run.file, run.rows, &columns).await }
            })
            .collect();
        let mut batches = futures::stream::iter(requests).buffered(STEPS_AHEAD);
        while let Some(batch) = batches.try_next().await? {
            incoming.meet(&batch)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn batch(rows: &[(&str, Option<i64>)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("rev", DataType::Int64, true),
        ]);
        let ids: StringArray = rows.iter().map(|(id, _)| (*id != "-").then_some(*id)).collect();
        let revs: Int64Array = rows.iter().map(|(_, rev)| *rev).collect();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(revs)]).unwrap()
    }

    #[track_caller]
    fn check(stored: &[(&str, Option<i64>)], rows: &[(&str, Option<i64>)], taken: &[bool]) {
        let rows = batch(rows);
        let mut incoming = Incoming::new(&rows.schema(), &["id".into()], "rev").unwrap();
        incoming.observe(&rows).unwrap();
        incoming.meet(&batch(stored)).unwrap();
        assert_eq!(incoming.taken, taken);
        assert_eq!(incoming.select(0, &rows).unwrap().num_rows(), incoming.count());
        assert!(incoming.select(1, &rows).is_err());
    }

    #[test]
    fn rows_that_are_not_newer_are_left_out() {
        let stored = [("a", Some(5)), ("b", None)];
        check(&stored, &[("a", Some(6)), ("b", Some(-1)), ("c", None)], &[true, true, true]);
        check(&stored, &[("a", Some(5)), ("a", Some(4))], &[false, false]);
        check(&stored, &[("a", None), ("b", None)], &[false, true]);
        check(&stored, &[("a", Some(7)), ("a", Some(9)), ("a", Some(8))], &[false, true, false]);
        check(&[], &[("x", None), ("x", Some(1)), ("x", None)], &[false, true, false]);
        check(&[], &[("-", Some(1)), ("-", Some(1))], &[true, true]);
    }

    #[test]
    fn columns_have_to_be_there() {
        let schema = batch(&[]).schema();
        assert!(Incoming::new(&schema, &[], "rev").is_err());
        assert!(Incoming::new(&schema, &["id".into()], "none").is_err());
        assert!(Incoming::new(&schema, &["none".into()], "rev").is_err());
        assert!(Incoming::new(&schema, &["id".into()], "id").is_err());
    }
}
