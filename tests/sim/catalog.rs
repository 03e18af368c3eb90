//! A catalogue in memory, reached through the world; it can be rolled back as a failover does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mountable::catalog::{
    AuditFields, Catalog, CatalogHealth, DocKey, Expected, Leaf, LeafSwap, LogKey, Required, Root,
    SwapOutcome,
};
use mountable::error::{Error, ErrorKind, Result};
use mountable::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

use crate::world::Life;

/// Older states that a failover may bring back.
const KEPT: usize = 6;

#[derive(Debug, Clone, Default)]
struct State {
    organizations: BTreeSet<OrgName>,
    roots: BTreeMap<String, (SuperId, u64, i64)>,
    leaves: BTreeMap<String, (TableId, Bytes)>,
    locks: BTreeMap<String, (String, u64)>,
    row_ids: BTreeMap<String, u64>,
    docs: BTreeMap<String, Bytes>,
    trash: BTreeMap<String, Vec<String>>,
    logs: BTreeMap<String, Vec<Bytes>>,
    events: u64,
}

/// What the gateways share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server(Arc<Mutex<(State, Vec<State>)>>);

impl Server {
    /// What is there now survives every failover.
    pub(crate) fn pin(&self) {
        self.0.lock().unwrap().1.clear();
    }

    /// The answer of a failover to a replica that is behind; `false` if none is.
    pub(crate) fn roll_back(&self, steps: usize) -> bool {
        let mut both = self.0.lock().unwrap();
        let Some(at) = both.1.len().checked_sub(steps.max(1)) else { return false };
        let old = both.1[at].clone();
        both.1.truncate(at);
        both.0 = old;
        true
    }

    fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.0.lock().unwrap().0)
    }

    fn write<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut both = self.0.lock().unwrap();
        let old = both.0.clone();
        both.1.push(old);
        if both.1.len() > KEPT {
            both.1.remove(0);
        }
        work(&mut both.0)
    }
}

/// A gateway's way to the catalogue.
#[derive(Debug, Clone)]
pub(crate) struct SimCatalog {
    pub(crate) server: Server,
    pub(crate) life: Life,
}

fn error(_: bool) -> Error {
    Error::new(ErrorKind::Unavailable, "no answer of the catalogue")
}

impl SimCatalog {
    async fn get<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T> {
        let server = self.server.clone();
        self.life.call(name, false, async move { Ok(server.read(work)) }, error).await
    }

    async fn set<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T> {
        // A failover, now and then.
        let per_mille = self.life.world.weather().roll_backs;
        if self.life.world.draw(|dice| dice.chance(per_mille)) {
            let steps = self.life.world.draw(|dice| dice.below(KEPT as u64)) as usize;
            if self.server.roll_back(steps) {
                self.life.world.note("the catalogue is rolled back");
                self.life.world.count(|tally| tally.roll_backs += 1);
            }
        }
        let server = self.server.clone();
        self.life.call(name, true, async move { Ok(server.write(work)) }, error).await
    }
}

fn doc_key(key: &DocKey) -> String {
    match key {
        DocKey::Layout => "layout".to_owned(),
        DocKey::Secret(name) => format!("secret {name}"),
        DocKey::Trash(id, name) => format!("trash {id} {name}"),
        DocKey::Views(id) => format!("views {id}"),
        DocKey::TableConfig(table) => format!("config {table}"),
        DocKey::SchemaDocument(table) => format!("schema {table}"),
        DocKey::RowIdCounter(table) => format!("row ids {table}"),
        DocKey::Branch(id, name) => format!("branch {id} {name}"),
        DocKey::BranchRoot(id) => format!("branch root {id}"),
        DocKey::Merged(table) => format!("merged {table}"),
        DocKey::Mirrors(id) => format!("mirrors {id}"),
        DocKey::MirrorState(table) => format!("mirror state {table}"),
    }
}

fn log_key(key: &LogKey) -> String {
    format!("{key:?}")
}

