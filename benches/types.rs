//! Data of the benches: the table of five columns, and one column of every type that a table may
//! have: 20,000 rows of spread values, a NULL in each seventh.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Builder, Int64Array,
    ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

const ROWS: i64 = 20_000;
const TABLE_ROWS: i64 = 100_000;

/// Names of the columns that `column` makes.
pub const KINDS: &[&str] = &[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "decimal32",
    "decimal64",
    "decimal128",
    "decimal256",
    "date32",
    "date64",
    "time32s",
    "time32ms",
    "time64us",
    "time64ns",
    "timestamp_s",
    "timestamp_ms",
    "timestamp_us",
    "timestamp_ns",
    "timestamp_utc",
    "duration_s",
    "duration_us",
    "text",
    "text_quoted",
    "text_view",
    "text_large",
    "dictionary",
    "binary",
    "binary_fixed",
    "list",
    "struct",
    "map",
];

fn spread(row: i64) -> i64 {
    row.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// A column of numbers below `limit`, converted to the type.
fn numbers(limit: i64, data_type: &DataType) -> ArrayRef {
    let values = (0..ROWS).map(|row| (row % 7 > 0).then(|| (spread(row) >> 3).rem_euclid(limit)));
    let values = Int64Array::from_iter(values);
    match data_type {
        // Durations and times count in the width of their integers.
        DataType::Time32(_) | DataType::Date32 => {
            cast(&cast(&values, &DataType::Int32).unwrap(), data_type).unwrap()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(&values, &DataType::Float64).unwrap();
            let hundred = Float64Array::new_scalar(100.0);
            let floats = arrow::compute::kernels::numeric::div(&floats, &hundred).unwrap();
            cast(&floats, data_type).unwrap()
        }
        other => cast(&values, other).unwrap(),
    }
}

fn texts(make: impl Fn(i64) -> String) -> StringArray {
    (0..ROWS)
        .map(|row| (row % 7 > 0).then(|| make((spread(row) >> 3).rem_euclid(100_000))))
        .collect()
}

fn column(kind: &str) -> ArrayRef {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let day = 86_400_i64;
    match kind {
        "bool" => Arc::new(BooleanArray::from_iter(
            (0..ROWS).map(|row| (row % 7 > 0).then(|| spread(row) % 3 == 0)),
        )),
        "int8" => numbers(128, &DataType::Int8),
        "int16" => numbers(1 << 15, &DataType::Int16),
        "int32" => numbers(1 << 31, &DataType::Int32),
        "int64" => numbers(i64::MAX, &DataType::Int64),
        "uint8" => numbers(256, &DataType::UInt8),
        "uint16" => numbers(1 << 16, &DataType::UInt16),
        "uint32" => numbers(1 << 32, &DataType::UInt32),
        "uint64" => numbers(i64::MAX, &DataType::UInt64),
        "float16" => numbers(100_000, &DataType::Float16),
        "float32" => numbers(10_000_000, &DataType::Float32),
        "float64" => numbers(10_000_000, &DataType::Float64),
        "decimal32" => numbers(1_000_000, &DataType::Decimal32(9, 2)),
        "decimal64" => numbers(1 << 40, &DataType::Decimal64(18, 4)),
        "decimal128" => numbers(1 << 40, &DataType::Decimal128(38, 6)),
        "decimal256" => numbers(1 << 40, &DataType::Decimal256(76, 6)),
        "date32" => numbers(40_000, &DataType::Date32),
        "date64" => cast(&numbers(40_000, &DataType::Date32), &DataType::Date64).unwrap(),
        "time32s" => numbers(day, &DataType::Time32(Second)),
        "time32ms" => numbers(day * 1_000, &DataType::Time32(Millisecond)),
        "time64us" => numbers(day * 1_000_000, &DataType::Time64(Microsecond)),
        "time64ns" => numbers(day * 1_000_000_000, &DataType::Time64(Nanosecond)),
        "timestamp_s" => numbers(1 << 31, &DataType::Timestamp(Second, None)),
        "timestamp_ms" => numbers(1 << 41, &DataType::Timestamp(Millisecond, None)),
        "timestamp_us" => numbers(1 << 51, &DataType::Timestamp(Microsecond, None)),
        "timestamp_ns" => numbers(1 << 61, &DataType::Timestamp(Nanosecond, None)),
        "timestamp_utc" => {
            numbers(1 << 51, &DataType::Timestamp(Microsecond, Some("+00:00".into())))
        }
        "duration_s" => numbers(1 << 20, &DataType::Duration(Second)),
        "duration_us" => numbers(1 << 40, &DataType::Duration(Microsecond)),
        "text" => Arc::new(texts(|n| format!("customer-{n:07}"))),
        "text_quoted" => Arc::new(texts(|n| format!("No. {n}, the \"{}\"", n % 10))),
        "text_view" => cast(&texts(|n| format!("customer-{n:07}")), &DataType::Utf8View).unwrap(),
        "text_large" => cast(&texts(|n| format!("customer-{n:07}")), &DataType::LargeUtf8).unwrap(),
        "dictionary" => {
            let kind = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
            cast(&texts(|n| format!("city {}", n % 50)), &kind).unwrap()
        }
        "binary" => {
            let texts = texts(|n| format!("bytes-{n}"));
            Arc::new(BinaryArray::from_iter(texts.iter().map(|text| text.map(str::as_bytes))))
        }
        "binary_fixed" => {
            let texts = texts(|n| format!("{n:016}"));
            let bytes = BinaryArray::from_iter(texts.iter().map(|text| text.map(str::as_bytes)));
            cast(&bytes, &DataType::FixedSizeBinary(16)).unwrap()
        }
        "list" => lists(),
        "struct" => structs(),
        _ => maps(),
    }
}

fn lists() -> ArrayRef {
    let mut builder = ListBuilder::new(Int32Builder::new());
    for row in 0..ROWS {
        for item in 0..row % 5 {
            builder.values().append_value(i32::try_from(spread(row + item) >> 40).unwrap());
        }
        builder.append(row % 7 > 0);
    }
    Arc::new(builder.finish())
}

fn structs() -> ArrayRef {
    let (a, b) = (numbers(1 << 31, &DataType::Int32), texts(|n| format!("customer-{n:07}")));
    let fields = Fields::from(vec![
        Field::new("number", DataType::Int32, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    Arc::new(StructArray::new(fields, vec![a, Arc::new(b)], None))
}

fn maps() -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..ROWS {
        for item in 0..row % 3 {
            builder.keys().append_value(format!("key{item}"));
            builder.values().append_value(i32::try_from(spread(row + item) >> 40).unwrap());
        }
        builder.append(row % 7 > 0).unwrap();
    }
    Arc::new(builder.finish())
}

/// A column of the type as a batch.
pub fn batch(kind: &str) -> RecordBatch {
    let column = column(kind);
    let field = Field::new("column", column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
}

/// Values spread by a linear congruence, so that numbers have many digits.
pub fn table() -> RecordBatch {
    let spread = |row: i64| row.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
    let cities = ["Berlin", "Lisbon", "Oslo", "New York", "Sao Paulo", "Rome"];
    let rows = || 0..TABLE_ROWS;
    let names = rows().map(|row| format!("customer-{:07}", spread(row).rem_euclid(9_999_999)));
    #[allow(clippy::cast_precision_loss)]
    let amounts = rows().map(|row| (spread(row).rem_euclid(10_000_000)) as f64 / 100.0);
    let times =
        rows().map(|row| 1_700_000_000_000_000 + spread(row).rem_euclid(31_536_000_000_000));
    let city = rows().map(|row| cities[usize::try_from(spread(row).rem_euclid(6)).unwrap()]);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("city", DataType::Utf8, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from_iter_values(rows())),
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(Float64Array::from_iter_values(amounts)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            Arc::new(StringArray::from_iter_values(city)),
        ],
    )
    .unwrap()
}
