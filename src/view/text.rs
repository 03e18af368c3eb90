//! One snapshot's CSV text: prefix sums over the layout's pieces.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use super::Engine;
use super::ahead::Readers;
use super::cache::{Source, Wanted};
use super::index::Shown;
use crate::csv;
use crate::error::{Error, Result};
use crate::table::layout::{Layout, Piece, columns_digest};
use crate::table::snapshot::{DataFile, Snapshot};

/// A base that is not known yet.
const UNKNOWN: u64 = u64::MAX;

/// A row found by an offset of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowAt {
    /// Number of the row, 0 = first row after the header.
    pub ordinal: u64,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its newline.
    pub end: u64,
}

/// An immutable snapshot as a CSV file.
#[derive(Debug)]
pub struct CsvView {
    engine: Arc<Engine>,
    snapshot: Arc<Snapshot>,
    shown: Arc<Shown>,
    header: Bytes,
    files: Vec<DataFile>,
    pieces: Vec<PlacedPiece>,
    len: u64,
    rows: u64,
    readers: Mutex<Readers>,
    /// For work that goes on after the call that began it.
    me: Weak<Self>,
}

#[derive(Debug)]
struct PlacedPiece {
    piece: Piece,
    /// Offset of its text in the whole text, header included.
    offset: u64,
    /// Rows in front of it.
    ordinal: u64,
    /// Offset of its text in the text of its file, once it is known.
    base: AtomicU64,
}

/// A part of a block that is read.
#[derive(Debug)]
struct Slice {
    wanted: Wanted,
    /// Range of the block's text.
    range: Range<u64>,
}

/// Where a piece's edges must be in a block, from the lengths that the layout promises.
#[derive(Debug)]
struct Edge {
    wanted: Wanted,
    row: u32,
    offset: u64,
}

/// The text of a piece within the text of its file.
#[derive(Debug)]
struct Located {
    source: Source,
    /// Offset of the piece's text in the file's text.
    base: u64,
}

