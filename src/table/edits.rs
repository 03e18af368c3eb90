//! Edits of a piece table: what a change does to the order of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::table::layout::{Layout, Piece, Run};
use crate::table::measure::RowMeasure;
use crate::table::snapshot::DataFile;

/// Pieces measured at the same time.
const MEASURES_AT_ONCE: usize = 8;

/// An edit in terms of the layout that it is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlacedEdit {
    /// Ordinal of the first row removed, or in front of which rows are inserted.
    pub(crate) at: u64,
    /// Rows removed from there on.
    pub(crate) remove: u64,
    /// Ordinals of the new rows that come in their place.
    pub(crate) insert: Range<u64>,
}

/// A piece whose byte length may not be known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Index into [`Edited::files`].
    pub(crate) file: u32,
    /// Rows of the file.
    pub(crate) rows: Range<u32>,
    /// Bytes of text, if known.
    pub(crate) bytes: Option<u64>,
}

/// The layout after an edit, not yet measured.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Edited {
    /// Files that drafts and removed runs name: those of the layout, then the new ones.
    pub(crate) files: Vec<Arc<str>>,
    /// The pieces in order.
    pub(crate) drafts: Vec<Draft>,
    /// Rows that are no longer shown.
    pub(crate) removed: Vec<Run>,
}

impl Edited {
    pub(crate) fn push(&mut self, draft: Draft) {
        if draft.rows.is_empty() {
            return;
        }
        match self.drafts.last_mut() {
            Some(last) if last.file == draft.file && last.rows.end == draft.rows.start => {
                last.rows.end = draft.rows.end;
                last.bytes = last.bytes.zip(draft.bytes).map(|(one, other)| one + other);
            }
            _ => self.drafts.push(draft),
        }
    }
}

/// New rows as a layout of their own, in the order of their ordinals.
pub(crate) type NewLayout = Layout;

/// Applies edits (ascending by `at`, not overlapping) to a layout.
///
/// # Errors
/// `Invalid` if an edit lies outside the layout or the new rows.
pub(crate) fn apply(base: &Layout, edits: &[PlacedEdit], new: &NewLayout) -> Result<Edited> {
    let base_starts = base.starts();
    let new_starts = new.starts();
    let offset = u32::try_from(base.files.len())
        .map_err(|_| Error::invalid("layout of more than 2^32 files"))?;
    let mut edited = Edited {
        files: base.files.iter().chain(&new.files).cloned().collect(),
        ..Edited::default()
    };
    let total = base.rows();
    let mut at = 0_u64;
    for edit in edits {
        let end = edit.at.checked_add(edit.remove).filter(|end| *end <= total);
        let Some(end) = end.filter(|_| edit.at >= at) else {
            return Err(Error::invalid("edit lies outside the table").with("row", edit.at));
        };
        if edit.insert.end > new.rows() {
            return Err(Error::invalid("edit inserts more rows than there are"));
        }
        copy(base, &base_starts, at..edit.at, 0, &mut edited);
        copy(new, &new_starts, edit.insert.clone(), offset, &mut edited);
        edited.removed.extend(base.runs(&base_starts, edit.at..end));
        at = end;
    }
    copy(base, &base_starts, at..total, 0, &mut edited);
    Ok(edited)
}

/// Copies rows of a layout; whole pieces keep their byte length.
fn copy(from: &Layout, starts: &[u64], rows: Range<u64>, offset: u32, edited: &mut Edited) {
    if rows.is_empty() {
        return;
    }
    let first = starts.partition_point(|start| *start <= rows.start).saturating_sub(1);
    let runs = from.runs(starts, rows);
    for (run, piece) in runs.into_iter().zip(from.pieces.iter().skip(first)) {
        let whole = run.rows == piece.range();
        edited.push(Draft {
            file: run.file + offset,
            rows: run.rows,
            bytes: whole.then_some(piece.bytes),
        });
    }
}

