//! A snapshot of a table in memory, the same for every generation of the stored format.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::ident::TableId;
use crate::table::deletes::DeadRows;
use crate::table::generation::{Generation, SystemColumns};
use crate::table::layout::Layout;

/// A JSON object as read, with its members in order.
pub type JsonMap = serde_json::Map<String, serde_json::Value>;

/// One immutable version of a table.
#[derive(Clone)]
pub struct Snapshot {
    /// The table.
    pub table: TableId,
    /// Generation of the stored form.
    pub generation: Generation,
    /// Whether data files of a generation without row ids hold the time of the write.
    pub keeps_time: bool,
    /// Version: 0 for the empty bootstrap, then one more per commit.
    pub version: u64,
    /// Object path of the snapshot document.
    pub path: String,
    /// Time of the commit, milliseconds since 1970; strictly increasing along the history.
    pub committed_ms: i64,
    /// The user's columns in CSV order, without system columns.
    pub schema: SchemaRef,
    /// The data files, in the document's order.
    pub files: Arc<[DataFile]>,
    /// Deleted rows.
    pub deletes: Deletes,
    /// Object path of the predecessor; `None` for a bootstrap.
    pub previous: Option<String>,
    /// Highest row id that was ever reserved for this table (format spec section 6.2).
    pub row_id_high_watermark: u64,
    /// Order of the rows, if the document carries one that was made for exactly this list of
    /// files and deletes.
    pub layout: LayoutRef,
    /// What made this snapshot.
    pub lineage: Lineage,
    /// What the table's owner configured; travels with every snapshot.
    pub config: TableConfig,
    /// The whole document as read: members that this version does not know survive a commit.
    pub document: Arc<JsonMap>,
}

impl Snapshot {
    /// Columns that data files of this table have beside the user's.
    pub fn system_columns(&self) -> SystemColumns {
        match (self.generation.is_without_row_ids(), self.keeps_time) {
            (true, false) => SystemColumns::None,
            (true, true) => SystemColumns::Time,
            (false, _) => SystemColumns::RowIdAndTime,
        }
    }

    /// Number of live rows: rows in the files less the deleted ones.
    pub fn rows(&self) -> u64 {
        let stored: u64 = self.files.iter().map(|file| file.rows).sum();
        stored.saturating_sub(self.deletes.rows())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("table", &format_args!("{}", self.table))
            .field("version", &self.version)
            .field("files", &self.files.len())
            .field("rows", &self.rows())
            .finish_non_exhaustive()
    }
}

/// One immutable Parquet file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataFile {
    /// Object path.
    pub path: Arc<str>,
    /// Size in bytes.
    pub bytes: u64,
    /// Rows stored in it, deleted ones included.
    pub rows: u64,
    /// Columns stored in it, system columns included.
    pub columns: u64,
}

/// Which rows of the data files are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletes {
    /// None.
    None,
    /// Rows hidden by their keys (generations G1 and G2), as found in the data files.
    ByKey(Arc<DeadRows>),
    /// Deletion-vector parts (generation G4; G3 has one part).
    Rows {
        /// Object paths of the parts.
        parts: Vec<String>,
        /// Deleted rows in all parts together.
        rows: u64,
    },
}

impl Deletes {
    /// Number of deleted rows.
    pub fn rows(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::ByKey(dead) => dead.len(),
            Self::Rows { rows, .. } => *rows,
        }
    }
}

/// Where the order of the rows is kept.
#[derive(Debug, Clone)]
pub enum LayoutRef {
    /// Nowhere, or for another list of files: files in the document's order, rows in file order.
    Missing,
    /// In the document itself.
    Inline(Arc<Layout>),
    /// In an object of its own.
    Object(String),
}

/// What made a snapshot (stored as the document's `lineage`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// Id of the commit, unique for ever.
    pub write_id: String,
    /// `create`, `append`, `edit`, `upsert`, `replace`, `delete`, `schema`, `configure`,
    /// `restore`, `rename`, `drop`; the Python library's `source_type`: `write` or `delete`.
    pub operation: String,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows replaced.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Role that wrote.
    pub role: String,
    /// Client that wrote: user, host, export.
    pub client: String,
    /// Free text.
    pub message: String,
    /// The changes that were committed together, each with its own id, if this snapshot is of
    /// more than one; the rest then tells of all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Lineage>,
}

impl Lineage {
    /// What made the snapshot, change by change.
    pub fn changes(&self) -> &[Self] {
        if self.members.is_empty() { std::slice::from_ref(self) } else { &self.members }
    }

    /// Whether the snapshot holds more than one author's change.
    pub fn is_shared(&self) -> bool {
        self.members.len() > 1
    }

    /// The change that was committed under an id.
    pub fn change(&self, write_id: &str) -> Option<&Self> {
        if self.write_id == write_id {
            return Some(self);
        }
        self.members.iter().find(|member| member.write_id == write_id)
    }

    /// The lineage of several changes that are committed together under the id `write_id`.
    pub(crate) fn of_members(write_id: String, members: Vec<Self>) -> Self {
        let same = |text: fn(&Self) -> &str, other: &str| {
            let mut texts: Vec<&str> = members.iter().map(text).collect();
            texts.dedup();
            match texts[..] {
                [only] => only.to_owned(),
                _ => other.to_owned(),
            }
        };
        let sum = |count: fn(&Self) -> u64| members.iter().map(count).sum();
        let count = members.len();
        Self {
            write_id,
            operation: same(|member| &member.operation, "edit"),
            inserted: sum(|member| member.inserted),
            updated: sum(|member| member.updated),
            deleted: sum(|member| member.deleted),
            role: same(|member| &member.role, ""),
            client: same(|member| &member.client, &format!("{count} changes together")),
            message: same(|member| &member.message, ""),
            members,
        }
    }
}

/// What the owner of a table configured (`<table>/config.toml`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// Key columns; empty = the table has no key.
    pub keys: Vec<String>,
    /// What happens when a row was changed by somebody else meanwhile.
    pub on_conflict: OnConflict,
}

/// Rule for a row that was changed on both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// The later save is refused.
    #[default]
    Refuse,
    /// The later save wins.
    LastWriterWins,
}
