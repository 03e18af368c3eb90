//! Finds the type of each column from all of its values.
//!
//! A value counts as a number only if its text is that number's own: no leading zeros, no plus
//! sign, nothing that would be lost. So `007`, `+49` and 20-digit identifiers stay text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::csv::FieldSplitter;
use crate::error::{Error, Result};
use crate::ingest::convert::{parse_date, parse_timestamp};
use crate::ingest::{CellKind, Record, shown};

const INTEGER: u8 = 1;
const FLOAT: u8 = 2;
const BOOLEAN: u8 = 4;
const DATE: u8 = 8;
const LOCAL_TIME: u8 = 16;
const ZONED_TIME: u8 = 32;
const ALL: u8 = 63;
/// Largest whole number up to which a float holds every one; a longer one is an identifier.
const FLOAT_INTEGER_MAX: u64 = 1 << 53;

/// What is known about one column.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Types that fit every value so far.
    fits: u8,
    /// Whether any value was seen.
    seen: bool,
    /// Whether a finite number was seen (`NaN` alone does not make a column of numbers).
    number: bool,
}

impl Default for Column {
    fn default() -> Self {
        Self { fits: ALL, seen: false, number: false }
    }
}

impl Column {
    fn observe(&mut self, text: &str, kind: CellKind) {
        // An empty quoted cell fits every column: programs that quote everything write NULL so.
        if kind == CellKind::Null || (kind == CellKind::Quoted && text.is_empty()) {
            return;
        }
        self.seen = true;
        if self.fits == 0 {
            return;
        }
        let text = text.trim_matches(' ');
        let mut fits = 0;
        if kind != CellKind::Text {
            let (numeric, finite) = number(text, self.fits);
            fits |= numeric;
            self.number |= finite;
            if self.fits & BOOLEAN != 0 && is_boolean(text) {
                fits |= BOOLEAN;
            }
        }
        if self.fits & (DATE | LOCAL_TIME | ZONED_TIME) != 0 {
            fits |= temporal(text);
        }
        self.fits &= fits;
    }

    /// [`Self::observe`] for a cell whose kind follows from the text before it: a column of which
    /// all cells were numbers, or times, is looked at by bytes.
    fn observe_plainly(&mut self, text: &[u8]) -> bool {
        const NUMBERS: u8 = INTEGER | FLOAT;
        let fits = match self.fits {
            wanted if wanted & !NUMBERS == 0 => plain_number(text),
            LOCAL_TIME if is_plain_time(text) => LOCAL_TIME,
            _ => 0,
        };
        // A text that is neither is not decided here.
        if fits == 0 || self.fits == 0 {
            return false;
        }
        self.seen = true;
        self.number |= fits & NUMBERS != 0;
        self.fits &= fits;
        true
    }

