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

/// Decimal digits of a number, plus one if it is negative.
#[inline]
pub(super) fn integer_length(magnitude: u64, negative: bool) -> u64 {
    let digits = magnitude.checked_ilog10().unwrap_or(0) + 1;
    u64::from(digits) + u64::from(negative)
}

/// Writes the shortest text that reads back as the same float; integral values keep `.0`.
#[inline]
pub(super) fn write_float<F: zmij::Float>(slot: &mut Slot, value: F) -> usize {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format(value).as_bytes();
    match memchr::memchr(b'+', text) {
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

/// Writes a half-precision float given as the single-precision float of the same value.
///
/// Tries one to five significant digits; `reads_back` tells whether the single-precision float
/// of such a text becomes the same half-precision float again. A half has 11 binary digits, so
/// that a double holds it times the powers of ten that are needed without rounding.
pub(super) fn write_half(slot: &mut Slot, value: f32, reads_back: impl Fn(f32) -> bool) -> usize {
    let exact = f64::from(value);
    if value.is_finite() && value != 0.0 {
        // Power of ten of the first digit, at most one off; it only says how many are tried.
        let first = HALF_POWERS.iter().take_while(|power| **power <= exact.abs()).count();
        for digits in 0..6_usize {
            let near = match (digits + HALF_ZEROS).checked_sub(first) {
                // Digits behind the point.
                Some(behind) => {
                    let scale = TENS.get(behind).copied().unwrap_or(1.0);
                    (exact * scale).round_ties_even() / scale
                }
                None => {
                    let zeros = first - digits - HALF_ZEROS;
                    let scale = TENS.get(zeros).copied().unwrap_or(1.0);
                    (exact / scale).round_ties_even() * scale
                }
            };
            #[allow(clippy::cast_possible_truncation, reason = "the nearest single is meant")]
            let near = near as f32;
            if near != 0.0 && reads_back(near) {
                return write_float(slot, near);
            }
        }
    }
    write_float(slot, value)
}

/// Powers of ten from the smallest half-precision float to the largest.
const HALF_POWERS: [f64; 13] =
    [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4];
/// How many of them are at most 1.
const HALF_ZEROS: usize = 9;
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

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
    fn every_half_is_as_short_as_printing_all_digits_finds_it() {
        use arrow::datatypes::{ArrowPrimitiveType, Float16Type};
        type Half = <Float16Type as ArrowPrimitiveType>::Native;
        for bits in 0..=u16::MAX {
            let half = Half::from_bits(bits);
            let (value, back) = (f32::from(half), |near: f32| Half::from_f32(near) == half);
            let shortest = (0..5_usize).find_map(|digits| {
                let near = format!("{value:.digits$e}").parse::<f32>().unwrap();
                back(near).then_some(near)
            });
            let mut slot = [0; super::super::calendar::SLOT];
            let length = write_half(&mut slot, value, back);
            let text = std::str::from_utf8(&slot[..length]).unwrap();
            assert_eq!(text, float(shortest.unwrap_or(value)), "{bits:04x}");
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

    #[test]
    fn float_overflow_is_refused_and_infinity_is_not() {
        assert_eq!(parse_float::<f64>(b"1e999").unwrap_err().code.id, "MNT-1204");
        assert_eq!(parse_float::<f32>(b"1e39").unwrap_err().code.id, "MNT-1204");
        assert!(parse_float::<f64>(b"-inf").unwrap().is_infinite());
        assert!(parse_float::<f64>(b"NaN").unwrap().is_nan());
        assert_eq!(parse_float::<f64>(b"1e3").unwrap().to_bits(), 1_000.0_f64.to_bits());
    }
}
