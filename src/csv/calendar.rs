//! Days and clock times as text, without a calendar library: proleptic Gregorian, any year.
//!
//! The writers fill a slot of fixed size and return the length; no type of arrow needs more.

use arrow::datatypes::TimeUnit;

/// Bytes of a slot; the longest text is that of `Timestamp(Microsecond, UTC)`, 30 bytes.
pub(super) const SLOT: usize = 32;

/// Text of one cell, of which a length that is kept elsewhere is valid.
pub(super) type Slot = [u8; SLOT];

pub(super) const DAY_SECONDS: i64 = 86_400;

/// The two digits of the numbers below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut value = 0;
    let mut digits = [b'0'; 2];
    while value < 100 {
        pairs[value] = digits;
        value += 1;
        digits[1] += 1;
        if digits[1] > b'9' {
            digits = [digits[0] + 1, b'0'];
        }
    }
    pairs
};

/// The three digits of the numbers below 1,000, and a byte that makes them a word.
const TRIPLES: [[u8; 4]; 1_000] = {
    let mut triples = [[0; 4]; 1_000];
    let mut value = 0;
    while value < 1_000 {
        let ([_, a], [b, c]) = (PAIRS[value / 100], PAIRS[value % 100]);
        triples[value] = [a, b, c, b'0'];
        value += 1;
    }
    triples
};

#[inline]
fn triple(value: u32) -> [u8; 4] {
    TRIPLES.get((value % 1_000) as usize).copied().unwrap_or_default()
}

/// The two digits of a number below 100.
#[inline]
pub(super) fn pair(value: u32) -> [u8; 2] {
    PAIRS.get((value % 100) as usize).copied().unwrap_or_default()
}

/// Units of a time type in a second, and the digits of its fraction.
pub(super) fn per_second(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

/// Year, month and day of a count of days since 1970-01-01.
///
/// The count may be as large as seconds in an i64 allow. Algorithm: era of 400 years, year that
/// begins in March.
#[inline]
pub(super) fn civil(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, low_byte(month), low_byte(day))
}

/// Days since 1970-01-01 of a date, or nothing if there is no such date.
#[inline]
pub(super) fn days(year: i64, month: u8, day: u8) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 || (day > 28 && day > month_days(year, month)) {
        return None;
    }
    let shifted = year.checked_sub(i64::from(month <= 2))?;
    let march_month = u32::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * march_month + 2) / 5 + u32::from(day) - 1;
    if let Ok(year) = u32::try_from(shifted)
        && year <= 9_999
    {
        let days = 365 * year + year / 4 - year / 100 + year / 400 + of_year;
        return Some(i64::from(days) - 719_468);
    }
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + i64::from(of_year);
    era.checked_mul(146_097)?.checked_add(of_era)?.checked_sub(719_468)
}

fn month_days(year: i64, month: u8) -> u8 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first of March of the year 0 to 1970-01-01.
const DAYS_BEFORE: i64 = 719_468;
/// The last day of the year 9999, counted from there.
const NEAR_DAYS_LAST: u32 = 3_652_364;

/// Whether the text of a day has four digits for the year and is written the short way.
#[inline]
pub(super) fn is_near(days: i64) -> bool {
    (-DAYS_BEFORE..=i64::from(NEAR_DAYS_LAST) - DAYS_BEFORE).contains(&days)
}

/// Text of a day between March of the year 0 and the end of the year 9999.
///
/// The computation is that of Neri and Schneider (Euclidean affine functions, 2022): 32-bit
/// multiplications where `civil` needs divisions.
#[inline]
fn near_date(days: i64) -> Option<[u8; 10]> {
    let days = u32::try_from(days + DAYS_BEFORE).ok().filter(|days| *days <= NEAR_DAYS_LAST)?;
    let scaled = 4 * days + 3;
    let century = scaled / 146_097;
    let of_century = scaled % 146_097 / 4;
    let product = 2_939_745 * u64::from(4 * of_century + 3);
    let [low, year_of_century] = [product & u64::from(u32::MAX), product >> 32].map(low_word);
    let day_of_year = low / 2_939_745 / 4;
    let affine = 2_141 * day_of_year + 197_913;
    let (month, day) = (affine >> 16, (affine & 0xffff) / 2_141 + 1);
    let next_year = u32::from(day_of_year >= 306);
    let year = 100 * century + year_of_century + next_year;
    let ([a, b], [c, d]) = (pair(year / 100), pair(year));
    let ([e, f], [g, h]) = (pair(month - 12 * next_year), pair(day));
    Some([a, b, c, d, b'-', e, f, b'-', g, h])
}

/// Text of a second of the day.
#[inline]
fn clock_text(seconds: u32) -> [u8; 8] {
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    let ([a, b], [c, d], [e, f]) = (pair(hours), pair(minutes % 60), pair(seconds % 60));
    [a, b, b':', c, d, b':', e, f]
}

