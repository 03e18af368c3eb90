//! The one way to make a version of a table (steps S0 to S7 of commit-protocol.md section 3).
//!
//! The commit point is the create-only put of the snapshot document at the one name that follows
//! from its predecessor. Before it nothing is visible; after it the commit stands, whatever
//! happens to lock, catalogue or answer. Objects are never deleted here: an outcome that looks
//! lost may still land.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::catalog::{AuditFields, Leaf};
use crate::clock::{now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, PutCreate};
use crate::table::Table;
use crate::table::changeset::{ChangeSet, CommitOutcome};
use crate::table::codec::{self, NewDocument, StoredLayout};
use crate::table::deletes::{self, DeadRows};
use crate::table::documents::Mark;
use crate::table::layout::{self, Layout};
use crate::table::lock::Hold;
use crate::table::plan::{Plan, Planned, Verdict};
use crate::table::settle::{Head, Look};
use crate::table::snapshot::{Deletes, Lineage, Snapshot};
use crate::table::vacuum::STRAY_MS;
use crate::table::write::NewRows;

/// Pause between two tries of a request whose outcome is open; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Age at which objects of a commit are given up: half of what a vacuum grants them.
const OBJECTS_AGE_MAX: Duration = Duration::from_millis(STRAY_MS.unsigned_abs() / 2);

/// How a put of a snapshot ended.
#[derive(Debug)]
pub(crate) enum Published {
    /// The commit stands, as this snapshot.
    Won(Arc<Snapshot>),
    /// Somebody else's snapshot or mark is there.
    Lost,
}

/// A document that is ready to be put.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) bytes: Bytes,
    /// When the first of its objects was put, by the clock that counts sleep.
    pub(crate) since_ns: u64,
}

impl Prepared {
    /// The same with objects that were put earlier.
    pub(crate) fn with(mut self, rows: &NewRows) -> Self {
        let first = rows.files.iter().map(|file| file.written_ns).min();
        self.since_ns = self.since_ns.min(first.unwrap_or(u64::MAX));
        self
    }
}

impl Table {
    /// A change that nobody else's is joined to, applied to the newest snapshot. New rows whose
    /// row ids were given twice (the counter was rolled back) are written again.
    ///
    /// # Errors
    /// As [`Table::commit`].
    pub(crate) async fn commit_alone(
        &self,
        change: &mut ChangeSet,
        lineage: Lineage,
        audit: Vec<AuditFields>,
        hold: &Hold,
    ) -> Result<CommitOutcome> {
        let deadline = self.deadline();
        let lineage = self.named(lineage);
        let mut look = Look::Quick;
        loop {
            let head = self.head(look).await?.ok_or_else(|| self.no_table())?;
            let write_id = &lineage.write_id;
            if let Some(done) = self.committed_before(&head.tip, &change.base, write_id).await? {
                return Ok(committed(done, write_id));
            }
            let tip_layout = match self.layout(&head.tip).await {
                // Objects of an old version may be gone: perhaps the pointer was rolled back.
                Err(_) if look == Look::Quick => {
                    look = Look::Closely;
                    continue;
                }
                layout => layout?,
            };
            let accepted = match self.judge(change, &head.tip, &tip_layout).await? {
                Verdict::Accepted(accepted) => accepted,
                verdict if look == Look::Quick => {
                    // The verdict counts only against the true tip.
                    look = Look::Closely;
                    drop(verdict);
                    continue;
                }
                Verdict::Unchanged => return Ok(CommitOutcome::Unchanged { snapshot: head.tip }),
                Verdict::Conflict(rows) => {
                    return Ok(CommitOutcome::Conflict { current: head.tip, rows });
                }
            };
            let rows = self.stored_rows(change, &head.tip).await?;
            let planned = match self.plan(*accepted, &rows, &head.tip, &tip_layout).await? {
                Plan::Ready(planned) => planned,
                Plan::RowIdsTaken(_) => {
                    self.rewrite(change, &head.tip).await?;
                    continue;
                }
            };
            let prepared = self.prepare(&head.tip, &planned, lineage.clone()).await?;
            let prepared = prepared.with(&change.rows);
            match self.publish(&prepared, deadline).await? {
                Published::Won(snapshot) => {
                    self.know_row_ids(&change.rows.files);
                    self.announce(&head, &snapshot, audit, (deadline, hold)).await;
                    return Ok(committed(snapshot, &lineage.write_id));
                }
                Published::Lost => look = Look::Closely,
            }
            if self.parts.clock.monotonic_ns() >= deadline {
                return Err(self.others_were_faster());
            }
        }
    }

