//! Queries: SQL over snapshots of tables, read-only.
//!
//! `engine` is the one module that names the query engine (DataFusion, feature `sql`); without the
//! feature, `absent` stands in its place and refuses. Nothing here knows a user or asks the
//! catalogue: whoever calls has found the snapshots, and may read them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;

use crate::clock::SharedClock;
use crate::config::SqlSettings;
use crate::error::{Error, Result};
use crate::table::FileRun;
use crate::table::scan::{FileReader, conform};
use crate::table::snapshot::Snapshot;

#[cfg(not(feature = "sql"))]
#[path = "sql/absent.rs"]
mod engine;
#[cfg(feature = "sql")]
mod engine;

pub use engine::{QueryText, run, select_equal};

/// Longest text of a query, in bytes.
pub const QUERY_BYTES_MAX: usize = 64 << 10;

/// A table as a query names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// One to three names: `[ORG.][SUPER.]TABLE`, as they were written.
    pub parts: Vec<String>,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

/// What of a table is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Its rows.
    Rows,
    /// `TABLE$snapshots`: its versions.
    Snapshots,
    /// `TABLE$files`: its data files.
    Files,
}

/// A table's name taken apart: `[ORG.][SUPER.]TABLE[@WHEN|~N][$snapshots|$files]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The names without what follows the last one, in small letters.
    pub path: Vec<String>,
    /// `WHEN` or `~N`; empty = the newest version.
    pub version: String,
    /// What is asked for.
    pub about: About,
}

impl TableName {
    /// Takes the name apart.
    ///
    /// # Errors
    /// `Invalid` for another word behind `$`.
    pub fn named(&self) -> Result<Named> {
        let mut path: Vec<String> = self.parts.clone();
        let last = path.pop().unwrap_or_default();
        let (name, about) = match last.split_once('$') {
            None => (last.as_str(), About::Rows),
            Some((name, "snapshots")) => (name, About::Snapshots),
            Some((name, "files")) => (name, About::Files),
            Some(_) => {
                return Err(
                    Error::invalid("behind `$` stands `snapshots` or `files`").with("table", self)
                );
            }
        };
        let (name, version) = match (name.split_once('@'), name.find('~')) {
            (Some((name, version)), _) => (name, version),
            (None, Some(at)) => name.split_at(at),
            (None, None) => (name, ""),
        };
        path.push(name.to_owned());
        let path = path.iter().map(|part| part.to_ascii_lowercase()).collect();
        Ok(Named { path, version: version.to_owned(), about })
    }
}

/// The rows of a version.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// The version.
    pub snapshot: Arc<Snapshot>,
    /// Where its rows are stored, in their order.
    pub runs: Vec<FileRun>,
}

/// What stands behind a table's name.
#[derive(Debug, Clone)]
pub enum Input {
    /// A table.
    Table(TableRows),
    /// All tables of a SuperTable, as one: columns by name, and `_table` in front.
    Union(Vec<TableRows>),
    /// Rows that are there already.
    Rows(RecordBatch),
}

/// What a query works with.
#[derive(Debug, Clone)]
pub struct Means {
    /// Reads data files.
    pub reader: FileReader,
    /// Time.
    pub clock: SharedClock,
    /// Limits.
    pub settings: SqlSettings,
}

/// The rows of an answer; dropping them ends the query.
pub struct Answer {
    /// The columns: no name twice, types that tables have.
    pub schema: SchemaRef,
    /// The rows, batch by batch.
    pub rows: BoxStream<'static, Result<RecordBatch>>,
    /// Whether the same query over the same versions has the same answer at any time.
    pub repeatable: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// The texts of the values, row by row, as the CSV file has them without quotes; NULL is `None`.
///
/// # Errors
/// `Unsupported` for types that have no text.
pub fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let fields: Vec<Field> =
        fields.map(|field| Field::new(field.name(), DataType::Utf8, true)).collect();
    let texts = conform(batch, &Arc::new(Schema::new(fields)))?;
    let row = |row: usize| {
        let columns = texts.columns().iter().map(AsArray::as_string::<i32>);
        columns.map(|column| column.is_valid(row).then(|| column.value(row).to_owned())).collect()
    };
    Ok((0..texts.num_rows()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<(String, String, About)> {
        let parts = text.split('.').map(str::to_owned).collect();
        let named = TableName { parts }.named().ok()?;
        Some((named.path.join("/"), named.version, named.about))
    }

    #[test]
    fn versions_and_what_is_asked_for_follow_the_last_name() {
        let rows =
            |path: &str, version: &str| Some((path.to_owned(), version.to_owned(), About::Rows));
        assert_eq!(named("orders"), rows("orders", ""));
        assert_eq!(named("Shop.Orders@12"), rows("shop/orders", "12"));
        assert_eq!(named("acme.shop.orders~2"), rows("acme/shop/orders", "~2"));
        assert_eq!(named("orders@12~1"), rows("orders", "12~1"));
        assert_eq!(named("orders$files").map(|(_, _, about)| about), Some(About::Files));
        assert_eq!(
            named("orders@3$snapshots"),
            Some(("orders".to_owned(), "3".to_owned(), About::Snapshots))
        );
        assert_eq!(named("orders$rows"), None);
    }
}
