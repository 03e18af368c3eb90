//! Tables that are away from their names, and what is remembered of that over a restart.
//!
//! An editor that has moved the old file aside goes on with its save after an outage as if there
//! had been none; a removal that was acknowledged stays one.

use serde::{Deserialize, Serialize};

use super::gateway::Vfs;
use super::recover::earlier_caller;
use super::shown::ShownLine;
use super::slot::{Displaced, Slot};
use super::{Caller, FileTime};
use crate::error::{ErrorKind, Result};
use crate::lake::{At, Snapshot, TableId};

/// A displaced table as it is written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Away {
    version: u64,
    /// Object path of the version's snapshot: a table that was made anew under the name has
    /// another.
    path: String,
    client: String,
    uid: u32,
    gid: u32,
    drops: bool,
}

/// The time shown for a version, where it is not the commit's.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct ShownTime {
    version: u64,
    seconds: u32,
    nanos: u32,
}

impl Vfs {
    /// Takes a table off its name for a while; nothing comes back means a drop if `drops`.
    pub(super) fn displace_table(
        &self,
        slot: &Slot,
        snapshot: &Snapshot,
        caller: &Caller,
        drops: bool,
    ) {
        let away = Away {
            version: snapshot.version,
            path: snapshot.path.clone(),
            client: caller.client.to_string(),
            uid: caller.uid,
            gid: caller.gid,
            drops,
        };
        self.shown_log.record(&ShownLine { away: Some(away), ..ShownLine::new(slot) });
        slot.state().displaced = Some(Displaced {
            version: snapshot.version,
            since_ns: self.clock.monotonic_ns(),
            caller: caller.clone(),
            drops,
        });
        self.mark_pending(&slot.table);
    }

    /// Notes that something stands under the name again.
    pub(super) fn replaced(&self, slot: &Slot) {
        if slot.state().displaced.take().is_some() {
            self.shown_log.record(&ShownLine { back: true, ..ShownLine::new(slot) });
        }
    }

    /// Shows `time` as the modification time of a version, also after a restart.
    pub(super) fn show_time(&self, slot: &Slot, version: u64, time: FileTime) {
        slot.state().mtime = Some((version, time));
        let mtime = ShownTime { version, seconds: time.seconds, nanos: time.nanos };
        self.shown_log.record(&ShownLine { mtime: Some(mtime), ..ShownLine::new(slot) });
    }

    /// Takes over a displacement of an earlier process; its grace time begins anew.
    pub(super) async fn recover_away(&self, table: &TableId, away: &Away) -> Result<()> {
        let slot = self.slot(table);
        let caller = earlier_caller(&away.client, away.uid, away.gid);
        let who = self.principal(&caller);
        let there = match self.lake.snapshot(&who, table, At::Version(away.version)).await {
            Ok(snapshot) => Some(snapshot),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let latest = match self.lake.latest(&who, table).await {
            Ok(latest) => Some(latest.version),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A save that had no time to say so stands under the name, or the drop was done.
        let same =
            there.filter(|snapshot| snapshot.path == away.path && latest == Some(snapshot.version));
        match same {
            Some(snapshot) => self.displace_table(&slot, &snapshot, &caller, away.drops),
            None => self.shown_log.record(&ShownLine { back: true, ..ShownLine::new(&slot) }),
        }
        Ok(())
    }

    /// Takes over the times that an earlier process showed.
    pub(super) fn recover_time(&self, table: &TableId, time: ShownTime) {
        let shown = FileTime { seconds: time.seconds, nanos: time.nanos };
        self.slot(table).state().mtime = Some((time.version, shown));
    }
}
