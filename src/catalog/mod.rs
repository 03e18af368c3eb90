//! Metadata of a lake: which tables exist, where their newest snapshot is, who is writing.
//!
//! The catalogue is a repairable pointer store: the commit point of a table is the create-only
//! put of its snapshot document (`table::commit`), so nothing here has to survive a crash for a
//! row to be safe. Values are stored byte for byte as given. Both implementations, Redis (key
//! layouts v1 and v2 of the format spec) and an embedded SQLite file, pass `tests/contract/catalog.rs`.

mod embedded;
mod examine;
mod keys;
mod layout;
mod leaf;
mod lease;
mod open;
mod redis;
mod root;
mod scaffold;
mod scripts;
mod sqlite;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use embedded::EmbeddedCatalog;
pub use examine::{Facts, RedisFacts, examine};
pub use keys::KeyLayout;
pub use leaf::{LeafDoc, lenient_json, whole_number};
pub use lease::{LeaseSettings, LockOwner, TableLease};
pub use open::{open, open_transfer};
pub use redis::{RedisCatalog, RedisOptions};
pub use transfer::{
    Entry, Exported, Held, SharedTransfer, Transfer, fill_order, leaf_key, read_export,
    write_export,
};

use crate::error::Result;
use crate::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// A shared catalogue.
pub type SharedCatalog = Arc<dyn Catalog>;

/// The pointer to the newest snapshot of a table: `{"version","ts","path","payload"}` (format
/// spec section 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The stored bytes, exactly; compared by [`Catalog::swap`].
    pub raw: Bytes,
}

/// The SuperTable's root: `{"version","ts", flags...}` (format spec section 1.1), exactly as
/// stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The stored bytes.
    pub raw: Bytes,
}

/// One atomic change of a table's pointer.
#[derive(Debug, Clone)]
pub struct LeafSwap {
    /// The table.
    pub table: TableId,
    /// The exact leaf that the caller has seen; `None` = there was none.
    pub expected: Option<Bytes>,
    /// The new leaf; `None` removes the table from the catalogue (leaf, schema, lock and row-id
    /// keys; other documents of the table stay).
    pub new: Option<Bytes>,
    /// The table's schema document (format spec: key `schema:doc`), written with it.
    pub schema: Option<Bytes>,
    /// Time of the change, milliseconds since 1970; written into the root.
    pub now_ms: i64,
    /// Whether the root's version is raised by one (a commit does, a table creation does not).
    pub bump_root: bool,
    /// Audit events to append to the organization's stream in the same step.
    pub audit: Vec<AuditFields>,
    /// Something that must be there for the swap to happen.
    pub requires: Option<Required>,
    /// A document that is removed in the same step: what the new leaf replaces. Removed by a step
    /// of its own, it could be gone while a catalogue rolled back in between has the old leaf.
    pub removes: Option<DocKey>,
}

/// What a [`LeafSwap`] may rest on. The catalogue can be rolled back between two steps; a pointer
/// must not be removed when that which replaces it is gone again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    /// A document.
    Doc(DocKey),
    /// The pointer of another table.
    Leaf(TableId),
}

/// The fields of one audit event, in order (format spec section 1.6).
pub type AuditFields = Vec<(String, String)>;

/// What became of a [`LeafSwap`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum SwapOutcome {
    /// The leaf was as expected and is replaced.
    Swapped {
        /// The root's version now.
        root_version: u64,
    },
    /// The leaf was another one, or what the swap requires is not there; nothing was changed.
    Moved {
        /// The leaf that is there.
        current: Option<Leaf>,
    },
}

/// What must be stored for a document to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Exactly these bytes.
    Is(Bytes),
}

/// Small documents beside the tables. `keys.rs` spells their keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DocKey {
    /// The key layout that a lake was made with ([`KeyLayout`] as text).
    Layout,
    /// A secret of the whole lake, by name (handle MAC key).
    Secret(&'static str),
    /// A dropped table that can be brought back: JSON, named by its trash name.
    Trash(SuperId, String),
    /// The views of a SuperTable: JSON.
    Views(SuperId),
    /// The table's `table_config` of the Python library (format spec section 1.4).
    TableConfig(TableId),
    /// The schema document that [`Catalog::swap`] writes with the leaf. Only read through this.
    SchemaDocument(TableId),
    /// The counter of row ids, as decimal text. Only read through this;
    /// [`Catalog::reserve_row_ids`] changes it.
    RowIdCounter(TableId),
    /// A branch of a SuperTable, by name: JSON. With this a branch exists.
    Branch(SuperId, String),
    /// The root of a branch, which [`Catalog::root`] reads.
    BranchRoot(SuperId),
    /// Up to where a table of a branch was merged: JSON.
    Merged(TableId),
    /// Formats that a SuperTable's tables are mirrored in, as the Python library keeps them
    /// (format spec section 1): `{"formats":["DELTA",...],"ts":ms}`.
    Mirrors(SuperId),
    /// How far a table's mirrors are, as JSON.
    MirrorState(TableId),
}

/// Bounded lists of small entries, oldest dropped first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogKey {
    /// Refused writes of a table (`errors.csv`).
    TableRefusals(TableId),
    /// Refused writes of a SuperTable that belong to no table (names that are not allowed).
    SuperRefusals(SuperId),
}

/// State of the back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogHealth {
    /// Changes when the back end may have lost acknowledged writes (Redis: `run_id` and
    /// `master_replid`; embedded: constant).
    pub epoch: String,
    /// One line for people: kind, address without secrets, persistence.
    pub description: String,
}

