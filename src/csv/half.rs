//! Half-precision floats: there are so few of them that their texts fit a table.

use std::sync::LazyLock;

use arrow::datatypes::{ArrowPrimitiveType, Float16Type};

use super::calendar::{SLOT, Slot};
use super::number;

/// A half-precision float.
pub(super) type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// Bytes of an entry: a text, and in the last byte its length.
const ENTRY: usize = 16;
const SIGN: u16 = 1 << 15;

/// The text of every half without a sign, by its bits; half a megabyte, made when first needed.
static TEXTS: LazyLock<Vec<[u8; ENTRY]>> = LazyLock::new(|| (0..SIGN).map(entry).collect());

fn entry(bits: u16) -> [u8; ENTRY] {
    let half = Half::from_bits(bits);
    let mut slot: Slot = [0; SLOT];
    let length =
        write_shortest(&mut slot, half.to_f32(), |near| Half::from_f32(near).to_bits() == bits);
    let mut entry = [0; ENTRY];
    let [text @ .., last] = &mut entry;
    if let (Some(text), Some(written)) = (text.get_mut(..length), slot.get(..length)) {
        text.copy_from_slice(written);
        *last = u8::try_from(length).unwrap_or(0);
    }
    entry
}

/// The text of a half and its length.
#[inline]
fn look_up(value: Half) -> ([u8; ENTRY], bool, usize) {
    let bits = value.to_bits();
    let entry = TEXTS.get(usize::from(bits & !SIGN)).copied().unwrap_or_default();
    let [.., length] = entry;
    // What is no number has no sign.
    (entry, bits & SIGN != 0 && !value.is_nan(), usize::from(length))
}

/// Writes the shortest text that reads back as the same half, returns the length.
#[inline]
pub(super) fn write_half(slot: &mut Slot, value: Half) -> usize {
    let (text, negative, length) = look_up(value);
    let at = usize::from(negative);
    slot[0] = b'-';
    if let Some(place) = slot.get_mut(at..at + ENTRY) {
        place.copy_from_slice(&text);
    }
    at + length
}

/// Bytes that `write_half` writes.
#[inline]
pub(super) fn half_length(value: Half) -> u64 {
    let (_, negative, length) = look_up(value);
    u64::try_from(length).unwrap_or(0) + u64::from(negative)
}

/// Writes a half-precision float given as the single-precision float of the same value.
///
/// Tries one to five significant digits; `reads_back` tells whether the single-precision float
/// of such a text becomes the same half-precision float again. A half has 11 binary digits, so
/// that a double holds it times the powers of ten that are needed without rounding.
fn write_shortest(slot: &mut Slot, value: f32, reads_back: impl Fn(f32) -> bool) -> usize {
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
                return number::write_float(slot, near);
            }
        }
    }
    number::write_float(slot, value)
}

/// Powers of ten from the smallest half-precision float to the largest.
const HALF_POWERS: [f64; 13] =
    [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4];
/// How many of them are at most 1.
const HALF_ZEROS: usize = 9;
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_as_short_as_printing_all_digits_finds_it() {
        for bits in 0..=u16::MAX {
            let half = Half::from_bits(bits);
            let (value, back) = (f32::from(half), |near: f32| Half::from_f32(near) == half);
            let shortest = (0..5_usize).find_map(|digits| {
                let near = format!("{value:.digits$e}").parse::<f32>().unwrap();
                back(near).then_some(near)
            });
            let mut slot = [0; SLOT];
            let length = write_half(&mut slot, half);
            assert_eq!(half_length(half), u64::try_from(length).unwrap());
            let mut expected = [0; SLOT];
            let long = number::write_float(&mut expected, shortest.unwrap_or(value));
            assert_eq!(slot[..length], expected[..long], "{bits:04x}");
        }
    }
}