fn swap(state: &mut State, swap: &LeafSwap) -> SwapOutcome {
    let key = swap.table.to_string();
    let current = state.leaves.get(&key).map(|(_, raw)| raw.clone());
    let there = match &swap.requires {
        None => true,
        Some(Required::Doc(doc)) => state.docs.contains_key(&doc_key(doc)),
        Some(Required::Leaf(table)) => state.leaves.contains_key(&table.to_string()),
    };
    if current != swap.expected || !there {
        return SwapOutcome::Moved { current: current.map(|raw| Leaf { raw }) };
    }
    match &swap.new {
        Some(raw) => {
            state.leaves.insert(key, (swap.table.clone(), raw.clone()));
        }
        None => {
            state.leaves.remove(&key);
            state.locks.remove(&key);
            state.row_ids.remove(&key);
        }
    }
    if let Some(doc) = &swap.removes {
        state.docs.remove(&doc_key(doc));
    }
    state.events += swap.audit.len() as u64;
    let id = swap.table.super_id();
    let root = state.roots.entry(id.to_string()).or_insert((id, 0, 0));
    root.1 += u64::from(swap.bump_root);
    root.2 = swap.now_ms;
    SwapOutcome::Swapped { root_version: root.1 }
}

#[async_trait]
impl Catalog for SimCatalog {
    async fn organizations(&self) -> Result<Vec<OrgName>> {
        self.get("organizations", |s| s.organizations.iter().cloned().collect()).await
    }

    async fn create_organization(&self, organization: &OrgName) -> Result<bool> {
        let organization = organization.clone();
        self.set("organization", |s| s.organizations.insert(organization)).await
    }

    async fn remove_organization(&self, organization: &OrgName) -> Result<bool> {
        let organization = organization.clone();
        self.set("organization", move |s| s.organizations.remove(&organization)).await
    }

