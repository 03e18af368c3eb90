//! Rows that a text spells in another way than the table, as canonical text that is made when it
//! is read. What only differs in spelling is no change, and to find that out the whole of a large
//! text may have to be respelled: its memory stays that of a few chunks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::text::BlockingText;
use crate::csv::{self, Parser, Records, Text};
use crate::error::{Error, Result};
use crate::lake::CsvView;

/// Chunks that stay in memory: what the widest window of the comparison looks at, and more.
const CHUNKS_KEPT: usize = 8;

/// Where a chunk of the staged text is, and where its canonical text begins.
#[derive(Debug, Clone)]
struct Place {
    raw: Range<u64>,
    start: u64,
}

/// A chunk in memory.
struct Chunk {
    index: usize,
    text: Bytes,
    /// Ends of the rows in the canonical text.
    ends: Vec<u32>,
    /// Ends of the rows in the staged text.
    raw_ends: Vec<u32>,
    rows: RecordBatch,
}

/// A run of rows of a staged text.
pub(super) struct Piece {
    /// The rows.
    pub(super) rows: RecordBatch,
    /// Where the first of them begins in the staged text.
    pub(super) offset: u64,
}

/// Canonical text of some chunks of a staged text that follow each other.
pub(super) struct Respelled {
    source: BlockingText,
    parser: Parser,
    places: Vec<Place>,
    len: u64,
    /// The chunk used last is the last.
    kept: VecDeque<Rc<Chunk>>,
}

impl Respelled {
    /// Without chunks yet; `parser` is one of the staged text's columns.
    pub(super) fn new(source: BlockingText, parser: Parser) -> Self {
        Self { source, parser, places: Vec::new(), len: 0, kept: VecDeque::new() }
    }

    /// Adds the chunk behind those added before: what stands at `offset` of the staged text, its
    /// rows, their canonical text and the ends of the rows in it.
    pub(super) fn push(
        &mut self,
        offset: u64,
        raw: &[u8],
        rows: RecordBatch,
        (text, ends): (Vec<u8>, Vec<u32>),
    ) {
        let end = offset.saturating_add(length(raw.len()));
        self.places.push(Place { raw: offset..end, start: self.len });
        self.len = self.len.saturating_add(length(text.len()));
        let index = self.places.len() - 1;
        self.keep(Chunk { index, raw_ends: record_ends(raw), text: text.into(), ends, rows });
    }

    /// The rows of a range of the canonical text that begins and ends where rows do.
    ///
    /// # Errors
    /// As reading the staged text.
    pub(super) fn pieces(
        &mut self,
        range: Range<u64>,
        take: &mut dyn FnMut(Piece) -> Result<()>,
    ) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let (chunk, place) = self.chunk_at(at)?;
            let next = place.start + length(chunk.text.len());
            let first = row_of(&chunk.ends, at - place.start);
            let last = row_of(&chunk.ends, range.end.min(next) - place.start);
            let before = first.checked_sub(1).and_then(|row| chunk.raw_ends.get(row));
            take(Piece {
                rows: chunk.rows.slice(first, last - first),
                offset: place.raw.start + before.map_or(0, |end| u64::from(*end)),
            })?;
            at = next;
        }
        Ok(())
    }

    /// The chunk that holds an offset of the canonical text.
    fn chunk_at(&mut self, offset: u64) -> Result<(Rc<Chunk>, Place)> {
        let index = self.places.partition_point(|place| place.start <= offset).saturating_sub(1);
        let place = self.places.get(index).cloned();
        let place = place.ok_or_else(|| Error::internal("a chunk that was never read"))?;
        if let Some(found) = self.kept.iter().position(|chunk| chunk.index == index)
            && let Some(chunk) = self.kept.remove(found)
        {
            self.kept.push_back(Rc::clone(&chunk));
            return Ok((chunk, place));
        }
        let chunk = self.load(index, &place)?;
        Ok((self.keep(chunk), place))
    }

    fn load(&mut self, index: usize, place: &Place) -> Result<Chunk> {
        let size = usize::try_from(place.raw.end - place.raw.start).unwrap_or(usize::MAX);
        let mut raw = Vec::with_capacity(size);
        while raw.len() < size {
            let part = self.source.read(place.raw.start + length(raw.len()), size - raw.len())?;
            if part.is_empty() {
                return Err(changed());
            }
            raw.extend_from_slice(&part);
        }
        let rows = self.parser.parse(&raw, 1).map_err(|_| changed())?;
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        csv::render(&rows, &mut text, &mut ends)?;
        let next = self.places.get(index + 1).map_or(self.len, |next| next.start);
        if length(text.len()) != next - place.start {
            return Err(changed());
        }
        Ok(Chunk { index, raw_ends: record_ends(&raw), text: text.into(), ends, rows })
    }

    fn keep(&mut self, chunk: Chunk) -> Rc<Chunk> {
        let chunk = Rc::new(chunk);
        if self.kept.len() >= CHUNKS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Rc::clone(&chunk));
        chunk
    }
}

/// The canonical text for a comparison that hands out its rows meanwhile.
pub(super) struct Compared<'a>(pub(super) &'a RefCell<Respelled>);

impl Text for Compared<'_> {
    fn len(&self) -> u64 {
        self.0.borrow().len
    }

    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes> {
        let mut text = self.0.borrow_mut();
        if offset >= text.len {
            return Ok(Bytes::new());
        }
        let (chunk, place) = text.chunk_at(offset)?;
        let start = usize::try_from(offset - place.start).unwrap_or(usize::MAX);
        let start = start.min(chunk.text.len());
        let end = start.saturating_add(max).min(chunk.text.len());
        Ok(chunk.text.slice(start..end))
    }
}

/// A part of a snapshot's text as a text of its own.
pub(super) struct Part {
    text: BlockingText,
    range: Range<u64>,
}

impl Part {
    /// The records in `range` of a snapshot's text.
    pub(super) fn new(view: &Arc<CsvView>, range: Range<u64>) -> Self {
        Self { text: BlockingText::view(Arc::clone(view)), range }
    }
}

impl Text for Part {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes> {
        let left = self.len().saturating_sub(offset);
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(max);
        self.text.read(self.range.start.saturating_add(offset), max)
    }
}

fn changed() -> Error {
    Error::internal("the staged text changed while it was compared")
}

fn record_ends(raw: &[u8]) -> Vec<u32> {
    Records::new(raw).map(|range| u32::try_from(range.end).unwrap_or(u32::MAX)).collect()
}

/// Index of the row that begins at `offset` of a text whose rows end at `ends`.
fn row_of(ends: &[u32], offset: u64) -> usize {
    ends.partition_point(|end| u64::from(*end) <= offset)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
