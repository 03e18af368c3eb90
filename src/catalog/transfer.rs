//! All that a catalogue holds, key by key, to move it into another one.
//!
//! Values are carried byte for byte. What expires (locks above all) is left behind: it belongs to
//! processes that work on the old catalogue.

mod form;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use form::{Exported, read_export, write_export};

use super::AuditFields;
use crate::error::Result;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// One value.
    Value(Bytes),
    /// A set of texts, sorted.
    Members(Vec<String>),
    /// Fields with their values, sorted by field.
    Fields(Vec<(String, Bytes)>),
    /// A list, oldest first.
    List(Vec<Bytes>),
    /// A stream of events, oldest first, with their ids where there are any.
    Events(Vec<(Option<String>, AuditFields)>),
}

/// A key and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, spelled as in Redis.
    pub key: String,
    /// What it holds.
    pub held: Held,
}

/// A catalogue whose content can be read and filled in as a whole.
///
/// # Errors
/// All calls: those of [`super::Catalog`].
#[async_trait]
pub trait Transfer: fmt::Debug + Send + Sync + 'static {
    /// Keys of this catalogue that will not be lost with a process, sorted.
    async fn keys(&self) -> Result<Vec<String>>;
    /// What a key holds; `None` if it is gone, expires, or is of a kind that nobody here knows.
    async fn held(&self, key: &str) -> Result<Option<Held>>;
    /// Makes a key hold this and nothing else. Repeating it changes nothing.
    async fn hold(&self, entry: &Entry) -> Result<()>;
}

/// A shared catalogue to read out or fill in.
pub type SharedTransfer = Arc<dyn Transfer>;

/// Order in which keys are filled in: the SuperTables' roots come last, so a transfer that broke
/// off has not made anything appear and can be repeated.
pub fn fill_order(key: &str) -> (bool, &str) {
    let makes_appear = super::keys::parse_root(key).is_some() || key == super::keys::ORGANIZATIONS;
    (makes_appear, key)
}

/// The key of a table's pointer.
pub fn leaf_key(layout: super::KeyLayout, table: &crate::ident::TableId) -> String {
    layout.leaf(table)
}
