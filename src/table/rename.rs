//! Giving a table another name.
//!
//! The new name gets a first snapshot of its own that references the old files in place and
//! whose `previous_snapshot` is the old tip, so the history goes through the rename. The commit
//! point is the mark `{"renamed_to": ...}` behind the old tip; whoever sees the mark completes
//! the rest.

use std::sync::Arc;

use serde_json::json;

use crate::catalog::{AuditFields, Leaf, Required};
use crate::clock::{now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;
use crate::store;
use crate::table::Table;
use crate::table::commit::{NextDocument, Place};
use crate::table::documents::{End, Mark, RENAMED};
use crate::table::json;
use crate::table::settle::{Look, ROUNDS_MAX};
use crate::table::snapshot::{Lineage, Snapshot};

impl Table {
    /// Renames the table; returns the first snapshot under the new name.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` if the new name is taken, `Busy`; those of store and catalogue.
    pub async fn rename(
        &self,
        to: &TableId,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        let lease = self.lock().await?;
        let done = Box::pin(self.rename_locked(to, self.named(lineage), audit)).await;
        self.unlock(lease).await;
        done
    }

    /// A rule that SuperTable 2.0 keeps under the table's name would be lost.
    pub(crate) async fn check_rename(&self, tip: &Snapshot) -> Result<()> {
        let ruled = tip.generation.is_without_row_ids() && self.shows_newest_only().await?;
        if ruled {
            return Err(Error::unsupported(
                "table shows the newest row of each key only (dedup_on_read), a rule of \
                 SuperTable 2.0 that is tied to its name",
            )
            .with("table", &self.id));
        }
        Ok(())
    }

    fn sibling(&self, id: &TableId) -> Self {
        Self { parts: self.parts.clone(), id: id.clone() }
    }

    async fn rename_locked(
        &self,
        to: &TableId,
        mut lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        if lineage.operation.is_empty() {
            "rename".clone_into(&mut lineage.operation);
        }
        let target = self.sibling(to);
        let deadline = self.deadline();
        while self.parts.clock.monotonic_ns() < deadline {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            self.check_rename(&head.tip).await?;
            if self.parts.catalog.leaf(to).await?.is_some() {
                return Err(taken(to));
            }
            let first = self.first_under(&target, &head.tip, &lineage).await?;
            let mark = json!({
                RENAMED: {"table": to.to_string(), "path": first.path, "tip": head.tip.path},
                "snapshot_version": head.tip.version.saturating_add(1),
                "commit": lineage.write_id,
            });
            let Some(end) = self.end_trunk(&head.tip, mark).await? else { continue };
            self.finish_rename(&end, &Leaf { raw: head.raw.clone() }, audit).await?;
            return match target.latest().await? {
                Some(newest) if newest.version >= first.version => Ok(first),
                _ => Err(taken(to)),
            };
        }
        Err(Error::new(ErrorKind::Busy, "other writers were faster each time")
            .with("table", &self.id))
    }

    /// Puts the first snapshot under the new name; nothing names it yet.
    async fn first_under(
        &self,
        target: &Self,
        tip: &Arc<Snapshot>,
        lineage: &Lineage,
    ) -> Result<Arc<Snapshot>> {
        let clock = self.parts.clock.as_ref();
        let path = store::layout::bootstrap_snapshot(&target.id, now_ms(clock), &random_hex(clock));
        let layout = self.layout(tip).await?;
        let new = NextDocument {
            schema: &tip.schema,
            files: &tip.files,
            deletes: &tip.deletes,
            row_id_high_watermark: tip.row_id_high_watermark,
            config: &tip.config,
            marks: vec![("root", "renamed".to_owned())],
        };
        let place = Place { path, version: tip.version.saturating_add(1), previous: tip };
        let prepared = target.document_at(place, new, &layout, lineage).await?;
        target.put_new(&prepared.snapshot.path, prepared.bytes.to_vec()).await?;
        Ok(prepared.snapshot)
    }

    /// Completes a rename: pointer of the new name, then away with the old one. If the new name
    /// was taken meanwhile, the old table goes on.
    pub(crate) async fn finish_rename(
        &self,
        end: &End,
        leaf: &Leaf,
        audit: Vec<AuditFields>,
    ) -> Result<()> {
        let said = end.content.get(RENAMED).and_then(serde_json::Value::as_object);
        let said = said.ok_or_else(|| {
            Error::corrupt("mark of a rename says nothing").with("snapshot", &end.path)
        })?;
        let target = self.sibling(&TableId::parse(json::text(said, "table")?)?);
        let requires = Required::Leaf(target.id.clone());
        let path = json::text(said, "path")?;
        if let Some(Mark::Gone(_)) = target.load_mark(path).await? {
            // The new name has gone on for so long that its beginning was vacuumed.
            return match self.vanish(leaf, &requires, &audit).await? {
                true => Ok(()),
                false => Err(self.rolled_back()),
            };
        }
        let first = target.load(path).await?;
        for round in 0.. {
            if round > ROUNDS_MAX {
                return Err(self.rolled_back());
            }
            if !target.appear(&first, Vec::new(), None).await?
                && !target.descends_from(&first).await?
            {
                break;
            }
            if self.vanish(leaf, &requires, &audit).await? {
                return Ok(());
            }
        }
        tracing::warn!(table = %self.id, to = %target.id, "new name was taken: rename undone");
        let tip = self.load(json::text(said, "tip")?).await?;
        let lineage = self.named(Lineage {
            operation: "restore".to_owned(),
            message: format!("rename to {} undone: the name was taken", target.id),
            ..Lineage::default()
        });
        let back = self.continue_behind(&tip, end, &lineage).await?;
        self.point_to(leaf, &back, audit).await?;
        Ok(())
    }

    /// Whether the newest snapshot has `first` in its ancestry.
    async fn descends_from(&self, first: &Snapshot) -> Result<bool> {
        let mut current = self.latest().await?;
        while let Some(snapshot) = current {
            if snapshot.path == first.path {
                return Ok(true);
            }
            if snapshot.version <= first.version {
                break;
            }
            current = self.before(&snapshot).await?;
        }
        Ok(false)
    }
}

fn taken(id: &TableId) -> Error {
    Error::new(ErrorKind::AlreadyExists, "there is a table of this name").with("table", id)
}