impl CsvView {
    /// Puts the pieces in place.
    pub(super) fn new(
        engine: Arc<Engine>,
        snapshot: Arc<Snapshot>,
        layout: &Layout,
    ) -> Result<Arc<Self>> {
        let damaged = |message: &'static str| {
            Error::corrupt(message).with("table", &snapshot.table).with("version", snapshot.version)
        };
        if layout.columns != columns_digest(&snapshot.schema) {
            return Err(damaged("the order of rows was measured for other columns"));
        }
        let mut header = Vec::new();
        csv::render_header(&snapshot.schema, &mut header);
        let files = files_of(layout, &snapshot);
        let begin = u64::try_from(header.len()).unwrap_or(u64::MAX);
        let (pieces, len, rows) = place(&layout.pieces, &files, begin)
            .ok_or_else(|| damaged("the order of rows names rows that are not there"))?;
        if rows != snapshot.rows() {
            return Err(damaged("the order of rows has another number of rows than the snapshot")
                .with("expected", snapshot.rows())
                .with("found", rows));
        }
        Ok(Arc::new_cyclic(|me| Self {
            engine,
            shown: Shown::new(&snapshot.schema),
            header: header.into(),
            files,
            pieces,
            len,
            rows,
            readers: Mutex::new(Readers::default()),
            me: me.clone(),
            snapshot,
        }))
    }

    /// The snapshot that is shown.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The shown columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.shown.schema
    }

    /// The header line with its newline.
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// Bytes of the whole text, header included.
    #[allow(clippy::len_without_is_empty, reason = "a text with a header is never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Number of rows, header not counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Memory held, in bytes.
    pub fn weight(&self) -> u64 {
        let held = self.pieces.len() * size_of::<PlacedPiece>()
            + self.files.len() * size_of::<DataFile>()
            + self.header.len()
            + 1024;
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// The bytes of a range, cut at the text's end, as slices of cached blocks in order.
    ///
    /// A reader that goes on where it ended is read ahead for in the background.
    ///
    /// # Errors
    /// `Corrupt` if a data file is damaged, missing or contradicts the layout; `Unavailable` if
    /// the store does not answer.
    pub async fn read_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let range = range.start.min(self.len)..range.end.min(self.len);
        let mut parts = Vec::new();
        if range.is_empty() {
            return Ok(parts);
        }
        let ahead = self.note_read(&range);
        let (slices, edges) = self.want(&range).await?;
        if let Some(ahead) = ahead {
            // What was just asked for is already on its way, so it is not delayed by this.
            self.read_ahead(ahead);
        }
        if let Some(header) = self.header_part(&range) {
            parts.push(header);
        }
        for slice in slices {
            let block = slice.wanted.block().await?;
            parts.push(cut(&block.text, &slice.range)?);
        }
        for edge in edges {
            let block = edge.wanted.block().await?;
            if block.start_of(edge.row) != edge.offset {
                return Err(self.lengths_differ());
            }
        }
        Ok(parts)
    }

    /// Renders a range in the background, so that it is there when it is asked for.
    fn read_ahead(&self, range: Range<u64>) {
        let Some(view) = self.me.upgrade() else { return };
        tokio::spawn(async move {
            // The reader that comes this far is told what is wrong.
            if let Err(error) = view.want(&range).await {
                tracing::debug!(%error, "read ahead");
            }
        });
    }

    fn note_read(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = readers.observe(range, self.engine.ahead_bytes)?;
        (ahead.start < self.len).then(|| ahead.start..ahead.end.min(self.len))
    }

    fn header_part(&self, range: &Range<u64>) -> Option<Bytes> {
        let len = u64::try_from(self.header.len()).unwrap_or(u64::MAX);
        let (start, end) = (range.start.min(len), range.end.min(len));
        if start >= end {
            return None;
        }
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        Some(self.header.slice(start..end))
    }

    /// Asks for all blocks that hold a range; their work is under way when this returns.
    async fn want(&self, range: &Range<u64>) -> Result<(Vec<Slice>, Vec<Edge>)> {
        let (mut slices, mut edges) = (Vec::new(), Vec::new());
        let after = self.pieces.partition_point(|piece| piece.offset <= range.start);
        let mut known: Option<(u32, Source)> = None;
        for placed in self.pieces.iter().skip(after.saturating_sub(1)) {
            let start = range.start.max(placed.offset);
            let end = range.end.min(placed.offset + placed.piece.bytes);
            if placed.offset >= range.end {
                break;
            }
            if start >= end {
                continue;
            }
            let source = match &known {
                Some((file, source)) if *file == placed.piece.file => source.clone(),
                _ => self.source(placed.piece.file).await?,
            };
            known = Some((placed.piece.file, source.clone()));
            let located = self.locate_piece(placed, source).await?;
            let inside = start - placed.offset..end - placed.offset;
            self.want_piece(placed, &located, inside, &mut slices, &mut edges)?;
        }
        Ok((slices, edges))
    }

    /// Asks for the blocks of a range of a piece's text.
    fn want_piece(
        &self,
        placed: &PlacedPiece,
        located: &Located,
        inside: Range<u64>,
        slices: &mut Vec<Slice>,
        edges: &mut Vec<Edge>,
    ) -> Result<()> {
        let (piece, index) = (&placed.piece, &located.source.index);
        let text = located.base + inside.start..located.base + inside.end;
        if text.end > index.text_bytes() {
            return Err(self.lengths_differ());
        }
        let (first, last) =
            (index.block_of_offset(text.start), index.block_of_offset(text.end - 1));
        let blocks = self.engine.blocks.want(&located.source, first..last.saturating_add(1));
        for (number, wanted) in (first..).zip(blocks) {
            let (begin, length) = (index.start_of(number), index.bytes_of(number));
            // The piece must begin and end where rows do; checked where the block is read anyway.
            for (row, offset) in
                [(piece.first, located.base), (piece.range().end, located.base + piece.bytes)]
            {
                let rows = index.rows_of(number);
                if rows.start <= row && row <= rows.end && wanted_near(&text, offset) {
                    let wanted = wanted.clone();
                    let offset = offset.wrapping_sub(begin);
                    edges.push(Edge { wanted, row: row - rows.start, offset });
                }
            }
            let range = text.start.max(begin) - begin..text.end.min(begin + length) - begin;
            slices.push(Slice { wanted, range });
        }
        Ok(())
    }

    async fn source(&self, file: u32) -> Result<Source> {
        let file = usize::try_from(file).ok().and_then(|file| self.files.get(file));
        let file = file.ok_or_else(|| Error::internal("piece of an unknown file"))?;
        self.engine.source(file, &self.shown).await
    }

    /// Finds where a piece's text begins in its file's text; mostly without rendering.
    async fn locate_piece(&self, placed: &PlacedPiece, source: Source) -> Result<Located> {
        let known = placed.base.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return Ok(Located { source, base: known });
        }
        let (piece, index) = (&placed.piece, &source.index);
        let from_start = index.start_of_row(piece.first);
        let end = index.start_of_row(piece.range().end);
        let base = match (from_start, end) {
            (Some(start), Some(end)) if end.checked_sub(piece.bytes) == Some(start) => start,
            (Some(_), Some(_)) => return Err(self.lengths_differ()),
            (Some(start), None) => start,
            (None, Some(end)) => {
                end.checked_sub(piece.bytes).ok_or_else(|| self.lengths_differ())?
            }
            (None, None) => self.engine.start_of_row(&source, piece.first).await?,
        };
        placed.base.store(base, Ordering::Relaxed);
        Ok(Located { source, base })
    }

    fn lengths_differ(&self) -> Error {
        Error::corrupt("the order of rows promises another length than the rows have")
            .with("table", &self.snapshot.table)
            .with("version", self.snapshot.version)
    }

    /// The row that holds the byte at `offset`.
    ///
    /// # Errors
    /// `Invalid` if the offset lies in the header or behind the text; those of [`Self::read_at`].
    pub async fn row_at(&self, offset: u64) -> Result<RowAt> {
        let after = self.pieces.partition_point(|piece| piece.offset <= offset);
        let placed = after.checked_sub(1).and_then(|place| self.pieces.get(place));
        let (Some(placed), true) = (placed, offset < self.len) else {
            return Err(Error::invalid("no row at this offset").with("offset", offset));
        };
        let located = self.locate_piece(placed, self.source(placed.piece.file).await?).await?;
        let index = &located.source.index;
        let text = located.base + (offset - placed.offset);
        let number = index.block_of_offset(text);
        let block = self.engine.blocks.get(&located.source, number).await?;
        let row = block.row_at(text - index.start_of(number));
        let shift = |row: u32| {
            let text = index.start_of(number) + block.start_of(row);
            (text + placed.offset).checked_sub(located.base)
        };
        let file_row = index.rows_of(number).start.saturating_add(row);
        let inside = file_row.checked_sub(placed.piece.first);
        let inside = inside.filter(|inside| *inside < placed.piece.rows);
        match (inside, shift(row), shift(row.saturating_add(1))) {
            (Some(inside), Some(start), Some(end)) => {
                Ok(RowAt { ordinal: placed.ordinal + u64::from(inside), start, end })
            }
            _ => Err(self.lengths_differ()),
        }
    }

    /// Offset of the first byte of a row; of the text's end for the row behind the last.
    ///
    /// # Errors
    /// `Invalid` if there is no such row; those of [`Self::read_at`].
    pub async fn offset_of(&self, ordinal: u64) -> Result<u64> {
        if ordinal == self.rows {
            return Ok(self.len);
        }
        let (placed, inside) = self.piece_of(ordinal)?;
        if inside == 0 {
            return Ok(placed.offset);
        }
        let located = self.locate_piece(placed, self.source(placed.piece.file).await?).await?;
        let row = placed.piece.first.saturating_add(inside);
        let text = self.engine.start_of_row(&located.source, row).await?;
        let inside = text.checked_sub(located.base).filter(|inside| *inside <= placed.piece.bytes);
        Ok(placed.offset + inside.ok_or_else(|| self.lengths_differ())?)
    }

    fn piece_of(&self, ordinal: u64) -> Result<(&PlacedPiece, u32)> {
        let after = self.pieces.partition_point(|piece| piece.ordinal <= ordinal);
        let placed = after.checked_sub(1).and_then(|place| self.pieces.get(place));
        let inside = placed.and_then(|placed| u32::try_from(ordinal - placed.ordinal).ok());
        match (placed, inside) {
            (Some(placed), Some(inside)) if inside < placed.piece.rows => Ok((placed, inside)),
            _ => Err(Error::invalid("no such row").with("row", ordinal)),
        }
    }

    /// Where the rows of a range of ordinals are stored, in order; cut at the last row.
    pub fn locate(&self, ordinals: Range<u64>) -> Vec<(DataFile, Range<u32>)> {
        let mut runs = Vec::new();
        let after = self.pieces.partition_point(|piece| piece.ordinal <= ordinals.start);
        for placed in self.pieces.iter().skip(after.saturating_sub(1)) {
            if placed.ordinal >= ordinals.end {
                break;
            }
            let rows = u64::from(placed.piece.rows);
            let from = ordinals.start.saturating_sub(placed.ordinal).min(rows);
            let to = (ordinals.end - placed.ordinal).min(rows);
            let file = usize::try_from(placed.piece.file).ok().and_then(|at| self.files.get(at));
            if let (Some(file), Ok(from), Ok(to)) = (file, u32::try_from(from), u32::try_from(to))
                && from < to
            {
                let first = placed.piece.first;
                runs.push((file.clone(), first + from..first + to));
            }
        }
        runs
    }
}

