//! Splits CSV text into records without looking at fields.
//!
//! A quote opens quoted text only at the beginning of a field; line ends inside quoted text belong
//! to the record; LF ends a record (CRLF does too, the CR being before it). This one definition is
//! used by the parser, by type inference and by `diff`.

use std::ops::Range;

use memchr::{memchr, memchr2, memrchr};

/// Mark that some editors put at the beginning of a UTF-8 file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where the splitter stands between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a field.
    FieldStart,
    /// Inside a field, outside quoted text.
    Field,
    /// Inside quoted text.
    Quoted,
}

/// Finds the ends of records in text that arrives in chunks of any size.
///
/// Begins at the beginning of a record. Holds no text, so that records of any size need no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSplitter {
    state: State,
    begun: bool,
}

impl Default for RecordSplitter {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordSplitter {
    /// Stands at the beginning of a record.
    pub fn new() -> Self {
        Self { state: State::FieldStart, begun: false }
    }

    /// Whether a record has begun that no newline has ended yet.
    pub fn is_inside_record(&self) -> bool {
        self.begun
    }

    /// Whether the text ends inside quotes; at the end of a file that is an error.
    pub fn is_inside_quotes(&self) -> bool {
        self.state == State::Quoted
    }

    /// Consumes bytes up to and with the next record end; returns how many, or nothing if the
    /// record goes on behind `chunk`, which is then consumed.
    #[inline]
    pub fn next_end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        self.begun |= !chunk.is_empty();
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            if self.state == State::Quoted {
                // Behind a closing quote comes a separator, or a second quote that stands for a
                // quote: then the next turn sees it at a "field start" and goes on quoted.
                at += memchr(b'"', rest)? + 1;
                self.state = State::FieldStart;
                continue;
            }
            let Some(found) = memchr2(b'\n', b'"', rest) else {
                self.state = match rest.last() {
                    None => self.state,
                    Some(b',') => State::FieldStart,
                    Some(_) => State::Field,
                };
                return None;
            };
            let place = at + found;
            at = place + 1;
            if chunk.get(place) == Some(&b'\n') {
                self.state = State::FieldStart;
                self.begun = false;
                return Some(at);
            }
            let opens = match found.checked_sub(1).and_then(|before| rest.get(before)) {
                Some(before) => *before == b',',
                None => self.state == State::FieldStart,
            };
            self.state = if opens { State::Quoted } else { State::Field };
        }
    }

    /// Consumes a whole chunk; returns the offset behind the last record end in it.
    pub fn last_end(&mut self, chunk: &[u8]) -> Option<usize> {
        if self.state != State::Quoted && memchr(b'"', chunk).is_none() {
            let last = memrchr(b'\n', chunk).map(|place| place + 1);
            let tail = chunk.get(last.unwrap_or(0)..).unwrap_or_default();
            if last.is_some() {
                *self = Self::new();
            }
            // Without a newline and a quote in it, the tail only moves the state.
            let none = self.next_end(tail);
            debug_assert!(none.is_none());
            return last;
        }
        let (mut at, mut last) = (0, None);
        while let Some(length) = self.next_end(chunk.get(at..).unwrap_or_default()) {
            at += length;
            last = Some(at);
        }
        last
    }
}

/// The records of a text: yields the byte range of each, with its newline.
///
/// A last record without a newline counts. A byte order mark at the beginning of the text belongs
/// to the first record and does not keep a quote behind it from opening quoted text.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Stands at the first record of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Whether the text ends inside quotes, counted from the record that comes next.
    pub fn ends_inside_quotes(&self) -> bool {
        let mut splitter = RecordSplitter::new();
        splitter.last_end(self.text.get(self.at..).unwrap_or_default());
        splitter.is_inside_quotes()
    }
}

impl Iterator for Records<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let skipped = if start == 0 && rest.starts_with(BOM) { BOM.len() } else { 0 };
        let content = rest.get(skipped..).unwrap_or_default();
        let length = RecordSplitter::new().next_end(content).unwrap_or(content.len());
        self.at = start + skipped + length;
        Some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let records: Vec<&str> = Records::new(text.as_bytes()).map(|range| &text[range]).collect();
        assert_eq!(records, expected);
    }

    #[test]
    fn records_end_at_newlines_outside_quotes() {
        check("", &[]);
        check("a,b\nc,d\n", &["a,b\n", "c,d\n"]);
        check("a\r\nb", &["a\r\n", "b"]);
        check("\n\n", &["\n", "\n"]);
        check("\"a\nb\",c\nd\n", &["\"a\nb\",c\n", "d\n"]);
        check("\"a\"\"\nb\"\nd\n", &["\"a\"\"\nb\"\n", "d\n"]);
        check("\"\"\nx\n", &["\"\"\n", "x\n"]);
        check("\"\"\"\n\"\nx\n", &["\"\"\"\n\"\n", "x\n"]);
        check("5\" pipe\nx\n", &["5\" pipe\n", "x\n"]);
        check("x,\"open\ny\n", &["x,\"open\ny\n"]);
        check("\u{feff}\"a\nb\"\nx\n", &["\u{feff}\"a\nb\"\n", "x\n"]);
    }

    #[test]
    fn text_that_ends_inside_quotes_is_noticed() {
        assert!(Records::new(b"a\n\"b\n").ends_inside_quotes());
        assert!(!Records::new(b"a\n\"b\"\n").ends_inside_quotes());
        assert!(!Records::new(b"a\n\"b\"\"\"").ends_inside_quotes());
    }

    proptest! {
        #[test]
        fn chunking_does_not_move_record_ends(text in "[ab,\"\n\r]{0,60}", cut in 0_usize..61) {
            let text = text.as_bytes();
            let whole: Vec<usize> = Records::new(text).map(|range| range.end).collect();
            let (first, second) = text.split_at(cut.min(text.len()));
            let mut splitter = RecordSplitter::new();
            let mut ends = Vec::new();
            for (base, chunk) in [(0, first), (first.len(), second)] {
                let mut at = 0;
                while let Some(length) = splitter.next_end(&chunk[at..]) {
                    at += length;
                    ends.push(base + at);
                }
            }
            let mut fast = RecordSplitter::new();
            let last = [(0, first), (first.len(), second)].iter()
                .filter_map(|(base, chunk)| fast.last_end(chunk).map(|end| base + end))
                .last();
            prop_assert_eq!(last, ends.last().copied());
            prop_assert_eq!(fast, splitter);
            if splitter.is_inside_record() {
                ends.push(text.len());
            }
            prop_assert_eq!(ends, whole);
        }
    }
}
