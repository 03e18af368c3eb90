//! Days and clock times as text, without a calendar library: proleptic Gregorian, any year.
//!
//! The writers fill a slot of fixed size and return the length; no type of arrow needs more.

use arrow::datatypes::TimeUnit;

/// Bytes of a slot; the longest text is that of `Timestamp(Microsecond, UTC)`, 30 bytes.
pub(super) const SLOT: usize = 32;

/// Text of one cell, of which a length that is kept elsewhere is valid.
pub(super) type Slot = [u8; SLOT];

pub(super) const DAY_SECONDS: i64 = 86_400;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

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
pub(super) fn days(year: i64, month: u8, day: u8) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return None;
    }
    let shifted = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let march_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * march_month + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
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

/// Writes `2026-11-21` at `at`; years outside 0..=9999 as `+12026` or `-0044`.
#[inline]
pub(super) fn write_date(slot: &mut Slot, at: usize, days: i64) -> usize {
    let (year, month, day) = civil(days);
    let at = match u16::try_from(year) {
        Ok(year) if year <= 9_999 => {
            put_pair(slot, at, low_byte(i64::from(year / 100)));
            put_pair(slot, at + 2, low_byte(i64::from(year % 100)));
            at + 4
        }
        _ => write_far_year(slot, at, year),
    };
    put(slot, at, b'-');
    put_pair(slot, at + 1, month);
    put(slot, at + 3, b'-');
    put_pair(slot, at + 4, day);
    at + 6
}

#[cold]
fn write_far_year(slot: &mut Slot, at: usize, year: i64) -> usize {
    put(slot, at, if year < 0 { b'-' } else { b'+' });
    let digits = format!("{:04}", year.unsigned_abs());
    put_all(slot, at + 1, digits.as_bytes())
}

/// Writes `10:00:00.123` at `at`; `seconds` of the day and the fraction in the unit's digits.
#[inline]
pub(super) fn write_clock(
    slot: &mut Slot,
    at: usize,
    seconds: i64,
    fraction: i64,
    digits: usize,
) -> usize {
    put_pair(slot, at, low_byte(seconds / 3_600));
    put(slot, at + 2, b':');
    put_pair(slot, at + 3, low_byte(seconds / 60 % 60));
    put(slot, at + 5, b':');
    put_pair(slot, at + 6, low_byte(seconds % 60));
    if fraction == 0 { at + 8 } else { write_fraction(slot, at + 8, fraction, digits) }
}

/// Writes `.123`, `.123456` or `.123456789`; groups of zeros at the end are dropped.
#[inline]
pub(super) fn write_fraction(
    slot: &mut Slot,
    at: usize,
    mut fraction: i64,
    mut digits: usize,
) -> usize {
    while digits > 3 && fraction % 1_000 == 0 {
        fraction /= 1_000;
        digits -= 3;
    }
    put(slot, at, b'.');
    let mut group = at + 1 + digits;
    while group > at + 1 {
        let three = fraction % 1_000;
        fraction /= 1_000;
        group -= 3;
        put(slot, group, b'0' + low_byte(three / 100));
        put_pair(slot, group + 1, low_byte(three % 100));
    }
    at + 1 + digits
}

