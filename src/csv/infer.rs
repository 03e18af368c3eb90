//! Column types of a new table, from the values that its first save holds.
//!
//! A type is chosen only if every value of the column keeps its meaning in it: leading zeros,
//! `+1`, integers beyond 64 bits, numbers of more than 17 digits and integers that a float would
//! round keep their column text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::build::trim;
use super::calendar::Zoned;
use super::fields::{CHUNK_BYTES_MAX, Cell, ColumnFields, FieldTable};
use super::moment;

const CHUNK_RECORDS: usize = 2_048;

/// Largest magnitude up to which a float holds every integer.
const EXACT_IN_FLOAT: u64 = 1 << 53;

/// Finds the types of the columns of a new table.
#[derive(Debug)]
pub struct TypeInference {
    names: Vec<String>,
    seen: Vec<Seen>,
    table: FieldTable,
}

/// What all values of one column so far have in common.
#[derive(Debug, Clone)]
struct Seen {
    any: bool,
    integer: bool,
    number: bool,
    /// At least one number that is not `NaN` or `inf`.
    digits: bool,
    /// An integer that a float would round.
    inexact: bool,
    boolean: bool,
    date: bool,
    naive: bool,
    zoned: bool,
}

impl TypeInference {
    /// Begins with the columns of a header.
    pub fn new(columns: &[String]) -> Self {
        let seen = Seen {
            any: false,
            integer: true,
            number: true,
            digits: false,
            inexact: false,
            boolean: true,
            date: true,
            naive: true,
            zoned: true,
        };
        Self {
            names: columns.to_vec(),
            seen: vec![seen; columns.len()],
            table: FieldTable::default(),
        }
    }

    /// Takes whole records into account. Malformed ones are left out; the parser refuses them.
    pub fn observe(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let width = self.names.len();
            let consumed = self.table.split(rest, width, CHUNK_RECORDS, &mut |_| ());
            for (column, seen) in self.seen.iter_mut().enumerate() {
                if seen.is_text() {
                    continue;
                }
                let fields = ColumnFields { text: rest, fields: &self.table.fields, width, column };
                for field in fields.iter() {
                    if let Cell::Text(value) = field.cell(rest) {
                        seen.observe(&value);
                    }
                }
            }
            if consumed >= CHUNK_BYTES_MAX {
                return;
            }
            rest = rest.get(consumed..).unwrap_or_default();
        }
    }

    /// The schema: every column nullable; `Null` where no value was seen at all.
    pub fn finish(self) -> Schema {
        let fields = self.names.into_iter().zip(&self.seen);
        Schema::new(
            fields.map(|(name, seen)| Field::new(name, seen.data_type(), true)).collect::<Vec<_>>(),
        )
    }
}

impl Seen {
    /// Whether nothing but text is possible any more.
    fn is_text(&self) -> bool {
        self.any && !(self.number || self.boolean || self.date || self.naive || self.zoned)
    }

    fn observe(&mut self, value: &[u8]) {
        self.any = true;
        if self.number {
            self.observe_number(trim(value));
        }
        if self.boolean {
            let value = trim(value);
            self.boolean =
                value.eq_ignore_ascii_case(b"true") || value.eq_ignore_ascii_case(b"false");
        }
        if self.date || self.naive || self.zoned {
            self.observe_moment(trim(value));
        }
    }

    fn observe_number(&mut self, value: &[u8]) {
        if matches!(value, b"NaN" | b"inf" | b"-inf") {
            self.integer = false;
            return;
        }
        match Number::of(value) {
            Some(Number::Integer(magnitude)) => self.inexact |= magnitude > EXACT_IN_FLOAT,
            Some(Number::Float) => self.integer = false,
            None => {
                self.integer = false;
                self.number = false;
            }
        }
        self.digits = true;
    }

    fn observe_moment(&mut self, value: &[u8]) {
        let shape = value.len() == 10 && value.get(4) == Some(&b'-');
        self.date = self.date && shape && moment::parse_date(value).is_ok();
        let zone = moment::has_zone(value);
        self.naive = self.naive && !zone && is_timestamp(value, Zoned::Naive);
        self.zoned = self.zoned && zone && is_timestamp(value, Zoned::Utc);
    }

    fn data_type(&self) -> DataType {
        if !self.any {
            DataType::Null
        } else if self.integer && self.digits {
            DataType::Int64
        } else if self.number && self.digits && !self.inexact {
            DataType::Float64
        } else if self.boolean {
            DataType::Boolean
        } else if self.date {
            DataType::Date32
        } else if self.naive {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        } else if self.zoned {
            DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
        } else {
            DataType::Utf8
        }
    }
}

