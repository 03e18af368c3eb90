//! Bytes of text without the text: what the offset index of a data file is made of.
//!
//! Integers, times and clean texts are measured without being written; what is left goes through
//! the same code as rendering.

use std::ops::Range;

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, BooleanArray, GenericStringArray, OffsetSizeTrait,
    PrimitiveArray,
};
use arrow::datatypes::{self as types, ArrowNativeType, DataType, TimeUnit};

use super::calendar::{self, DAY_SECONDS, SLOT, Slot, Zoned};
use super::cells::Cells;
use super::members::JsonValues;
use super::quote::Marks;
use super::{decimal, duration, half, number, quote};
use crate::error::{Error, Result};

/// Rows that are measured at a time; a text that needs quotes makes only its neighbours slower.
const CHUNK_ROWS: usize = 512;

/// Bytes of the cells of `rows` of one column as `render` writes them, without separators.
///
/// # Errors
/// `Unsupported` if the type has no text.
pub fn text_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    if rows.start > rows.end || rows.end > array.len() {
        return Err(Error::internal("rows outside the array"));
    }
    let known = integer_bytes(array, &rows)
        .or_else(|| fraction_bytes(array, &rows))
        .or_else(|| moment_bytes(array, &rows))
        .or_else(|| bits_bytes(array, &rows));
    if let Some(sum) = known {
        return Ok(sum);
    }
    match array.data_type() {
        DataType::Utf8 => sum_texts(array.as_string::<i32>(), rows),
        DataType::LargeUtf8 => sum_texts(array.as_string::<i64>(), rows),
        other if other.is_nested() && super::supported(other) => nested_bytes(array, rows),
        _ => prepared_bytes(array, rows),
    }
}

macro_rules! sum {
    ($array:expr, $rows:expr, $arrow:ty, $length:expr) => {
        sum_values($array.as_primitive::<$arrow>(), $rows, $length)
    };
}

fn integer_bytes(array: &dyn Array, rows: &Range<usize>) -> Option<u64> {
    macro_rules! signed {
        ($arrow:ty) => {
            sum!(array, rows, $arrow, |value| {
                number::integer_length(u64::from(value.unsigned_abs()), value < 0)
            })
        };
    }
    macro_rules! natural {
        ($arrow:ty) => {
            sum!(array, rows, $arrow, |value| number::integer_length(u64::from(value), false))
        };
    }
    Some(match array.data_type() {
        DataType::Int8 => signed!(types::Int8Type),
        DataType::Int16 => signed!(types::Int16Type),
        DataType::Int32 => signed!(types::Int32Type),
        DataType::Int64 => signed!(types::Int64Type),
        DataType::UInt8 => natural!(types::UInt8Type),
        DataType::UInt16 => natural!(types::UInt16Type),
        DataType::UInt32 => natural!(types::UInt32Type),
        DataType::UInt64 => natural!(types::UInt64Type),
        _ => return None,
    })
}

fn fraction_bytes(array: &dyn Array, rows: &Range<usize>) -> Option<u64> {
    macro_rules! decimals {
        ($arrow:ty, $scale:expr) => {
            sum!(array, rows, $arrow, |value| decimal::length(i128::from(value), *$scale))
        };
    }
    Some(match array.data_type() {
        DataType::Float16 => sum!(array, rows, types::Float16Type, half::half_length),
        DataType::Float32 => sum!(array, rows, types::Float32Type, single_length),
        DataType::Float64 => sum!(array, rows, types::Float64Type, float_length),
        DataType::Decimal32(_, scale) => decimals!(types::Decimal32Type, scale),
        DataType::Decimal64(_, scale) => decimals!(types::Decimal64Type, scale),
        DataType::Decimal128(_, scale) => decimals!(types::Decimal128Type, scale),
        DataType::Decimal256(_, scale) => {
            sum!(array, rows, types::Decimal256Type, |value| decimal::wide_length(value, *scale))
        }
        _ => return None,
    })
}

