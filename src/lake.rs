//! The one door: every reader and writer of a lake goes through here - authorise, act, audit.
//!
//! Nothing below knows a user; nothing above reaches the engine any other way.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::access::{self, Permission};
use crate::audit::{AuditEvent, AuditTrail};
use crate::catalog::{AuditFields, DocKey, Expected, KeyLayout, LockOwner, SharedCatalog};
use crate::clock::{SharedClock, random_hex};
use crate::config::{Settings, SqlSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Objects};
use crate::table::{Table, TableCaches, TableParts, TableSettings, layout};
use crate::telemetry;
use crate::view::{ViewSettings, Views};
use pointers::Pointers;

mod backup;
mod blame;
mod branches;
mod check;
mod doctor;
mod export;
mod history;
mod known;
mod lifecycle;
mod listing;
mod manage;
mod merge;
mod mirrors;
mod names;
mod newer;
mod pointers;
mod query;
mod rebuild;
mod reference;
mod refusals;
mod rows;
mod stats;
mod transfer;
mod views;

pub use crate::access::Principal;
pub use crate::ident::{At, BranchName, OrgName, SimpleName, SuperId, SuperName, TableId};
pub use crate::mirror::MirrorFormat;
pub use crate::sql::{Answer, texts};
pub use crate::table::changeset::{
    ChangeSet, CommitOutcome, ConflictReason, Edit, OnExistingKey, RowConflict, SchemaChange,
};
pub use crate::table::snapshot::{LayoutRef, Lineage, OnConflict, Snapshot, TableConfig};
pub use crate::table::write::{NewRows, RowWriter};
pub use crate::table::{CompactSettings, Compacted, VacuumSettings, Vacuumed};
pub use crate::table::{Counts, Depth, Finding, Rebuild, Severity};
pub use crate::view::CsvView;
pub use backup::{
    BackedUp, BackupKind, BackupReport, BackupTold, BackupWanted, Progress, RestoreWanted,
    RestoredLake, Watcher, restore_backup, verify_backup,
};
pub use branches::{Branch, BranchWanted, DropBranch};
pub use check::{LakeReport, Scope};
pub use doctor::doctor;
pub use export::{ExportFormat, write_answer};
pub use listing::{Listing, Page};
pub use merge::{MergeConflict, MergeCounts, MergeOutcome, MergeWanted, TableMerge, Way};
pub use mirrors::{MirrorReport, MirrorStatus};
pub use newer::Incoming;
pub use query::{Query, QueryScope};
pub use rebuild::LakeRebuilt;
pub use reference::Reference;
pub use refusals::Refusal;
pub use rows::{Rehearsal, RowsChanged, RowsWanted};
pub use stats::{ColumnStats, TableStats};
pub use transfer::{export_catalog, import_catalog};
pub use views::View;

/// A lake, opened. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    objects: Objects,
    catalog: SharedCatalog,
    clock: SharedClock,
    views: Arc<Views>,
    caches: Arc<TableCaches>,
    audit: AuditTrail,
    /// The newest snapshot of each table and when it was fetched.
    pointers: Mutex<Pointers>,
    pointer_ns: u64,
    known: known::Known,
    /// Tables that were written since maintenance looked at them.
    written: Mutex<HashSet<TableId>>,
    listings: listing::Listings,
    mirrors: mirrors::Board,
    lock_owner: OnceLock<LockOwner>,
    refusals_kept: usize,
    /// Where the objects are, as the settings name it.
    location: String,
    /// Limits of queries.
    sql: SqlSettings,
    /// Queries that may run now.
    queries: Arc<tokio::sync::Semaphore>,
    /// Versions that a query of the history walks at most.
    history_max: usize,
}

impl Lake {
    /// Opens the lake that `settings` name.
    ///
    /// # Errors
    /// `NotFound` if there is no lake, `Unavailable` if storage or catalogue does not answer,
    /// `Invalid` for settings that cannot be right.
    pub async fn open(settings: &Settings, clock: SharedClock) -> Result<Self> {
        store::check_present(&settings.lake, settings.catalog.is_none())?;
        let lake = Self::connect(settings, clock).await?;
        let marked = store::get(&lake.0.objects, store::layout::LAKE_MARKER).await?.is_some();
        if !marked && lake.0.catalog.organizations().await?.is_empty() {
            return Err(store::no_lake(&settings.lake));
        }
        Ok(lake)
    }

