//! What happens when nothing more comes: settled saves are committed, removed tables dropped,
//! displaced ones put back, old scratch files removed.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::gateway::Vfs;
use super::slot::{Edit, EditKey, Shape, Slot, Trigger};
use crate::error::{Error, ErrorKind, Result};

/// How often pending work is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two looks at old scratch files.
const SCRATCH_TICKS: u32 = 1200;
/// Ticks between two looks at the views that are kept.
const VIEW_TICKS: u32 = 20;
/// Part of `cache_bytes` that views kept for clients may take.
const VIEWS_PART: u64 = 32;
/// After how many shrink times of silence a client that owes the end of a save is taken for dead.
const ABANDONED_AFTER: u64 = 10;
/// Longest wait between two background attempts.
const RETRY_MAX_NS: u64 = 60_000_000_000;

/// Starts the background work; it ends with the file system.
pub(super) fn start(vfs: &Arc<Vfs>) {
    let weak = Arc::downgrade(vfs);
    let clock = Arc::clone(&vfs.clock);
    tokio::spawn(async move {
        let mut tick = 0_u32;
        while let Some(vfs) = Weak::upgrade(&weak) {
            vfs.tick().await;
            tick = tick.wrapping_add(1);
            if tick.is_multiple_of(VIEW_TICKS) {
                vfs.shed_views(vfs.settings.cache_bytes / VIEWS_PART);
            }
            if tick.is_multiple_of(SCRATCH_TICKS) {
                vfs.forget_empty();
                let removed = vfs.scratch.expire(vfs.settings.timing.scratch);
                if removed > 0 {
                    tracing::info!(removed, "scratch files expired");
                }
            }
            drop(vfs);
            clock.sleep(TICK).await;
        }
    });
}

impl Vfs {
    async fn tick(&self) {
        let now = self.clock.monotonic_ns();
        for slot in self.pending_slots() {
            for key in due_edits(&slot, now) {
                self.settle(&slot, &key).await;
            }
            if let Err(error) = self.finish_displaced(&slot, Urgency::WhenDue).await {
                tracing::warn!(table = %slot.table, %error, "try again to finish a removal");
            }
        }
    }

    /// Commits an edit whose quiet time is over.
    async fn settle(&self, slot: &Arc<Slot>, key: &EditKey) {
        let _changing = slot.changing.lock().await;
        let now = self.clock.monotonic_ns();
        let due = slot.state().edits.get(key).is_some_and(|edit| edit.due_ns <= now);
        if !due || slot.is_held(key) || self.must_wait_longer(slot, key).await {
            return;
        }
        let Err(error) = self.flush(slot, key, Trigger::Quiet).await else { return };
        let mut state = slot.state();
        let Some(edit) = state.edits.get_mut(key) else { return };
        edit.attempts = edit.attempts.saturating_add(1);
        let wait = 500_000_000_u64.saturating_mul(1 << edit.attempts.min(7)).min(RETRY_MAX_NS);
        edit.due_ns = now.saturating_add(wait);
        tracing::warn!(table = %slot.table, attempt = edit.attempts, %error,
            "a save that was acknowledged waits for the back end");
    }

    /// A text that may be unfinished waits until its writer was silent for the shrink time.
    async fn must_wait_longer(&self, slot: &Slot, key: &EditKey) -> bool {
        let Ok(Some(shape)) = self.shape(slot, key).await else { return false };
        let mut state = slot.state();
        let Some(edit) = state.edits.get_mut(key) else { return true };
        let on_its_way = owes_the_end(edit, shape);
        let unfinished =
            on_its_way || shape.doubtful || !(shape.complete || edit.whole && shape.reaches_end);
        let shrink = u64::try_from(self.settings.timing.shrink.as_nanos()).unwrap_or(u64::MAX);
        // A client that is cut off for minutes goes on; one that has died does not.
        let wait = if on_its_way { shrink.saturating_mul(ABANDONED_AFTER) } else { shrink };
        let believed = edit.written_ns.saturating_add(wait);
        if unfinished && self.clock.monotonic_ns() < believed {
            edit.due_ns = believed;
            return true;
        }
        false
    }

    /// Whether a client has still to send the end of the text, or to say that it has.
    async fn is_on_its_way(&self, slot: &Slot, key: &EditKey) -> bool {
        let Ok(Some(shape)) = self.shape(slot, key).await else { return false };
        slot.state().edits.get(key).is_some_and(|edit| owes_the_end(edit, shape))
    }

    /// Finishes every pending save and removal now (`echo sync > .control`, shutdown).
    ///
    /// # Errors
    /// The first failure, after all were tried.
    pub(super) async fn finish_everything(&self) -> Result<()> {
        let mut first: Option<Error> = None;
        for slot in self.pending_slots() {
            let keys: Vec<EditKey> = slot.state().edits.keys().cloned().collect();
            let _changing = slot.changing.lock().await;
            // What is open is saved when it is closed; half of what a client is sending at the
            // moment is nobody's save.
            for key in keys.into_iter().filter(|key| !slot.is_held(key)) {
                if self.is_on_its_way(&slot, &key).await {
                    continue;
                }
                if let Err(error) = self.flush(&slot, &key, Trigger::Certain).await {
                    first.get_or_insert(error);
                }
            }
            drop(_changing);
            if let Err(error) = self.finish_displaced(&slot, Urgency::Now).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Believes a removal, or puts a displaced table back, once the grace time is over.
    pub(super) async fn finish_displaced(&self, slot: &Slot, urgency: Urgency) -> Result<()> {
        let grace = u64::try_from(self.settings.timing.grace.as_nanos()).unwrap_or(u64::MAX);
        let _changing = slot.changing.lock().await;
        let displaced = slot.state().displaced.clone();
        let Some(displaced) = displaced else { return Ok(()) };
        if slot.state().edits.keys().any(|key| key.version >= super::slot::BIRTH) {
            // New content is being put under the name: the removal was the start of a save.
            return Ok(());
        }
        let now = self.clock.monotonic_ns();
        if urgency == Urgency::WhenDue && now < displaced.since_ns.saturating_add(grace) {
            return Ok(());
        }
        if displaced.drops {
            let who = self.principal(&displaced.caller);
            match self.lake.drop_table(&who, &slot.table).await {
                Ok(()) => tracing::info!(table = %slot.table, "dropped; it can be restored"),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if displaced.drops {
            // A table that is made anew under the name begins with the same version numbers.
            self.forget(slot);
        } else {
            self.replaced(slot);
        }
        self.table_directory_changed(&slot.table);
        Ok(())
    }
}

/// Whether pending work waits for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It does.
    WhenDue,
    /// It does not.
    Now,
}

/// Whether a client has still to send the end of its text, or to say that it has. Whole lines that
/// it added owe nothing: what follows them can only be more lines.
pub(super) fn owes_the_end(edit: &Edit, shape: Shape) -> bool {
    !shape.append && edit.file.lock().unwrap_or_else(PoisonError::into_inner).is_unsettled()
}

fn due_edits(slot: &Slot, now: u64) -> Vec<EditKey> {
    let state = slot.state();
    let due = state.edits.iter().filter(|(_, edit)| edit.due_ns <= now);
    due.map(|(key, _)| key.clone()).collect()
}
