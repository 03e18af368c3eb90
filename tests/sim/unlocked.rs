//! A catalogue whose lock keeps nobody out, so that commits really race.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mountable::catalog::{
    AuditFields, Catalog, CatalogHealth, DocKey, Expected, Leaf, LeafSwap, LogKey, Root,
    SharedCatalog, SwapOutcome,
};
use mountable::error::Result;
use mountable::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// Another catalogue without its locks.
#[derive(Debug)]
pub(crate) struct Unlocked(pub(crate) SharedCatalog);

#[async_trait]
impl Catalog for Unlocked {
    async fn organizations(&self) -> Result<Vec<OrgName>> {
        self.0.organizations().await
    }

    async fn create_organization(&self, organization: &OrgName) -> Result<bool> {
        self.0.create_organization(organization).await
    }

    async fn remove_organization(&self, organization: &OrgName) -> Result<bool> {
        self.0.remove_organization(organization).await
    }

    async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        self.0.supers(organization).await
    }

    async fn create_super(&self, id: &SuperId, now_ms: i64) -> Result<bool> {
        self.0.create_super(id, now_ms).await
    }

    async fn remove_super(&self, id: &SuperId) -> Result<bool> {
        self.0.remove_super(id).await
    }

    async fn root(&self, id: &SuperId) -> Result<Option<Root>> {
        self.0.root(id).await
    }

    async fn leaves(&self, id: &SuperId) -> Result<Vec<(SimpleName, Leaf)>> {
        self.0.leaves(id).await
    }

    async fn leaf(&self, table: &TableId) -> Result<Option<Leaf>> {
        self.0.leaf(table).await
    }

    async fn swap(&self, swap: LeafSwap) -> Result<SwapOutcome> {
        self.0.swap(swap).await
    }

    async fn acquire(&self, _: &TableId, _: &str, _: Duration) -> Result<bool> {
        Ok(true)
    }

    async fn renew(&self, _: &TableId, _: &str, _: Duration) -> Result<bool> {
        Ok(true)
    }

    async fn release(&self, _: &TableId, _: &str) -> Result<bool> {
        Ok(true)
    }

    async fn holder(&self, _: &TableId) -> Result<Option<String>> {
        Ok(None)
    }

    async fn reserve_row_ids(&self, table: &TableId, count: u64, above: u64) -> Result<u64> {
        self.0.reserve_row_ids(table, count, above).await
    }

    async fn doc(&self, key: &DocKey) -> Result<Option<Bytes>> {
        self.0.doc(key).await
    }

    async fn put_doc(&self, key: &DocKey, expected: Expected, value: Bytes) -> Result<bool> {
        self.0.put_doc(key, expected, value).await
    }

    async fn remove_doc(&self, key: &DocKey) -> Result<bool> {
        self.0.remove_doc(key).await
    }

    async fn trash(&self, id: &SuperId) -> Result<Vec<String>> {
        self.0.trash(id).await
    }

    async fn branches(&self, id: &SuperId) -> Result<Vec<String>> {
        self.0.branches(id).await
    }

    async fn append(&self, log: &LogKey, entries: &[Bytes], keep: usize) -> Result<()> {
        self.0.append(log, entries, keep).await
    }

    async fn read_log(&self, log: &LogKey, last: usize) -> Result<Vec<Bytes>> {
        self.0.read_log(log, last).await
    }

    async fn audit(&self, organization: &OrgName, events: &[AuditFields]) -> Result<()> {
        self.0.audit(organization, events).await
    }

    async fn role(&self, id: &SuperId, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        self.0.role(id, name).await
    }

    async fn health(&self) -> Result<CatalogHealth> {
        self.0.health().await
    }
}
