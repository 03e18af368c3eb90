//! Lists, structs and maps as text: one JSON value for a cell.
//!
//! Struct: object with every member in order, NULL as `null`. Map: object if the keys are text,
//! else an array of `[key, value]` pairs. Booleans, integers and finite floats are JSON literals;
//! every other value is a JSON string holding the text that it would have as a cell.

use std::ops::Range;

use arrow::array::{Array, AsArray, MapArray, OffsetSizeTrait, PrimitiveArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{self as types, ArrowNativeType, ArrowPrimitiveType, DataType, Fields};

use super::calendar::{self, SLOT, Slot, Zoned};
use super::raw::{self, for_slot_type};
use super::{duration, half, json, number};
use crate::error::{Error, Result};

/// How the values of an array become JSON: found out once, so that nothing is for each value.
pub(super) struct JsonValues<'a> {
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
}

type Write<'a> = dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a;
type Measure<'a> = dyn Fn(usize) -> Result<Measured> + 'a;

/// What the length of a JSON text as written depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    bytes: usize,
    quotes: usize,
    comma: bool,
}

impl Measured {
    fn text(bytes: usize) -> Self {
        Self { bytes: bytes + 2, quotes: 2, comma: false }
    }

    fn of(text: &[u8]) -> Self {
        let quotes = memchr::memchr_iter(b'"', text).count();
        Self { bytes: text.len(), quotes, comma: text.contains(&b',') }
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.quotes += other.quotes;
        self.comma |= other.comma;
    }

    /// Length of the text in a CSV file. JSON has no line ends, and no spaces at its ends.
    pub(super) fn written(self) -> usize {
        let quoted = self.comma || self.quotes > 0;
        self.bytes + if quoted { 2 + self.quotes } else { 0 }
    }
}

enum Kind<'a> {
    Null,
    Leaf(Box<Write<'a>>, Box<Measure<'a>>),
    List {
        bounds: Box<dyn Fn(usize) -> Range<usize> + 'a>,
        items: Box<JsonValues<'a>>,
    },
    /// Each member with what stands before it: brace or comma, name, colon.
    Struct(Vec<(Vec<u8>, JsonValues<'a>)>, Measured),
    /// With marks before, between and behind the two of an entry.
    Map {
        map: &'a MapArray,
        marks: [&'static [u8]; 5],
        entries: Box<[JsonValues<'a>; 2]>,
    },
    Dictionary {
        key: Box<dyn Fn(usize) -> usize + 'a>,
        values: Box<JsonValues<'a>>,
    },
}

impl<'a> JsonValues<'a> {
    /// # Errors
    /// `Unsupported` for a type without a text.
    pub(super) fn new(array: &'a dyn Array) -> Result<Self> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::list(list.offsets(), list.values().as_ref())?
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Kind::list(list.offsets(), list.values().as_ref())?
            }
            DataType::FixedSizeList(_, size) => {
                let (list, size) = (array.as_fixed_size_list(), size.as_usize());
                let bounds = move |row: usize| {
                    let first = list.value_offset(row).as_usize();
                    first..first + size
                };
                let items = Box::new(Self::new(list.values().as_ref())?);
                Kind::List { bounds: Box::new(bounds), items }
            }
            DataType::Struct(fields) => Kind::members(fields, array.as_struct().columns())?,
            DataType::Map(..) => Kind::map(array.as_map())?,
            DataType::Dictionary(keys, _) => Kind::dictionary(array, keys)?,
            _ => leaf(array),
        };
        Ok(Self { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), kind })
    }

    /// Appends the JSON text of a value, `null` for NULL.
    ///
    /// # Errors
    /// `Unsupported` for a type without a text.
    pub(super) fn write(&self, index: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(index)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &self.kind {
            Kind::Null => out.extend_from_slice(b"null"),
            Kind::Leaf(write, _) => write(index, out)?,
            Kind::List { bounds, items } => {
                out.push(b'[');
                let bounds = bounds(index);
                for item in bounds.clone() {
                    if item > bounds.start {
                        out.push(b',');
                    }
                    items.write(item, out)?;
                }
                out.push(b']');
            }
            Kind::Struct(members, _) => {
                if members.is_empty() {
                    out.push(b'{');
                }
                for (before, values) in members {
                    out.extend_from_slice(before);
                    values.write(index, out)?;
                }
                out.push(b'}');
            }
            Kind::Map { map, marks, entries } => write_map(map, marks, entries, index, out)?,
            Kind::Dictionary { key, values } => values.write(key(index), out)?,
        }
        Ok(())
    }

    /// Measures what [`Self::write`] appends.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn measure(&self, index: usize) -> Result<Measured> {
        let mut sum = Measured { bytes: 4, ..Measured::default() };
        if self.nulls.is_some_and(|nulls| nulls.is_null(index)) {
            return Ok(sum);
        }
        match &self.kind {
            Kind::Null => {}
            Kind::Leaf(_, measure) => return measure(index),
            Kind::List { bounds, items } => {
                let bounds = bounds(index);
                sum.bytes = 2 + bounds.len().saturating_sub(1);
                sum.comma = bounds.len() > 1;
                for item in bounds {
                    sum.add(items.measure(item)?);
                }
            }
            Kind::Struct(members, around) => {
                sum = *around;
                for (_, values) in members {
                    sum.add(values.measure(index)?);
                }
            }
            Kind::Map { map, marks, entries } => {
                let [open, before, between, behind, close] = marks.map(<[u8]>::len);
                let bounds = bounds(map.value_offsets(), index);
                sum.bytes = open + close + bounds.len().saturating_sub(1);
                sum.bytes += bounds.len() * (before + between + behind);
                // Pairs have one, members have quotes.
                sum.comma = !bounds.is_empty();
                let [keys, values] = entries.as_ref();
                for entry in bounds {
                    sum.add(keys.measure(entry)?);
                    sum.add(values.measure(entry)?);
                }
            }
            Kind::Dictionary { key, values } => return values.measure(key(index)),
        }
        Ok(sum)
    }
}

