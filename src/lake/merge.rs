//! Merging a branch into its SuperTable, or the other way round: table by table, three-way.
//!
//! What both sides began with is the base: the snapshot with which the table began on the branch,
//! or the one that was merged last. Each table is one commit or none (adr/0013). A merge that broke
//! off is found again by the ids of its commits, which follow from what they merge.

mod columns;
mod decide;
mod plan;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::branches::Record;
use super::{
    At, BranchWanted, CommitOutcome, Lake, Principal, Rehearsal, SimpleName, Snapshot, SuperId,
    TableId,
};
use crate::access::Permission;
use crate::error::{Error, ErrorKind, Result};
use columns::Versions;
use plan::Plan;

/// How often a merge of a table begins again because somebody else committed meanwhile.
const ROUNDS_MAX: usize = 8;

/// Which way changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the branch into the SuperTable.
    ToMain,
    /// From the SuperTable into the branch, which goes on from there.
    ToBranch,
}

/// A merge.
#[derive(Debug, Clone)]
pub struct MergeWanted<'a> {
    /// The branch.
    pub branch: &'a SuperId,
    /// Which way.
    pub way: Way,
    /// Only this table.
    pub table: Option<&'a SimpleName>,
    /// Text for the history.
    pub message: &'a str,
    /// Whether it is only tried.
    pub rehearsal: Rehearsal,
}

/// What happened to a table, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeOutcome {
    /// Nothing: there was nothing new.
    Unchanged,
    /// Rows, columns or configuration changed.
    Merged,
    /// The table was made.
    Created,
    /// The table was dropped.
    Dropped,
    /// Nothing: both sides changed the same.
    Conflict,
}

/// Rows that a merge changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MergeCounts {
    /// Rows added.
    pub inserted: u64,
    /// Rows changed.
    pub updated: u64,
    /// Rows removed.
    pub deleted: u64,
}

/// What both sides changed differently: texts as they stand in the CSV file. Without a column it is
/// the whole row, `None` where there is no such row; without a key it is about the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergeConflict {
    /// The key of the row, or the whole row where there are no keys.
    pub key: String,
    /// The column.
    pub column: String,
    /// As it was.
    pub base: Option<String>,
    /// As it is where the changes were to go.
    pub ours: Option<String>,
    /// As it is where the changes come from.
    pub theirs: Option<String>,
}

/// What a merge did to a table, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableMerge {
    /// The table.
    pub table: String,
    /// What happened.
    pub outcome: MergeOutcome,
    /// To how many rows.
    #[serde(flatten)]
    pub counts: MergeCounts,
    /// Why nothing happened.
    pub conflicts: Vec<MergeConflict>,
}

/// The two tables that meet.
struct Pair {
    branch: TableId,
    main: TableId,
    way: Way,
}

impl Pair {
    /// The table that takes the changes.
    fn target(&self) -> &TableId {
        match self.way {
            Way::ToMain => &self.main,
            Way::ToBranch => &self.branch,
        }
    }

    fn done(&self, outcome: MergeOutcome, counts: MergeCounts) -> TableMerge {
        let table = self.main.simple_name.to_string();
        TableMerge { table, outcome, counts, conflicts: Vec::new() }
    }

    fn conflict(&self, conflicts: Vec<MergeConflict>) -> TableMerge {
        let done = self.done(MergeOutcome::Conflict, MergeCounts::default());
        TableMerge { conflicts, ..done }
    }

    /// One side dropped what the other changed.
    fn dropped_and_changed(&self, ours: &str, theirs: &str) -> TableMerge {
        self.conflict(vec![MergeConflict {
            key: String::new(),
            column: String::new(),
            base: None,
            ours: Some(ours.to_owned()),
            theirs: Some(theirs.to_owned()),
        }])
    }
}

impl Lake {
    /// Merges all tables of a branch, or one; each table completely or not at all. Tables that never
    /// changed on the branch may be left out of the answer. Where both sides
    /// changed the same row differently, the table stays as it is, and the conflicts are told.
    ///
    /// # Errors
    /// `NotFound` if there is no such branch or table, `Denied`, `ReadOnly`, `Busy`, `Unavailable`;
    /// tables that were merged before the error stay merged.
    pub async fn merge(
        &self,
        who: &Principal,
        wanted: &MergeWanted<'_>,
    ) -> Result<Vec<TableMerge>> {
        let (branch, main) = (wanted.branch, wanted.branch.main());
        let permission = match wanted.rehearsal {
            Rehearsal::No => Permission::Write,
            Rehearsal::Yes => Permission::Read,
        };
        self.allow_super(who, &main, permission).await?;
        if branch.branch().is_none() || !self.has_super(branch).await? {
            return Err(Error::not_found("there is no such branch").with("branch", branch));
        }
        let names = self.names_to_merge(who, wanted, &main).await?;
        let mut merged = Vec::new();
        for name in names {
            let pair = Pair {
                branch: branch.table(name.clone()),
                main: main.table(name),
                way: wanted.way,
            };
            self.allow(who, pair.target(), permission).await?;
            let done = Box::pin(self.merge_pair(who, &pair, wanted)).await;
            merged.push(done.map_err(|error| error.with("table", pair.target()))?);
        }
        self.0.listings.changed();
        Ok(merged)
    }

