//! The metadata document of an Iceberg table (Iceberg specification, "Table Metadata").

use arrow::datatypes::Schema;
use bytes::Bytes;
use serde_json::{Value, json};

use super::manifest::{self, File, Status};
use super::schema::{self, FieldIds};
use super::text;
use crate::error::{Error, Result};
use crate::mirror::content::Content;
use crate::mirror::identity;
use crate::table::parse_object;
use crate::table::snapshot::JsonMap;

/// Property with the ids of all fields that there ever were.
const FIELD_IDS: &str = "mountable.field-ids";
/// Property with the object path of the snapshot that is shown.
const SNAPSHOT: &str = "mountable.snapshot";
/// Property with the names of columns in files without ids.
const MAPPING: &str = "schema.name-mapping.default";
/// Earlier metadata documents that are named.
const LOG_MAX: usize = 99;
/// Snapshots that are named; each document names all of them.
const SNAPSHOTS_MAX: usize = 500;

/// A metadata document.
#[derive(Debug, Clone, Default)]
pub(super) struct Document(JsonMap);

/// What a new Iceberg snapshot is made of.
pub(super) struct Step<'a> {
    pub(super) id: i64,
    pub(super) parent: Option<i64>,
    pub(super) sequence: i64,
    pub(super) schema_id: i64,
    pub(super) manifest_list: &'a str,
    pub(super) operation: &'static str,
    pub(super) content: &'a Content,
    pub(super) entries: &'a [(Status, &'a File)],
    /// Address of the metadata document before.
    pub(super) before: Option<String>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        parse_object(bytes)
            .map(Self)
            .map_err(|error| Error::corrupt("read Iceberg metadata").caused_by(error))
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        format!("{:#}", Value::Object(self.0.clone())).into()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn list(&self, name: &str) -> Vec<Value> {
        self.0.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn property(&self, name: &str) -> Option<&str> {
        text(self.0.get("properties")?, name)
    }

    fn set_property(&mut self, name: &str, value: String) {
        let properties = self.0.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.to_owned(), value.into());
        }
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.0.get("location")?.as_str()
    }

    /// Object path of the table's snapshot that is shown.
    pub(super) fn snapshot_path(&self) -> Option<&str> {
        self.property(SNAPSHOT)
    }

    /// The current snapshot's id.
    pub(super) fn current(&self) -> Option<i64> {
        self.number("current-snapshot-id").filter(|id| *id >= 0)
    }

    pub(super) fn sequence(&self) -> i64 {
        self.number("last-sequence-number").unwrap_or_default()
    }

    pub(super) fn field_ids(&self) -> FieldIds {
        self.property(FIELD_IDS).and_then(FieldIds::from_json).unwrap_or_default()
    }

    /// Ids of all snapshots.
    pub(super) fn snapshot_ids(&self) -> Vec<i64> {
        self.list("snapshots").iter().filter_map(|one| one.get("snapshot-id")?.as_i64()).collect()
    }

    /// Sets what does not change from version to version.
    pub(super) fn begin(&mut self, location: &str, content: &Content) {
        if self.0.is_empty() {
            let uuid = identity::uuid_of(&format!(
                "iceberg\n{}\n{}",
                content.snapshot.table, content.snapshot.path
            ));
            self.set("format-version", 2.into());
            self.set("table-uuid", uuid.into());
            self.set("location", location.into());
            self.set("last-sequence-number", 0.into());
            self.set("last-updated-ms", 0.into());
            self.set("last-column-id", 0.into());
            self.set("current-schema-id", 0.into());
            self.set("schemas", json!([]));
            self.set("default-spec-id", 0.into());
            self.set("partition-specs", json!([{"spec-id": 0, "fields": []}]));
            self.set("last-partition-id", 999.into());
            self.set("default-sort-order-id", 0.into());
            self.set("sort-orders", json!([{"order-id": 0, "fields": []}]));
            self.set("properties", json!({}));
        }
        self.set("location", location.into());
    }

    /// Makes the columns the current schema; its id and document.
    ///
    /// # Errors
    /// `Internal` for a type that no mirror has.
    pub(super) fn add_schema(
        &mut self,
        columns: &Schema,
        ids: &mut FieldIds,
    ) -> Result<(i64, String)> {
        let fields = schema::fields(columns, ids)?;
        let mut schemas = self.list("schemas");
        let id_of = |schema: &Value| schema.get("schema-id").and_then(Value::as_i64);
        let known = schemas.iter().find(|schema| schema.get("fields") == Some(&fields)).cloned();
        let schema = known.unwrap_or_else(|| {
            let next = schemas.iter().filter_map(id_of).max().map_or(0, |id| id.saturating_add(1));
            let new = json!({"type": "struct", "schema-id": next, "fields": fields});
            schemas.push(new.clone());
            new
        });
        let id = id_of(&schema).unwrap_or_default();
        self.set("schemas", Value::Array(schemas));
        self.set("current-schema-id", id.into());
        Ok((id, schema.to_string()))
    }

    /// Says which columns of data files have which ids.
    pub(super) fn set_mapping(&mut self, columns: &Schema, stored: &[&Schema], ids: &mut FieldIds) {
        let before = self.property(MAPPING).and_then(|text| serde_json::from_str(text).ok());
        let before: Vec<Value> = before.unwrap_or_default();
        let mapping = schema::name_mapping(columns, stored, &before, ids);
        self.set_property(MAPPING, mapping.to_string());
        self.set_property(FIELD_IDS, ids.to_json());
        self.set("last-column-id", ids.last().into());
    }

    /// Makes a new snapshot the current one.
    ///
    /// # Errors
    /// `Internal` if a number is out of range.
    pub(super) fn add_snapshot(&mut self, step: &Step<'_>) -> Result<()> {
        let last = self.number("last-updated-ms").unwrap_or_default();
        if let Some(before) = &step.before {
            let mut log = self.list("metadata-log");
            log.push(json!({"timestamp-ms": last, "metadata-file": before}));
            let from = log.len().saturating_sub(LOG_MAX);
            self.set("metadata-log", Value::Array(log.split_off(from)));
        }
        let at = step.content.snapshot.committed_ms.max(last);
        let mut snapshot = json!({
            "snapshot-id": step.id,
            "sequence-number": step.sequence,
            "timestamp-ms": at,
            "manifest-list": step.manifest_list,
            "summary": summary(step)?,
            "schema-id": step.schema_id,
        });
        if let (Some(parent), Some(snapshot)) = (step.parent, snapshot.as_object_mut()) {
            snapshot.insert("parent-snapshot-id".to_owned(), parent.into());
        }
        let mut snapshots = self.list("snapshots");
        snapshots.push(snapshot);
        let mut log = self.list("snapshot-log");
        log.push(json!({"snapshot-id": step.id, "timestamp-ms": at}));
        let newest = |mut list: Vec<Value>| {
            let from = list.len().saturating_sub(SNAPSHOTS_MAX);
            Value::Array(list.split_off(from))
        };
        self.set("snapshots", newest(snapshots));
        self.set("snapshot-log", newest(log));
        self.set("current-snapshot-id", step.id.into());
        self.set("refs", json!({"main": {"snapshot-id": step.id, "type": "branch"}}));
        self.set("last-sequence-number", step.sequence.into());
        self.set("last-updated-ms", at.into());
        self.set_property(SNAPSHOT, step.content.snapshot.path.clone());
        Ok(())
    }

    /// Forgets snapshots from before a time, except the current one; their ids.
    pub(super) fn expire(&mut self, before_ms: i64) -> Vec<i64> {
        let current = self.current();
        let id_of = |one: &Value| one.get("snapshot-id").and_then(Value::as_i64);
        let (mut kept, mut expired) = (Vec::new(), Vec::new());
        for snapshot in self.list("snapshots") {
            let at = snapshot.get("timestamp-ms").and_then(Value::as_i64).unwrap_or_default();
            match id_of(&snapshot) {
                Some(id) if at < before_ms && Some(id) != current => expired.push(id),
                _ => kept.push(snapshot),
            }
        }
        if !expired.is_empty() {
            let mut log = self.list("snapshot-log");
            log.retain(|one| id_of(one).is_none_or(|id| !expired.contains(&id)));
            self.set("snapshots", Value::Array(kept));
            self.set("snapshot-log", Value::Array(log));
        }
        expired
    }
}

fn summary(step: &Step<'_>) -> Result<Value> {
    let added = manifest::tally(step.entries, Status::Added)?;
    let existing = manifest::tally(step.entries, Status::Existing)?;
    let deleted = manifest::tally(step.entries, Status::Deleted)?;
    Ok(json!({
        "operation": step.operation,
        "added-data-files": added.files.to_string(),
        "added-records": added.rows.to_string(),
        "deleted-data-files": deleted.files.to_string(),
        "deleted-records": deleted.rows.to_string(),
        "total-data-files": added.files.saturating_add(existing.files).to_string(),
        "total-records": added.rows.saturating_add(existing.rows).to_string(),
        "mountable.version": step.content.snapshot.version.to_string(),
    }))
}
