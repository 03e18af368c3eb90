//! The content of tables as handles show it: versions, attributes, READ.

use std::sync::{Arc, PoisonError};

use super::attr;
use super::gateway::Vfs;
use super::namespace::Node;
use super::slot::{Edit, EditKey, Slot};
use super::text::Frozen;
use super::{Attr, Caller, FileTime, FsError, FsResult, Handle, ReadReply};
use crate::error::{ErrorKind, Result};
use crate::lake::{At, CsvView, Snapshot, TableId};

/// Most bytes of one READ.
pub(super) const READ_MAX: u32 = 8 << 20;

/// What a table's handle shows at the moment.
pub(super) enum Shown {
    /// A staged edit.
    Edit(Edit),
    /// A snapshot.
    Snapshot(Arc<Snapshot>),
}

impl Vfs {
    /// The newest snapshot of a table.
    pub(super) async fn latest(&self, caller: &Caller, table: &TableId) -> Result<Arc<Snapshot>> {
        self.lake.latest(&self.principal(caller), table).await
    }

    /// A view of one version, kept while it is in use.
    pub(super) async fn view_at(
        &self,
        caller: &Caller,
        slot: &Slot,
        version: u64,
    ) -> Result<Arc<CsvView>> {
        let who = self.principal(caller);
        let latest = self.latest(caller, &slot.table).await?;
        if shows(&latest, version) {
            return self.view_of(slot, &latest).await;
        }
        let now = self.clock.monotonic_ns();
        if let Some((view, used)) = slot.state().views.get_mut(&version) {
            *used = now;
            return Ok(Arc::clone(view));
        }
        let view = self.lake.view(&who, &slot.table, At::Version(version)).await?;
        slot.state().keep_view(Arc::clone(&view), now);
        Ok(view)
    }

    /// A view of a snapshot, kept while it is in use.
    async fn view_of(&self, slot: &Slot, snapshot: &Arc<Snapshot>) -> Result<Arc<CsvView>> {
        let now = self.clock.monotonic_ns();
        {
            let mut state = slot.state();
            if let Some((view, used)) = state.views.get_mut(&snapshot.version) {
                if view.snapshot().path == snapshot.path {
                    *used = now;
                    return Ok(Arc::clone(view));
                }
                // The table was dropped and made anew elsewhere: nothing known of it is true.
                state.views.clear();
                state.kept = None;
                state.mtime = None;
            }
        }
        let view = self.lake.view_of(snapshot).await?;
        slot.state().keep_view(Arc::clone(&view), now);
        Ok(view)
    }