    async fn names_to_merge(
        &self,
        who: &Principal,
        wanted: &MergeWanted<'_>,
        main: &SuperId,
    ) -> Result<BTreeSet<SimpleName>> {
        let mut names: BTreeSet<SimpleName> = BTreeSet::new();
        let (mut there, mut here) = (self.tips(wanted.branch).await?, BTreeSet::new());
        if wanted.way == Way::ToBranch || wanted.table.is_some() {
            here.extend(self.0.catalog.leaves(main).await?.into_iter().map(|(name, _)| name));
        }
        let all = there.iter().map(|tip| tip.table.simple_name.clone()).chain(here.clone());
        let known: BTreeSet<SimpleName> = all.collect();
        if wanted.way == Way::ToMain {
            // What never changed on the branch is not looked at.
            there.retain(|tip| tip.fork() != Some(tip.path.as_str()));
        } else {
            names.extend(here);
        }
        names.extend(there.into_iter().map(|tip| tip.table.simple_name.clone()));
        let dropped = self.dropped_there(who, wanted.branch).await?;
        names.extend(dropped.into_iter().map(|(table, ..)| table.simple_name));
        if let Some(only) = wanted.table {
            names.retain(|name| name == only);
            if names.is_empty() && !known.contains(only) {
                return Err(Error::not_found("there is no such table").with("table", only));
            }
        }
        Ok(names)
    }

    async fn merge_pair(
        &self,
        who: &Principal,
        pair: &Pair,
        wanted: &MergeWanted<'_>,
    ) -> Result<TableMerge> {
        for _ in 0..ROUNDS_MAX {
            let there = self.closely(&pair.branch).await?;
            let here = self.closely(&pair.main).await?;
            let done = match (there, here) {
                (Some(there), Some(here)) => {
                    self.merge_both(who, pair, [there, here], wanted).await?
                }
                (Some(there), None) => Some(self.merge_only_there(who, pair, there, wanted).await?),
                (None, Some(here)) => Some(self.merge_only_here(who, pair, here, wanted).await?),
                (None, None) => Some(pair.done(MergeOutcome::Unchanged, MergeCounts::default())),
            };
            if let Some(done) = done {
                return Ok(done);
            }
        }
        Err(Error::new(ErrorKind::Busy, "others changed the table each time"))
    }

    async fn closely(&self, id: &TableId) -> Result<Option<Arc<Snapshot>>> {
        Ok(match self.table(id).settle().await? {
            crate::table::Settled::Live(snapshot) => Some(snapshot),
            crate::table::Settled::Absent => None,
        })
    }

    /// Merges a table that both sides have; `None` = somebody else was faster.
    async fn merge_both(
        &self,
        who: &Principal,
        pair: &Pair,
        [there, here]: [Arc<Snapshot>; 2],
        wanted: &MergeWanted<'_>,
    ) -> Result<Option<TableMerge>> {
        let unchanged = || Ok(Some(pair.done(MergeOutcome::Unchanged, MergeCounts::default())));
        let base = self.base_of(pair, &there, &here).await?;
        let untouched = base.as_ref().is_some_and(|base| base.path == there.path);
        let versions = match pair.way {
            // Nothing happened on the branch since; what happened here stays.
            Way::ToMain if untouched => return unchanged(),
            Way::ToMain => Versions { base, ours: here, theirs: there },
            Way::ToBranch
                if base.as_ref().and_then(|base| base.forked_from()) == Some(&here.path) =>
            {
                return unchanged();
            }
            Way::ToBranch => Versions { base, ours: there, theirs: here },
        };
        let plan = match self.plan_merge(&versions).await? {
            Ok(plan) => plan,
            Err(conflicts) => return Ok(Some(pair.conflict(conflicts))),
        };
        let empty = plan.is_empty(&versions);
        let outcome = if empty { MergeOutcome::Unchanged } else { MergeOutcome::Merged };
        if wanted.rehearsal == Rehearsal::Yes {
            return Ok(Some(pair.done(outcome, plan.counts)));
        }
        // What the next merge begins with.
        let base = match pair.way {
            Way::ToMain => versions.theirs.path.clone(),
            Way::ToBranch => self.pin(who, pair, &versions.theirs).await?,
        };
        if !empty {
            let id = commit_id(&versions.theirs.path);
            match self.commit_plan(who, pair, (&versions, &plan), wanted, &id).await? {
                Ok(()) => {}
                Err(None) => return Ok(None),
                Err(Some(conflicts)) => return Ok(Some(pair.conflict(conflicts))),
            }
        }
        let here = match pair.way {
            Way::ToMain => &versions.ours,
            Way::ToBranch => &versions.theirs,
        };
        let record = Record { base: Some(base), version: here.version, dropped: None };
        self.put_record(&pair.branch, &record).await?;
        Ok(Some(pair.done(outcome, plan.counts)))
    }

