//! The catalogue in Redis: shared with other gateways and with the Python library.
//!
//! Documents are stored as the bytes given, never re-encoded by the server. Every call is bounded
//! in time; after a lost answer it is repeated and its outcome worked out where that matters.

mod facts;
mod link;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::link::{Answer, Link, Request};
use super::keys::{self, KeyLayout, Place};
use super::scaffold::{self, Entry};
use super::{
    AuditFields, Catalog, CatalogHealth, DocKey, Expected, Leaf, LeafSwap, LogKey, Root,
    SwapOutcome, layout, root, scripts,
};
use crate::clock::SharedClock;
use crate::config::RedisSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// Keys that the server looks at per SCAN call.
const SCAN_COUNT: usize = 5_000;
/// The same where the values of the keys that fit are fetched along.
const LEAVES_SCAN_COUNT: usize = 16_384;
/// Keys removed by one call.
const KEYS_PER_REMOVAL: usize = 500;

/// Where Redis is.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port/db`, `rediss://...` for TLS, `unix:///path`.
    pub url: String,
    /// Credentials and Sentinels.
    pub settings: RedisSettings,
}

/// The catalogue in Redis.
#[derive(Debug)]
pub struct RedisCatalog {
    link: Link,
    clock: SharedClock,
    keys: KeyLayout,
}

impl RedisCatalog {
    /// Connects and checks that the server can serve as a catalogue.
    ///
    /// # Errors
    /// `Invalid` if the address is wrong or something else answers, `Denied` if the credentials
    /// are, `Unsupported` for Redis Cluster, `Unavailable` if nothing answers.
    pub async fn connect(options: &RedisOptions, clock: SharedClock) -> Result<Self> {
        let (link, keys) = (Link::new(options, clock.clone())?, KeyLayout::default());
        let catalog = Self { link, clock, keys };
        let info = catalog.info().await?;
        match info.get("redis_mode").map(String::as_str) {
            Some("cluster") => Err(Error::unsupported(
                "Redis Cluster is not supported: use a single server or Sentinel",
            )
            .with("catalog", catalog.link.address())),
            Some("sentinel") => Err(Error::invalid(
                "address is that of a Sentinel: name it in the setting for Sentinels",
            )
            .with("catalog", catalog.link.address())),
            _ => Ok(catalog),
        }
    }

    /// The catalogue with its keys spelled in the layout that is wanted, or in the one that is
    /// there.
    ///
    /// # Errors
    /// `Invalid` if these contradict each other, `Unsupported` if two layouts share directories.
    pub async fn in_layout(mut self, wanted: Option<KeyLayout>) -> Result<Self> {
        let stored = layout::stored(self.value("read layout", keys::LAYOUT).await?.as_deref())?;
        let found = match stored {
            Some(_) => BTreeSet::new(),
            None => self.scan("find layout", keys::ANY_ROOT).await?,
        };
        let roots = found.iter().filter_map(|key| keys::parse_root(key));
        self.keys = layout::choose(wanted, stored, roots)?;
        Ok(self)
    }

    async fn call<T: ::redis::FromRedisValue>(
        &self,
        action: &'static str,
        request: Request,
    ) -> Result<Answer<T>> {
        self.link.run(action, &request).await
    }

    async fn value(&self, action: &'static str, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.call(action, Request::command("GET").arg(key)).await?.value)
    }

