//! Integers and floats: values to text and text to values.
//!
//! Integers also come as `1e3` or `5.0`: their value is worked out exactly, never through a float.

use super::calendar::Slot;
use super::codes::{self, Refusal};

/// Writes an integer, returns the length.
#[inline]
pub(super) fn write_integer<I: itoa::Integer>(slot: &mut Slot, value: I) -> usize {
    let mut buffer = itoa::Buffer::new();
    fill(slot, buffer.format(value).as_bytes())
}

/// Powers of ten; of 0 stands 0, so that zero has one digit.
const POWERS: [u64; 20] = {
    let mut powers = [0; 20];
    let (mut index, mut power) = (1, 10);
    while index < 20 {
        powers[index] = power;
        power = if index < 19 { power * 10 } else { power };
        index += 1;
    }
    powers
};

/// Decimal digits of a number, plus one if it is negative.
#[inline]
pub(super) fn integer_length(magnitude: u64, negative: bool) -> u64 {
    // By the binary digits, of which the guess may be one too large.
    let bits = 64 - (magnitude | 1).leading_zeros();
    let guess = (bits * 1_233) >> 12;
    let power = POWERS.get(guess as usize).copied().unwrap_or(u64::MAX);
    u64::from(guess) + u64::from(magnitude >= power) + u64::from(negative)
}

/// Writes the shortest text that reads back as the same float; integral values keep `.0`.
#[inline]
pub(super) fn write_float<F: zmij::Float>(slot: &mut Slot, value: F) -> usize {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format(value).as_bytes();
    // Two or three digits follow the sign of an exponent.
    let sign = match text {
        [.., b'+', _, _] => Some(text.len() - 3),
        [.., b'+', _, _, _] => Some(text.len() - 4),
        _ => None,
    };
    match sign {
        None => fill(slot, text),
        // `1e+300`: the sign says nothing, and the text would not be the shortest.
        Some(sign) => {
            let (mantissa, exponent) = text.split_at(sign);
            let written = fill(slot, mantissa);
            let rest = slot.get_mut(written..).unwrap_or_default();
            let exponent = exponent.get(1..).unwrap_or_default();
            match rest.get_mut(..exponent.len()) {
                Some(place) => {
                    place.copy_from_slice(exponent);
                    written + exponent.len()
                }
                None => 0,
            }
        }
    }
}

/// Bytes that `write_float` writes for a double of few digits; nothing for others.
///
/// A decimal of at most 15 digits is the only one of so few digits that reads back as its double:
/// if the value has one, that is its shortest text but for zeros at the end.
#[inline]
pub(super) fn short_float_length(value: f64) -> Option<u64> {
    /// Adding it rounds to whole numbers.
    const ROUND: f64 = 4_503_599_627_370_496.0;
    let magnitude = value.abs();
    let scaled = magnitude * 10_000.0;
    if scaled.is_nan() || scaled >= 1e15 {
        return None;
    }
    let whole = (scaled + ROUND) - ROUND;
    #[expect(clippy::float_cmp, reason = "exactly the same number is meant")]
    if whole / 10_000.0 != magnitude {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 10^15")]
    let whole = whole as u64;
    let fraction = whole % 10_000;
    let zeros = u64::from(fraction.is_multiple_of(10))
        + u64::from(fraction.is_multiple_of(100))
        + u64::from(fraction.is_multiple_of(1_000));
    Some(integer_length(whole / 10_000, value.is_sign_negative()) + 5 - zeros)
}

/// Bytes that `write_float` writes for a single of few digits; nothing for others.
///
/// Looks for the fewest decimals of which the nearest number is within half a unit of the last
/// binary digit, and does not decide what is close to the edge of that.
#[inline]
pub(super) fn short_single_length(value: f32) -> Option<u64> {
    /// From here on not every whole number is a single.
    const EXACT_MAX: f64 = 16_777_216.0;
    const ROUND: f64 = 4_503_599_627_370_496.0;
    const TENS: [f64; 5] = [1e0, 1e1, 1e2, 1e3, 1e4];
    let magnitude = f64::from(value.abs());
    if magnitude == 0.0 {
        return Some(3 + u64::from(value.is_sign_negative()));
    }
    let half_unit = f64::from_bits((magnitude.to_bits() >> 52).saturating_sub(24) << 52);
    // Below a power of two the unit is half of that above.
    let even = value.to_bits().trailing_zeros() >= 23;
    let certain = half_unit * if even { 0.499_999 } else { 0.999_999 };
    if magnitude.is_nan() || magnitude >= EXACT_MAX {
        return None;
    }
    for (decimals, scale) in (1_u64..).zip(TENS) {
        let scaled = magnitude * scale;
        let whole = (scaled + ROUND) - ROUND;
        let off = (whole - scaled).abs();
        if off < certain * scale {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "< 2^24")]
            let before = (whole / scale) as u64;
            let behind = (decimals - 1).max(1);
            return Some(integer_length(before, value.is_sign_negative()) + 1 + behind);
        }
        if off < half_unit * 1.000_001 * scale {
            return None;
        }
    }
    None
}

