//! Organizations and SuperTables.

use std::sync::Arc;

use super::{Lake, OrgName, Principal, Snapshot, SuperId, SuperName};
use crate::access::Permission;
use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};

impl Lake {
    /// Organizations, sorted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn organizations(&self) -> Result<Vec<OrgName>> {
        let known = &self.0.known.organizations;
        self.ask(known, (), self.0.catalog.organizations()).await
    }

    /// Creates an organization.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, `Unavailable`.
    pub async fn create_organization(&self, who: &Principal, name: &OrgName) -> Result<()> {
        writable(who)?;
        if self.0.catalog.create_organization(name).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::AlreadyExists, "the organization exists").with("name", name))
    }

    /// Removes an empty organization.
    ///
    /// # Errors
    /// `Conflict` if it holds SuperTables, `ReadOnly`, `Unavailable`.
    pub async fn remove_organization(&self, who: &Principal, name: &OrgName) -> Result<()> {
        writable(who)?;
        if self.0.catalog.remove_organization(name).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the organization holds SuperTables")
            .with("name", name))
    }

    /// SuperTables of an organization, sorted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn supers(&self, organization: &OrgName) -> Result<Vec<SuperName>> {
        let known = &self.0.known.supers;
        self.ask(known, organization.clone(), self.0.catalog.supers(organization)).await
    }

    /// When the SuperTable last changed, in milliseconds since 1970; `None` = there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn super_changed_ms(&self, id: &SuperId) -> Result<Option<i64>> {
        self.ask(&self.0.known.changed, id.clone(), self.ask_changed_ms(id)).await
    }

    async fn ask_changed_ms(&self, id: &SuperId) -> Result<Option<i64>> {
        let Some(root) = self.0.catalog.root(id).await? else { return Ok(None) };
        let root: serde_json::Value = serde_json::from_slice(&root.raw)
            .map_err(|error| Error::corrupt("read the root").with("super", id).caused_by(error))?;
        let ts = root.get("ts").and_then(|ts| ts.as_i64().or(ts.as_f64().map(float_ms)));
        Ok(Some(ts.unwrap_or_default()))
    }

    /// Creates a SuperTable.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`, `Unavailable`.
    pub async fn create_super(&self, who: &Principal, id: &SuperId) -> Result<()> {
        writable(who)?;
        if id.branch().is_some() {
            return Err(no_super(id));
        }
        let created = self.0.catalog.create_super(id, now_ms(&*self.0.clock)).await;
        self.0.listings.changed();
        if created? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::AlreadyExists, "the SuperTable exists").with("super", id))
    }

    /// Drops an empty SuperTable.
    ///
    /// # Errors
    /// `Conflict` if it holds tables or has branches, `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn drop_super(&self, who: &Principal, id: &SuperId) -> Result<()> {
        self.allow_super(who, id, Permission::Write).await?;
        if id.branch().is_some() {
            return Err(no_super(id));
        }
        let branches = self.0.catalog.branches(id).await?;
        if !branches.is_empty() {
            let what = "the SuperTable has branches: drop them first";
            return Err(Error::new(ErrorKind::Conflict, what)
                .with("super", id)
                .with("branches", branches.join(", ")));
        }
        let removed = self.0.catalog.remove_super(id).await;
        self.0.listings.changed();
        if removed? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the SuperTable holds tables").with("super", id))
    }

    /// The newest snapshots of all tables of a SuperTable, sorted by name.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable, `Unavailable`.
    pub async fn tables(&self, id: &SuperId) -> Result<Vec<Arc<Snapshot>>> {
        self.ask(&self.0.known.tables, id.clone(), self.ask_tables(id)).await
    }

    async fn ask_tables(&self, id: &SuperId) -> Result<Vec<Arc<Snapshot>>> {
        let mut snapshots = Vec::new();
        for (name, leaf) in self.0.catalog.leaves(id).await? {
            let table = id.table(name);
            match self.table(&table).snapshot_of(&leaf).await {
                Ok(snapshot) => snapshots.push(self.remember(snapshot)),
                Err(error) => {
                    tracing::warn!(%table, %error, "leave out a table that cannot be read")
                }
            }
        }
        Ok(snapshots)
    }
}

fn no_super(id: &SuperId) -> Error {
    Error::invalid("this is a branch: it is made and dropped by `mountable branch`")
        .with("name", id)
}

fn writable(who: &Principal) -> Result<()> {
    if who.read_only {
        return Err(Error::new(ErrorKind::ReadOnly, "this export is read-only"));
    }
    Ok(())
}

/// Milliseconds from a JSON number that went through a float.
#[allow(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit a double exactly")]
fn float_ms(value: f64) -> i64 {
    value as i64
}
