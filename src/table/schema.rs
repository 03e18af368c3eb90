//! Column types: the stored dtype texts <-> Arrow, and what two types of one column become.
//!
//! Snapshot documents name column types as polars does (format spec section 2.2); files hold
//! Arrow types. Shown columns use one Arrow type per stored text, so two gateways agree.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::table::generation::SystemColumns;
use crate::table::snapshot::JsonMap;

/// System column: unique id of a row (format spec section 6.2).
pub const ROW_ID: &str = "__rowid__";
/// System column: time of the write.
pub const TIMESTAMP: &str = "__timestamp__";

/// Most digits of a decimal that Arrow's 128-bit type holds.
const DECIMAL_DIGITS_MAX: u8 = 38;
/// Deepest nesting of list and struct types that is read.
const NESTING_MAX: usize = 32;

/// Whether a column belongs to the format and is never shown.
pub fn is_system(name: &str) -> bool {
    name.starts_with("__")
}

/// The stored text of an Arrow type.
///
/// # Errors
/// `Unsupported` for a type that the format has no name for.
pub fn to_text(data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Null => "Null".to_owned(),
        DataType::Boolean => "Boolean".to_owned(),
        DataType::Int8 => "Int8".to_owned(),
        DataType::Int16 => "Int16".to_owned(),
        DataType::Int32 => "Int32".to_owned(),
        DataType::Int64 => "Int64".to_owned(),
        DataType::UInt8 => "UInt8".to_owned(),
        DataType::UInt16 => "UInt16".to_owned(),
        DataType::UInt32 => "UInt32".to_owned(),
        DataType::UInt64 => "UInt64".to_owned(),
        DataType::Float16 | DataType::Float32 => "Float32".to_owned(),
        DataType::Float64 => "Float64".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "String".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "Binary".to_owned(),
        DataType::Date32 => "Date".to_owned(),
        DataType::Date64 => "Datetime(time_unit='ms', time_zone=None)".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "Time".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_ref().map_or_else(|| "None".to_owned(), |zone| quoted(zone));
            format!("Datetime(time_unit='{}', time_zone={zone})", unit_text(*unit))
        }
        DataType::Duration(unit) => format!("Duration(time_unit='{}')", unit_text(*unit)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            format!("Decimal(precision={precision}, scale={scale})")
        }
        DataType::Dictionary(_, _) => "Categorical".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("List({})", to_text(item.data_type())?)
        }
        DataType::Struct(fields) => {
            let members: Result<Vec<String>> = fields
                .iter()
                .map(|field| {
                    Ok(format!("{}: {}", quoted(field.name()), to_text(field.data_type())?))
                })
                .collect();
            format!("Struct({{{}}})", members?.join(", "))
        }
        other => {
            return Err(Error::unsupported("column type has no stored form").with("type", other));
        }
    })
}

fn unit_text(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for ch in text.chars() {
        if matches!(ch, '\'' | '\\') {
            out.push('\\');
        }
        out.push(ch);
    }
    out.push('\'');
    out
}

/// The Arrow type of a stored text.
///
/// # Errors
/// `Corrupt` if the text cannot be read, `Unsupported` if it names a type without values here.
pub fn from_text(text: &str) -> Result<DataType> {
    let mut reader = TypeReader { text, at: 0, depth: 0 };
    let data_type = reader.data_type().map_err(|error| error.with("dtype", text))?;
    reader.space();
    if reader.at == text.len() {
        return Ok(data_type);
    }
    Err(Error::corrupt("unknown text after column type").with("dtype", text))
}

