//! What is left of a refused save: the rest of its writes, and a client that has not heard of it.
//!
//! A large save arrives in many writes. If it is refused before the last of them, what still
//! comes must not be laid over the table as it was; and if it was refused in the background, the
//! COMMIT at the end is the only reply that the user's command can learn it from.

use super::gateway::Vfs;
use super::slot::{Edit, EditKey, Slot, Trigger, Verdict};
use super::{Caller, FsError, FsResult, Handle};
use crate::error::{Error, ErrorKind};
use std::sync::PoisonError;

/// Most refusals remembered per table.
const VERDICTS_MAX: usize = 256;

impl Vfs {
    /// Remembers a refusal whose edit is gone.
    pub(super) fn note_verdict(
        &self,
        slot: &Slot,
        key: &EditKey,
        edit: &Edit,
        trigger: Trigger,
        error: &Error,
    ) {
        let below = edit.below.as_ref().map_or(0, |view| view.len());
        let shows = edit.file.lock().unwrap_or_else(PoisonError::into_inner).content().base_limit;
        let mut state = slot.state();
        if state.edits.contains_key(key) {
            return;
        }
        if state.verdicts.len() >= VERDICTS_MAX {
            state.verdicts.clear();
        }
        let verdict = Verdict {
            kind: error.kind(),
            message: error.to_string(),
            untold: trigger == Trigger::Quiet,
            replaced: edit.extends.is_none() && (below == 0 || shows < below),
            since_ns: self.clock.monotonic_ns(),
        };
        state.verdicts.insert(key.clone(), verdict);
    }

    /// Refuses a write that belongs to a save that was refused as a whole.
    ///
    /// # Errors
    /// That refusal again.
    pub(super) fn check_verdict(&self, slot: &Slot, key: &EditKey, offset: u64) -> FsResult<()> {
        let now = self.clock.monotonic_ns();
        let shrink = self.settings.timing.shrink.as_nanos();
        let mut state = slot.state();
        let Some(verdict) = state.verdicts.get_mut(key) else { return Ok(()) };
        let recent = u128::from(now.saturating_sub(verdict.since_ns)) < shrink;
        if offset > 0 && verdict.replaced && recent {
            verdict.since_ns = now;
            verdict.untold = false;
            return Err(again(verdict));
        }
        if offset == 0 || !recent {
            state.verdicts.remove(key);
        }
        Ok(())
    }

    /// The refusal that nobody was told of; it is told once.
    pub(super) fn take_verdict(&self, slot: &Slot, key: &EditKey) -> Option<FsError> {
        let mut state = slot.state();
        if state.edits.contains_key(key) {
            return None;
        }
        let verdict = state.verdicts.get_mut(key)?;
        if !verdict.untold {
            return None;
        }
        verdict.untold = false;
        Some(again(verdict))
    }

    /// Notes that a client has asked for a table as it does when it opens the file: its next writes
    /// are another save. One that has it open through FUSE says so itself.
    pub(super) fn reopened(&self, caller: &Caller, slot: &Slot, handle: Handle) {
        let key = slot.key(caller, handle);
        if !slot.is_held(&key)
            && let Some(verdict) = slot.state().verdicts.get_mut(&key)
        {
            verdict.replaced = false;
        }
    }
}

fn again(verdict: &Verdict) -> FsError {
    let kind = match verdict.kind {
        ErrorKind::Busy => ErrorKind::Unavailable,
        kind => kind,
    };
    FsError::Lake(Error::new(kind, verdict.message.clone()))
}
