//! Which version wrote each row that a snapshot shows.
//!
//! A row was written by the version that first named its data file. A compaction moves rows to
//! other files and leaves them their ids: they are followed back to the files they came from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::codec;
use crate::table::snapshot::{DataFile, Snapshot};
use crate::table::stored::RowIds;

/// Files that are looked at to find one row, each older than the one before.
const STEPS_MAX: usize = 10_000;

/// Who wrote the rows of a snapshot.
#[derive(Debug)]
pub struct Origins {
    /// Versions, newest first.
    history: Vec<Arc<Snapshot>>,
    files: HashMap<Arc<str>, Rows>,
}

/// Places in the history of a file's rows; nothing = before the history that is kept.
#[derive(Debug, Clone)]
enum Rows {
    All(Option<usize>),
    Each(Arc<[Option<usize>]>),
}

impl Origins {
    /// The version that wrote a row of a file; `None` if it is older than the history that is
    /// kept.
    ///
    /// # Errors
    /// `Internal` if the snapshot does not show such a row.
    pub fn of(&self, file: &str, row: u32) -> Result<Option<&Arc<Snapshot>>> {
        let place = match self.files.get(file) {
            Some(Rows::All(place)) => *place,
            Some(Rows::Each(places)) => {
                let place = usize::try_from(row).ok().and_then(|row| places.get(row));
                *place.ok_or_else(|| unknown(file))?
            }
            None => return Err(unknown(file)),
        };
        Ok(place.and_then(|place| self.history.get(place)))
    }
}

fn unknown(file: &str) -> Error {
    Error::internal("row of a file that is not shown").with("file", file)
}

/// Ids that follow each other, and the place in the history that wrote them.
struct Span {
    first: i64,
    last: i64,
    place: Option<usize>,
}

impl Table {
    /// Finds out which versions wrote the rows of a snapshot.
    ///
    /// # Errors
    /// `Corrupt` or `Unavailable` if documents or row ids cannot be read.
    pub async fn origins(&self, snapshot: &Arc<Snapshot>) -> Result<Origins> {
        let mut history = vec![Arc::clone(snapshot)];
        while let Some(last) = history.last().filter(|_| history.len() < STEPS_MAX) {
            match self.before(last).await? {
                Some(before) => history.push(before),
                None => break,
            }
        }
        let mut named: HashMap<Arc<str>, usize> = HashMap::new();
        for (place, snapshot) in history.iter().enumerate() {
            for file in snapshot.files.iter() {
                named.insert(Arc::clone(&file.path), place);
            }
        }
        let mut files: HashMap<Arc<str>, Rows> = HashMap::new();
        // Oldest first: what a compaction replaced is known before it.
        for (place, snapshot) in history.iter().enumerate().rev() {
            let new = snapshot.files.iter().filter(|file| named.get(&file.path) == Some(&place));
            let new: Vec<DataFile> = new.cloned().collect();
            if new.is_empty() {
                continue;
            }
            let Some(before) = history.get(place + 1) else {
                let begins = snapshot.previous.is_none();
                for file in new {
                    files.insert(file.path, Rows::All(begins.then_some(place)));
                }
                continue;
            };
            let moves =
                !codec::is_ours(&snapshot.document) || snapshot.text_version() != snapshot.version;
            let spans = if moves { self.left(before, snapshot, &files).await? } else { Vec::new() };
            for file in new {
                let rows = self.moved(&file, &spans, place).await?;
                files.insert(file.path, rows);
            }
        }
        Ok(Origins { history, files })
    }

    /// The ids of the files that a version does not name any more, with who wrote them.
    async fn left(
        &self,
        before: &Snapshot,
        after: &Snapshot,
        files: &HashMap<Arc<str>, Rows>,
    ) -> Result<Vec<Span>> {
        let kept: HashSet<&str> = after.files.iter().map(|file| file.path.as_ref()).collect();
        let mut spans = Vec::new();
        for file in before.files.iter().filter(|file| !kept.contains(file.path.as_ref())) {
            let rows = files.get(&file.path).ok_or_else(|| unknown(&file.path))?;
            match (self.row_ids(file).await?, rows) {
                (RowIds::From(first), Rows::All(place)) => {
                    let last = first.saturating_add_unsigned(file.rows).saturating_sub(1);
                    spans.push(Span { first, last, place: *place });
                }
                (ids, rows) => {
                    for row in 0..u32::try_from(file.rows).unwrap_or(u32::MAX) {
                        let Some(id) = ids.at(row) else { continue };
                        let place = match rows {
                            Rows::All(place) => *place,
                            Rows::Each(places) => usize::try_from(row)
                                .ok()
                                .and_then(|row| places.get(row).copied())
                                .flatten(),
                        };
                        spans.push(Span { first: id, last: id, place });
                    }
                }
            }
        }
        spans.sort_by_key(|span| span.first);
        Ok(spans)
    }

    /// Who wrote the rows of a file that a version was the first to name.
    async fn moved(&self, file: &DataFile, spans: &[Span], place: usize) -> Result<Rows> {
        if spans.is_empty() {
            return Ok(Rows::All(Some(place)));
        }
        let ids = self.row_ids(file).await?;
        let origin = |row: u32| {
            let id = ids.at(row)?;
            let index = spans.partition_point(|span| span.first <= id).checked_sub(1)?;
            spans.get(index).filter(|span| id <= span.last).map(|span| span.place)
        };
        let rows = 0..u32::try_from(file.rows).unwrap_or(u32::MAX);
        Ok(Rows::Each(rows.map(|row| origin(row).unwrap_or(Some(place))).collect()))
    }
}
