//! Splits the records of a piece of text into fields, in one pass over 64-byte blocks.
//!
//! Each block gives a bit mask of its commas, quotes and newlines; the pass visits only those.
//! The fields of a chunk of records are kept in one table, so that the columns are converted one
//! after the other by tight loops.

use std::borrow::Cow;

use super::codes::{self, Code};
use super::quote;

/// Place of a field in the text of its chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    start: u32,
    /// Length, and the two flags in the highest bits.
    length: u32,
}

const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;

/// Texts of fields are shorter than this.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 30;

/// What one field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, [u8]>),
}

impl Field {
    /// A field that is text even when empty.
    pub(super) fn literal(range: std::ops::Range<usize>) -> Option<Self> {
        let start = u32::try_from(range.start).ok()?;
        let length = u32::try_from(range.len()).ok()?;
        (length < ESCAPED).then_some(Self { start, length: length | QUOTED })
    }

    /// A field without a value.
    pub(super) const NULL: Self = Self { start: 0, length: 0 };

    #[inline]
    pub(super) fn is_null(self) -> bool {
        self.length == 0
    }

    /// The bytes between the separators, or between the quotes.
    #[inline]
    pub(super) fn bytes(self, text: &[u8]) -> &[u8] {
        let start = self.start as usize;
        let length = (self.length & !(QUOTED | ESCAPED)) as usize;
        text.get(start..start + length).unwrap_or_default()
    }

    /// Whether the field stands in quotes.
    #[inline]
    pub(super) fn is_quoted(self) -> bool {
        self.length & QUOTED != 0
    }

    /// Whether doubled quotes stand inside.
    #[inline]
    pub(super) fn is_escaped(self) -> bool {
        self.length & ESCAPED != 0
    }

    /// The value of the field.
    #[inline]
    pub(super) fn cell(self, text: &[u8]) -> Cell<'_> {
        if self.is_null() {
            return Cell::Null;
        }
        let bytes = self.bytes(text);
        if !self.is_escaped() {
            return Cell::Text(Cow::Borrowed(bytes));
        }
        let mut plain = Vec::with_capacity(bytes.len());
        quote::write_unescaped(bytes, &mut plain);
        Cell::Text(Cow::Owned(plain))
    }
}

/// One column of the fields of a chunk of records.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnFields<'a> {
    pub(super) text: &'a [u8],
    pub(super) fields: &'a [Field],
    /// Fields of a record.
    pub(super) width: usize,
    /// Which of them, from 0.
    pub(super) column: usize,
}

impl<'a> ColumnFields<'a> {
    #[inline]
    pub(super) fn iter(self) -> impl Iterator<Item = Field> + 'a {
        self.fields.iter().skip(self.column).step_by(self.width.max(1)).copied()
    }
}

/// A record that does not split into the right fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) code: &'static Code,
    /// Range of the record in the text that `split` was given.
    pub(super) record: std::ops::Range<usize>,
    /// Fields found before the trouble, which is the index of the bad field.
    pub(super) fields: usize,
}

/// The fields of a chunk of records, `width` for each record that has as many.
#[derive(Debug, Default)]
pub(super) struct FieldTable {
    pub(super) fields: Vec<Field>,
    /// Where each record of the table starts in the text.
    pub(super) starts: Vec<u32>,
}

/// Splitting of one record, between two separators.
struct Progress {
    width: usize,
    record: usize,
    field: usize,
    /// Fields of the table before this record.
    base: usize,
    quoted: bool,
    escaped: bool,
    /// Inside quotes.
    open: bool,
    /// Behind the last closing quote.
    closed: usize,
    bad: Option<&'static Code>,
    bad_field: usize,
}

