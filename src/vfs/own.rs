//! A client's own text after a save that was merged with rows of others.
//!
//! A process that keeps the file open (a logger) goes on writing at the offsets of the text that
//! it knows, and the kernel sends its cached pages again; neither fits the merged snapshot. So the
//! handle goes on showing the client's own text, which from then on can only be added to: what
//! comes behind it is appended to the newest snapshot. Everybody who opens the name gets another
//! handle, with the rows of all.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::gateway::Vfs;
use super::save::{Save, SaveError, Saved};
use super::slot::{Edit, EditKey, Slot, SlotState};
use super::text::{Frozen, SameBase};
use super::{Caller, FsError, FsResult};
use crate::error::{Error, ErrorKind};
use crate::lake::{At, Principal};

/// Most own texts kept per table.
const OWN_MAX: usize = 64;

fn merged() -> FsError {
    FsError::new(
        ErrorKind::Conflict,
        "rows of others came in between: open the file again before you change saved rows",
    )
}

impl Vfs {
    /// Keeps the text of a merged save for the handle that it was written through.
    pub(super) fn keep_own(&self, slot: &Slot, state: &mut SlotState, key: &EditKey, edit: &Edit) {
        let size = edit.file.lock().unwrap_or_else(PoisonError::into_inner).size();
        if size == 0 {
            return;
        }
        let mut own = edit.clone();
        own.extends = Some(size);
        own.writes = 0;
        own.whole = false;
        own.due_ns = u64::MAX;
        let noted = super::recover::note_edit(self.scratch.area(), &slot.table, key, &own, false);
        if let Err(error) = noted {
            // Without the note a restart would save the text a second time.
            tracing::warn!(table = %slot.table, %error, "forget what an open file shows");
            return;
        }
        state.own.insert(key.clone(), own);
        while state.own.len() > OWN_MAX {
            let oldest = state.own.iter().min_by_key(|(_, own)| own.written_ns);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            state.own.remove(&oldest);
        }
    }

    /// Begins an edit that adds to an own text; whether there is one.
    ///
    /// # Errors
    /// `Conflict` if there was one and it is lost.
    pub(super) async fn go_on(
        &self,
        caller: &Caller,
        slot: &Slot,
        key: &EditKey,
    ) -> FsResult<bool> {
        {
            let state = slot.state();
            if !state.own.contains_key(key) {
                return if state.partial.contains(key) { Err(merged()) } else { Ok(false) };
            }
        }
        let latest = self.latest(caller, &slot.table).await?;
        let against = self.view_at(caller, slot, latest.version).await?;
        let own = slot.state().own.remove(key);
        let Some(mut own) = own else { return Ok(false) };
        own.against = Some(against);
        own.adds_from = own.extends;
        self.begin_edit(slot, key, own)?;
        Ok(true)
    }

    /// The part of a write that lies behind what is saved already; what repeats saved bytes is
    /// left out.
    ///
    /// # Errors
    /// `Conflict` if saved bytes would change.
    pub(super) async fn behind_saved(
        &self,
        slot: &Slot,
        key: &EditKey,
        offset: u64,
        data: Bytes,
    ) -> FsResult<(u64, Bytes)> {
        let edit = slot.state().edits.get(key).cloned();
        let Some((edit, saved)) = edit.and_then(|edit| edit.extends.map(|saved| (edit, saved)))
        else {
            return Ok((offset, data));
        };
        if offset >= saved {
            return Ok((offset, data));
        }
        let split = usize::try_from(saved - offset).unwrap_or(usize::MAX).min(data.len());
        let text = Frozen::new(&edit.file, edit.below.clone());
        let end = offset.saturating_add(u64::try_from(split).unwrap_or(0));
        if text.read_all(offset..end).await? != data[..split] {
            self.rest(slot, key);
            return Err(merged());
        }
        Ok((end, data.slice(split..)))
    }

