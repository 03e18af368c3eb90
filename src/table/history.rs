//! Which snapshots there are.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ident::At;
use crate::table::Table;
use crate::table::codec;
use crate::table::snapshot::{DataFile, Snapshot};

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
        let newest = self.latest().await?.ok_or_else(|| self.no_table())?;
        let mut current = newest;
        for _ in 0..self.parts.settings.history_max {
            let found = match at {
                At::Latest => true,
                At::Version(version) if current.version < version => break,
                At::Version(version) => current.version == version,
                At::Time(ms) => current.committed_ms <= ms,
            };
            if found {
                return self.with_all_columns(current).await;
            }
            match self.before(&current).await? {
                Some(previous) => current = previous,
                None => break,
            }
        }
        Err(Error::not_found("there is no such snapshot")
            .with("table", &self.id)
            .with("at", format_args!("{at:?}")))
    }

    /// The newest snapshots, newest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn history(&self, limit: usize) -> Result<Vec<Arc<Snapshot>>> {
        let mut out = Vec::new();
        let mut next = Some(self.latest().await?.ok_or_else(|| self.no_table())?);
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

    /// The predecessor; `None` at the first snapshot and where older ones were vacuumed.
    pub(crate) async fn before(&self, snapshot: &Snapshot) -> Result<Option<Arc<Snapshot>>> {
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
