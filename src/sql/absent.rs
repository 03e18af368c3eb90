//! What stands in the place of the query engine in a program that was built without it.

use arrow::array::ArrayRef;

use super::{Answer, Input, Means, TableName, TableRows};
use crate::error::{Error, Result};

/// The text of a query.
#[derive(Debug)]
pub struct QueryText {}

impl QueryText {
    /// Refuses.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn parse(_text: &str) -> Result<Self> {
        Err(absent())
    }

    /// The tables that it names.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn tables(&self) -> Result<Vec<TableName>> {
        Err(absent())
    }
}

/// Refuses.
///
/// # Errors
/// `Unsupported`.
#[allow(clippy::unused_async, reason = "the engine's does")]
pub async fn run(
    _query: QueryText,
    _inputs: Vec<(TableName, Input)>,
    _means: Means,
) -> Result<Answer> {
    Err(absent())
}

/// Refuses.
///
/// # Errors
/// `Unsupported`.
#[allow(clippy::unused_async, reason = "the engine's does")]
pub async fn select_equal(
    _rows: TableRows,
    _column: &str,
    _value: ArrayRef,
    _means: Means,
) -> Result<Answer> {
    Err(absent())
}

fn absent() -> Error {
    Error::unsupported("this program was built without SQL (feature `sql`)")
}
