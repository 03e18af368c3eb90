//! Snapshot documents <-> [`Snapshot`]: lenient in, exact out (format spec sections 2.2 and 6.2).
//!
//! Generations G1 to G4 are read, and written but for G2 ([`Generation`]). Members that this
//! version does not know are carried over from the predecessor. Our own data sits in one extra
//! member, `mountable`, that the Python library carries along unread; it is believed only where
//! `mountable.commit` is the document's own commit id (see [`is_ours`]).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};

use crate::catalog::KeyLayout;
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::table::generation::{Generation, SystemColumns};
use crate::table::json;
use crate::table::layout::{self, Layout};
use crate::table::schema::{self, TIMESTAMP};
use crate::table::snapshot::{
    DataFile, Deletes, JsonMap, LayoutRef, Lineage, Snapshot, TableConfig,
};
use crate::table::vacuum::HISTORY_BEGINS;
use crate::table::widen;

/// Name of our member of a document.
pub const MEMBER: &str = "mountable";
/// Member of all snapshots of a table on a branch: the path of the first one, which shows what was
/// branched off.
pub(crate) const FORK: &str = "fork";
/// Members that every later document carries on.
const CARRIED: [&str; 2] = [HISTORY_BEGINS, FORK];
/// Version of that member's form.
const FORMAT: u64 = 1;

/// Reads a document.
///
/// # Errors
/// `Corrupt` if required members are missing or wrong, `Unsupported` for tables whose rows are to
/// be filtered.
pub fn decode(table: &TableId, keys: KeyLayout, path: &str, document: JsonMap) -> Result<Snapshot> {
    decode_inner(table, keys, path, document)
        .map_err(|error| error.with("table", table).with("snapshot", path))
}

fn decode_inner(
    table: &TableId,
    keys: KeyLayout,
    path: &str,
    document: JsonMap,
) -> Result<Snapshot> {
    let version = json::count(&document, "snapshot_version")?;
    let generation = generation(keys, &document);
    check_filter(&document)?;
    let files = files(&document)?;
    let deletes = deletes(&document)?;
    let schema = columns(&document)?;
    let layout = layout_ref(&document, &files, &deletes, &schema);
    let previous = document.get("previous_snapshot").and_then(Value::as_str).map(str::to_owned);
    Ok(Snapshot {
        table: table.clone(),
        generation,
        keeps_time: generation.is_without_row_ids() && keeps_time(&document),
        version,
        path: path.to_owned(),
        committed_ms: document
            .get("last_updated_ms")
            .and_then(json::as_integer)
            .ok_or_else(|| Error::corrupt("document lacks its time"))?,
        schema,
        row_id_high_watermark: row_id_high_watermark(&document),
        files: files.into(),
        deletes,
        previous,
        layout,
        lineage: lineage(&document),
        config: config(&document),
        document: Arc::new(document),
    })
}

/// Refuses linked tables that show a part of their rows only (format spec section 1.2): all of them
/// would be too many.
fn check_filter(document: &JsonMap) -> Result<()> {
    match document.get("_row_filter") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(filter)) if filter.trim().is_empty() => Ok(()),
        Some(_) => Err(Error::unsupported(
            "linked table with a row filter, which only the SuperTable library applies",
        )),
    }
}

/// The generation of a document.
pub fn generation(keys: KeyLayout, document: &JsonMap) -> Generation {
    Generation::of(keys, own_generation(document), document)
}

/// The generation that the last commit of ours wrote in.
fn own_generation(document: &JsonMap) -> Option<&str> {
    ours(document)?.get("generation")?.as_str()
}

/// Whether the data files hold the time of the write.
fn keeps_time(document: &JsonMap) -> bool {
    let own = ours(document).and_then(|member| member.get("keeps_time")).and_then(Value::as_bool);
    let listed = document.get("schema").is_some_and(|columns| columns.get(TIMESTAMP).is_some());
    own.unwrap_or_default() || listed
}

/// The highest row id ever reserved. Before G4 only we know it.
fn row_id_high_watermark(document: &JsonMap) -> u64 {
    let own = ours(document).and_then(|member| member.get("row_ids")).and_then(json::as_count);
    let listed = document.get("rowid_high_watermark").and_then(json::as_count);
    own.max(listed).unwrap_or_default()
}

