//! The order of the rows: a piece table over immutable data files (architecture section 2).
//!
//! The layout is advice that is stored with the snapshot. It is used only if its digest matches
//! the snapshot's files and deletion-vector parts; otherwise it heals against them, which alone
//! are the truth (unknown files go last, vanished rows drop out).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A run of rows of one data file that follow each other in the CSV text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Index into [`Layout::files`].
    pub file: u32,
    /// First row of the file.
    pub first: u32,
    /// Number of rows, at least 1.
    pub rows: u32,
    /// Bytes of CSV text of these rows for [`Layout::columns`]; newline of the last row included.
    pub bytes: u64,
}

/// The ordered pieces of a snapshot; together they hold every live row exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Object paths of the data files that the pieces name.
    pub files: Vec<Arc<str>>,
    /// The pieces in CSV order.
    pub pieces: Vec<Piece>,
    /// Digest of the snapshot's file and deletion-vector lists that this layout was made for.
    pub digest: String,
    /// Digest of the columns (names, types, order) that the byte lengths were made for.
    pub columns: String,
}
