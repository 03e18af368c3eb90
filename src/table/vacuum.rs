//! Vacuum: old snapshots make room for stubs, and objects that no kept snapshot needs are removed
//! (adr/0012).
//!
//! What goes is decided on the trunk: a snapshot that says "history begins at version N" is
//! committed first. From there on nobody can bring an older version back, so what the objects'
//! owners were is settled before anything is removed. Names of snapshots stay taken for ever: a
//! free one would let a writer commit that slept for days.
//!
//! Ages are told by the store's clock alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStoreExt;
use serde_json::json;

use crate::catalog::AuditFields;
use crate::clock::{now_ms, random_hex};
use crate::error::{Error, ErrorKind, Result};
use crate::store;
use crate::table::Table;
use crate::table::check::contents::Contents;
use crate::table::check::survey::{Life, Survey};
use crate::table::codec;
use crate::table::commit::{NextDocument, Published};
use crate::table::compact::SAME_TEXT;
use crate::table::documents::{FOREIGN, GONE, Mark};
use crate::table::lock::Hold;
use crate::table::settle::Look;
use crate::table::snapshot::{Lineage, Snapshot};

/// Operation of a vacuum in the lineage of its snapshot.
pub const VACUUM: &str = "vacuum";
/// Mark of all snapshots since a vacuum: the first version that is kept.
pub(crate) const HISTORY_BEGINS: &str = "history_begins";
/// Objects that nothing refers to belong to a save under way for at least this long. A commit
/// gives up its objects at half of it (`table::commit`).
pub(crate) const STRAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Folders of a table whose objects snapshots name.
const FOLDERS: [&str; 4] = ["data", "tombstone", "layout", "stats"];
/// Objects removed at the same time.
const REMOVALS_AT_ONCE: usize = 8;

/// What a vacuum may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VacuumSettings {
    /// A version that was superseded longer ago than this.
    pub older_than: Duration,
    /// An object that no snapshot ever named, if it is older than this.
    pub strays_older_than: Duration,
    /// Only find out what would go.
    pub rehearsal: bool,
}

impl VacuumSettings {
    /// Versions that were superseded longer ago than this, and strays after a day or more.
    pub fn older_than(older_than: Duration) -> Self {
        let day = Duration::from_millis(STRAY_MS.unsigned_abs());
        Self { older_than, strays_older_than: older_than.max(day), rehearsal: false }
    }
}

