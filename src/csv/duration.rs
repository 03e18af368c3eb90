//! Durations as text: days, hours, minutes and seconds of ISO 8601.

use arrow::datatypes::TimeUnit;

use super::calendar::{
    self, DAY_SECONDS, Slot, low_word, pair, put, put_all, put_array, write_fraction,
};
use super::number;

/// ISO 8601 text of a duration: days, hours, minutes, seconds; zero is `PT0S`.
#[inline(always)] // once for each unit, with its divisions by constants
pub(super) fn write_duration(slot: &mut Slot, value: i64, unit: TimeUnit) -> usize {
    let (per_second, digits) = calendar::per_second(unit);
    let Span { days, rest, fraction } = Span::new(value, per_second);
    put_array(slot, 0, if value < 0 { *b"-P" } else { *b"P-" });
    let mut at = 1 + usize::from(value < 0);
    if days > 0 {
        at = put_days(slot, at, days);
        if rest == 0 && fraction == 0 {
            return at;
        }
    }
    put(slot, at, b'T');
    at += 1;
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    if hours > 0 {
        at = put_count(slot, at, hours, b'H');
    }
    if minutes > 0 {
        at = put_count(slot, at, minutes, b'M');
    }
    if fraction > 0 {
        // The letter is overwritten by the point.
        at = put_count(slot, at, seconds, b'S') - 1;
        at = write_fraction(slot, at, fraction, digits);
        put(slot, at, b'S');
        at += 1;
    } else if seconds > 0 || value == 0 {
        at = put_count(slot, at, seconds, b'S');
    }
    at
}

/// Bytes that `write_duration` writes.
#[inline(always)] // once for each unit, with its divisions by constants
pub(super) fn duration_length(value: i64, unit: TimeUnit) -> u64 {
    let (per_second, digits) = calendar::per_second(unit);
    let Span { days, rest, fraction } = Span::new(value, per_second);
    let mut length = 1 + u64::from(value < 0);
    if days > 0 {
        length += number::integer_length(days, false) + 1;
        if rest == 0 && fraction == 0 {
            return length;
        }
    }
    let count = |count: u32| if count > 0 { 2 + u64::from(count > 9) } else { 0 };
    let seconds = rest % 60;
    length += 1 + count(rest / 3_600) + count(rest / 60 % 60);
    if fraction > 0 {
        length + 2 + u64::from(seconds > 9) + calendar::fraction_length(fraction, digits)
    } else if value == 0 {
        length + 2
    } else {
        length + count(seconds)
    }
}

/// A duration without its sign.
struct Span {
    days: u64,
    /// Seconds of the last day.
    rest: u32,
    fraction: u32,
}

impl Span {
    #[inline(always)] // once for each unit, with its divisions by constants
    fn new(value: i64, per_second: i64) -> Self {
        let (magnitude, unit_count) = (value.unsigned_abs(), per_second.unsigned_abs());
        let seconds = magnitude / unit_count;
        let day = DAY_SECONDS.unsigned_abs();
        Self {
            days: seconds / day,
            rest: low_word(seconds % day),
            fraction: low_word(magnitude % unit_count),
        }
    }
}

/// Writes a number below 100 and a letter.
#[inline]
fn put_count(slot: &mut Slot, at: usize, count: u32, letter: u8) -> usize {
    let [tens, ones] = pair(count);
    let one_digit = count < 10;
    let word = u32::from_le_bytes([tens, ones, letter, 0]) >> if one_digit { 8 } else { 0 };
    put_array(slot, at, word.to_le_bytes());
    at + 3 - usize::from(one_digit)
}

/// Writes a number of days and its letter.
#[inline]
fn put_days(slot: &mut Slot, at: usize, days: u64) -> usize {
    if days < 10_000 {
        let days = low_word(days);
        let ([a, b], [c, d]) = (pair(days / 100), pair(days));
        let zeros = usize::from(days < 1_000) + usize::from(days < 100) + usize::from(days < 10);
        let word = u64::from_le_bytes([a, b, c, d, b'D', 0, 0, 0]) >> (8 * zeros);
        put_array(slot, at, word.to_le_bytes());
        return at + 5 - zeros;
    }
    let at = put_all(slot, at, itoa::Buffer::new().format(days).as_bytes());
    put(slot, at, b'D');
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::calendar::SLOT;

    #[test]
    fn parts_that_are_zero_are_left_out() {
        let check = |value, unit, expected: &str| {
            let mut slot = [0; SLOT];
            let length = write_duration(&mut slot, value, unit);
            assert_eq!(std::str::from_utf8(&slot[..length]).unwrap(), expected);
        };
        check(0, TimeUnit::Second, "PT0S");
        check(90, TimeUnit::Second, "PT1M30S");
        check(86_400, TimeUnit::Second, "P1D");
        check(-93_600_500, TimeUnit::Millisecond, "-P1DT2H0.500S");
        check(60_001, TimeUnit::Millisecond, "PT1M0.001S");
        check(i64::MIN, TimeUnit::Second, "-P106751991167300DT15H30M8S");
        check(i64::MIN, TimeUnit::Nanosecond, "-P106751DT23H47M16.854775808S");
    }
}
