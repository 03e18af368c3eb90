//! CSV and its relatives: splits text into records and cells, quotes respected (RFC 4180).
//!
//! Generous about line ends, a byte order mark, a missing final newline, blank lines and quotes
//! inside unquoted cells; strict about everything that would shift or lose a value.

use std::collections::HashSet;
use std::io::BufRead;

use crate::error::{Error, Result};
use crate::ingest::source::read_error;
use crate::ingest::{Cell, CellKind, Each, Limits, Record, shown};

/// Reads all records behind the header; returns the column names.
pub(super) fn read(
    reader: impl BufRead,
    delimiter: u8,
    limits: Limits,
    each: &mut Each<'_>,
) -> Result<Vec<String>> {
    let mut splitter = Splitter::new(reader, delimiter, limits);
    let names = splitter.header()?;
    splitter.body(&names, each)?;
    Ok(names)
}

/// The column names of a text.
pub(super) fn names(text: impl BufRead, delimiter: u8, limits: Limits) -> Result<Vec<String>> {
    Splitter::new(text, delimiter, limits).header()
}

/// Records somewhere behind the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a> {
    /// The names of the columns.
    pub(super) names: &'a [String],
    /// Lines of the file before the text.
    pub(super) lines: u64,
}

impl Body<'_> {
    /// Reads all records of a text.
    pub(super) fn read(
        self,
        text: &[u8],
        delimiter: u8,
        limits: Limits,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let mut splitter = Splitter::new(text, delimiter, limits);
        splitter.lines = self.lines;
        splitter.body(self.names, each)
    }
}

/// Column names: blanks around them dropped, nameless ones numbered.
fn header(record: &Record, limits: Limits) -> Result<Vec<String>> {
    if record.cells.len() > limits.columns_max {
        return Err(Error::invalid(format!(
            "{} columns are more than the limit of {}",
            record.cells.len(),
            limits.columns_max
        )));
    }
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(record.cells.len());
    for index in 0..record.cells.len() {
        let name = match record.cell(index).0.trim() {
            "" => format!("column_{}", index + 1),
            name => name.to_owned(),
        };
        if !seen.insert(name.to_lowercase()) {
            return Err(Error::invalid(format!(
                "the header names column `{}` twice",
                shown(&name)
            ))
            .with("line", record.line)
            .with("column", index + 1));
        }
        names.push(name);
    }
    Ok(names)
}

/// Numbers of cells of the first whole records of `text`; for the choice of the delimiter.
pub(super) fn cell_counts(text: &[u8], delimiter: u8, most: usize) -> Vec<usize> {
    let limits = Limits { record_bytes_max: u64::MAX, columns_max: usize::MAX };
    let mut splitter = Splitter::new(text, delimiter, limits);
    let mut record = Record::default();
    let mut counts = Vec::new();
    while counts.len() < most && splitter.next(&mut record).is_ok_and(|more| more) {
        if !record.text.is_empty() || record.cells.len() > 1 {
            counts.push(record.cells.len());
        }
    }
    // The last one may be cut off by the end of the sample.
    if splitter.reader.is_empty() && counts.len() > 2 {
        counts.pop();
    }
    counts
}

/// Where in a record the splitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    CellStart,
    Unquoted,
    Quoted,
    QuoteInQuoted,
}

struct Splitter<R> {
    reader: R,
    delimiter: u8,
    limits: Limits,
    lines: u64,
    raw: Vec<u8>,
}

impl<R: BufRead> Splitter<R> {
    fn new(reader: R, delimiter: u8, limits: Limits) -> Self {
        Self { reader, delimiter, limits, lines: 0, raw: Vec::new() }
    }

    fn header(&mut self) -> Result<Vec<String>> {
        let mut record = Record::default();
        if !self.next(&mut record)? {
            return Err(Error::invalid("the file is empty: not even a header"));
        }
        header(&record, self.limits)
    }

    fn body(&mut self, names: &[String], each: &mut Each<'_>) -> Result<()> {
        let mut record = Record::default();
        while self.next(&mut record)? {
            let blank = record.text.is_empty() && record.cells.len() == 1;
            let null = blank && record.cells.iter().all(|cell| cell.kind == CellKind::Null);
            if null && names.len() > 1 {
                continue;
            }
            if record.cells.len() != names.len() {
                return Err(Error::invalid(format!(
                    "the record has {} cells, the header has {}",
                    record.cells.len(),
                    names.len()
                ))
                .with("line", record.line)
                .with("begins", shown(&String::from_utf8_lossy(&record.text))));
            }
            each(names, &record)?;
        }
        Ok(())
    }