impl FieldTable {
    /// Replaces the table by the fields of the next records of `text`, at most `records_max`.
    ///
    /// Returns how many bytes were consumed. Records that do not have `width` fields, or in which
    /// quotes stand in wrong places, are handed to `malformed` and left out.
    pub(super) fn split(
        &mut self,
        text: &[u8],
        width: usize,
        records_max: usize,
        malformed: &mut dyn FnMut(Malformed),
    ) -> usize {
        self.fields.clear();
        self.starts.clear();
        let text = text.get(..CHUNK_BYTES_MAX).unwrap_or(text);
        let mut now = Progress {
            width,
            record: 0,
            field: 0,
            base: 0,
            quoted: false,
            escaped: false,
            open: false,
            closed: 0,
            bad: None,
            bad_field: 0,
        };
        let mut records = 0;
        let mut skip = usize::MAX;
        let mut block_start = 0;
        while block_start < text.len() {
            let mut mask = block_mask(text, block_start);
            while mask != 0 {
                let at = block_start + mask.trailing_zeros() as usize;
                mask &= mask - 1;
                if at == skip {
                    continue;
                }
                match text.get(at) {
                    Some(b'"') => {
                        if now.open && text.get(at + 1) == Some(&b'"') {
                            now.escaped = true;
                            skip = at + 1;
                        } else {
                            now.quote(at, self.fields.len());
                        }
                    }
                    _ if now.open => {}
                    Some(b',') => self.end_field(&mut now, text, at),
                    _ => {
                        self.end_record(&mut now, text, at, at + 1, malformed);
                        records += 1;
                        if records == records_max {
                            return at + 1;
                        }
                    }
                }
            }
            block_start += 64;
        }
        if now.record < text.len() {
            if now.open {
                now.fail(&codes::UNCLOSED_QUOTE, self.fields.len());
            }
            self.end_record(&mut now, text, text.len(), text.len(), malformed);
        }
        text.len()
    }

    #[inline]
    fn end_field(&mut self, now: &mut Progress, text: &[u8], end: usize) {
        let (start, end) = if now.quoted {
            if now.closed != end {
                now.fail(&codes::AFTER_QUOTE, self.fields.len());
            }
            (now.field + 1, now.closed.saturating_sub(1).max(now.field + 1))
        } else {
            (now.field, end)
        };
        let flags = (u32::from(now.quoted) << 31) | (u32::from(now.escaped) << 30);
        // Both fit: `split` cuts the text to CHUNK_BYTES_MAX.
        let place = (u32::try_from(start), u32::try_from(end - start));
        if let (Ok(start), Ok(length)) = place {
            self.fields.push(Field { start, length: length | flags });
        }
        now.field = text.len().min(end_of(now, end) + 1);
        now.quoted = false;
        now.escaped = false;
        now.closed = 0;
    }

    #[inline]
    fn end_record(
        &mut self,
        now: &mut Progress,
        text: &[u8],
        end: usize,
        next: usize,
        malformed: &mut dyn FnMut(Malformed),
    ) {
        let content_end = match end.checked_sub(1) {
            Some(before)
                if before >= now.field && !now.open && text.get(before) == Some(&b'\r') =>
            {
                before
            }
            _ => end,
        };
        self.end_field(now, text, content_end);
        let count = self.fields.len() - now.base;
        if now.bad.is_none() && count == now.width {
            self.starts.push(u32::try_from(now.record).unwrap_or(u32::MAX));
        } else {
            let code = now.bad.unwrap_or(&codes::FIELD_COUNT);
            let fields = if now.bad.is_some() { now.bad_field } else { count };
            malformed(Malformed { code, record: now.record..next, fields });
            self.fields.truncate(now.base);
        }
        now.base = self.fields.len();
        now.record = next;
        now.field = next;
        now.open = false;
        now.bad = None;
    }
}

/// End of a field as a place in the text: behind the closing quote if it is quoted.
#[inline]
fn end_of(now: &Progress, end: usize) -> usize {
    if now.quoted { now.closed } else { end }
}

impl Progress {
    fn quote(&mut self, at: usize, fields: usize) {
        if self.open {
            self.open = false;
            self.closed = at + 1;
        } else if at == self.field {
            self.open = true;
            self.quoted = true;
        } else {
            let code = if self.quoted { &codes::AFTER_QUOTE } else { &codes::STRAY_QUOTE };
            self.fail(code, fields);
        }
    }

