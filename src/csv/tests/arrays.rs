//! Arrays of every type from random seeds.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, i256};
use proptest::prelude::*;

pub(super) type Seed = Option<(i64, String)>;

pub(super) fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let number = prop_oneof![
        any::<i64>(),
        -100_i64..100,
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<f64>().prop_map(|float| i64::from_ne_bytes(float.to_ne_bytes())),
        (-1_000_000_000_i64..4_000_000_000).prop_map(|seconds| seconds * 1_000_000),
    ];
    let text = prop_oneof![
        "[a-z ]{0,8}",
        "[,\"\r\n a\u{e4}\u{1f600}\\\\]{0,8}",
        Just(String::new()),
        Just("NULL".to_owned()),
        Just("\"\"".to_owned()),
        "[\u{1}-\u{10ffff}]{0,6}",
        "[a-z,]{30,70}",
    ];
    prop::collection::vec(prop::option::weighted(0.8, (number, text)), 0..40)
}

pub(super) fn zoned(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("Europe/Berlin".into()))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn text_map(values: DataType) -> DataType {
    map(DataType::Utf8, values)
}

fn map(keys: DataType, values: DataType) -> DataType {
    let fields =
        Fields::from(vec![Field::new("key", keys, false), Field::new("value", values, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields), false)), false)
}

pub(super) fn all_types() -> Vec<DataType> {
    use DataType as T;
    let units =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut types = vec![
        T::Null,
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Decimal32(9, 2),
        T::Decimal64(18, 18),
        T::Decimal128(38, 10),
        T::Decimal128(20, 0),
        T::Decimal128(10, -3),
        T::Decimal256(76, 20),
        T::Date32,
        T::Date64,
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
        T::Utf8,
        T::LargeUtf8,
        T::Utf8View,
        T::Binary,
        T::LargeBinary,
        T::BinaryView,
        T::FixedSizeBinary(8),
        T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)),
        T::Dictionary(Box::new(T::UInt16), Box::new(T::LargeUtf8)),
        T::Dictionary(Box::new(T::Int16), Box::new(T::Int64)),
        list(T::Int64),
        list(T::Utf8),
        list(T::Boolean),
        list(list(T::Float64)),
        T::LargeList(Arc::new(Field::new("item", T::Date32, true))),
        T::FixedSizeList(Arc::new(Field::new("item", T::Int32, true)), 2),
        T::Struct(Fields::from(vec![
            Field::new("a", T::Int64, true),
            Field::new("b \"q\"", T::Utf8, true),
            Field::new("c", list(T::Decimal128(20, 3)), true),
        ])),
        text_map(T::Float64),
        text_map(list(T::Binary)),
        map(T::Int32, zoned(TimeUnit::Second)),
    ];
    for unit in units {
        types.extend([T::Timestamp(unit, None), zoned(unit), T::Duration(unit)]);
    }
    types
}

