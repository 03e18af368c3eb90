//! The text of a single cell before quoting, for the types that have no fast path of their own.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{self as types, DataType, i256};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::calendar::{self, SLOT, Slot, Zoned};
use super::{decimal, duration, half, members, number};
use crate::error::{Error, Result};

/// Appends the unquoted text of a cell that is not NULL.
pub(super) fn write_raw(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    match array.data_type() {
        DataType::Null => {}
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => {
            out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes());
        }
        DataType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => write_base64(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => write_base64(array.as_binary::<i64>().value(row), out),
        DataType::BinaryView => write_base64(array.as_binary_view().value(row), out),
        DataType::FixedSizeBinary(_) => write_base64(array.as_fixed_size_binary().value(row), out),
        DataType::Decimal32(_, scale) => {
            write_digits(array.as_primitive::<types::Decimal32Type>().value(row), *scale, out);
        }
        DataType::Decimal64(_, scale) => {
            write_digits(array.as_primitive::<types::Decimal64Type>().value(row), *scale, out);
        }
        DataType::Decimal128(_, scale) => {
            let value = array.as_primitive::<types::Decimal128Type>().value(row);
            write_digits_wide(value, *scale, out);
        }
        DataType::Decimal256(_, scale) => {
            write_wide(array.as_primitive::<types::Decimal256Type>().value(row), *scale, out);
        }
        DataType::Dictionary(_, values) => {
            let value = unpack_dictionary(array.slice(row, 1).as_ref(), values)?;
            if value.is_valid(0) {
                write_raw(value.as_ref(), 0, out)?;
            }
        }
        _ => {
            let mut slot: Slot = [0; SLOT];
            let length = write_slot(array, row, &mut slot)?;
            out.extend_from_slice(slot.get(..length).unwrap_or_default());
        }
    }
    Ok(())
}

fn write_digits<I: itoa::Integer>(value: I, scale: i8, out: &mut Vec<u8>) {
    decimal::write_decimal(itoa::Buffer::new().format(value), scale, out);
}

/// 128-bit numbers are mostly small, and dividing them costs several times as much.
fn write_digits_wide(value: i128, scale: i8, out: &mut Vec<u8>) {
    match i64::try_from(value) {
        Ok(small) => write_digits(small, scale, out),
        Err(_) => write_digits(value, scale, out),
    }
}

fn write_wide(value: i256, scale: i8, out: &mut Vec<u8>) {
    match value.to_i128() {
        Some(small) => write_digits_wide(small, scale, out),
        None => decimal::write_decimal(&value.to_string(), scale, out),
    }
}

