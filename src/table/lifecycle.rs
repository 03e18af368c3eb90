//! Creating, dropping and restoring tables.
//!
//! A drop is a mark at the place of the tip's successor, so a writer that slept cannot commit
//! behind it; a restore continues the trunk behind that mark.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::catalog::{
    AuditFields, DocKey, Expected, KeyLayout, Leaf, LeafSwap, Required, SwapOutcome,
};
use crate::clock::{now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;
use crate::store::{self, PutCreate};
use crate::table::Table;
use crate::table::codec::{self, NewDocument, StoredLayout};
use crate::table::commit::{NextDocument, Place, Prepared, Published};
use crate::table::documents::{DROPPED, End, LeafParts, leaf_bytes, parse_leaf};
use crate::table::generation::Generation;
use crate::table::json;
use crate::table::layout::{self, Layout};
use crate::table::schema;
use crate::table::settle::{Look, ROUNDS_MAX};
use crate::table::snapshot::{Deletes, Lineage, Snapshot, TableConfig};

impl Table {
    /// Creates the table: version 0, no rows.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` or `Unsupported` if a column cannot be stored; those of store
    /// and catalogue.
    pub async fn create(
        &self,
        schema: SchemaRef,
        config: TableConfig,
        lineage: Lineage,
    ) -> Result<Arc<Snapshot>> {
        if self.parts.catalog.leaf(&self.id).await?.is_some() {
            return Err(self.exists());
        }
        self.parts.catalog.check_writable(&self.id.super_id()).await?;
        let generation = self.generation_of_new().await?;
        let prepared = self.first_document(&schema, &config, &self.named(lineage), generation)?;
        self.put_first(prepared, Vec::new()).await
    }

    /// The generation of a new table: that of the others in its SuperTable.
    async fn generation_of_new(&self) -> Result<Generation> {
        let id = self.id.super_id();
        let layout = self.parts.catalog.layout();
        if layout == KeyLayout::V1 {
            return Ok(Generation::G1);
        }
        if let Some(known) = self.parts.caches.generations.get(&id) {
            return Ok(known);
        }
        for (_, leaf) in self.parts.catalog.leaves(&id).await? {
            let Ok(LeafParts { payload: Some(payload), .. }) = parse_leaf(&leaf.raw) else {
                continue;
            };
            let started = payload.get("snapshot_version").and_then(json::as_count) > Some(0);
            if started || codec::is_ours(&payload) {
                let found = codec::generation(layout, &payload);
                found.check_writable()?;
                self.parts.caches.generations.insert(id, found);
                return Ok(found);
            }
        }
        Ok(Generation::default())
    }

    fn exists(&self) -> Error {
        Error::new(ErrorKind::AlreadyExists, "there is a table of this name")
            .with("table", &self.id)
    }

    fn first_document(
        &self,
        columns: &SchemaRef,
        config: &TableConfig,
        lineage: &Lineage,
        generation: Generation,
    ) -> Result<Prepared> {
        let columns = schema::shown_schema(columns)?;
        generation.check_columns(&Schema::empty(), &columns)?;
        crate::table::keys::key_schema(&columns, &config.keys)?;
        let clock = self.parts.clock.as_ref();
        let now = now_ms(clock);
        let path = store::layout::bootstrap_snapshot(&self.id, now, &random_hex(clock));
        let layout = Layout {
            digest: layout::digest(&[], &Deletes::None),
            columns: layout::columns_digest(&columns),
            ..Layout::default()
        };
        let document = codec::encode(&NewDocument {
            table: &self.id,
            location: store::layout::table_location(&self.id),
            generation,
            keeps_time: false,
            version: 0,
            committed_ms: now,
            previous: None,
            schema: &columns,
            shown_before: &columns,
            files: &[],
            deletes: &Deletes::None,
            row_id_high_watermark: 0,
            layout: StoredLayout::Inline(&layout),
            lineage,
            config,
            marks: Vec::new(),
            base: None,
        })?;
        self.check_document(&path, document)
    }

    /// Puts the first document of a name and lets the catalogue name it.
    pub(crate) async fn put_first(
        &self,
        prepared: Prepared,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        self.put_new(&prepared.snapshot.path, prepared.bytes.to_vec()).await?;
        self.remember(&prepared.snapshot);
        if self.appear(&prepared.snapshot, audit, None).await? {
            return Ok(prepared.snapshot);
        }
        Err(self.exists())
    }

    /// Lets the catalogue name a snapshot where it named none, and removes `instead`, which stood
    /// for the table; `false` if the catalogue names another snapshot.
    pub(crate) async fn appear(
        &self,
        snapshot: &Arc<Snapshot>,
        audit: Vec<AuditFields>,
        instead: Option<&DocKey>,
    ) -> Result<bool> {
        self.raise_row_ids(snapshot).await?;
        let schema = schema::to_document(&snapshot.schema, snapshot.system_columns())?;
        let swap = LeafSwap {
            table: self.id.clone(),
            expected: None,
            new: Some(leaf_bytes(snapshot.version, snapshot)),
            schema: Some(Value::Object(schema).to_string().into()),
            now_ms: now_ms(self.parts.clock.as_ref()),
            bump_root: snapshot.version > 0,
            audit,
            requires: None,
            removes: instead.cloned(),
        };
        let current = match self.parts.catalog.swap(swap.clone()).await? {
            SwapOutcome::Swapped { .. } => return Ok(true),
            SwapOutcome::Moved { current } => current,
        };
        // Our own swap may have happened and its answer been lost, or somebody else brought the
        // pointer there who did not know what it stands for.
        let Some(leaf) = current else { return Ok(false) };
        if self.snapshot_of(&leaf).await?.path != snapshot.path {
            return Ok(false);
        }
        if instead.is_some() {
            let (expected, new) = (Some(leaf.raw.clone()), Some(leaf.raw));
            let again = LeafSwap { expected, new, audit: Vec::new(), ..swap };
            // A pointer that has moved on is in use: the entry is not needed, and does no harm.
            let _ = self.parts.catalog.swap(again).await?;
        }
        Ok(true)
    }

    /// Raises the row-id counter to what a snapshot holds, before the catalogue names it. Other
    /// writers take ids from the counter alone: were it behind (a new name, a catalogue restored
    /// from a backup), they would give ids that live rows have, and delete those rows with theirs.
    pub(crate) async fn raise_row_ids(&self, snapshot: &Snapshot) -> Result<()> {
        let known = snapshot.row_id_high_watermark;
        if known > 0 {
            self.parts.catalog.reserve_row_ids(&self.id, 1, known).await?;
        }
        Ok(())
    }

    /// Drops the table; it can be brought back by the name under which [`DocKey::Trash`] keeps it.
    /// Returns its last snapshot.
    ///
    /// # Errors
    /// `NotFound`, `Busy`; those of store and catalogue.
    pub async fn drop(&self, lineage: Lineage, audit: Vec<AuditFields>) -> Result<Arc<Snapshot>> {
        let lease = self.lock().await?;
        let done = Box::pin(self.drop_locked(self.named(lineage), audit)).await;
        self.unlock(lease).await;
        done
    }

    async fn drop_locked(
        &self,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        let deadline = self.deadline();
        while self.parts.clock.monotonic_ns() < deadline {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            let mark = json!({
                DROPPED: {
                    "table": self.id.to_string(),
                    "tip": head.tip.path,
                    "version": head.tip.version,
                    "rows": head.tip.rows(),
                    "dropped_ms": self.after(&head.tip),
                    "role": lineage.role,
                    "client": lineage.client,
                    "message": lineage.message,
                },
                "snapshot_version": head.tip.version.saturating_add(1),
                "commit": lineage.write_id,
            });
            if let Some(end) = self.end_trunk(&head.tip, mark).await? {
                let leaf = Leaf { raw: head.raw };
                self.finish_drop(&head.tip, &end, &leaf, audit).await?;
                return Ok(head.tip);
            }
        }
        Err(Error::new(ErrorKind::Busy, "other writers were faster each time")
            .with("table", &self.id))
    }

    /// Now, but after `snapshot`.
    pub(crate) fn after(&self, snapshot: &Snapshot) -> i64 {
        now_ms(self.parts.clock.as_ref()).max(snapshot.committed_ms.saturating_add(1))
    }

    /// Puts a mark that ends the trunk behind `tip`; `None` if the tip has a successor.
    pub(crate) async fn end_trunk(&self, tip: &Snapshot, mark: Value) -> Result<Option<End>> {
        let version = tip.version.saturating_add(1);
        let path = store::layout::successor(&tip.path, version);
        let bytes = Bytes::from(mark.to_string());
        match self.put_create(&path, bytes).await? {
            PutCreate::Exists => Ok(None),
            PutCreate::Created => {
                let Value::Object(content) = mark else {
                    return Err(Error::internal("mark is no object"));
                };
                Ok(Some(End { path, version, content }))
            }
        }
    }

    /// Completes what a mark at the end of the trunk says; anyone may do it.
    pub(crate) async fn finish_end(
        &self,
        tip: &Arc<Snapshot>,
        end: &End,
        leaf: &Leaf,
    ) -> Result<()> {
        if end.content.contains_key(DROPPED) {
            self.finish_drop(tip, end, leaf, Vec::new()).await
        } else {
            self.finish_rename(end, leaf, Vec::new()).await
        }
    }

    async fn finish_drop(
        &self,
        tip: &Arc<Snapshot>,
        end: &End,
        leaf: &Leaf,
        audit: Vec<AuditFields>,
    ) -> Result<()> {
        let (name, bytes) = trash_entry(&self.id, tip, end);
        let key = DocKey::Trash(self.id.super_id(), name);
        let requires = Required::Doc(key.clone());
        for _ in 0..ROUNDS_MAX {
            self.parts.catalog.put_doc(&key, Expected::Absent, bytes.clone()).await?;
            if self.vanish(leaf, &requires, &audit).await? {
                return Ok(());
            }
        }
        Err(self.rolled_back())
    }

    /// Removes the pointer if it is still this one and that which replaces it is there; `false`
    /// if that is gone again, because the catalogue was rolled back since.
    pub(crate) async fn vanish(
        &self,
        leaf: &Leaf,
        requires: &Required,
        audit: &[AuditFields],
    ) -> Result<bool> {
        let swap = LeafSwap {
            table: self.id.clone(),
            expected: Some(leaf.raw.clone()),
            new: None,
            schema: None,
            now_ms: now_ms(self.parts.clock.as_ref()),
            bump_root: true,
            audit: audit.to_vec(),
            requires: Some(requires.clone()),
            removes: None,
        };
        let outcome = self.parts.catalog.swap(swap).await?;
        if matches!(&outcome, SwapOutcome::Moved { current: Some(now) } if now == leaf) {
            return Ok(false);
        }
        // A pointer that moved meanwhile is settled by whoever sees it next.
        self.parts.caches.leaves.remove(&self.id);
        Ok(true)
    }

    pub(crate) fn rolled_back(&self) -> Error {
        Error::new(ErrorKind::Busy, "the catalogue forgets what it is told").with("table", &self.id)
    }

    /// Brings a dropped table back under its name; `trash` is its name in the trash.
    ///
    /// # Errors
    /// `NotFound` if the trash holds no such table, `AlreadyExists` if the name is taken or the
    /// table was restored before; those of store and catalogue.
    pub async fn restore_dropped(
        &self,
        trash: &str,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        let key = DocKey::Trash(self.id.super_id(), trash.to_owned());
        let entry = self.parts.catalog.doc(&key).await?.ok_or_else(|| {
            Error::not_found("there is no such dropped table").with("name", trash)
        })?;
        let entry = json::parse_object(&entry).map_err(|error| error.with("name", trash))?;
        if json::text(&entry, "table")? != self.id.to_string() {
            return Err(Error::invalid("table was dropped under another name: restore it there")
                .with("table", &self.id)
                .with("was", json::text_or_empty(&entry, "table")));
        }
        if self.parts.catalog.leaf(&self.id).await?.is_some() {
            return Err(self.exists());
        }
        let tip = self.load(json::text(&entry, "tip")?).await?;
        let end = End {
            path: json::text(&entry, "mark")?.to_owned(),
            version: json::count(&entry, "mark_version")?,
            content: entry,
        };
        let mut lineage = self.named(lineage);
        if lineage.operation.is_empty() {
            "restore".clone_into(&mut lineage.operation);
        }
        let snapshot = self.continue_behind(&tip, &end, &lineage).await?;
        if !self.appear(&snapshot, audit, Some(&key)).await? {
            return Err(self.exists());
        }
        Ok(snapshot)
    }

    /// Continues an ended trunk with a snapshot equal to `tip`.
    pub(crate) async fn continue_behind(
        &self,
        tip: &Arc<Snapshot>,
        end: &End,
        lineage: &Lineage,
    ) -> Result<Arc<Snapshot>> {
        let version = end.version.saturating_add(1);
        let path = store::layout::successor(&end.path, version);
        let layout = self.layout(tip).await?;
        let new = NextDocument {
            schema: &tip.schema,
            files: &tip.files,
            deletes: &tip.deletes,
            row_id_high_watermark: tip.row_id_high_watermark,
            config: &tip.config,
            marks: vec![("follows", end.path.clone())],
        };
        let place = Place { path, version, previous: tip };
        let prepared = self.document_at(place, new, &layout, lineage).await?;
        match self.publish(&prepared, self.deadline()).await? {
            Published::Won(snapshot) => Ok(snapshot),
            // Somebody else restored it; if the pointer is not there yet, it is brought there.
            Published::Lost => self.load(&prepared.snapshot.path).await,
        }
    }
}

/// Name and document in the trash of a table that `end` dropped behind `tip`.
pub(crate) fn trash_entry(id: &TableId, tip: &Snapshot, end: &End) -> (String, Bytes) {
    let mut entry = end.content.get(DROPPED).cloned().unwrap_or_default();
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("mark".to_owned(), end.path.as_str().into());
        entry.insert("mark_version".to_owned(), end.version.into());
    }
    let ms = entry.get("dropped_ms").and_then(json::as_integer).unwrap_or(tip.committed_ms);
    (format!("{}_{ms}", id.simple_name), Bytes::from(entry.to_string()))
}
