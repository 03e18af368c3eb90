//! Finding the true newest snapshot, and bringing the catalogue's pointer there.
//!
//! The trunk is the chain of snapshots from the first one along marked successors
//! (commit-protocol.md section 3). A pointer may lag behind it, be rolled back, or name a
//! snapshot that another writer put beside it; every step of the repair is idempotent and any
//! gateway may run it at any time.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::catalog::{AuditFields, Leaf, LeafSwap, SwapOutcome};
use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, PutCreate};
use crate::table::Table;
use crate::table::codec;
use crate::table::documents::{ADOPT, End, Mark, Stub, leaf_bytes, parse_leaf};
use crate::table::schema;
use crate::table::snapshot::Snapshot;

/// Rounds of a repair; each round needs another writer's interference to happen.
pub(crate) const ROUNDS_MAX: usize = 64;

/// What settling found.
#[derive(Debug, Clone)]
pub enum Settled {
    /// The table exists; the catalogue names this snapshot, the newest.
    Live(Arc<Snapshot>),
    /// There is no such table.
    Absent,
}

/// The newest snapshot with the pointer that names it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The newest snapshot.
    pub(crate) tip: Arc<Snapshot>,
    /// The leaf as it was read.
    pub(crate) raw: Bytes,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Trust that a snapshot of ours is the newest; the commit's put will tell.
    Quick,
    /// Follow the trunk to its end.
    Closely,
}

/// End of a walk along the trunk.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The last snapshot.
    pub(crate) tip: Arc<Snapshot>,
    /// The mark that ended the trunk behind it.
    pub(crate) end: Option<End>,
    /// Paths of foreign snapshots that were taken over or merged on the way.
    pub(crate) foreign: Vec<String>,
}

impl Table {
    /// Finds the newest snapshot, takes over what other writers published, and moves the
    /// catalogue's pointer there.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`; `Busy` if other writers keep moving the pointer.
    pub async fn settle(&self) -> Result<Settled> {
        Ok(match self.head(Look::Closely).await? {
            Some(head) => Settled::Live(head.tip),
            None => Settled::Absent,
        })
    }

    /// Lets the catalogue name a table again whose pointer it lost, as a server does that went back
    /// to an older dump; `known` is a snapshot of it. A drop or a rename leaves a mark on the
    /// trunk, and another writer's drop leaves no objects: those tables stay away (`None`).
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub(crate) async fn reappear(&self, known: &Arc<Snapshot>) -> Result<Option<Arc<Snapshot>>> {
        if !store::exists(&self.parts.objects, &known.path).await? {
            return Ok(None);
        }
        let walk = self.walk(Arc::clone(known)).await?;
        if walk.end.is_some() || !self.appear(&walk.tip, Vec::new(), None).await? {
            return Ok(None);
        }
        tracing::warn!(table = %self.id, version = walk.tip.version, "lost pointer restored");
        Ok(Some(walk.tip))
    }

    /// The newest snapshot; `None` = there is no such table.
    pub(crate) async fn head(&self, look: Look) -> Result<Option<Head>> {
        for _ in 0..ROUNDS_MAX {
            let Some(leaf) = self.parts.catalog.leaf(&self.id).await? else { return Ok(None) };
            let named = self.snapshot_of(&leaf).await?;
            let on_trunk = self.on_trunk(&named).await?;
            if on_trunk && look == Look::Quick && codec::is_ours(&named.document) {
                return Ok(Some(Head { tip: named, raw: leaf.raw }));
            }
            let walk = if on_trunk {
                self.walk(Arc::clone(&named)).await?
            } else {
                Box::pin(self.take_over(Arc::clone(&named))).await?
            };
            if let Some(end) = &walk.end {
                self.finish_end(&walk.tip, end, &leaf).await?;
                continue;
            }
            if walk.tip.path == named.path {
                return Ok(Some(Head { tip: named, raw: leaf.raw }));
            }
            let tip = self.with_all_columns(walk.tip).await?;
            self.raise_row_ids(&tip).await?;
            let new = self.point_to(&leaf, &tip, Vec::new()).await?;
            if let Some(raw) = new {
                tracing::info!(
                    table = %self.id, from = named.version, to = tip.version,
                    "catalogue pointer moved to the newest snapshot"
                );
                return Ok(Some(Head { tip, raw }));
            }
        }
        Err(Error::new(ErrorKind::Busy, "other writers keep moving the table")
            .with("table", &self.id))
    }

