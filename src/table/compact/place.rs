//! A snapshot's order with rows of some files found in the files that they were rewritten to.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::table::deletes::DeadRows;
use crate::table::edits::{Draft, Edited};
use crate::table::layout::{Layout, Piece};
use crate::table::rebase::Places;
use crate::table::snapshot::DataFile;
use crate::table::stored::RowIds;

/// Rows that were rewritten: where they were, and the files that hold them now, in one order.
#[derive(Debug)]
pub(in crate::table) struct Rewritten {
    /// The old files' rows in the order in which they were written.
    pub(super) old: Layout,
    /// The new files with the ids of their rows.
    pub(super) new: Vec<(DataFile, RowIds)>,
    /// When the first of them was put.
    pub(super) since_ns: u64,
}

/// The order after a rewrite.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) edited: Edited,
    /// Rows of the new files that are not alive any more.
    pub(super) dead: DeadRows,
}

impl Rewritten {
    /// `tip` with the old files' rows in the new files. `None` if it has rows of them that were
    /// not rewritten.
    pub(super) fn replace_in(&self, tip: &Layout) -> Result<Option<Replaced>> {
        let places = Places::new(&self.old)?;
        let starts = self.starts();
        let mut edited = Edited {
            files: tip
                .files
                .iter()
                .chain(self.new.iter().map(|(file, _)| &file.path))
                .cloned()
                .collect(),
            ..Edited::default()
        };
        let offset = u32::try_from(tip.files.len())
            .map_err(|_| Error::invalid("layout of more than 2^32 files"))?;
        let mut alive: Vec<Range<u64>> = Vec::new();
        for piece in &tip.pieces {
            let path = tip.path(piece.file)?;
            if !places.holds(path) {
                push(&mut edited, piece.file, piece.range(), Some(piece.bytes));
                continue;
            }
            let runs = places.within(path, &piece.range());
            if runs.iter().map(|(_, rows, _)| u64::from(*rows)).sum::<u64>()
                != u64::from(piece.rows)
            {
                return Ok(None);
            }
            for (_, rows, at) in &runs {
                let ordinals = *at..*at + u64::from(*rows);
                let parts = cut(&starts, ordinals.clone());
                for (file, range) in &parts {
                    let whole = runs.len() == 1 && parts.len() == 1;
                    let bytes = whole.then_some(piece.bytes);
                    push(&mut edited, offset + file, range.clone(), bytes);
                }
                alive.push(ordinals);
            }
        }
        let dead = self.others(&starts, alive)?;
        Ok(Some(Replaced { edited, dead }))
    }

    /// Ordinal of the first row of each new file, and the number of all rows.
    fn starts(&self) -> Vec<u64> {
        let mut starts = vec![0_u64];
        for (file, _) in &self.new {
            starts.push(starts.last().copied().unwrap_or_default() + file.rows);
        }
        starts
    }

    /// The rows whose ordinals are in none of the ranges.
    fn others(&self, starts: &[u64], mut alive: Vec<Range<u64>>) -> Result<DeadRows> {
        alive.sort_by_key(|range| range.start);
        let end = starts.last().copied().unwrap_or_default();
        let mut dead = DeadRows::default();
        let mut at = 0_u64;
        for range in alive.into_iter().chain(std::iter::once(end..end)) {
            for (file, rows) in cut(starts, at..range.start.max(at)) {
                let file = usize::try_from(file).ok().and_then(|file| self.new.get(file));
                let (file, ids) = file.ok_or_else(|| Error::internal("row of no file"))?;
                for row in rows {
                    let id = ids.at(row).ok_or_else(|| Error::internal("row without id"))?;
                    dead.insert(&file.path, id);
                }
            }
            at = range.end.max(at);
        }
        Ok(dead)
    }
}

/// Cuts a run of ordinals at the borders of files: (file, rows of the file).
fn cut(starts: &[u64], ordinals: Range<u64>) -> Vec<(u32, Range<u32>)> {
    let mut parts = Vec::with_capacity(1);
    for (file, two) in (0_u32..).zip(starts.windows(2)) {
        let [start, end] = two else { continue };
        let from = ordinals.start.max(*start);
        let to = ordinals.end.min(*end);
        if let (true, Ok(from), Ok(to)) = (
            from < to,
            u32::try_from(from.saturating_sub(*start)),
            u32::try_from(to.saturating_sub(*start)),
        ) {
            parts.push((file, from..to));
        }
    }
    parts
}

/// Adds a run of rows; one that goes on where the last one ended becomes part of it.
fn push(edited: &mut Edited, file: u32, rows: Range<u32>, bytes: Option<u64>) {
    if let Some(last) = edited.drafts.last_mut()
        && last.file == file
        && last.rows.end == rows.start
    {
        last.rows.end = rows.end;
        last.bytes = last.bytes.zip(bytes).map(|(a, b)| a + b);
        return;
    }
    edited.drafts.push(Draft { file, rows, bytes });
}

/// The pieces of some files, as a layout of their own.
pub(super) fn only(layout: &Layout, keep: impl Fn(&Arc<str>) -> bool) -> Result<Layout> {
    let mut pieces: Vec<Piece> = Vec::new();
    for piece in &layout.pieces {
        if keep(layout.path(piece.file)?) {
            pieces.push(*piece);
        }
    }
    Ok(Layout { files: layout.files.clone(), pieces, ..Layout::default() })
}
