//! Rows that are hidden by their keys (generations G1 and G2; format spec sections 3.5 and 5).
//!
//! A snapshot may name deleted keys, and a table's configuration may ask for the newest row of
//! each key only. Which rows that hides is found once for each snapshot; from then on they are
//! dead rows like any others. Text compares byte for byte.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use serde_json::Value;

use crate::catalog::DocKey;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::deletes::DeadRows;
use crate::table::json;
use crate::table::keys;
use crate::table::schema::TIMESTAMP;
use crate::table::snapshot::{DataFile, Deletes, JsonMap, Snapshot};
use crate::table::stored;
use crate::table::write::KeyDigester;

/// What the table's configuration says (format spec section 1.4).
#[derive(Debug, Default)]
struct Rule {
    /// Whether only the newest row of a key is shown.
    newest_only: bool,
    keys: Vec<String>,
}

impl Table {
    /// The snapshot with the rows found that are hidden by their keys.
    ///
    /// # Errors
    /// `Corrupt` if a key column does not exist; those of reading configuration and key columns.
    pub(crate) async fn with_hidden_rows(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        let rule = self.rule().await?;
        let mut found = Snapshot::clone(&snapshot);
        if rule.newest_only {
            found.keeps_time = true;
            if found.config.keys.is_empty() && !rule.keys.is_empty() {
                found.config.keys.clone_from(&rule.keys);
            }
        }
        let mut dead = DeadRows::default();
        if let Some(tombstones) = snapshot.document.get("tombstones").and_then(Value::as_object) {
            self.deleted_by_key(&snapshot, tombstones, &mut dead).await?;
        }
        if rule.newest_only && !rule.keys.is_empty() && !snapshot.files.is_empty() {
            self.superseded(&snapshot, &rule.keys, &mut dead).await?;
        }
        let changed =
            !dead.is_empty() || found.keeps_time != snapshot.keeps_time || rule.newest_only;
        if !changed {
            return Ok(snapshot);
        }
        if !dead.is_empty() {
            found.deletes = Deletes::ByKey(Arc::new(dead));
        }
        Ok(Arc::new(found))
    }

    /// Whether only the newest row of each key is shown.
    ///
    /// # Errors
    /// Those of the catalogue.
    pub(crate) async fn shows_newest_only(&self) -> Result<bool> {
        Ok(self.rule().await?.newest_only)
    }

    async fn rule(&self) -> Result<Rule> {
        let stored = self.parts.catalog.doc(&DocKey::TableConfig(self.id.clone())).await?;
        let Some(stored) = stored else { return Ok(Rule::default()) };
        let stored = json::parse_object(&stored).map_err(|error| error.with("table", &self.id))?;
        Ok(Rule {
            newest_only: stored.get("dedup_on_read").and_then(Value::as_bool).unwrap_or_default(),
            keys: names(&stored),
        })
    }

    /// Adds the rows whose keys the document calls deleted.
    async fn deleted_by_key(
        &self,
        snapshot: &Snapshot,
        tombstones: &JsonMap,
        dead: &mut DeadRows,
    ) -> Result<()> {
        let deleted = json::list(tombstones, "deleted_keys")?;
        if deleted.is_empty() || snapshot.files.is_empty() {
            return Ok(());
        }
        let keys = self.key_columns(snapshot, &names(tombstones))?;
        let deleted = digests_of(deleted, &keys)?;
        for file in snapshot.files.iter() {
            let ids = self.row_ids(file).await?;
            for (row, digest) in (0_u32..).zip(self.key_digests(file, &keys).await?.iter()) {
                if deleted.contains(digest)
                    && let Some(id) = ids.at(row)
                {
                    dead.insert(&file.path, id);
                }
            }
        }
        Ok(())
    }

    /// Adds the rows that have a newer one of the same key. Of rows of the same time the last one
    /// is shown.
    async fn superseded(
        &self,
        snapshot: &Snapshot,
        names: &[String],
        dead: &mut DeadRows,
    ) -> Result<()> {
        let keys = self.key_columns(snapshot, names)?;
        let gone: HashSet<i64> = dead.ids().into_iter().collect();
        let mut newest: HashMap<u128, (i64, &DataFile, i64)> = HashMap::new();
        for file in snapshot.files.iter() {
            let ids = self.row_ids(file).await?;
            let times = self.times(file).await?;
            let digests = self.key_digests(file, &keys).await?;
            for ((row, digest), time) in (0_u32..).zip(digests.iter()).zip(times) {
                let Some(id) = ids.at(row).filter(|id| !gone.contains(id)) else { continue };
                let older = match newest.get(digest) {
                    Some((shown, ..)) if *shown > time => (file, id),
                    _ => match newest.insert(*digest, (time, file, id)) {
                        Some((_, file, id)) => (file, id),
                        None => continue,
                    },
                };
                dead.insert(&older.0.path, older.1);
            }
        }
        Ok(())
    }

