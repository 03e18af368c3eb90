//! New files that hold nothing yet (`touch n.csv`): a name without a table behind it.
//!
//! They become a table with their first content. Until then they can be renamed and removed like
//! other files, and go like scratch if nobody uses them.

use std::sync::Arc;

use super::gateway::Vfs;
use super::namespace::Node;
use super::slot::{Edit, EditKey, Slot};
use super::{Caller, FsError, FsResult};
use crate::error::{Error, ErrorKind};
use std::sync::PoisonError;

impl Vfs {
    /// Renames a file that holds nothing yet.
    ///
    /// # Errors
    /// `Invalid` if a table stands under the new name: it would lose its header.
    pub(super) async fn move_empty(
        &self,
        caller: &Caller,
        from: &Arc<Slot>,
        to: &Arc<Slot>,
        key: &EditKey,
    ) -> FsResult<()> {
        match self.table_handle(caller, to).await {
            Ok(_) => {
                return Err(FsError::Lake(Error::invalid("an empty file has no header line")));
            }
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let _from = from.changing.lock().await;
        let edit = from.state().edits.get(key).cloned();
        let Some(mut edit) = edit.filter(is_empty) else { return Err(FsError::not_found()) };
        if to.state().displaced.is_some() {
            // The table was put aside a moment ago; what comes is compared with it.
            edit.against = self.author_base(caller, to).await?;
        }
        self.begin_edit(to, key, edit)?;
        to.state().births.insert(key.version, Arc::clone(&key.client));
        let mut state = from.state();
        state.edits.remove(key);
        state.births.remove(&key.version);
        drop(state);
        self.inodes.rebind(&Node::Table(from.table.clone()), &Node::Table(to.table.clone()));
        self.table_directory_changed(&from.table);
        self.table_directory_changed(&to.table);
        Ok(())
    }

    /// Forgets new files that never got content and that nobody used for as long as scratch is
    /// kept.
    pub(super) fn forget_empty(&self) {
        let unused = u64::try_from(self.settings.timing.scratch.as_nanos()).unwrap_or(u64::MAX);
        let before_ns = self.clock.monotonic_ns().saturating_sub(unused);
        for slot in self.pending_slots() {
            let mut state = slot.state();
            let idle = |(key, edit): (&EditKey, &Edit)| {
                let old = Slot::is_birth(key) && edit.written_ns < before_ns && is_empty(edit);
                old.then(|| key.clone())
            };
            let idle: Vec<EditKey> = state.edits.iter().filter_map(idle).collect();
            for key in &idle {
                state.edits.remove(key);
                state.births.remove(&key.version);
            }
            drop(state);
            if !idle.is_empty() {
                self.table_directory_changed(&slot.table);
            }
        }
    }
}

fn is_empty(edit: &Edit) -> bool {
    edit.against.is_none() && edit.file.lock().unwrap_or_else(PoisonError::into_inner).size() == 0
}

impl Slot {
    /// A client's new file under this name that holds nothing yet.
    pub(super) fn empty_birth(&self, client: &Arc<str>) -> Option<EditKey> {
        let state = self.state();
        let (key, edit) = state.visible_edit(client)?;
        (Self::is_birth(&key) && state.displaced.is_none() && is_empty(&edit)).then_some(key)
    }
}
