//! Turns a staged edit into a commit and the slot's state with it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::gateway::{Vfs, later};
use super::plan::rejection;
use super::save::{Save, SaveError, Saved};
use super::slot::{Edit, EditKey, Kept, Shape, Slot, Trigger};
use super::text::{Frozen, SameBase};
use super::timer::owes_the_end;
use crate::csv::Rejection;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{At, ChangeSet, CommitOutcome, CsvView, Edit as RowEdit, NewRows, OnExistingKey};

/// How many newer versions a text is held against to find the one that it extends.
const NEWER_MAX: u64 = 8;
/// Bytes compared at once.
const STEP: u64 = 1 << 20;

impl Vfs {
    /// Commits a staged edit. The caller holds the slot.
    ///
    /// # Errors
    /// The refusal (recorded for `errors.csv`, the table as before) or the back end's error; in
    /// the background an edit whose back end is away stays for another attempt.
    pub(super) async fn flush(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        trigger: Trigger,
    ) -> Result<()> {
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit else { return Ok(()) };
        let text = Frozen::new(&edit.file, edit.below.clone());
        let outcome = self.try_flush(slot, key, &edit, &text, trigger).await;
        if let Err(error) = &outcome {
            self.note_verdict(slot, key, &edit, trigger, error);
        }
        outcome
    }

    async fn try_flush(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        edit: &Edit,
        text: &Frozen,
        trigger: Trigger,
    ) -> Result<()> {
        if text.len() == 0 && edit.against.is_none() {
            // A new file without content yet: nothing to save.
            if let Some(edit) = slot.state().edits.get_mut(key) {
                edit.due_ns = u64::MAX;
            }
            return Ok(());
        }
        let unfinished = match trigger {
            Trigger::Quiet => {
                self.shape(slot, key).await?.and_then(|shape| unfinished(edit, shape, text))
            }
            _ => None,
        };
        let outcome = match unfinished {
            Some(unfinished) => Err(SaveError::Refused(ErrorKind::Invalid, vec![unfinished])),
            None => self.save(slot, edit, text).await,
        };
        match outcome {
            Ok(saved) => {
                self.saved(slot, key, edit, &saved);
                Ok(())
            }
            Err(SaveError::Refused(kind, rejections)) => {
                self.refused(slot, key, edit, text, kind, &rejections).await
            }
            Err(SaveError::Failed(error)) => {
                let waits = match error.kind() {
                    ErrorKind::Busy => true,
                    ErrorKind::Unavailable => trigger == Trigger::Quiet,
                    _ => false,
                };
                if waits {
                    return Err(error);
                }
                self.failed(slot, key, edit, text, error).await
            }
        }
    }

    async fn save(
        &self,
        slot: &Slot,
        edit: &Edit,
        text: &Frozen,
    ) -> std::result::Result<Saved, SaveError> {
        let who = self.principal(&edit.caller);
        if !text.content().is_whole() {
            let why = "parts of the file were never written";
            let rejection = rejection("MNT-1209", why, "write the file again as a whole");
            return Err(SaveError::Refused(ErrorKind::Invalid, vec![rejection]));
        }
        if edit.extends.is_some() {
            return self.save_addition(&who, slot, edit, text).await;
        }
        let against = match &edit.against {
            Some(against) => Some(self.newest_extended(slot, edit, text, against).await?),
            None => None,
        };
        if let (Some(base), 0) = (&against, text.len()) {
            return Ok(self.delete_all_rows(&who, slot, base, &edit.write_id()).await?);
        }
        let same_base = match (&against, edit.same_base()) {
            (Some(against), Some(below)) if Arc::ptr_eq(against, below) => SameBase::Yes,
            _ => SameBase::No,
        };
        let save = Save {
            lake: &self.lake,
            who: &who,
            table: &slot.table,
            base: against,
            text: text.clone(),
            same_base,
            write_id: edit.write_id(),
            added_from: None,
        };
        save.run().await
    }

    /// The newest snapshot whose whole text the staged text begins with, if the text only adds to
    /// what its author had read. A client that re-sends its cached page after its own commit (or
    /// after a restart of the gateway) means the rows behind it, not all of them again.
    async fn newest_extended(
        &self,
        slot: &Slot,
        edit: &Edit,
        text: &Frozen,
        against: &Arc<CsvView>,
    ) -> Result<Arc<CsvView>> {
        let version = against.snapshot().version;
        let latest = self.latest(&edit.caller, &slot.table).await?;
        if latest.version <= version || text.len() <= against.len() {
            return Ok(Arc::clone(against));
        }
        let who = self.principal(&edit.caller);
        let oldest = version.max(latest.version.saturating_sub(NEWER_MAX));
        for newer in (oldest + 1..=latest.version).rev() {
            let view = self.lake.view(&who, &slot.table, At::Version(newer)).await?;
            if text.len() < view.len() || view.len() <= against.len() {
                continue;
            }
            // Another author's rows are never this author's, even if they read the same.
            let same_author = view.snapshot().lineage.client == who.describe();
            if same_author && begins_with(text, against, &view).await? {
                return Ok(view);
            }
        }
        Ok(Arc::clone(against))
    }

