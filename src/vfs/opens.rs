//! Open files, where the adapter knows of them (FUSE; over NFS nobody opens or closes).
//!
//! An open file pins the snapshot that it shows, and a save through it is judged when its writer
//! closes: nothing is guessed from silence. Whole lines that are added are judged in the write
//! that brings them, because shells do not look at what close answers.

use std::sync::{Arc, PoisonError};

use super::gateway::Vfs;
use super::slot::{Edit, EditKey, Slot, Trigger};
use super::tables::{Shown, Strict};
use super::text::Frozen;
use super::{Caller, FsResult, Handle, Hint};
use crate::error::{Error, ErrorKind};
use crate::lake::Snapshot;

/// Why the text of a writer that was killed is not the table's.
const KILLED: &str = "the program that wrote the file was killed before it closed it";
/// The same after the gateway was.
pub(super) const CUT_OFF: &str = "the gateway ended before the file was closed";

/// How a handle is open at the moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Opens {
    /// Open files.
    count: u32,
    /// Those of them that were opened for writing.
    writers: u32,
    /// The snapshot that the handle showed when it was opened.
    pinned: Option<Arc<Snapshot>>,
}

impl Slot {
    /// Whether a writer has this handle open, so that its close will tell when the save is whole.
    pub(super) fn is_held(&self, key: &EditKey) -> bool {
        self.state().opens.get(key).is_some_and(|opens| opens.writers > 0)
    }

    /// The snapshot that an open handle pins.
    pub(super) fn pinned(&self, key: &EditKey, version: u64) -> Option<Arc<Snapshot>> {
        let state = self.state();
        let pinned = state.opens.get(key)?.pinned.as_ref()?;
        (pinned.version == version).then(|| Arc::clone(pinned))
    }

    /// Whether a handle is open.
    pub(super) fn is_open(&self, key: &EditKey) -> bool {
        self.state().opens.contains_key(key)
    }
}

impl Vfs {
    /// Acts on what the adapter knows of a table's open files.
    ///
    /// # Errors
    /// The refusal of the save that the hint completes; `Stale` if a handle that is being opened
    /// shows nothing any more.
    pub(super) async fn take_hint(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
        hint: Hint,
    ) -> FsResult<()> {
        let key = slot.key(caller, handle);
        match hint {
            Hint::Opened { writes } => self.note_opened(caller, slot, handle, &key, writes).await,
            Hint::Flushed => self.judge(slot, &key, Closing::Flushed).await,
            Hint::Finished => self.judge(slot, &key, Closing::Finished).await,
            Hint::Abandoned => {
                let _changing = slot.changing.lock().await;
                self.abandon(slot, &key, KILLED).await;
                Ok(())
            }
            Hint::Closed { writes, written } => {
                note_closed(slot, &key, writes);
                // A truncation as part of open(2) is nobody's write.
                let last = writes && !slot.is_held(&key);
                if !written && !last {
                    return Ok(());
                }
                self.judge(slot, &key, Closing::Gone).await
            }
        }
    }

    async fn note_opened(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
        key: &EditKey,
        writes: bool,
    ) -> FsResult<()> {
        let shown = self.shown(caller, slot, handle, Strict::No).await?;
        let mut state = slot.state();
        let opens = state.opens.entry(key.clone()).or_default();
        opens.count = opens.count.saturating_add(1);
        if let Shown::Snapshot(snapshot) = shown {
            opens.pinned = Some(snapshot);
        }
        if writes {
            opens.writers = opens.writers.saturating_add(1);
            if opens.writers == 1 {
                // What an earlier writer was refused is not this one's.
                state.verdicts.remove(key);
            }
        }
        Ok(())
    }

    /// Looks at what a writer leaves behind as it closes.
    async fn judge(&self, slot: &Arc<Slot>, key: &EditKey, closing: Closing) -> FsResult<()> {
        let _changing = slot.changing.lock().await;
        if closing != Closing::Gone
            && let Some(error) = self.take_verdict(slot, key)
        {
            return Err(error);
        }
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit.filter(|edit| edit.writes > 0) else { return Ok(()) };
        let trigger = match closing {
            Closing::Flushed => Trigger::Flushed,
            Closing::Finished | Closing::Gone => Trigger::Finished { rewritten: rewritten(&edit) },
        };
        if closing == Closing::Gone {
            return self.judge_unheard(slot, key, trigger).await;
        }
        self.decide_and_act(slot, key, trigger).await.map(|_| ())
    }

    /// The same when nobody hears the verdict any more: a back end that is away is asked again.
    async fn judge_unheard(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        trigger: Trigger,
    ) -> FsResult<()> {
        let Some(shape) = self.shape(slot, key).await? else { return Ok(()) };
        let decision = super::slot::decide(shape, trigger);
        self.schedule(slot, key, decision);
        self.note_waiting(slot, key);
        if decision == super::slot::Decision::Now {
            self.flush(slot, key, Trigger::Quiet).await?;
        }
        Ok(())
    }

    /// A writer that is gone had not finished: the table stays as it is, the text is kept. The
    /// caller holds the slot.
    pub(super) async fn abandon(&self, slot: &Arc<Slot>, key: &EditKey, why: &'static str) {
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit else { return };
        let text = Frozen::new(&edit.file, edit.below.clone());
        let error = Error::new(ErrorKind::Conflict, why);
        if let Err(error) = self.failed(slot, key, &edit, &text, error).await {
            tracing::debug!(table = %slot.table, %error, "forget an unfinished save");
        }
    }

    /// Notes on disk that the text of an edit waits although its writer has closed the file.
    fn note_waiting(&self, slot: &Slot, key: &EditKey) {
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit else { return };
        let noted = super::recover::note_edit(self.scratch.area(), &slot.table, key, &edit, false);
        if let Err(error) = noted {
            tracing::warn!(table = %slot.table, %error, "a restart would forget a save that waits");
        }
    }
}

/// How a file is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// One descriptor of perhaps several.
    Flushed,
    /// The writer's last.
    Finished,
    /// The last of all.
    Gone,
}

fn note_closed(slot: &Slot, key: &EditKey, writes: bool) {
    let mut state = slot.state();
    let Some(opens) = state.opens.get_mut(key) else { return };
    opens.count = opens.count.saturating_sub(1);
    if writes {
        opens.writers = opens.writers.saturating_sub(1);
    }
    if opens.count == 0 {
        state.opens.remove(key);
    }
}

/// Whether a text replaces the one below it, rather than adding a first part of a line to it.
fn rewritten(edit: &Edit) -> bool {
    let empty = edit.file.lock().unwrap_or_else(PoisonError::into_inner).size() == 0;
    edit.adds_from.is_none() && !empty
}
