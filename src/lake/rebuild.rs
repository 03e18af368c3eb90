//! Making a lost catalogue again from the storage alone.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Finding, Lake, Principal, Rebuild, Scope, SuperId};
use crate::access::Permission;
use crate::clock::now_ms;
use crate::error::Result;

/// What a rebuild did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LakeRebuilt {
    /// SuperTables that the catalogue did not have.
    pub supers: Vec<String>,
    /// Tables that it did not name, with their versions.
    pub named: Vec<(String, u64)>,
    /// Tables of which it named an older version, with the newest ones.
    pub moved: Vec<(String, u64)>,
    /// Dropped tables that are in the trash again.
    pub trashed: u64,
    /// Tables that were as they should be.
    pub sound: u64,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
}

impl Lake {
    /// Makes the catalogue name everything that the storage holds: SuperTables, tables, dropped
    /// tables. What it names already is never replaced, only moved forward along its history.
    ///
    /// Roles and users beyond the first ones, audit events, reasons of refusals and the key of the
    /// file handles are nowhere but in the catalogue; so are organizations and SuperTables that
    /// never held a table.
    ///
    /// # Errors
    /// `Denied`, `ReadOnly`, `Unavailable`, `Corrupt`.
    pub async fn rebuild(
        &self,
        who: &Principal,
        scope: &Scope,
        mode: Rebuild,
    ) -> Result<LakeRebuilt> {
        let tables = self.stored_tables(scope).await?;
        let mut all = LakeRebuilt::default();
        let supers: BTreeSet<SuperId> = tables.iter().map(super::TableId::super_id).collect();
        for id in supers {
            self.allow_super(who, &id, Permission::Write).await?;
            if id.branch().is_some() || self.0.catalog.root(&id).await?.is_some() {
                // A branch is there again when one of its tables is.
                continue;
            }
            if mode == Rebuild::Do {
                self.0.catalog.create_super(&id, now_ms(&*self.0.clock)).await?;
            }
            all.supers.push(id.to_string());
        }
        for id in tables {
            let done = Box::pin(self.table(&id).rebuild(mode)).await;
            let done = done.map_err(|error| error.with("table", &id))?;
            if mode == Rebuild::Do && id.super_id().branch().is_some() {
                let there = self.0.catalog.leaf(&id).await?.is_some() || done.trashed > 0;
                if there && self.register_branch(who, &id.super_id(), "rebuilt").await? {
                    all.supers.push(id.super_id().to_string());
                }
            }
            self.forget(&id);
            if done.named.is_none() && done.moved.is_none() && done.trashed == 0 {
                all.sound += 1;
            }
            all.named.extend(done.named.map(|version| (id.to_string(), version)));
            all.moved.extend(done.moved.map(|version| (id.to_string(), version)));
            all.trashed += done.trashed;
            all.findings.extend(done.findings);
        }
        Ok(all)
    }
}
