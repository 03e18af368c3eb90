//! Branches of SuperTables: made, listed, dropped (adr/0013).
//!
//! A branch is a SuperTable of its own in places where only we look. Each of its tables begins with
//! a snapshot that names the files of the table it was branched off, so no data is copied.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    At, BranchName, Lake, MergeOutcome, MergeWanted, Principal, Rehearsal, SimpleName, Snapshot,
    SuperId, TableId, Way,
};
use crate::access::Permission;
use crate::catalog::{DocKey, Expected};
use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::table::{self, Settled, Table};

/// Tables that are branched off, or dropped, at the same time.
const TABLES_AT_ONCE: usize = 16;
/// How often a table is branched off anew because a vacuum or a save came between.
const ROUNDS_MAX: usize = 8;

/// A branch, as its document tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// When it was made, milliseconds since 1970.
    pub made_ms: i64,
    /// Who made it.
    pub by: String,
    /// What it is for.
    pub message: String,
}

/// What is stored of a branch.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    made_ms: i64,
    by: String,
    message: String,
}

/// How a branch begins.
#[derive(Debug, Clone)]
pub struct BranchWanted<'a> {
    /// Its name.
    pub name: &'a BranchName,
    /// As the tables are now, or as they were at a time; not a version.
    pub at: At,
    /// What it is for.
    pub message: &'a str,
}

/// What a drop of a branch may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropBranch {
    /// Nothing: what was not merged keeps the branch.
    IfMerged,
    /// Everything.
    Anyway,
}

/// Up to where a table of a branch was merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Path of the branch's snapshot that was merged last; none = nothing was.
    pub(super) base: Option<String>,
    /// The version of the other table with what was merged.
    pub(super) version: u64,
    /// Name in the branch's trash of the table whose drop was merged.
    pub(super) dropped: Option<String>,
}