    /// Opens the lake, making an empty one where there is none.
    ///
    /// # Errors
    /// As [`Lake::open`]; `Invalid` if the directory holds other files.
    pub async fn init(settings: &Settings, clock: SharedClock) -> Result<Self> {
        store::prepare(&settings.lake)?;
        let lake = Self::connect(settings, clock).await?;
        let layout = lake.0.catalog.layout();
        let generation = match layout {
            KeyLayout::V1 => "G1",
            KeyLayout::V2 => "G4",
        };
        let text = serde_json::json!({"format": "supertable", "generation": generation});
        let text = text.to_string();
        let said = Bytes::from(layout.to_string());
        lake.0.catalog.put_doc(&DocKey::Layout, Expected::Absent, said).await?;
        let marker = store::layout::LAKE_MARKER;
        let _created = store::put_create(&lake.0.objects, marker, Bytes::from(text)).await?;
        Ok(lake)
    }

    /// Opens a lake whose catalogue may be lost: its objects are enough.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn open_for_repair(settings: &Settings, clock: SharedClock) -> Result<Self> {
        store::check_present(&settings.lake, false)?;
        let objects = store::open(&settings.lake, &settings.storage)?;
        let marked = store::get(&objects, store::layout::LAKE_MARKER).await?.is_some();
        let stored = marked || check::holds_tables(&objects).await?;
        if !stored && catalog_is_in_lake(settings) {
            // Opening the catalogue would make one in a directory that is no lake.
            return Err(store::no_lake(&settings.lake));
        }
        let lake = Self::connect(settings, clock).await?;
        if !stored && lake.0.catalog.organizations().await?.is_empty() {
            return Err(store::no_lake(&settings.lake));
        }
        Ok(lake)
    }

    /// Finds out early whether the store in a cloud can take safe commits. Whether it can be
    /// reached, or written to at all, is not judged here: reading may be all that is wanted.
    ///
    /// # Errors
    /// `Unsupported` if it overwrites objects that are to be created only.
    pub async fn check_store(&self, settings: &Settings) -> Result<()> {
        if settings.read_only || !store::is_cloud(&settings.lake) {
            return Ok(());
        }
        match store::check_create_only(&self.0.objects).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the storage takes no writes now");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn connect(settings: &Settings, clock: SharedClock) -> Result<Self> {
        let objects = store::open(&settings.lake, &settings.storage)?;
        let catalog = crate::catalog::open(settings, Arc::clone(&clock)).await?;
        Self::from_parts(settings, objects, catalog, clock)
    }

    /// Puts a lake together from live parts (tests, benchmarks).
    ///
    /// # Errors
    /// `Unavailable` if the index directory cannot be used.
    pub fn from_parts(
        settings: &Settings,
        objects: Objects,
        catalog: SharedCatalog,
        clock: SharedClock,
    ) -> Result<Self> {
        let index_dir =
            (!settings.state.as_os_str().is_empty()).then(|| settings.state.join("index"));
        let views = Arc::new(Views::new(
            Arc::clone(&objects),
            ViewSettings {
                // Rendered blocks and indexes are most of what is worth keeping.
                cache_bytes: settings.cache_bytes / 32 * 23,
                index_dir,
                index_dir_bytes: settings.limits.index_bytes_max,
                ..ViewSettings::default()
            },
        ));
        let pointer_ns = u64::try_from(settings.timing.pointer.as_nanos()).unwrap_or(0);
        let instance = format!("mountable-{}", random_hex(&*clock));
        Ok(Self(Arc::new(Inner {
            objects,
            catalog,
            audit: AuditTrail::new(Arc::clone(&clock), instance),
            clock,
            views,
            // The rest is for `pointers`, and for views that `vfs` keeps for its clients.
            caches: Arc::new(TableCaches::new(settings.cache_bytes / 32 * 7)),
            pointers: Mutex::new(Pointers::new(settings.cache_bytes / 32, pointer_ns)),
            pointer_ns,
            known: known::Known::default(),
            written: Mutex::default(),
            listings: listing::Listings::default(),
            mirrors: mirrors::Board::default(),
            lock_owner: OnceLock::new(),
            refusals_kept: settings.limits.refusals_kept,
            location: settings.lake.clone(),
            sql: settings.sql.clone(),
            queries: Arc::new(tokio::sync::Semaphore::new(settings.sql.queries_max.max(1))),
            history_max: settings.limits.history_max,
        })))
    }

    /// The clock that everything in this lake uses.
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// One line about the catalogue, for people.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer.
    pub async fn catalog_description(&self) -> Result<String> {
        Ok(self.0.catalog.health().await?.description)
    }

    /// Takes locks in the name of `owner` from now on, and releases what an earlier process of that
    /// name left locked. Only one process at a time may have the name.
    pub fn take_locks_as(&self, owner: &str) {
        // Whoever named it first goes on.
        let _ = self.0.lock_owner.set(LockOwner::new(owner, self.0.clock.as_ref()));
    }

    fn table(&self, id: &TableId) -> Table {
        let inner = &self.0;
        Table::new(
            TableParts {
                objects: Arc::clone(&inner.objects),
                catalog: Arc::clone(&inner.catalog),
                clock: Arc::clone(&inner.clock),
                measure: Arc::clone(&inner.views) as _,
                settings: TableSettings {
                    lock_owner: inner.lock_owner.get().cloned(),
                    ..TableSettings::default()
                },
                caches: Arc::clone(&inner.caches),
            },
            id.clone(),
        )
    }

    async fn allow(&self, who: &Principal, id: &TableId, permission: Permission) -> Result<()> {
        access::check(&self.0.catalog, who, &id.super_id(), Some(id), permission).await
    }

    async fn allow_super(
        &self,
        who: &Principal,
        id: &SuperId,
        permission: Permission,
    ) -> Result<()> {
        access::check(&self.0.catalog, who, id, None, permission).await
    }

    fn event(
        &self,
        who: &Principal,
        id: &TableId,
        action: &'static str,
        detail: serde_json::Value,
    ) -> Vec<AuditFields> {
        vec![self.0.audit.fields(who, id, &AuditEvent { action, detail })]
    }

    fn lineage(&self, who: &Principal, operation: &str, message: &str) -> Lineage {
        Lineage {
            operation: operation.to_owned(),
            role: who.role.clone(),
            client: who.describe(),
            message: message.to_owned(),
            ..Lineage::default()
        }
    }

    fn remember(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let now = self.0.clock.monotonic_ns();
        self.pointers().note(snapshot, now)
    }

    fn pointers(&self) -> MutexGuard<'_, Pointers> {
        self.0.pointers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a snapshot that was just made; the answer is that very snapshot, also if a newer one
    /// is known by now: its maker must not take the rows of others for its own.
    fn remember_own(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let newest = self.remember(Arc::clone(&snapshot));
        if newest.path == snapshot.path { newest } else { snapshot }
    }

    fn forget(&self, id: &TableId) {
        self.pointers().remove(id);
    }

    fn remembered(&self, id: &TableId) -> Option<Arc<Snapshot>> {
        self.pointers().recent(id, self.0.clock.monotonic_ns())
    }

    /// The newest snapshot, at most `Timing::pointer` old; commits of this process are always
    /// seen. While the catalogue is away, the newest that this process knows.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Corrupt`, `Unavailable`.
    pub async fn latest(&self, who: &Principal, id: &TableId) -> Result<Arc<Snapshot>> {
        self.allow(who, id, Permission::Read).await?;
        if let Some(snapshot) = self.remembered(id) {
            return Ok(snapshot);
        }
        if let Some(snapshot) = self.while_away(|| self.last_known(id)) {
            return Ok(snapshot);
        }
        match self.newest(who, id).await {
            Ok(Some(snapshot)) => Ok(self.remember(snapshot)),
            Ok(None) => {
                self.forget(id);
                Err(Error::not_found("there is no such table").with("table", id))
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let snapshot = self.last_known(id).ok_or(error)?;
                self.catalog_is_away();
                Ok(snapshot)
            }
            Err(error) => Err(error),
        }
    }

    /// A snapshot of a table.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Corrupt`, `Unavailable`.
    pub async fn snapshot(&self, who: &Principal, id: &TableId, at: At) -> Result<Arc<Snapshot>> {
        if at == At::Latest {
            return self.latest(who, id).await;
        }
        self.allow(who, id, Permission::Read).await?;
        if let (At::Version(version), Some(newest)) = (at, self.remembered(id))
            && newest.version == version
        {
            return Ok(newest);
        }
        self.table(id).snapshot(at).await
    }

    /// Snapshots of a table, newest first.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Corrupt`, `Unavailable`.
    pub async fn history(
        &self,
        who: &Principal,
        id: &TableId,
        limit: usize,
    ) -> Result<Vec<Arc<Snapshot>>> {
        self.allow(who, id, Permission::Read).await?;
        self.table(id).history(limit).await
    }

    /// A snapshot that the caller was given before and those before it, newest first.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`.
    pub async fn history_from(
        &self,
        who: &Principal,
        from: &Arc<Snapshot>,
        limit: usize,
    ) -> Result<Vec<Arc<Snapshot>>> {
        self.allow(who, &from.table, Permission::Read).await?;
        self.table(&from.table).history_from(Arc::clone(from), limit).await
    }

    /// A snapshot as CSV bytes.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Corrupt`, `Unavailable`.
    pub async fn view(&self, who: &Principal, id: &TableId, at: At) -> Result<Arc<CsvView>> {
        let snapshot = self.snapshot(who, id, at).await?;
        self.view_of(&snapshot).await
    }

    /// The CSV bytes of a snapshot that the caller was given before.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn view_of(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<CsvView>> {
        let layout = self.table(&snapshot.table).layout(snapshot).await?;
        self.0.views.open_layout(snapshot, &layout)
    }

    /// Bytes of a snapshot's CSV text, if its document tells them without looking at any data
    /// file.
    pub fn text_bytes(&self, snapshot: &Snapshot) -> Option<u64> {
        let LayoutRef::Inline(pieces) = &snapshot.layout else { return None };
        if pieces.columns != layout::columns_digest(&snapshot.schema) {
            return None;
        }
        let mut header = Vec::new();
        crate::csv::render_header(&snapshot.schema, &mut header);
        u64::try_from(header.len()).ok().map(|header| header + pieces.text_bytes())
    }

    /// A writer for new rows of a table.
    ///
    /// # Errors
    /// `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn writer(
        &self,
        who: &Principal,
        id: &TableId,
        schema: &arrow::datatypes::SchemaRef,
        keys: &[String],
    ) -> Result<RowWriter> {
        self.allow(who, id, Permission::Write).await?;
        // Only a floor for row ids: the commit checks them against the newest snapshot.
        let base = match self.last_known(id) {
            Some(known) => known,
            None => self.latest(who, id).await?,
        };
        self.table(id).writer(&base, schema, keys)
    }

    /// Makes a new snapshot of a table: the only way there is.
    ///
    /// # Errors
    /// `NotFound` if the table was dropped, `Denied`, `ReadOnly`, `Busy`, `Unavailable`,
    /// `Unknown` if it could not be found out whether the commit happened.
    pub async fn commit(
        &self,
        who: &Principal,
        id: &TableId,
        change: ChangeSet,
        operation: &str,
        message: &str,
    ) -> Result<CommitOutcome> {
        self.commit_once(who, id, change, (operation, message), "").await
    }

    /// The same under an id of the caller's (empty = a new one): a change whose id was committed
    /// since its base is not applied again, its snapshot is the answer.
    ///
    /// # Errors
    /// As [`Lake::commit`].
    pub async fn commit_once(
        &self,
        who: &Principal,
        id: &TableId,
        change: ChangeSet,
        (operation, message): (&str, &str),
        write_id: &str,
    ) -> Result<CommitOutcome> {
        self.allow(who, id, Permission::Write).await?;
        let detail = serde_json::json!({
            "table": id.simple_name.as_str(), "operation": operation, "rows": change.rows.rows,
            "role_name": who.role,
        });
        let audit = self.event(who, id, "data_write", detail);
        let mut lineage = self.lineage(who, operation, message);
        write_id.clone_into(&mut lineage.write_id);
        let outcome = self.table(id).commit(change, lineage, audit).await;
        self.0.listings.changed();
        match outcome {
            Ok(CommitOutcome::Committed { snapshot, inserted, updated, deleted }) => {
                telemetry::COMMITS.add(1);
                telemetry::ROWS_INSERTED.add(inserted);
                telemetry::ROWS_UPDATED.add(updated);
                telemetry::ROWS_DELETED.add(deleted);
                let snapshot = self.remember_own(snapshot);
                self.was_written(id);
                Ok(CommitOutcome::Committed { snapshot, inserted, updated, deleted })
            }
            other => {
                match &other {
                    Ok(CommitOutcome::Unchanged { .. }) => telemetry::COMMITS_WITHOUT_CHANGE.add(1),
                    Ok(CommitOutcome::Conflict { .. }) => telemetry::COMMIT_CONFLICTS.add(1),
                    _ => {}
                }
                self.forget_unless_away(id, other.as_ref().err());
                other
            }
        }
    }

    /// Whether a change of this id was committed since `base` ([`Lake::commit_once`]).
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn was_committed(&self, base: &Snapshot, write_id: &str) -> Result<bool> {
        Ok(self.table(&base.table).committed_since(base, write_id).await?.is_some())
    }
}

/// Whether the catalogue is a file in the lake's own directory.
fn catalog_is_in_lake(settings: &Settings) -> bool {
    settings.catalog.is_none() && settings.redis.sentinels.is_empty()
}