    /// Commits a plan; `Err(None)` = somebody else was faster, `Err(Some)` = it cannot be.
    async fn commit_plan(
        &self,
        who: &Principal,
        pair: &Pair,
        (versions, plan): (&Versions, &Plan),
        wanted: &MergeWanted<'_>,
        id: &str,
    ) -> Result<std::result::Result<(), Option<Vec<MergeConflict>>>> {
        let change = self.change_of(who, versions, plan).await?;
        let text = match (wanted.message, pair.way, pair.branch.super_id().branch()) {
            ("", Way::ToMain, Some(branch)) => format!("branch {branch}"),
            ("", _, _) => format!("of {}", pair.main.super_id()),
            (message, _, _) => message.to_owned(),
        };
        let said = ("merge", text.as_str());
        let ours = &versions.ours;
        match self.commit_once(who, pair.target(), change, said, id).await? {
            CommitOutcome::Committed { .. } | CommitOutcome::Unchanged { .. } => Ok(Ok(())),
            CommitOutcome::Conflict { current, .. } if current.path != ours.path => Ok(Err(None)),
            CommitOutcome::Conflict { rows, .. } => {
                let conflict = |row: &super::RowConflict| MergeConflict {
                    key: String::new(),
                    column: String::new(),
                    base: None,
                    ours: row.current_row.map(|row| format!("row {}", row.saturating_add(1))),
                    theirs: Some(format!("{:?}", row.reason)),
                };
                Ok(Err(Some(rows.iter().map(conflict).collect())))
            }
        }
    }

    /// Keeps a version of the SuperTable's table as the base of the next merge: a copy of its
    /// document on the branch, which a vacuum looks at.
    async fn pin(&self, who: &Principal, pair: &Pair, from: &Arc<Snapshot>) -> Result<String> {
        let lineage = self.lineage(who, "branch", "base of a merge");
        let (fork, origin) = (self.table(&pair.branch), self.table(&pair.main));
        Ok(fork.pin(&origin, from, lineage).await?.path.clone())
    }

    /// A table that only the branch has: made there, or dropped here.
    async fn merge_only_there(
        &self,
        who: &Principal,
        pair: &Pair,
        there: Arc<Snapshot>,
        wanted: &MergeWanted<'_>,
    ) -> Result<TableMerge> {
        let unchanged = pair.done(MergeOutcome::Unchanged, MergeCounts::default());
        let record = self.record(&pair.branch).await?;
        let base = record.base.as_deref().or(there.fork());
        let rehearsal = wanted.rehearsal == Rehearsal::Yes;
        match (pair.way, base) {
            (Way::ToBranch, None) => Ok(unchanged),
            (Way::ToBranch, Some(base)) => {
                if !self.same_text(base, &there).await? {
                    return Ok(pair.dropped_and_changed("changed", "dropped"));
                }
                if !rehearsal {
                    self.drop_table(who, &pair.branch).await?;
                }
                Ok(pair.done(MergeOutcome::Dropped, MergeCounts::default()))
            }
            (Way::ToMain, Some(base)) => match self.same_text(base, &there).await? {
                true => Ok(unchanged),
                false => Ok(pair.dropped_and_changed("dropped", "changed")),
            },
            (Way::ToMain, None) => {
                let counts = MergeCounts { inserted: there.rows(), ..MergeCounts::default() };
                if !rehearsal {
                    let (columns, config) = (Arc::clone(&there.schema), there.config.clone());
                    let here = self.create_table(who, &pair.main, columns, config).await?;
                    let done = self.merge_both(who, pair, [there, here], wanted).await?;
                    match done {
                        Some(done) if done.outcome != MergeOutcome::Conflict => {}
                        Some(done) => return Ok(done),
                        None => {
                            let what = "somebody else wrote to the new table";
                            return Err(Error::new(ErrorKind::Busy, what));
                        }
                    }
                }
                Ok(pair.done(MergeOutcome::Created, counts))
            }
        }
    }