/// Copies a short text; by two overlapping copies of fixed size where a call of memcpy would cost
/// more than the copy.
#[inline]
fn fill(slot: &mut Slot, text: &[u8]) -> usize {
    let length = text.len();
    if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        if length > 16 {
            fill_long(slot, text);
        } else {
            if let Some(place) = slot.first_chunk_mut::<8>() {
                *place = *head;
            }
            if let Some(place) = slot.get_mut(length - 8..length) {
                place.copy_from_slice(tail);
            }
        }
    } else {
        for (place, byte) in slot.iter_mut().zip(text) {
            *place = *byte;
        }
    }
    length.min(slot.len())
}

#[inline]
fn fill_long(slot: &mut Slot, text: &[u8]) {
    let length = text.len();
    if let (Some(head), Some(tail)) = (text.first_chunk::<16>(), text.last_chunk::<16>())
        && let Some(place) = slot.get_mut(..length)
    {
        if let Some(place) = place.first_chunk_mut::<16>() {
            *place = *head;
        }
        if let Some(place) = place.last_chunk_mut::<16>() {
            *place = *tail;
        }
    }
}

/// Integer types of arrow.
pub(super) trait Integer: Sized {
    fn from_wide(value: i128) -> Option<Self>;
    /// The range in words, for refusals.
    const RANGE: &'static str;
}

macro_rules! integers {
    ($($native:ty, $range:literal;)*) => {$(
        impl Integer for $native {
            #[inline]
            fn from_wide(value: i128) -> Option<Self> { Self::try_from(value).ok() }
            const RANGE: &'static str = $range;
        }
    )*};
}

integers! {
    i8, "-128 to 127";
    i16, "-32768 to 32767";
    i32, "-2147483648 to 2147483647";
    i64, "-9223372036854775808 to 9223372036854775807";
    u8, "0 to 255";
    u16, "0 to 65535";
    u32, "0 to 4294967295";
    u64, "0 to 18446744073709551615";
}

/// Parses an integer: decimal digits with an optional sign; `1e3` and `5.0` where integral.
#[inline]
pub(super) fn parse_integer<I: Integer>(text: &[u8]) -> Result<I, Refusal> {
    match parse_plain(text) {
        Some(value) => in_range(i128::from(value)),
        None => parse_unusual(text),
    }
}

