//! COMMIT: the reply that a large save's verdict is told in, held for a moment.
//!
//! NFSv3 has no close; a COMMIT in mid-file looks like the one at the end. What tells them apart
//! is whether more writes come while its reply is held.

use std::sync::Arc;
use std::time::Duration;

use super::gateway::Vfs;
use super::slot::{Decision, EditKey, Slot, Trigger, decide};
use super::{Caller, Changed, FsError, FsResult, Handle, Verifier};

/// How long a reply is held, and the number of writes that there were when that began.
struct Hold {
    time: Duration,
    writes: u64,
}

impl Vfs {
    pub(super) async fn commit_table(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        handle: Handle,
    ) -> Changed<Verifier> {
        let key = slot.key(caller, handle);
        let mut changing = slot.changing.lock_client(&key.client).await;
        let before = self.loose_attr(caller, slot, handle).await;
        let mut result = match self.take_verdict(slot, &key) {
            Some(error) => Err(error),
            None => self.commit_locked(slot, &key).await,
        };
        if let Ok(Some(hold)) = &result {
            drop(changing);
            let quiet = self.stays_quiet(slot, &key, hold).await;
            changing = slot.changing.lock_client(&key.client).await;
            // Also what the timer has judged meanwhile is told here.
            result = match self.take_verdict(slot, &key) {
                Some(error) => Err(error),
                None if quiet && slot.writes(&key) == Some(hold.writes) => {
                    let flushed = self.flush(slot, &key, Trigger::Commit).await;
                    flushed.map(|()| None).map_err(FsError::from)
                }
                None => Ok(None),
            };
        }
        let result = result.map(|_| self.verifier);
        let changed = self.changed(caller, slot, handle, before, result).await;
        drop(changing);
        changed
    }

    /// Waits; whether no more writes came.
    async fn stays_quiet(&self, slot: &Slot, key: &EditKey, hold: &Hold) -> bool {
        let step = self.settings.timing.commit_hold.max(Duration::from_millis(1));
        let mut left = hold.time;
        while !left.is_zero() {
            let wait = step.min(left);
            self.clock.sleep(wait).await;
            left -= wait;
            if slot.writes(key) != Some(hold.writes) {
                return false;
            }
        }
        true
    }

    /// Makes an edit durable; how long the reply is held if it should be judged unless more
    /// comes.
    async fn commit_locked(&self, slot: &Arc<Slot>, key: &EditKey) -> FsResult<Option<Hold>> {
        self.sync_edit(slot, key).await?;
        if slot.is_held(key) {
            self.decide_and_act(slot, key, Trigger::Flushed).await?;
            return Ok(None);
        }
        let Some(shape) = self.shape(slot, key).await? else { return Ok(None) };
        let decision = decide(shape, Trigger::Commit);
        let timing = &self.settings.timing;
        let time = match decision {
            Decision::NowUnlessMore => timing.commit_hold,
            Decision::SettleInCall => timing.settle,
            _ => {
                self.schedule(slot, key, decision);
                return Ok(None);
            }
        };
        // Should the client give up: the timer judges it a little later.
        self.schedule(slot, key, Decision::SettleInCall);
        Ok(slot.writes(key).map(|writes| Hold { time, writes }))
    }
}

impl Slot {
    /// Number of writes of an edit so far.
    fn writes(&self, key: &EditKey) -> Option<u64> {
        self.state().edits.get(key).map(|edit| edit.writes)
    }
}