    async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        let organization = organization.clone();
        self.get("supers", move |s| {
            let of = s.roots.values().filter(|(id, ..)| id.organization == organization);
            of.map(|(id, ..)| id.super_name.clone()).collect()
        })
        .await
    }

    async fn create_super(&self, id: &SuperId, now_ms: i64) -> Result<bool> {
        let id = id.clone();
        self.set("super", move |s| s.roots.insert(id.to_string(), (id, 0, now_ms)).is_none()).await
    }

    async fn remove_super(&self, id: &SuperId) -> Result<bool> {
        let id = id.to_string();
        self.set("super", move |s| s.roots.remove(&id).is_some()).await
    }

    async fn root(&self, id: &SuperId) -> Result<Option<Root>> {
        let id = id.to_string();
        self.get("root", move |s| {
            let (_, version, ts) = s.roots.get(&id)?;
            let raw = format!("{{\"version\":{version},\"ts\":{ts}}}").into();
            Some(Root { raw })
        })
        .await
    }

    async fn leaves(&self, id: &SuperId) -> Result<Vec<(SimpleName, Leaf)>> {
        let id = id.clone();
        self.get("leaves", move |s| {
            let of = s.leaves.values().filter(|(table, _)| table.super_id() == id);
            of.map(|(table, raw)| (table.simple_name.clone(), Leaf { raw: raw.clone() })).collect()
        })
        .await
    }

    async fn leaf(&self, table: &TableId) -> Result<Option<Leaf>> {
        let key = table.to_string();
        self.get("leaf", move |s| s.leaves.get(&key).map(|(_, raw)| Leaf { raw: raw.clone() }))
            .await
    }

    async fn swap(&self, change: LeafSwap) -> Result<SwapOutcome> {
        let name = format!("swap {}", change.table);
        self.set(&name, move |s| swap(s, &change)).await
    }

    async fn acquire(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        let (key, token, world) = (table.to_string(), token.to_owned(), self.life.world.clone());
        self.set("acquire", move |s| {
            let now = world.now_ns();
            let free = s.locks.get(&key).is_none_or(|(by, end)| *by == token || *end <= now);
            if free {
                s.locks.insert(key, (token, now + ttl.as_nanos() as u64));
            }
            free
        })
        .await
    }

    async fn renew(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        let (key, token, world) = (table.to_string(), token.to_owned(), self.life.world.clone());
        self.set("renew", move |s| {
            let now = world.now_ns();
            match s.locks.get_mut(&key) {
                Some((by, end)) if *by == token && *end > now => {
                    *end = now + ttl.as_nanos() as u64;
                    true
                }
                _ => false,
            }
        })
        .await
    }

    async fn release(&self, table: &TableId, token: &str) -> Result<bool> {
        let (key, token) = (table.to_string(), token.to_owned());
        self.set("release", move |s| {
            let own = s.locks.get(&key).is_some_and(|(by, _)| *by == token);
            own && s.locks.remove(&key).is_some()
        })
        .await
    }

    async fn holder(&self, table: &TableId) -> Result<Option<String>> {
        let (key, world) = (table.to_string(), self.life.world.clone());
        self.get("holder", move |s| {
            let now = world.now_ns();
            s.locks.get(&key).filter(|(_, end)| *end > now).map(|(by, _)| by.clone())
        })
        .await
    }

    async fn reserve_row_ids(&self, table: &TableId, count: u64, above: u64) -> Result<u64> {
        let key = table.to_string();
        self.set("row ids", move |s| {
            let last = s.row_ids.entry(key).or_default();
            let first = (*last).max(above) + 1;
            *last = first + count - 1;
            first
        })
        .await
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Bytes>> {
        let key = doc_key(key);
        self.get("doc", move |s| s.docs.get(&key).cloned()).await
    }

    async fn put_doc(&self, key: &DocKey, expected: Expected, value: Bytes) -> Result<bool> {
        let (name, key) = (doc_key(key), key.clone());
        self.set("put doc", move |s| {
            let fits = match (&expected, s.docs.get(&name)) {
                (Expected::Any, _) | (Expected::Absent, None) => true,
                (Expected::Is(old), Some(now)) => old == now,
                _ => false,
            };
            if fits {
                if let DocKey::Trash(id, entry) = key {
                    let names = s.trash.entry(id.to_string()).or_default();
                    names.retain(|name| *name != entry);
                    names.push(entry);
                    names.sort();
                }
                s.docs.insert(name, value);
            }
            fits
        })
        .await
    }

    async fn remove_doc(&self, key: &DocKey) -> Result<bool> {
        let (name, key) = (doc_key(key), key.clone());
        self.set("remove doc", move |s| {
            if let DocKey::Trash(id, entry) = key {
                s.trash.entry(id.to_string()).or_default().retain(|name| *name != entry);
            }
            s.docs.remove(&name).is_some()
        })
        .await
    }

    async fn trash(&self, id: &SuperId) -> Result<Vec<String>> {
        let id = id.to_string();
        self.get("trash", move |s| s.trash.get(&id).cloned().unwrap_or_default()).await
    }

    async fn branches(&self, _: &SuperId) -> Result<Vec<String>> {
        // Nobody makes branches here.
        Ok(Vec::new())
    }

    async fn append(&self, log: &LogKey, entries: &[Bytes], keep: usize) -> Result<()> {
        let (key, entries) = (log_key(log), entries.to_vec());
        self.set("append", move |s| {
            let list = s.logs.entry(key).or_default();
            list.extend(entries);
            let surplus = list.len().saturating_sub(keep);
            list.drain(..surplus);
        })
        .await
    }

    async fn read_log(&self, log: &LogKey, last: usize) -> Result<Vec<Bytes>> {
        let key = log_key(log);
        self.get("log", move |s| {
            let list = s.logs.get(&key).cloned().unwrap_or_default();
            list[list.len().saturating_sub(last)..].to_vec()
        })
        .await
    }

    async fn audit(&self, _: &OrgName, events: &[AuditFields]) -> Result<()> {
        let count = events.len() as u64;
        self.set("audit", move |s| s.events += count).await
    }

    async fn role(&self, _: &SuperId, _: &str) -> Result<Option<BTreeMap<String, String>>> {
        self.get("role", |_| None).await
    }

    async fn health(&self) -> Result<CatalogHealth> {
        let health = CatalogHealth { epoch: "sim".to_owned(), description: "sim".to_owned() };
        self.get("health", |_| health).await
    }
}
