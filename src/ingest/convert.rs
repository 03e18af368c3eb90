//! Text cells to typed columns, exactly or not at all.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{Datelike, NaiveDate};

use crate::csv;

/// A cell that does not fit: its place in the array and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) row: usize,
    pub(super) reason: String,
}

/// Converts a column of texts; blanks around anything but text are dropped.
pub(super) fn convert(texts: &StringArray, target: &DataType) -> Result<ArrayRef, Misfit> {
    match target {
        DataType::Utf8 => Ok(Arc::new(texts.clone())),
        DataType::LargeUtf8 | DataType::Utf8View => by_cast(texts, target),
        DataType::Date32 => {
            let days = each(texts, "a date such as 2026-11-21", parse_date)?;
            Ok(Arc::new(Date32Array::from(days)))
        }
        DataType::Timestamp(unit, zone) => timestamps(texts, *unit, zone.as_ref()),
        DataType::Decimal128(precision, scale) => decimals(texts, *precision, *scale),
        DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::Time64(_) => {
            by_cast(&trimmed(texts), target)
        }
        other if other.is_integer() => by_cast(&trimmed(texts), target),
        other => csv::convert(texts, other).map_err(|(row, reason)| Misfit { row, reason }),
    }
}

/// Arrow's own conversion; what it turns into NULL is a misfit.
fn by_cast(texts: &StringArray, target: &DataType) -> Result<ArrayRef, Misfit> {
    let refused = |reason: String| Misfit { row: 0, reason };
    if matches!(target, DataType::Null) || !can_cast_types(&DataType::Utf8, target) {
        return Err(refused(format!("type {target} cannot be read from text")));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let values =
        cast_with_options(texts, target, &options).map_err(|error| refused(error.to_string()))?;
    if values.null_count() > texts.null_count() {
        let row = (0..texts.len()).find(|row| texts.is_valid(*row) && values.is_null(*row));
        return Err(Misfit { row: row.unwrap_or_default(), reason: expected(target) });
    }
    Ok(values)
}

/// The array with blanks around the values dropped; the same array where there are none.
fn trimmed(texts: &StringArray) -> StringArray {
    if texts.value_data().contains(&b' ') {
        texts.iter().map(|text| text.map(|text| text.trim_matches(' '))).collect()
    } else {
        texts.clone()
    }
}

fn expected(target: &DataType) -> String {
    match target {
        DataType::Boolean => "expected true or false".to_owned(),
        integer if integer.is_integer() => format!("expected a whole number that fits {integer}"),
        float if float.is_floating() => "expected a number".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => {
            "expected a time such as 10:00:00.123".to_owned()
        }
        other => format!("expected a value of type {other}"),
    }
}

/// Parses every cell that is there.
fn each<T>(
    texts: &StringArray,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<Option<T>>, Misfit> {
    let one = |(row, text): (usize, Option<&str>)| match text {
        None => Ok(None),
        Some(text) => match parse(text.trim_matches(' ')) {
            Some(value) => Ok(Some(value)),
            None => Err(Misfit { row, reason: format!("expected {what}") }),
        },
    };
    texts.iter().enumerate().map(one).collect()
}

fn timestamps(
    texts: &StringArray,
    unit: TimeUnit,
    zone: Option<&Arc<str>>,
) -> Result<ArrayRef, Misfit> {
    let per_unit: i64 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let parse = |text: &str| {
        let time = match parse_date(text) {
            Some(days) => Time { seconds: i64::from(days) * 86_400, nanos: 0, zoned: false },
            None => parse_timestamp(text)?,
        };
        // A time with an offset has no place among local times; one without is taken as UTC.
        if time.zoned && zone.is_none() {
            return None;
        }
        let nanos = i64::from(time.nanos);
        (nanos % per_unit == 0).then_some(())?;
        time.seconds.checked_mul(1_000_000_000 / per_unit)?.checked_add(nanos / per_unit)
    };
    let what = match zone {
        Some(_) => "a time such as 2026-11-21T10:00:00Z, no finer than the column",
        None => "a time such as 2026-11-21T10:00:00 without an offset, no finer than the column",
    };
    let values = each(texts, what, parse)?;
    let zone = zone.cloned();
    Ok(match unit {
        TimeUnit::Second => {
            Arc::new(TimestampSecondArray::from(values).with_timezone_opt(zone)) as ArrayRef
        }
        TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::from(values).with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone))
        }
    })
}

fn decimals(texts: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef, Misfit> {
    let what = format!("a number with at most {precision} digits, {scale} of them decimals");
    let values = each(texts, &what, |text| parse_decimal(text, precision, scale))?;
    Decimal128Array::from(values)
        .with_precision_and_scale(precision, scale)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| Misfit { row: 0, reason: error.to_string() })
}

