//! A change in terms of one layout, put into the terms of a newer one.
//!
//! A removed row is found by its data file and position. A row that is gone was changed or
//! removed by somebody else: that is a conflict, unless the change only deletes it and everything
//! in between only deleted too. Inserted rows go where the removed ones were, else behind the
//! nearest preceding row of the base that still lives.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::table::changeset::{ConflictReason, Edit, RowConflict};
use crate::table::edits::PlacedEdit;
use crate::table::layout::Layout;
use crate::table::snapshot::OnConflict;

/// Most conflicts that are reported one by one.
pub(crate) const CONFLICTS_MAX: usize = 100;

/// Deletions and insertions in terms of a layout, not yet merged.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Rows removed.
    pub(crate) deletions: Vec<Range<u64>>,
    /// New rows by the ordinal that they go in front of; equal ordinals keep their order.
    pub(crate) inserts: Vec<(u64, Range<u64>)>,
}

impl Moves {
    /// As ascending edits that do not overlap; deletions are cut where rows are inserted.
    pub(crate) fn placed(mut self) -> Vec<PlacedEdit> {
        self.deletions.retain(|range| !range.is_empty());
        self.deletions.sort_by_key(|range| range.start);
        self.inserts.retain(|(_, rows)| !rows.is_empty());
        self.inserts.sort_by_key(|(at, _)| *at);
        let mut out = Vec::with_capacity(self.deletions.len() + self.inserts.len());
        let mut inserts = self.inserts.into_iter().peekable();
        let insertion = |at, insert| PlacedEdit { at, remove: 0, insert };
        for deletion in self.deletions {
            let mut at = deletion.start;
            while let Some((place, rows)) = inserts.next_if(|(place, _)| *place < deletion.end) {
                if place > at {
                    out.push(PlacedEdit { at, remove: place - at, insert: 0..0 });
                    at = place;
                }
                out.push(insertion(place, rows));
            }
            out.push(PlacedEdit { at, remove: deletion.end - at, insert: 0..0 });
        }
        out.extend(inserts.map(|(at, rows)| insertion(at, rows)));
        out
    }
}

/// What became of a rebase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rebased {
    /// It applies.
    Moves(Moves),
    /// Rows are in the way.
    Conflict(Vec<RowConflict>),
}

/// The edits of a change against the very layout that it was made for.
///
/// # Errors
/// `Invalid` if they do not fit the layout.
pub(crate) fn direct(edits: &[Edit], rows: u64) -> Result<Moves> {
    let mut moves = Moves::default();
    let (mut used, mut behind) = (0_u64, 0_u64);
    for edit in edits {
        let at = if edit.at == Edit::END { rows } else { edit.at };
        let end = at.checked_add(edit.remove).filter(|end| *end <= rows && at >= behind);
        let Some(end) = end else {
            return Err(Error::invalid("edit lies outside the table").with("row", edit.at));
        };
        moves.deletions.push(at..end);
        moves.inserts.push((at, used..used + edit.insert));
        used += edit.insert;
        behind = end;
    }
    Ok(moves)
}

/// Where the rows of a layout are.
pub(crate) struct Places<'a> {
    /// Per file: (first row, rows, ordinal of the first), ascending by first row.
    by_file: HashMap<&'a str, Vec<(u32, u32, u64)>>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Result<Self> {
        let mut by_file: HashMap<&str, Vec<(u32, u32, u64)>> = HashMap::new();
        for (piece, start) in layout.pieces.iter().zip(layout.starts()) {
            let path = layout.path(piece.file)?;
            by_file.entry(path).or_default().push((piece.first, piece.rows, start));
        }
        for runs in by_file.values_mut() {
            runs.sort_unstable();
        }
        Ok(Self { by_file })
    }

    pub(crate) fn holds(&self, file: &str) -> bool {
        self.by_file.contains_key(file)
    }

    /// The ordinal of a row.
    fn find(&self, file: &str, row: u32) -> Option<u64> {
        let runs = self.by_file.get(file)?;
        let (first, rows, start) = runs.get(last_before(runs, row)?)?;
        let offset = row.checked_sub(*first).filter(|offset| offset < rows)?;
        Some(start + u64::from(offset))
    }

    /// Runs of live rows within `rows`: (first row, rows, ordinal).
    pub(crate) fn within(&self, file: &str, rows: &Range<u32>) -> Vec<(u32, u32, u64)> {
        let Some(runs) = self.by_file.get(file) else { return Vec::new() };
        let from = last_before(runs, rows.start).unwrap_or(0);
        runs.iter()
            .skip(from)
            .take_while(|(first, _, _)| *first < rows.end)
            .filter_map(|(first, count, start)| {
                let from = rows.start.max(*first);
                let to = rows.end.min(first.saturating_add(*count));
                (from < to).then(|| (from, to - from, start + u64::from(from - first)))
            })
            .collect()
    }

    /// The highest live row of a file below `row`: its ordinal.
    fn last_below(&self, file: &str, row: u32, not_below: u32) -> Option<u64> {
        self.within(file, &(not_below..row)).last().map(|(_, rows, at)| at + u64::from(*rows) - 1)
    }
}

fn last_before(runs: &[(u32, u32, u64)], row: u32) -> Option<usize> {
    runs.partition_point(|(first, _, _)| *first <= row).checked_sub(1)
}

/// Where a row went whose file was rewritten by somebody else's compaction: from (file, row) to
/// (file, row).
pub(crate) type Moved<'a> = dyn Fn(&str, u32) -> Option<(String, u32)> + Send + Sync + 'a;