/// Text of a timestamp: the value counts `per_second` units since 1970-01-01T00:00:00.
#[inline]
pub(super) fn write_timestamp(slot: &mut Slot, value: i64, unit: TimeUnit, zoned: Zoned) -> usize {
    let (per_second, digits) = per_second(unit);
    let seconds = value.div_euclid(per_second);
    let fraction = value.rem_euclid(per_second);
    let at = write_date(slot, 0, seconds.div_euclid(DAY_SECONDS));
    put(slot, at, b'T');
    let at = write_clock(slot, at + 1, seconds.rem_euclid(DAY_SECONDS), fraction, digits);
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
#[inline]
pub(super) fn write_time(slot: &mut Slot, value: i64, unit: TimeUnit) -> usize {
    let (per_second, digits) = per_second(unit);
    let magnitude = value.unsigned_abs();
    let unit_count = per_second.unsigned_abs();
    let seconds = i64::try_from(magnitude / unit_count).unwrap_or(i64::MAX);
    let fraction = i64::try_from(magnitude % unit_count).unwrap_or(0);
    if value >= 0 && seconds < DAY_SECONDS {
        return write_clock(slot, 0, seconds, fraction, digits);
    }
    let sign = if value < 0 { "-" } else { "" };
    let text = format!("{sign}{:02}", seconds / 3_600);
    let at = put_all(slot, 0, text.as_bytes());
    // The hour pair of the clock is written first and then overwritten by the long hour.
    let mut clock: Slot = [0; SLOT];
    let length = write_clock(&mut clock, 0, seconds % 3_600, fraction, digits);
    put_all(slot, at, clock.get(2..length).unwrap_or_default())
}

/// ISO 8601 text of a duration: days, hours, minutes, seconds; zero is `PT0S`.
pub(super) fn write_duration(slot: &mut Slot, value: i64, unit: TimeUnit) -> usize {
    let (per_second, digits) = per_second(unit);
    let magnitude = value.unsigned_abs();
    let unit_count = per_second.unsigned_abs();
    let seconds = magnitude / unit_count;
    let fraction = i64::try_from(magnitude % unit_count).unwrap_or(0);
    let mut at = 0;
    if value < 0 {
        at = put_all(slot, at, b"-");
    }
    at = put_all(slot, at, b"P");
    let mut number = itoa::Buffer::new();
    let mut part = |slot: &mut Slot, at: usize, count: u64, letter: &[u8]| {
        let at = put_all(slot, at, number.format(count).as_bytes());
        put_all(slot, at, letter)
    };
    let day = DAY_SECONDS.unsigned_abs();
    if seconds >= day {
        at = part(slot, at, seconds / day, b"D");
    }
    let rest = seconds % day;
    if rest == 0 && fraction == 0 && seconds > 0 {
        return at;
    }
    at = put_all(slot, at, b"T");
    for (size, modulus, letter) in [(3_600, 24, b"H"), (60, 60, b"M")] {
        let count = rest / size % modulus;
        if count > 0 {
            at = part(slot, at, count, letter);
        }
    }
    if fraction == 0 && (!rest.is_multiple_of(60) || seconds == 0) {
        at = part(slot, at, rest % 60, b"S");
    } else if fraction != 0 {
        at = part(slot, at, rest % 60, b"");
        at = write_fraction(slot, at, fraction, digits);
        at = put_all(slot, at, b"S");
    }
    at
}

#[inline]
fn put(slot: &mut Slot, at: usize, byte: u8) {
    if let Some(place) = slot.get_mut(at) {
        *place = byte;
    }
}

#[inline]
fn put_pair(slot: &mut Slot, at: usize, value: u8) {
    let from = usize::from(value % 100) * 2;
    if let (Some(place), Some(pair)) = (slot.get_mut(at..at + 2), PAIRS.get(from..from + 2)) {
        place.copy_from_slice(pair);
    }
}

fn put_all(slot: &mut Slot, at: usize, text: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(value: i64, unit: TimeUnit, zoned: Zoned) -> String {
        let mut slot = [0; SLOT];
        let length = write_timestamp(&mut slot, value, unit, zoned);
        String::from_utf8(slot[..length].to_vec()).unwrap()
    }

    #[test]
    fn every_day_of_far_eras_reads_back() {
        for start in [-800_000, -720_000, -1, 0, 10_957, 2_932_000, 100_000_000_000] {
            for day in start..start + 1_500 {
                let (year, month, of_month) = civil(day);
                assert_eq!(days(year, month, of_month), Some(day));
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
    fn durations_and_odd_times_have_a_text() {
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
        let mut slot = [0; SLOT];
        let length = write_time(&mut slot, -1, TimeUnit::Second);
        assert_eq!(&slot[..length], b"-00:00:01");
        let length = write_time(&mut slot, 90_000, TimeUnit::Second);
        assert_eq!(&slot[..length], b"25:00:00");
        let length = write_time(&mut slot, 36_000_123, TimeUnit::Millisecond);
        assert_eq!(&slot[..length], b"10:00:00.123");
    }
}
