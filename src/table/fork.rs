//! Tables of branches: how they begin, what they keep from being removed, how they end.
//!
//! The first snapshot of a table on a branch names the files of the table that it was branched off
//! (adr/0013). It is put before anybody looks whether they are still there, and a vacuum looks for
//! such snapshots after it has said on the trunk what goes: one of both sees the other.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::catalog::AuditFields;
use crate::clock::{now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{BranchName, SuperId};
use crate::store;
use crate::table::Table;
use crate::table::check::contents::Contents;
use crate::table::codec::{self, FORK};
use crate::table::commit::{NextDocument, Place};
use crate::table::settle::Look;
use crate::table::snapshot::{Lineage, Snapshot};

/// What stands as `root` in the first snapshot of a table on a branch.
pub(crate) const FORKED: &str = "forked";
/// Mark beside it: what it shows.
const FORKED_FROM: &str = "forked_from";
/// Member of the list of what was dropped with a branch: the first snapshots of its tables.
const ROOTS: &str = "roots";

impl Snapshot {
    /// Path of the snapshot with which the table began on its branch; `None` if it was not
    /// branched off, but made there.
    pub fn fork(&self) -> Option<&str> {
        codec::carried_text(&self.document, FORK)
    }

    /// Path of the snapshot that this first one of a branch shows; `None` if it is no such one.
    pub fn forked_from(&self) -> Option<&str> {
        codec::own_text(&self.document, FORKED_FROM)
    }
}

impl Table {
    /// Begins the table, which is one of a branch, as the version `from` of the table `origin` is.
    ///
    /// # Errors
    /// `AlreadyExists`; as [`Table::pin`].
    pub async fn fork(
        &self,
        origin: &Self,
        from: &Arc<Snapshot>,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        let snapshot = self.pin(origin, from, lineage).await?;
        if self.appear(&snapshot, audit, None).await? {
            return Ok(snapshot);
        }
        let what = "there is a table of this name";
        Err(Error::new(ErrorKind::AlreadyExists, what).with("table", &self.id))
    }

    /// Puts a first snapshot into the folder of this table, which is one of a branch, that shows
    /// the version `from` of the table `origin`. Nothing names it yet; what it names stays.
    ///
    /// # Errors
    /// `Conflict` if `from` was vacuumed meanwhile; `Unsupported` if a rule of SuperTable 2.0 is
    /// tied to the table's name; those of store and catalogue.
    pub async fn pin(
        &self,
        origin: &Self,
        from: &Arc<Snapshot>,
        lineage: Lineage,
    ) -> Result<Arc<Snapshot>> {
        origin.check_rename(from).await?;
        let clock = self.parts.clock.as_ref();
        let path = store::layout::bootstrap_snapshot(&self.id, now_ms(clock), &random_hex(clock));
        let layout = origin.layout(from).await?;
        let new = NextDocument {
            schema: &from.schema,
            files: &from.files,
            deletes: &from.deletes,
            row_id_high_watermark: from.row_id_high_watermark,
            config: &from.config,
            marks: vec![
                ("root", FORKED.to_owned()),
                (FORK, path.clone()),
                (FORKED_FROM, from.path.clone()),
            ],
        };
        let place = Place { path, version: from.version.saturating_add(1), previous: from };
        let lineage = self.named(lineage);
        let prepared = self.document_at(place, new, &layout, &lineage).await?;
        self.put_new(&prepared.snapshot.path, prepared.bytes.to_vec()).await?;
        // A table that was dropped meanwhile keeps its objects.
        if let Some(head) = origin.head(Look::Closely).await?
            && from.version < head.tip.history_begins()
        {
            // Nothing ever named it.
            store::delete(&self.parts.objects, &prepared.snapshot.path).await?;
            let what = "the version was vacuumed meanwhile";
            return Err(Error::new(ErrorKind::Conflict, what)
                .with("table", &origin.id)
                .with("version", from.version));
        }
        self.remember(&prepared.snapshot);
        Ok(prepared.snapshot)
    }

    /// Objects that tables of this name on branches name, whoever wrote them.
    ///
    /// # Errors
    /// `Corrupt` if a snapshot of a branch cannot be read: nobody knows then what it needs. Those
    /// of the store.
    pub(crate) async fn needed_by_branches(&self) -> Result<BTreeSet<String>> {
        let mut needed = BTreeSet::new();
        let id = self.id.super_id();
        if id.branch().is_some() {
            return Ok(needed);
        }
        let mut contents = Contents::default();
        for branch in branches_stored(&self.parts.objects, &id).await? {
            let id = id.on_branch(&branch)?.table(self.id.simple_name.clone());
            let there = Self { parts: self.parts.clone(), id };
            let survey = Box::pin(there.survey()).await?;
            if let Some((path, error)) = survey.broken.first() {
                return Err(Error::corrupt(
                    "the table is damaged on a branch: see `mountable fsck`",
                )
                .with("table", &there.id)
                .with("object", path)
                .with("found", error));
            }
            for life in &survey.lives {
                for path in life.steps.iter().chain(&life.tail).chain(&life.merged) {
                    contents.note(&*there.load(path).await?, &mut needed);
                }
            }
        }
        Ok(needed)
    }

    /// First snapshots in this table's folder that were dropped with an earlier branch.
    pub(crate) async fn ended_roots(&self) -> Result<HashSet<String>> {
        let id = self.id.super_id();
        let mut ended = HashSet::new();
        if id.branch().is_none() {
            return Ok(ended);
        }
        let objects = &self.parts.objects;
        for meta in store::list(objects, &store::layout::ended_branches(&id)).await? {
            let path = meta.location.to_string();
            let Some(bytes) = store::get(objects, &path).await? else { continue };
            let list: Value = serde_json::from_slice(&bytes).map_err(|error| {
                Error::corrupt("read what was dropped with a branch")
                    .with("object", &path)
                    .caused_by(error)
            })?;
            let roots = list.get(ROOTS).and_then(Value::as_array).into_iter().flatten();
            ended.extend(roots.filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(ended)
    }
}

/// Names of the folders of branches, also of those that were dropped; sorted.
///
/// # Errors
/// Those of the store.
pub(crate) async fn branches_stored(
    objects: &store::Objects,
    id: &SuperId,
) -> Result<Vec<BranchName>> {
    let names = store::folders(objects, &store::layout::branches(id)).await?;
    Ok(names.iter().filter_map(|name| BranchName::new(name).ok()).collect())
}

/// Writes down that all tables which are in the folder of a branch now belong to a branch that is
/// dropped: they keep nothing from being removed any more.
///
/// # Errors
/// Those of the store.
pub(crate) async fn end_branch(
    objects: &store::Objects,
    clock: &crate::clock::SharedClock,
    id: &SuperId,
) -> Result<()> {
    let listed = store::list(objects, &store::layout::tables(id)).await?;
    let roots: Vec<String> = listed
        .into_iter()
        .map(|meta| meta.location.to_string())
        .filter(|path| {
            let name = store::layout::snapshot_name(path);
            matches!(name, Some(store::layout::SnapshotName::Timed(_)))
        })
        .collect();
    if roots.is_empty() {
        return Ok(());
    }
    let clock = clock.as_ref();
    let path = store::layout::ended_branch(id, now_ms(clock), &random_hex(clock));
    let text = json!({ROOTS: roots}).to_string();
    let _created = store::put_create(objects, &path, text.into()).await?;
    Ok(())
}