fn files(document: &JsonMap) -> Result<Vec<DataFile>> {
    json::list(document, "resources")?
        .iter()
        .map(|resource| {
            let resource = resource
                .as_object()
                .ok_or_else(|| Error::corrupt("document lists a file that is no object"))?;
            let rows = json::count(resource, "rows")?;
            if u32::try_from(rows).is_err() {
                return Err(Error::unsupported("data file of more than 2^32 rows"));
            }
            Ok(DataFile {
                path: json::text(resource, "file")?.into(),
                bytes: json::count(resource, "file_size")?,
                rows,
                columns: resource.get("columns").and_then(json::as_count).unwrap_or_default(),
            })
        })
        .collect()
}

fn deletes(document: &JsonMap) -> Result<Deletes> {
    let parts = match document.get("tombstone") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(part)) => vec![part.clone()],
        Some(_) => json::list(document, "tombstone")?
            .iter()
            .map(|part| part.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
            .ok_or_else(|| Error::corrupt("deletion-vector part is no path"))?,
    };
    if parts.is_empty() {
        return Ok(Deletes::None);
    }
    Ok(Deletes::Rows { parts, rows: json::count(document, "tombstone_rows")? })
}

/// The document's own columns: member `schema` as object or as list of fields.
fn stored_columns(document: &JsonMap) -> Result<Vec<(String, DataType)>> {
    let entries: Vec<(String, &Value)> = match document.get("schema") {
        Some(Value::Object(members)) => {
            members.iter().map(|(name, dtype)| (name.clone(), dtype)).collect()
        }
        Some(Value::Array(fields)) => fields
            .iter()
            .filter_map(Value::as_object)
            .filter_map(|field| Some((field.get("name")?.as_str()?.to_owned(), field.get("type")?)))
            .collect(),
        _ => Vec::new(),
    };
    named_types(entries)
}

fn named_types(entries: Vec<(String, &Value)>) -> Result<Vec<(String, DataType)>> {
    entries
        .into_iter()
        .filter(|(name, _)| !schema::is_system(name))
        .map(|(name, dtype)| {
            let dtype = dtype
                .as_str()
                .ok_or_else(|| Error::corrupt("column type is no text").with("column", &name))?;
            let data_type =
                schema::from_text(dtype).map_err(|error| error.with("column", &name))?;
            Ok((name, data_type))
        })
        .collect()
}

/// The shown columns. Our own documents list them; those of other writers name the columns of
/// their last frame only, so what we knew before is kept (format spec section 4.6).
fn columns(document: &JsonMap) -> Result<SchemaRef> {
    let to_schema = |columns: Vec<(String, DataType)>| {
        Schema::new(
            columns
                .into_iter()
                .map(|(name, data_type)| Field::new(name, data_type, true))
                .collect::<Vec<Field>>(),
        )
    };
    let known = to_schema(named_types(own_columns(document)?)?);
    if is_ours(document) {
        return Ok(Arc::new(known));
    }
    Ok(widen::union(&known, &to_schema(stored_columns(document)?)))
}

/// The columns of our last commit, in order, with the texts of their types; none if there is none.
fn own_columns(document: &JsonMap) -> Result<Vec<(String, &Value)>> {
    let Some(member) = ours(document) else { return Ok(Vec::new()) };
    Ok(json::list(member, "columns")?
        .iter()
        .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?)))
        .collect())
}

/// Names of the columns whose order a commit of ours has settled.
pub fn ordered_columns(document: &JsonMap) -> Vec<String> {
    own_columns(document).unwrap_or_default().into_iter().map(|(name, _)| name).collect()
}

fn ours(document: &JsonMap) -> Option<&JsonMap> {
    document.get(MEMBER).and_then(Value::as_object)
}

/// Whether Mountable wrote this very document, and not another writer on top of it.
pub fn is_ours(document: &JsonMap) -> bool {
    let commit = ours(document).and_then(|member| member.get("commit")).and_then(Value::as_str);
    commit.is_some_and(|commit| !commit.is_empty() && commit == commit_id(document))
}