    /// All keys that begin with `prefix` and match the rest of the pattern, sorted.
    async fn scan(&self, action: &'static str, pattern: &str) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let request = Request::command("SCAN").arg(cursor);
            let request = request.arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let page: Answer<(u64, Vec<Vec<u8>>)> = self.call(action, request).await?;
            let (next, keys) = page.value;
            found.extend(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }

    async fn super_names(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        // The pattern finds those of the other layout too: their directories must be other ones.
        let pattern = format!("{}*:meta:root", KeyLayout::V1.lakes_prefix(organization));
        let keys = self.scan("list supertables", &pattern).await?;
        let (own, other): (Vec<_>, Vec<_>) = keys
            .iter()
            .filter_map(|key| keys::parse_root(key))
            .filter(|(_, id)| id.organization == *organization)
            .partition(|(layout, _)| *layout == self.keys);
        let other: BTreeSet<SuperId> = other.into_iter().map(|(_, id)| id).collect();
        if let Some((_, id)) = own.iter().find(|(_, id)| other.contains(id)) {
            return Err(layout::shared(id));
        }
        let mut found: Vec<SuperName> = own.into_iter().map(|(_, id)| id.super_name).collect();
        found.sort();
        Ok(found)
    }

    async fn has_leaf(&self, id: &SuperId) -> Result<bool> {
        let pattern = format!("{}*", self.keys.leaf_prefix(id));
        Ok(!self.scan("list tables", &pattern).await?.is_empty())
    }

    async fn stored(&self, place: &Place) -> Result<Option<Vec<u8>>> {
        match place {
            Place::Key(key) => self.value("read document", key).await,
            Place::Field(key, field) => {
                let request = Request::command("HGET").arg(key).arg(field);
                Ok(self.call("read document", request).await?.value)
            }
        }
    }

    async fn lock_call(
        &self,
        action: &'static str,
        script: &str,
        table: &TableId,
        token: &str,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        let mut request = Request::script(script, &[self.keys.lock(table)]).arg(token);
        if let Some(ttl) = ttl {
            request = request.arg(milliseconds(ttl));
        }
        Ok(self.call::<i64>(action, request).await?.value == 1)
    }

    /// What the server says of itself; empty if this user may not ask.
    async fn info(&self) -> Result<BTreeMap<String, String>> {
        match self.call::<String>("ask for state", Request::command("INFO")).await {
            Ok(text) => Ok(text
                .value
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect()),
            Err(error) if error.kind() == ErrorKind::Denied => {
                // Wrong credentials are refused here too.
                self.call::<String>("ask for an answer", Request::command("PING")).await?;
                Ok(BTreeMap::new())
            }
            Err(error) => Err(error),
        }
    }

    /// A swap whose answer was lost meets its own leaf when it is repeated.
    async fn moved(
        &self,
        swap: &LeafSwap,
        current: Option<Vec<u8>>,
        repeated: bool,
    ) -> Result<SwapOutcome> {
        let own = current.as_deref() == swap.new.as_deref() && swap.new != swap.expected;
        if repeated && own {
            let root = self.root(&swap.table.super_id()).await?;
            let root_version = root.map(|root| root::version(&root.raw)).unwrap_or_default();
            return Ok(SwapOutcome::Swapped { root_version });
        }
        let current = current.map(|raw| Leaf { raw: raw.into() });
        Ok(SwapOutcome::Moved { current })
    }
}

/// Adds a place to a script's keys: its number among them (0: there is none) and its field.
fn further(keys: &mut Vec<String>, place: Option<Place>) -> (usize, String) {
    let (key, field) = match place {
        None => return (0, String::new()),
        Some(Place::Key(key)) => (key, String::new()),
        Some(Place::Field(key, field)) => (key, field),
    };
    keys.push(key);
    (keys.len(), field)
}

/// Adds audit events in the form that the scripts read.
fn with_events(request: Request, events: &[AuditFields]) -> Request {
    let mut request = request.arg(events.len());
    for event in events {
        request = request.arg(event.len().saturating_mul(2));
        for (name, value) in event {
            request = request.arg(name).arg(value);
        }
    }
    request
}

fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, 86_400_000)
}

fn flag(is_there: bool) -> &'static str {
    if is_there { "1" } else { "0" }
}

#[async_trait]
impl Catalog for RedisCatalog {
    fn layout(&self) -> KeyLayout {
        self.keys
    }

    async fn organizations(&self) -> Result<Vec<OrgName>> {
        let request = Request::command("SMEMBERS").arg(keys::ORGANIZATIONS);
        let named: Vec<String> = self.call("list organizations", request).await?.value;
        let mut found: BTreeSet<OrgName> =
            named.iter().filter_map(|name| OrgName::new(name).ok()).collect();
        let roots = self.scan("list organizations", keys::ANY_ROOT).await?;
        let roots = roots.iter().filter_map(|key| keys::parse_root(key));
        let own = roots.filter(|(layout, _)| *layout == self.keys);
        found.extend(own.map(|(_, id)| id.organization));
        Ok(found.into_iter().collect())
    }

    async fn create_organization(&self, organization: &OrgName) -> Result<bool> {
        let held = !self.super_names(organization).await?.is_empty();
        let request = Request::command("SADD").arg(keys::ORGANIZATIONS).arg(organization.as_str());
        let added: Answer<i64> = self.call("create organization", request).await?;
        Ok((added.value == 1 || added.repeated) && !held)
    }

