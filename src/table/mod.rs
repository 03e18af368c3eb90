//! The SimpleTable engine: snapshots, change sets and the one commit.
//!
//! A [`Table`] is a cheap handle: everything that is shared sits behind `Arc`s in its
//! [`TableParts`]. Nothing here knows a user, a file name of the mount or a protocol.

pub mod changeset;
pub mod codec;
pub mod deletes;
pub mod layout;
pub mod measure;
pub mod scan;
pub mod schema;
pub mod snapshot;
pub mod stored;
pub mod widen;
pub mod write;

mod by_key;
mod cache;
mod check;
mod commit;
mod compact;
mod documents;
mod edits;
mod fork;
mod generation;
mod group;
mod heal;
mod history;
mod incoming;
mod json;
mod keys;
mod lifecycle;
mod lock;
mod merge;
mod merge_rows;
mod moved;
mod needed;
mod origins;
mod physical;
mod plan;
mod rebase;
mod rebuild;
mod rename;
mod settle;
#[cfg(test)]
mod tests;
mod together;
mod travel;
mod vacuum;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

pub use cache::TableCaches;
pub(crate) use cache::snapshot_bytes;
pub use changeset::{
    ChangeSet, CommitOutcome, ConflictReason, Edit, OnExistingKey, RowConflict, SchemaChange,
};
pub(crate) use check::age_text;
pub use check::{Counts, Depth, Finding, Severity, TableReport};
pub use compact::{COMPACT, CompactSettings, Compacted};
pub(crate) use fork::{branches_stored, end_branch};
pub use generation::{Generation, SystemColumns};
pub use json::parse_object;
pub use layout::{Layout, Piece};
pub use measure::{RowMeasure, SharedMeasure};
pub use needed::{Listed, Needed};
pub use origins::Origins;
pub use rebuild::{Rebuild, Rebuilt};
pub use settle::Settled;
pub use snapshot::{DataFile, Deletes, LayoutRef, Lineage, OnConflict, Snapshot, TableConfig};
pub use travel::FileRun;
pub use vacuum::{VACUUM, VacuumSettings, Vacuumed};
pub use write::{HeldRows, NewFile, NewRows, RowWriter};

use crate::catalog::{LockOwner, SharedCatalog};
use crate::clock::SharedClock;
use crate::error::Result;
use crate::ident::TableId;
use crate::store::Objects;
use crate::table::write::WriterParts;

/// What tables work with.
#[derive(Debug, Clone)]
pub struct TableParts {
    /// Where the objects are.
    pub objects: Objects,
    /// Where the pointers are.
    pub catalog: SharedCatalog,
    /// Time and chance.
    pub clock: SharedClock,
    /// Lengths of CSV text.
    pub measure: SharedMeasure,
    /// What the operator may tune.
    pub settings: TableSettings,
    /// Shared by all tables of a process.
    pub caches: Arc<TableCaches>,
}

/// Limits and waiting times of the engine.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// Life of the table's lock (format spec section 1.3).
    pub lock_ttl: Duration,
    /// How long a commit waits for somebody else's lock before it answers `Busy`.
    pub lock_wait: Duration,
    /// Who takes the locks, if he does so in one life after the other.
    pub lock_owner: Option<LockOwner>,
    /// How long a commit tries before it gives up; an open outcome is then `Unknown`.
    pub commit_deadline: Duration,
    /// Layouts of more pieces than this get an object of their own.
    pub inline_pieces_max: usize,
    /// Snapshots that a walk along the history reads at most.
    pub history_max: usize,
}

impl Default for TableSettings {
    fn default() -> Self {
        Self {
            lock_ttl: Duration::from_secs(30),
            lock_wait: Duration::from_secs(10),
            lock_owner: None,
            commit_deadline: Duration::from_secs(60),
            inline_pieces_max: layout::INLINE_PIECES_MAX,
            history_max: 100_000,
        }
    }
}

/// A SimpleTable.
#[derive(Clone)]
pub struct Table {
    parts: TableParts,
    id: TableId,
}

impl Table {
    /// A handle on the table of this name, whether it exists or not.
    pub fn new(parts: TableParts, id: TableId) -> Self {
        Self { parts, id }
    }

    /// The table's name.
    pub fn id(&self) -> &TableId {
        &self.id
    }

    /// What the table works with.
    pub fn parts(&self) -> &TableParts {
        &self.parts
    }

    /// Begins writing new rows with the columns `schema`; `keys` names the key columns, whose
    /// digests a commit checks. `base` is the snapshot that the change is made against.
    ///
    /// # Errors
    /// `Invalid` if a key column does not exist or a column name is kept for the system;
    /// `Unsupported` if tables of this generation can only be read.
    pub fn writer(
        &self,
        base: &Snapshot,
        schema: &SchemaRef,
        keys: &[String],
    ) -> Result<RowWriter> {
        base.generation.check_writable()?;
        RowWriter::new(self.writer_parts(base), schema, keys)
    }

    fn writer_parts(&self, base: &Snapshot) -> WriterParts {
        WriterParts {
            objects: Arc::clone(&self.parts.objects),
            catalog: Arc::clone(&self.parts.catalog),
            clock: Arc::clone(&self.parts.clock),
            table: self.id.clone(),
            system: base.system_columns(),
            row_ids_above: base.row_id_high_watermark,
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("id", &format_args!("{}", self.id)).finish_non_exhaustive()
    }
}
