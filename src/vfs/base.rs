//! Which snapshot the author of a whole new text had read.
//!
//! A text that arrives by rename carries no handle of the table, so its base is what this client
//! read last. A program that keeps the text in memory saves again without reading, so what the
//! client itself committed since is a candidate too; of the two, the text's base is the one that
//! it differs from in fewer rows. Taking too new a base would silently undo another writer's
//! commit; taking too old a one would only refuse.

use std::sync::Arc;

use super::gateway::Vfs;
use super::plan::record_end;
use super::slot::Slot;
use super::text::{BlockingText, Frozen, SameBase};
use super::{Caller, FsError, FsResult};
use crate::csv;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::CsvView;

impl Vfs {
    /// The snapshot that a text is compared with; `None` = the table is new.
    pub(super) async fn author_base(
        &self,
        caller: &Caller,
        slot: &Slot,
        text: &Frozen,
    ) -> FsResult<Option<Arc<CsvView>>> {
        let displaced = slot.state().displaced.as_ref().map(|displaced| displaced.version);
        let newest = match (displaced, self.latest(caller, &slot.table).await) {
            (Some(version), _) => version,
            (None, Ok(latest)) => latest.version,
            (None, Err(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
            (None, Err(error)) => return Err(error.into()),
        };
        let (read, own) = {
            let state = slot.state();
            let known = |version: Option<&u64>| version.copied().filter(|v| *v <= newest);
            (known(state.read.get(&caller.client)), known(state.own.get(&caller.client)))
        };
        let version = match (read, own) {
            (None, None) => newest,
            (Some(read), Some(own)) if own > read => {
                let older = self.view_at(caller, slot, read).await?;
                let newer = self.view_at(caller, slot, own).await?;
                return Ok(Some(nearer(text, older, newer).await?));
            }
            (Some(read), _) => read,
            (None, Some(own)) => own,
        };
        Ok(Some(self.view_at(caller, slot, version).await?))
    }
}

/// The view that `text` differs from in fewer rows. A text that is exactly the older one is an
/// undo of what came since, which differs from the newer one.
async fn nearer(text: &Frozen, older: Arc<CsvView>, newer: Arc<CsvView>) -> FsResult<Arc<CsvView>> {
    let from_older = changed_rows(text, &older).await?;
    if from_older == Some(0) {
        return Ok(newer);
    }
    let from_newer = changed_rows(text, &newer).await?;
    match (from_older, from_newer) {
        (Some(old), Some(new)) if old < new => Ok(older),
        _ => Ok(newer),
    }
}

/// Number of rows in which a text differs from a view; `None` if the header lines differ.
async fn changed_rows(text: &Frozen, view: &Arc<CsvView>) -> FsResult<Option<u64>> {
    let header = u64::try_from(view.header().len()).unwrap_or(u64::MAX);
    let first = text.read_all(0..header).await?;
    if first != view.header()[..] || record_end(&first).is_none() {
        return Ok(None);
    }
    let mut base = BlockingText::view(Arc::clone(view));
    let mut edited = BlockingText::staged(text.clone(), SameBase::No);
    let counted = tokio::task::spawn_blocking(move || -> Result<u64> {
        let mut rows = 0_u64;
        csv::diff(&mut base, header, &mut edited, header, &mut |hunk| {
            rows = rows.saturating_add(hunk.base_records.max(hunk.edited_records));
            Ok(())
        })?;
        Ok(rows)
    })
    .await
    .map_err(|error| FsError::Lake(Error::internal("compare two texts").caused_by(error)))?;
    Ok(Some(counted?))
}
