//! Columns in the form of Delta's `schemaString` (Delta protocol, "Schema Serialization Format").

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The `schemaString` of a mirror's columns.
///
/// # Errors
/// `Internal` for a type that no mirror has.
pub(super) fn schema_string(columns: &Schema) -> Result<String> {
    Ok(structure(columns.fields())?.to_string())
}

/// Whether a column holds times without a zone, which readers have to know about.
pub(super) fn has_local_times(columns: &Schema) -> bool {
    columns.fields().iter().any(|field| is_local_time(field.data_type()))
}

fn is_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(item) => is_local_time(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_local_time(field.data_type())),
        _ => false,
    }
}

fn structure(fields: &Fields) -> Result<Value> {
    let fields: Vec<Value> = fields.iter().map(|field| member(field)).collect::<Result<_>>()?;
    Ok(json!({"type": "struct", "fields": fields}))
}

fn member(field: &Field) -> Result<Value> {
    Ok(json!({
        "name": field.name(),
        "type": type_of(field.data_type())?,
        "nullable": true,
        "metadata": {},
    }))
}

fn type_of(data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(_, Some(_)) => json!("timestamp"),
        DataType::Timestamp(_, None) => json!("timestamp_ntz"),
        DataType::Decimal128(digits, scale) => json!(format!("decimal({digits},{scale})")),
        DataType::List(item) => json!({
            "type": "array",
            "elementType": type_of(item.data_type())?,
            "containsNull": true,
        }),
        DataType::Struct(fields) => structure(fields)?,
        other => return Err(Error::internal("column type of no mirror").with("type", other)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn columns_are_spelled_as_spark_does() {
        let item = Arc::new(Field::new("element", DataType::Int32, true));
        let schema = Schema::new(vec![
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("many", DataType::List(item), true),
        ]);
        assert!(has_local_times(&schema));
        expect_test::expect![[
            r#"{"type":"struct","fields":[{"name":"price","type":"decimal(10,2)","nullable":true,"metadata":{}},{"name":"at","type":"timestamp_ntz","nullable":true,"metadata":{}},{"name":"many","type":{"type":"array","elementType":"integer","containsNull":true},"nullable":true,"metadata":{}}]}"#
        ]]
        .assert_eq(&schema_string(&schema).expect("spelled"));
    }
}