    async fn remove_organization(&self, organization: &OrgName) -> Result<bool> {
        if !self.super_names(organization).await?.is_empty() {
            return Ok(false);
        }
        let request = Request::command("SREM").arg(keys::ORGANIZATIONS).arg(organization.as_str());
        self.call::<i64>("remove organization", request).await?;
        Ok(true)
    }

    async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        self.super_names(organization).await
    }

    async fn create_super(&self, id: &SuperId, now_ms: i64) -> Result<bool> {
        layout::check_name(self.keys, id)?;
        let other = self.keys.other().root(id);
        if self.value("read root", &other).await?.is_some() {
            return Err(layout::shared(id));
        }
        let (root_key, root) = scaffold::root_entry(self.keys, id, now_ms);
        let entries = scaffold::entries(self.keys, id, now_ms, self.clock.as_ref());
        let mut keys = vec![root_key];
        keys.extend(entries.iter().map(|entry| entry.key().to_owned()));
        let mut request = Request::script(scripts::CREATE_SUPER, &keys).arg(&root);
        for entry in &entries {
            request = match entry {
                Entry::Member(_, member) => request.arg("m").arg("").arg(member),
                Entry::Field(_, field, value) => request.arg("f").arg(field).arg(value),
            };
        }
        let created: Answer<i64> = self.call("create supertable", request).await?;
        if created.value == 0 && created.repeated {
            let stored = self.root(id).await?;
            return Ok(stored.is_some_and(|stored| stored.raw == root.as_bytes()));
        }
        Ok(created.value == 1)
    }

    async fn remove_super(&self, id: &SuperId) -> Result<bool> {
        layout::check_name(self.keys, id)?;
        if self.has_leaf(id).await? {
            return Ok(false);
        }
        let Some(root) = self.root(id).await? else {
            return Ok(true);
        };
        // Without a root there is no SuperTable; whoever adds a table from now on makes a new one.
        let root_key = self.keys.root(id);
        self.call::<i64>("remove supertable", Request::command("DEL").arg(&root_key)).await?;
        if self.has_leaf(id).await? {
            let request = Request::command("SETNX").arg(&root_key).arg(&root.raw[..]);
            self.call::<i64>("restore supertable", request).await?;
            return Ok(false);
        }
        let leaf_prefix = self.keys.leaf_prefix(id);
        for prefix in [self.keys.super_prefix(id), keys::own_prefix(id)] {
            let found = self.scan("remove supertable", &format!("{prefix}*")).await?;
            let rest: Vec<&String> = found
                .iter()
                .filter(|key| **key != root_key && !key.starts_with(&leaf_prefix))
                .collect();
            for page in rest.chunks(KEYS_PER_REMOVAL) {
                let request = Request::command("UNLINK").arg(page);
                self.call::<i64>("remove supertable", request).await?;
            }
        }
        Ok(true)
    }

    async fn root(&self, id: &SuperId) -> Result<Option<Root>> {
        let raw = self.value("read root", &self.keys.root(id)).await?;
        Ok(raw.map(|raw| Root { raw: raw.into() }))
    }

    async fn leaves(&self, id: &SuperId) -> Result<Vec<(SimpleName, Leaf)>> {
        let prefix = self.keys.leaf_prefix(id);
        // The set of table names would be cheaper, but other writers leave gaps in it when they
        // crash, and keep dropped tables.
        let mut leaves = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let request = Request::script(scripts::LEAVES, &[]).arg(&cursor);
            let request = request.arg(format!("{prefix}*")).arg(LEAVES_SCAN_COUNT);
            let page: Answer<(String, Vec<Vec<u8>>, Vec<Option<Vec<u8>>>)> =
                self.call("list tables", request).await?;
            let (next, keys, values) = page.value;
            for (key, raw) in keys.into_iter().zip(values) {
                let name = String::from_utf8(key).ok();
                let name = name.and_then(|key| keys::parse_leaf(&prefix, &key));
                // A key that is no text is no leaf.
                if let (Some(name), Some(raw)) = (name, raw) {
                    leaves.insert(name, Leaf { raw: raw.into() });
                }
            }
            if next == "0" {
                return Ok(leaves.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn leaf(&self, table: &TableId) -> Result<Option<Leaf>> {
        let raw = self.value("read leaf", &self.keys.leaf(table)).await?;
        Ok(raw.map(|raw| Leaf { raw: raw.into() }))
    }

    async fn swap(&self, swap: LeafSwap) -> Result<SwapOutcome> {
        self.swap_and_release(swap, "").await
    }

    async fn swap_and_release(&self, swap: LeafSwap, token: &str) -> Result<SwapOutcome> {
        let id = swap.table.super_id();
        let mut keys = vec![
            self.keys.leaf(&swap.table),
            self.keys.root(&id),
            self.keys.schema(&swap.table),
            self.keys.table_names(&id),
            self.keys.lock(&swap.table),
            self.keys.row_ids(&swap.table),
            self.keys.audit(&swap.table.organization),
        ];
        let required = swap.requires.as_ref().map(|what| self.keys.required(what));
        let removed = swap.removes.as_ref().map(|key| self.keys.doc(key));
        let (required, field) = further(&mut keys, required);
        let (removed, removed_field) = further(&mut keys, removed);
        let mut request = Request::script(scripts::SWAP, &keys);
        for value in [&swap.expected, &swap.new, &swap.schema] {
            request = request.arg(flag(value.is_some())).arg(value.as_deref().unwrap_or_default());
        }
        request = request.arg(swap.now_ms).arg(flag(swap.bump_root));
        request = request.arg(swap.table.simple_name.as_str()).arg(field).arg(token);
        request = request.arg(required).arg(removed).arg(removed_field);
        request = with_events(request, &swap.audit);
        let answer: Answer<Vec<Vec<u8>>> = self.call("swap leaf", request).await?;
        let mut parts = answer.value.into_iter();
        match (parts.next().as_deref(), parts.next()) {
            (Some(b"OK"), Some(version)) => {
                let root_version = std::str::from_utf8(&version)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or_default();
                Ok(SwapOutcome::Swapped { root_version })
            }
            (Some(b"MOVED"), current) => self.moved(&swap, current, answer.repeated).await,
            _ => Err(Error::corrupt("swap leaf: answer is not understood")),
        }
    }

    async fn acquire(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        let keys = [self.keys.lock(table), self.keys.root(&table.super_id())];
        for look in [true, false] {
            let request = Request::script(scripts::ACQUIRE, &keys).arg(token);
            let request = request.arg(milliseconds(ttl)).arg(flag(look));
            match self.call::<::redis::Value>("take lock", request).await?.value {
                ::redis::Value::BulkString(root) => {
                    if let Some(refusal) = root::refusal(&root) {
                        return Err(refusal.with("super", table.super_id()));
                    }
                }
                answer => return Ok(answer == ::redis::Value::Int(1)),
            }
        }
        Ok(false)
    }

    async fn renew(&self, table: &TableId, token: &str, ttl: Duration) -> Result<bool> {
        self.lock_call("renew lock", scripts::EXTEND, table, token, Some(ttl)).await
    }

    async fn release(&self, table: &TableId, token: &str) -> Result<bool> {
        self.lock_call("release lock", scripts::RELEASE, table, token, None).await
    }

    async fn holder(&self, table: &TableId) -> Result<Option<String>> {
        let token = self.value("read lock", &self.keys.lock(table)).await?;
        Ok(token.map(|token| String::from_utf8_lossy(&token).into_owned()))
    }

    async fn reserve_row_ids(&self, table: &TableId, count: u64, above: u64) -> Result<u64> {
        let key = self.keys.row_ids(table);
        let request = Request::script(scripts::RESERVE, std::slice::from_ref(&key));
        let request = request.arg(count).arg(above);
        let last: Option<String> = self.call("reserve row ids", request).await?.value;
        last.and_then(|text| text.parse::<u64>().ok())
            .and_then(|last| last.checked_sub(count)?.checked_add(1))
            .ok_or_else(|| {
                Error::corrupt("row-id counter is no number or used up").with("key", key)
            })
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Bytes>> {
        Ok(self.stored(&self.keys.doc(key)).await?.map(Bytes::from))
    }

    async fn put_doc(&self, key: &DocKey, expected: Expected, value: Bytes) -> Result<bool> {
        let place = self.keys.doc(key);
        let new = &value[..];
        let request = match (&place, &expected) {
            (Place::Key(key), Expected::Any) => Request::command("SET").arg(key).arg(new),
            (Place::Key(key), Expected::Absent) => Request::command("SETNX").arg(key).arg(new),
            (Place::Key(key), Expected::Is(old)) => {
                Request::script(scripts::REPLACE, std::slice::from_ref(key)).arg(&old[..]).arg(new)
            }
            (Place::Field(key, field), Expected::Any) => {
                Request::command("HSET").arg(key).arg(field).arg(new)
            }
            (Place::Field(key, field), Expected::Absent) => {
                Request::command("HSETNX").arg(key).arg(field).arg(new)
            }
            (Place::Field(key, field), Expected::Is(old)) => {
                let script = Request::script(scripts::REPLACE_FIELD, std::slice::from_ref(key));
                script.arg(field).arg(&old[..]).arg(new)
            }
        };
        let answer: Answer<::redis::Value> = self.call("write document", request).await?;
        let done = expected == Expected::Any || answer.value == ::redis::Value::Int(1);
        if !done && answer.repeated {
            return Ok(self.stored(&place).await?.as_deref() == Some(new));
        }
        Ok(done)
    }

    async fn remove_doc(&self, key: &DocKey) -> Result<bool> {
        let request = match self.keys.doc(key) {
            Place::Key(key) => Request::command("DEL").arg(key),
            Place::Field(key, field) => Request::command("HDEL").arg(key).arg(field),
        };
        let answer: Answer<i64> = self.call("remove document", request).await?;
        Ok(answer.value == 1 || answer.repeated)
    }

    async fn trash(&self, id: &SuperId) -> Result<Vec<String>> {
        let request = Request::command("HKEYS").arg(keys::trash(id));
        let mut names: Vec<String> = self.call("list dropped tables", request).await?.value;
        names.sort();
        Ok(names)
    }

    async fn branches(&self, id: &SuperId) -> Result<Vec<String>> {
        let request = Request::command("HKEYS").arg(keys::branches(id));
        let mut names: Vec<String> = self.call("list branches", request).await?.value;
        names.sort();
        Ok(names)
    }

    async fn append(&self, log: &LogKey, entries: &[Bytes], keep: usize) -> Result<()> {
        let mut request = Request::script(scripts::APPEND, &[keys::log(log)]).arg(keep);
        for entry in entries {
            request = request.arg(&entry[..]);
        }
        self.call::<i64>("append to log", request).await.map(|_| ())
    }

    async fn read_log(&self, log: &LogKey, last: usize) -> Result<Vec<Bytes>> {
        if last == 0 {
            return Ok(Vec::new());
        }
        let start = i64::try_from(last).unwrap_or(i64::MAX).saturating_neg();
        let request = Request::command("LRANGE").arg(keys::log(log)).arg(start).arg(-1);
        let found: Vec<Vec<u8>> = self.call("read log", request).await?.value;
        Ok(found.into_iter().map(Bytes::from).collect())
    }

    async fn audit(&self, organization: &OrgName, events: &[AuditFields]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let request = Request::script(scripts::AUDIT, &[self.keys.audit(organization)]);
        self.call::<i64>("append audit events", with_events(request, events)).await.map(|_| ())
    }

    async fn role(&self, id: &SuperId, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let names = self.keys.rbac(id, "roles:name_to_id");
        let request = Request::command("HGET").arg(&names).arg(name.to_lowercase());
        let role: Option<String> = self.call("find role", request).await?.value;
        let Some(role) = role else {
            return Ok(None);
        };
        let request =
            Request::command("HGETALL").arg(self.keys.rbac(id, &format!("roles:doc:{role}")));
        let document: BTreeMap<String, String> = self.call("read role", request).await?.value;
        Ok((!document.is_empty()).then_some(document))
    }

    fn connections(&self) -> u64 {
        self.link.connections()
    }

    async fn health(&self) -> Result<CatalogHealth> {
        let info = self.info().await?;
        if info.is_empty() {
            let address = self.link.address();
            let description =
                format!("redis at {address}, state not known: allow this user the command INFO");
            return Ok(CatalogHealth { epoch: "unknown".to_owned(), description });
        }
        let field = |name: &str| info.get(name).map_or("?", String::as_str);
        let persistence = match (field("aof_enabled"), field("rdb_last_bgsave_status")) {
            ("1", _) => "append-only file",
            (_, "ok") => "snapshots only: a crash may lose pointers, which are then repaired",
            _ => "snapshots that fail",
        };
        let mut description = format!(
            "redis {} at {}, {}, {persistence}",
            field("redis_version"),
            self.link.address(),
            field("role"),
        );
        let policy = field("maxmemory_policy");
        if policy.starts_with("allkeys") {
            description.push_str(", WARNING: may evict any key, set maxmemory-policy noeviction");
        }
        let epoch = format!("{}/{}", field("run_id"), field("master_replid"));
        Ok(CatalogHealth { epoch, description })
    }
}
