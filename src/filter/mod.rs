//! Conditions and assignments over the columns of a table, as people write them in SQL: which rows
//! are meant, and what becomes of them.
//!
//! Pure: text, schema and batches in, masks and batches out. The language is small on purpose
//! (the grammar stands in `parse.rs`); a value is always read as a cell of its column would be, so
//! that nothing is converted silently.

mod node;
mod parse;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp;
use arrow::compute::{and, or, prep_null_mask_filter, take};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};
use node::{Node, Operand, column, failed};
use parse::Parser;

/// A condition on rows.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Node,
    columns: SchemaRef,
}

impl Filter {
    /// Reads a condition on the columns of `schema`.
    ///
    /// # Errors
    /// `Invalid` with the place and what was expected there; also for columns that do not exist
    /// and values that do not fit their column's type.
    pub fn parse(text: &str, schema: &SchemaRef) -> Result<Self> {
        let root = Parser::new(text, schema)?.condition()?;
        let mut names = BTreeSet::new();
        root.columns(&mut names);
        let columns = projected(schema, &names)?;
        Ok(Self { root, columns })
    }

    /// The columns that it looks at, in the order of the schema; at least one.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Which rows of a batch meet it. A condition that is unknown, because of a NULL, is not met.
    ///
    /// # Errors
    /// `Unsupported` if the columns' types cannot be compared.
    pub fn matches(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let values = self.root.evaluate(batch)?;
        Ok(if values.null_count() > 0 { prep_null_mask_filter(&values) } else { values })
    }
}

/// New values of some columns.
#[derive(Debug, Clone)]
pub struct Assignments {
    all: Vec<(FieldRef, Operand)>,
    columns: SchemaRef,
}

impl Assignments {
    /// Reads assignments `column = value`; a value is a literal, NULL or another column.
    ///
    /// # Errors
    /// As [`Filter::parse`]; `Invalid` if a column is assigned twice, or none is.
    pub fn parse(texts: &[String], schema: &SchemaRef) -> Result<Self> {
        let mut all: Vec<(FieldRef, Operand)> = Vec::new();
        for text in texts {
            let (field, value) = Parser::new(text, schema)?.assignment()?;
            if all.iter().any(|(other, _)| other.name() == field.name()) {
                return Err(
                    Error::invalid("a column is assigned twice").with("column", field.name())
                );
            }
            all.push((field, value));
        }
        if all.is_empty() {
            return Err(Error::invalid("nothing is assigned"));
        }
        let mut names: BTreeSet<&str> =
            all.iter().map(|(field, _)| field.name().as_str()).collect();
        names.extend(all.iter().filter_map(|(_, value)| match value {
            Operand::Column(name) => Some(name.as_str()),
            Operand::Literal(_) => None,
        }));
        let columns = projected(schema, &names)?;
        Ok(Self { all, columns })
    }

    /// The columns that are read and written.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Which rows of a batch the assignments change.
    ///
    /// # Errors
    /// `Unsupported` if values cannot be compared.
    pub fn change(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let mut changed = BooleanArray::from(vec![false; batch.num_rows()]);
        for (field, value) in &self.all {
            let old = column(batch, field.name())?;
            let new = value_of(value, batch)?;
            let differs = if field.data_type().is_nested() {
                // Only NULL can be assigned to these.
                or(&not_null(&old)?, &not_null(&new)?).map_err(failed)?
            } else {
                cmp::distinct(&old, &new).map_err(failed)?
            };
            changed = or(&changed, &differs).map_err(failed)?;
        }
        Ok(changed)
    }

    /// The batch with the new values in place of the old ones; all of them follow from the old.
    ///
    /// # Errors
    /// `Internal` if the batch lacks a column.
    pub fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        for (field, value) in &self.all {
            let place = batch.schema().index_of(field.name()).ok();
            let place = place.and_then(|place| columns.get_mut(place));
            *place.ok_or_else(|| Error::internal("column was not read"))? = value_of(value, batch)?;
        }
        RecordBatch::try_new(batch.schema(), columns)
            .map_err(|error| Error::internal("assign values").caused_by(error))
    }
}

/// Rows for which both hold.
///
/// # Errors
/// `Internal` if the masks are of different lengths.
pub fn both(one: &BooleanArray, other: &BooleanArray) -> Result<BooleanArray> {
    and(one, other).map_err(|error| Error::internal("join masks").caused_by(error))
}

fn not_null(array: &ArrayRef) -> Result<BooleanArray> {
    arrow::compute::is_not_null(array).map_err(failed)
}

fn value_of(value: &Operand, batch: &RecordBatch) -> Result<ArrayRef> {
    match value {
        Operand::Column(name) => column(batch, name),
        Operand::Literal(one) => {
            let rows = UInt32Array::from(vec![0; batch.num_rows()]);
            take(one, &rows, None).map_err(failed)
        }
    }
}

/// Columns by name; the first of all if there are no names, because rows have to be counted.
fn projected(schema: &SchemaRef, names: &BTreeSet<&str>) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .filter(|field| names.contains(field.name().as_str()))
        .map(FieldRef::clone)
        .collect();
    if fields.is_empty() {
        let first = schema.fields().first();
        fields
            .push(Arc::clone(first.ok_or_else(|| Error::invalid("the table has no columns yet"))?));
    }
    Ok(Arc::new(Schema::new(fields)))
}
