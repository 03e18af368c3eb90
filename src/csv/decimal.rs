//! Decimals: exact text with always `scale` digits behind the point.

use arrow::datatypes::i256;

use super::codes::{self, Refusal};
use super::number::{Decimal, Scaled, integer_length};

/// Appends the text of an unscaled value given as its digits with an optional minus sign.
pub(super) fn write_decimal(unscaled: &str, scale: i8, out: &mut Vec<u8>) {
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    out.extend_from_slice(sign.as_bytes());
    let Ok(behind) = usize::try_from(scale) else {
        out.extend_from_slice(digits.as_bytes());
        if digits != "0" {
            out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs())));
        }
        return;
    };
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(behind));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole.as_bytes() });
    if behind > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', behind - fraction.len()));
        out.extend_from_slice(fraction.as_bytes());
    }
}

/// Bytes that `write_decimal` writes for an unscaled value.
#[inline]
pub(super) fn length(unscaled: i128, scale: i8) -> u64 {
    let magnitude = unscaled.unsigned_abs();
    let digits = match u64::try_from(magnitude) {
        Ok(small) => integer_length(small, false),
        Err(_) => u64::from(magnitude.ilog10()) + 1,
    };
    with_point(digits, unscaled < 0, unscaled == 0, scale)
}

/// Bytes that `write_decimal` writes for a wide unscaled value.
#[inline]
pub(super) fn wide_length(unscaled: i256, scale: i8) -> u64 {
    match unscaled.to_i128() {
        Some(small) => length(small, scale),
        None => {
            let (negative, text) = (unscaled.is_negative(), unscaled.to_string().len());
            let digits = text - usize::from(negative);
            with_point(u64::try_from(digits).unwrap_or(u64::MAX), negative, false, scale)
        }
    }
}

#[inline]
fn with_point(digits: u64, negative: bool, zero: bool, scale: i8) -> u64 {
    let text = match u64::try_from(scale) {
        Ok(0) => digits,
        Ok(behind) => digits.saturating_sub(behind).max(1) + 1 + behind,
        // Zero stays one digit.
        Err(_) if zero => digits,
        Err(_) => digits + u64::from(scale.unsigned_abs()),
    };
    u64::from(negative) + text
}

/// Parses an exact decimal of at most 38 digits into its unscaled value.
pub(super) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Refusal> {
    let number = read(text)?;
    match number.scaled(scale) {
        Scaled::Exact(value) => {
            let digits = value.unsigned_abs().checked_ilog10().map_or(0, |power| power + 1);
            if digits > u32::from(precision) { Err(too_large(precision, scale)) } else { Ok(value) }
        }
        Scaled::Inexact => Err(inexact(scale)),
        Scaled::TooLarge => Err(too_large(precision, scale)),
    }
}

/// Parses an exact decimal of at most 76 digits into its unscaled value.
pub(super) fn parse_decimal256(text: &[u8], precision: u8, scale: i8) -> Result<i256, Refusal> {
    let number = read(text)?;
    if number.digits.is_empty() {
        return Ok(i256::ZERO);
    }
    let zeros = number.exponent.saturating_add(i64::from(scale));
    let zeros = usize::try_from(zeros).map_err(|_| inexact(scale))?;
    if number.digits.len().saturating_add(zeros) > usize::from(precision) {
        return Err(too_large(precision, scale));
    }
    let mut digits = String::with_capacity(number.digits.len() + zeros + 1);
    if number.negative {
        digits.push('-');
    }
    digits.extend(number.digits.iter().map(|digit| char::from(*digit)));
    digits.extend(std::iter::repeat_n('0', zeros));
    i256::from_string(&digits).ok_or_else(|| too_large(precision, scale))
}

fn read(text: &[u8]) -> Result<Decimal, Refusal> {
    Decimal::parse(text).ok_or_else(|| Refusal::new(&codes::NOT_CONVERTIBLE, "not a number"))
}

fn inexact(scale: i8) -> Refusal {
    Refusal::new(&codes::INEXACT, format!("the column keeps {scale} digits behind the point"))
}

fn too_large(precision: u8, scale: i8) -> Refusal {
    let reason = format!("the column holds {precision} digits, {scale} of them behind the point");
    Refusal::new(&codes::OUT_OF_RANGE, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_always_has_the_digits_of_the_scale() {
        let check = |unscaled: &str, scale, expected: &str| {
            let mut out = Vec::new();
            write_decimal(unscaled, scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(
                parse_decimal(expected.as_bytes(), 38, scale).unwrap(),
                unscaled.parse::<i128>().unwrap()
            );
            let wide = parse_decimal256(expected.as_bytes(), 76, scale).unwrap();
            assert_eq!(wide.to_string(), unscaled);
        };
        check("0", 2, "0.00");
        check("5", 2, "0.05");
        check("-5", 2, "-0.05");
        check("12345", 2, "123.45");
        check("12345", 0, "12345");
        check("12", -3, "12000");
        check("0", -3, "0");
        check(
            "99999999999999999999999999999999999999",
            38,
            "0.99999999999999999999999999999999999999",
        );
    }

    #[test]
    fn digits_that_would_be_lost_are_refused() {
        assert_eq!(parse_decimal(b"1.5", 5, 2).unwrap(), 150);
        assert_eq!(parse_decimal(b"1.500", 5, 2).unwrap(), 150);
        assert_eq!(parse_decimal(b"15e-1", 5, 2).unwrap(), 150);
        assert_eq!(parse_decimal(b"1.505", 5, 2).unwrap_err().code.id, "MNT-1211");
        assert_eq!(parse_decimal(b"1000", 5, 2).unwrap_err().code.id, "MNT-1204");
        assert_eq!(parse_decimal(b"1234", 5, -3).unwrap_err().code.id, "MNT-1211");
        assert_eq!(parse_decimal(b"", 5, 2).unwrap_err().code.id, "MNT-1203");
    }
}