/// An array of any type from seeds; numbers are cut to the range of the type.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::too_many_lines)]
pub(super) fn array(data_type: &DataType, seeds: &[Seed]) -> ArrayRef {
    use arrow::array as a;
    let numbers = || seeds.iter().map(|seed| seed.as_ref().map(|(number, _)| *number));
    let texts = || seeds.iter().map(|seed| seed.as_ref().map(|(_, text)| text.as_str()));
    let children = |item: &DataType, at: usize| -> ArrayRef {
        let mut rotated = seeds.to_vec();
        rotated.rotate_left(at.min(seeds.len()));
        array(item, &rotated)
    };
    match data_type {
        DataType::Null => a::new_null_array(data_type, seeds.len()),
        DataType::Boolean => {
            Arc::new(numbers().map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>())
        }
        DataType::Int8 => Arc::new(numbers().map(|n| n.map(|n| n as i8)).collect::<a::Int8Array>()),
        DataType::Int16 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i16)).collect::<a::Int16Array>())
        }
        DataType::Int32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<a::Int32Array>())
        }
        DataType::Int64 => Arc::new(numbers().collect::<Int64Array>()),
        DataType::UInt8 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u8)).collect::<a::UInt8Array>())
        }
        DataType::UInt16 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u16)).collect::<a::UInt16Array>())
        }
        DataType::UInt32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u32)).collect::<a::UInt32Array>())
        }
        DataType::UInt64 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u64)).collect::<a::UInt64Array>())
        }
        DataType::Float16 => {
            let halves = numbers().map(|n| {
                n.map(|n| {
                    let half =
                        <arrow::datatypes::Float16Type as a::ArrowPrimitiveType>::Native::from_bits(
                            n as u16,
                        );
                    if half.is_nan() {
                        <arrow::datatypes::Float16Type as a::ArrowPrimitiveType>::Native::from_f32(
                            f32::NAN,
                        )
                    } else {
                        half
                    }
                })
            });
            Arc::new(halves.collect::<a::Float16Array>())
        }
        DataType::Float32 => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        let float = f32::from_bits(n as u32);
                        if float.is_nan() { f32::NAN } else { float }
                    })
                })
                .collect::<a::Float32Array>(),
        ),
        DataType::Float64 => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        let float = f64::from_bits(n as u64);
                        if float.is_nan() { f64::NAN } else { float }
                    })
                })
                .collect::<a::Float64Array>(),
        ),
        DataType::Decimal32(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| (n % 10_i64.pow(u32::from(*p))) as i32))
                .collect::<a::Decimal32Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal64(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n % 10_i64.pow(u32::from(*p))))
                .collect::<a::Decimal64Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal128(p, s) => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        (i128::from(n) * i128::from(n.unsigned_abs())) % 10_i128.pow(u32::from(*p))
                    })
                })
                .collect::<a::Decimal128Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal256(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| i256::from_i128(i128::from(n) * i128::from(n))))
                .collect::<a::Decimal256Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Date32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<a::Date32Array>())
        }
        DataType::Time32(TimeUnit::Second) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400) as i32))
                .collect::<a::Time32SecondArray>(),
        ),
        DataType::Time32(_) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000) as i32))
                .collect::<a::Time32MillisecondArray>(),
        ),
        DataType::Time64(TimeUnit::Microsecond) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000_000)))
                .collect::<a::Time64MicrosecondArray>(),
        ),
        DataType::Time64(_) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000_000_000)))
                .collect::<a::Time64NanosecondArray>(),
        ),
        DataType::Date64 | DataType::Timestamp(..) | DataType::Duration(_) => {
            cast(&(Arc::new(numbers().collect::<Int64Array>()) as ArrayRef), data_type).unwrap()
        }
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::Binary => {
            Arc::new(texts().map(|t| t.map(str::as_bytes)).collect::<a::BinaryArray>())
        }
        DataType::LargeUtf8 | DataType::Utf8View => {
            cast(&array(&DataType::Utf8, seeds), data_type).unwrap()
        }
        DataType::LargeBinary | DataType::BinaryView => {
            cast(&array(&DataType::Binary, seeds), data_type).unwrap()
        }
        DataType::FixedSizeBinary(_) => {
            let bytes = numbers().map(|n| n.map(i64::to_le_bytes));
            Arc::new(a::FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 8).unwrap())
        }
        DataType::Dictionary(_, values) => cast(&array(values, seeds), data_type).unwrap(),
        DataType::List(item) => {
            let items = children(item.data_type(), 1);
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths(seeds));
            Arc::new(a::ListArray::new(item.clone(), offsets, items, Some(nulls)))
        }
        DataType::LargeList(item) => {
            cast(&array(&DataType::List(item.clone()), seeds), data_type).unwrap()
        }
        DataType::FixedSizeList(item, size) => {
            let items = children(item.data_type(), 1);
            let doubled = arrow::compute::concat(&[items.as_ref(), items.as_ref()]).unwrap();
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            Arc::new(
                a::FixedSizeListArray::try_new(item.clone(), *size, doubled, Some(nulls)).unwrap(),
            )
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .enumerate()
                .map(|(at, field)| children(field.data_type(), at))
                .collect();
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            Arc::new(a::StructArray::new(fields.clone(), columns, Some(nulls)))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
            let filled: Vec<Seed> =
                seeds.iter().map(|seed| seed.clone().or(Some((5, "k".into())))).collect();
            let keys = array(fields[0].data_type(), &filled);
            let values = children(fields[1].data_type(), 1);
            let pairs = a::StructArray::new(fields.clone(), vec![keys, values], None);
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths(seeds));
            Arc::new(a::MapArray::new(entries.clone(), offsets, pairs, Some(nulls), *sorted))
        }
        other => unreachable!("{other}"),
    }
}

/// Lengths that add up to the number of seeds: the items of an absent row go to the next one.
fn lengths(seeds: &[Seed]) -> Vec<usize> {
    let mut waiting = 0;
    let mut lengths: Vec<usize> = seeds
        .iter()
        .map(|seed| {
            waiting += 1;
            let take =
                seed.as_ref().map_or(0, |(number, _)| if number % 3 == 0 { 0 } else { waiting });
            waiting -= take;
            take
        })
        .collect();
    if let (Some(place), Some(last)) =
        (seeds.iter().position(Option::is_some), lengths.iter().sum::<usize>().checked_sub(0))
    {
        lengths[place] += seeds.len() - last;
    }
    lengths
}