fn is_timestamp(value: &[u8], zoned: Zoned) -> bool {
    value.first().is_some_and(u8::is_ascii_digit)
        && moment::parse_timestamp(value, TimeUnit::Microsecond, zoned).is_ok()
}

/// A number in the form that a number column would show or could take without losing anything.
enum Number {
    /// Its magnitude; fits an i64.
    Integer(u64),
    Float,
}

impl Number {
    fn of(value: &[u8]) -> Option<Self> {
        let unsigned = value.strip_prefix(b"-").unwrap_or(value);
        let whole = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Leading zeros mean a code, not a number.
        if whole == 0 || (whole > 1 && unsigned.starts_with(b"0")) {
            return None;
        }
        if whole == unsigned.len() {
            let text = std::str::from_utf8(value).ok()?;
            return (value != b"-0")
                .then(|| text.parse::<i64>().ok())
                .flatten()
                .map(|number| Self::Integer(number.unsigned_abs()));
        }
        let mantissa = unsigned.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        let digits = mantissa.filter(|byte| byte.is_ascii_digit()).count();
        let point = unsigned.get(whole) == Some(&b'.');
        let fraction = point && unsigned.get(whole + 1).is_some_and(u8::is_ascii_digit);
        let float = super::number::parse_float::<f64>(value);
        ((fraction || !point) && digits <= 17 && float.is_ok()).then_some(Self::Float)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: DataType) {
        let mut inference = TypeInference::new(&["c".to_owned()]);
        for value in values {
            inference.observe(format!("{value}\n").as_bytes());
        }
        let schema = inference.finish();
        assert_eq!(schema.field(0).data_type(), &expected, "{values:?}");
        assert!(schema.field(0).is_nullable());
    }

    #[test]
    fn every_value_decides_the_type_of_its_column() {
        let naive = DataType::Timestamp(TimeUnit::Microsecond, None);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        check(&[], DataType::Null);
        check(&["", ""], DataType::Null);
        check(&["1", "", "-5"], DataType::Int64);
        check(&["\"1\"", "2"], DataType::Int64);
        check(&["0", "9223372036854775807", "-9223372036854775808"], DataType::Int64);
        check(&["9223372036854775808"], DataType::Utf8);
        check(&["007"], DataType::Utf8);
        check(&["-01"], DataType::Utf8);
        check(&["+1"], DataType::Utf8);
        check(&["1", "2.5"], DataType::Float64);
        check(&["9007199254740992", "2.5"], DataType::Float64);
        check(&["9007199254740993", "2.5"], DataType::Utf8);
        check(&["2.5", "9007199254740993"], DataType::Utf8);
        check(&["1e3", "-2.5E-7", "NaN"], DataType::Float64);
        check(&["NaN"], DataType::Utf8);
        check(&["1.", "2"], DataType::Utf8);
        check(&[".5"], DataType::Utf8);
        check(&["1e999"], DataType::Utf8);
        check(&["1.234567890123456789"], DataType::Utf8);
        check(&["true", "FALSE", ""], DataType::Boolean);
        check(&["true", "1"], DataType::Utf8);
        check(&["2026-11-21"], DataType::Date32);
        check(&["2026-02-30"], DataType::Utf8);
        check(&["2026-11-21", "2026-11-21 10:00:00"], naive.clone());
        check(&["2026-11-21T10:00:00.123456"], naive);
        check(&["2026-11-21T10:00:00.123456789"], DataType::Utf8);
        check(&["2026-11-21T10:00:00Z", "2026-11-21 10:00:00+02:00"], utc);
        check(&["2026-11-21T10:00:00Z", "2026-11-21 10:00:00"], DataType::Utf8);
        check(&["1", "\"\""], DataType::Utf8);
        check(&["a"], DataType::Utf8);
    }

    #[test]
    fn inferred_types_take_every_value_that_was_seen() {
        for values in [
            &["1", "-7"][..],
            &["1", "1e3", "NaN"],
            &["TRUE"],
            &["2026-11-21 10:00", "2026-11-21"],
            &["2026-11-21T10:00:00+02"],
            &[" 1", "2 "],
        ] {
            let names = ["c".to_owned()];
            let text = values.join("\n");
            let mut inference = TypeInference::new(&names);
            inference.observe(text.as_bytes());
            let schema = Arc::new(inference.finish());
            assert_ne!(schema.field(0).data_type(), &DataType::Utf8, "{values:?}");
            let mut parser = super::super::Parser::new(&names, &schema).unwrap();
            let batch = parser.parse(text.as_bytes(), 2).unwrap();
            assert_eq!(batch.num_rows(), values.len());
            assert_eq!(batch.column(0).null_count(), 0);
        }
    }
}