/// The layout's files as the snapshot describes them, by the layout's numbers.
fn files_of(layout: &Layout, snapshot: &Snapshot) -> Vec<DataFile> {
    let by_path: HashMap<&str, &DataFile> =
        snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
    let paths = layout.files.iter();
    paths
        .map(|path| match by_path.get(path.as_ref()) {
            Some(file) => (*file).clone(),
            // It left the snapshot, so no piece may name it: it has no rows.
            None => DataFile { path: path.clone(), bytes: 0, rows: 0, columns: 0 },
        })
        .collect()
}

/// Prefix sums over the pieces: the placed pieces, the text's length and the number of rows;
/// `None` if a piece names rows that its file does not have.
fn place(
    pieces: &[Piece],
    files: &[DataFile],
    header_bytes: u64,
) -> Option<(Vec<PlacedPiece>, u64, u64)> {
    let (mut offset, mut ordinal) = (header_bytes, 0_u64);
    let mut placed = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let file = files.get(usize::try_from(piece.file).ok()?)?;
        if piece.rows == 0 || u64::from(piece.first) + u64::from(piece.rows) > file.rows {
            return None;
        }
        let base = AtomicU64::new(UNKNOWN);
        placed.push(PlacedPiece { piece: *piece, offset, ordinal, base });
        offset = offset.checked_add(piece.bytes)?;
        ordinal = ordinal.checked_add(u64::from(piece.rows))?;
    }
    Some((placed, offset, ordinal))
}

/// Whether an edge of a piece is an edge of what is read.
fn wanted_near(text: &Range<u64>, edge: u64) -> bool {
    edge == text.start || edge == text.end
}

fn cut(text: &Bytes, range: &Range<u64>) -> Result<Bytes> {
    match (usize::try_from(range.start), usize::try_from(range.end)) {
        (Ok(start), Ok(end)) if start <= end && end <= text.len() => Ok(text.slice(start..end)),
        _ => Err(Error::internal("block is shorter than its index says")),
    }
}