    /// Where a write belongs: whole lines that begin behind the end of what the handle shows are
    /// an append by somebody who believes in another end. A client believes in one if the append
    /// of another of its processes has failed before this one. What is never going to be written
    /// must not be waited for: the lines would be acknowledged, and refused later.
    ///
    /// Only for durable writes: a client sends the parts of a larger write in any order, and asks
    /// for none of them alone to be durable.
    ///
    /// # Errors
    /// Those of reading what the handle shows.
    pub(super) async fn behind_end(
        &self,
        slot: &Slot,
        key: &EditKey,
        offset: u64,
        data: &Bytes,
    ) -> FsResult<u64> {
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit.filter(|edit| edit.writes == 0 && edit.adds_from.is_some()) else {
            return Ok(offset);
        };
        let text = Frozen::new(&edit.file, edit.below.clone());
        let end = text.len();
        if offset <= end || end == 0 || !data.ends_with(b"\n") {
            return Ok(offset);
        }
        let ended = text.read_all(end - 1..end).await? == b"\n";
        Ok(if ended { end } else { offset })
    }

    /// A truncation to nothing begins a new text; saved bytes are not cut off otherwise.
    ///
    /// # Errors
    /// `Conflict` if a part of the saved bytes would go.
    pub(super) fn shorten_saved(&self, slot: &Slot, key: &EditKey, size: u64) -> FsResult<()> {
        let mut state = slot.state();
        if size == 0 {
            state.partial.remove(key);
        }
        let edit = state.own.get(key).or_else(|| state.edits.get(key));
        let Some(saved) = edit.and_then(|edit| edit.extends) else { return Ok(()) };
        if size >= saved {
            return Ok(());
        }
        if size > 0 {
            return Err(merged());
        }
        state.own.remove(key);
        state.edits.remove(key);
        Ok(())
    }

    /// Forgets a refused edit: an own text is what it was before.
    pub(super) fn undo(&self, slot: &Slot, key: &EditKey) {
        let edit = slot.state().edits.remove(key);
        let Some(edit) = edit else { return };
        let Some(saved) = edit.extends else { return };
        let cut = edit.file.lock().unwrap_or_else(PoisonError::into_inner).truncate(saved);
        match cut {
            Ok(()) => self.keep_own(slot, &mut slot.state(), key, &edit),
            Err(error) => tracing::warn!(%error, "forget what an open file shows"),
        }
    }

    /// Ends an edit that has nothing to add.
    fn rest(&self, slot: &Slot, key: &EditKey) {
        let mut state = slot.state();
        let size = |edit: &Edit| edit.file.lock().unwrap_or_else(PoisonError::into_inner).size();
        let idle = state.edits.get(key).is_some_and(|edit| edit.extends == Some(size(edit)));
        if idle && let Some(edit) = state.edits.remove(key) {
            self.keep_own(slot, &mut state, key, &edit);
        }
    }

    /// Appends what lies behind the saved bytes to the newest snapshot.
    pub(super) async fn save_addition(
        &self,
        who: &Principal,
        slot: &Slot,
        edit: &Edit,
        text: &Frozen,
    ) -> std::result::Result<Saved, SaveError> {
        // The version that was newest when the addition began: a commit that a restart did not
        // let us notice is found behind it.
        let base = match &edit.against {
            Some(against) => Arc::clone(against),
            None => self.lake.view(who, &slot.table, At::Latest).await?,
        };
        let mut from = edit.extends.unwrap_or(0).min(text.len());
        if from < text.len() && from > 0 {
            // The saved text may end without a newline; then the next byte has to be one.
            let around = text.read_all(from - 1..from + 1).await?;
            match around[..] {
                [b'\n', _] => {}
                [_, b'\n'] => from += 1,
                _ => {
                    let why = "the last row was saved without its newline and cannot be continued";
                    return Err(SaveError::Failed(Error::new(ErrorKind::Conflict, why)));
                }
            }
        }
        let save = Save {
            lake: &self.lake,
            who,
            table: &slot.table,
            base: Some(Arc::clone(&base)),
            text: text.clone(),
            same_base: SameBase::No,
            write_id: edit.write_id(),
            added_from: Some(from),
        };
        let mut saved = save.run().await?;
        saved.same_rows = false;
        saved.same_text = false;
        Ok(saved)
    }
}