    /// When each row of a file was written; rows without a time come before all others.
    async fn times(&self, file: &DataFile) -> Result<Vec<i64>> {
        let rows = usize::try_from(file.rows).unwrap_or_default();
        let mut times = Vec::with_capacity(rows);
        for batch in stored::read_columns(&self.parts.objects, file, &[TIMESTAMP]).await? {
            let Some(column) = batch.column_by_name(TIMESTAMP) else { continue };
            let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
            let column = cast(column, &wanted).map_err(|error| error.with("file", &file.path))?;
            let column = column.as_primitive::<TimestampMicrosecondType>();
            times.extend(column.iter().map(|time| time.unwrap_or(i64::MIN)));
        }
        times.resize(rows, i64::MIN);
        Ok(times)
    }

    fn key_columns(&self, snapshot: &Snapshot, names: &[String]) -> Result<SchemaRef> {
        keys::key_schema(&snapshot.schema, names).map_err(|error| {
            Error::corrupt("rows are hidden by a column that the table does not have")
                .with("table", &self.id)
                .caused_by(error)
        })
    }
}

/// The member `primary_keys`.
fn names(object: &JsonMap) -> Vec<String> {
    let names = json::list(object, "primary_keys").unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn cast(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(column, wanted, &options)
        .map_err(|error| Error::corrupt("column is of another type").caused_by(error))
}

/// Digests of keys that stand in a document. A NULL is equal to nothing, and a value that the
/// column cannot hold is in no row.
fn digests_of(deleted: &[Value], keys: &SchemaRef) -> Result<HashSet<u128>> {
    let tuples: Vec<&[Value]> = deleted
        .iter()
        .filter_map(Value::as_array)
        .map(Vec::as_slice)
        .filter(|tuple| tuple.len() == keys.fields().len())
        .collect();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(keys.fields().len());
    for (at, field) in keys.fields().iter().enumerate() {
        let texts = tuples.iter().map(|tuple| tuple.get(at).and_then(text));
        let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
        columns.push(cast(&texts, field.data_type())?);
    }
    let known: Vec<bool> =
        (0..tuples.len()).map(|row| columns.iter().all(|column| column.is_valid(row))).collect();
    let batch = RecordBatch::try_new(Arc::clone(keys), columns)
        .map_err(|error| Error::internal("batch of keys").caused_by(error))?;
    let names: Vec<String> = keys.fields().iter().map(|field| field.name().clone()).collect();
    let mut digester = KeyDigester::new(keys, &names)?;
    digester.observe(&batch)?;
    let digests = digester.finish().0.into_iter().zip(known);
    Ok(digests.filter_map(|(digest, known)| known.then_some(digest)).collect())
}

/// A JSON scalar as text; whole numbers also where Lua's JSON made floats of them.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => {
            Some(json::as_integer(value).map_or_else(|| number.to_string(), |n| n.to_string()))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array};
    use arrow::datatypes::{Field, Schema};
    use serde_json::json;

    use super::*;

    fn digests(deleted: &Value, fields: &[(&str, DataType)]) -> HashSet<u128> {
        let fields = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
        let keys = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        digests_of(deleted.as_array().expect("list"), &keys).expect("digests")
    }

    fn stored(columns: Vec<(&str, ArrayRef)>) -> HashSet<u128> {
        let batch = RecordBatch::try_from_iter(columns).expect("batch");
        let names: Vec<String> =
            batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut digester = KeyDigester::new(&batch.schema(), &names).expect("keys");
        digester.observe(&batch).expect("observe");
        digester.finish().0.into_iter().collect()
    }

    #[test]
    fn keys_of_documents_equal_stored_ones() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 20_000_000_000_000]));
        assert_eq!(
            digests(&json!([[1], [2e13]]), &[("id", DataType::Int64)]),
            stored(vec![("id", numbers)])
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "x\"y"]));
        assert_eq!(
            digests(&json!([["1"], ["x\"y"]]), &[("k", DataType::Utf8)]),
            stored(vec![("k", texts)])
        );
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let seven: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        assert_eq!(
            digests(&json!([[7, true]]), &[("id", DataType::Int64), ("b", DataType::Boolean)]),
            stored(vec![("id", seven), ("b", flags)])
        );
    }

    #[test]
    fn text_keys_are_compared_byte_for_byte() {
        let kind = [("k", DataType::Utf8)];
        assert_ne!(digests(&json!([["abc"]]), &kind), digests(&json!([["ABC"]]), &kind));
    }

    #[test]
    fn nulls_and_impossible_values_match_nothing() {
        let kind = [("id", DataType::Int64)];
        assert!(digests(&json!([[null], ["x"], [1.5], [1, 2]]), &kind).is_empty());
    }
}