    /// What a handle shows; with `Strict::Yes` a superseded snapshot that nobody reads is stale.
    pub(super) async fn shown(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
        strict: Strict,
    ) -> FsResult<Shown> {
        let key = slot.key(caller, handle);
        if let Some(edit) = slot.state().edits.get(&key) {
            return Ok(Shown::Edit(edit.clone()));
        }
        let open = slot.is_open(&key);
        if let Some(own) = slot.state().own.get(&key) {
            return match strict {
                // Whoever opens the file now has to see the rows of the others.
                Strict::Yes if !open => Err(FsError::Stale),
                _ => Ok(Shown::Edit(own.clone())),
            };
        }
        let shown = slot.state().shown_version(&key);
        if let Some(pinned) = shown.and_then(|version| slot.pinned(&key, version)) {
            return Ok(Shown::Snapshot(pinned));
        }
        let latest = match self.latest(caller, &slot.table).await {
            Ok(latest) => latest,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(FsError::Stale),
            Err(error) => return Err(error.into()),
        };
        let Some(version) = shown else {
            // An edit from before a restart that was finished since: whatever is newest.
            return match strict {
                Strict::Yes => Err(FsError::Stale),
                Strict::No => Ok(Shown::Snapshot(latest)),
            };
        };
        if shows(&latest, version) {
            if strict == Strict::Yes {
                self.confirm(slot, key);
            }
            return Ok(Shown::Snapshot(latest));
        }
        if strict == Strict::Yes && !open && !self.in_use(slot, &key, version) {
            return Err(FsError::Stale);
        }
        match self.lake.snapshot(&self.principal(caller), &slot.table, At::Version(version)).await {
            Ok(snapshot) => Ok(Shown::Snapshot(snapshot)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(FsError::Stale),
            Err(error) => Err(error.into()),
        }
    }

    /// How long a superseded snapshot stays open for a client that was seen on it.
    fn reader_ns(&self) -> u64 {
        u64::try_from(self.settings.timing.reader.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that a client is told that its handle shows the newest snapshot.
    fn confirm(&self, slot: &Slot, key: EditKey) {
        slot.state().confirm(key, self.clock.monotonic_ns(), self.reader_ns());
    }

    /// Whether a superseded snapshot may be open: somebody read it a moment ago, or this client
    /// was told a moment ago that it is the newest. Who opens a file to append to it asks for
    /// attributes once more before the write. "Stale" would fail the append there, and those of
    /// all others of the machine that have the file open and wait for their turn.
    fn in_use(&self, slot: &Slot, key: &EditKey, version: u64) -> bool {
        let now = self.clock.monotonic_ns();
        let state = slot.state();
        let read = state.views.get(&version).map(|(_, used)| *used);
        let used = read.max(state.confirmed.get(key).copied());
        let in_use = used.is_some_and(|used| now.saturating_sub(used) < self.reader_ns());
        in_use || state.displaced.is_some()
    }

    /// Attributes of what a handle shows.
    pub(super) async fn attr_of(&self, slot: &Slot, inode: u64, shown: &Shown) -> FsResult<Attr> {
        match shown {
            Shown::Edit(edit) => {
                let size = edit.file.lock().unwrap_or_else(PoisonError::into_inner).size();
                let mut attr = attr::file(self.owner, inode, true, size, edit.mtime);
                attr.ctime = edit.ctime;
                Ok(attr)
            }
            Shown::Snapshot(snapshot) => self.snapshot_attr(Some(slot), inode, snapshot).await,
        }
    }

    /// Attributes of a snapshot: size from the index, times from the commit.
    pub(super) async fn snapshot_attr(
        &self,
        slot: Option<&Slot>,
        inode: u64,
        snapshot: &Arc<Snapshot>,
    ) -> FsResult<Attr> {
        let mut time = version_time(snapshot);
        let mut ctime = time;
        let mut size = None;
        if let Some(slot) = slot {
            let state = slot.state();
            if let Some((version, shown)) = state.mtime
                && shows(snapshot, version)
            {
                time = shown;
            }
            ctime = state.ctime.map_or(ctime, |raised| raised.max(ctime));
            if let Some(kept) = &state.kept
                && shows(snapshot, kept.version)
            {
                let file = kept.file.lock().unwrap_or_else(PoisonError::into_inner);
                size = Some(file.size());
            }
        }
        let size = match size.or_else(|| self.lake.text_bytes(snapshot)) {
            Some(size) => size,
            None => self.lake.view_of(snapshot).await?.len(),
        };
        let writable = !self.settings.read_only;
        let mut attr = attr::file(self.owner, inode, writable, size, time);
        attr.ctime = ctime;
        Ok(attr)
    }

    /// Attributes of a table by handle.
    pub(super) async fn table_attr(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
    ) -> FsResult<Attr> {
        self.reopened(caller, slot, handle);
        let shown = self.shown(caller, slot, handle, Strict::Yes).await?;
        self.attr_of(slot, handle.inode, &shown).await
    }

    /// The handle that a name lookup gives a client.
    pub(super) async fn table_handle(
        &self,
        caller: &Caller,
        slot: &Slot,
    ) -> FsResult<(Handle, Shown)> {
        let inode = self.inodes.number(&Node::Table(slot.table.clone()));
        let visible = {
            let state = slot.state();
            let edit = state.visible_edit(&caller.client);
            if edit.is_none() && state.displaced.is_some() {
                return Err(FsError::not_found());
            }
            edit
        };
        if let Some((key, edit)) = visible {
            return Ok((Handle { inode, version: key.version }, Shown::Edit(edit)));
        }
        let latest = self.latest(caller, &slot.table).await?;
        let state = slot.state();
        let current = state.current.get(&caller.client).copied();
        let same = current.filter(|version| {
            let key = EditKey { client: Arc::clone(&caller.client), version: *version };
            let partial = state.partial.contains(&key) || state.edits.contains_key(&key);
            !partial && state.shown_version(&key).is_some_and(|version| shows(&latest, version))
        });
        // A compaction changes no byte: handles and what clients have cached stay as they are.
        let version = same.unwrap_or(latest.text_version());
        drop(state);
        let handle = Handle { inode, version };
        self.confirm(slot, slot.key(caller, handle));
        Ok((handle, Shown::Snapshot(latest)))
    }

    pub(super) async fn read_table(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let shown = self.shown(caller, slot, handle, Strict::No).await?;
        let attr = self.attr_of(slot, handle.inode, &shown).await?;
        let end = offset.saturating_add(u64::from(count.min(READ_MAX))).min(attr.size);
        let range = offset.min(end)..end;
        let data = match &shown {
            Shown::Edit(edit) => {
                Frozen::new(&edit.file, edit.below.clone()).read(range.clone()).await?
            }
            Shown::Snapshot(snapshot) => {
                self.note_read(slot, &caller.client, snapshot.version);
                let kept = slot.state().kept.clone();
                match kept.filter(|kept| shows(snapshot, kept.version)) {
                    Some(kept) => Frozen::new(&kept.file, kept.below).read(range.clone()).await?,
                    None => {
                        let view = self.view_of(slot, snapshot).await?;
                        view.read_at(range.clone()).await?
                    }
                }
            }
        };
        let bytes: u64 = data.iter().map(|part| u64::try_from(part.len()).unwrap_or(0)).sum();
        self.counters.read_bytes.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        Ok(ReadReply { data, eof: range.end >= attr.size, attr })
    }
}

/// Whether a superseded snapshot that nobody reads is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strict {
    /// No: the client has to look the name up again (GETATTR, ACCESS).
    Yes,
    /// Yes (READ, WRITE, COMMIT and the attributes in their replies).
    No,
}

/// The time shown for a version: that of its commit; the version's last digits keep times of
/// commits in the same millisecond apart.
fn version_time(snapshot: &Snapshot) -> FileTime {
    let nanos = i64::try_from(snapshot.text_version() % 1_000_000).unwrap_or(0);
    attr::time_of_ns(snapshot.text_ms().saturating_mul(1_000_000).saturating_add(nanos))
}

/// Whether a snapshot has exactly the text of a version.
pub(super) fn shows(snapshot: &Snapshot, version: u64) -> bool {
    version == snapshot.version || version == snapshot.text_version()
}
