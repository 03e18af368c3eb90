//! Which snapshots there are.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ident::At;
use crate::store::{self, layout::SnapshotName};
use crate::table::Table;
use crate::table::codec;
use crate::table::documents::Mark;
use crate::table::snapshot::{DataFile, Snapshot};

/// Snapshots that are walked before their names are listed.
const STEPS: usize = 16;

impl Table {
    /// The newest snapshot as the catalogue names it; `None` = there is no such table.
    ///
    /// One catalogue round trip; no object is read if the last commit was Mountable's.
    ///
    /// # Errors
    /// `Unavailable`, or `Corrupt` if the snapshot cannot be read.
    pub async fn latest(&self) -> Result<Option<Arc<Snapshot>>> {
        match self.parts.catalog.leaf(&self.id).await? {
            Some(leaf) => Ok(Some(self.snapshot_of(&leaf).await?)),
            None => Ok(None),
        }
    }

    /// The snapshot that `at` names.
    ///
    /// # Errors
    /// `NotFound` if there is no such table or snapshot; as [`Table::latest`].
    pub async fn snapshot(&self, at: At) -> Result<Arc<Snapshot>> {
        let tip = self.latest().await?.ok_or_else(|| self.no_table())?;
        let begins = tip.history_begins();
        if matches!(at, At::Version(version) if version < begins) {
            return Err(self.vacuumed(&tip));
        }
        let mut current = Arc::clone(&tip);
        for step in 0..self.parts.settings.history_max {
            let found = match at {
                At::Latest => true,
                At::Version(version) if current.version < version => break,
                At::Version(version) => current.version == version,
                At::Time(ms) => current.committed_ms <= ms,
            };
            if found && current.version >= begins {
                return self.with_all_columns(current).await;
            }
            if step == STEPS
                && let Some(near) = self.jump(&current, at).await?
            {
                current = near;
                continue;
            }
            match self.before(&current).await? {
                Some(previous) => current = previous,
                None => break,
            }
        }
        if begins > 0 && matches!(at, At::Time(_)) {
            return Err(self.vacuumed(&tip));
        }
        Err(Error::not_found("there is no such snapshot")
            .with("table", &self.id)
            .with("at", format_args!("{at:?}")))
    }

    /// The snapshot that `at` names, found by the names of the snapshots instead of by walking;
    /// `None` where names do not tell it (other software wrote here, the table had several lives,
    /// the store does not list).
    async fn jump(&self, from: &Snapshot, at: At) -> Result<Option<Arc<Snapshot>>> {
        let folder = store::layout::snapshots(&self.id);
        let Ok(listed) = store::list(&self.parts.objects, &folder).await else { return Ok(None) };
        let mut by_version: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let mut first = Vec::new();
        for meta in listed {
            let path = meta.location.to_string();
            match store::layout::snapshot_name(&path) {
                Some(SnapshotName::Successor(version)) => {
                    by_version.entry(version).or_default().push(path);
                }
                Some(SnapshotName::Timed(_)) => first.push(path),
                None => {}
            }
        }
        // One first snapshot is one life, and one object of a version is then the trunk's.
        let [root] = first.as_slice() else { return Ok(None) };
        let one = |version: u64| match by_version.get(&version).map(Vec::as_slice) {
            None if version == 0 => Some(root.as_str()),
            Some([path]) => Some(path.as_str()),
            _ => None,
        };
        let At::Time(ms) = at else {
            let At::Version(version) = at else { return Ok(None) };
            let Some(path) = one(version) else { return Ok(None) };
            return self.ours_at(path, version).await;
        };
        // The last version that is not younger lies in `low..high`.
        let (mut low, mut high) = (0, from.version);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(path) = one(middle) else { return Ok(None) };
            let Some(snapshot) = self.ours_at(path, middle).await? else { return Ok(None) };
            if snapshot.committed_ms <= ms {
                low = middle + 1;
                found = Some(snapshot);
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The snapshot of ours of this version at a path; `None` if something else stands there.
    async fn ours_at(&self, path: &str, version: u64) -> Result<Option<Arc<Snapshot>>> {
        let Some(Mark::Snapshot(found)) = self.load_mark(path).await? else { return Ok(None) };
        let fits = found.version == version && codec::is_ours(&found.document);
        Ok(fits.then_some(found))
    }

    /// The newest snapshots, newest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn history(&self, limit: usize) -> Result<Vec<Arc<Snapshot>>> {
        let latest = self.latest().await?.ok_or_else(|| self.no_table())?;
        self.history_from(latest, limit).await
    }

    /// A snapshot and those before it, newest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn history_from(
        &self,
        from: Arc<Snapshot>,
        limit: usize,
    ) -> Result<Vec<Arc<Snapshot>>> {
        let mut out = Vec::new();
        let mut next = Some(from);
        let limit = limit.min(self.parts.settings.history_max);
        while let Some(current) = next {
            if out.len() >= limit {
                break;
            }
            let more = out.len() + 1 < limit;
            let foreign = !codec::is_ours(&current.document);
            let before = if more || foreign { self.before(&current).await? } else { None };
            out.push(match &before {
                Some(before) if foreign => counted(&current, before),
                _ => current,
            });
            next = before.filter(|_| more);
        }
        Ok(out)
    }

    /// The snapshot with counts of what it did, also if another writer made it.
    ///
    /// # Errors
    /// `Unavailable`, or `Corrupt` if its predecessor cannot be read.
    pub async fn with_counts(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        if codec::is_ours(&snapshot.document) {
            return Ok(Arc::clone(snapshot));
        }
        let before = self.before(snapshot).await?;
        Ok(before.map_or_else(|| Arc::clone(snapshot), |before| counted(snapshot, &before)))
    }

    /// The predecessor; `None` at the first snapshot and where older ones were vacuumed.
    pub(crate) async fn before(&self, snapshot: &Snapshot) -> Result<Option<Arc<Snapshot>>> {
        if snapshot.version <= snapshot.history_begins() {
            return Ok(None);
        }
        let Some(path) = &snapshot.previous else { return Ok(None) };
        match self.load(path).await {
            Ok(previous) => Ok(Some(previous)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn no_table(&self) -> Error {
        Error::not_found("there is no such table").with("table", &self.id)
    }
}

/// A snapshot of another writer with counts of what it did to `before`: the Python library notes
/// only how many rows came in.
fn counted(snapshot: &Arc<Snapshot>, before: &Snapshot) -> Arc<Snapshot> {
    let paths = |files: &[DataFile]| -> HashSet<Arc<str>> {
        files.iter().map(|file| Arc::clone(&file.path)).collect()
    };
    let (old, new) = (paths(&before.files), paths(&snapshot.files));
    // Without compaction the new files tell the rows exactly.
    let written = if old.is_subset(&new) {
        let added = snapshot.files.iter().filter(|file| !old.contains(&file.path));
        added.map(|file| file.rows).sum()
    } else {
        snapshot.lineage.inserted
    };
    let gone = before.rows().saturating_add(written).saturating_sub(snapshot.rows());
    let mut counted = Snapshot::clone(snapshot);
    counted.lineage.updated = gone.min(written);
    counted.lineage.inserted = written.saturating_sub(gone);
    counted.lineage.deleted = gone.saturating_sub(written);
    Arc::new(counted)
}
