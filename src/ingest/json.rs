//! JSON lines and JSON arrays of objects: members become columns in the order in which they first
//! appear; nested values become JSON text.
//!
//! Integers beyond 64 bits are read as floats by the JSON parser; write those as strings.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ingest::source::read_error;
use crate::ingest::{Cell, CellKind, Each, Limits, Record, shown};

/// Reads objects that follow each other, usually one a line; returns the column names.
pub(super) fn read_lines(
    reader: impl BufRead,
    limits: Limits,
    each: &mut Each<'_>,
) -> Result<Vec<String>> {
    let mut reader =
        Chunks { reader, limits, lines: 0, text: Vec::new(), nesting: Nesting::default() };
    let mut sink = Sink::new(limits, each);
    while reader.next()? {
        sink.record.line = reader.first_line();
        let mut parser = serde_json::Deserializer::from_slice(&reader.text);
        let outcome = RecordSeed(&mut sink).deserialize(&mut parser).and_then(|()| parser.end());
        outcome.map_err(|error| sink.failed(&error, reader.first_line()))?;
        sink.emit()?;
    }
    Ok(sink.names)
}

/// Reads one array of objects; returns the column names.
pub(super) fn read_array(
    mut reader: impl BufRead,
    limits: Limits,
    each: &mut Each<'_>,
) -> Result<Vec<String>> {
    skip_mark(&mut reader)?;
    let mut sink = Sink::new(limits, each);
    let mut parser = serde_json::Deserializer::from_reader(reader);
    let outcome = parser.deserialize_seq(Elements(&mut sink)).and_then(|()| parser.end());
    match outcome {
        Ok(()) => Ok(sink.names),
        Err(error) => Err(sink.failed(&error, 1)),
    }
}

fn skip_mark(reader: &mut impl BufRead) -> Result<()> {
    if reader.fill_buf().map_err(read_error)?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(())
}

/// How deep in brackets a text ends; tells whether an object spread over lines is whole.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    fn scan(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_open(self) -> bool {
        self.depth > 0 || self.in_string
    }
}

/// Lines that are not blank, as many together as one object needs.
struct Chunks<R> {
    nesting: Nesting,
    reader: R,
    limits: Limits,
    lines: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Chunks<R> {
    /// Reads the next object's lines; `false` at the end.
    fn next(&mut self) -> Result<bool> {
        if self.lines == 0 {
            skip_mark(&mut self.reader)?;
        }
        loop {
            self.text.clear();
            self.nesting = Nesting::default();
            if !self.more()? {
                return Ok(false);
            }
            while self.nesting.is_open() && self.more()? {}
            if !self.text.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Adds one line; `false` at the end.
    fn more(&mut self) -> Result<bool> {
        let before = self.text.len();
        let limit = self.limits.record_bytes_max;
        let room = limit.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX));
        let mut bounded = std::io::Read::take(&mut self.reader, room.saturating_add(1));
        bounded.read_until(b'\n', &mut self.text).map_err(read_error)?;
        if u64::try_from(self.text.len()).unwrap_or(u64::MAX) > limit {
            return Err(Error::invalid(format!("a record is longer than {limit} bytes"))
                .with("line", self.lines + 1));
        }
        let added = self.text.get(before..).unwrap_or_default();
        self.nesting.scan(added);
        self.lines += u64::from(!added.is_empty());
        Ok(!added.is_empty())
    }

    /// Line on which the text begins.
    fn first_line(&self) -> u64 {
        let inner = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        let breaks = memchr::memchr_iter(b'\n', inner).count();
        self.lines.saturating_sub(u64::try_from(breaks).unwrap_or_default())
    }
}

/// The record under construction and where it goes.
struct Sink<'a, 'b> {
    names: Vec<String>,
    places: HashMap<String, usize>,
    record: Record,
    limits: Limits,
    each: &'a mut Each<'b>,
    /// Our own error, on its way through the parser.
    error: Option<Error>,
}

impl<'a, 'b> Sink<'a, 'b> {
    fn new(limits: Limits, each: &'a mut Each<'b>) -> Self {
        Self {
            names: Vec::new(),
            places: HashMap::new(),
            record: Record::default(),
            limits,
            each,
            error: None,
        }
    }

    fn clear(&mut self) {
        self.record.text.clear();
        self.record.cells.clear();
        self.record.cells.resize(self.names.len(), Cell::default());
    }

    fn member(&mut self, name: String, value: &Value) -> Result<()> {
        let place = match self.places.get(&name) {
            Some(place) => *place,
            None => {
                let place = self.names.len();
                if place >= self.limits.columns_max {
                    return Err(Error::invalid(format!(
                        "more columns than the limit of {}",
                        self.limits.columns_max
                    )));
                }
                self.names.push(name.clone());
                self.places.insert(name, place);
                self.record.cells.push(Cell::default());
                place
            }
        };
        let start = self.record.text.len();
        let kind = match value {
            Value::Null => CellKind::Null,
            Value::String(text) => {
                self.record.text.extend_from_slice(text.as_bytes());
                CellKind::Text
            }
            Value::Bool(_) | Value::Number(_) => {
                self.record.text.extend_from_slice(value.to_string().as_bytes());
                CellKind::Plain
            }
            Value::Array(_) | Value::Object(_) => {
                self.record.text.extend_from_slice(value.to_string().as_bytes());
                CellKind::Text
            }
        };
        if let Some(cell) = self.record.cells.get_mut(place) {
            *cell = Cell { start, end: self.record.text.len(), kind };
        }
        Ok(())
    }

    fn emit(&mut self) -> Result<()> {
        (self.each)(&self.names, &self.record)
    }

    /// The parser's error with the place, or our own that came through it.
    fn failed(&mut self, error: &serde_json::Error, first_line: u64) -> Error {
        if let Some(error) = self.error.take() {
            return error.with("line", self.record.line);
        }
        let line = first_line + u64::try_from(error.line()).unwrap_or_default().saturating_sub(1);
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        Error::invalid(format!("the JSON cannot be read: {}", shown(reason)))
            .with("line", line)
            .with("byte of the line", error.column())
    }
}

/// Reads one object into the sink's record.
struct RecordSeed<'s, 'a, 'b>(&'s mut Sink<'a, 'b>);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.clear();
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object for each row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if let Err(error) = self.0.member(name, &value) {
                self.0.error = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Hands on the elements of an array one by one.
struct Elements<'s, 'a, 'b>(&'s mut Sink<'a, 'b>);

impl<'de> Visitor<'de> for Elements<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut ordinal = 0;
        loop {
            ordinal += 1;
            self.0.record.line = ordinal;
            if seq.next_element_seed(RecordSeed(self.0))?.is_none() {
                return Ok(());
            }
            if let Err(error) = self.0.emit() {
                self.0.error = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
    }
}
