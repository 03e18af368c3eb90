//! The texts of a run of cells of one column, measured and ready to be copied.
//!
//! Numbers and times are formatted into slots of fixed size, which copy with two vector moves;
//! text stays where it is and only its place and its need for quotes are noted; everything else
//! is written into a buffer first. Used chunk by chunk, so that a chunk stays in the cache.

use std::ops::Range;

use arrow::array::{Array, AsArray, GenericStringArray, OffsetSizeTrait};
use arrow::datatypes::DataType;

use super::calendar::{SLOT, Slot};
use super::quote::Marks;
use super::raw::Validity;
use super::{quote, raw};
use crate::error::{Error, Result};

/// Place of a text in its buffer and its length as written.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    length: usize,
    /// Greater than `length` if the text is to be quoted.
    written: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Nothing,
    Slots,
    Borrowed,
    Owned,
}

/// Cells of a run of rows of one column.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    array: &'a dyn Array,
    form: Form,
    slots: Vec<Slot>,
    lengths: Vec<u8>,
    spans: Vec<Span>,
    /// Texts of the array's dictionary, once they were looked at.
    entries: Vec<Span>,
    borrowed: &'a [u8],
    owned: Vec<u8>,
    /// Of the texts at hand, if any is to be quoted.
    marks: Marks,
}

