//! Which snapshot the author of a whole new text had read.
//!
//! A text that arrives by rename, or under a name that was moved away, carries no handle of the
//! table. Its base is the newest snapshot that this client has read or committed itself: a client
//! reads its own saves from its cache, so no READ need have come since. Two programs on one
//! client machine are one author here, as they are on a local disk; between clients nothing is
//! undone, because each has its own base.

use std::sync::Arc;

use super::gateway::Vfs;
use super::slot::Slot;
use super::{Caller, FsResult};
use crate::error::ErrorKind;
use crate::lake::CsvView;

impl Vfs {
    /// The snapshot that a text is compared with; `None` = the table is new.
    pub(super) async fn author_base(
        &self,
        caller: &Caller,
        slot: &Slot,
    ) -> FsResult<Option<Arc<CsvView>>> {
        let displaced = slot.state().displaced.as_ref().map(|displaced| displaced.version);
        let newest = match displaced {
            Some(version) => version,
            None => match self.latest(caller, &slot.table).await {
                Ok(latest) => latest.version,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        let seen = slot.state().seen(&caller.client, newest);
        Ok(Some(self.view_at(caller, slot, seen.unwrap_or(newest)).await?))
    }
}