/// Writes `2026-11-21` at `at`; years outside 0..=9999 as `+12026` or `-0044`.
#[inline]
pub(super) fn write_date(slot: &mut Slot, at: usize, days: i64) -> usize {
    match near_date(days) {
        Some(text) => put_array(slot, at, text),
        None => write_far_date(slot, at, days),
    }
}

#[cold]
fn write_far_date(slot: &mut Slot, at: usize, days: i64) -> usize {
    let (year, month, day) = civil(days);
    let at = match u32::try_from(year) {
        Ok(year) if year <= 9_999 => {
            let at = put_array(slot, at, pair(year / 100));
            put_array(slot, at, pair(year))
        }
        _ => write_far_year(slot, at, year),
    };
    let at = put_array(slot, at, *b"-");
    let at = put_array(slot, at, pair(u32::from(month)));
    let at = put_array(slot, at, *b"-");
    put_array(slot, at, pair(u32::from(day)))
}

fn write_far_year(slot: &mut Slot, at: usize, year: i64) -> usize {
    put(slot, at, if year < 0 { b'-' } else { b'+' });
    let digits = format!("{:04}", year.unsigned_abs());
    put_all(slot, at + 1, digits.as_bytes())
}

/// Writes `10:00:00.123` at `at`; `seconds` of the day and the fraction in the unit's digits.
#[inline(always)] // once for each number of digits
fn write_clock(slot: &mut Slot, at: usize, seconds: u32, fraction: u32, digits: usize) -> usize {
    put_array(slot, at, clock_text(seconds));
    if fraction == 0 { at + 8 } else { write_fraction(slot, at + 8, fraction, digits) }
}

/// Writes `.123`, `.123456` or `.123456789`; groups of zeros at the end are dropped.
///
/// Every group is written, the length says which of them count.
#[inline(always)] // once for each number of digits
pub(super) fn write_fraction(slot: &mut Slot, at: usize, fraction: u32, digits: usize) -> usize {
    let (first, second, third) = match digits {
        ..=3 => (fraction, 0, 0),
        4..=6 => (fraction / 1_000, fraction % 1_000, 0),
        _ => (fraction / 1_000_000, fraction / 1_000 % 1_000, fraction % 1_000),
    };
    put(slot, at, b'.');
    put_array(slot, at + 1, triple(first));
    if digits > 3 {
        put_array(slot, at + 4, triple(second));
    }
    if digits > 6 {
        put_array(slot, at + 7, triple(third));
    }
    let behind = if third > 0 { 9 } else { 3 + 3 * usize::from(second > 0) };
    at + 1 + behind
}

/// Text of a timestamp: the value counts `per_second` units since 1970-01-01T00:00:00.
#[inline(always)] // once for each unit, with its divisions by constants
pub(super) fn write_timestamp(slot: &mut Slot, value: i64, unit: TimeUnit, zoned: Zoned) -> usize {
    let (per_second, digits) = per_second(unit);
    let seconds = value.div_euclid(per_second);
    let fraction = small(value.rem_euclid(per_second));
    let days = seconds.div_euclid(DAY_SECONDS);
    let of_day = small(seconds.rem_euclid(DAY_SECONDS));
    // The two arms differ in what the compiler knows about the places.
    let at = if let Some(text) = near_date(days) {
        put_array(slot, 0, text);
        put(slot, 10, b'T');
        write_clock(slot, 11, of_day, fraction, digits)
    } else {
        let at = write_far_date(slot, 0, days);
        put(slot, at, b'T');
        write_clock(slot, at + 1, of_day, fraction, digits)
    };
    match zoned {
        Zoned::Naive => at,
        Zoned::Utc => {
            put(slot, at, b'Z');
            at + 1
        }
    }
}

/// Whether a timestamp column names instants (UTC) or wall-clock readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zoned {
    Naive,
    Utc,
}

/// Text of a time of day; values outside a day keep counting hours and show a sign.
#[inline(always)] // once for each unit
pub(super) fn write_time(slot: &mut Slot, value: i64, unit: TimeUnit) -> usize {
    let (per_second, digits) = per_second(unit);
    if (0..DAY_SECONDS * per_second).contains(&value) {
        let (seconds, fraction) = (small(value / per_second), small(value % per_second));
        return write_clock(slot, 0, seconds, fraction, digits);
    }
    write_odd_time(slot, value, per_second, digits)
}

#[cold]
fn write_odd_time(slot: &mut Slot, value: i64, per_second: i64, digits: usize) -> usize {
    let (magnitude, unit_count) = (value.unsigned_abs(), per_second.unsigned_abs());
    let seconds = i64::try_from(magnitude / unit_count).unwrap_or(i64::MAX);
    let fraction = i64::try_from(magnitude % unit_count).unwrap_or(0);
    let sign = if value < 0 { "-" } else { "" };
    let text = format!("{sign}{:02}", seconds / 3_600);
    let at = put_all(slot, 0, text.as_bytes());
    // The hour pair of the clock is written first and then overwritten by the long hour.
    let mut clock: Slot = [0; SLOT];
    let length = write_clock(&mut clock, 0, small(seconds % 3_600), small(fraction), digits);
    put_all(slot, at, clock.get(2..length).unwrap_or_default())
}

