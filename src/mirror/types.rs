//! Column types that every format of a mirror can hold, and which stored columns are already so.
//!
//! What Delta and Iceberg have no type for becomes a wider one that holds each value exactly, or
//! the text that the CSV file shows; no value is ever rounded.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

/// Most digits of a decimal in Delta and Iceberg.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// The columns of a mirror of a table with the columns `shown`.
pub(super) fn portable_schema(shown: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = shown.fields().iter().map(portable_field).collect();
    Arc::new(Schema::new(fields))
}

fn portable_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), portable(field.data_type()), true))
}

/// Lists name their items as Spark and the Parquet specification do.
fn list_of(item: &FieldRef) -> DataType {
    DataType::List(Arc::new(Field::new("element", portable(item.data_type()), true)))
}

fn portable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Nanosecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale)
            if *digits <= DECIMAL_DIGITS_MAX && *scale >= 0 =>
        {
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => portable(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => list_of(item),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(portable_field).collect()),
        _ => DataType::Utf8,
    }
}

/// Whether a column that is stored as `stored` reads as `wanted` in every engine, without being
/// rewritten. Lengths of offsets and names of list items are no part of the Parquet type.
pub(super) fn reads_as(stored: &DataType, wanted: &DataType) -> bool {
    match (stored, wanted) {
        (DataType::LargeUtf8, DataType::Utf8) | (DataType::LargeBinary, DataType::Binary) => true,
        (DataType::List(stored) | DataType::LargeList(stored), DataType::List(wanted)) => {
            reads_as(stored.data_type(), wanted.data_type())
        }
        (DataType::Struct(stored), DataType::Struct(wanted)) => {
            stored.len() == wanted.len()
                && stored.iter().zip(wanted).all(|(stored, wanted)| {
                    stored.name() == wanted.name()
                        && reads_as(stored.data_type(), wanted.data_type())
                })
        }
        (stored, wanted) => stored == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(data_type: DataType) -> FieldRef {
        Arc::new(Field::new("item", data_type, true))
    }

    #[test]
    fn types_that_others_lack_become_wider_ones_or_text() {
        for (from, to) in [
            (DataType::UInt8, DataType::Int16),
            (DataType::UInt64, DataType::Decimal128(20, 0)),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), DataType::Utf8),
            (
                DataType::Timestamp(TimeUnit::Millisecond, Some("Europe/Vienna".into())),
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
            (DataType::Decimal128(10, -2), DataType::Utf8),
            (DataType::Time64(TimeUnit::Microsecond), DataType::Utf8),
            (DataType::LargeUtf8, DataType::Utf8),
            (
                DataType::LargeList(item(DataType::UInt16)),
                DataType::List(Arc::new(Field::new("element", DataType::Int32, true))),
            ),
        ] {
            assert_eq!(portable(&from), to, "{from}");
            // What was made portable stays what it is.
            assert_eq!(portable(&to), to, "{to}");
        }
    }

    #[test]
    fn only_columns_of_the_same_parquet_type_are_left_as_they_are() {
        let list = |of: DataType| DataType::List(item(of));
        for (stored, wanted, same) in [
            (DataType::Int64, DataType::Int64, true),
            (DataType::Int32, DataType::Int64, false),
            (DataType::LargeUtf8, DataType::Utf8, true),
            (DataType::LargeList(item(DataType::LargeUtf8)), list(DataType::Utf8), true),
            (list(DataType::Int32), list(DataType::Int64), false),
            (
                DataType::Struct(vec![item(DataType::Int32)].into()),
                DataType::Struct(Vec::<FieldRef>::new().into()),
                false,
            ),
        ] {
            assert_eq!(reads_as(&stored, &wanted), same, "{stored} as {wanted}");
        }
    }
}
