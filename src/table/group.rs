//! Changes of one process to one table that are committed together (adr/0010).
//!
//! Whoever commits puts the change into the table's queue and waits for its verdict. One task per
//! table, the leader, takes what is there and commits it; what comes meanwhile is the next batch.
//! Nobody waits for company: a change that comes alone is committed alone, at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::catalog::{AuditFields, TableLease};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;
use crate::table::Table;
use crate::table::changeset::{ChangeSet, CommitOutcome};
use crate::table::lock::Hold;
use crate::table::snapshot::Lineage;

/// Most changes of one commit.
const MEMBERS_MAX: usize = 256;
/// Most rows in memory that one commit stores: they fit one data file.
const HELD_ROWS_MAX: u64 = 16_384;
/// Most bytes of them.
const HELD_BYTES_MAX: usize = 4 << 20;
/// How long a leader keeps the table's lock while changes keep coming.
const LOCK_KEPT: Duration = Duration::from_secs(2);
/// How long it then leaves the lock to writers of other processes.
const LOCK_LEFT: Duration = Duration::from_millis(60);

/// A change that waits for its verdict.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) change: ChangeSet,
    /// With a commit id.
    pub(crate) lineage: Lineage,
    pub(crate) audit: Vec<AuditFields>,
    reply: oneshot::Sender<Result<CommitOutcome>>,
}

impl Member {
    /// Gives the verdict; whoever has gone away does not hear it.
    pub(crate) fn answer(self, outcome: Result<CommitOutcome>) {
        drop(self.reply.send(outcome));
    }
}

/// What waits, by table; a table that is listed has a leader.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<TableId, VecDeque<Member>>>);

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<TableId, VecDeque<Member>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change; whether the table needs a leader.
    fn push(&self, table: &TableId, member: Member) -> bool {
        let mut queues = self.lock();
        if let Some(queue) = queues.get_mut(table) {
            queue.push_back(member);
            return false;
        }
        queues.insert(table.clone(), VecDeque::from([member]));
        true
    }

    fn is_waiting(&self, table: &TableId) -> bool {
        self.lock().get(table).is_some_and(|queue| !queue.is_empty())
    }

    /// Ends the leadership unless something waits; whether it ended.
    fn end(&self, table: &TableId) -> bool {
        let mut queues = self.lock();
        let idle = queues.get(table).is_none_or(VecDeque::is_empty);
        if idle {
            queues.remove(table);
        }
        idle
    }

    /// The next batch, without those whose callers have gone away.
    fn take(&self, table: &TableId) -> Vec<Member> {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(table) else { return Vec::new() };
        let (mut batch, mut rows, mut bytes) = (Vec::new(), 0_u64, 0_usize);
        while let Some(next) = queue.front() {
            let held = next.change.rows.held.as_ref();
            rows = rows.saturating_add(held.map_or(0, |_| next.change.rows.rows));
            bytes = bytes.saturating_add(held.map_or(0, |held| held.memory_bytes));
            let full = rows > HELD_ROWS_MAX || bytes > HELD_BYTES_MAX;
            if batch.len() >= MEMBERS_MAX || (full && !batch.is_empty()) {
                break;
            }
            batch.extend(queue.pop_front().filter(|member| !member.reply.is_closed()));
        }
        batch
    }
}

impl Table {
    /// Applies a change to the newest snapshot, in one commit with other changes that wait.
    ///
    /// A change whose `lineage.write_id` was committed before is not applied twice: the snapshot
    /// of that commit is returned, so an `Unknown` outcome is resolved by committing again.
    ///
    /// # Errors
    /// `NotFound` if the table was dropped, `Busy` if another writer holds it or others are faster
    /// each time, `Invalid` if the change does not fit its base,
    /// `Unknown` if the outcome could not be determined; those of store and catalogue.
    pub async fn commit(
        &self,
        change: ChangeSet,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<CommitOutcome> {
        let (reply, verdict) = oneshot::channel();
        let member = Member { change, lineage: self.named(lineage), audit, reply };
        if self.parts.caches.queues.push(&self.id, member) {
            tokio::spawn(lead(self.clone()));
        }
        verdict.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unknown, "the commit ended without a verdict")
                .with("table", &self.id))
        })
    }

    /// Whether changes of this process wait for the commit under way.
    pub(crate) fn is_awaited(&self) -> bool {
        self.parts.caches.queues.is_waiting(&self.id)
    }

    async fn commit_batch(&self, batch: Vec<Member>, hold: &Hold) {
        let alone = match batch.len() {
            0 | 1 => batch,
            _ => Box::pin(self.commit_together(batch, hold)).await,
        };
        let mut left = alone.len();
        for mut member in alone {
            left -= 1;
            hold.keep(left > 0);
            let (lineage, audit) = (member.lineage.clone(), std::mem::take(&mut member.audit));
            let commit = self.commit_alone(&mut member.change, lineage, audit, hold);
            let outcome = Box::pin(commit).await;
            if left == 0 && !self.is_awaited() {
                // Whoever hears of a refusal may end its process: the lock must not outlive it.
                self.give_back(hold).await;
            }
            member.answer(outcome);
        }
    }

    /// The lock for the next batch: the one that is held, or a new one.
    async fn next_lease(&self, held: Option<(TableLease, u64)>) -> Result<(TableLease, u64)> {
        let now = self.parts.clock.monotonic_ns();
        let kept = u64::try_from(LOCK_KEPT.as_nanos()).unwrap_or(u64::MAX);
        match held {
            Some((lease, since)) if now.saturating_sub(since) < kept => return Ok((lease, since)),
            Some((lease, _)) => {
                self.unlock(lease).await;
                self.parts.clock.sleep(LOCK_LEFT).await;
            }
            None => {}
        }
        let lease = self.lock().await?;
        Ok((lease, self.parts.clock.monotonic_ns()))
    }
}

/// Ends a leadership that a panic cut short: who waits hears of it, and the next one leads again.
struct Leadership<'a> {
    table: &'a Table,
    ended: bool,
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.table.parts.caches.queues.lock().remove(&self.table.id);
        }
    }
}

/// Commits batches until nothing waits.
async fn lead(table: Table) {
    let mut leadership = Leadership { table: &table, ended: false };
    let queues = &table.parts.caches.queues;
    let mut lease: Option<(TableLease, u64)> = None;
    loop {
        if !queues.is_waiting(&table.id) {
            match lease.take() {
                // Given back before the leadership: the next leader must find it free.
                Some((lease, _)) => table.unlock(lease).await,
                None if queues.end(&table.id) => break,
                None => {}
            }
            continue;
        }
        let (held, since) = match table.next_lease(lease.take()).await {
            Ok(held) => held,
            Err(error) => {
                refuse(queues.take(&table.id), &error);
                continue;
            }
        };
        let hold = Hold::of(&held);
        table.commit_batch(queues.take(&table.id), &hold).await;
        if hold.is_released() {
            held.was_released();
        } else {
            lease = Some((held, since));
        }
    }
    leadership.ended = true;
}

/// Tells all of a batch the same error.
pub(crate) fn refuse(batch: Vec<Member>, error: &Error) {
    for member in batch {
        let same = Error::new(error.kind(), error.to_string());
        member.answer(Err(same));
    }
}