    pub(crate) fn others_were_faster(&self) -> Error {
        Error::new(ErrorKind::Busy, "other writers were faster each time").with("table", &self.id)
    }

    /// The snapshot behind `base` that the change of this id made, if there is one.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn committed_since(
        &self,
        base: &Snapshot,
        write_id: &str,
    ) -> Result<Option<Arc<Snapshot>>> {
        match self.head(Look::Closely).await? {
            Some(head) => self.committed_before(&head.tip, base, write_id).await,
            None => Ok(None),
        }
    }

    /// The time at which a commit gives up.
    pub(crate) fn deadline(&self) -> u64 {
        let limit = self.parts.settings.commit_deadline.as_nanos();
        let now = self.parts.clock.monotonic_ns();
        now.saturating_add(u64::try_from(limit).unwrap_or(u64::MAX))
    }

    /// The lineage with a commit id.
    pub(crate) fn named(&self, mut lineage: Lineage) -> Lineage {
        if lineage.write_id.is_empty() {
            let clock = self.parts.clock.as_ref();
            lineage.write_id = format!("{}{}", random_hex(clock), random_hex(clock));
        }
        lineage
    }

    /// The snapshot of this very commit, if it was made since the change's base.
    pub(crate) async fn committed_before(
        &self,
        tip: &Arc<Snapshot>,
        base: &Snapshot,
        write_id: &str,
    ) -> Result<Option<Arc<Snapshot>>> {
        if base.version < tip.history_begins() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the version that this change was made on was vacuumed: look at the table again",
            )
            .with("table", &self.id)
            .with("version", base.version));
        }
        let mut current = Arc::clone(tip);
        while current.version > base.version && current.path != base.path {
            if current.lineage.change(write_id).is_some() {
                return Ok(Some(current));
            }
            match self.before(&current).await? {
                Some(previous) => current = previous,
                None => break,
            }
        }
        Ok(None)
    }

    /// Puts the deletion vector and the layout, and builds the document (S3).
    pub(crate) async fn prepare(
        &self,
        tip: &Arc<Snapshot>,
        planned: &Planned,
        lineage: Lineage,
    ) -> Result<Prepared> {
        self.prepare_marked(tip, planned, lineage, Vec::new()).await
    }

    /// [`Self::prepare`] with further marks in the document.
    pub(crate) async fn prepare_marked(
        &self,
        tip: &Arc<Snapshot>,
        planned: &Planned,
        mut lineage: Lineage,
        marks: Vec<(&'static str, String)>,
    ) -> Result<Prepared> {
        lineage.inserted = planned.counts.inserted;
        lineage.updated = planned.counts.updated;
        lineage.deleted = planned.counts.deleted;
        let since_ns = self.parts.clock.monotonic_ns();
        let deletes = self.put_deletes(tip, planned).await?;
        let mut layout = planned.layout.clone();
        layout.digest = layout::digest(&planned.files, &deletes);
        let layout = Arc::new(layout);
        let new = NextDocument {
            schema: &planned.schema,
            files: &planned.files,
            deletes: &deletes,
            row_id_high_watermark: planned.row_id_high_watermark,
            config: &planned.config,
            marks,
        };
        let prepared = self.document(tip, new, &layout, &lineage).await?;
        Ok(Prepared { since_ns, ..prepared })
    }

    /// Builds the document that follows `tip`.
    pub(crate) async fn document(
        &self,
        tip: &Arc<Snapshot>,
        new: NextDocument<'_>,
        layout: &Arc<Layout>,
        lineage: &Lineage,
    ) -> Result<Prepared> {
        let version = tip.version.saturating_add(1);
        let path = store::layout::successor(&tip.path, version);
        self.document_at(Place { path, version, previous: tip }, new, layout, lineage).await
    }

    /// Builds a document for any place.
    pub(crate) async fn document_at(
        &self,
        place: Place<'_>,
        new: NextDocument<'_>,
        layout: &Arc<Layout>,
        lineage: &Lineage,
    ) -> Result<Prepared> {
        let now = now_ms(self.parts.clock.as_ref());
        let physical = match place.previous.generation.is_without_row_ids() {
            true => Some(Box::pin(self.physical(place.previous, &new, layout)).await?),
            false => None,
        };
        let (files, deletes, layout) = match &physical {
            Some(physical) => (&physical.files[..], &Deletes::None, &physical.layout),
            None => (new.files, new.deletes, layout),
        };
        let object = self.put_layout(layout, now).await?;
        let stored = match &object {
            Some(path) => StoredLayout::Object { path, layout },
            None => StoredLayout::Inline(layout),
        };
        let document = codec::encode(&NewDocument {
            table: &self.id,
            location: store::layout::table_location(&self.id),
            generation: place.previous.generation,
            keeps_time: place.previous.keeps_time,
            version: place.version,
            committed_ms: now.max(place.previous.committed_ms.saturating_add(1)),
            previous: Some(&place.previous.path),
            schema: new.schema,
            shown_before: &place.previous.schema,
            files,
            deletes,
            row_id_high_watermark: new.row_id_high_watermark,
            layout: stored,
            lineage,
            config: new.config,
            marks: new.marks,
            base: Some(&place.previous.document),
        })?;
        let prepared = self.check_document(&place.path, document)?;
        let key = (layout.digest.clone(), layout.columns.clone());
        self.parts.caches.layouts.insert(key, Arc::clone(layout));
        Ok(prepared)
    }

    /// Reads back what is about to be put: a document that we could not read must not become one.
    pub(crate) fn check_document(
        &self,
        path: &str,
        document: crate::table::snapshot::JsonMap,
    ) -> Result<Prepared> {
        let bytes = Bytes::from(serde_json::Value::Object(document.clone()).to_string());
        let snapshot = self.decode(path, document)?;
        if !codec::is_ours(&snapshot.document) {
            return Err(Error::internal("document without commit id").with("table", &self.id));
        }
        let since_ns = self.parts.clock.monotonic_ns();
        Ok(Prepared { snapshot: Arc::new(snapshot), bytes, since_ns })
    }

    async fn put_layout(&self, layout: &Layout, now: i64) -> Result<Option<String>> {
        if layout.pieces.len() <= self.parts.settings.inline_pieces_max {
            return Ok(None);
        }
        let hex = random_hex(self.parts.clock.as_ref());
        let path = store::layout::layout_object(&self.id, now, &hex);
        self.put_new(&path, layout::pack(layout)?).await?;
        Ok(Some(path))
    }

    /// Puts an object under a name that nobody else has.
    pub(crate) async fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        match self.put_create(path, bytes.into()).await? {
            PutCreate::Created => Ok(()),
            PutCreate::Exists => Err(Error::internal("object name is taken").with("path", path)),
        }
    }

    async fn put_deletes(&self, tip: &Snapshot, planned: &Planned) -> Result<Deletes> {
        if tip.generation.is_without_row_ids() {
            // The rows leave with their files when the document is made.
            return Ok(Deletes::None);
        }
        let (old_parts, old_rows) = match &tip.deletes {
            Deletes::None | Deletes::ByKey(_) => (Vec::new(), 0),
            Deletes::Rows { parts, rows } => (parts.clone(), *rows),
        };
        let kept: HashSet<&str> = planned.files.iter().map(|file| file.path.as_ref()).collect();
        let stored: u64 = planned.files.iter().map(|file| file.rows).sum();
        let dead = stored.saturating_sub(planned.layout.rows());
        let fold = old_parts.len() + usize::from(!planned.dead.is_empty())
            > tip.generation.parts_max()
            || old_rows.saturating_add(planned.dead.len()) != dead;
        let mut rows = planned.dead.clone();
        let mut parts = if fold { Vec::new() } else { old_parts };
        if fold {
            let mut all = self.dead_rows(&tip.deletes).await?;
            all.retain_files(|file| kept.contains(file));
            rows.extend(&all);
        }
        if !rows.is_empty() {
            parts.push(self.put_part(rows).await?);
        }
        if parts.is_empty() { Ok(Deletes::None) } else { Ok(Deletes::Rows { parts, rows: dead }) }
    }

    /// Writes a deletion-vector part; its path.
    pub(crate) async fn put_part(&self, rows: DeadRows) -> Result<String> {
        let clock = self.parts.clock.as_ref();
        let path = store::layout::deletion_part(&self.id, now_ms(clock), &random_hex(clock));
        self.put_new(&path, deletes::encode(&rows)?).await?;
        self.parts.caches.dead.insert(path.clone(), Arc::new(rows));
        Ok(path)
    }

    /// Puts a snapshot create-only (S4) and finds out how it ended.
    ///
    /// # Errors
    /// `Unknown` if that cannot be determined until the deadline.
    pub(crate) async fn publish(&self, prepared: &Prepared, deadline: u64) -> Result<Published> {
        let path = &prepared.snapshot.path;
        let mut pause = PAUSE;
        loop {
            let age = self.parts.clock.monotonic_ns().saturating_sub(prepared.since_ns);
            if u128::from(age) > OBJECTS_AGE_MAX.as_nanos() {
                // A vacuum may have taken them for strays.
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the change waited so long that it has to be made again",
                )
                .with("table", &self.id));
            }
            let put = self.put_create(path, prepared.bytes.clone()).await;
            let open = match put {
                Ok(PutCreate::Created) => {
                    self.remember(&prepared.snapshot);
                    return Ok(Published::Won(Arc::clone(&prepared.snapshot)));
                }
                Ok(PutCreate::Exists) => match self.whose(prepared).await {
                    Ok(Some(published)) => return Ok(published),
                    Ok(None) => Error::unavailable("snapshot is there and cannot be read"),
                    Err(error) => error,
                },
                Err(error) if is_open(error.kind()) => error,
                Err(error) => return Err(error.with("table", &self.id)),
            };
            if self.parts.clock.monotonic_ns() >= deadline {
                return Err(Error::new(ErrorKind::Unknown, "outcome of the commit is not known")
                    .with("table", &self.id)
                    .with("snapshot", path)
                    .caused_by(open));
            }
            tracing::warn!(table = %self.id, error = %open, "commit has no answer yet");
            self.parts.clock.sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// Whose snapshot stands at the place of `prepared`; `None` if nothing can be read there.
    async fn whose(&self, prepared: &Prepared) -> Result<Option<Published>> {
        let own = codec::commit_id(&prepared.snapshot.document);
        Ok(match self.load_mark(&prepared.snapshot.path).await? {
            Some(Mark::Snapshot(found)) if codec::commit_id(&found.document) == own => {
                Some(Published::Won(found))
            }
            Some(_) => Some(Published::Lost),
            None => None,
        })
    }

    /// Swings the pointer to a commit that stands (S5, S6). It cannot fail any more: if the
    /// catalogue does not answer, the next settle of any gateway brings the pointer there.
    pub(crate) async fn announce(
        &self,
        head: &Head,
        snapshot: &Arc<Snapshot>,
        audit: Vec<AuditFields>,
        (deadline, hold): (u64, &Hold),
    ) {
        let mut pause = PAUSE;
        let mut pending = Some(audit);
        loop {
            match self.announce_once(head, snapshot, &mut pending, hold).await {
                Ok(()) => return,
                Err(error) if self.parts.clock.monotonic_ns() >= deadline => {
                    tracing::warn!(
                        table = %self.id, version = snapshot.version, %error,
                        "commit stands but the catalogue does not name it yet"
                    );
                    return;
                }
                Err(_) => {}
            }
            self.parts.clock.sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn announce_once(
        &self,
        head: &Head,
        snapshot: &Arc<Snapshot>,
        audit: &mut Option<Vec<AuditFields>>,
        hold: &Hold,
    ) -> Result<()> {
        let leaf = Leaf { raw: head.raw.clone() };
        let events = audit.clone().unwrap_or_default();
        // Nobody else waits here: the lock goes with the same call.
        let token = if self.is_awaited() { "" } else { hold.token() };
        if self.point_to_and_release(&leaf, snapshot, events, token).await?.is_some() {
            hold.note_released(token);
            return Ok(());
        }
        // Somebody moved the pointer, or our own swap happened and its answer was lost.
        self.settle().await?;
        if let Some(events) = audit.take()
            && !events.is_empty()
        {
            self.parts.catalog.audit(&self.id.organization, &events).await?;
        }
        Ok(())
    }
}

/// What a document says that differs from its predecessor.
#[derive(Debug)]
pub(crate) struct NextDocument<'a> {
    pub(crate) schema: &'a arrow::datatypes::SchemaRef,
    pub(crate) files: &'a [crate::table::snapshot::DataFile],
    pub(crate) deletes: &'a Deletes,
    pub(crate) row_id_high_watermark: u64,
    pub(crate) config: &'a crate::table::snapshot::TableConfig,
    pub(crate) marks: Vec<(&'static str, String)>,
}

/// Where a document goes.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) path: String,
    pub(crate) version: u64,
    pub(crate) previous: &'a Arc<Snapshot>,
}

/// Whether a put that failed this way may have happened, or may work later.
fn is_open(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unknown | ErrorKind::Unavailable | ErrorKind::Busy)
}

/// The outcome for the change that was committed under an id, perhaps with others.
pub(crate) fn committed(snapshot: Arc<Snapshot>, write_id: &str) -> CommitOutcome {
    let own = snapshot.lineage.change(write_id).unwrap_or(&snapshot.lineage);
    let Lineage { inserted, updated, deleted, .. } = *own;
    CommitOutcome::Committed { snapshot, inserted, updated, deleted }
}
