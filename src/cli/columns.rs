//! `--columns name:type,...`: the types by the names that people know.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::config::nearest;
use crate::error::{Error, Result};

/// Names of the types without parameters; the first name of a type is the one that is shown.
const TYPES: &[(&str, DataType)] = &[
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("int", DataType::Int64),
    ("integer", DataType::Int64),
    ("bigint", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("float", DataType::Float64),
    ("double", DataType::Float64),
    ("text", DataType::Utf8),
    ("string", DataType::Utf8),
    ("varchar", DataType::Utf8),
    ("bool", DataType::Boolean),
    ("boolean", DataType::Boolean),
    ("date", DataType::Date32),
    ("time", DataType::Time64(TimeUnit::Microsecond)),
    ("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("datetime", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("binary", DataType::Binary),
];

/// Most digits of a decimal.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// Parses `id:int64,price:decimal(10,2),name` (a column without a type is text).
///
/// # Errors
/// `Invalid` for an unknown type (with the nearest one), an empty or a repeated name.
pub(super) fn parse(text: &str) -> Result<SchemaRef> {
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for part in split(text) {
        let (name, kind) = part.rsplit_once(':').unwrap_or((part, "text"));
        let name = name.trim();
        if name.is_empty() || name.starts_with("__") {
            return Err(Error::invalid(
                "a column needs a name, and one that does not begin with __",
            )
            .with("columns", text));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(Error::invalid("column named twice").with("column", name));
        }
        fields.push(Field::new(name, data_type(kind)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Splits at commas that stand outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn data_type(text: &str) -> Result<DataType> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some((_, data_type)) = TYPES.iter().find(|(name, _)| *name == lower) {
        return Ok(data_type.clone());
    }
    if lower == "timestamptz" {
        return Ok(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
    }
    let inner = ["decimal(", "numeric("]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
        .and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner {
        return decimal(inner);
    }
    let names = TYPES.iter().map(|(name, _)| *name).chain(["timestamptz", "decimal(p,s)"]);
    let error = Error::invalid(format!("unknown type `{}`", text.trim()));
    Err(match nearest(&lower, names) {
        Some(near) => error.with("did you mean", near),
        None => error.with(
            "types",
            "int8-int64 uint8-uint32 float32 float64 text bool date time timestamp timestamptz \
             decimal(p,s) binary",
        ),
    })
}

fn decimal(inner: &str) -> Result<DataType> {
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    let number = |text: &str| text.trim().parse::<u8>().ok();
    match (number(precision), number(scale)) {
        (Some(precision @ 1..=DECIMAL_DIGITS_MAX), Some(scale)) if scale <= precision => {
            Ok(DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX)))
        }
        _ => Err(Error::invalid("a decimal has 1 to 38 digits, of which 0 to all are decimals")
            .with("got", format!("decimal({inner})"))),
    }
}

/// The name of a type as [`parse`] reads it; Arrow's own for a type that it does not know.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz".to_owned(),
        DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        other => TYPES
            .iter()
            .find(|(_, data_type)| data_type == other)
            .map_or_else(|| other.to_string(), |(name, _)| (*name).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_back_from_their_names() {
        let text = "a:int64,b:decimal(10,2),c:timestamptz,d:timestamp,e:text,f:bool,g:date";
        let schema = parse(text).unwrap();
        let back: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("{}:{}", field.name(), type_name(field.data_type())))
            .collect();
        assert_eq!(back.join(","), text);
        assert_eq!(*parse("plain").unwrap().field(0).data_type(), DataType::Utf8);
    }

    #[test]
    fn wrong_columns_are_refused_with_a_hint() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("a:int46").contains("int64") || message("a:int46").contains("int16"));
        assert!(message("a:decimal(40,2)").contains("38"));
        assert!(message("a:decimal(4,5)").contains("38"));
        assert!(message("a,A").contains("twice"));
        assert!(message(":int64").contains("name"));
        assert!(message("__rowid__:int64").contains("__"));
    }
}