    /// Notes the first trouble of the record.
    fn fail(&mut self, code: &'static Code, fields: usize) {
        if self.bad.is_none() {
            self.bad = Some(code);
            self.bad_field = fields - self.base;
        }
    }
}

/// Bit `i` is set if byte `start + i` of the text is a comma, quote or newline.
#[inline]
fn block_mask(text: &[u8], start: usize) -> u64 {
    match text.get(start..).and_then(|rest| rest.first_chunk::<64>()) {
        Some(block) => separators(block),
        None => {
            let rest = text.get(start..).unwrap_or_default();
            let mut block = [0; 64];
            if let Some(place) = block.get_mut(..rest.len()) {
                place.copy_from_slice(rest);
            }
            separators(&block)
        }
    }
}

#[inline]
fn separators(block: &[u8; 64]) -> u64 {
    quote::mask64(block, |byte| (byte == b',') | (byte == b'"') | (byte == b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = Vec<Option<String>>;

    fn split(text: &str, width: usize) -> (Vec<Row>, Vec<(&'static str, usize)>) {
        let mut table = FieldTable::default();
        let mut bad = Vec::new();
        let consumed = table.split(text.as_bytes(), width, usize::MAX, &mut |malformed| {
            bad.push((malformed.code.id, malformed.fields));
        });
        assert_eq!(consumed, text.len());
        let rows = table
            .fields
            .chunks(width)
            .map(|row| {
                row.iter()
                    .map(|field| match field.cell(text.as_bytes()) {
                        Cell::Null => None,
                        Cell::Text(text) => Some(String::from_utf8(text.into_owned()).unwrap()),
                    })
                    .collect()
            })
            .collect();
        (rows, bad)
    }

    fn row(cells: &[Option<&str>]) -> Row {
        cells.iter().map(|cell| cell.map(str::to_owned)).collect()
    }

    #[test]
    fn fields_quotes_and_line_ends_are_told_apart() {
        let (rows, bad) = split("a,,\"\"\r\n\"x,\"\"y\"\"\n\",\"b\"\r\n1,2,3", 3);
        assert_eq!(bad, [("MNT-1201", 2)]);
        assert_eq!(
            rows,
            [row(&[Some("a"), None, Some("")]), row(&[Some("1"), Some("2"), Some("3")])]
        );
        let (rows, bad) = split("\"x,\"\"y\"\"\n\",\"b\"\r\n", 2);
        assert_eq!((rows, bad), (vec![row(&[Some("x,\"y\"\n"), Some("b")])], vec![]));
        let (rows, _) = split("\n\"\"\n\r\n", 1);
        assert_eq!(rows, [row(&[None]), row(&[Some("")]), row(&[None])]);
    }

    #[test]
    fn misplaced_quotes_are_refused_and_the_next_record_is_read() {
        for (text, code, field) in [
            ("a,5\" b\nx,y\n", "MNT-1207", 1),
            ("\"a\"b,c\nx,y\n", "MNT-1206", 0),
            ("\"a\"\"b\"c,d\nx,y\n", "MNT-1206", 0),
            ("\"a\" \"b\",d\nx,y\n", "MNT-1206", 0),
            ("a,b,c\nx,y\n", "MNT-1201", 3),
            ("\nx,y\n", "MNT-1201", 1),
        ] {
            let (rows, bad) = split(text, 2);
            assert_eq!(bad, [(code, field)], "{text}");
            assert_eq!(rows, [row(&[Some("x"), Some("y")])], "{text}");
        }
        assert_eq!(split("x,y\na,\"b\nc,d\n", 2).1, [("MNT-1202", 1)]);
    }

    #[test]
    fn blocks_do_not_matter() {
        for pad in 0..140 {
            let long = "p".repeat(pad);
            let text = format!("{long},\"{long}\"\"\",{long}\n{long},2,\r\n");
            let (rows, bad) = split(&text, 3);
            assert_eq!(bad, []);
            let cell = (pad > 0).then_some(long.as_str());
            let quoted = format!("{long}\"");
            assert_eq!(rows[0], row(&[cell, Some(&quoted), cell]));
            assert_eq!(rows[1], row(&[cell, Some("2"), None]));
        }
    }
}