fn write_map(
    map: &MapArray,
    marks: &[&'static [u8]; 5],
    [keys, values]: &[JsonValues<'_>; 2],
    row: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let [open, before, between, behind, close] = marks;
    out.extend_from_slice(open);
    let bounds = bounds(map.value_offsets(), row);
    for entry in bounds.clone() {
        if entry > bounds.start {
            out.push(b',');
        }
        out.extend_from_slice(before);
        keys.write(entry, out)?;
        out.extend_from_slice(between);
        values.write(entry, out)?;
        out.extend_from_slice(behind);
    }
    out.extend_from_slice(close);
    Ok(())
}

#[inline]
fn bounds<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> Range<usize> {
    match offsets.get(row..).and_then(|rest| rest.first_chunk::<2>()) {
        Some([start, end]) => start.as_usize()..end.as_usize(),
        None => 0..0,
    }
}

impl<'a> Kind<'a> {
    fn list<O: OffsetSizeTrait>(
        offsets: &'a OffsetBuffer<O>,
        values: &'a dyn Array,
    ) -> Result<Self> {
        let items = Box::new(JsonValues::new(values)?);
        Ok(Self::List { bounds: Box::new(|row| bounds(offsets, row)), items })
    }

    fn members(fields: &Fields, columns: &'a [arrow::array::ArrayRef]) -> Result<Self> {
        let mut members = Vec::with_capacity(columns.len());
        for (field, column) in fields.iter().zip(columns) {
            let mut before = vec![if members.is_empty() { b'{' } else { b',' }];
            json::write_text(field.name().as_bytes(), &mut before);
            before.push(b':');
            members.push((before, JsonValues::new(column.as_ref())?));
        }
        let mut around = vec![b'{'; usize::from(members.is_empty())];
        members.iter().for_each(|(before, _): &(Vec<u8>, _)| around.extend_from_slice(before));
        around.push(b'}');
        Ok(Self::Struct(members, Measured::of(&around)))
    }

    fn map(map: &'a MapArray) -> Result<Self> {
        let entries =
            [JsonValues::new(map.keys().as_ref())?, JsonValues::new(map.values().as_ref())?];
        let marks: [&'static [u8]; 5] = match map.keys().data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                [b"{", b"", b":", b"", b"}"]
            }
            _ => [b"[", b"[", b",", b"]", b"]"],
        };
        Ok(Self::Map { map, marks, entries: Box::new(entries) })
    }

    fn dictionary(array: &'a dyn Array, keys: &DataType) -> Result<Self> {
        let broken = || Error::internal("dictionary without keys");
        let dictionary = array.as_any_dictionary_opt().ok_or_else(broken)?;
        let values = Box::new(JsonValues::new(dictionary.values().as_ref())?);
        macro_rules! key {
            ($arrow:ty) => {{
                let keys = dictionary.keys().as_primitive_opt::<$arrow>().ok_or_else(broken)?;
                Box::new(move |row: usize| keys.value(row).as_usize())
            }};
        }
        let key: Box<dyn Fn(usize) -> usize + 'a> = match keys {
            DataType::Int8 => key!(types::Int8Type),
            DataType::Int16 => key!(types::Int16Type),
            DataType::Int32 => key!(types::Int32Type),
            DataType::Int64 => key!(types::Int64Type),
            DataType::UInt8 => key!(types::UInt8Type),
            DataType::UInt16 => key!(types::UInt16Type),
            DataType::UInt32 => key!(types::UInt32Type),
            _ => key!(types::UInt64Type),
        };
        Ok(Self::Dictionary { key, values })
    }
}