    fn data_type(self) -> DataType {
        let fits = |flag: u8| self.seen && self.fits & flag != 0;
        if fits(BOOLEAN) {
            DataType::Boolean
        } else if fits(INTEGER) {
            DataType::Int64
        } else if fits(FLOAT) && self.number {
            DataType::Float64
        } else if fits(DATE) {
            DataType::Date32
        } else if fits(LOCAL_TIME) {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        } else if fits(ZONED_TIME) {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        } else {
            DataType::Utf8
        }
    }
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

/// Which numbers the text is, and whether it is a finite one.
fn number(text: &str, wanted: u8) -> (u8, bool) {
    if wanted & (INTEGER | FLOAT) == 0 {
        return (0, false);
    }
    if matches!(text, "NaN" | "inf" | "-inf") {
        return (FLOAT, false);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let leading_zero = whole > 1 && digits.starts_with('0');
    if leading_zero || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return (0, false);
    }
    if whole == digits.len() {
        // Fewer digits than the largest whole number of which a float holds every smaller one.
        if (1..=15).contains(&whole) {
            return if text == "-0" { (0, false) } else { (INTEGER | FLOAT, true) };
        }
        let integer = text.parse::<i64>().ok().filter(|_| text != "-0");
        let exact = integer.is_some_and(|number| number.unsigned_abs() <= FLOAT_INTEGER_MAX);
        let flags = if integer.is_some() { INTEGER } else { 0 } | if exact { FLOAT } else { 0 };
        return (flags, flags != 0);
    }
    // Of a plain decimal of so few digits it is known that it is a number, and finite.
    let (_, behind) = digits.as_bytes().split_at(whole);
    if let [b'.', fraction @ ..] = behind
        && !fraction.is_empty()
        && digits.len() < 300
        && fraction.iter().all(u8::is_ascii_digit)
    {
        return (FLOAT, true);
    }
    let fits = text.parse::<f64>().is_ok_and(f64::is_finite);
    (if fits { FLOAT } else { 0 }, fits)
}

/// The same for decimals of few digits without an exponent; nothing for all other texts.
fn plain_number(text: &[u8]) -> u8 {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let leading_zero = whole > 1 && digits.first() == Some(&b'0');
    if leading_zero || !(1..=15).contains(&whole) {
        return 0;
    }
    match digits.get(whole..) {
        Some([]) if text != b"-0" => INTEGER | FLOAT,
        Some([b'.', fraction @ ..]) => {
            let plain = !fraction.is_empty() && fraction.len() < 256;
            if plain && fraction.iter().all(u8::is_ascii_digit) { FLOAT } else { 0 }
        }
        _ => 0,
    }
}

/// Whether the text is a time without zone, on a day that every month has; others may be too.
fn is_plain_time(text: &[u8]) -> bool {
    let Some((clock, fraction)) = text.split_first_chunk::<19>() else { return false };
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b' ', clock @ ..] = clock else {
        return false;
    };
    let [h1, h2, b':', n1, n2, b':', s1, s2] = clock else { return false };
    let pair = |tens: &u8, ones: &u8| match (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0')) {
        (tens @ 0..=9, ones @ 0..=9) => tens * 10 + ones,
        _ => u8::MAX,
    };
    let (century, year) = (pair(y1, y2), pair(y3, y4));
    let fraction = match fraction {
        [] => true,
        [b'.', digits @ ..] => {
            (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    fraction
        && (1..=99).contains(&century)
        && year <= 99
        && (1..=12).contains(&pair(m1, m2))
        && (1..=28).contains(&pair(d1, d2))
        && pair(h1, h2) <= 23
        && pair(n1, n2) <= 59
        && pair(s1, s2) <= 59
}

/// Which date or time the text is. A date among times is midnight.
fn temporal(text: &str) -> u8 {
    if parse_date(text).is_some() {
        return DATE | LOCAL_TIME;
    }
    match parse_timestamp(text) {
        // Finer than a microsecond would be cut off.
        Some(time) if time.nanos % 1_000 != 0 => 0,
        Some(time) if time.zoned => ZONED_TIME,
        Some(_) => LOCAL_TIME,
        None => 0,
    }
}

/// The types of all columns of a file.
#[derive(Debug, Default)]
pub(super) struct Inference {
    columns: Vec<Column>,
}

impl Inference {
    /// Takes one record into account.
    pub(super) fn observe(&mut self, names: &[String], record: &Record) {
        if self.columns.len() < names.len() {
            self.columns.resize(names.len(), Column::default());
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            let (text, kind) = record.cell(index);
            column.observe(text, kind);
        }
    }

    /// Takes whole records of comma-separated text into account, if all of them split plainly.
    ///
    /// Returns whether they did; those before one that does not may have been observed, which
    /// does no harm when all of them are observed again.
    pub(super) fn observe_text(
        &mut self,
        text: &[u8],
        width: usize,
        splitter: &mut FieldSplitter,
    ) -> bool {
        if self.columns.len() < width {
            self.columns.resize(width, Column::default());
        }
        let mut rest = text;
        while !rest.is_empty() {
            let Some(consumed) = splitter.split(rest, width) else { return false };
            for (index, column) in self.columns.iter_mut().enumerate() {
                if column.seen && column.fits == 0 {
                    continue;
                }
                for field in splitter.column(rest, index).flatten() {
                    if column.observe_plainly(&field.bytes) {
                        continue;
                    }
                    // The caller has checked the whole text.
                    let cell = std::str::from_utf8(&field.bytes).unwrap_or_default();
                    let kind = if field.quoted { CellKind::Quoted } else { CellKind::Plain };
                    column.observe(cell, kind);
                }
            }
            rest = rest.get(consumed..).unwrap_or_default();
        }
        true
    }

    /// Takes into account what another one has observed.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.columns.len() < other.columns.len() {
            self.columns.resize(other.columns.len(), Column::default());
        }
        for (column, other) in self.columns.iter_mut().zip(&other.columns) {
            column.fits &= other.fits;
            column.seen |= other.seen;
            column.number |= other.number;
        }
    }

    /// The columns; one without any value is text.
    pub(super) fn finish(mut self, names: &[String]) -> Result<SchemaRef> {
        self.columns.resize(names.len(), Column::default());
        let mut fields = Vec::with_capacity(names.len());
        for (name, column) in names.iter().zip(&self.columns) {
            check_name(name)?;
            fields.push(Field::new(name, column.data_type(), true));
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// Names that cannot be a column: empty, system columns (format spec section 6.2), line ends.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with("__") || name.contains(['\n', '\r', '\0']) {
        return Err(Error::invalid(
            "a column name is not empty, has no line end and does not begin with __",
        )
        .with("column", shown(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn looking_at_bytes_finds_what_looking_at_text_does(
            texts in prop::collection::vec(
                prop_oneof![
                    "-?[0-9]{0,17}(\\.[0-9]{0,3})?",
                    "-?(0|00|1e5|1.5e3|NaN|inf|true| 7|7 |\\.5|5\\.)",
                    "20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9](:[0-5][0-9])?)?",
                    "2024-0[1-9]-[0-2][0-9]T1[0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{0,8})?(Z|\\+02)?",
                    "0000-01-01T00:00:00",
                ],
                1..4,
            ),
        ) {
            let (mut quick, mut slow) = (Column::default(), Column::default());
            for text in &texts {
                slow.observe(text, CellKind::Plain);
                if !quick.observe_plainly(text.as_bytes()) {
                    quick.observe(text, CellKind::Plain);
                }
                prop_assert_eq!(quick.fits, slow.fits, "{:?}", texts);
                prop_assert_eq!(quick.data_type(), slow.data_type(), "{:?}", texts);
            }
        }
    }
}