    /// Reads one record; `false` at the end.
    fn next(&mut self, record: &mut Record) -> Result<bool> {
        record.text.clear();
        record.cells.clear();
        record.line = self.lines + 1;
        let mut state = State::CellStart;
        let mut start = 0;
        loop {
            if !self.line(record)? {
                return match state {
                    State::Quoted => Err(Error::invalid(
                        "a quoted cell is not closed before the end of the file",
                    )
                    .with("line", record.line)),
                    _ => Ok(false),
                };
            }
            state = self.split(record, state, &mut start)?;
            if state != State::Quoted {
                break;
            }
        }
        if simdutf8::basic::from_utf8(&record.text).is_err() {
            return Err(not_utf8(record));
        }
        Ok(true)
    }

    /// Reads one line with its end into `raw`; `false` at the end of the file.
    fn line(&mut self, record: &Record) -> Result<bool> {
        self.raw.clear();
        loop {
            let buffer = self.reader.fill_buf().map_err(read_error)?;
            if buffer.is_empty() {
                break;
            }
            let (used, end) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (at + 1, true),
                None => (buffer.len(), false),
            };
            self.raw.extend_from_slice(buffer.get(..used).unwrap_or_default());
            self.reader.consume(used);
            let length = u64::try_from(self.raw.len() + record.text.len()).unwrap_or(u64::MAX);
            if length > self.limits.record_bytes_max {
                return Err(Error::invalid(format!(
                    "a record is longer than {} bytes; is a quote not closed?",
                    self.limits.record_bytes_max
                ))
                .with("line", record.line));
            }
            if end {
                break;
            }
        }
        if self.raw.is_empty() {
            return Ok(false);
        }
        if self.lines == 0 && self.raw.starts_with(b"\xef\xbb\xbf") {
            self.raw.drain(..3);
        }
        self.lines += 1;
        Ok(true)
    }

    /// The line in `raw` and its end.
    fn content(&self) -> (&[u8], &[u8]) {
        let content = self.raw.strip_suffix(b"\n").unwrap_or(&self.raw);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        self.raw.split_at(content.len())
    }

    /// Splits the line in `raw`, going on in `state`; returns `Quoted` if the record goes on.
    fn split(&self, record: &mut Record, mut state: State, start: &mut usize) -> Result<State> {
        let (mut rest, ending) = self.content();
        loop {
            match state {
                State::CellStart => {
                    *start = record.text.len();
                    state = State::Unquoted;
                    if let Some(tail) = rest.strip_prefix(b"\"") {
                        rest = tail;
                        state = State::Quoted;
                    }
                }
                State::Unquoted => {
                    let end = memchr::memchr(self.delimiter, rest);
                    let (cell, tail) = rest.split_at(end.unwrap_or(rest.len()));
                    record.text.extend_from_slice(cell);
                    let kind = if cell.is_empty() { CellKind::Null } else { CellKind::Plain };
                    record.cells.push(Cell { start: *start, end: record.text.len(), kind });
                    match tail.split_first() {
                        Some((_, tail)) => rest = tail,
                        None => return Ok(State::Unquoted),
                    }
                    state = State::CellStart;
                }
                State::Quoted => match memchr::memchr(b'"', rest) {
                    Some(at) => {
                        let (part, tail) = rest.split_at(at);
                        record.text.extend_from_slice(part);
                        rest = tail.get(1..).unwrap_or_default();
                        state = State::QuoteInQuoted;
                    }
                    None => {
                        // The cell goes on in the next line; its line end belongs to it.
                        record.text.extend_from_slice(rest);
                        record.text.extend_from_slice(ending);
                        return Ok(State::Quoted);
                    }
                },
                State::QuoteInQuoted => {
                    let cell =
                        Cell { start: *start, end: record.text.len(), kind: CellKind::Quoted };
                    state = match rest.split_first() {
                        Some((b'"', tail)) => {
                            record.text.push(b'"');
                            rest = tail;
                            State::Quoted
                        }
                        Some((byte, tail)) if *byte == self.delimiter => {
                            record.cells.push(cell);
                            rest = tail;
                            State::CellStart
                        }
                        Some(_) => return Err(self.after_quote(record)),
                        None => {
                            record.cells.push(cell);
                            return Ok(State::QuoteInQuoted);
                        }
                    };
                }
            }
        }
    }

    fn after_quote(&self, record: &Record) -> Error {
        Error::invalid("text follows a closing quote; a quote within a cell is written twice")
            .with("line", self.lines)
            .with("column", record.cells.len() + 1)
    }
}

/// Names the first cell that is not UTF-8.
fn not_utf8(record: &Record) -> Error {
    let bad = |cell: &Cell| {
        std::str::from_utf8(record.text.get(cell.start..cell.end).unwrap_or_default()).is_err()
    };
    let column = record.cells.iter().position(bad).map_or(1, |index| index + 1);
    Error::invalid("the text is not UTF-8; convert it, for example with `iconv -f latin1 -t utf8`")
        .with("line", record.line)
        .with("column", column)
}