    /// Whether a snapshot is on the trunk.
    pub(crate) async fn on_trunk(&self, snapshot: &Snapshot) -> Result<bool> {
        let Some(previous) = &snapshot.previous else { return Ok(true) };
        let document = &snapshot.document;
        if codec::is_ours(document) {
            if codec::own_text(document, "root").is_some() {
                return Ok(true);
            }
            let parent = codec::own_text(document, "follows").unwrap_or(previous);
            if snapshot.path == store::layout::successor(parent, snapshot.version) {
                return Ok(true);
            }
        }
        let version = match self.before(snapshot).await? {
            Some(before) => before.version,
            None => match self.load_mark(previous).await? {
                // Its predecessor was vacuumed, but not the name of what followed it.
                Some(Mark::Gone(stub)) => stub.version,
                // Nothing older is known: for every gateway the trunk begins here.
                _ => return Ok(true),
            },
        };
        let mark = store::layout::successor(previous, version.saturating_add(1));
        match self.load_mark(&mark).await? {
            Some(Mark::Adopt(adopted)) => Ok(adopted == snapshot.path),
            _ => Ok(false),
        }
    }

    /// Follows marked successors from a snapshot on the trunk to its end.
    pub(crate) async fn walk(&self, from: Arc<Snapshot>) -> Result<Walk> {
        let mut walk = Walk { tip: from, end: None, foreign: Vec::new() };
        loop {
            let next = walk.tip.version.saturating_add(1);
            let mut path = store::layout::successor(&walk.tip.path, next);
            let mark = loop {
                match self.load_mark(&path).await? {
                    Some(Mark::Gone(Stub { next, .. })) if !next.is_empty() && next != path => {
                        path = next;
                    }
                    Some(Mark::Gone(_)) => {
                        return Err(Error::corrupt("vacuumed snapshot does not name the next one")
                            .with("table", &self.id)
                            .with("snapshot", path));
                    }
                    mark => break mark,
                }
            };
            match mark {
                None | Some(Mark::Gone(_)) => return Ok(walk),
                Some(Mark::Snapshot(snapshot)) => {
                    if let Some(merged) = codec::own_text(&snapshot.document, "merged_from") {
                        walk.foreign.push(merged.to_owned());
                    }
                    walk.tip = snapshot;
                }
                Some(Mark::Adopt(path)) => {
                    walk.tip = self.load(&path).await?;
                    walk.foreign.push(path);
                }
                Some(Mark::Ended(end)) => {
                    let restored =
                        store::layout::successor(&end.path, end.version.saturating_add(1));
                    match self.load_mark(&restored).await? {
                        Some(Mark::Snapshot(snapshot)) => walk.tip = snapshot,
                        _ => {
                            walk.end = Some(end);
                            return Ok(walk);
                        }
                    }
                }
            }
        }
    }

    /// Takes foreign snapshots that end in `named` over into the trunk.
    async fn take_over(&self, named: Arc<Snapshot>) -> Result<Walk> {
        let (trunk, foreign) = self.foreign_since(named).await?;
        let mut tip = Arc::clone(&trunk);
        for snapshot in foreign {
            for round in 0.. {
                if round > ROUNDS_MAX {
                    return Err(Error::new(ErrorKind::Busy, "other writers keep moving the table")
                        .with("table", &self.id));
                }
                let follows = snapshot.previous.as_ref() == Some(&tip.path);
                if follows && snapshot.version > tip.version && self.adopt(&tip, &snapshot).await? {
                    tip = Arc::clone(&snapshot);
                    break;
                }
                let walk = self.walk(Arc::clone(&trunk)).await?;
                tip = Arc::clone(&walk.tip);
                if walk.end.is_some() {
                    tracing::warn!(
                        table = %self.id, snapshot = snapshot.path,
                        "another writer wrote to a table that was dropped or renamed"
                    );
                    return Ok(walk);
                }
                if walk.foreign.contains(&snapshot.path) || self.merge(&walk.tip, &snapshot).await?
                {
                    break;
                }
            }
        }
        self.walk(tip).await
    }