fn moment_bytes(array: &dyn Array, rows: &Range<usize>) -> Option<u64> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    macro_rules! times {
        ($arrow:ty, $unit:expr) => {
            sum!(array, rows, $arrow, |value| time_length(i64::from(value), $unit))
        };
    }
    macro_rules! durations {
        ($arrow:ty, $unit:expr) => {
            sum!(array, rows, $arrow, |value| duration::duration_length(value, $unit))
        };
    }
    macro_rules! timestamps {
        ($arrow:ty, $unit:expr, $zone:expr) => {{
            let zoned = if $zone.is_some() { Zoned::Utc } else { Zoned::Naive };
            sum!(array, rows, $arrow, |value| timestamp_length(value, $unit, zoned))
        }};
    }
    Some(match array.data_type() {
        DataType::Date32 => {
            sum!(array, rows, types::Date32Type, |value| date_length(i64::from(value)))
        }
        DataType::Date64 => sum!(array, rows, types::Date64Type, date64_length),
        DataType::Time32(Second) => times!(types::Time32SecondType, Second),
        DataType::Time32(_) => times!(types::Time32MillisecondType, Millisecond),
        DataType::Time64(Microsecond) => times!(types::Time64MicrosecondType, Microsecond),
        DataType::Time64(_) => times!(types::Time64NanosecondType, Nanosecond),
        DataType::Duration(unit) => match unit {
            Second => durations!(types::DurationSecondType, Second),
            Millisecond => durations!(types::DurationMillisecondType, Millisecond),
            Microsecond => durations!(types::DurationMicrosecondType, Microsecond),
            Nanosecond => durations!(types::DurationNanosecondType, Nanosecond),
        },
        DataType::Timestamp(unit, zone) => match unit {
            Second => timestamps!(types::TimestampSecondType, Second, zone),
            Millisecond => timestamps!(types::TimestampMillisecondType, Millisecond, zone),
            Microsecond => timestamps!(types::TimestampMicrosecondType, Microsecond, zone),
            Nanosecond => timestamps!(types::TimestampNanosecondType, Nanosecond, zone),
        },
        _ => return None,
    })
}

/// Of booleans, bytes and text views.
fn bits_bytes(array: &dyn Array, rows: &Range<usize>) -> Option<u64> {
    Some(match array.data_type() {
        DataType::Boolean => boolean_lengths(&array.as_boolean().slice(rows.start, rows.len())),
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            sum_valid(array, rows, |row| base64_length(values.value_length(row).as_usize()))
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            sum_valid(array, rows, |row| base64_length(values.value_length(row).as_usize()))
        }
        DataType::FixedSizeBinary(size) => {
            let length = base64_length(size.as_usize());
            sum_valid(array, rows, |_| length)
        }
        DataType::Utf8View => {
            let texts = array.as_string_view();
            let length = |row| bytes(quote::written_length(texts.value(row).as_bytes()));
            sum_valid(array, rows, length)
        }
        _ => return None,
    })
}

fn sum_values<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    rows: &Range<usize>,
    length: impl Fn(T::Native) -> u64,
) -> u64 {
    let values = array.values().get(rows.clone()).unwrap_or_default();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => values.iter().map(|value| length(*value)).sum(),
        Some(nulls) => {
            let valid = nulls.iter().skip(rows.start);
            let lengths = values.iter().zip(valid).filter(|(_, valid)| *valid);
            lengths.map(|(value, _)| length(*value)).sum()
        }
    }
}

/// The same by the row, for arrays that are not a run of numbers.
fn sum_valid(array: &dyn Array, rows: &Range<usize>, length: impl Fn(usize) -> u64) -> u64 {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => rows.clone().map(length).sum(),
        Some(nulls) => rows.clone().filter(|row| nulls.is_valid(*row)).map(length).sum(),
    }
}

/// Base64 is padded; empty text stands in quotes.
fn base64_length(length: usize) -> u64 {
    if length == 0 { 2 } else { bytes(length.div_ceil(3) * 4) }
}

