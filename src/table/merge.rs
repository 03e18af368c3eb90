//! Another writer's commit on a snapshot that is no longer the newest, applied to the newest.
//!
//! Acknowledged commits of ours are never erased: where both sides changed a key, ours stays and
//! the other writer's new row is put down dead, with a note in the snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::table::Table;
use crate::table::commit::{NextDocument, Published};
use crate::table::deletes::{DeadRows, holds};
use crate::table::json;
use crate::table::keys;
use crate::table::layout;
use crate::table::schema::is_system;
use crate::table::snapshot::{DataFile, Deletes, Lineage, Snapshot};
use crate::table::widen;

/// The parts of a merge.
struct Sides<'a> {
    /// What the foreign commit was made on.
    base: &'a Snapshot,
    /// The foreign commit.
    theirs: &'a Snapshot,
    /// The newest snapshot.
    tip: &'a Arc<Snapshot>,
    /// Files that they added.
    added: Vec<&'a DataFile>,
    /// Files after the merge.
    files: Vec<DataFile>,
}

impl Table {
    /// Puts a snapshot behind `tip` that re-applies a foreign one; `false` if the tip moved.
    pub(crate) async fn merge(&self, tip: &Arc<Snapshot>, theirs: &Arc<Snapshot>) -> Result<bool> {
        let Some(base) = self.before(theirs).await? else { return Ok(false) };
        let tip = &self.with_all_columns(Arc::clone(tip)).await?;
        let theirs = &self.with_all_columns(Arc::clone(theirs)).await?;
        if tip.generation.is_without_row_ids() {
            return self.merge_by_rows(base, theirs, tip).await;
        }
        let sides = sides(&base, theirs, tip);
        let (dead, rejected) = self.merged_dead(&sides).await?;
        let deletes = if dead.is_empty() {
            Deletes::None
        } else {
            let rows = dead.len();
            Deletes::Rows { parts: vec![self.put_part(dead).await?], rows }
        };
        let schema = widen::union(&tip.schema, &theirs.schema);
        let lineage = self.merge_lineage(theirs, rejected);
        let prepared = self.merged_document(&sides, &schema, &deletes, &lineage).await?;
        match self.publish(&prepared, self.deadline()).await? {
            Published::Lost => Ok(false),
            Published::Won(_) => {
                tracing::warn!(
                    table = %self.id, theirs = theirs.path, rejected,
                    "merged a commit that another writer made on an older snapshot"
                );
                Ok(true)
            }
        }
    }

    /// [`Self::merge`] where rows have no ids.
    async fn merge_by_rows(
        &self,
        base: Arc<Snapshot>,
        theirs: &Arc<Snapshot>,
        tip: &Arc<Snapshot>,
    ) -> Result<bool> {
        let base = self.with_all_columns(base).await?;
        let schema = widen::union(&tip.schema, &theirs.schema);
        let mut names = key_names(theirs, tip);
        names.retain(|name| schema.field_with_name(name).is_ok());
        let lineage = |rejected| self.merge_lineage(theirs, rejected);
        let prepared = self.merged_by_rows(&base, theirs, tip, (&schema, &names), lineage).await?;
        let published = self.publish(&prepared, self.deadline()).await?;
        if matches!(published, Published::Won(_)) {
            tracing::warn!(
                table = %self.id, theirs = theirs.path,
                "merged a commit that another writer made on an older snapshot"
            );
        }
        Ok(matches!(published, Published::Won(_)))
    }

    fn merge_lineage(&self, theirs: &Snapshot, rejected: u64) -> Lineage {
        let mut lineage = self.named(theirs.lineage.clone());
        lineage.write_id = format!("merge-{}", lineage.write_id);
        lineage.message = if rejected == 0 {
            "commit of another writer on an older snapshot".to_owned()
        } else {
            format!(
                "commit of another writer on an older snapshot; {rejected} of its rows lost \
                     against newer ones"
            )
        };
        lineage
    }

    async fn merged_document(
        &self,
        sides: &Sides<'_>,
        schema: &arrow::datatypes::SchemaRef,
        deletes: &Deletes,
        lineage: &Lineage,
    ) -> Result<crate::table::commit::Prepared> {
        // A draft of the new snapshot tells the layout what to heal against.
        let mut draft = Snapshot::clone(sides.tip);
        draft.files = sides.files.clone().into();
        draft.deletes = deletes.clone();
        draft.schema = Arc::clone(schema);
        let layout = self.layout(&draft).await?;
        debug_assert_eq!(layout.columns, layout::columns_digest(schema));
        let new = NextDocument {
            schema,
            files: &sides.files,
            deletes,
            row_id_high_watermark: sides
                .tip
                .row_id_high_watermark
                .max(sides.theirs.row_id_high_watermark),
            config: &sides.tip.config,
            marks: vec![("merged_from", sides.theirs.path.clone())],
        };
        self.document(sides.tip, new, &layout, lineage).await
    }