/// The commit id of a document; empty if its writer gave none.
pub fn commit_id(document: &JsonMap) -> &str {
    document
        .get("lineage")
        .and_then(|lineage| lineage.get("write_id"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Columns that a commit of ours took away and that old data files may still hold.
pub fn dropped(document: &JsonMap) -> Vec<String> {
    let names = ours(document).and_then(|member| json::list(member, "dropped").ok());
    names.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A text of our member, if Mountable wrote this very document.
pub fn own_text<'a>(document: &'a JsonMap, name: &str) -> Option<&'a str> {
    if !is_ours(document) {
        return None;
    }
    ours(document)?.get(name)?.as_str()
}

/// A text of our own member, also where another writer carried it along.
pub(crate) fn carried_text<'a>(document: &'a JsonMap, name: &str) -> Option<&'a str> {
    ours(document)?.get(name)?.as_str()
}

fn config(document: &JsonMap) -> TableConfig {
    let stored = ours(document).and_then(|member| member.get("config"));
    let mut config = TableConfig::default();
    let Some(stored) = stored.and_then(Value::as_object) else { return config };
    let keys = json::list(stored, "keys").unwrap_or_default();
    config.keys = keys.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(rule) = stored.get("on_conflict") {
        config.on_conflict = serde_json::from_value(rule.clone()).unwrap_or_default();
    }
    config
}

fn lineage(document: &JsonMap) -> Lineage {
    let first = document.get("snapshot_version").and_then(json::as_count) == Some(0);
    let Some(stored) = document.get("lineage").and_then(Value::as_object) else {
        let operation = if first { "create".to_owned() } else { String::new() };
        return Lineage { operation, ..Lineage::default() };
    };
    let only_deletes = stored.get("delete_only").and_then(Value::as_bool).unwrap_or_default();
    let count = |name: &str| stored.get(name).and_then(json::as_count).unwrap_or_default();
    let either = |first: &str, second: &str| {
        let text = json::text_or_empty(stored, first);
        if text.is_empty() { json::text_or_empty(stored, second) } else { text }
    };
    Lineage {
        write_id: json::text_or_empty(stored, "write_id"),
        operation: either("operation", "source_type"),
        inserted: match stored.get("inserted") {
            Some(inserted) => json::as_count(inserted).unwrap_or_default(),
            // The rows that came in were keys of rows to delete.
            None if only_deletes => 0,
            None => count("incoming_rows"),
        },
        updated: count("updated"),
        deleted: count("deleted"),
        role: either("role_name", "role"),
        client: json::text_or_empty(stored, "client"),
        message: json::text_or_empty(stored, "message"),
        members: members(document),
    }
}

/// The changes that one commit of ours made together.
fn members(document: &JsonMap) -> Vec<Lineage> {
    if !is_ours(document) {
        return Vec::new();
    }
    let stored = ours(document).and_then(|member| json::list(member, "members").ok());
    let stored = stored.unwrap_or_default().iter();
    stored.filter_map(|member| serde_json::from_value(member.clone()).ok()).collect()
}

/// The layout that the document carries, for whatever files it was made.
pub fn carried_layout(document: &JsonMap) -> LayoutRef {
    let Some(stored) = ours(document).and_then(|member| member.get("layout")) else {
        return LayoutRef::Missing;
    };
    if let Some(path) = stored.get("object").and_then(Value::as_str) {
        return LayoutRef::Object(path.to_owned());
    }
    match layout::from_json(stored) {
        Some(layout) => LayoutRef::Inline(Arc::new(layout)),
        None => LayoutRef::Missing,
    }
}

fn layout_ref(
    document: &JsonMap,
    files: &[DataFile],
    deletes: &Deletes,
    schema: &Schema,
) -> LayoutRef {
    let stored = ours(document).and_then(|member| member.get("layout"));
    let named = |name: &str| {
        stored.and_then(|stored| stored.get(name)).and_then(Value::as_str).unwrap_or_default()
    };
    let fits = named("digest") == layout::digest(files, deletes)
        && named("columns") == layout::columns_digest(schema);
    if fits { carried_layout(document) } else { LayoutRef::Missing }
}

