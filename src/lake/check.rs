//! Checking a lake as a whole: every table of the storage and of the catalogue.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::{
    Counts, Depth, Finding, Lake, OrgName, Principal, Severity, SuperId, SuperName, TableId,
};
use crate::access::Permission;
use crate::clock::now_ms;
use crate::error::{Error, Result};
use crate::store::{self, Objects};
use crate::table::{TableReport, branches_stored};

/// Tables checked at the same time.
const TABLES_AT_ONCE: usize = 4;

/// What of a lake is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Lake,
    /// An organization.
    Organization(OrgName),
    /// A SuperTable.
    Super(SuperId),
    /// A table.
    Table(TableId),
}

impl Scope {
    fn holds(&self, id: &TableId) -> bool {
        match self {
            Self::Lake => true,
            Self::Organization(organization) => id.organization == *organization,
            // The branches of a SuperTable belong to it.
            Self::Super(super_id) => {
                id.super_id() == *super_id || id.super_id().main() == *super_id
            }
            Self::Table(table) => id == table,
        }
    }

    /// Folder of its objects; empty for the whole lake.
    fn folder(&self) -> String {
        match self {
            Self::Lake => String::new(),
            Self::Organization(organization) => organization.to_string(),
            Self::Super(id) => store::layout::super_location(id),
            Self::Table(id) => store::layout::table_location(id),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LakeReport {
    /// What was looked at.
    pub counts: Counts,
    /// What is to be said about it, by place.
    pub findings: Vec<Finding>,
}

impl LakeReport {
    /// The worst finding; `None` if there is none.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

impl Lake {
    /// Checks what `scope` means. Reads only, and may run while gateways serve.
    ///
    /// # Errors
    /// `NotFound` if there is nothing of that name in storage and catalogue; `Denied`,
    /// `Unavailable`.
    pub async fn check(&self, who: &Principal, scope: &Scope, depth: Depth) -> Result<LakeReport> {
        let tables = self.known_tables(scope).await?;
        if tables.is_empty() && *scope != Scope::Lake && !self.is_empty_place(scope).await? {
            return Err(
                Error::not_found("there is nothing of this name").with("name", scope.folder())
            );
        }
        for id in &tables {
            self.allow(who, id, Permission::Read).await?;
        }
        let requests: Vec<_> = tables.iter().map(|id| self.check_table(id, depth)).collect();
        let reports: Vec<TableReport> =
            futures::stream::iter(requests).buffered(TABLES_AT_ONCE).try_collect().await?;
        let mut all = LakeReport::default();
        for report in reports {
            all.counts.add(report.counts);
            all.findings.extend(report.findings);
        }
        all.findings.extend(self.leftovers(scope).await?);
        Ok(all)
    }

    async fn check_table(&self, id: &TableId, depth: Depth) -> Result<TableReport> {
        Box::pin(self.table(id).check(depth)).await.map_err(|error| error.with("table", id))
    }

    /// Whether `scope` is in the catalogue and holds no table.
    async fn is_empty_place(&self, scope: &Scope) -> Result<bool> {
        Ok(match scope {
            Scope::Lake => true,
            Scope::Organization(name) => self.0.catalog.organizations().await?.contains(name),
            Scope::Super(id) => self.has_super(id).await?,
            Scope::Table(_) => false,
        })
    }

    /// Tables of storage and catalogue together, sorted.
    pub(super) async fn known_tables(&self, scope: &Scope) -> Result<BTreeSet<TableId>> {
        let mut tables = self.stored_tables(scope).await?;
        if let Scope::Table(id) = scope {
            let named = self.0.catalog.leaf(id).await?;
            tables.extend(named.map(|_| id.clone()));
            return Ok(tables);
        }
        for organization in self.0.catalog.organizations().await? {
            for super_name in self.0.catalog.supers(&organization).await? {
                let id = SuperId { organization: organization.clone(), super_name };
                let branches = self.branches_with_transactions(&id).await?;
                let branches: Result<Vec<SuperId>> =
                    branches.iter().map(|branch| id.on_branch(branch)).collect();
                for id in branches?.into_iter().chain([id]) {
                    let leaves = self.0.catalog.leaves(&id).await?;
                    tables.extend(leaves.into_iter().map(|(name, _)| id.table(name)));
                }
            }
        }
        tables.retain(|id| scope.holds(id));
        Ok(tables)
    }

    /// Tables that have a folder in the storage.
    pub(super) async fn stored_tables(&self, scope: &Scope) -> Result<BTreeSet<TableId>> {
        let objects = &self.0.objects;
        let mut tables = BTreeSet::new();
        for id in stored_supers(objects).await? {
            for name in store::folders(objects, &store::layout::tables(&id)).await? {
                tables.extend(TableId::parse(&format!("{id}/{name}")));
            }
        }
        tables.retain(|id| scope.holds(id));
        Ok(tables)
    }

    /// Temporary files that writers of a local lake left when they died.
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Finding>> {
        let (location, folder) = (self.0.location.clone(), scope.folder());
        let found = tokio::task::spawn_blocking(move || store::leftovers(&location, &folder));
        let found = found
            .await
            .map_err(|error| Error::internal("look for left files").caused_by(error))??;
        let now = now_ms(&*self.0.clock);
        let finding = |left: store::Leftover| {
            let age = crate::table::age_text(now.saturating_sub(left.written_ms));
            let what = format!("unfinished write: {} bytes, {age} old", left.bytes);
            let cure = "if it is older than a day, remove it; no reader sees it";
            Finding::new(Severity::Note, "leftover", &left.folder, what, cure).on(left.path)
        };
        Ok(found.into_iter().map(finding).collect())
    }
}

/// Folders that may be SuperTables.
async fn stored_supers(objects: &Objects) -> Result<Vec<SuperId>> {
    let mut supers = Vec::new();
    for organization in store::folders(objects, "").await? {
        let Ok(organization) = OrgName::new(&organization) else { continue };
        for name in store::folders(objects, organization.as_str()).await? {
            let Ok(super_name) = SuperName::new(&name) else { continue };
            let id = SuperId { organization: organization.clone(), super_name };
            for branch in branches_stored(objects, &id).await? {
                supers.push(id.on_branch(&branch)?);
            }
            supers.push(id);
        }
    }
    Ok(supers)
}

/// Whether a store looks like a lake: something is where tables are.
pub(super) async fn holds_tables(objects: &Objects) -> Result<bool> {
    for id in stored_supers(objects).await? {
        if !store::folders(objects, &store::layout::tables(&id)).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
