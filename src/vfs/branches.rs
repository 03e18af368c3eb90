//! `<super>/.branches/`: `mkdir` makes a branch, `rmdir` drops one that was merged.

use super::gateway::Vfs;
use super::{FsError, FsResult};
use crate::error::{Error, Result};
use crate::lake::{At, BranchName, BranchWanted, DropBranch, Principal, SuperId};

impl Vfs {
    /// Makes a branch of the tables as they were committed last.
    pub(super) async fn make_branch(
        &self,
        who: &Principal,
        main: &SuperId,
        name: Option<&str>,
    ) -> FsResult<SuperId> {
        let name = name.ok_or_else(|| Error::invalid("the name of a branch is no text"))?;
        let name = BranchName::new(name)?;
        if name.as_transaction().is_some() {
            return Err(FsError::Lake(Error::invalid("this name is kept for transactions")));
        }
        let wanted = BranchWanted { name: &name, at: At::Latest, message: "" };
        Ok(self.lake.create_branch(who, main, &wanted).await?)
    }

    /// Drops a branch, if that loses nothing; the inner error says why it would.
    pub(super) async fn remove_branch(&self, who: &Principal, id: &SuperId) -> FsResult<Result<()>> {
        let slots = self.slots_of(id);
        for slot in &slots {
            let _changing = slot.changing.lock().await;
            self.flush_all(slot).await?;
            if !slot.state().edits.is_empty() {
                return Err(FsError::NotEmpty);
            }
        }
        let dropped = self.lake.drop_branch(who, id, DropBranch::IfMerged).await;
        if dropped.is_ok() {
            for slot in &slots {
                self.forget(slot);
            }
        }
        Ok(dropped)
    }
}