/// Everything that a rebase looks at.
pub(crate) struct Rebase<'a> {
    /// The layout that the edits were made for.
    pub(crate) base: &'a Layout,
    /// The layout that they are put onto.
    pub(crate) tip: &'a Layout,
    /// Files of the base, also those without live rows.
    pub(crate) base_files: &'a HashSet<&'a str>,
    /// Whether everything in between only deleted rows.
    pub(crate) only_deleted: bool,
    /// The table's rule.
    pub(crate) rule: OnConflict,
    /// Finds rows in rewritten files.
    pub(crate) moved: &'a Moved<'a>,
}

impl Rebase<'_> {
    /// Puts edits onto the tip.
    ///
    /// # Errors
    /// `Invalid` if the edits do not fit the base.
    pub(crate) fn run(&self, edits: &[Edit]) -> Result<Rebased> {
        direct(edits, self.base.rows())?;
        let places = Places::new(self.tip)?;
        let base_starts = self.base.starts();
        let mut moves = Moves::default();
        let mut conflicts = Vec::new();
        let mut used = 0_u64;
        for edit in edits {
            let insert = used..used + edit.insert;
            used = insert.end;
            if edit.at == Edit::END {
                moves.inserts.push((self.tip.rows(), insert));
                continue;
            }
            let found = self.find_removed(&places, &base_starts, edit)?;
            let pure = edit.insert == 0 && self.only_deleted;
            if !found.gone.is_empty() && !pure && self.rule == OnConflict::Refuse {
                let room = CONFLICTS_MAX.saturating_sub(conflicts.len());
                conflicts.extend(found.gone.iter().take(room).map(|row| RowConflict {
                    base_row: Some(*row),
                    new_row: None,
                    current_row: None,
                    reason: ConflictReason::ChangedByOther,
                }));
                continue;
            }
            let at = match found.alive.first() {
                Some(run) => run.start,
                None => self.behind_nearest(&places, &base_starts, edit.at)?,
            };
            if edit.insert > 0 && !found.gone.is_empty() {
                let theirs = self.their_rows(at, found.gone.len())?;
                moves.deletions.push(theirs);
            }
            moves.deletions.extend(found.alive);
            moves.inserts.push((at, insert));
        }
        if conflicts.is_empty() {
            Ok(Rebased::Moves(moves))
        } else {
            Ok(Rebased::Conflict(conflicts))
        }
    }

    fn find_removed(&self, places: &Places<'_>, starts: &[u64], edit: &Edit) -> Result<Found> {
        let mut found = Found::default();
        let mut ordinal = edit.at;
        for run in self.base.runs(starts, edit.at..edit.at.saturating_add(edit.remove)) {
            let path = self.base.path(run.file)?;
            let mut row = run.rows.start;
            if places.holds(path) {
                for (first, rows, at) in places.within(path, &run.rows) {
                    found.miss(&mut ordinal, first - row);
                    found.alive.push(at..at + u64::from(rows));
                    ordinal += u64::from(rows);
                    row = first + rows;
                }
                found.miss(&mut ordinal, run.rows.end - row);
                continue;
            }
            for row in run.rows {
                let now = (self.moved)(path, row);
                match now.and_then(|(file, row)| places.find(&file, row)) {
                    Some(at) => {
                        found.alive.push(at..at + 1);
                        ordinal += 1;
                    }
                    None => found.miss(&mut ordinal, 1),
                }
            }
        }
        Ok(found)
    }

    /// The ordinal behind the nearest base row in front of `at` that still lives, else 0.
    fn behind_nearest(&self, places: &Places<'_>, starts: &[u64], at: u64) -> Result<u64> {
        let pieces = starts.partition_point(|start| *start < at).min(self.base.pieces.len());
        for (piece, start) in self.base.pieces.iter().zip(starts).take(pieces).rev() {
            let path = self.base.path(piece.file)?;
            let rows = u32::try_from(at - start).unwrap_or(u32::MAX).min(piece.rows);
            let end = piece.first.saturating_add(rows);
            if places.holds(path) {
                if let Some(found) = places.last_below(path, end, piece.first) {
                    return Ok(found + 1);
                }
                continue;
            }
            for row in (piece.first..end).rev() {
                let now = (self.moved)(path, row);
                if let Some(found) = now.and_then(|(file, row)| places.find(&file, row)) {
                    return Ok(found + 1);
                }
            }
        }
        Ok(0)
    }

    /// With last-writer-wins: the rows that others put at `at` since the base, at most `count`.
    fn their_rows(&self, at: u64, count: usize) -> Result<Range<u64>> {
        let starts = self.tip.starts();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let mut end = at;
        for run in self.tip.runs(&starts, at..at.saturating_add(count)) {
            if self.base_files.contains(self.tip.path(run.file)?.as_ref()) {
                break;
            }
            end += u64::from(run.rows.end - run.rows.start);
        }
        Ok(at..end)
    }
}

/// The rows that an edit removes, as they are now.
#[derive(Default)]
struct Found {
    /// Ordinals in the tip.
    alive: Vec<Range<u64>>,
    /// Ordinals in the base of rows that are gone.
    gone: Vec<u64>,
}

impl Found {
    fn miss(&mut self, ordinal: &mut u64, rows: u32) {
        let end = *ordinal + u64::from(rows);
        self.gone.extend(*ordinal..end);
        *ordinal = end;
    }
}

#[cfg(test)]
#[path = "rebase_tests.rs"]
mod tests;
