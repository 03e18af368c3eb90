//! Tables come and go: creation, removal, the trash, other names.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{Lake, Principal, Snapshot, SuperId, TableConfig, TableId};
use crate::access::Permission;
use crate::catalog::DocKey;
use crate::error::{Error, Result};

impl Lake {
    /// Creates an empty table.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` (SuperTable), `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn create_table(
        &self,
        who: &Principal,
        id: &TableId,
        schema: SchemaRef,
        config: TableConfig,
    ) -> Result<Arc<Snapshot>> {
        self.allow(who, id, Permission::Write).await?;
        if self.0.catalog.root(&id.super_id()).await?.is_none() {
            return Err(Error::not_found("there is no such SuperTable").with("table", id));
        }
        if id.simple_name.as_str() == id.super_name.main().as_str() {
            return Err(Error::invalid(
                "a table must not have the name of its SuperTable (the library reads that name \
                 as the union of all tables)",
            )
            .with("table", id));
        }
        let lineage = self.lineage(who, "create", "");
        let created = self.table(id).create(schema, config, lineage).await;
        self.0.listings.changed();
        let snapshot = created?;
        let event = self.event(who, id, "table_create", serde_json::json!({}));
        if let Err(error) = self.0.catalog.audit(&id.organization, &event).await {
            tracing::warn!(table = %id, %error, "go on without the audit event of a creation");
        }
        Ok(self.remember_own(snapshot))
    }

    /// Drops a table; it can be brought back by [`Lake::restore_table`].
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn drop_table(&self, who: &Principal, id: &TableId) -> Result<()> {
        self.allow(who, id, Permission::Write).await?;
        let audit = self.event(who, id, "table_drop", serde_json::json!({}));
        self.forget(id);
        let dropped = self.table(id).drop(self.lineage(who, "drop", ""), audit).await;
        self.forget(id);
        self.0.listings.changed();
        dropped.map(|_| ())
    }

    /// Names of the dropped tables that can be brought back, sorted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn trash(&self, id: &SuperId) -> Result<Vec<String>> {
        self.0.catalog.trash(id).await
    }

    /// The last snapshot of a dropped table.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Corrupt`, `Unavailable`.
    pub async fn trashed(
        &self,
        who: &Principal,
        id: &SuperId,
        trash_name: &str,
    ) -> Result<Arc<Snapshot>> {
        self.allow_super(who, id, Permission::Read).await?;
        let key = DocKey::Trash(id.clone(), trash_name.to_owned());
        let doc = self.0.catalog.doc(&key).await?;
        let doc =
            doc.ok_or_else(|| Error::not_found("not in the trash").with("name", trash_name))?;
        let entry: serde_json::Value = serde_json::from_slice(&doc).map_err(|error| {
            Error::corrupt("read the trash").with("name", trash_name).caused_by(error)
        })?;
        let text = |member: &str| entry.get(member).and_then(serde_json::Value::as_str);
        let (Some(table), Some(tip)) = (text("table"), text("tip")) else {
            return Err(Error::corrupt("read the trash").with("name", trash_name));
        };
        self.table(&TableId::parse(table)?).load(tip).await
    }

    /// Brings a dropped table back under the name that it had.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn restore_table(
        &self,
        who: &Principal,
        id: &SuperId,
        trash_name: &str,
    ) -> Result<Arc<Snapshot>> {
        let table = self.trashed(who, id, trash_name).await?.table.clone();
        self.allow(who, &table, Permission::Write).await?;
        let detail = serde_json::json!({"from": trash_name});
        let audit = self.event(who, &table, "table_restore", detail);
        let lineage = self.lineage(who, "restore", trash_name);
        let restored = self.table(&table).restore_dropped(trash_name, lineage, audit).await;
        self.0.listings.changed();
        Ok(self.remember_own(restored?))
    }

    /// Renames a table, also between SuperTables; its history goes with it.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn rename_table(
        &self,
        who: &Principal,
        from: &TableId,
        to: &TableId,
    ) -> Result<Arc<Snapshot>> {
        self.allow(who, from, Permission::Write).await?;
        self.allow(who, to, Permission::Write).await?;
        if let Some(id) = [from, to].into_iter().find(|id| id.super_id().branch().is_some()) {
            // Files of one side would stand in the folder of the other (adr/0013).
            return Err(Error::unsupported(
                "tables of a branch keep their names: copy the table, then drop the old one",
            )
            .with("table", id));
        }
        let detail = serde_json::json!({"to": to.to_string()});
        let audit = self.event(who, from, "table_rename", detail);
        let lineage = self.lineage(who, "rename", &from.to_string());
        self.forget(from);
        let renamed = self.table(from).rename(to, lineage, audit).await;
        self.forget(from);
        self.forget(to);
        self.0.listings.changed();
        Ok(self.remember_own(renamed?))
    }
}