/// A reader of one dtype text.
struct TypeReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> TypeReader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, expected: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn expect(&mut self, expected: &'static str) -> Result<()> {
        if self.take(expected) {
            return Ok(());
        }
        Err(Error::corrupt("read column type").with("expected", expected).with("at", self.at))
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|ch: char| !(ch.is_ascii_alphanumeric() || ch == '_' || ch == '-'))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn string(&mut self) -> Result<String> {
        self.space();
        let mut chars = self.rest().char_indices();
        let Some((_, quote @ ('\'' | '"'))) = chars.next() else {
            return Err(Error::corrupt("expected a quoted name").with("at", self.at));
        };
        let mut out = String::new();
        let mut escaped = false;
        for (offset, ch) in chars {
            if escaped {
                out.push(match ch {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
                escaped = false;
            } else if ch == '\\' {
                escaped = true;
            } else if ch == quote {
                self.at += offset + ch.len_utf8();
                return Ok(out);
            } else {
                out.push(ch);
            }
        }
        Err(Error::corrupt("name without closing quote").with("at", self.at))
    }

    /// `name=` before an argument, if it is there.
    fn keyword(&mut self, name: &str) {
        let before = self.at;
        if !(self.take(name) && self.take("=")) {
            self.at = before;
        }
    }

    fn data_type(&mut self) -> Result<DataType> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(Error::corrupt("column type nested too deeply"));
        }
        let data_type = self.named_type();
        self.depth -= 1;
        data_type
    }

    fn named_type(&mut self) -> Result<DataType> {
        let name = self.word();
        Ok(match name {
            "Null" => DataType::Null,
            "Boolean" => DataType::Boolean,
            "Int8" => DataType::Int8,
            "Int16" => DataType::Int16,
            "Int32" => DataType::Int32,
            "Int64" => DataType::Int64,
            "Int128" => DataType::Decimal128(DECIMAL_DIGITS_MAX, 0),
            "UInt8" => DataType::UInt8,
            "UInt16" => DataType::UInt16,
            "UInt32" => DataType::UInt32,
            "UInt64" => DataType::UInt64,
            "Float32" => DataType::Float32,
            "Float64" => DataType::Float64,
            "String" | "Utf8" => DataType::Utf8,
            "Categorical" | "Enum" => {
                self.skip_arguments()?;
                DataType::Utf8
            }
            "Binary" => DataType::Binary,
            "Date" => DataType::Date32,
            "Time" => DataType::Time64(TimeUnit::Nanosecond),
            "Datetime" => self.datetime()?,
            "Duration" => {
                let unit = if self.take("(") {
                    self.keyword("time_unit");
                    let unit = self.unit()?;
                    self.expect(")")?;
                    unit
                } else {
                    TimeUnit::Microsecond
                };
                DataType::Duration(unit)
            }
            "Decimal" => self.decimal()?,
            "List" => {
                self.expect("(")?;
                let item = self.data_type()?;
                self.expect(")")?;
                list_of(item)
            }
            "Array" => {
                self.expect("(")?;
                let item = self.data_type()?;
                while !self.rest().is_empty() && !self.take("))") {
                    self.at += self.rest().chars().next().map_or(0, char::len_utf8);
                }
                list_of(item)
            }
            "Struct" => self.structure()?,
            _ => return Err(Error::unsupported("column type is not supported")),
        })
    }

    fn unit(&mut self) -> Result<TimeUnit> {
        match self.string()?.as_str() {
            "ms" => Ok(TimeUnit::Millisecond),
            "us" => Ok(TimeUnit::Microsecond),
            "ns" => Ok(TimeUnit::Nanosecond),
            other => Err(Error::corrupt("unknown time unit").with("unit", other)),
        }
    }

    fn datetime(&mut self) -> Result<DataType> {
        if !self.take("(") {
            return Ok(DataType::Timestamp(TimeUnit::Microsecond, None));
        }
        self.keyword("time_unit");
        let unit = self.unit()?;
        let mut zone = None;
        if self.take(",") {
            self.keyword("time_zone");
            if !self.take("None") {
                zone = Some(self.string()?);
            }
        }
        self.expect(")")?;
        Ok(DataType::Timestamp(unit, zone.map(Arc::from)))
    }

    fn decimal(&mut self) -> Result<DataType> {
        if !self.take("(") {
            return Ok(DataType::Decimal128(DECIMAL_DIGITS_MAX, 0));
        }
        self.keyword("precision");
        let precision = match self.word() {
            "None" => DECIMAL_DIGITS_MAX,
            digits => digits
                .parse()
                .map_err(|error| Error::corrupt("read decimal precision").caused_by(error))?,
        };
        let mut scale = 0;
        if self.take(",") {
            self.keyword("scale");
            scale = self
                .word()
                .parse()
                .map_err(|error| Error::corrupt("read decimal scale").caused_by(error))?;
        }
        self.expect(")")?;
        if precision == 0 || precision > DECIMAL_DIGITS_MAX {
            return Err(Error::unsupported("decimal of more than 38 digits"));
        }
        Ok(DataType::Decimal128(precision, scale))
    }

    fn structure(&mut self) -> Result<DataType> {
        self.expect("(")?;
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.take("}") {
            if !fields.is_empty() {
                self.expect(",")?;
            }
            let name = self.string()?;
            self.expect(":")?;
            fields.push(Field::new(name, self.data_type()?, true));
        }
        self.expect(")")?;
        Ok(DataType::Struct(Fields::from(fields)))
    }

    /// Skips a balanced argument list; quoted text in it may hold brackets.
    fn skip_arguments(&mut self) -> Result<()> {
        if !self.take("(") {
            return Ok(());
        }
        let mut open = 1_usize;
        while open > 0 {
            match self.rest().chars().next() {
                None => return Err(Error::corrupt("type arguments without end")),
                Some('\'' | '"') => {
                    self.string()?;
                    continue;
                }
                Some('(') => open += 1,
                Some(')') => open -= 1,
                Some(_) => {}
            }
            self.at += self.rest().chars().next().map_or(0, char::len_utf8);
        }
        Ok(())
    }
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// The type that a column is shown in: that of its stored text, so `LargeUtf8` becomes `Utf8`.
///
/// # Errors
/// `Unsupported` for a type that the format has no name for.
pub fn shown(data_type: &DataType) -> Result<DataType> {
    from_text(&to_text(data_type)?)
}

