//! The catalogue in one SQLite file, for lakes without a Redis server.
//!
//! Several processes of one machine may use the file at once (write-ahead log). Calls run on
//! blocking threads. A changed leaf is on the disk before the call returns; locks and row-id
//! counters are not flushed, because both are checked against the trunk anyway
//! (commit-protocol.md sections 2 and 7).

mod facts;
mod steps;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior};

use super::keys::{self, KeyLayout, Place};
use super::scaffold::{self, Entry};
use super::{
    AuditFields, Catalog, CatalogHealth, DocKey, Expected, Leaf, LeafSwap, LogKey, Root,
    SwapOutcome, layout, root, sqlite,
};
use crate::clock::{SharedClock, now_ms};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};
use crate::telemetry;

/// Attempts to open a file that another process is making at the same moment.
const OPEN_ATTEMPTS: u32 = 20;

/// The catalogue in a SQLite file or in memory.
pub struct EmbeddedCatalog {
    name: String,
    clock: SharedClock,
    keys: KeyLayout,
    writer: Arc<Mutex<Link>>,
    /// Reads do not wait for writes; in memory there is only one connection.
    reader: Arc<Mutex<Link>>,
}

struct Link {
    connection: Connection,
    flush: Flush,
}

/// Whether a change has to survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Yes,
    No,
}

impl EmbeddedCatalog {
    /// Opens the catalogue in `path`, making it and its directory (for this user only, because it
    /// holds the key of the file handles) if they do not exist.
    ///
    /// # Errors
    /// `Invalid` if the file is something else, `Unsupported` if it is of another version or its
    /// file system cannot hold it, `Corrupt`, `Denied`, `Full`, `ReadOnly` or `Unavailable`.
    pub async fn open(path: &Path, clock: SharedClock) -> Result<Self> {
        let mut attempt = 0_u32;
        let (writer, reader) = loop {
            let file = path.to_owned();
            let opened = tokio::task::spawn_blocking(move || open_pair(&file)).await;
            match opened.map_err(|e| Error::internal("open catalogue").caused_by(e))? {
                // The change to write-ahead logging does not wait for another process.
                Err(error) if error.kind() == ErrorKind::Unavailable && attempt < OPEN_ATTEMPTS => {
                    attempt = attempt.saturating_add(1);
                    clock.sleep(Duration::from_millis(25)).await;
                }
                Err(error) => return Err(error.with("file", path.display())),
                Ok(pair) => break pair,
            }
        };
        Ok(Self {
            name: format!("SQLite file {}", path.display()),
            clock,
            keys: KeyLayout::default(),
            writer: Arc::new(Mutex::new(Link::new(writer))),
            reader: Arc::new(Mutex::new(Link::new(reader))),
        })
    }

    /// Makes a catalogue in memory, gone when it is dropped.
    ///
    /// # Errors
    /// `Unavailable` if SQLite cannot be used at all.
    pub fn memory(clock: SharedClock) -> Result<Self> {
        let link = Arc::new(Mutex::new(Link::new(sqlite::open_memory()?)));
        let name = "in memory".to_owned();
        let keys = KeyLayout::default();
        Ok(Self { name, clock, keys, writer: Arc::clone(&link), reader: link })
    }

    /// The catalogue with its keys spelled in this layout, whatever is there.
    #[must_use]
    pub fn spelled(mut self, keys: KeyLayout) -> Self {
        self.keys = keys;
        self
    }

    /// The catalogue with its keys spelled in the layout that is wanted, or in the one that is
    /// there.
    ///
    /// # Errors
    /// `Invalid` if these contradict each other, `Unsupported` if two layouts share directories.
    pub async fn in_layout(mut self, wanted: Option<KeyLayout>) -> Result<Self> {
        self.keys = self
            .read(move |c| {
                let stored = layout::stored(sqlite::value(c, keys::LAYOUT)?.as_deref())?;
                let found = match stored {
                    Some(_) => Vec::new(),
                    None => sqlite::keys_like(c, &keys::ANY_ROOT.replace('*', "%"))?,
                };
                layout::choose(wanted, stored, found.iter().filter_map(|key| keys::parse_root(key)))
            })
            .await?;
        Ok(self)
    }