    /// The dead rows after the merge, each in a file that is there, and how many of their new
    /// rows lost against ours.
    async fn merged_dead(&self, sides: &Sides<'_>) -> Result<(DeadRows, u64)> {
        let base = self.dead_rows(&sides.base.deletes).await?.ids();
        let theirs = self.dead_rows(&sides.theirs.deletes).await?.ids();
        let ours = self.dead_rows(&sides.tip.deletes).await?;
        let mut ids: HashSet<i64> = ours.ids().into_iter().collect();
        ids.extend(theirs.iter().filter(|id| !holds(&base, **id)));
        // Rows that one side put to death with their whole file are in no vector of its own any
        // more, but may be in a file that the other side compacted from it.
        ids.extend(self.vanished_rows(&sides.base.files, &sides.tip.files).await?);
        ids.extend(self.vanished_rows(&sides.base.files, &sides.theirs.files).await?);
        let lost = self.lost_rows(sides, &theirs).await?;
        ids.extend(&lost);
        let rejected = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        let mut wanted: Vec<i64> = ids.into_iter().collect();
        wanted.sort_unstable();
        let mut dead = DeadRows::default();
        for file in &sides.files {
            let row_ids = self.row_ids(file).await?;
            for row in 0..u32::try_from(file.rows).unwrap_or(u32::MAX) {
                if let Some(id) = row_ids.at(row).filter(|id| holds(&wanted, *id)) {
                    dead.insert(&file.path, id);
                }
            }
        }
        Ok((dead, rejected))
    }

    /// Ids of the rows of files that are gone in `after`, unless it holds them in other files.
    async fn vanished_rows(&self, before: &[DataFile], after: &[DataFile]) -> Result<HashSet<i64>> {
        let paths = |files: &[DataFile]| -> HashSet<Arc<str>> {
            files.iter().map(|file| Arc::clone(&file.path)).collect()
        };
        let (old, new) = (paths(before), paths(after));
        let mut gone = HashSet::new();
        for file in before.iter().filter(|file| !new.contains(&file.path)) {
            gone.extend(self.ids_of(file).await?);
        }
        if gone.is_empty() {
            return Ok(gone);
        }
        for file in after.iter().filter(|file| !old.contains(&file.path)) {
            for id in self.ids_of(file).await? {
                gone.remove(&id);
            }
        }
        Ok(gone)
    }

    async fn ids_of(&self, file: &DataFile) -> Result<Vec<i64>> {
        let ids = self.row_ids(file).await?;
        Ok((0..u32::try_from(file.rows).unwrap_or(u32::MAX))
            .filter_map(|row| ids.at(row))
            .collect())
    }

    /// Ids of their new rows whose key ours changed since the base.
    async fn lost_rows(&self, sides: &Sides<'_>, theirs_dead: &[i64]) -> Result<Vec<i64>> {
        let names = key_names(sides.theirs, sides.tip);
        let Ok(keys) = keys::key_schema(&sides.tip.schema, &names) else { return Ok(Vec::new()) };
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let known: HashSet<&str> = sides.base.files.iter().map(|file| file.path.as_ref()).collect();
        let watermark = i64::try_from(sides.base.row_id_high_watermark).unwrap_or(i64::MAX);
        let our_dead = self.dead_rows(&sides.tip.deletes).await?.ids();
        let base_dead = self.dead_rows(&sides.base.deletes).await?.ids();
        let mut our_keys: HashSet<u128> = HashSet::new();
        for file in sides.tip.files.iter().chain(sides.base.files.iter()) {
            let old = known.contains(file.path.as_ref());
            let gone = old && !sides.tip.files.iter().any(|kept| kept.path == file.path);
            let ids = self.row_ids(file).await?;
            for (row, digest) in (0_u32..).zip(self.key_digests(file, &keys).await?.iter()) {
                let Some(id) = ids.at(row) else { continue };
                let changed = if old {
                    (gone || holds(&our_dead, id)) && !holds(&base_dead, id)
                } else {
                    !holds(&our_dead, id)
                };
                if changed {
                    our_keys.insert(*digest);
                }
            }
        }
        let mut lost = Vec::new();
        for file in &sides.added {
            let ids = self.row_ids(file).await?;
            for (row, digest) in (0_u32..).zip(self.key_digests(file, &keys).await?.iter()) {
                let Some(id) = ids.at(row) else { continue };
                if id > watermark && !holds(theirs_dead, id) && our_keys.contains(digest) {
                    lost.push(id);
                }
            }
        }
        Ok(lost)
    }
}

fn sides<'a>(base: &'a Snapshot, theirs: &'a Snapshot, tip: &'a Arc<Snapshot>) -> Sides<'a> {
    let in_base: HashSet<&str> = base.files.iter().map(|file| file.path.as_ref()).collect();
    let in_theirs: HashSet<&str> = theirs.files.iter().map(|file| file.path.as_ref()).collect();
    let added: Vec<&DataFile> =
        theirs.files.iter().filter(|file| !in_base.contains(file.path.as_ref())).collect();
    let removed = |file: &DataFile| {
        in_base.contains(file.path.as_ref()) && !in_theirs.contains(file.path.as_ref())
    };
    let mut files: Vec<DataFile> =
        tip.files.iter().filter(|file| !removed(file)).cloned().collect();
    let mut seen: HashMap<Arc<str>, ()> =
        files.iter().map(|file| (Arc::clone(&file.path), ())).collect();
    for file in &added {
        if seen.insert(Arc::clone(&file.path), ()).is_none() {
            files.push((*file).clone());
        }
    }
    Sides { base, theirs, tip, added, files }
}

/// Key columns: the configured ones, else those by which the other writer replaced rows.
fn key_names(theirs: &Snapshot, tip: &Snapshot) -> Vec<String> {
    if !tip.config.keys.is_empty() {
        return tip.config.keys.clone();
    }
    let lineage = theirs.document.get("lineage").and_then(serde_json::Value::as_object);
    let named = lineage.and_then(|lineage| json::list(lineage, "overwrite_columns").ok());
    named
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.as_str())
        .filter(|name| !is_system(name))
        .map(str::to_owned)
        .collect()
}