/// What a vacuum did, or would do.
#[derive(Debug, Clone)]
pub struct Vacuumed {
    /// The newest snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The first version that is kept.
    pub first_kept: u64,
    /// Versions that are gone.
    pub versions: u64,
    /// Objects removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is to go.
#[derive(Debug, Default)]
struct Sweep {
    /// Snapshots, oldest first.
    expired: Vec<Arc<Snapshot>>,
    /// The first version that is kept.
    first_kept: u64,
    /// Objects and their sizes.
    objects: BTreeMap<String, u64>,
}

/// Which snapshots go.
#[derive(Debug, Clone, Copy)]
enum Horizon {
    /// Those that were superseded before this time of the store.
    Time(i64),
    /// Those before this version.
    Version(u64),
}

impl Snapshot {
    /// The first version of the history that is kept: older ones were vacuumed.
    pub fn history_begins(&self) -> u64 {
        let text = codec::carried_text(&self.document, HISTORY_BEGINS);
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl Table {
    /// Removes old versions and the objects that only they need, and old objects that nothing
    /// needs.
    ///
    /// # Errors
    /// `NotFound` if there is no such table, `Unsupported` in lakes of SuperTable before 2.3,
    /// `Corrupt` if its objects contradict each other (then nothing is removed), `Busy`; those
    /// of store and catalogue. A vacuum that broke off is
    /// finished by the next one.
    pub async fn vacuum(
        &self,
        settings: &VacuumSettings,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Vacuumed> {
        let mut head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
        if self.id.super_id().branch().is_some() {
            return Err(Error::unsupported("branches are not vacuumed: merge them and drop them")
                .with("table", &self.id));
        }
        if head.tip.generation.is_without_row_ids() {
            // Their library follows names of its own, and knows no stubs.
            return Err(Error::unsupported("tables of SuperTable before 2.3 are not vacuumed")
                .with("table", &self.id));
        }
        let now = self.store_now().await?;
        let ago = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(now));
        let (expires, strays) = (ago(settings.older_than), ago(settings.strays_older_than));
        let mut sweep = self.sweep(Horizon::Time(expires), strays).await?;
        if !settings.rehearsal {
            if !sweep.expired.is_empty() {
                head.tip = self.begin_history(sweep.first_kept, lineage, audit).await?;
                // What was committed until then may use what had seemed to be free.
                sweep = self.sweep(Horizon::Version(sweep.first_kept), strays).await?;
                self.put_stubs(&sweep).await?;
            }
            self.remove(&sweep).await?;
        }
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        Ok(Vacuumed {
            snapshot: head.tip,
            first_kept: sweep.first_kept,
            versions: count(sweep.expired.len()),
            objects: count(sweep.objects.len()),
            bytes: sweep.objects.values().sum(),
        })
    }

    /// The time of the store's clock: that of an object that was just put.
    async fn store_now(&self) -> Result<i64> {
        let (objects, clock) = (&self.parts.objects, self.parts.clock.as_ref());
        let path = store::layout::probe(now_ms(clock), &random_hex(clock));
        let _created = self.put_create(&path, "what time is it?".into()).await?;
        let meta = objects.head(&store::object_path(&path)?).await;
        store::delete(objects, &path).await?;
        let meta = meta.map_err(|error| store::error_of(error, "read the store's time", &path))?;
        Ok(meta.last_modified.timestamp_millis())
    }

    /// Finds out what is to go.
    async fn sweep(&self, horizon: Horizon, strays_before: i64) -> Result<Sweep> {
        let survey = self.survey().await?;
        if let Some((path, error)) = survey.broken.first() {
            return Err(Error::corrupt("nothing is removed from a damaged table: see fsck")
                .with("table", &self.id)
                .with("object", path)
                .with("found", error));
        }
        let life = survey.current().ok_or_else(|| self.no_table())?;
        let mut sweep = self.expired(life, &survey, horizon).await?;
        let gone: BTreeSet<&str> =
            sweep.expired.iter().map(|snapshot| snapshot.path.as_str()).collect();
        let (mut kept, mut old, mut contents) =
            (BTreeSet::new(), BTreeSet::new(), Contents::default());
        for snapshot in &sweep.expired {
            contents.note(snapshot, &mut old);
            if let Some(merged) = codec::own_text(&snapshot.document, "merged_from") {
                contents.note(&*self.load(merged).await?, &mut old);
            }
        }
        kept.extend(self.needed_by_branches().await?);
        for path in self.kept_snapshots(&survey, &gone, &sweep.expired) {
            contents.note(&*self.load(&path).await?, &mut kept);
        }
        let folder = store::layout::table_location(&self.id);
        for (path, stored) in &survey.objects {
            let inner = path.strip_prefix(&folder).unwrap_or_default().trim_start_matches('/');
            let top = inner.split('/').next().unwrap_or_default();
            if !FOLDERS.contains(&top) || kept.contains(path) {
                continue;
            }
            if old.contains(path) || stored.written_ms < strays_before {
                sweep.objects.insert(path.clone(), stored.bytes);
            }
        }
        Ok(sweep)
    }

    /// The oldest snapshots of a life up to the first one that is kept.
    async fn expired(&self, life: &Life, survey: &Survey, horizon: Horizon) -> Result<Sweep> {
        let mut sweep = Sweep::default();
        for (path, next) in life.steps.iter().zip(life.steps.iter().skip(1)) {
            let snapshot = self.load(path).await?;
            sweep.first_kept = snapshot.version;
            let expired = match horizon {
                Horizon::Version(first_kept) => snapshot.version < first_kept,
                Horizon::Time(time) => {
                    survey.objects.get(next).is_some_and(|stored| stored.written_ms <= time)
                }
            };
            if !expired || snapshot.path == life.newest.path {
                return Ok(sweep);
            }
            sweep.expired.push(snapshot);
        }
        sweep.first_kept = life.tip.version;
        Ok(sweep)
    }

    /// Every snapshot of every life that does not go, and other writers' that nothing leads to.
    fn kept_snapshots(
        &self,
        survey: &Survey,
        gone: &BTreeSet<&str>,
        expired: &[Arc<Snapshot>],
    ) -> BTreeSet<String> {
        let merged: BTreeSet<&str> = expired
            .iter()
            .filter_map(|snapshot| codec::own_text(&snapshot.document, "merged_from"))
            .collect();
        let lives = survey.lives.iter();
        let mut all: BTreeSet<String> = lives
            .flat_map(|life| life.steps.iter().chain(&life.tail).chain(&life.merged))
            .chain(survey.lost.iter().map(|lost| &lost.path))
            .cloned()
            .collect();
        all.retain(|path| !gone.contains(path.as_str()) && !merged.contains(path.as_str()));
        all
    }

    /// Commits that the history begins at a version; the snapshot shows the same text.
    async fn begin_history(
        &self,
        first_kept: u64,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Arc<Snapshot>> {
        let lease = self.lock().await?;
        let hold = Hold::of(&lease);
        let done = Box::pin(self.begin_locked(first_kept, self.named(lineage), audit, &hold)).await;
        self.end(lease, &hold).await;
        done
    }

    async fn begin_locked(
        &self,
        first_kept: u64,
        lineage: Lineage,
        audit: Vec<AuditFields>,
        hold: &Hold,
    ) -> Result<Arc<Snapshot>> {
        let deadline = self.deadline();
        while self.parts.clock.monotonic_ns() < deadline {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            let tip = &head.tip;
            let layout = self.layout(tip).await?;
            // Another vacuum may have been faster, and gone further.
            let begins = first_kept.max(tip.history_begins());
            let new = NextDocument {
                schema: &tip.schema,
                files: &tip.files,
                deletes: &tip.deletes,
                row_id_high_watermark: tip.row_id_high_watermark,
                config: &tip.config,
                marks: vec![
                    (SAME_TEXT, format!("{} {}", tip.text_version(), tip.text_ms())),
                    (HISTORY_BEGINS, begins.to_string()),
                ],
            };
            let prepared = self.document(tip, new, &layout, &lineage).await?;
            if let Published::Won(snapshot) = self.publish(&prepared, deadline).await? {
                self.announce(&head, &snapshot, audit, (deadline, hold)).await;
                return Ok(snapshot);
            }
        }
        Err(self.others_were_faster())
    }

    /// Puts stubs in the place of the snapshots that go, the oldest first: whoever walks along the
    /// trunk finds on at every moment.
    async fn put_stubs(&self, sweep: &Sweep) -> Result<()> {
        let mut before: Option<&Arc<Snapshot>> = None;
        for snapshot in &sweep.expired {
            let next = store::layout::successor(&snapshot.path, snapshot.version.saturating_add(1));
            let mut foreign = false;
            if let Some(before) = before {
                let mark = store::layout::successor(&before.path, before.version.saturating_add(1));
                if mark != snapshot.path {
                    match self.load_mark(&mark).await? {
                        Some(Mark::Adopt(_)) => {
                            foreign = true;
                            self.put_stub(&mark, snapshot, &next, false).await?;
                        }
                        Some(Mark::Ended(_)) => {
                            self.put_stub(&mark, snapshot, &snapshot.path, false).await?;
                        }
                        // A vacuum that broke off was here.
                        Some(Mark::Gone(_)) => foreign = !codec::is_ours(&snapshot.document),
                        Some(Mark::Snapshot(_)) | None => {
                            return Err(Error::corrupt("the trunk is not as it was surveyed")
                                .with("table", &self.id)
                                .with("object", mark));
                        }
                    }
                }
            }
            self.put_stub(&snapshot.path, snapshot, &next, foreign).await?;
            if let Some(merged) = codec::own_text(&snapshot.document, "merged_from") {
                self.put_stub(merged, snapshot, &next, true).await?;
            }
            before = Some(snapshot);
        }
        Ok(())
    }

    async fn put_stub(
        &self,
        path: &str,
        snapshot: &Snapshot,
        next: &str,
        foreign: bool,
    ) -> Result<()> {
        let mut stub = json!({
            GONE: {
                "committed_ms": snapshot.committed_ms,
                "rows": snapshot.rows(),
                "vacuumed_ms": now_ms(self.parts.clock.as_ref()),
            },
            "next": next,
            "snapshot_version": snapshot.version,
            "commit": codec::commit_id(&snapshot.document),
        });
        if let (true, Some(stub)) = (foreign, stub.as_object_mut()) {
            stub.insert(FOREIGN.to_owned(), true.into());
        }
        store::put_overwrite(&self.parts.objects, path, stub.to_string().into()).await?;
        self.parts.caches.snapshots.remove(&(self.id.clone(), path.to_owned()));
        Ok(())
    }

    async fn remove(&self, sweep: &Sweep) -> Result<()> {
        let objects = &self.parts.objects;
        let removals: Vec<_> =
            sweep.objects.keys().map(|path| store::delete(objects, path)).collect();
        let done: Vec<Result<bool>> =
            futures::stream::iter(removals).buffer_unordered(REMOVALS_AT_ONCE).collect().await;
        done.into_iter().try_for_each(|removed| removed.map(|_| ()))
    }

    /// The error about a version before the first that is kept.
    pub(crate) fn vacuumed(&self, tip: &Snapshot) -> Error {
        Error::new(ErrorKind::NotFound, "this version was vacuumed")
            .with("table", &self.id)
            .with("the history begins at version", tip.history_begins())
    }
}