/// What a new document says beyond its predecessor.
#[derive(Debug)]
pub struct NewDocument<'a> {
    /// The table.
    pub table: &'a TableId,
    /// Generation of the stored form.
    pub generation: Generation,
    /// Whether data files of a generation without row ids hold the time of the write.
    pub keeps_time: bool,
    /// `<org>/<super>/tables/<table>`.
    pub location: String,
    /// Its version.
    pub version: u64,
    /// Time, milliseconds since 1970.
    pub committed_ms: i64,
    /// Object path of the predecessor.
    pub previous: Option<&'a str>,
    /// The user's columns.
    pub schema: &'a SchemaRef,
    /// The columns that the predecessor showed.
    pub shown_before: &'a Schema,
    /// The data files.
    pub files: &'a [DataFile],
    /// The deletion vector.
    pub deletes: &'a Deletes,
    /// Highest row id ever reserved.
    pub row_id_high_watermark: u64,
    /// The order of the rows.
    pub layout: StoredLayout<'a>,
    /// What made it; `write_id` must not be empty.
    pub lineage: &'a Lineage,
    /// The table's configuration.
    pub config: &'a TableConfig,
    /// Further texts of our member (`follows`, `root`, `merged_from`).
    pub marks: Vec<(&'static str, String)>,
    /// Document of the predecessor; members that are not known here are kept.
    pub base: Option<&'a JsonMap>,
}

/// Where a new document's layout is.
#[derive(Debug, Clone, Copy)]
pub enum StoredLayout<'a> {
    /// Goes into the document.
    Inline(&'a Layout),
    /// In an object of its own, with the layout's digests.
    Object {
        /// Its path.
        path: &'a str,
        /// The layout in it.
        layout: &'a Layout,
    },
}

/// Builds a document.
///
/// # Errors
/// `Unsupported` if a column's type cannot be stored, or tables of this generation not be written.
pub fn encode(new: &NewDocument<'_>) -> Result<JsonMap> {
    new.generation.check_writable()?;
    let mut out = new.base.cloned().unwrap_or_default();
    let schema = match (new.generation.is_without_row_ids(), new.keeps_time) {
        (false, _) => schema::to_document(new.schema, SystemColumns::RowIdAndTime)?,
        (true, true) => schema::to_document(new.schema, SystemColumns::Time)?,
        (true, false) => schema::to_document(new.schema, SystemColumns::None)?,
    };
    let schema_text = json!({"type": "struct", "fields": schema}).to_string();
    let mut set = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    set("simple_name", new.table.simple_name.as_str().into());
    set("location", new.location.clone().into());
    set("snapshot_version", new.version.into());
    set("last_updated_ms", new.committed_ms.into());
    set("previous_snapshot", new.previous.map_or(Value::Null, Value::from));
    set("schema", schema.into());
    set("schemaString", schema_text.into());
    set("resources", resources(new));
    set("lineage", lineage_out(new));
    set(MEMBER, member_out(new)?);
    put_deletes(new, &mut out)?;
    Ok(out)
}

/// The members that say which rows are deleted, in the words of the generation.
fn put_deletes(new: &NewDocument<'_>, out: &mut JsonMap) -> Result<()> {
    let strange = || Error::internal("deletes of another generation").with("table", new.table);
    if new.generation.is_without_row_ids() {
        // Rows that their keys hide are in none of the files.
        out.shift_remove("tombstones");
        return if *new.deletes == Deletes::None { Ok(()) } else { Err(strange()) };
    }
    // Key tombstones of G1/G2 mean nothing beside row deletes and would confuse the detection.
    out.shift_remove("tombstones");
    let (parts, dead) = match new.deletes {
        Deletes::None => (Value::Null, 0),
        Deletes::Rows { parts, rows } if new.generation == Generation::G4 => (json!(parts), *rows),
        Deletes::Rows { parts, rows } => match &parts[..] {
            [part] => (part.as_str().into(), *rows),
            _ => return Err(strange()),
        },
        Deletes::ByKey(_) => return Err(strange()),
    };
    out.insert("tombstone".to_owned(), parts);
    out.insert("tombstone_rows".to_owned(), dead.into());
    if new.generation == Generation::G4 {
        out.insert("rowid_high_watermark".to_owned(), new.row_id_high_watermark.into());
    }
    for (name, value) in [("stats_file", Value::Null), ("stats_rows", 0.into())] {
        out.entry(name).or_insert(value);
    }
    Ok(())
}