/// Measures what is not known yet and makes the layout; files without pieces drop out.
///
/// # Errors
/// Those of the measure; `Corrupt` if a draft names a file that is not among `files`.
pub(crate) async fn finish(
    edited: &Edited,
    files: &[DataFile],
    schema: &SchemaRef,
    measure: &dyn RowMeasure,
) -> Result<Layout> {
    let by_path: std::collections::HashMap<&str, &DataFile> =
        files.iter().map(|file| (file.path.as_ref(), file)).collect();
    let mut jobs = Vec::with_capacity(edited.drafts.len());
    for draft in &edited.drafts {
        let path = usize::try_from(draft.file)
            .ok()
            .and_then(|index| edited.files.get(index))
            .ok_or_else(|| Error::internal("draft names a file that it does not list"))?;
        let file = *by_path
            .get(path.as_ref())
            .ok_or_else(|| Error::corrupt("layout names a file that is gone").with("file", path))?;
        jobs.push((draft, file));
    }
    // The requests are made before the stream: a stream over a closure is not `Send` for all
    // lifetimes, and commits run on spawned tasks.
    let requests: Vec<_> = jobs
        .into_iter()
        .map(|(draft, file)| async move {
            match draft.bytes {
                Some(bytes) => Ok::<u64, Error>(bytes),
                None => measure.bytes(file, draft.rows.clone(), schema).await,
            }
        })
        .collect();
    let lengths: Vec<u64> =
        futures::stream::iter(requests).buffered(MEASURES_AT_ONCE).try_collect().await?;
    let mut layout = Layout::default();
    let mut renumbered: Vec<Option<u32>> = vec![None; edited.files.len()];
    for (draft, bytes) in edited.drafts.iter().zip(lengths) {
        let old = usize::try_from(draft.file).unwrap_or(usize::MAX);
        let (Some(slot), Some(path)) = (renumbered.get_mut(old), edited.files.get(old)) else {
            return Err(Error::internal("draft names a file that it does not list"));
        };
        let file = match *slot {
            Some(file) => file,
            None => {
                let file = u32::try_from(layout.files.len())
                    .map_err(|_| Error::invalid("layout of more than 2^32 files"))?;
                layout.files.push(path.clone());
                *slot.insert(file)
            }
        };
        layout.pieces.push(Piece {
            file,
            first: draft.rows.start,
            rows: draft.rows.end - draft.rows.start,
            bytes,
        });
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(prefix: &str, sizes: &[u32]) -> Layout {
        let mut layout = Layout::default();
        for (index, rows) in sizes.iter().filter(|rows| **rows > 0).enumerate() {
            layout.files.push(format!("{prefix}{index}").into());
            let file = u32::try_from(index).expect("small");
            layout.pieces.push(Piece { file, first: 0, rows: *rows, bytes: u64::from(*rows) * 3 });
        }
        layout
    }

    fn rows_of(files: &[Arc<str>], runs: impl Iterator<Item = (u32, Range<u32>)>) -> Vec<String> {
        let name = |file: u32| files[usize::try_from(file).expect("index")].clone();
        runs.flat_map(|(file, rows)| {
            let name = name(file);
            rows.map(move |row| format!("{name}:{row}")).collect::<Vec<_>>()
        })
        .collect()
    }

    fn all(layout: &Layout) -> Vec<String> {
        rows_of(&layout.files, layout.pieces.iter().map(|piece| (piece.file, piece.range())))
    }

    proptest! {
        #[test]
        fn edits_of_a_layout_do_what_they_do_to_a_list(
            sizes in proptest::collection::vec(1_u32..6, 0..5),
            new_sizes in proptest::collection::vec(1_u32..4, 0..3),
            cuts in proptest::collection::vec((0_u64..6, 0_u64..4, 0_u64..4), 0..6),
        ) {
            let base = layout("b", &sizes);
            let new = layout("n", &new_sizes);
            let mut edits = Vec::new();
            let (mut at, mut used) = (0, 0);
            for (skip, remove, insert) in cuts {
                let place = (at + skip).min(base.rows());
                let remove = remove.min(base.rows() - place);
                let insert = insert.min(new.rows() - used);
                edits.push(PlacedEdit { at: place, remove, insert: used..used + insert });
                at = place + remove;
                used += insert;
            }
            let mut model = all(&base);
            let new_rows = all(&new);
            let mut gone = Vec::new();
            let index = |n: u64| usize::try_from(n).expect("small");
            for edit in edits.iter().rev() {
                let inserted = new_rows[index(edit.insert.start)..index(edit.insert.end)].to_vec();
                let range = index(edit.at)..index(edit.at + edit.remove);
                let removed: Vec<String> = model.splice(range, inserted).collect();
                gone.splice(0..0, removed);
            }
            let edited = apply(&base, &edits, &new).expect("edits fit");
            let drafts = edited.drafts.iter().map(|draft| (draft.file, draft.rows.clone()));
            prop_assert_eq!(rows_of(&edited.files, drafts), model);
            let removed = edited.removed.iter().map(|run| (run.file, run.rows.clone()));
            prop_assert_eq!(rows_of(&edited.files, removed), gone);
            for draft in &edited.drafts {
                let rows = u64::from(draft.rows.end - draft.rows.start);
                prop_assert!(draft.bytes.is_none_or(|bytes| bytes == rows * 3));
            }
        }
    }

    #[test]
    fn an_edit_outside_the_table_is_refused() {
        let base = layout("b", &[3]);
        let edit = |at, remove| PlacedEdit { at, remove, insert: 0..0 };
        assert!(apply(&base, &[edit(2, 2)], &Layout::default()).is_err());
        assert!(apply(&base, &[edit(2, 1), edit(1, 1)], &Layout::default()).is_err());
    }
}