    /// Changes something in one transaction.
    async fn write<T: Send + 'static>(
        &self,
        flush: Flush,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let link = Arc::clone(&self.writer);
        blocking(move || {
            let mut link = lock(&link);
            link.set_flush(flush)?;
            let transaction = link
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(sqlite::error_of)?;
            let value = work(&transaction)?;
            transaction.commit().map_err(sqlite::error_of)?;
            Ok(value)
        })
        .await
    }

    /// Reads something in one transaction.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let link = Arc::clone(&self.reader);
        blocking(move || {
            let mut link = lock(&link);
            let transaction = link.connection.transaction().map_err(sqlite::error_of)?;
            work(&transaction)
        })
        .await
    }
}

impl Link {
    fn new(connection: Connection) -> Self {
        Self { connection, flush: Flush::Yes }
    }

    fn set_flush(&mut self, flush: Flush) -> Result<()> {
        if self.flush != flush {
            let level = if flush == Flush::Yes { "FULL" } else { "NORMAL" };
            let sql = format!("PRAGMA synchronous = {level}");
            self.connection.execute_batch(&sql).map_err(sqlite::error_of)?;
            self.flush = flush;
        }
        Ok(())
    }
}

fn open_pair(path: &Path) -> Result<(Connection, Connection)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // SQLite would make it readable for everybody.
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    Ok((sqlite::open_file(path)?, sqlite::open_file(path)?))
}

fn lock(link: &Mutex<Link>) -> MutexGuard<'_, Link> {
    // A panic in the middle of a transaction has rolled it back.
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    telemetry::CATALOG_ROUND_TRIPS.add(1);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("run catalogue call").caused_by(error))?
}

fn text(bytes: Vec<u8>, key: &str) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|e| Error::corrupt("catalogue value is not text").with("key", key).caused_by(e))
}

