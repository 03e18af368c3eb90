//! A change to a table: which rows of a base snapshot go, which new rows come, and where.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::table::snapshot::{Snapshot, TableConfig};
use crate::table::write::NewRows;

/// A change against a base snapshot, in terms of the base's rows in CSV order.
///
/// Applied to a newer snapshot, a removed row is found by its data file and position; a row that
/// is gone there was changed by somebody else (see `table::commit`).
#[derive(Debug)]
pub struct ChangeSet {
    /// The snapshot that the author had read.
    pub base: Arc<Snapshot>,
    /// Edits, ascending by `at`, not overlapping.
    pub edits: Vec<Edit>,
    /// The inserted rows, in the order in which the edits consume them.
    pub rows: NewRows,
    /// New columns, or `None` if they stay.
    pub schema: Option<SchemaChange>,
    /// New configuration, or `None` if it stays.
    pub config: Option<TableConfig>,
    /// How inserted rows whose key exists are treated (tables with key columns).
    pub on_existing_key: OnExistingKey,
}

/// At base row `at`, remove `remove` rows and insert the next `insert` new rows in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// Ordinal of a live row of the base in CSV order (0 = first row after the header);
    /// [`Edit::END`] = behind the last row, wherever that is when the change is applied.
    pub at: u64,
    /// Live rows removed from there on; 0 for a pure insertion.
    pub remove: u64,
    /// New rows inserted there.
    pub insert: u64,
}

impl Edit {
    /// Behind the last row of whatever snapshot the change is applied to.
    pub const END: u64 = u64::MAX;
}

/// The columns after the change. A column that no data file holds reads as NULL; one that is
/// left out stays in the old data files but is no longer shown. Renaming and retyping are done
/// by replacing all rows.
#[derive(Debug, Clone)]
pub struct SchemaChange {
    /// The user's columns in their new order.
    pub columns: SchemaRef,
}

/// What an inserted row does whose key is held by a live row that the change does not remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExistingKey {
    /// The change is refused.
    Refuse,
    /// The new row takes the old one's place.
    Replace,
    /// The new row takes the old one's place if the base is still the newest snapshot; otherwise
    /// the change is refused, because its author had looked at the old row.
    ReplaceSeen,
}

/// What became of a change.
#[derive(Debug, Clone)]
#[must_use]
pub enum CommitOutcome {
    /// A new snapshot exists.
    Committed {
        /// The new snapshot.
        snapshot: Arc<Snapshot>,
        /// Rows inserted.
        inserted: u64,
        /// Rows replaced.
        updated: u64,
        /// Rows removed.
        deleted: u64,
    },
    /// The change changes nothing: no snapshot was made.
    Unchanged {
        /// The newest snapshot.
        snapshot: Arc<Snapshot>,
    },
    /// Rows were changed by somebody else, or a key exists: nothing was done.
    Conflict {
        /// The newest snapshot.
        current: Arc<Snapshot>,
        /// The rows concerned; a bounded number of them.
        rows: Vec<RowConflict>,
    },
}

/// One row on which two writers disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowConflict {
    /// Ordinal of the row in the base, if the change removes or replaces it.
    pub base_row: Option<u64>,
    /// Ordinal among the change's new rows, if one is concerned.
    pub new_row: Option<u64>,
    /// Ordinal of the row in the current snapshot that stands in the way, if known.
    pub current_row: Option<u64>,
    /// Ordinal among the change's new rows of an earlier one with the same key.
    pub twin: Option<u64>,
    /// What is wrong with it.
    pub reason: ConflictReason,
}

/// Why a row cannot be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictReason {
    /// The row was changed or removed by somebody else.
    ChangedByOther,
    /// Another live row has the same key.
    KeyExists,
    /// Two of the change's own rows have the same key.
    DuplicateKey,
    /// A key column is NULL.
    NullKey,
    /// The columns were changed by somebody else meanwhile.
    SchemaChangedByOther,
}
