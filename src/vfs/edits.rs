//! Changing the content of tables: staged edits and when they are committed.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::gateway::{Vfs, later};
use super::slot::{BIRTH, Decision, Edit, EditKey, Shape, Slot, Trigger, decide};
use super::staged::{StagedFile, sync_files};
use super::tables::{Shown, Strict, shows};
use super::text::Frozen;
use super::{
    Attr, Caller, Changed, FileTime, FsError, FsResult, Handle, PreAttr, SetAttr, SetTime,
    Stability, WriteReply, attr,
};
use crate::clock::random_hex;
use crate::error::Result;
use crate::lake::CsvView;

impl Vfs {
    /// The edit of a handle, begun over what the client was shown if there is none. A text that
    /// replaces all of it was made of what the author had read: a client looks the name up anew
    /// when it opens the file to write it, so its handle may show what it has never read.
    pub(super) async fn edit(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
        replaces: Replaces,
    ) -> FsResult<EditKey> {
        let key = slot.key(caller, handle);
        if slot.state().edits.contains_key(&key) || self.go_on(caller, slot, &key).await? {
            return Ok(key);
        }
        let shown = slot.state().shown_version(&key);
        let version = match shown {
            Some(version) => version,
            None => self.latest(caller, &slot.table).await?.version,
        };
        let base = self.view_at(caller, slot, version).await?;
        let id = self.scratch.fresh_id();
        let kept = slot.state().kept.clone();
        let kept = kept.filter(|kept| shows(base.snapshot(), kept.version));
        let (file, below) = match kept {
            Some(kept) => {
                let below = kept.below.as_ref().map_or(0, |view| view.len());
                let file = kept.file.lock().unwrap_or_else(PoisonError::into_inner);
                (file.duplicate(id, below)?, kept.below.clone())
            }
            None => {
                let file = StagedFile::create(self.scratch.area(), id, base.len())?;
                (file, Some(Arc::clone(&base)))
            }
        };
        let size = file.size();
        let read = slot.state().seen(&caller.client, version);
        let against = match read.filter(|read| replaces == Replaces::All && *read < version) {
            Some(read) => self.view_at(caller, slot, read).await?,
            None => base,
        };
        let mut edit = self.new_edit(caller, file, below, Some(against));
        edit.adds_from = Some(size);
        self.begin_edit(slot, &key, edit)?;
        Ok(key)
    }

    pub(super) fn new_edit(
        &self,
        caller: &Caller,
        file: StagedFile,
        below: Option<Arc<CsvView>>,
        against: Option<Arc<CsvView>>,
    ) -> Edit {
        Edit {
            extends: None,
            adds_from: None,
            file: Arc::new(std::sync::Mutex::new(file)),
            below,
            against,
            caller: caller.clone(),
            mtime: self.now(),
            ctime: self.now(),
            writes: 0,
            due_ns: u64::MAX,
            written_ns: self.clock.monotonic_ns(),
            whole: false,
            verifier: None,
            attempts: 0,
            token: random_hex(&*self.clock),
        }
    }

    /// Records an edit and lets it begin.
    pub(super) fn begin_edit(&self, slot: &Slot, key: &EditKey, edit: Edit) -> Result<()> {
        let held = slot.is_held(key);
        super::recover::note_edit(self.scratch.area(), &slot.table, key, &edit, held)?;
        slot.state().edits.insert(key.clone(), edit);
        self.mark_pending(&slot.table);
        Ok(())
    }