    /// The newest trunk snapshot in the ancestry of a foreign one, and the foreign ones since,
    /// oldest first.
    async fn foreign_since(
        &self,
        named: Arc<Snapshot>,
    ) -> Result<(Arc<Snapshot>, Vec<Arc<Snapshot>>)> {
        let mut foreign = vec![named];
        for _ in 0..self.parts.settings.history_max {
            let Some(last) = foreign.last() else { break };
            let Some(before) = self.before(last).await? else {
                if let Some(trunk) = self.behind_vacuumed(last).await? {
                    return Ok((trunk, Vec::new()));
                }
                break;
            };
            if self.on_trunk(&before).await? {
                foreign.reverse();
                return Ok((before, foreign));
            }
            foreign.push(before);
        }
        Err(Error::corrupt("history of another writer's snapshot does not end")
            .with("table", &self.id))
    }

    /// Where the trunk goes on behind the vacuumed predecessor of another writer's snapshot. What
    /// that writer changed cannot be found out any more: its snapshot stays beside the trunk.
    async fn behind_vacuumed(&self, foreign: &Snapshot) -> Result<Option<Arc<Snapshot>>> {
        let Some(previous) = &foreign.previous else { return Ok(None) };
        let Some(Mark::Gone(stub)) = self.load_mark(previous).await? else { return Ok(None) };
        let (mut path, mut seen) = (stub.next, 0);
        while seen < self.parts.settings.history_max {
            match self.load_mark(&path).await? {
                Some(Mark::Gone(stub)) => path = stub.next,
                Some(Mark::Snapshot(snapshot)) => {
                    tracing::error!(
                        table = %self.id, snapshot = foreign.path,
                        "another writer wrote on a version that was vacuumed: its rows are not \
                         taken over"
                    );
                    return Ok(Some(snapshot));
                }
                Some(Mark::Adopt(path)) => return Ok(Some(self.load(&path).await?)),
                Some(Mark::Ended(_)) | None => break,
            }
            seen += 1;
        }
        Ok(None)
    }

    /// Marks a foreign snapshot as the tip's successor; `false` if there is another one.
    async fn adopt(&self, tip: &Snapshot, foreign: &Snapshot) -> Result<bool> {
        let mark = json!({
            ADOPT: foreign.path,
            "snapshot_version": foreign.version,
            "commit": codec::commit_id(&foreign.document),
        });
        let path = store::layout::successor(&tip.path, tip.version.saturating_add(1));
        let put = self.put_create(&path, mark.to_string().into()).await?;
        Ok(put == PutCreate::Created)
    }

    /// Swings the pointer from `leaf` to `snapshot`; the new leaf, or `None` if it had moved.
    pub(crate) async fn point_to(
        &self,
        leaf: &Leaf,
        snapshot: &Arc<Snapshot>,
        audit: Vec<AuditFields>,
    ) -> Result<Option<Bytes>> {
        self.point_to_and_release(leaf, snapshot, audit, "").await
    }

    /// [`Self::point_to`] that also releases the lock that `token` holds (empty = none).
    pub(crate) async fn point_to_and_release(
        &self,
        leaf: &Leaf,
        snapshot: &Arc<Snapshot>,
        audit: Vec<AuditFields>,
        token: &str,
    ) -> Result<Option<Bytes>> {
        let version = parse_leaf(&leaf.raw)?.version.saturating_add(1);
        let raw = leaf_bytes(version, snapshot);
        let schema = schema::to_document(&snapshot.schema, snapshot.system_columns())?;
        let swap = LeafSwap {
            table: self.id.clone(),
            expected: Some(leaf.raw.clone()),
            new: Some(raw.clone()),
            schema: Some(serde_json::Value::Object(schema).to_string().into()),
            now_ms: now_ms(self.parts.clock.as_ref()),
            bump_root: true,
            audit,
            requires: None,
            removes: None,
        };
        let outcome = match token {
            "" => self.parts.catalog.swap(swap).await?,
            token => self.parts.catalog.swap_and_release(swap, token).await?,
        };
        match outcome {
            SwapOutcome::Swapped { .. } => {
                let entry = (raw.clone(), Arc::clone(snapshot));
                self.parts.caches.leaves.insert(self.id.clone(), entry);
                Ok(Some(raw))
            }
            SwapOutcome::Moved { .. } => Ok(None),
        }
    }
}
