//! Bytes of text without the text: what the offset index of a data file is made of.
//!
//! Integers, times and clean texts are measured without being written; what is left goes through
//! the same code as rendering.

use std::ops::Range;

use arrow::array::{
    Array, ArrowPrimitiveType, AsArray, GenericStringArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow::datatypes::{self as types, DataType, TimeUnit};

use super::calendar::{self, DAY_SECONDS, SLOT, Slot, Zoned};
use super::cells::Cells;
use super::{number, quote};
use crate::error::{Error, Result};

/// Rows that are measured at a time; a text that needs quotes makes only its neighbours slower.
const CHUNK_ROWS: usize = 512;

/// Bytes of the cells of `rows` of one column as `render` writes them, without separators.
///
/// # Errors
/// `Unsupported` if the type has no text.
pub fn text_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    if rows.start > rows.end || rows.end > array.len() {
        return Err(Error::internal("rows outside the array"));
    }
    macro_rules! sum {
        ($arrow:ty, $length:expr) => {
            Ok(sum_values(array.as_primitive::<$arrow>(), &rows, $length))
        };
    }
    macro_rules! integers {
        ($arrow:ty) => {
            sum!($arrow, |value| {
                number::integer_length(u64::from(value.unsigned_abs()), value < 0)
            })
        };
    }
    macro_rules! naturals {
        ($arrow:ty) => {
            sum!($arrow, |value| number::integer_length(u64::from(value), false))
        };
    }
    macro_rules! timestamps {
        ($arrow:ty, $unit:expr, $zone:expr) => {{
            let zoned = if $zone.is_some() { Zoned::Utc } else { Zoned::Naive };
            sum!($arrow, |value| timestamp_length(value, $unit, zoned))
        }};
    }
    match array.data_type() {
        DataType::Int8 => integers!(types::Int8Type),
        DataType::Int16 => integers!(types::Int16Type),
        DataType::Int32 => integers!(types::Int32Type),
        DataType::Int64 => integers!(types::Int64Type),
        DataType::UInt8 => naturals!(types::UInt8Type),
        DataType::UInt16 => naturals!(types::UInt16Type),
        DataType::UInt32 => naturals!(types::UInt32Type),
        DataType::UInt64 => naturals!(types::UInt64Type),
        DataType::Date32 => sum!(types::Date32Type, |value| date_length(i64::from(value))),
        DataType::Time64(Microsecond) => {
            sum!(types::Time64MicrosecondType, |value| time_length(value, Microsecond))
        }
        DataType::Timestamp(Second, zone) => {
            timestamps!(types::TimestampSecondType, Second, zone)
        }
        DataType::Timestamp(Millisecond, zone) => {
            timestamps!(types::TimestampMillisecondType, Millisecond, zone)
        }
        DataType::Timestamp(Microsecond, zone) => {
            timestamps!(types::TimestampMicrosecondType, Microsecond, zone)
        }
        DataType::Timestamp(Nanosecond, zone) => {
            timestamps!(types::TimestampNanosecondType, Nanosecond, zone)
        }
        DataType::Utf8 => sum_texts(array, array.as_string::<i32>(), rows),
        DataType::LargeUtf8 => sum_texts(array, array.as_string::<i64>(), rows),
        _ => prepared_bytes(array, rows),
    }
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

#[inline]
fn time_length(value: i64, unit: TimeUnit) -> u64 {
    let (per_second, digits) = calendar::per_second(unit);
    if (0..DAY_SECONDS * per_second).contains(&value) {
        return bytes(8 + fraction_length(value % per_second, digits));
    }
    let mut slot: Slot = [0; SLOT];
    bytes(calendar::write_time(&mut slot, value, unit))
}

#[inline]
fn timestamp_length(value: i64, unit: TimeUnit, zoned: Zoned) -> u64 {
    let (per_second, digits) = calendar::per_second(unit);
    let seconds = value.div_euclid(per_second);
    if calendar::is_near(seconds.div_euclid(DAY_SECONDS)) {
        let fraction = fraction_length(value.rem_euclid(per_second), digits);
        return bytes(19 + fraction + usize::from(zoned == Zoned::Utc));
    }
    let mut slot: Slot = [0; SLOT];
    bytes(calendar::write_timestamp(&mut slot, value, unit, zoned))
}

/// Bytes that `calendar::write_clock` adds for a fraction.
#[inline]
fn fraction_length(fraction: i64, digits: usize) -> usize {
    if fraction == 0 {
        0
    } else if digits <= 3 || fraction % 1_000 != 0 {
        digits + 1
    } else if digits <= 6 || fraction % 1_000_000 != 0 {
        digits - 2
    } else {
        digits - 5
    }
}

fn sum_texts<O: OffsetSizeTrait>(
    array: &dyn Array,
    texts: &GenericStringArray<O>,
    rows: Range<usize>,
) -> Result<u64> {
    let mut sum = 0;
    let mut row = rows.start;
    while row < rows.end {
        let chunk = row..(row + CHUNK_ROWS).min(rows.end);
        sum += match clean_bytes(texts, chunk.clone()) {
            Some(clean) => clean,
            None => prepared_bytes(array, chunk.clone())?,
        };
        row = chunk.end;
    }
    Ok(sum)
}

/// The same if none of the texts holds a byte that makes quotes necessary.
fn clean_bytes<O: OffsetSizeTrait>(
    texts: &GenericStringArray<O>,
    rows: Range<usize>,
) -> Option<u64> {
    let offsets = texts.value_offsets().get(rows.start..=rows.end)?;
    let (first, last) = (offsets.first()?.as_usize(), offsets.last()?.as_usize());
    let run = texts.values().get(first..last)?;
    if quote::has_special(run) {
        return None;
    }
    let text = |(start, end): (&O, &O)| {
        let text = texts.values().get(start.as_usize()..end.as_usize()).unwrap_or_default();
        bytes(text.len()) + if quote::has_odd_ends(text) { 2 } else { 0 }
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
                }
                let days = value >> 32;
                let text = written(|slot| calendar::write_date(slot, 0, days));
                prop_assert_eq!(date_length(days), text);
            }
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