impl fmt::Debug for EmbeddedCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedCatalog").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for EmbeddedCatalog {
    fn layout(&self) -> KeyLayout {
        self.keys
    }

    async fn organizations(&self) -> Result<Vec<OrgName>> {
        let keys = self.keys;
        self.read(move |c| {
            let mut found: Vec<OrgName> = sqlite::members(c, keys::ORGANIZATIONS)?
                .iter()
                .filter_map(|name| OrgName::new(name).ok())
                .collect();
            let mut from = keys::FIRST_WORD.to_owned();
            while let Some(key) = sqlite::key_from(c, &from)? {
                let Some(rest) = key.strip_prefix(keys::FIRST_WORD) else { break };
                let name = rest.split(':').next().unwrap_or_default();
                if let Ok(organization) = OrgName::new(name)
                    && steps::first_super(c, keys, &organization)?.is_some()
                {
                    found.push(organization);
                }
                from = format!("{}{name};", keys::FIRST_WORD);
            }
            found.sort();
            found.dedup();
            Ok(found)
        })
        .await
    }

    async fn create_organization(&self, organization: &OrgName) -> Result<bool> {
        let (keys, organization) = (self.keys, organization.clone());
        self.write(Flush::Yes, move |c| {
            let held = steps::first_super(c, keys, &organization)?.is_some();
            Ok(sqlite::add_member(c, keys::ORGANIZATIONS, organization.as_str())? && !held)
        })
        .await
    }

    async fn remove_organization(&self, organization: &OrgName) -> Result<bool> {
        let (keys, organization) = (self.keys, organization.clone());
        self.write(Flush::Yes, move |c| {
            if steps::first_super(c, keys, &organization)?.is_some() {
                return Ok(false);
            }
            sqlite::remove_member(c, keys::ORGANIZATIONS, organization.as_str())?;
            Ok(true)
        })
        .await
    }

    async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        let (keys, organization) = (self.keys, organization.clone());
        self.read(move |c| {
            let mut found = Vec::new();
            let mut from = keys.lakes_prefix(&organization);
            while let Some((super_name, next)) = steps::super_from(c, keys, &organization, &from)? {
                found.extend(super_name);
                from = next;
            }
            found.sort();
            Ok(found)
        })
        .await
    }

    async fn create_super(&self, id: &SuperId, now_ms: i64) -> Result<bool> {
        let (keys, id, clock) = (self.keys, id.clone(), Arc::clone(&self.clock));
        layout::check_name(keys, &id)?;
        self.write(Flush::Yes, move |c| {
            let (key, root) = scaffold::root_entry(keys, &id, now_ms);
            if sqlite::value(c, &keys.other().root(&id))?.is_some() {
                return Err(layout::shared(&id));
            }
            if sqlite::value(c, &key)?.is_some() {
                return Ok(false);
            }
            sqlite::set(c, &key, root.as_bytes(), None)?;
            for entry in scaffold::entries(keys, &id, now_ms, clock.as_ref()) {
                match entry {
                    Entry::Member(key, member) => {
                        sqlite::add_member(c, &key, &member)?;
                    }
                    Entry::Field(key, field, value) => {
                        sqlite::set_field(c, &key, &field, value.as_bytes())?;
                    }
                }
            }
            Ok(true)
        })
        .await
    }

    async fn remove_super(&self, id: &SuperId) -> Result<bool> {
        let (keys, id) = (self.keys, id.clone());
        layout::check_name(keys, &id)?;
        self.write(Flush::Yes, move |c| {
            let prefix = keys.leaf_prefix(&id);
            if sqlite::key_from(c, &prefix)?.is_some_and(|key| key.starts_with(&prefix)) {
                return Ok(false);
            }
            sqlite::remove_below(c, &keys.super_prefix(&id))?;
            sqlite::remove_below(c, &keys::own_prefix(&id))?;
            Ok(true)
        })
        .await
    }

    async fn root(&self, id: &SuperId) -> Result<Option<Root>> {
        let key = self.keys.root(id);
        self.read(move |c| Ok(sqlite::value(c, &key)?.map(|raw| Root { raw: raw.into() }))).await
    }

    async fn leaves(&self, id: &SuperId) -> Result<Vec<(SimpleName, Leaf)>> {
        let prefix = self.keys.leaf_prefix(id);
        self.read(move |c| {
            let mut found: Vec<_> = sqlite::values_below(c, &prefix)?
                .into_iter()
                .filter_map(|(key, raw)| {
                    Some((keys::parse_leaf(&prefix, &key)?, Leaf { raw: raw.into() }))
                })
                .collect();
            found.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(found)
        })
        .await
    }

    async fn leaf(&self, table: &TableId) -> Result<Option<Leaf>> {
        let key = self.keys.leaf(table);
        self.read(move |c| Ok(sqlite::value(c, &key)?.map(|raw| Leaf { raw: raw.into() }))).await
    }

    async fn swap(&self, swap: LeafSwap) -> Result<SwapOutcome> {
        let keys = self.keys;
        self.write(Flush::Yes, move |c| steps::swap_leaf(c, keys, &swap)).await
    }

    async fn swap_and_release(&self, swap: LeafSwap, token: &str) -> Result<SwapOutcome> {
        let (key, token, now) =
            (self.keys.lock(&swap.table), token.to_owned(), now_ms(self.clock.as_ref()));
        let keys = self.keys;
        self.write(Flush::Yes, move |c| {
            let outcome = steps::swap_leaf(c, keys, &swap)?;
            let swapped = matches!(outcome, SwapOutcome::Swapped { .. });
            if swapped && steps::holder(c, &key, now)?.as_deref() == Some(token.as_bytes()) {
                sqlite::unset(c, &key)?;
            }
            Ok(outcome)
        })
        .await
    }

    async fn acquire(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        let (key, token, now) =
            (self.keys.lock(table), token.to_owned(), now_ms(self.clock.as_ref()));
        let root_key = self.keys.root(&table.super_id());
        let id = table.super_id();
        self.write(Flush::No, move |c| {
            let root = sqlite::value(c, &root_key)?;
            let flagged = root.as_deref().filter(|root| root::has_flags(root));
            if let Some(refusal) = flagged.and_then(root::refusal) {
                return Err(refusal.with("super", id));
            }
            let holder = steps::holder(c, &key, now)?;
            if holder.is_some_and(|holder| holder != token.as_bytes()) {
                return Ok(false);
            }
            sqlite::set(c, &key, token.as_bytes(), Some(steps::expiry(now, ttl)))?;
            Ok(true)
        })
        .await
    }

    async fn renew(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        let (key, token, now) =
            (self.keys.lock(table), token.to_owned(), now_ms(self.clock.as_ref()));
        self.write(Flush::No, move |c| {
            if steps::holder(c, &key, now)?.as_deref() != Some(token.as_bytes()) {
                return Ok(false);
            }
            sqlite::set(c, &key, token.as_bytes(), Some(steps::expiry(now, ttl)))?;
            Ok(true)
        })
        .await
    }

    async fn release(&self, table: &TableId, token: &str) -> Result<bool> {
        let (key, token, now) =
            (self.keys.lock(table), token.to_owned(), now_ms(self.clock.as_ref()));
        self.write(Flush::No, move |c| {
            if steps::holder(c, &key, now)?.as_deref() != Some(token.as_bytes()) {
                return Ok(false);
            }
            sqlite::unset(c, &key)
        })
        .await
    }

    async fn holder(&self, table: &TableId) -> Result<Option<String>> {
        let (key, now) = (self.keys.lock(table), now_ms(self.clock.as_ref()));
        let token = self.read(move |c| steps::holder(c, &key, now)).await?;
        Ok(token.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    async fn reserve_row_ids(&self, table: &TableId, count: u64, above: u64) -> Result<u64> {
        let key = self.keys.row_ids(table);
        self.write(Flush::No, move |c| {
            let stored = match sqlite::value(c, &key)? {
                None => 0,
                Some(raw) => std::str::from_utf8(&raw)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok())
                    .ok_or_else(|| {
                        Error::corrupt("row-id counter is no number").with("key", &key)
                    })?,
            };
            let base = stored.max(above);
            let last = base
                .checked_add(count)
                .filter(|last| i64::try_from(*last).is_ok())
                .ok_or_else(|| Error::corrupt("row ids are used up").with("key", &key))?;
            sqlite::set(c, &key, last.to_string().as_bytes(), None)?;
            Ok(base.saturating_add(1))
        })
        .await
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Bytes>> {
        let place = self.keys.doc(key);
        self.read(move |c| Ok(steps::stored(c, &place)?.map(Bytes::from))).await
    }

    async fn put_doc(&self, key: &DocKey, expected: Expected, value: Bytes) -> Result<bool> {
        let place = self.keys.doc(key);
        self.write(Flush::Yes, move |c| {
            let as_expected = match &expected {
                Expected::Any => true,
                Expected::Absent => steps::stored(c, &place)?.is_none(),
                Expected::Is(bytes) => steps::stored(c, &place)?.as_deref() == Some(&bytes[..]),
            };
            if as_expected {
                match &place {
                    Place::Key(key) => sqlite::set(c, key, &value, None)?,
                    Place::Field(key, field) => sqlite::set_field(c, key, field, &value)?,
                }
            }
            Ok(as_expected)
        })
        .await
    }

    async fn remove_doc(&self, key: &DocKey) -> Result<bool> {
        let place = self.keys.doc(key);
        self.write(Flush::Yes, move |c| match &place {
            Place::Key(key) => sqlite::unset(c, key),
            Place::Field(key, field) => sqlite::remove_field(c, key, field),
        })
        .await
    }

    async fn trash(&self, id: &SuperId) -> Result<Vec<String>> {
        let key = keys::trash(id);
        self.read(move |c| Ok(sqlite::fields(c, &key)?.into_iter().map(|(name, _)| name).collect()))
            .await
    }

    async fn branches(&self, id: &SuperId) -> Result<Vec<String>> {
        let key = keys::branches(id);
        self.read(move |c| Ok(sqlite::fields(c, &key)?.into_iter().map(|(name, _)| name).collect()))
            .await
    }

    async fn append(&self, log: &LogKey, entries: &[Bytes], keep: usize) -> Result<()> {
        let (key, entries) = (keys::log(log), entries.to_vec());
        self.write(Flush::Yes, move |c| {
            sqlite::push(c, &key, entries.iter().map(|entry| &entry[..]))?;
            sqlite::trim(c, &key, keep)
        })
        .await
    }

    async fn read_log(&self, log: &LogKey, last: usize) -> Result<Vec<Bytes>> {
        let key = keys::log(log);
        self.read(move |c| {
            Ok(sqlite::newest(c, &key, last)?.into_iter().map(Bytes::from).collect())
        })
        .await
    }

    async fn audit(&self, organization: &OrgName, events: &[AuditFields]) -> Result<()> {
        let (organization, events) = (organization.clone(), events.to_vec());
        let keys = self.keys;
        self.write(Flush::Yes, move |c| steps::append_audit(c, keys, &organization, &events)).await
    }

    async fn role(&self, id: &SuperId, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let (keys, id, name) = (self.keys, id.clone(), name.to_lowercase());
        self.read(move |c| {
            let names = keys.rbac(&id, "roles:name_to_id");
            let Some(role) = sqlite::field(c, &names, &name)? else {
                return Ok(None);
            };
            let key = keys.rbac(&id, &format!("roles:doc:{}", text(role, &names)?));
            let mut document = BTreeMap::new();
            for (field, value) in sqlite::fields(c, &key)? {
                document.insert(field, text(value, &key)?);
            }
            Ok((!document.is_empty()).then_some(document))
        })
        .await
    }

    async fn health(&self) -> Result<CatalogHealth> {
        self.read(|c| sqlite::value(c, keys::ORGANIZATIONS).map(|_| ())).await?;
        let description = format!("embedded, {}", self.name);
        Ok(CatalogHealth { epoch: "embedded".to_owned(), description })
    }
}