/// A schema in shown types, without system columns, every column nullable.
///
/// # Errors
/// `Unsupported` if a column's type cannot be stored; `Invalid` if a name repeats.
pub fn shown_schema(schema: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields().iter().filter(|field| !is_system(field.name())) {
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(Error::invalid("column name repeats").with("column", field.name()));
        }
        let data_type =
            shown(field.data_type()).map_err(|error| error.with("column", field.name()))?;
        fields.push(Field::new(field.name(), data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The document's `schema` member: user columns in order, then the system columns.
///
/// # Errors
/// `Unsupported` if a column's type cannot be stored.
pub fn to_document(schema: &Schema, system: SystemColumns) -> Result<JsonMap> {
    let mut out = JsonMap::new();
    for field in schema.fields() {
        out.insert(field.name().clone(), to_text(field.data_type())?.into());
    }
    if system == SystemColumns::RowIdAndTime {
        out.insert(ROW_ID.to_owned(), "Int64".into());
    }
    if system != SystemColumns::None {
        out.insert(TIMESTAMP.to_owned(), "Datetime(time_unit='us', time_zone='UTC')".into());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_texts_read_back_as_written() {
        for text in [
            "Int8",
            "UInt64",
            "Float32",
            "Boolean",
            "String",
            "Date",
            "Time",
            "Binary",
            "Null",
            "Datetime(time_unit='us', time_zone=None)",
            "Datetime(time_unit='ns', time_zone='Europe/Zurich')",
            "Duration(time_unit='ms')",
            "Decimal(precision=10, scale=2)",
            "List(Int64)",
            "List(List(Decimal(precision=38, scale=0)))",
            "Struct({'a': Int64, 'b': String})",
            "Struct({'it\\'s': List(Struct({'x, y': Date})), '}': Null})",
        ] {
            let data_type = from_text(text).expect(text);
            assert_eq!(to_text(&data_type).expect(text), text);
        }
    }

    #[test]
    fn spellings_of_other_versions_are_read() {
        let same = [
            ("Utf8", "String"),
            ("Categorical(ordering='physical')", "String"),
            ("Enum(categories=['a)', 'b'])", "String"),
            ("Datetime('us')", "Datetime(time_unit='us', time_zone=None)"),
            ("Datetime('ms', 'UTC')", "Datetime(time_unit='ms', time_zone='UTC')"),
            ("Decimal(precision=None, scale=4)", "Decimal(precision=38, scale=4)"),
            ("Decimal(12, 3)", "Decimal(precision=12, scale=3)"),
            ("Array(Int64, shape=(3,))", "List(Int64)"),
        ];
        for (text, stored) in same {
            assert_eq!(to_text(&from_text(text).expect(text)).expect(text), stored, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_type_are_refused() {
        for text in ["", "Objekt", "List(", "Int64x y", "Decimal(99, 2)", "Struct({'a Int64})"] {
            assert!(from_text(text).is_err(), "{text:?}");
        }
        assert!(from_text(&"List(".repeat(10_000)).is_err());
    }

    #[test]
    fn large_and_view_types_are_shown_as_plain_ones() {
        assert_eq!(shown(&DataType::LargeUtf8).expect("text"), DataType::Utf8);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(to_text(&dictionary).expect("categorical"), "Categorical");
        assert_eq!(shown(&dictionary).expect("text"), DataType::Utf8);
    }
}