/// What writes the values of an array that is not nested.
fn leaf<'a>(array: &'a dyn Array) -> Kind<'a> {
    let data_type = array.data_type();
    let form = match data_type {
        _ if data_type.is_integer() => Form::Literal,
        _ if data_type.is_floating() => Form::Float,
        _ => Form::Text,
    };
    macro_rules! run {
        ($arrow:ty, $text:expr) => {
            slots(array.as_primitive::<$arrow>(), form, $text)
        };
    }
    match data_type {
        DataType::Boolean => {
            let values = array.as_boolean();
            let text = |row| if values.value(row) { &b"true"[..] } else { b"false" };
            Kind::Leaf(
                Box::new(move |row, out| {
                    out.extend_from_slice(text(row));
                    Ok(())
                }),
                Box::new(move |row| Ok(Measured::of(text(row)))),
            )
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Kind::Leaf(
                Box::new(|row, out| {
                    json::write_text(texts.value(row).as_bytes(), out);
                    Ok(())
                }),
                Box::new(|row| Ok(measure_text(texts.value(row).as_bytes()))),
            )
        }
        DataType::LargeUtf8 | DataType::Utf8View => Kind::Leaf(
            Box::new(move |row, out| {
                json::write_text(&raw_text(array, row)?, out);
                Ok(())
            }),
            Box::new(move |row| Ok(measure_text(&raw_text(array, row)?))),
        ),
        // Digits and base64, in which nothing is escaped.
        _ => for_slot_type!(
            array,
            run,
            Kind::Leaf(
                Box::new(move |row, out| {
                    out.push(b'"');
                    raw::write_raw(array, row, out)?;
                    out.push(b'"');
                    Ok(())
                }),
                Box::new(move |row| Ok(Measured::text(raw_text(array, row)?.len()))),
            )
        ),
    }
}

fn raw_text(array: &dyn Array, row: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    raw::write_raw(array, row, &mut text)?;
    Ok(text)
}

fn measure_text(text: &[u8]) -> Measured {
    if !json::has_escaped(text) {
        return Measured::text(text.len());
    }
    let mut out = Vec::new();
    json::write_text(text, &mut out);
    Measured::of(&out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Literal,
    /// A literal if it is finite.
    Float,
    Text,
}

impl Form {
    fn is_literal(self, slot: &Slot) -> bool {
        match self {
            Self::Literal => true,
            Self::Float => matches!(slot, [b'0'..=b'9', ..] | [b'-', b'0'..=b'9', ..]),
            Self::Text => false,
        }
    }
}

fn slots<'a, T: ArrowPrimitiveType>(
    array: &'a PrimitiveArray<T>,
    form: Form,
    text: impl Fn(&mut Slot, T::Native) -> usize + Copy + 'a,
) -> Kind<'a> {
    let values = array.values();
    let write = move |row: usize| {
        let mut slot: Slot = [0; SLOT];
        let length = values.get(row).map_or(0, |value| text(&mut slot, *value));
        (slot, length)
    };
    Kind::Leaf(
        Box::new(move |row, out| {
            let (slot, length) = write(row);
            let literal = form.is_literal(&slot);
            if !literal {
                out.push(b'"');
            }
            // The whole slot, cut afterwards: a copy of fixed size is quicker.
            let end = out.len() + length;
            out.extend_from_slice(&slot);
            out.truncate(end);
            if !literal {
                out.push(b'"');
            }
            Ok(())
        }),
        Box::new(move |row| {
            let (slot, bytes) = write(row);
            Ok(if form.is_literal(&slot) {
                Measured { bytes, ..Measured::default() }
            } else {
                Measured::text(bytes)
            })
        }),
    )
}
