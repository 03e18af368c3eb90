//! Columns in the form of Iceberg's metadata (Iceberg specification, "Schemas", "Column
//! Projection"). Our data files have no field ids: a name mapping tells the ids of their columns.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Name of a list's items in paths and mappings.
const ELEMENT: &str = "element";

/// Ids of the fields that a table ever had, by path. An id is never given twice, and a name that
/// comes back has its old id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldIds {
    ids: BTreeMap<String, i64>,
}

impl FieldIds {
    /// Reads [`Self::to_json`].
    pub(super) fn from_json(text: &str) -> Option<Self> {
        Some(Self { ids: serde_json::from_str(text).ok()? })
    }

    /// The form that is kept in the table's properties.
    pub(super) fn to_json(&self) -> String {
        json!(self.ids).to_string()
    }

    /// The highest id.
    pub(super) fn last(&self) -> i64 {
        self.ids.values().copied().max().unwrap_or_default()
    }

    fn of(&mut self, path: &[&str]) -> i64 {
        // No character is kept from names: lengths keep the paths apart.
        let key: String = path.iter().map(|name| format!("{}:{name}", name.len())).collect();
        let next = self.last().saturating_add(1);
        *self.ids.entry(key).or_insert(next)
    }
}

/// The columns of a schema, without `schema-id`.
///
/// # Errors
/// `Internal` for a type that no mirror has.
pub(super) fn fields(columns: &Schema, ids: &mut FieldIds) -> Result<Value> {
    structure(columns.fields(), ids, &mut Vec::new())
}

fn structure<'a>(fields: &'a Fields, ids: &mut FieldIds, path: &mut Vec<&'a str>) -> Result<Value> {
    let mut out = Vec::with_capacity(fields.len());
    for field in fields {
        path.push(field.name());
        let id = ids.of(path);
        let of_type = type_of(field.data_type(), ids, path)?;
        path.pop();
        out.push(json!({"id": id, "name": field.name(), "required": false, "type": of_type}));
    }
    Ok(Value::Array(out))
}

fn type_of<'a>(
    data_type: &'a DataType,
    ids: &mut FieldIds,
    path: &mut Vec<&'a str>,
) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(_, Some(_)) => json!("timestamptz"),
        DataType::Timestamp(_, None) => json!("timestamp"),
        DataType::Decimal128(digits, scale) => json!(format!("decimal({digits}, {scale})")),
        DataType::List(item) => {
            path.push(ELEMENT);
            let id = ids.of(path);
            let element = type_of(item.data_type(), ids, path)?;
            path.pop();
            json!({
                "type": "list",
                "element-id": id,
                "element": element,
                "element-required": false,
            })
        }
        DataType::Struct(members) => {
            json!({"type": "struct", "fields": structure(members, ids, path)?})
        }
        other => return Err(Error::internal("column type of no mirror").with("type", other)),
    })
}

/// The mapping of names to ids for columns and all other columns that data files hold; entries of
/// the mapping `before` that have no successor stay.
pub(super) fn name_mapping(
    columns: &Schema,
    stored: &[&Schema],
    before: &[Value],
    ids: &mut FieldIds,
) -> Value {
    let mut entries: Vec<Value> = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    let fields = columns.fields().iter();
    for field in fields.chain(stored.iter().flat_map(|schema| schema.fields().iter())) {
        if !named.contains(&field.name().as_str()) {
            named.push(field.name());
            entries.push(mapped(field, ids, &mut Vec::new()));
        }
    }
    let ids: Vec<Value> = entries.iter().map(|entry| entry["field-id"].clone()).collect();
    entries.extend(before.iter().filter(|entry| !ids.contains(&entry["field-id"])).cloned());
    Value::Array(entries)
}

fn mapped<'a>(field: &'a Field, ids: &mut FieldIds, path: &mut Vec<&'a str>) -> Value {
    path.push(field.name());
    let id = ids.of(path);
    let inner = inner(field.data_type(), ids, path);
    path.pop();
    let mut entry = json!({"field-id": id, "names": [field.name()]});
    if let (false, Some(entry)) = (inner.is_empty(), entry.as_object_mut()) {
        entry.insert("fields".to_owned(), Value::Array(inner));
    }
    entry
}

fn inner<'a>(data_type: &'a DataType, ids: &mut FieldIds, path: &mut Vec<&'a str>) -> Vec<Value> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            path.push(ELEMENT);
            let id = ids.of(path);
            let inner = inner(item.data_type(), ids, path);
            path.pop();
            let mut entry = json!({"field-id": id, "names": [ELEMENT]});
            if let (false, Some(entry)) = (inner.is_empty(), entry.as_object_mut()) {
                entry.insert("fields".to_owned(), Value::Array(inner));
            }
            vec![entry]
        }
        DataType::Struct(members) => {
            members.iter().map(|member| mapped(member, ids, path)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn column(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn ids_stay_with_their_names() {
        let mut ids = FieldIds::default();
        let item = Arc::new(column("element", DataType::Utf8));
        let one =
            Schema::new(vec![column("a", DataType::Int64), column("tags", DataType::List(item))]);
        let first = fields(&one, &mut ids).expect("fields");
        assert_eq!(first[1]["type"]["element-id"], 3);
        let two = Schema::new(vec![column("b", DataType::Utf8), column("a", DataType::Int64)]);
        let second = fields(&two, &mut ids).expect("fields");
        assert_eq!(second[0]["id"], 4);
        assert_eq!(second[1]["id"], 1);
        assert_eq!(ids.last(), 4);
        assert_eq!(FieldIds::from_json(&ids.to_json()), Some(ids.clone()));
        assert_eq!(fields(&one, &mut ids).expect("fields"), first);
    }

    #[test]
    fn every_stored_column_is_mapped_and_old_ones_stay() {
        let mut ids = FieldIds::default();
        let shown = Schema::new(vec![column("a", DataType::Int64)]);
        let stored = Schema::new(vec![
            column("a", DataType::Int64),
            column("__rowid__", DataType::Int64),
            column("old", DataType::Struct(vec![column("x", DataType::Utf8)].into())),
        ]);
        let first = name_mapping(&shown, &[&stored], &[], &mut ids);
        expect_test::expect![[
            r#"[{"field-id":1,"names":["a"]},{"field-id":2,"names":["__rowid__"]},{"field-id":3,"names":["old"],"fields":[{"field-id":4,"names":["x"]}]}]"#
        ]]
        .assert_eq(&first.to_string());
        let before = first.as_array().expect("a list");
        let second = name_mapping(&shown, &[], before, &mut ids);
        assert_eq!(second, first);
    }
}
