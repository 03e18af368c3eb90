//! The types of columns by the names that people know.

use arrow::datatypes::{DataType, TimeUnit};

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

/// The type of a name: `int64`, `text`, `decimal(10,2)`, and what they are called elsewhere.
///
/// # Errors
/// `Invalid` for an unknown name (with the nearest one) and for a decimal that cannot be.
pub fn type_named(text: &str) -> Result<DataType> {
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

/// The name of a type as [`type_named`] reads it; Arrow's own for a type that it does not know.
pub fn type_name(data_type: &DataType) -> String {
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
    fn every_type_reads_back_from_its_name() {
        for (name, data_type) in TYPES {
            assert_eq!(type_named(name).unwrap(), *data_type);
            assert_eq!(type_named(&type_name(data_type)).unwrap(), *data_type);
        }
        let decimal = type_named(" Decimal(10, 2) ").unwrap();
        assert_eq!(type_name(&decimal), "decimal(10,2)");
        assert_eq!(type_name(&type_named("timestamptz").unwrap()), "timestamptz");
        assert!(type_named("int46").unwrap_err().to_string().contains("int"));
    }
}
