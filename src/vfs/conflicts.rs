//! Rows on which two writers disagree, as the author of a refused save is told of them.

use super::chunks::{Lines, count_lines};
use super::plan::{Planned, rejection};
use super::text::Frozen;
use crate::csv::Rejection;
use crate::error::Result;
use crate::lake::{ConflictReason, CsvView, RowConflict};

/// Longest row that is quoted in a reason, in bytes.
const QUOTED_BYTES_MAX: usize = 200;

/// The texts that a conflict is about.
pub(super) struct Sides<'a> {
    /// What the author had read.
    pub(super) base: &'a CsvView,
    /// What the table holds now.
    pub(super) current: &'a CsvView,
    /// What the author wrote.
    pub(super) text: &'a Frozen,
}

impl Planned {
    /// A conflict as one refused row of the staged text, whose known lines `lines` are.
    ///
    /// # Errors
    /// As reading the texts.
    pub(super) async fn conflict(
        &self,
        row: &RowConflict,
        sides: &Sides<'_>,
        lines: &mut Lines,
    ) -> Result<Rejection> {
        let mut told = conflict_rejection(row.reason);
        if let Some(new_row) = row.new_row {
            (told.line, told.row) = self.find(new_row, sides.text, lines).await?;
        }
        match row.reason {
            ConflictReason::ChangedByOther => self.three_values(row, sides, &mut told).await?,
            _ => {
                let other = match (row.twin, row.current_row) {
                    (Some(twin), _) => Some(self.find(twin, sides.text, lines).await?.0),
                    (None, Some(ordinal)) => Some(line_of(sides.current, ordinal).await?),
                    (None, None) => None,
                };
                if let Some(line) = other {
                    told.reason = format!("{}; the other row is on line {line}", told.reason);
                }
            }
        }
        Ok(told)
    }

    /// What the author had read, what others made of it, and what the author made of it.
    async fn three_values(
        &self,
        row: &RowConflict,
        sides: &Sides<'_>,
        told: &mut Rejection,
    ) -> Result<()> {
        let read = match row.base_row {
            Some(ordinal) => quoted(&record(sides.base, ordinal).await?),
            None => return Ok(()),
        };
        let theirs = match row.current_row {
            Some(ordinal) => {
                let line = line_of(sides.current, ordinal).await?;
                format!(
                    "now it is {} on line {line}",
                    quoted(&record(sides.current, ordinal).await?)
                )
            }
            None => "now it is removed".to_owned(),
        };
        let yours = match row.new_row {
            Some(_) => format!("you wrote {}", quoted(&told.row)),
            None => "you replaced or removed it".to_owned(),
        };
        told.reason = format!("{}: you had read {read}; {theirs}; {yours}", told.reason);
        Ok(())
    }
}

/// The text of a row.
async fn record(view: &CsvView, ordinal: u64) -> Result<Vec<u8>> {
    if ordinal >= view.rows() {
        return Ok(Vec::new());
    }
    let range = view.offset_of(ordinal).await?..view.offset_of(ordinal + 1).await?;
    Ok(view.read_at(range).await?.concat())
}

/// The line on which a row begins. Rows hold a newline seldom; counting those of all rows before
/// would read the whole table.
async fn line_of(view: &CsvView, ordinal: u64) -> Result<u64> {
    const COUNTED_BYTES_MAX: u64 = 64 << 20;
    let end = view.offset_of(ordinal.min(view.rows())).await?;
    if end > COUNTED_BYTES_MAX {
        return Ok(ordinal.saturating_add(2));
    }
    let mut line = 1;
    let mut at = 0;
    while at < end {
        let next = (at + (1 << 20)).min(end);
        for part in view.read_at(at..next).await? {
            line += count_lines(&part);
        }
        at = next;
    }
    Ok(line)
}

fn quoted(row: &[u8]) -> String {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    let text = String::from_utf8_lossy(row.get(..QUOTED_BYTES_MAX).unwrap_or(row));
    if row.len() > QUOTED_BYTES_MAX { format!("`{text}...`") } else { format!("`{text}`") }
}

fn conflict_rejection(reason: ConflictReason) -> Rejection {
    let (code, why, remedy) = match reason {
        ConflictReason::ChangedByOther => (
            "MNT-1310",
            "the row was changed or removed by somebody else since you read the file",
            "read the file again and repeat the change",
        ),
        ConflictReason::KeyExists => (
            "MNT-1311",
            "another row of the table has the same key",
            "edit that row instead, or give the new row another key",
        ),
        ConflictReason::DuplicateKey => {
            ("MNT-1312", "two rows of the file have the same key", "keep one of them")
        }
        ConflictReason::NullKey => ("MNT-1313", "a key column has no value", "give the row a key"),
        ConflictReason::SchemaChangedByOther => (
            "MNT-1314",
            "the columns were changed by somebody else since you read the file",
            "read the file again and repeat the change",
        ),
    };
    rejection(code, why, remedy)
}