/// `true` and `false`.
fn boolean_lengths(values: &BooleanArray) -> u64 {
    bytes(5 * (values.len() - values.null_count())).saturating_sub(bytes(values.true_count()))
}

#[inline]
fn single_length(value: f32) -> u64 {
    number::short_single_length(value)
        .unwrap_or_else(|| bytes(number::write_float(&mut [0; SLOT], value)))
}

#[inline]
fn float_length(value: f64) -> u64 {
    number::short_float_length(value)
        .unwrap_or_else(|| bytes(number::write_float(&mut [0; SLOT], value)))
}

fn date64_length(value: i64) -> u64 {
    let day = DAY_SECONDS * 1_000;
    if value.rem_euclid(day) == 0 {
        date_length(value.div_euclid(day))
    } else {
        timestamp_length(value, TimeUnit::Millisecond, Zoned::Naive)
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn date_length(days: i64) -> u64 {
    if calendar::is_near(days) {
        return 10;
    }
    let mut slot: Slot = [0; SLOT];
    bytes(calendar::write_date(&mut slot, 0, days))
}

#[inline(always)] // once for each unit, with its divisions by constants
fn time_length(value: i64, unit: TimeUnit) -> u64 {
    let (per_second, digits) = calendar::per_second(unit);
    if (0..DAY_SECONDS * per_second).contains(&value) {
        return 8 + calendar::fraction_length(calendar::small(value % per_second), digits);
    }
    let mut slot: Slot = [0; SLOT];
    bytes(calendar::write_time(&mut slot, value, unit))
}

#[inline(always)] // once for each unit, with its divisions by constants
fn timestamp_length(value: i64, unit: TimeUnit, zoned: Zoned) -> u64 {
    let (per_second, digits) = calendar::per_second(unit);
    let seconds = value.div_euclid(per_second);
    if calendar::is_near(seconds.div_euclid(DAY_SECONDS)) {
        let fraction = calendar::small(value.rem_euclid(per_second));
        let fraction = calendar::fraction_length(fraction, digits);
        return 19 + fraction + u64::from(zoned == Zoned::Utc);
    }
    let mut slot: Slot = [0; SLOT];
    bytes(calendar::write_timestamp(&mut slot, value, unit, zoned))
}

fn sum_texts<O: OffsetSizeTrait>(texts: &GenericStringArray<O>, rows: Range<usize>) -> Result<u64> {
    let mut marks = Marks::default();
    let mut sum = 0;
    let mut row = rows.start;
    while row < rows.end {
        let chunk = row..(row + CHUNK_ROWS).min(rows.end);
        row = chunk.end;
        sum += chunk_bytes(texts, chunk, &mut marks)
            .ok_or_else(|| Error::internal("rows outside the array"))?;
    }
    Ok(sum)
}

fn chunk_bytes<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
    rows: Range<usize>,
    marks: &mut Marks,
) -> Option<u64> {
    let offsets = texts.value_offsets().get(rows.start..=rows.end)?;
    let (first, last) = (offsets.first()?.as_usize(), offsets.last()?.as_usize());
    let run = texts.values().get(first..last)?;
    // Runs without any byte that makes quotes necessary are the rule.
    let clean = !quote::has_special(run);
    if !clean {
        marks.scan(run, first);
    }
    let text = |(start, end): (&O, &O)| {
        let start = start.as_usize();
        let text = texts.values().get(start..end.as_usize()).unwrap_or_default();
        bytes(match clean {
            true if quote::has_odd_ends(text) => text.len() + 2,
            true => text.len(),
            false => marks.written_length(text, start),
        })
    };
    let bounds = offsets.iter().zip(offsets.get(1..)?);
    Some(match texts.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => bounds.map(text).sum(),
        Some(nulls) => {
            let valid = bounds.zip(rows).filter(|(_, row)| nulls.is_valid(*row));
            valid.map(|(bounds, _)| text(bounds)).sum()
        }
    })
}

fn nested_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    let values = JsonValues::new(array)?;
    let mut sum = 0;
    for row in rows.filter(|row| array.is_valid(*row)) {
        sum += bytes(values.measure(row)?.written());
    }
    Ok(sum)
}