/// The list of files; entries that stay are copied with all their members.
fn resources(new: &NewDocument<'_>) -> Value {
    let known: HashMap<&str, &Value> = new
        .base
        .and_then(|base| json::list(base, "resources").ok())
        .unwrap_or_default()
        .iter()
        .filter_map(|resource| Some((resource.get("file")?.as_str()?, resource)))
        .collect();
    new.files
        .iter()
        .map(|file| match known.get(file.path.as_ref()) {
            // Statistics of single files do not go into the catalogue (format spec section 1.2).
            Some(Value::Object(resource)) if new.generation.is_without_row_ids() => {
                let mut resource = resource.clone();
                resource.shift_remove("stats");
                Value::Object(resource)
            }
            Some(resource) => (*resource).clone(),
            None => json!({
                "file": file.path.as_ref(),
                "file_size": file.bytes,
                "rows": file.rows,
                "columns": file.columns,
            }),
        })
        .collect()
}

fn lineage_out(new: &NewDocument<'_>) -> Value {
    let lineage = new.lineage;
    let only_deletes = lineage.deleted > 0 && lineage.inserted == 0 && lineage.updated == 0;
    json!({
        "source_type": if only_deletes { "delete" } else { "write" },
        "role_name": lineage.role,
        "overwrite_columns": new.config.keys,
        "delete_only": only_deletes,
        "incoming_rows": lineage.inserted.saturating_add(lineage.updated),
        "incoming_columns": new.schema.fields().len(),
        "write_id": lineage.write_id,
        "operation": lineage.operation,
        "inserted": lineage.inserted,
        "updated": lineage.updated,
        "deleted": lineage.deleted,
        "client": lineage.client,
        "message": lineage.message,
    })
}

fn member_out(new: &NewDocument<'_>) -> Result<Value> {
    let columns: Result<Vec<Value>> = new
        .schema
        .fields()
        .iter()
        .map(|field| Ok(json!([field.name(), schema::to_text(field.data_type())?])))
        .collect();
    let layout = match new.layout {
        StoredLayout::Inline(layout) => layout::to_json(layout),
        StoredLayout::Object { path, layout } => {
            json!({"digest": layout.digest, "columns": layout.columns, "object": path})
        }
    };
    let mut member = json!({
        "format": FORMAT,
        "commit": new.lineage.write_id,
        "columns": columns?,
        "dropped": dropped_after(new),
        "config": new.config,
        "layout": layout,
    });
    if let Some(member) = member.as_object_mut() {
        if !new.lineage.members.is_empty() {
            member.insert("members".to_owned(), json!(new.lineage.members));
        }
        for name in CARRIED {
            if let Some(text) = new.base.and_then(|base| carried_text(base, name)) {
                member.insert(name.to_owned(), text.into());
            }
        }
        if new.generation != Generation::G4 {
            member.insert("generation".to_owned(), new.generation.name().into());
            member.insert("row_ids".to_owned(), new.row_id_high_watermark.into());
        }
        if new.generation.is_without_row_ids() {
            member.insert("keeps_time".to_owned(), new.keeps_time.into());
        }
        for (name, value) in &new.marks {
            member.insert((*name).to_owned(), value.as_str().into());
        }
    }
    Ok(member)
}

/// Columns taken away by this commit or an earlier one, and not brought back since.
fn dropped_after(new: &NewDocument<'_>) -> Vec<String> {
    let shown = new.shown_before.fields().iter().map(|field| field.name().clone());
    let mut names: Vec<String> = new.base.map(dropped).unwrap_or_default();
    names.extend(shown);
    names.retain(|name| new.schema.field_with_name(name).is_err());
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
