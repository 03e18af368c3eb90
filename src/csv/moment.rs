//! Text to dates, times of day, timestamps and durations.
//!
//! Nothing is guessed: days that do not exist, fractions finer than the column's unit and zones
//! where the column has none are refused.

use arrow::datatypes::TimeUnit;

use super::calendar::{self, DAY_SECONDS, Zoned};
use super::codes::{self, Refusal};

type Parsed<T> = Result<T, Refusal>;

fn wrong<T>(reason: &'static str) -> Parsed<T> {
    Err(Refusal::new(&codes::NOT_CONVERTIBLE, reason))
}

fn out_of_range() -> Refusal {
    Refusal::new(&codes::OUT_OF_RANGE, "beyond what the column's type can hold")
}

/// Parses `2026-11-21` into days since 1970-01-01.
pub(super) fn parse_date(text: &[u8]) -> Parsed<i64> {
    match date(text)? {
        (days, []) => Ok(days),
        _ => wrong("not a date like 2026-11-21"),
    }
}

/// Parses a date or a timestamp into milliseconds since 1970-01-01.
pub(super) fn parse_date64(text: &[u8]) -> Parsed<i64> {
    parse_timestamp(text, TimeUnit::Millisecond, Zoned::Naive)
}

/// Parses a time of day into units since midnight.
pub(super) fn parse_time(text: &[u8], unit: TimeUnit) -> Parsed<i64> {
    let (seconds, fraction, rest) = clock(text, unit)?;
    if !rest.is_empty() {
        return wrong("not a time like 10:00:00.123");
    }
    Ok(seconds * calendar::per_second(unit).0 + fraction)
}

/// Parses `2026-11-21T10:00:00.123456`, also with a space for the T or without the time.
///
/// A column of instants takes `Z` and offsets, and reads a text without a zone as UTC, as it
/// shows it; a naive column refuses zones.
#[inline]
pub(super) fn parse_timestamp(text: &[u8], unit: TimeUnit, zoned: Zoned) -> Parsed<i64> {
    let (days, rest) = date(text)?;
    let (per_second, _) = calendar::per_second(unit);
    let (seconds, fraction) = match rest {
        [] => (0, 0),
        [b'T' | b't' | b' ', rest @ ..] => {
            let (seconds, fraction, rest) = clock(rest, unit)?;
            let offset = match zoned {
                _ if rest.is_empty() => 0,
                Zoned::Utc => zone_offset(rest)?,
                Zoned::Naive => return wrong("the column has no time zone"),
            };
            (seconds - offset, fraction)
        }
        _ => return wrong("not a timestamp like 2026-11-21T10:00:00"),
    };
    let whole = i128::from(days) * i128::from(DAY_SECONDS) + i128::from(seconds);
    i64::try_from(whole * i128::from(per_second) + i128::from(fraction)).map_err(|_| out_of_range())
}