impl Lake {
    /// Whether there is a SuperTable, or a branch, of this name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn has_super(&self, id: &SuperId) -> Result<bool> {
        match id.branch() {
            None => Ok(self.supers(&id.organization).await?.contains(&id.super_name)),
            Some(branch) => {
                let key = DocKey::Branch(id.main(), branch.to_string());
                Ok(self.0.catalog.doc(&key).await?.is_some())
            }
        }
    }

    /// The branches of a SuperTable, sorted by name; transactions are left out.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable, `Unavailable`.
    pub async fn branches(&self, id: &SuperId) -> Result<Vec<Branch>> {
        let all = self.branches_with_transactions(id).await?;
        let mut branches = Vec::new();
        for name in all.into_iter().filter(|name| name.as_transaction().is_none()) {
            let key = DocKey::Branch(id.main(), name.to_string());
            let Some(raw) = self.0.catalog.doc(&key).await? else { continue };
            let Stored { made_ms, by, message } =
                serde_json::from_slice(&raw).map_err(|error| {
                    Error::corrupt("read a branch").with("branch", &name).caused_by(error)
                })?;
            branches.push(Branch { name: name.to_string(), made_ms, by, message });
        }
        Ok(branches)
    }

    /// Names of the branches of a SuperTable and of those behind transactions, sorted.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable, `Unavailable`.
    pub async fn branches_with_transactions(&self, id: &SuperId) -> Result<Vec<BranchName>> {
        let names = self.0.catalog.branches(&id.main()).await?;
        Ok(names.iter().filter_map(|name| BranchName::new(name).ok()).collect())
    }

    /// Makes a branch of a SuperTable: every table goes on there as it is, or as it was at a time.
    /// A table that was made later, or is dropped now, is not on the branch. Costs one small object
    /// and one step of the catalogue for each table, whatever their sizes.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable, `AlreadyExists`, `Denied`, `ReadOnly`,
    /// `Unavailable`; `Invalid` for a version instead of a time.
    pub async fn create_branch(
        &self,
        who: &Principal,
        main: &SuperId,
        wanted: &BranchWanted<'_>,
    ) -> Result<SuperId> {
        let id = main.on_branch(wanted.name)?;
        self.allow_super(who, main, Permission::Write).await?;
        if matches!(wanted.at, At::Version(_)) {
            return Err(Error::invalid(
                "a branch begins at a time: each table counts its own versions",
            ));
        }
        if self.0.catalog.root(main).await?.is_none() {
            return Err(Error::not_found("there is no such SuperTable").with("name", main));
        }
        let lock = self.branch_lock(main)?;
        let lease = lock.lock().await?;
        let made = Box::pin(self.create_locked(who, main, id, wanted)).await;
        lock.unlock(lease).await;
        made
    }

    /// The lock of those who make and drop branches of a SuperTable; no table has this name.
    fn branch_lock(&self, main: &SuperId) -> Result<Table> {
        let branch = main.on_branch(&BranchName::transaction("lock")?)?;
        Ok(self.table(&branch.table(SimpleName::new("branches")?)))
    }

    async fn create_locked(
        &self,
        who: &Principal,
        main: &SuperId,
        id: SuperId,
        wanted: &BranchWanted<'_>,
    ) -> Result<SuperId> {
        if self.has_super(&id).await? {
            let what = "there is a branch of this name";
            return Err(Error::new(ErrorKind::AlreadyExists, what).with("branch", &id));
        }
        // What a process left that died while it made this branch.
        self.end_tables(who, &id).await?;
        let names = self.0.catalog.leaves(main).await?.into_iter().map(|(name, _)| name);
        let forks: Vec<_> =
            names.map(|name| self.fork_table(who, main, &id, name, wanted)).collect();
        futures::stream::iter(forks)
            .buffer_unordered(TABLES_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        if !self.register_branch(who, &id, wanted.message).await? {
            let what = "somebody else made a branch of this name";
            return Err(Error::new(ErrorKind::AlreadyExists, what).with("branch", &id));
        }
        Ok(id)
    }

    /// Lets a branch exist; `false` if it did.
    pub(super) async fn register_branch(
        &self,
        who: &Principal,
        id: &SuperId,
        message: &str,
    ) -> Result<bool> {
        let Some(branch) = id.branch() else {
            return Err(Error::internal("no branch").with("name", id));
        };
        let made_ms = now_ms(&*self.0.clock);
        let root = Bytes::from(json!({"version": 0, "ts": made_ms}).to_string());
        self.0.catalog.put_doc(&DocKey::BranchRoot(id.clone()), Expected::Absent, root).await?;
        let stored = Stored { made_ms, by: who.describe(), message: message.to_owned() };
        let key = DocKey::Branch(id.main(), branch.to_string());
        let made = self.0.catalog.put_doc(&key, Expected::Absent, to_json(&stored)?).await;
        self.0.listings.changed();
        made
    }

    /// Branches a table off, if it is there.
    pub(super) async fn fork_table(
        &self,
        who: &Principal,
        main: &SuperId,
        id: &SuperId,
        name: SimpleName,
        wanted: &BranchWanted<'_>,
    ) -> Result<()> {
        let origin = self.table(&main.table(name.clone()));
        let fork = self.table(&id.table(name));
        let message = format!("of {main}");
        for _ in 0..ROUNDS_MAX {
            let from = match wanted.at {
                At::Latest => match origin.settle().await? {
                    Settled::Live(snapshot) => snapshot,
                    Settled::Absent => return Ok(()),
                },
                at => match origin.snapshot(at).await {
                    Ok(snapshot) => snapshot,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(error),
                },
            };
            let lineage = self.lineage(who, "branch", &message);
            match fork.fork(&origin, &from, lineage, Vec::new()).await {
                Ok(snapshot) => {
                    self.remember_own(snapshot);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Busy, "the table was vacuumed each time")
            .with("table", fork.id()))
    }

    /// Drops a branch with all its tables.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `ReadOnly`, `Unavailable`; `Conflict` with the names of the tables
    /// that were not merged.
    pub async fn drop_branch(&self, who: &Principal, id: &SuperId, how: DropBranch) -> Result<()> {
        let Some(branch) = id.branch() else {
            return Err(Error::invalid("this is no branch").with("name", id));
        };
        self.allow_super(who, id, Permission::Write).await?;
        if !self.has_super(id).await? {
            return Err(Error::not_found("there is no such branch").with("branch", id));
        }
        if how == DropBranch::IfMerged {
            let unmerged = self.unmerged(who, id).await?;
            if !unmerged.is_empty() {
                let names: Vec<String> = unmerged.iter().map(ToString::to_string).collect();
                let what = "the branch holds changes that were not merged";
                return Err(Error::new(ErrorKind::Conflict, what)
                    .with("branch", id)
                    .with("tables", names.join(", ")));
            }
        }
        let lock = self.branch_lock(&id.main())?;
        let lease = lock.lock().await?;
        let entry = DocKey::Branch(id.main(), branch.to_string());
        let done = match self.0.catalog.remove_doc(&entry).await {
            Ok(_) => Box::pin(self.end_tables(who, id)).await,
            Err(error) => Err(error),
        };
        lock.unlock(lease).await;
        self.0.listings.changed();
        done
    }

    /// Drops all tables of a branch for good, and its keys.
    async fn end_tables(&self, who: &Principal, id: &SuperId) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let names = self.0.catalog.leaves(id).await?.into_iter().map(|(name, _)| name);
            let ends: Vec<_> = names.map(|name| self.end_table(who, id.table(name))).collect();
            futures::stream::iter(ends)
                .buffer_unordered(TABLES_AT_ONCE)
                .try_for_each(|()| async { Ok(()) })
                .await?;
            // From here on, a vacuum of the SuperTable does not look at what they name.
            table::end_branch(&self.0.objects, &self.0.clock, id).await?;
            if self.0.catalog.remove_super(id).await? {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Busy, "somebody else makes tables on the branch")
            .with("branch", id))
    }

    async fn end_table(&self, who: &Principal, table: TableId) -> Result<()> {
        self.forget(&table);
        let lineage = self.lineage(who, "drop", "the branch was dropped");
        let dropped = self.table(&table).drop(lineage, Vec::new()).await;
        self.forget(&table);
        match dropped {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Tables of a branch with changes that were not merged, also those that were dropped there.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn unmerged(&self, who: &Principal, id: &SuperId) -> Result<Vec<SimpleName>> {
        let mut touched = Vec::new();
        for snapshot in self.tips(id).await? {
            let unchanged = snapshot.fork() == Some(snapshot.path.as_str())
                || self.record(&snapshot.table).await?.base.as_deref() == Some(&snapshot.path);
            if !unchanged {
                touched.push(snapshot.table.simple_name.clone());
            }
        }
        let dropped = self.dropped_there(who, id).await?;
        touched.extend(dropped.into_iter().map(|(table, ..)| table.simple_name));
        let mut names = Vec::new();
        for name in touched {
            let wanted = MergeWanted {
                branch: id,
                way: Way::ToMain,
                table: Some(&name),
                message: "",
                rehearsal: Rehearsal::Yes,
            };
            let tried = Box::pin(self.merge(who, &wanted)).await?;
            if tried.iter().any(|table| table.outcome != MergeOutcome::Unchanged) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What a table of a branch began with there; `None` if it was made on the branch.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`.
    pub async fn fork_of(
        &self,
        who: &Principal,
        snapshot: &Snapshot,
    ) -> Result<Option<Arc<Snapshot>>> {
        self.allow(who, &snapshot.table, Permission::Read).await?;
        match snapshot.fork() {
            Some(path) => Ok(Some(self.table(&snapshot.table).load(path).await?)),
            None => Ok(None),
        }
    }

    /// The newest snapshots of all tables of a branch, sorted by name.
    pub(super) async fn tips(&self, id: &SuperId) -> Result<Vec<Arc<Snapshot>>> {
        let names = self.0.catalog.leaves(id).await?.into_iter().map(|(name, _)| name);
        let tips: Vec<_> =
            names.map(|name| async { self.table(&id.table(name)).settle().await }).collect();
        let tips: Vec<Settled> =
            futures::stream::iter(tips).buffered(TABLES_AT_ONCE).try_collect().await?;
        Ok(tips
            .into_iter()
            .filter_map(|settled| match settled {
                Settled::Live(snapshot) => Some(snapshot),
                Settled::Absent => None,
            })
            .collect())
    }

    /// Tables that were branched off and then dropped on the branch, with their last snapshots and
    /// their names in the trash; of each the last drop.
    pub(super) async fn dropped_there(
        &self,
        who: &Principal,
        id: &SuperId,
    ) -> Result<Vec<(TableId, Arc<Snapshot>, String)>> {
        let mut dropped: Vec<(TableId, Arc<Snapshot>, String)> = Vec::new();
        for trash in self.0.catalog.trash(id).await? {
            let last = self.trashed(who, id, &trash).await?;
            let table = last.table.clone();
            if last.fork().is_none() || self.0.catalog.leaf(&table).await?.is_some() {
                continue;
            }
            dropped.retain(|(other, before, _)| {
                *other != table || before.committed_ms > last.committed_ms
            });
            if !dropped.iter().any(|(other, ..)| *other == table) {
                dropped.push((table, last, trash));
            }
        }
        Ok(dropped)
    }

    /// Up to where a table of a branch was merged.
    pub(super) async fn record(&self, table: &TableId) -> Result<Record> {
        match self.0.catalog.doc(&DocKey::Merged(table.clone())).await? {
            None => Ok(Record::default()),
            Some(raw) => serde_json::from_slice(&raw).map_err(|error| {
                Error::corrupt("read what was merged").with("table", table).caused_by(error)
            }),
        }
    }

    /// Notes up to where a table of a branch was merged.
    pub(super) async fn put_record(&self, table: &TableId, record: &Record) -> Result<()> {
        let key = DocKey::Merged(table.clone());
        self.0.catalog.put_doc(&key, Expected::Any, to_json(record)?).await?;
        Ok(())
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from).map_err(|error| Error::internal("write JSON").caused_by(error))
}
