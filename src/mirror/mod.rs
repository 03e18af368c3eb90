//! Mirrors: copies of tables that other engines read, in Delta, Iceberg and plain Parquet.
//!
//! A mirror follows the table's snapshots; nothing of the table ever waits for it. What a mirror
//! shows is told by its own objects alone, so that a refresh goes on wherever an earlier one, of
//! this process or another, broke off. Live rows only: deleted ones are left out of what is
//! copied. Where things are follows format spec section 2.4 (adr/0014).

mod content;
mod copies;
mod delta;
mod document;
mod iceberg;
mod identity;
mod parquet;
mod refresh;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use content::Content;
pub use document::{MirrorState, States, formats_of, save_state, set_format, states_of};
pub use refresh::{Refreshed, refresh};

use crate::clock::SharedClock;
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::store::{self, Objects};
use crate::table::scan::FileReader;

/// A format that tables are mirrored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MirrorFormat {
    /// Delta Lake: one Delta version for each snapshot.
    Delta,
    /// Apache Iceberg, format version 2.
    Iceberg,
    /// A folder of Parquet files for each mirrored version.
    Parquet,
}

impl MirrorFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Delta, Self::Iceberg, Self::Parquet];

    /// The name in arguments, and of the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Iceberg => "iceberg",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for MirrorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MirrorFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            Error::invalid("the format is not known: use delta, iceberg or parquet")
                .with("format", text)
        })
    }
}

/// What mirrors work with.
#[derive(Debug, Clone)]
pub struct MirrorParts {
    /// Where tables and mirrors are.
    pub objects: Objects,
    /// Reads data files.
    pub reader: FileReader,
    /// Time.
    pub clock: SharedClock,
    /// The lake's address as other engines write it, without a slash at the end.
    pub root: String,
}

/// What became of an attempt to publish a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// The mirror shows it.
    Done,
    /// Somebody else published meanwhile: look again.
    Moved,
}

/// Whether a mirror keeps a version for each snapshot, or follows the newest one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A version for each snapshot since the mirror began.
    EachSnapshot,
    /// What was committed between two refreshes is one step.
    NewestOnly,
}

/// One table in one format.
#[async_trait]
pub trait Mirror: fmt::Debug + Send + Sync {
    /// How it follows the table.
    fn pace(&self) -> Pace;
    /// Object path of the snapshot that it shows; `None` if it shows none, or somebody else's
    /// doing.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read; those of the store.
    async fn shown(&self) -> Result<Option<String>>;
    /// Lets it show a snapshot, all of it or nothing.
    ///
    /// # Errors
    /// `Unsupported` if the format cannot hold the rows; those of the store.
    async fn publish(&self, content: &Content) -> Result<Published>;
    /// Removes files that it has not shown since a time (milliseconds since 1970), and versions
    /// that need them. What it shows now stays.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read; those of the store.
    async fn clean(&self, before_ms: i64) -> Result<()>;
}

/// The mirror of a table in a format.
pub fn open(parts: &MirrorParts, table: &TableId, format: MirrorFormat) -> Arc<dyn Mirror> {
    let folder = store::layout::mirror(table, format.name());
    let parts = parts.clone();
    match format {
        MirrorFormat::Delta => Arc::new(delta::DeltaMirror::new(parts, table.clone(), folder)),
        MirrorFormat::Iceberg => Arc::new(iceberg::IcebergMirror::new(parts, folder)),
        MirrorFormat::Parquet => Arc::new(parquet::ParquetMirror::new(parts, folder)),
    }
}