/// Bytes that `write_fraction` writes, none for zero.
#[inline(always)] // once for each number of digits
pub(super) fn fraction_length(fraction: u32, digits: usize) -> u64 {
    if fraction == 0 {
        0
    } else if digits <= 3 {
        4
    } else if digits <= 6 {
        4 + 3 * u64::from(!fraction.is_multiple_of(1_000))
    } else if fraction.is_multiple_of(1_000) {
        4 + 3 * u64::from(!fraction.is_multiple_of(1_000_000))
    } else {
        10
    }
}

#[inline]
pub(super) fn put(slot: &mut Slot, at: usize, byte: u8) {
    if let Some(place) = slot.get_mut(at) {
        *place = byte;
    }
}

#[inline]
pub(super) fn put_array<const N: usize>(slot: &mut Slot, at: usize, text: [u8; N]) -> usize {
    if let Some(place) = slot.get_mut(at..at + N) {
        place.copy_from_slice(&text);
    }
    at + N
}

pub(super) fn put_all(slot: &mut Slot, at: usize, text: &[u8]) -> usize {
    match slot.get_mut(at..at + text.len()) {
        Some(place) => {
            place.copy_from_slice(text);
            at + text.len()
        }
        None => at,
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "callers pass 0..=255")]
fn low_byte(value: i64) -> u8 {
    debug_assert!((0..=255).contains(&value));
    value as u8
}

/// A part of a day or of a second.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^32")]
pub(super) fn small(value: i64) -> u32 {
    debug_assert!(u32::try_from(value).is_ok());
    value as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "callers pass 32 bits")]
pub(super) fn low_word(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
mod tests {
    use super::*;

    fn timestamp(value: i64, unit: TimeUnit, zoned: Zoned) -> String {
        let mut slot = [0; SLOT];
        let length = write_timestamp(&mut slot, value, unit, zoned);
        String::from_utf8(slot[..length].to_vec()).unwrap()
    }

    #[test]
    fn every_day_of_far_eras_reads_back() {
        let near = -720_000..2_940_000;
        for range in [-800_000..-798_500, near, 100_000_000_000..100_000_001_500] {
            for day in range {
                let (year, month, of_month) = civil(day);
                assert_eq!(days(year, month, of_month), Some(day));
                if let Some(text) = near_date(day) {
                    let ([y1, y2], [y3, y4]) =
                        (PAIRS[year as usize / 100], PAIRS[year as usize % 100]);
                    let ([m1, m2], [d1, d2]) = (PAIRS[month as usize], PAIRS[of_month as usize]);
                    assert_eq!(text, [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2]);
                } else {
                    assert!(!(1..=9_999).contains(&year));
                }
            }
        }
        assert_eq!(days(2023, 2, 29), None);
        assert_eq!(days(2000, 2, 29), Some(11_016));
        assert_eq!(days(2023, 13, 1), None);
    }

    #[test]
    fn extreme_timestamps_fit_a_slot() {
        for (unit, longest) in [
            (TimeUnit::Second, "+292277026596-12-04T15:30:07Z"),
            (TimeUnit::Millisecond, "+292278994-08-17T07:12:55.807Z"),
            (TimeUnit::Microsecond, "+294247-01-10T04:00:54.775807Z"),
            (TimeUnit::Nanosecond, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(timestamp(i64::MAX, unit, Zoned::Utc), longest);
            assert!(timestamp(i64::MIN, unit, Zoned::Utc).ends_with('Z'));
        }
        assert_eq!(timestamp(0, TimeUnit::Nanosecond, Zoned::Naive), "1970-01-01T00:00:00");
        assert_eq!(
            timestamp(-1, TimeUnit::Microsecond, Zoned::Naive),
            "1969-12-31T23:59:59.999999"
        );
        assert_eq!(
            timestamp(5_000, TimeUnit::Microsecond, Zoned::Naive),
            "1970-01-01T00:00:00.005"
        );
    }

    #[test]
    fn odd_times_have_a_text() {
        let mut slot = [0; SLOT];
        let length = write_time(&mut slot, -1, TimeUnit::Second);
        assert_eq!(&slot[..length], b"-00:00:01");
        let length = write_time(&mut slot, 90_000, TimeUnit::Second);
        assert_eq!(&slot[..length], b"25:00:00");
        let length = write_time(&mut slot, 36_000_123, TimeUnit::Millisecond);
        assert_eq!(&slot[..length], b"10:00:00.123");
    }
}