/// Where the metadata of a lake is kept. Every call is bounded in time by the implementation.
///
/// # Errors
/// All calls: `Unavailable` while the back end does not answer; `Corrupt` if a stored value
/// cannot be read.
#[async_trait]
pub trait Catalog: fmt::Debug + Send + Sync + 'static {
    /// How keys are spelled; with it goes the generation of new tables.
    fn layout(&self) -> KeyLayout {
        KeyLayout::default()
    }

    /// Organizations that were created or hold a SuperTable, sorted.
    async fn organizations(&self) -> Result<Vec<OrgName>>;
    /// Creates an empty organization; `false` if it existed.
    async fn create_organization(&self, organization: &OrgName) -> Result<bool>;
    /// Removes an organization that holds no SuperTable; `false` if it holds one.
    async fn remove_organization(&self, organization: &OrgName) -> Result<bool>;

    /// SuperTables of an organization, sorted.
    async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>>;
    /// Creates a SuperTable: root and the roles scaffold of format spec section 4.1; `false` if
    /// it existed.
    async fn create_super(&self, id: &SuperId, now_ms: i64) -> Result<bool>;
    /// Removes a SuperTable that holds no table, with all its keys; `false` if it holds one.
    async fn remove_super(&self, id: &SuperId) -> Result<bool>;
    /// Refuses writes where the SuperTable's root forbids them, as [`Catalog::acquire`] does.
    ///
    /// # Errors
    /// `ReadOnly`.
    async fn check_writable(&self, id: &SuperId) -> Result<()> {
        let root = self.root(id).await?;
        root.and_then(|root| root::refusal(&root.raw))
            .map_or(Ok(()), |refusal| Err(refusal.with("super", id)))
    }
    /// The SuperTable's root; `None` = there is no such SuperTable.
    async fn root(&self, id: &SuperId) -> Result<Option<Root>>;

    /// All tables of a SuperTable with their leaves, sorted by name, in a number of round trips
    /// that does not grow with the number of tables beyond paging.
    async fn leaves(&self, id: &SuperId) -> Result<Vec<(SimpleName, Leaf)>>;
    /// The leaf of a table; `None` = there is no such table.
    async fn leaf(&self, table: &TableId) -> Result<Option<Leaf>>;
    /// Compares and swaps a leaf together with root, schema and audit, atomically.
    async fn swap(&self, swap: LeafSwap) -> Result<SwapOutcome>;
    /// [`Catalog::swap`] that releases the table's lock in the same step, if the leaf is swapped
    /// and `token` still holds the lock.
    async fn swap_and_release(&self, swap: LeafSwap, token: &str) -> Result<SwapOutcome> {
        let table = swap.table.clone();
        let outcome = self.swap(swap).await?;
        if matches!(outcome, SwapOutcome::Swapped { .. }) {
            self.release(&table, token).await?;
        }
        Ok(outcome)
    }

    /// Takes the table's lock for `ttl` if nobody holds it (format spec section 1.3). The lock
    /// is politeness towards other writers; correctness never rests on it.
    ///
    /// # Errors
    /// `ReadOnly` if the SuperTable's root forbids writing.
    async fn acquire(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool>;
    /// Extends a lock that `token` still holds; `false` if it was lost.
    async fn renew(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool>;
    /// Releases a lock that `token` still holds; `false` if it was lost.
    async fn release(&self, table: &TableId, token: &str) -> Result<bool>;
    /// The token that holds a lock now, if one does.
    async fn holder(&self, table: &TableId) -> Result<Option<String>>;

    /// Reserves `count` row ids that lie above both the stored counter and `above`; returns the
    /// first (format spec section 6.2; `above` = the trunk's `rowid_high_watermark`, because the
    /// counter may have been rolled back).
    async fn reserve_row_ids(&self, table: &TableId, count: u64, above: u64) -> Result<u64>;

    /// A document's bytes.
    async fn doc(&self, key: &DocKey) -> Result<Option<Bytes>>;
    /// Writes a document if what is stored is as expected; `false` if it is not.
    async fn put_doc(&self, key: &DocKey, expected: Expected, value: Bytes) -> Result<bool>;
    /// Removes a document; `false` if there was none.
    async fn remove_doc(&self, key: &DocKey) -> Result<bool>;
    /// Names of the dropped tables of a SuperTable ([`DocKey::Trash`]), sorted.
    async fn trash(&self, id: &SuperId) -> Result<Vec<String>>;
    /// Names of the branches of a SuperTable ([`DocKey::Branch`]), sorted.
    async fn branches(&self, id: &SuperId) -> Result<Vec<String>>;

    /// Appends to a bounded list, keeping its newest `keep` entries.
    async fn append(&self, log: &LogKey, entries: &[Bytes], keep: usize) -> Result<()>;
    /// The newest `last` entries of a list, oldest first.
    async fn read_log(&self, log: &LogKey, last: usize) -> Result<Vec<Bytes>>;
    /// Appends audit events that belong to no table change.
    async fn audit(&self, organization: &OrgName, events: &[AuditFields]) -> Result<()>;

    /// A role's document (format spec section 1.5), found by name without regard to case.
    async fn role(&self, id: &SuperId, name: &str) -> Result<Option<BTreeMap<String, String>>>;

    /// How often the back end was connected to so far. Behind a new connection there may be
    /// another server, or one that lost acknowledged writes. 0 = it cannot lose any.
    fn connections(&self) -> u64 {
        0
    }
    /// Asks the back end how it is.
    async fn health(&self) -> Result<CatalogHealth>;
}
