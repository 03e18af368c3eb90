//! What the catalogue said last: reading goes on while it is away, and a pointer that a restart of
//! it may have set back is looked at closely once.
//!
//! Only reading leans on this. A change asks the catalogue and waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Lake, OrgName, Principal, Refusal, SuperId, SuperName, TableId};
use crate::error::{Error, ErrorKind, Result};
use crate::table::{Settled, Snapshot};

/// How often a catalogue that is away is asked whether it is back.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Answers of the catalogue by what was asked.
#[derive(Debug)]
pub(super) struct Answers<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: K, value: V) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }
}

/// What is known of the catalogue.
#[derive(Debug, Default)]
pub(super) struct Known {
    away: AtomicBool,
    pub(super) organizations: Answers<(), Vec<OrgName>>,
    pub(super) supers: Answers<OrgName, Vec<SuperName>>,
    pub(super) changed: Answers<SuperId, Option<i64>>,
    pub(super) refusals: Answers<(SuperId, usize), Vec<Refusal>>,
    pub(super) tables: Answers<SuperId, Vec<Arc<Snapshot>>>,
    /// For each table, after how many connections to the catalogue its pointer was looked at.
    settled: Answers<TableId, u64>,
}

impl Lake {
    /// Asks the catalogue; while it is away, what it said last is the answer.
    pub(super) async fn ask<K: Eq + Hash, V: Clone>(
        &self,
        answers: &Answers<K, V>,
        key: K,
        question: impl Future<Output = Result<V>>,
    ) -> Result<V> {
        if let Some(known) = self.while_away(|| answers.get(&key)) {
            return Ok(known);
        }
        match question.await {
            Ok(answer) => {
                answers.put(key, answer.clone());
                Ok(answer)
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let known = answers.get(&key).ok_or(error)?;
                self.catalog_is_away();
                Ok(known)
            }
            Err(error) => Err(error),
        }
    }

    /// What is known, if the catalogue is away.
    pub(super) fn while_away<V>(&self, known: impl FnOnce() -> Option<V>) -> Option<V> {
        if self.0.known.away.load(Ordering::Acquire) { known() } else { None }
    }

    /// Answers from memory from now on, until the catalogue is back.
    pub(super) fn catalog_is_away(&self) {
        if self.0.known.away.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!("the catalogue is away: tables are shown as they were last seen");
        let lake = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                let Some(inner) = lake.upgrade() else { return };
                if inner.catalog.health().await.is_ok() {
                    inner.known.away.store(false, Ordering::Release);
                    tracing::info!("the catalogue is back");
                    return;
                }
                let pause = inner.clock.pace(ASK_EVERY);
                drop(inner);
                pause.await;
            }
        });
    }

    /// The newest snapshot as far as this process knows, of whatever age.
    pub(super) fn last_known(&self, id: &TableId) -> Option<Arc<Snapshot>> {
        let pointers = self.0.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        pointers.get(id).map(|(_, snapshot)| Arc::clone(snapshot))
    }

    /// Forgets a table's pointer after a change that came to nothing. If the catalogue was away,
    /// only its age is: reading goes on with what was known.
    pub(super) fn forget_unless_away(&self, id: &TableId, error: Option<&Error>) {
        if error.is_none_or(|error| error.kind() != ErrorKind::Unavailable) {
            self.forget(id);
            return;
        }
        let old = self.0.clock.monotonic_ns().saturating_sub(self.0.pointer_ns);
        let mut pointers = self.0.pointers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((fetched, _)) = pointers.get_mut(id) {
            *fetched = old.min(*fetched);
        }
    }

    /// The newest snapshot of a table. The first look after each connection to the catalogue goes
    /// to the end of the trunk: the server may be another one, or have lost its last writes.
    /// Who may only read does not repair anything, and sees what the pointer names.
    pub(super) async fn newest(
        &self,
        who: &Principal,
        id: &TableId,
    ) -> Result<Option<Arc<Snapshot>>> {
        let table = self.table(id);
        let named = table.latest().await?;
        let connections = self.0.catalog.connections();
        let settled = self.0.known.settled.get(id).unwrap_or_default() == connections;
        if settled || who.read_only {
            return Ok(named);
        }
        if named.is_none() {
            // The connection in which it was last seen is over: it may be lost, not dropped.
            return match self.last_known(id) {
                Some(known) => table.reappear(&known).await,
                None => Ok(None),
            };
        }
        match table.settle().await {
            Ok(settled) => {
                self.0.known.settled.put(id.clone(), connections);
                Ok(match settled {
                    Settled::Live(snapshot) => Some(snapshot),
                    Settled::Absent => None,
                })
            }
            Err(error) => {
                // Reading needs no more than the pointer; a commit settles in any case. Rights
                // that are missing now are missing later, too.
                if matches!(error.kind(), ErrorKind::Denied | ErrorKind::ReadOnly) {
                    self.0.known.settled.put(id.clone(), connections);
                }
                tracing::debug!(table = %id, %error, "pointer was not looked at closely");
                Ok(named)
            }
        }
    }
}