/// Whether a timestamp's text ends in a zone; only asked of texts that parse.
pub(super) fn has_zone(text: &[u8]) -> bool {
    let clock = text.iter().position(|byte| matches!(byte, b'T' | b't' | b' '));
    clock
        .and_then(|at| text.get(at + 1..))
        .is_some_and(|clock| clock.iter().any(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-')))
}

/// Parses an ISO 8601 duration of weeks, days, hours, minutes and seconds.
pub(super) fn parse_duration(text: &[u8], unit: TimeUnit) -> Parsed<i64> {
    const WRONG: &str = "not a duration like PT1M30.5S";
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let [b'P', rest @ ..] = rest else { return wrong(WRONG) };
    let (per_second, _) = calendar::per_second(unit);
    let (mut rest, mut total, mut letters) = (rest, 0_i128, &b"WDTHMS"[..]);
    let mut parts = 0;
    while !rest.is_empty() {
        if let [b'T', behind @ ..] = rest {
            let Some(at) = letters.iter().position(|letter| *letter == b'T') else {
                return wrong(WRONG);
            };
            letters = letters.get(at + 1..).unwrap_or_default();
            rest = behind;
            parts = 0;
            continue;
        }
        let (count, behind) =
            digits(rest).ok_or_else(|| Refusal::new(&codes::NOT_CONVERTIBLE, WRONG))?;
        let (fraction, behind) = fraction(behind, unit)?;
        let [letter, behind @ ..] = behind else { return wrong(WRONG) };
        let Some(at) = letters.iter().position(|allowed| allowed == letter && *letter != b'T')
        else {
            return wrong(WRONG);
        };
        let passes_t = letters.iter().position(|allowed| *allowed == b'T').is_some_and(|t| at > t);
        if passes_t || (fraction.is_some() && *letter != b'S') {
            return wrong(WRONG);
        }
        let size: i128 = match letter {
            b'W' => 604_800,
            b'D' => 86_400,
            b'H' => 3_600,
            b'M' => 60,
            _ => 1,
        };
        total += i128::from(count) * size * i128::from(per_second);
        total += i128::from(fraction.unwrap_or(0));
        letters = letters.get(at + 1..).unwrap_or_default();
        rest = behind;
        parts += 1;
    }
    if parts == 0 {
        return wrong(WRONG);
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| out_of_range())
}

/// Reads a date, returns the days and what follows.
#[inline]
fn date(text: &[u8]) -> Parsed<(i64, &[u8])> {
    const WRONG: &str = "not a date like 2026-11-21";
    let (year, rest) = match text {
        [a, b, c, d, b'-', rest @ ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
            let year =
                [a, b, c, d].iter().fold(0, |year, byte| year * 10 + i64::from(**byte - b'0'));
            (year, rest)
        }
        [sign @ (b'+' | b'-'), far @ ..] => far_year(*sign, far).unwrap_or((0, &[])),
        _ => return wrong(WRONG),
    };
    let [m1, m2, b'-', d1, d2, rest @ ..] = rest else { return wrong(WRONG) };
    let (Some(month), Some(day)) = (pair(*m1, *m2), pair(*d1, *d2)) else { return wrong(WRONG) };
    match calendar::days(year, month, day) {
        Some(days) => Ok((days, rest)),
        None => wrong("there is no such day"),
    }
}

fn far_year(sign: u8, text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = digits(text)?;
    let written = text.len() - rest.len();
    let [b'-', rest @ ..] = rest else { return None };
    let year = i64::try_from(year).ok()?;
    let year = if sign == b'-' { -year } else { year };
    // Far beyond any arrow type, and small enough for the arithmetic of days.
    ((4..=12).contains(&written)).then_some((year, rest))
}

/// Reads a time of day, returns its seconds, the fraction in units and what follows.
#[inline]
fn clock(text: &[u8], unit: TimeUnit) -> Parsed<(i64, i64, &[u8])> {
    const WRONG: &str = "not a time like 10:00:00.123";
    let [h1, h2, b':', m1, m2, rest @ ..] = text else { return wrong(WRONG) };
    let (second, rest) = match rest {
        [b':', s1, s2, rest @ ..] => (pair(*s1, *s2), rest),
        rest => (Some(0), rest),
    };
    let (Some(hour), Some(minute), Some(second)) = (pair(*h1, *h2), pair(*m1, *m2), second) else {
        return wrong(WRONG);
    };
    if hour > 23 || minute > 59 || second > 59 {
        return wrong("there is no such time of day");
    }
    let (fraction, rest) = fraction(rest, unit)?;
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Ok((seconds, fraction.unwrap_or(0), rest))
}

/// Reads `.123` if it follows, in units; digits beyond the unit must be zeros.
#[inline]
fn fraction(text: &[u8], unit: TimeUnit) -> Parsed<(Option<i64>, &[u8])> {
    let [b'.', rest @ ..] = text else { return Ok((None, text)) };
    let (per_second, _) = calendar::per_second(unit);
    let (mut value, mut worth) = (0_i64, per_second);
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(length);
    if digits.is_empty() {
        return wrong("digits are missing behind the point");
    }
    for digit in digits {
        worth /= 10;
        value += i64::from(digit - b'0') * worth;
        if worth == 0 && *digit != b'0' {
            return Err(Refusal::new(&codes::INEXACT, "finer than the unit of the column"));
        }
    }
    Ok((Some(value), rest))
}

/// Seconds east of UTC of `Z`, `+02:00`, `+0200` or `+02`.
fn zone_offset(text: &[u8]) -> Parsed<i64> {
    let (sign, hours, minutes) = match text {
        [b'Z' | b'z'] => return Ok(0),
        [sign @ (b'+' | b'-'), h1, h2] => (*sign, pair(*h1, *h2), Some(0)),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            (*sign, pair(*h1, *h2), pair(*m1, *m2))
        }
        _ => return wrong("not a time zone like Z or +02:00"),
    };
    match (hours, minutes) {
        (Some(hours @ ..=23), Some(minutes @ ..=59)) => {
            let seconds = i64::from(hours) * 3_600 + i64::from(minutes) * 60;
            Ok(if sign == b'-' { -seconds } else { seconds })
        }
        _ => wrong("there is no such time zone"),
    }
}

#[inline]
fn pair(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    // Not `then_some`: of other bytes the product overflows.
    (tens <= 9 && ones <= 9).then(|| tens * 10 + ones)
}

/// Reads 1 to 18 digits.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 || length > 18 {
        return None;
    }
    let (digits, rest) = text.split_at(length);
    Some((digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn timestamp(text: &str, zoned: Zoned) -> Result<i64, &'static str> {
        parse_timestamp(text.as_bytes(), TimeUnit::Microsecond, zoned)
            .map_err(|refusal| refusal.code.id)
    }

    /// Found by fuzzing: the two digits were multiplied before they were known to be digits, which
    /// ended a build with overflow checks.
    #[test]
    fn letters_in_the_place_of_digits_are_refused() {
        for text in ["2026-11-21Txx:yy:zz", "2026-11-21T10:00:\u{fa}0Z", "2026-ab-cdT10:00:00"] {
            assert_eq!(timestamp(text, Zoned::Naive), Err("MNT-1203"), "{text}");
            assert_eq!(timestamp(text, Zoned::Utc), Err("MNT-1203"), "{text}");
        }
    }

    #[test]
    fn timestamps_are_taken_in_the_usual_forms() {
        let ten = Ok(1_795_255_200_000_000);
        for text in [
            "2026-11-21T10:00:00",
            "2026-11-21 10:00:00",
            "2026-11-21 10:00",
            "2026-11-21t10:00:00.000000000",
        ] {
            assert_eq!(timestamp(text, Zoned::Naive), ten, "{text}");
        }
        for text in [
            "2026-11-21T10:00:00Z",
            "2026-11-21 12:00:00+02:00",
            "2026-11-21T05:00:00-0500",
            "2026-11-21T10:00+00",
            "2026-11-21T10:00:00",
        ] {
            assert_eq!(timestamp(text, Zoned::Utc), ten, "{text}");
        }
        assert_eq!(timestamp("1970-01-02", Zoned::Naive), Ok(86_400_000_000));
    }

    #[test]
    fn what_does_not_exist_or_would_be_lost_is_refused() {
        for (text, code) in [
            ("2026-02-29", "MNT-1203"),
            ("2026-11-21T24:00:00", "MNT-1203"),
            ("2026-11-21T10:00:00Z", "MNT-1203"),
            ("2026-11-21T10:00:00.1234567", "MNT-1211"),
            ("2026-11-21T10:00:00.", "MNT-1203"),
            ("2026-11-21x", "MNT-1203"),
            ("21.11.2026", "MNT-1203"),
            ("+999999999-01-01", "MNT-1204"),
            ("+999999999999-01-01", "MNT-1204"),
            ("-999999999999-12-31T23:59:59", "MNT-1204"),
            ("+9999999999999-01-01", "MNT-1203"),
            ("", "MNT-1203"),
        ] {
            assert_eq!(timestamp(text, Zoned::Naive), Err(code), "{text}");
        }
        assert_eq!(timestamp("2026-11-21T10:00:00+25:00", Zoned::Utc), Err("MNT-1203"));
    }

    #[test]
    fn durations_read_back() {
        for unit in
            [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]
        {
            for value in [0, 1, -1, 59, 60, 3_600, 86_399, 86_400, 93_600_500, i64::MAX, i64::MIN] {
                let mut slot = [0; calendar::SLOT];
                let length = super::super::duration::write_duration(&mut slot, value, unit);
                let text = String::from_utf8(slot[..length].to_vec()).unwrap();
                assert_eq!(parse_duration(text.as_bytes(), unit).unwrap(), value, "{text}");
            }
        }
        for text in
            ["", "P", "PT", "P1", "1D", "P1DT", "P1H", "PT1D", "PT1.5M", "PT1S1M", "P1M", "P1D1D"]
        {
            assert!(parse_duration(text.as_bytes(), TimeUnit::Second).is_err(), "{text}");
        }
        assert_eq!(parse_duration(b"P1W", TimeUnit::Second).unwrap(), 604_800);
    }

    #[test]
    fn zone_is_seen_only_behind_the_clock() {
        assert!(has_zone(b"2026-11-21T10:00:00Z"));
        assert!(has_zone(b"2026-11-21 10:00:00-05"));
        assert!(!has_zone(b"2026-11-21T10:00:00"));
        assert!(!has_zone(b"2026-11-21"));
    }
}
