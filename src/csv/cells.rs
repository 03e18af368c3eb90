//! The texts of a run of cells of one column, measured and ready to be copied.
//!
//! Numbers and times are formatted into slots of fixed size, which copy with two vector moves;
//! text stays where it is and only its place and its need for quotes are noted; everything else
//! is written into a buffer first. Used chunk by chunk, so that a chunk stays in the cache.

use std::ops::Range;

use arrow::array::{Array, AsArray, GenericStringArray, OffsetSizeTrait};
use arrow::datatypes::DataType;

use super::calendar::{SLOT, Slot};
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
    borrowed: &'a [u8],
    owned: Vec<u8>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(array: &'a dyn Array) -> Self {
        Self {
            array,
            form: Form::Nothing,
            slots: Vec::new(),
            lengths: Vec::new(),
            spans: Vec::new(),
            borrowed: &[],
            owned: Vec::new(),
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
            DataType::Dictionary(_, values) => {
                let chunk = array.slice(rows.start, rows.len());
                let unpacked = raw::unpack_dictionary(chunk.as_ref(), values)?;
                self.load_written(unpacked.as_ref(), 0..unpacked.len())?
            }
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
        let borrowed = self.borrowed;
        let span = |(start, end): (&O, &O)| {
            let start = start.as_usize();
            let text = borrowed.get(start..end.as_usize()).unwrap_or_default();
            let written = match clean {
                true if quote::has_odd_ends(text) => text.len() + 2,
                true => text.len(),
                false => quote::written_length(text),
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
        for row in rows {
            let start = self.owned.len();
            if array.is_null(row) {
                self.spans.push(Span::default());
                continue;
            }
            raw::write_raw(array, row, &mut self.owned)?;
            let text = self.owned.get(start..).unwrap_or_default();
            let written = quote::written_length(text);
            self.spans.push(Span { start, length: text.len(), written });
        }
        Ok(Form::Owned)
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
            return copy_quoted(span, buffer, out, at);
        }
        if span.length <= SLOT
            && let (Some(text), Some(place)) =
                (buffer.get(span.start..span.start + SLOT), out.get_mut(at..at + SLOT))
        {
            place.copy_from_slice(text);
        } else if let (Some(text), Some(place)) =
            (buffer.get(span.start..span.start + span.length), out.get_mut(at..at + span.length))
        {
            place.copy_from_slice(text);
        }
        at + span.length
    }
}

#[cold]
fn copy_quoted(span: &Span, buffer: &[u8], out: &mut [u8], at: usize) -> usize {
    let text = buffer.get(span.start..span.start + span.length).unwrap_or_default();
    let mut quoted = Vec::with_capacity(span.written);
    quote::write_quoted(text, &mut quoted);
    debug_assert_eq!(quoted.len(), span.written);
    if let Some(place) = out.get_mut(at..at + quoted.len()) {
        place.copy_from_slice(&quoted);
    }
    at + quoted.len()
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