fn write_base64(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = value.len().div_ceil(3) * 4;
    out.resize(start + length, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(value, room);
    debug_assert_eq!(written.ok(), Some(length));
}

/// Appends the texts of `rows`, and tells the place behind each; a NULL has no text.
///
/// # Errors
/// `Unsupported` for a type without a text.
pub(super) fn append_texts(
    array: &dyn Array,
    rows: std::ops::Range<usize>,
    out: &mut Vec<u8>,
    end: impl FnMut(&[u8], Validity),
) -> Result<()> {
    // One loop for each type that is common enough; the rest goes row by row through `write_raw`.
    macro_rules! texts {
        ($write:expr) => {{
            let write = $write;
            each(array, rows, out, end, |row, out| {
                write(row, out);
                Ok(())
            })
        }};
    }
    macro_rules! decimals {
        ($arrow:ty, $scale:expr, $write:ident) => {{
            let (values, scale) = (array.as_primitive::<$arrow>(), *$scale);
            texts!(|row, out: &mut Vec<u8>| $write(values.value(row), scale, out))
        }};
    }
    match array.data_type() {
        DataType::Utf8View => {
            let texts = array.as_string_view();
            texts!(|row, out: &mut Vec<u8>| out.extend_from_slice(texts.value(row).as_bytes()))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            texts!(|row, out: &mut Vec<u8>| write_base64(values.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            texts!(|row, out: &mut Vec<u8>| write_base64(values.value(row), out))
        }
        DataType::Decimal32(_, scale) => decimals!(types::Decimal32Type, scale, write_digits),
        DataType::Decimal64(_, scale) => decimals!(types::Decimal64Type, scale, write_digits),
        DataType::Decimal128(_, scale) => {
            decimals!(types::Decimal128Type, scale, write_digits_wide)
        }
        DataType::Decimal256(_, scale) => decimals!(types::Decimal256Type, scale, write_wide),
        other if other.is_nested() => {
            let values = members::JsonValues::new(array)?;
            each(array, rows, out, end, |row, out| values.write(row, out))
        }
        _ => each(array, rows, out, end, |row, out| write_raw(array, row, out)),
    }
}

/// Appends the text of every row that has a value by `write`, and tells `end` of each row.
#[inline]
fn each(
    array: &dyn Array,
    rows: std::ops::Range<usize>,
    out: &mut Vec<u8>,
    mut end: impl FnMut(&[u8], Validity),
    write: impl Fn(usize, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    for row in rows {
        if array.is_null(row) {
            end(out, Validity::Null);
        } else {
            write(row, out)?;
            end(out, Validity::Valid);
        }
    }
    Ok(())
}

/// Whether a cell has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    Valid,
    Null,
}

/// Calls `$run!(ArrowType, |slot, value| length)` for the type of `$array`; every type of which
/// each text fits a slot is listed here and nowhere else.
macro_rules! for_slot_type {
    ($array:expr, $run:ident, $other:expr) => {{
        use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        match $array.data_type() {
            DataType::Int8 => $run!(types::Int8Type, number::write_integer),
            DataType::Int16 => $run!(types::Int16Type, number::write_integer),
            DataType::Int32 => $run!(types::Int32Type, number::write_integer),
            DataType::Int64 => $run!(types::Int64Type, number::write_integer),
            DataType::UInt8 => $run!(types::UInt8Type, number::write_integer),
            DataType::UInt16 => $run!(types::UInt16Type, number::write_integer),
            DataType::UInt32 => $run!(types::UInt32Type, number::write_integer),
            DataType::UInt64 => $run!(types::UInt64Type, number::write_integer),
            DataType::Float16 => $run!(types::Float16Type, half::write_half),
            DataType::Float32 => $run!(types::Float32Type, number::write_float),
            DataType::Float64 => $run!(types::Float64Type, number::write_float),
            DataType::Date32 => $run!(types::Date32Type, |slot: &mut Slot, value: i32| {
                calendar::write_date(slot, 0, i64::from(value))
            }),
            DataType::Date64 => $run!(types::Date64Type, |slot: &mut Slot, value: i64| {
                let day = calendar::DAY_SECONDS * 1_000;
                if value.rem_euclid(day) == 0 {
                    calendar::write_date(slot, 0, value.div_euclid(day))
                } else {
                    calendar::write_timestamp(slot, value, Millisecond, Zoned::Naive)
                }
            }),
            DataType::Time32(Second) => $run!(types::Time32SecondType, |slot: &mut Slot, value| {
                calendar::write_time(slot, i64::from(value), Second)
            }),
            DataType::Time32(_) => $run!(types::Time32MillisecondType, |slot: &mut Slot, value| {
                calendar::write_time(slot, i64::from(value), Millisecond)
            }),
            DataType::Time64(Microsecond) => {
                $run!(types::Time64MicrosecondType, |slot: &mut Slot, value| {
                    calendar::write_time(slot, value, Microsecond)
                })
            }
            DataType::Time64(_) => {
                $run!(types::Time64NanosecondType, |slot: &mut Slot, value| {
                    calendar::write_time(slot, value, Nanosecond)
                })
            }
            DataType::Timestamp(unit, zone) => {
                let zoned = if zone.is_some() { Zoned::Utc } else { Zoned::Naive };
                match unit {
                    Second => $run!(types::TimestampSecondType, move |slot: &mut Slot, value| {
                        calendar::write_timestamp(slot, value, Second, zoned)
                    }),
                    Millisecond => {
                        $run!(types::TimestampMillisecondType, move |slot: &mut Slot, value| {
                            calendar::write_timestamp(slot, value, Millisecond, zoned)
                        })
                    }
                    Microsecond => {
                        $run!(types::TimestampMicrosecondType, move |slot: &mut Slot, value| {
                            calendar::write_timestamp(slot, value, Microsecond, zoned)
                        })
                    }
                    Nanosecond => {
                        $run!(types::TimestampNanosecondType, move |slot: &mut Slot, value| {
                            calendar::write_timestamp(slot, value, Nanosecond, zoned)
                        })
                    }
                }
            }
            DataType::Duration(unit) => match unit {
                Second => $run!(types::DurationSecondType, |slot: &mut Slot, value| {
                    duration::write_duration(slot, value, Second)
                }),
                Millisecond => $run!(types::DurationMillisecondType, |slot: &mut Slot, value| {
                    duration::write_duration(slot, value, Millisecond)
                }),
                Microsecond => $run!(types::DurationMicrosecondType, |slot: &mut Slot, value| {
                    duration::write_duration(slot, value, Microsecond)
                }),
                Nanosecond => $run!(types::DurationNanosecondType, |slot: &mut Slot, value| {
                    duration::write_duration(slot, value, Nanosecond)
                }),
            },
            _ => $other,
        }
    }};
}
pub(super) use for_slot_type;

/// Appends a slot and a length for each row of `rows`; NULL has the length 0.
///
/// # Errors
/// `Unsupported` for a type whose texts do not fit slots.
pub(super) fn fill_slots(
    array: &dyn Array,
    rows: std::ops::Range<usize>,
    slots: &mut Vec<Slot>,
    lengths: &mut Vec<u8>,
) -> Result<()> {
    slots.resize(rows.len(), [0; SLOT]);
    lengths.clear();
    macro_rules! run {
        ($arrow:ty, $text:expr) => {{
            let values = array.as_primitive::<$arrow>().values();
            let values = values.get(rows.clone()).unwrap_or_default();
            let text = $text;
            lengths.extend(
                values
                    .iter()
                    .zip(slots.iter_mut())
                    .map(|(value, slot)| u8::try_from(text(slot, *value)).unwrap_or(0)),
            );
        }};
    }
    if let Some(values) = array.as_boolean_opt() {
        lengths.extend(
            rows.clone().zip(slots.iter_mut()).map(|(row, slot)| {
                u8::try_from(write_boolean(slot, values.value(row))).unwrap_or(0)
            }),
        );
    } else {
        for_slot_type!(array, run, return Err(unsupported(array.data_type())));
    }
    if array.null_count() > 0 {
        for (row, length) in rows.zip(lengths.iter_mut()) {
            if array.is_null(row) {
                *length = 0;
            }
        }
    }
    Ok(())
}

fn write_boolean(slot: &mut Slot, value: bool) -> usize {
    let text: &[u8; 5] = if value { b"true " } else { b"false" };
    if let Some(place) = slot.first_chunk_mut::<5>() {
        *place = *text;
    }
    if value { 4 } else { 5 }
}

/// Writes the text of one row of an array whose texts fit slots, returns the length.
fn write_slot(array: &dyn Array, row: usize, slot: &mut Slot) -> Result<usize> {
    macro_rules! run {
        ($arrow:ty, $text:expr) => {{
            let text = $text;
            Ok(text(slot, array.as_primitive::<$arrow>().value(row)))
        }};
    }
    if let Some(values) = array.as_boolean_opt() {
        return Ok(write_boolean(slot, values.value(row)));
    }
    for_slot_type!(array, run, Err(unsupported(array.data_type())))
}

/// The error for types that have no text.
pub(super) fn unsupported(data_type: &DataType) -> Error {
    let mut name = String::new();
    // Writing to a String cannot fail.
    let _ = write!(name, "{data_type}");
    Error::unsupported("show column type as text").with("type", name)
}

/// Unpacks a dictionary column, row by row the value that the key names.
pub(super) fn unpack_dictionary(array: &dyn Array, values: &DataType) -> Result<ArrayRef> {
    arrow::compute::cast(array, values).map_err(broken)
}

/// The error for arrays that contradict themselves.
pub(super) fn broken(error: ArrowError) -> Error {
    Error::internal("convert arrow array").caused_by(error)
}