/// Up to 18 digits with an optional minus sign, which cannot overflow.
#[inline]
fn parse_plain(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

fn in_range<I: Integer>(value: i128) -> Result<I, Refusal> {
    I::from_wide(value).ok_or_else(|| {
        Refusal::new(&codes::OUT_OF_RANGE, format!("the column holds integers from {}", I::RANGE))
    })
}

#[cold]
fn parse_unusual<I: Integer>(text: &[u8]) -> Result<I, Refusal> {
    let number = Decimal::parse(text)
        .ok_or_else(|| Refusal::new(&codes::NOT_CONVERTIBLE, "not an integer"))?;
    match number.scaled(0) {
        Scaled::Exact(value) => in_range(value),
        Scaled::Inexact => Err(Refusal::new(&codes::INEXACT, "not a whole number")),
        Scaled::TooLarge => Err(Refusal::new(
            &codes::OUT_OF_RANGE,
            format!("the column holds integers from {}", I::RANGE),
        )),
    }
}

/// A decimal number as written: digits without leading and trailing zeros, and their exponent.
#[derive(Debug)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    pub(super) digits: Vec<u8>,
    /// Power of ten of the last digit.
    pub(super) exponent: i64,
}

/// A decimal number times a power of ten.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scaled {
    Exact(i128),
    /// Digits would be lost.
    Inexact,
    /// More than 38 digits.
    TooLarge,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]` with at least one digit before the exponent.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (mantissa, written) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (rest.get(..at)?, parse_exponent(rest.get(at + 1..)?)?),
            None => (rest, 0),
        };
        let mut digits = Vec::with_capacity(mantissa.len());
        let mut fraction = None;
        for byte in mantissa {
            match byte {
                b'0'..=b'9' => digits.push(*byte),
                b'.' if fraction.is_none() => fraction = Some(digits.len()),
                _ => return None,
            }
        }
        if digits.is_empty() {
            return None;
        }
        let behind_point = digits.len() - fraction.unwrap_or(digits.len());
        let mut exponent = written.checked_sub(i64::try_from(behind_point).ok()?)?;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.checked_add(1)?;
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        Some(Self { negative, digits, exponent })
    }

    /// The number times ten to the power of `scale`, if that is a whole number of 38 digits.
    pub(super) fn scaled(&self, scale: i8) -> Scaled {
        if self.digits.is_empty() {
            return Scaled::Exact(0);
        }
        let zeros = self.exponent.saturating_add(i64::from(scale));
        let Ok(zeros) = usize::try_from(zeros) else { return Scaled::Inexact };
        if self.digits.len().saturating_add(zeros) > 38 {
            return Scaled::TooLarge;
        }
        let mut value = 0_i128;
        for digit in self.digits.iter().chain(std::iter::repeat_n(&b'0', zeros)) {
            value = value * 10 + i128::from(digit - b'0');
        }
        Scaled::Exact(if self.negative { -value } else { value })
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Longer exponents only matter when every digit before them is zero; 18 nines stand for them.
    let value = parse_plain(digits).unwrap_or(999_999_999_999_999_999);
    Some(if negative { -value } else { value })
}

/// Parses a double: as [`parse_float`], by a shorter way for decimals of few digits.
#[inline]
pub(super) fn parse_double(text: &[u8]) -> Result<f64, Refusal> {
    match parse_few_digits(text) {
        Some(value) => Ok(value),
        None => parse_float(text),
    }
}

/// Up to 15 digits with an optional minus sign and point. A float holds their number and the
/// power of ten below it exactly, so that one division rounds once, and to the nearest.
#[inline]
fn parse_few_digits(text: &[u8]) -> Option<f64> {
    const TENS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if rest.len() > 16 {
        return None;
    }
    let (mut mantissa, mut digits, mut point) = (0_u64, 0_usize, None);
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
            digits += 1;
        } else if *byte == b'.' && point.is_none() {
            point = Some(digits);
        } else {
            return None;
        }
    }
    if !(1..=15).contains(&digits) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "15 digits are exact")]
    let value = mantissa as f64 / TENS.get(digits - point.unwrap_or(digits))?;
    Some(if negative { -value } else { value })
}

/// Parses a float; infinities only where they are spelled out.
#[inline]
pub(super) fn parse_float<F>(text: &[u8]) -> Result<F, Refusal>
where
    F: std::str::FromStr + Copy,
    f64: From<F>,
{
    let value = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<F>().ok())
        .ok_or_else(|| Refusal::new(&codes::NOT_CONVERTIBLE, "not a number"))?;
    if f64::from(value).is_infinite() && text.iter().any(u8::is_ascii_digit) {
        return Err(Refusal::new(&codes::OUT_OF_RANGE, "larger than this float type can hold"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float<F: zmij::Float>(value: F) -> String {
        let mut slot = [0; super::super::calendar::SLOT];
        let length = write_float(&mut slot, value);
        String::from_utf8(slot[..length].to_vec()).unwrap()
    }

    #[test]
    fn floats_are_shortest_and_integral_ones_keep_a_fraction() {
        assert_eq!(float(1.0_f64), "1.0");
        assert_eq!(float(-0.0_f64), "-0.0");
        assert_eq!(float(0.1_f32), "0.1");
        assert_eq!(float(f64::NAN), "NaN");
        assert_eq!(float(f64::INFINITY), "inf");
        assert_eq!(float(f64::NEG_INFINITY), "-inf");
        assert_eq!(float(123_456_789.0_f64), "123456789.0");
        for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e16, 1e23, 0.3] {
            assert_eq!(
                parse_float::<f64>(float(value).as_bytes()).unwrap().to_bits(),
                value.to_bits()
            );
        }
    }

    #[test]
    fn integers_are_exact_in_any_notation() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("007", 7),
            ("+5", 5),
            ("1e3", 1_000),
            ("1.5E1", 15),
            ("5.0", 5),
            ("100e-2", 1),
            ("0e99999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807.000", i64::MAX),
        ] {
            assert_eq!(parse_integer::<i64>(text.as_bytes()).unwrap(), value, "{text}");
        }
        for (text, code) in [
            ("", "MNT-1203"),
            ("-", "MNT-1203"),
            ("1,5", "MNT-1203"),
            ("1.5", "MNT-1211"),
            ("1e-1", "MNT-1211"),
            ("9223372036854775808", "MNT-1204"),
            ("1e99", "MNT-1204"),
            ("1e99999999999999999999", "MNT-1204"),
            ("0x10", "MNT-1203"),
            (".", "MNT-1203"),
            ("1e", "MNT-1203"),
        ] {
            assert_eq!(parse_integer::<i64>(text.as_bytes()).unwrap_err().code.id, code, "{text}");
        }
        assert_eq!(parse_integer::<u8>(b"256").unwrap_err().code.id, "MNT-1204");
        assert_eq!(parse_integer::<u64>(b"18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(parse_integer::<u64>(b"-1").unwrap_err().code.id, "MNT-1204");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_short_way_reads_the_same_doubles(
            text in "-?[0-9]{0,16}\\.?[0-9]{0,16}",
            digits in "-?[0-9]{1,9}\\.[0-9]{1,6}",
        ) {
            for text in [text, digits] {
                let short = parse_double(text.as_bytes()).map(f64::to_bits).ok();
                prop_assert_eq!(short, text.parse::<f64>().map(f64::to_bits).ok(), "{}", text);
            }
        }
    }

    #[test]
    fn float_overflow_is_refused_and_infinity_is_not() {
        assert_eq!(parse_float::<f64>(b"1e999").unwrap_err().code.id, "MNT-1204");
        assert_eq!(parse_float::<f32>(b"1e39").unwrap_err().code.id, "MNT-1204");
        assert!(parse_float::<f64>(b"-inf").unwrap().is_infinite());
        assert!(parse_float::<f64>(b"NaN").unwrap().is_nan());
        assert_eq!(parse_float::<f64>(b"1e3").unwrap().to_bits(), 1_000.0_f64.to_bits());
    }
}