impl<'a> Cells<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Self {
        Self {
            array,
            form: Form::Nothing,
            slots: Vec::new(),
            lengths: Vec::new(),
            spans: Vec::new(),
            entries: Vec::new(),
            borrowed: &[],
            owned: Vec::new(),
            marks: Marks::default(),
        }
    }

    /// Replaces the content by the texts of `rows`.
    ///
    /// # Errors
    /// `Unsupported` for a type without a text.
    pub(super) fn load(&mut self, rows: Range<usize>) -> Result<()> {
        let array = self.array;
        self.form = match array.data_type() {
            DataType::Null => Form::Nothing,
            DataType::Utf8 => self.load_text(array.as_string::<i32>(), rows)?,
            DataType::LargeUtf8 => self.load_text(array.as_string::<i64>(), rows)?,
            DataType::Dictionary(_, values) => match self.load_dictionary(array, rows.clone()) {
                Some(form) => form,
                None => {
                    let chunk = array.slice(rows.start, rows.len());
                    let unpacked = raw::unpack_dictionary(chunk.as_ref(), values)?;
                    self.load_written(unpacked.as_ref(), 0..unpacked.len())?
                }
            },
            other if fits_slots(other) => {
                raw::fill_slots(array, rows, &mut self.slots, &mut self.lengths)?;
                Form::Slots
            }
            other if super::supported(other) => self.load_written(array, rows)?,
            other => return Err(raw::unsupported(other)),
        };
        Ok(())
    }

    fn load_text<O: OffsetSizeTrait>(
        &mut self,
        array: &'a GenericStringArray<O>,
        rows: Range<usize>,
    ) -> Result<Form> {
        self.borrowed = array.values();
        self.spans.clear();
        let Some(offsets) = array.value_offsets().get(rows.start..=rows.end) else {
            return Err(Error::internal("rows outside the array"));
        };
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return Ok(Form::Borrowed);
        };
        // One scan over the whole run; runs without any special byte are the rule.
        let run = self.borrowed.get(first.as_usize()..last.as_usize()).unwrap_or_default();
        let clean = !quote::has_special(run);
        // Marks of texts before these must not stay: quoted ones are copied by them.
        self.marks.clear();
        if !clean {
            self.marks.scan(run, first.as_usize());
        }
        let (borrowed, marks) = (self.borrowed, &self.marks);
        let span = |(start, end): (&O, &O)| {
            let start = start.as_usize();
            let text = borrowed.get(start..end.as_usize()).unwrap_or_default();
            let written = match clean {
                true if quote::has_odd_ends(text) => text.len() + 2,
                true => text.len(),
                false => marks.written_length(text, start),
            };
            Span { start, length: text.len(), written }
        };
        let bounds = offsets.iter().zip(offsets.get(1..).unwrap_or_default());
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.spans.extend(bounds.map(span)),
            Some(nulls) => self.spans.extend(bounds.zip(rows).map(|(bounds, row)| {
                if nulls.is_null(row) { Span::default() } else { span(bounds) }
            })),
        }
        Ok(Form::Borrowed)
    }

    fn load_written(&mut self, array: &dyn Array, rows: Range<usize>) -> Result<Form> {
        self.owned.clear();
        self.spans.clear();
        self.marks.clear();
        let (spans, mut start) = (&mut self.spans, 0);
        raw::append_texts(array, rows, &mut self.owned, |out, validity| {
            let length = out.len() - start;
            spans.push(match validity {
                Validity::Null => Span::default(),
                Validity::Valid => {
                    let written = if length == 0 { 2 } else { length };
                    Span { start, length, written }
                }
            });
            start = out.len();
        })?;
        // Digits and base64 hold nothing that is quoted.
        if !is_plain(array.data_type()) {
            let clean = !quote::has_special(&self.owned);
            if !clean {
                self.marks.scan(&self.owned, 0);
            }
            for span in self.spans.iter_mut().filter(|span| span.length > 0) {
                let text = self.owned.get(span.start..span.start + span.length);
                let text = text.unwrap_or_default();
                span.written = match clean {
                    true if quote::has_odd_ends(text) => text.len() + 2,
                    true => text.len(),
                    false => self.marks.written_length(text, span.start),
                };
            }
        }
        Ok(Form::Owned)
    }

    /// Looks at each text of the dictionary once, and takes the texts of the rows from there.
    fn load_dictionary(&mut self, array: &'a dyn Array, rows: Range<usize>) -> Option<Form> {
        let dictionary = array.as_any_dictionary_opt()?;
        let texts = dictionary.values().as_string_opt::<i32>()?;
        // Looking up is for dictionaries that are small beside what they stand for.
        if texts.is_empty() || texts.len() > array.len() || texts.null_count() > 0 {
            return None;
        }
        if self.entries.is_empty() {
            self.load_text(texts, 0..texts.len()).ok()?;
            self.entries = std::mem::take(&mut self.spans);
        }
        self.borrowed = texts.values();
        self.spans.clear();
        let chunk = array.slice(rows.start, rows.len());
        let keys = chunk.as_any_dictionary_opt()?.normalized_keys();
        let entries = &self.entries;
        self.spans.extend(keys.into_iter().enumerate().map(|(row, key)| {
            if chunk.is_null(row) { None } else { entries.get(key).copied() }.unwrap_or_default()
        }));
        Some(Form::Borrowed)
    }

    /// Bytes of all cells as written.
    pub(super) fn written(&self) -> usize {
        match self.form {
            Form::Nothing => 0,
            Form::Slots => self.lengths.iter().map(|length| usize::from(*length)).sum(),
            Form::Borrowed | Form::Owned => self.spans.iter().map(|span| span.written).sum(),
        }
    }

    /// Copies the text of the cell to `out` at `at`, returns the place behind it.
    ///
    /// `out` must be longer by `SLOT` than what is written into it: copies of fixed size write
    /// beyond the text, into bytes that are written later.
    #[inline]
    pub(super) fn copy(&self, index: usize, out: &mut [u8], at: usize) -> usize {
        match self.form {
            Form::Nothing => at,
            Form::Slots => {
                let (Some(slot), Some(length)) = (self.slots.get(index), self.lengths.get(index))
                else {
                    return at;
                };
                if let Some(place) = out.get_mut(at..at + SLOT) {
                    place.copy_from_slice(slot);
                }
                at + usize::from(*length)
            }
            Form::Borrowed => self.copy_span(index, self.borrowed, out, at),
            Form::Owned => self.copy_span(index, &self.owned, out, at),
        }
    }

    #[inline]
    fn copy_span(&self, index: usize, buffer: &[u8], out: &mut [u8], at: usize) -> usize {
        let Some(span) = self.spans.get(index) else { return at };
        if span.written != span.length {
            return self.copy_quoted(span, buffer, out, at);
        }
        copy_part(buffer, span.start, span.length, out, at)
    }

    #[inline]
    fn copy_quoted(&self, span: &Span, buffer: &[u8], out: &mut [u8], at: usize) -> usize {
        let mut at = put(out, at, b'"');
        let mut from = span.start;
        self.marks.quotes_of(span.start, span.length, |quote| {
            at = copy_part(buffer, from, quote + 1 - from, out, at);
            at = put(out, at, b'"');
            from = quote + 1;
        });
        at = copy_part(buffer, from, span.start + span.length - from, out, at);
        put(out, at, b'"')
    }
}

#[inline]
fn put(out: &mut [u8], at: usize, byte: u8) -> usize {
    if let Some(place) = out.get_mut(at) {
        *place = byte;
    }
    at + 1
}

/// Copies bytes of the buffer to `out` at `at`, returns the place behind them.
#[inline]
fn copy_part(buffer: &[u8], start: usize, length: usize, out: &mut [u8], at: usize) -> usize {
    if length <= SLOT
        && let (Some(text), Some(place)) =
            (buffer.get(start..start + SLOT), out.get_mut(at..at + SLOT))
    {
        place.copy_from_slice(text);
    } else if let (Some(text), Some(place)) =
        (buffer.get(start..start + length), out.get_mut(at..at + length))
    {
        place.copy_from_slice(text);
    }
    at + length
}

/// Types of which no text is ever quoted but the empty one.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_decimal()
        || matches!(
            data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
}

fn fits_slots(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
                | DataType::Duration(_)
        )
}
