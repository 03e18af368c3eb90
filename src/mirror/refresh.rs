//! Brings a mirror up to a snapshot, from wherever it is.

use std::sync::Arc;

use super::{Content, Mirror, MirrorParts, Pace, Published};
use crate::error::{Error, ErrorKind, Result};
use crate::table::{Snapshot, Table};

/// How often the mirror is looked at anew without having moved on.
const ATTEMPTS: usize = 8;

/// What a refresh did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// Snapshots that were published.
    pub published: u64,
}

/// Lets a mirror show `newest`, and every snapshot on the way there that it keeps versions of.
///
/// # Errors
/// `Busy` if others publish all the time; as [`Mirror::publish`], [`Content::of`].
pub async fn refresh(
    mirror: &dyn Mirror,
    parts: &MirrorParts,
    table: &Table,
    newest: &Arc<Snapshot>,
) -> Result<Refreshed> {
    let mut done = Refreshed::default();
    let (mut before, mut attempts) = (None, 0);
    while attempts < ATTEMPTS {
        let shown = mirror.shown().await?;
        if let Some(shown) = &shown
            && (*shown == newest.path || is_ahead(table, shown, newest).await)
        {
            return Ok(done);
        }
        attempts = if before == shown { attempts.saturating_add(1) } else { 0 };
        before.clone_from(&shown);
        let mut steps = steps(mirror.pace(), table, shown.as_deref(), newest).await?;
        while let Some(path) = steps.pop() {
            let snapshot = match path == newest.path {
                true => Arc::clone(newest),
                false => table.with_all_columns(table.load(&path).await?).await?,
            };
            if snapshot.schema.fields().is_empty() {
                // A table without columns has no form elsewhere; it gets one with its first rows.
                if snapshot.path == newest.path {
                    return Ok(done);
                }
                continue;
            }
            let content = Content::of(parts, table, &snapshot).await?;
            match mirror.publish(&content).await? {
                Published::Done => done.published = done.published.saturating_add(1),
                Published::Moved => break,
            }
        }
    }
    Err(Error::new(ErrorKind::Busy, "others publish in this mirror all the time")
        .with("table", table.id()))
}

/// Whether the snapshot at `shown` came after `newest`: somebody who knew of newer ones was here.
async fn is_ahead(table: &Table, shown: &str, newest: &Snapshot) -> bool {
    // One that cannot be read any more is an old one.
    let Ok(mut at) = table.load(shown).await else { return false };
    while at.version > newest.version {
        match table.before(&at).await {
            Ok(Some(before)) => at = before,
            _ => return false,
        }
    }
    at.path == newest.path
}

/// Paths of the snapshots behind the one that is shown, newest first; only the newest if no way
/// leads there (the mirror is new, the table was dropped and made again, versions in between were
/// vacuumed).
async fn steps(
    pace: Pace,
    table: &Table,
    shown: Option<&str>,
    newest: &Arc<Snapshot>,
) -> Result<Vec<String>> {
    let mut steps = vec![newest.path.clone()];
    let (Pace::EachSnapshot, Some(shown)) = (pace, shown) else { return Ok(steps) };
    let mut at = Arc::clone(newest);
    for _ in 0..table.parts().settings.history_max {
        match table.before(&at).await? {
            Some(before) if before.path == shown => return Ok(steps),
            Some(before) => {
                steps.push(before.path.clone());
                at = before;
            }
            None => break,
        }
    }
    Ok(vec![newest.path.clone()])
}
