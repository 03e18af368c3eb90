//! A catalogue that counts its calls: each is one round trip in Redis (listings are more).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mountable::catalog::{
    AuditFields, Catalog, CatalogHealth, DocKey, Expected, Leaf, LeafSwap, LogKey, Root,
    SharedCatalog, SwapOutcome,
};
use mountable::error::Result;
use mountable::lake::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// Counts what it passes on.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: SharedCatalog,
    calls: AtomicU64,
    names: Mutex<Vec<&'static str>>,
}

impl Counting {
    pub(crate) fn over(inner: SharedCatalog) -> Arc<Self> {
        Arc::new(Self { inner, calls: AtomicU64::new(0), names: Mutex::default() })
    }

    /// Names of the calls since the last time.
    pub(crate) fn take(&self) -> Vec<&'static str> {
        self.calls.store(0, Ordering::SeqCst);
        std::mem::take(&mut self.names.lock().unwrap())
    }

    fn count(&self, name: &'static str) -> &SharedCatalog {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.names.lock().unwrap().push(name);
        &self.inner
    }
}

macro_rules! counted {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl Catalog for Counting {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                self.count(stringify!($name)).$name($($arg),*).await
            })*
        }
    };
}

counted! {
    organizations() -> Vec<OrgName>;
    create_organization(organization: &OrgName) -> bool;
    remove_organization(organization: &OrgName) -> bool;
    supers(organization: &OrgName) -> Vec<SuperName>;
    create_super(id: &SuperId, now_ms: i64) -> bool;
    remove_super(id: &SuperId) -> bool;
    root(id: &SuperId) -> Option<Root>;
    leaves(id: &SuperId) -> Vec<(SimpleName, Leaf)>;
    leaf(table: &TableId) -> Option<Leaf>;
    swap(swap: LeafSwap) -> SwapOutcome;
    acquire(table: &TableId, token: &str, ttl: Duration) -> bool;
    renew(table: &TableId, token: &str, ttl: Duration) -> bool;
    release(table: &TableId, token: &str) -> bool;
    holder(table: &TableId) -> Option<String>;
    reserve_row_ids(table: &TableId, count: u64, above: u64) -> u64;
    doc(key: &DocKey) -> Option<Bytes>;
    put_doc(key: &DocKey, expected: Expected, value: Bytes) -> bool;
    remove_doc(key: &DocKey) -> bool;
    trash(id: &SuperId) -> Vec<String>;
    branches(id: &SuperId) -> Vec<String>;
    append(log: &LogKey, entries: &[Bytes], keep: usize) -> ();
    read_log(log: &LogKey, last: usize) -> Vec<Bytes>;
    audit(organization: &OrgName, events: &[AuditFields]) -> ();
    role(id: &SuperId, name: &str) -> Option<BTreeMap<String, String>>;
    health() -> CatalogHealth;
}