    /// A table that only the SuperTable has: made here, or dropped there.
    async fn merge_only_here(
        &self,
        who: &Principal,
        pair: &Pair,
        here: Arc<Snapshot>,
        wanted: &MergeWanted<'_>,
    ) -> Result<TableMerge> {
        let unchanged = pair.done(MergeOutcome::Unchanged, MergeCounts::default());
        let rehearsal = wanted.rehearsal == Rehearsal::Yes;
        let super_id = pair.branch.super_id();
        let all = self.dropped_there(who, &super_id).await?;
        let Some((_, last, trash)) = all.into_iter().find(|(table, ..)| *table == pair.branch)
        else {
            if pair.way == Way::ToMain {
                return Ok(unchanged);
            }
            let counts = MergeCounts { inserted: here.rows(), ..MergeCounts::default() };
            if let (false, Some(name)) = (rehearsal, super_id.branch()) {
                let wanted = BranchWanted { name: &name, at: At::Latest, message: "" };
                let table = pair.main.simple_name.clone();
                let main = pair.main.super_id();
                self.fork_table(who, &main, &super_id, table, &wanted).await?;
            }
            return Ok(pair.done(MergeOutcome::Created, counts));
        };
        let record = self.record(&pair.branch).await?;
        if record.dropped.as_ref() == Some(&trash) {
            return Ok(unchanged);
        }
        let Some(base) = record.base.as_deref().or(last.fork()) else { return Ok(unchanged) };
        match (pair.way, self.same_text(base, &here).await?) {
            (Way::ToBranch, true) => Ok(unchanged),
            (Way::ToBranch, false) => Ok(pair.dropped_and_changed("dropped", "changed")),
            (Way::ToMain, false) => Ok(pair.dropped_and_changed("changed", "dropped")),
            (Way::ToMain, true) => {
                if !rehearsal {
                    self.drop_table(who, &pair.main).await?;
                    let record = Record { dropped: Some(trash), ..record };
                    self.put_record(&pair.branch, &record).await?;
                }
                let counts = MergeCounts { deleted: here.rows(), ..MergeCounts::default() };
                Ok(pair.done(MergeOutcome::Dropped, counts))
            }
        }
    }

    /// Whether a version shows the rows, columns and configuration of the snapshot at `base`.
    async fn same_text(&self, base: &str, version: &Arc<Snapshot>) -> Result<bool> {
        if base == version.path {
            return Ok(true);
        }
        let base = self.table(&version.table).load(base).await?;
        let versions = Versions {
            base: Some(Arc::clone(&base)),
            ours: Arc::clone(&base),
            theirs: Arc::clone(version),
        };
        match self.plan_merge(&versions).await? {
            Ok(plan) => Ok(plan.is_empty(&versions)),
            Err(_) => Ok(false),
        }
    }

    /// What both sides of a pair began with. A merge whose record was lost is found by the ids of
    /// its commits.
    async fn base_of(
        &self,
        pair: &Pair,
        there: &Arc<Snapshot>,
        here: &Arc<Snapshot>,
    ) -> Result<Option<Arc<Snapshot>>> {
        let (branch, main) = (self.table(&pair.branch), self.table(&pair.main));
        let mut record = self.record(&pair.branch).await?;
        let start = record.base.clone().or(there.fork().map(str::to_owned));
        let mut base = match &start {
            Some(path) => Some(branch.load(path).await?),
            None => None,
        };
        if record.base.is_none() {
            record.version = base.as_ref().map_or(0, |fork| fork.version.saturating_sub(1));
        }
        let mut merged: HashMap<String, Arc<Snapshot>> = HashMap::new();
        let mut current = Some(Arc::clone(there));
        while let Some(snapshot) = current {
            let begins = start.as_deref() == Some(&snapshot.path);
            if begins || there.fork() == Some(snapshot.path.as_str()) {
                break;
            }
            current = branch.before(&snapshot).await?;
            merged.insert(commit_id(&snapshot.path), snapshot);
        }
        let mut current = (!merged.is_empty()).then(|| Arc::clone(here));
        while let Some(snapshot) = current.filter(|current| current.version > record.version) {
            let changes = snapshot.lineage.changes();
            let known = changes.iter().find_map(|change| merged.get(&change.write_id));
            if let Some(known) = known {
                base = Some(Arc::clone(known));
                break;
            }
            current = main.before(&snapshot).await?;
        }
        Ok(base)
    }
}

/// The id of the commit that merges a snapshot.
fn commit_id(path: &str) -> String {
    let digest = Sha256::digest(format!("merge {path}").as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