fn prepared_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    let mut cells = Cells::new(array);
    let mut sum = 0_u64;
    let mut row = rows.start;
    while row < rows.end {
        let end = (row + CHUNK_ROWS).min(rows.end);
        cells.load(row..end)?;
        sum += bytes(cells.written());
        row = end;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::i256;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Slot) -> usize) -> u64 {
        bytes(write(&mut [0; SLOT]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn moments_are_as_long_as_they_are_written(
            number in any::<i64>(),
            near in -1_000_i64..1_000,
            scale in prop::sample::select(vec![1_i64, 1_000, 1_000_000, 1_000_000_000, 86_400]),
        ) {
            let units =
                [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
            for value in [number, number >> 20, near, near.wrapping_mul(scale), i64::MIN, i64::MAX] {
                for unit in units {
                    for zoned in [Zoned::Naive, Zoned::Utc] {
                        let text =
                            written(|slot| calendar::write_timestamp(slot, value, unit, zoned));
                        prop_assert_eq!(timestamp_length(value, unit, zoned), text);
                    }
                    let text = written(|slot| calendar::write_time(slot, value, unit));
                    prop_assert_eq!(time_length(value, unit), text);
                    let text = written(|slot| duration::write_duration(slot, value, unit));
                    prop_assert_eq!(duration::duration_length(value, unit), text);
                }
                let days = value >> 32;
                let text = written(|slot| calendar::write_date(slot, 0, days));
                prop_assert_eq!(date_length(days), text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn numbers_are_as_long_as_they_are_written(
            bits in any::<u64>(),
            cents in any::<i64>(),
            shift in 0_u32..64,
            scale in -5_i8..40,
        ) {
            let few = cents >> shift;
            #[allow(clippy::cast_precision_loss)]
            let floats = [1.0, 10.0, 100.0, 10_000.0, 1e5, 1e9].map(|unit| few as f64 / unit);
            for value in floats.into_iter().chain([f64::from_bits(bits)]) {
                let text = written(|slot| number::write_float(slot, value));
                prop_assert_eq!(float_length(value), text, "{}", value);
            }
            #[allow(clippy::cast_possible_truncation)]
            let singles = floats.map(|value| value as f32);
            let [_, _, _, _, low @ ..] = bits.to_be_bytes();
            let odd = f32::from_bits(u32::from_be_bytes(low));
            for value in singles.into_iter().chain([odd, odd.fract(), odd.trunc(), odd.exp2()]) {
                let text = written(|slot| number::write_float(slot, value));
                prop_assert_eq!(single_length(value), text, "{}", value);
            }
            let mut text = Vec::new();
            decimal::write_decimal(&few.to_string(), scale, &mut text);
            prop_assert_eq!(decimal::length(i128::from(few), scale), bytes(text.len()));
            let wide = i128::from(cents) * i128::from(bits);
            text.clear();
            decimal::write_decimal(&wide.to_string(), scale, &mut text);
            prop_assert_eq!(decimal::length(wide, scale), bytes(text.len()));
            let wider = i256::from_i128(wide).wrapping_mul(i256::from_i128(wide));
            text.clear();
            decimal::write_decimal(&wider.to_string(), scale, &mut text);
            prop_assert_eq!(decimal::wide_length(wider, scale), bytes(text.len()));
        }
    }

    #[test]
    fn the_ends_of_the_four_digit_years_are_measured_right() {
        for days in [-719_469, -719_468, -719_467, 2_932_895, 2_932_896, 2_932_897] {
            let text = written(|slot| calendar::write_date(slot, 0, days));
            assert_eq!(date_length(days), text, "{days}");
            let seconds = days * DAY_SECONDS;
            let unit = TimeUnit::Second;
            for value in [seconds, seconds - 1] {
                let text =
                    written(|slot| calendar::write_timestamp(slot, value, unit, Zoned::Naive));
                assert_eq!(timestamp_length(value, unit, Zoned::Naive), text, "{value}");
            }
        }
    }
}