    async fn delete_all_rows(
        &self,
        who: &crate::lake::Principal,
        slot: &Slot,
        base: &Arc<CsvView>,
        write_id: &str,
    ) -> Result<Saved> {
        let unchanged =
            Saved { snapshot: Arc::clone(base.snapshot()), same_text: true, same_rows: true };
        if base.rows() == 0 {
            return Ok(unchanged);
        }
        let change = ChangeSet {
            base: Arc::clone(base.snapshot()),
            edits: vec![RowEdit { at: 0, remove: base.rows(), insert: 0 }],
            rows: NewRows::default(),
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        match self.lake.commit_once(who, &slot.table, change, ("delete", ""), write_id).await? {
            CommitOutcome::Committed { snapshot, .. } => {
                let merged = snapshot.rows() > 0;
                Ok(Saved { snapshot, same_text: true, same_rows: !merged })
            }
            CommitOutcome::Unchanged { .. } => Ok(unchanged),
            CommitOutcome::Conflict { .. } => Err(Error::new(
                ErrorKind::Conflict,
                "rows were changed by somebody else while all were being deleted",
            )),
        }
    }

    fn saved(&self, slot: &Slot, key: &EditKey, edit: &Edit, saved: &Saved) {
        let version = saved.snapshot.version;
        let new = edit.against.as_ref().is_none_or(|base| base.snapshot().version != version);
        let counter = if new { &self.counters.commits } else { &self.counters.unchanged };
        counter.fetch_add(1, Ordering::Relaxed);
        self.replaced(slot);
        let mut state = slot.state();
        state.saved(key, version);
        state.ctime = state.ctime.max(Some(edit.ctime));
        let partial = edit.extends.is_some() || !saved.same_rows;
        if partial {
            state.partial.insert(key.clone());
            self.keep_own(slot, &mut state, key, edit);
        } else {
            state.partial.remove(key);
        }
        if key.version != version {
            self.record_shown(slot, key, version, partial);
        }
        if saved.same_rows {
            // What the client wrote is what it would read (its pages are cached); rows of others
            // that were merged in it has not seen.
            drop(state);
            self.note_read(slot, &key.client, version);
            // An editor must not see "file changed on disk": the time of its last write stays,
            // and so do its bytes.
            self.show_time(slot, version, edit.mtime);
            self.keep_spelling(slot, edit, saved);
        } else {
            state.mtime = None;
            state.kept = None;
            drop(state);
        }
        if Slot::is_birth(key) || edit.against.is_none() {
            self.table_directory_changed(&slot.table);
        }
    }

    /// Goes on showing the author's own bytes where they are not ours.
    fn keep_spelling(&self, slot: &Slot, edit: &Edit, saved: &Saved) {
        let kept = (!saved.same_text).then(|| Kept {
            version: saved.snapshot.version,
            file: Arc::clone(&edit.file),
            below: edit.below.clone(),
        });
        if let Some(kept) = &kept
            && let Err(error) = self.note_kept(&slot.table, &saved.snapshot.path, kept)
        {
            tracing::warn!(table = %slot.table, %error, "a restart will show another spelling");
        }
        slot.state().kept = kept;
    }

    /// Lets clients drop what they have cached of a table: its bytes are not what they wrote.
    pub(super) fn raise_ctime(&self, slot: &Slot) {
        slot.state().raise_ctime(self.now());
        // A client compares mtime and size; the bytes it wrote had the time of its write.
        let shown = slot.state().mtime;
        if let Some((version, time)) = shown {
            self.show_time(slot, version, later(time));
        }
    }
}

/// Why a text that waited long enough is no save: its client died while it wrote.
fn unfinished(edit: &Edit, shape: Shape, text: &Frozen) -> Option<Rejection> {
    let reason = if owes_the_end(edit, shape) {
        "the client went away before it had written all of the file"
    } else {
        let shorter = edit.against.as_ref().is_some_and(|base| text.len() < base.len());
        let replaced = edit
            .below
            .as_ref()
            .is_none_or(|below| text.content().base_limit < below.len() && edit.extends.is_none());
        if !(shorter && replaced && !edit.whole && text.ends_in_mid_line()) {
            return None;
        }
        "the file is shorter than the table and stops in the middle of a line"
    };
    let remedy = "write the file again as a whole, with a line end at its end";
    Some(rejection("MNT-1230", reason, remedy))
}

/// Whether `text` is `view`'s text and perhaps more behind it. The end is compared first: there
/// texts that only look alike differ.
async fn begins_with(text: &Frozen, against: &CsvView, view: &Arc<CsvView>) -> Result<bool> {
    let tail = against.len().min(view.len()).saturating_sub(STEP);
    Ok(same(text, view, tail..view.len()).await? && same(text, view, 0..tail).await?)
}

async fn same(text: &Frozen, view: &Arc<CsvView>, range: Range<u64>) -> Result<bool> {
    let mut at = range.start;
    while at < range.end {
        let next = (at + STEP).min(range.end);
        if text.read_all(at..next).await? != view.read_at(at..next).await?.concat() {
            return Ok(false);
        }
        at = next;
    }
    Ok(true)
}