    pub(super) async fn write_table(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply> {
        let client = slot.key(caller, handle).client;
        let _changing = slot.changing.lock_client(&client).await;
        let before = self.loose_attr(caller, slot, handle).await;
        let result = self.write_locked(caller, slot, handle, offset, data, stability).await;
        self.changed(caller, slot, handle, before, result).await
    }

    /// The reply to a change.
    pub(super) async fn changed<T>(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
        before: Option<Attr>,
        result: FsResult<T>,
    ) -> Changed<T> {
        let after = self.loose_attr(caller, slot, handle).await;
        Changed { before: before.as_ref().map(PreAttr::from), after, result }
    }

    /// Attributes without the staleness rule, for replies about a change.
    pub(super) async fn loose_attr(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
    ) -> Option<Attr> {
        let shown = self.shown(caller, slot, handle, Strict::No).await.ok()?;
        self.attr_of(slot, handle.inode, &shown).await.ok()
    }

    async fn write_locked(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> FsResult<WriteReply> {
        self.check_writable(caller)?;
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if data.is_empty() {
            // POSIX: nothing is written, the file does not grow.
            let verifier = self.verifier;
            return Ok(WriteReply { count, stability, verifier });
        }
        self.check_verdict(slot, &slot.key(caller, handle), offset)?;
        let key = self.edit(caller, slot, handle, Replaces::Parts).await?;
        let (offset, data) = self.behind_saved(slot, &key, offset, data).await?;
        let offset = match stability > Stability::Unstable && !slot.is_held(&key) {
            true => self.behind_end(slot, &key, offset, &data).await?,
            false => offset,
        };
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let begun = slot.begun_anew(&key);
        if len > 0
            && let Err(error) = self.change_edit(slot, &key, |file| {
                file.write(offset, &data)?;
                file.set_unsettled(stability == Stability::Unstable)
            })
        {
            return Err(self.give_up(slot, &key, error).await);
        }
        self.counters.written_bytes.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
        let stable = stability > Stability::Unstable;
        let mut committed = false;
        if slot.is_held(&key) {
            committed = self.judge_added(slot, &key, offset, &data).await?;
            if stable && !committed {
                self.sync_edit(slot, &key).await?;
            }
        } else if stable {
            let whole_file = offset == 0 && slot.size_of(&key) == Some(len);
            if let Some(edit) = slot.state().edits.get_mut(&key) {
                edit.whole = whole_file;
            }
            let trigger = Trigger::StableWrite { whole_file, grown: (1..len).contains(&begun) };
            committed = self.decide_and_act(slot, &key, trigger).await?;
            if !committed {
                self.sync_edit(slot, &key).await?;
            }
        } else {
            self.schedule(slot, &key, Decision::Settle);
        }
        let stability = if stable || committed { Stability::FileSync } else { Stability::Unstable };
        Ok(WriteReply { count, stability, verifier: self.verifier })
    }

    /// Judges whole lines that were added through an open file: the writer's shell does not look
    /// at what close answers. Everything else is judged when the file is closed.
    async fn judge_added(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        offset: u64,
        data: &Bytes,
    ) -> FsResult<bool> {
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let whole_lines = {
            let mut state = slot.state();
            let Some(edit) = state.edits.get_mut(key) else { return Ok(false) };
            if edit.adds_from.is_some_and(|from| offset < from) {
                edit.adds_from = None;
            }
            let file = edit.file.lock().unwrap_or_else(PoisonError::into_inner);
            let last = offset.saturating_add(len) >= file.size() && data.ends_with(b"\n");
            edit.adds_from.is_some() && last && file.content().is_whole()
        };
        if !whole_lines {
            self.schedule(slot, key, Decision::Close);
            return Ok(false);
        }
        let trigger = Trigger::StableWrite { whole_file: false, grown: false };
        self.flush(slot, key, trigger).await?;
        Ok(true)
    }

    /// Changes the content of an edit and notes when.
    fn change_edit(
        &self,
        slot: &Slot,
        key: &EditKey,
        change: impl FnOnce(&mut StagedFile) -> Result<()>,
    ) -> FsResult<()> {
        let now = self.now();
        let mut state = slot.state();
        let edit = state.edits.get_mut(key).ok_or(FsError::Stale)?;
        let changed = change(&mut edit.file.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = changed {
            let begun = edit.writes == 0 && !Slot::is_birth(key);
            drop(state);
            if begun {
                // An edit that holds nothing would hide the table's later versions for ever.
                self.undo(slot, key);
            }
            return Err(error.into());
        }
        edit.writes = edit.writes.saturating_add(1);
        edit.ctime = if now > edit.ctime { now } else { later(edit.ctime) };
        edit.mtime = edit.ctime;
        edit.written_ns = self.clock.monotonic_ns();
        edit.whole = false;
        Ok(())
    }

    pub(super) async fn sync_edit(&self, slot: &Slot, key: &EditKey) -> Result<()> {
        let files = {
            let state = slot.state();
            let Some(edit) = state.edits.get(key) else { return Ok(()) };
            edit.file.lock().unwrap_or_else(PoisonError::into_inner).files_to_sync()?
        };
        sync_files(files).await
    }

    /// Decides about an edit and carries it out; whether it was committed.
    pub(super) async fn decide_and_act(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        trigger: Trigger,
    ) -> FsResult<bool> {
        let Some(shape) = self.shape(slot, key).await? else { return Ok(false) };
        let decision = decide(shape, trigger);
        match decision {
            Decision::Now => {
                // If the table is held elsewhere and the client never asks again.
                self.schedule(slot, key, Decision::Settle);
                self.flush(slot, key, trigger).await?;
                Ok(true)
            }
            _ => {
                self.schedule(slot, key, decision);
                Ok(false)
            }
        }
    }

    /// Sets when an edit is looked at again if nothing more comes.
    pub(super) fn schedule(&self, slot: &Slot, key: &EditKey, decision: Decision) {
        let timing = &self.settings.timing;
        let wait = match decision {
            Decision::Shrink => timing.shrink,
            // Its reply is held for the settle time: the verdict shall be told there.
            Decision::SettleInCall => timing.settle.saturating_mul(2),
            _ => timing.settle,
        };
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        // A writer that has the file open tells by closing it.
        let due = match decision == Decision::Close || slot.is_held(key) {
            true => u64::MAX,
            false => self.clock.monotonic_ns().saturating_add(wait),
        };
        if let Some(edit) = slot.state().edits.get_mut(key) {
            edit.due_ns = due;
        }
        self.mark_pending(&slot.table);
    }

    /// What a staged text looks like; `None` if there is no such edit.
    pub(super) async fn shape(&self, slot: &Slot, key: &EditKey) -> Result<Option<Shape>> {
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit else { return Ok(None) };
        let text = Frozen::new(&edit.file, edit.below.clone());
        if let Some(saved) = edit.extends {
            return Ok(Some(super::shape::addition(&text, saved).await?));
        }
        let base = edit.against.as_ref();
        Ok(Some(super::shape::shape_of(&edit.file, &text, base, &self.settings.limits).await?))
    }

    pub(super) async fn set_table_attr(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
        set: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        let client = slot.key(caller, handle).client;
        let _changing = slot.changing.lock_client(&client).await;
        let before = self.loose_attr(caller, slot, handle).await;
        let stale = guard.is_some_and(|guard| before.is_some_and(|attr| attr.ctime != guard));
        let result = if stale {
            Err(FsError::NotSync)
        } else {
            self.set_table_attr_locked(caller, slot, handle, set).await
        };
        self.changed(caller, slot, handle, before, result).await
    }

    async fn set_table_attr_locked(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
        set: SetAttr,
    ) -> FsResult<()> {
        self.check_writable(caller)?;
        let key = slot.key(caller, handle);
        if let Some(size) = set.size {
            let shown = self.shown(caller, slot, handle, Strict::No).await?;
            if self.attr_of(slot, handle.inode, &shown).await?.size == size {
                // Nothing changes, so nothing begins that would never be finished.
                return Ok(());
            }
            self.shorten_saved(slot, &key, size)?;
            slot.state().verdicts.remove(&key);
            let replaces = if size == 0 { Replaces::All } else { Replaces::Parts };
            let key = self.edit(caller, slot, handle, replaces).await?;
            self.change_edit(slot, &key, |file| file.truncate(size))?;
            if let Some(edit) = slot.state().edits.get_mut(&key) {
                edit.adds_from = None;
            }
            self.sync_edit(slot, &key).await?;
            self.schedule(slot, &key, Decision::Settle);
            return Ok(());
        }
        let written = slot.state().edits.get(&key).is_some_and(|edit| edit.writes > 0);
        if written
            && !slot.is_held(&key)
            && (set.mode.is_some() || matches!(set.mtime, SetTime::At(_)))
        {
            self.decide_and_act(slot, &key, Trigger::Confirm).await?;
        }
        // Modes and owners of tables are the lake's; times given by the client are shown until
        // the next commit (rsync and cp -p compare them).
        if let Some(time) = attr::chosen_time(set.mtime, self.now()) {
            let shown = self.shown(caller, slot, handle, Strict::No).await?;
            match shown {
                Shown::Edit(_) => {
                    if let Some(edit) = slot.state().edits.get_mut(&key) {
                        edit.mtime = time;
                        edit.ctime = later(edit.ctime).max(self.now());
                    }
                }
                Shown::Snapshot(snapshot) => self.show_time(slot, snapshot.version, time),
            }
            slot.state().raise_ctime(self.now());
        }
        Ok(())
    }
}

/// How much of a file the first change of an edit replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaces {
    /// All of it: it was truncated to nothing.
    All,
    /// A part: the rest stays as the handle shows it.
    Parts,
}

impl Slot {
    /// Size of an edit's content.
    pub(super) fn size_of(&self, key: &EditKey) -> Option<u64> {
        let state = self.state();
        let edit = state.edits.get(key)?;
        Some(edit.file.lock().unwrap_or_else(PoisonError::into_inner).size())
    }

    /// How much of an edit's text was written since nothing was below it: 0 before the first write.
    fn begun_anew(&self, key: &EditKey) -> u64 {
        let state = self.state();
        let Some(edit) = state.edits.get(key) else { return 0 };
        let file = edit.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.content().base_limit > 0 { 0 } else { file.size() }
    }

    /// Whether an edit began in an empty slot.
    pub(super) fn is_birth(key: &EditKey) -> bool {
        key.version >= BIRTH
    }
}