/// The number times ten to the scale; `None` if a digit would be lost.
fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let kept = fraction.trim_end_matches('0');
    if kept.len() > scale {
        return None;
    }
    let mut value: i128 = 0;
    let padding = std::iter::repeat_n(b'0', scale - kept.len());
    for byte in whole.bytes().chain(kept.bytes()).chain(padding) {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// Days since 1970 of `YYYY-MM-DD`.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    (text.len() == 10).then_some(())?;
    let date = date_part(text.as_bytes())?;
    date.num_days_from_ce().checked_sub(719_163)
}

fn date_part(bytes: &[u8]) -> Option<NaiveDate> {
    let dashes = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    dashes.then_some(())?;
    let year = digits(bytes.get(..4)?)?;
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        digits(bytes.get(5..7)?)?,
        digits(bytes.get(8..10)?)?,
    )?;
    (year > 0).then_some(date)
}

/// A moment; without zone if the text has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// Seconds since 1970.
    pub(super) seconds: i64,
    /// Nanoseconds of the second.
    pub(super) nanos: u32,
    /// Whether the text gave an offset; the seconds are UTC then.
    pub(super) zoned: bool,
}

/// `YYYY-MM-DD(T| )HH:MM[:SS[.fraction]][Z|+HH:MM|+HHMM|+HH]`, at most 9 digits of fraction.
pub(super) fn parse_timestamp(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let date = date_part(bytes)?;
    matches!(bytes.get(10)?, b'T' | b't' | b' ').then_some(())?;
    let hour = digits(bytes.get(11..13)?)?;
    (bytes.get(13)? == &b':').then_some(())?;
    let minute = digits(bytes.get(14..16)?)?;
    let mut rest = bytes.get(16..)?;
    let mut second = 0;
    let mut nanos = 0;
    if let Some((b':', tail)) = rest.split_first() {
        second = digits(tail.get(..2)?)?;
        rest = tail.get(2..)?;
        if let Some((b'.', tail)) = rest.split_first() {
            let count = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=9).contains(&count).then_some(())?;
            let places = 9 - u32::try_from(count).ok()?;
            nanos = digits(tail.get(..count)?)?.checked_mul(10_u32.checked_pow(places)?)?;
            rest = tail.get(count..)?;
        }
    }
    let local = date.and_hms_opt(hour, minute, second)?.and_utc().timestamp();
    let offset = offset_seconds(rest)?;
    let seconds = local.checked_sub(offset.unwrap_or_default())?;
    Some(Time { seconds, nanos, zoned: offset.is_some() })
}

/// Seconds east of UTC; `Some(None)` if nothing is there.
#[expect(clippy::option_option, reason = "absent and malformed are different answers")]
fn offset_seconds(bytes: &[u8]) -> Option<Option<i64>> {
    let (sign, rest) = match bytes.split_first() {
        None => return Some(None),
        Some((b'Z' | b'z', [])) => return Some(Some(0)),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (digits(rest)?, 0),
        4 => (digits(rest.get(..2)?)?, digits(rest.get(2..)?)?),
        5 if rest.get(2) == Some(&b':') => (digits(rest.get(..2)?)?, digits(rest.get(3..)?)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(())?;
    Some(Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60)))
}

/// The number of at most nine digits.
fn digits(bytes: &[u8]) -> Option<u32> {
    (!bytes.is_empty() && bytes.len() <= 9).then_some(())?;
    bytes.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_lose_no_digit() {
        assert_eq!(parse_decimal("12.3", 10, 2), Some(1230));
        assert_eq!(parse_decimal("-0.5", 10, 2), Some(-50));
        assert_eq!(parse_decimal(".50", 10, 1), Some(5));
        assert_eq!(parse_decimal("1.005", 10, 2), None);
        assert_eq!(parse_decimal("1000", 5, 2), None);
        assert_eq!(parse_decimal("1e3", 10, 2), None);
        assert_eq!(parse_decimal("", 10, 2), None);
        assert_eq!(parse_decimal("-", 10, 2), None);
        assert_eq!(parse_decimal(&"9".repeat(38), 38, 0), Some(10_i128.pow(38) - 1));
        assert_eq!(parse_decimal(&"9".repeat(40), 38, 0), None);
    }

    #[test]
    fn times_are_read_exactly() {
        let time = |text: &str| parse_timestamp(text).map(|t| (t.seconds, t.nanos, t.zoned));
        assert_eq!(time("1970-01-01T00:00:01"), Some((1, 0, false)));
        assert_eq!(time("1970-01-01 00:01"), Some((60, 0, false)));
        assert_eq!(time("1970-01-01T01:00:00.5+01:00"), Some((0, 500_000_000, true)));
        assert_eq!(time("1970-01-01T00:00:00.000000001Z"), Some((0, 1, true)));
        assert_eq!(time("1969-12-31T23:00:00-0100"), Some((0, 0, true)));
        for bad in [
            "1970-01-01T24:00:00",
            "1970-02-30T00:00:00",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00:00x",
            "1970-01-01T00:00:00+25:00",
            "1970-01-01",
            "0000-01-01T00:00:00",
        ] {
            assert_eq!(time(bad), None, "{bad}");
        }
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("1970-1-2"), None);
        assert_eq!(parse_date("1900-02-29"), None);
    }
}
