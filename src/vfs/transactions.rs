//! `<super>/.tx/<name>/`: a private branch with `.diff/`, `.test`, `test.log`, `.commit`, `.abort`
//! and `message`. Whoever touches or writes to one of the dot files gets the verdict as the status of
//! that call; `test.log` says the same in words.

use std::fmt::Write as _;
use std::sync::Arc;

use super::gateway::Vfs;
use super::namespace::{Node, TxFile};
use super::slot::Slot;
use super::{Caller, FsError, FsResult};
use crate::error::{Error, ErrorKind};
use crate::lake::{
    At, BranchName, BranchWanted, DropBranch, MergeOutcome, MergeWanted, Rehearsal, SuperId,
    TableId, TableMerge, Way,
};

/// Name of the file with the text for the history.
const MESSAGE: &[u8] = b"message";

impl Vfs {
    /// Begins a transaction: all tables as they are now, for nobody else to change.
    pub(super) async fn begin_transaction(
        &self,
        caller: &Caller,
        main: &SuperId,
        name: Option<&str>,
    ) -> FsResult<SuperId> {
        let name = name.ok_or_else(|| Error::invalid("the name is no text"))?;
        let name = BranchName::transaction(name)?;
        let wanted = BranchWanted { name: &name, at: At::Latest, message: "" };
        Ok(self.lake.create_branch(&self.principal(caller), main, &wanted).await?)
    }

    /// Names of the transactions of a SuperTable, with their nodes.
    pub(super) async fn transactions(&self, main: &SuperId) -> FsResult<Vec<(String, Node)>> {
        let all = self.lake.branches_with_transactions(main).await?;
        let named = all.iter().filter_map(|branch| {
            let name = branch.as_transaction()?.to_owned();
            Some((name, Node::Super(main.on_branch(branch).ok()?)))
        });
        Ok(named.collect())
    }

    /// A transaction by its name.
    pub(super) async fn transaction(&self, main: &SuperId, name: &str) -> FsResult<Option<Node>> {
        let Ok(branch) = BranchName::transaction(name) else { return Ok(None) };
        let id = main.on_branch(&branch)?;
        Ok(self.lake.has_super(&id).await?.then_some(Node::Super(id)))
    }

    /// Does what touching or writing to one of the files of a transaction means.
    pub(super) async fn transact(
        &self,
        caller: &Caller,
        id: &SuperId,
        file: TxFile,
    ) -> FsResult<()> {
        self.check_writable(caller)?;
        // The log tells of this moment, whenever it was read before.
        self.generated_changed();
        match file {
            TxFile::Log => Err(FsError::new(ErrorKind::Denied, "this file is made by the gateway")),
            TxFile::Test => {
                self.save_all(id).await?;
                verdict(&self.rehearse(caller, id).await?)
            }
            TxFile::Commit => {
                self.save_all(id).await?;
                verdict(&self.rehearse(caller, id).await?)?;
                let message = self.message_of(caller, id).await?;
                let done = self.merge(caller, id, Rehearsal::No, &message).await?;
                // Somebody may have committed between the rehearsal and the merge.
                verdict(&done)?;
                self.end_transaction(caller, id).await
            }
            TxFile::Abort => {
                for slot in self.slots_of(id) {
                    slot.state().edits.clear();
                }
                self.end_transaction(caller, id).await
            }
        }
    }

    async fn save_all(&self, id: &SuperId) -> FsResult<()> {
        for slot in self.slots_of(id) {
            self.finish_displaced(&slot, super::timer::Urgency::Now).await?;
            let _changing = slot.changing.lock().await;
            self.flush_all(&slot).await?;
        }
        Ok(())
    }

    async fn rehearse(&self, caller: &Caller, id: &SuperId) -> FsResult<Vec<TableMerge>> {
        self.merge(caller, id, Rehearsal::Yes, "").await
    }

    async fn merge(
        &self,
        caller: &Caller,
        branch: &SuperId,
        rehearsal: Rehearsal,
        message: &str,
    ) -> FsResult<Vec<TableMerge>> {
        let wanted = MergeWanted { branch, way: Way::ToMain, table: None, message, rehearsal };
        let mut merged = self.lake.merge(&self.principal(caller), &wanted).await?;
        merged.retain(|table| table.outcome != MergeOutcome::Unchanged);
        if rehearsal == Rehearsal::No {
            self.directory_changed(self.inodes.number(&Node::Super(branch.main())));
        }
        Ok(merged)
    }

    async fn message_of(&self, caller: &Caller, id: &SuperId) -> FsResult<String> {
        let dir = self.inodes.number(&Node::Super(id.clone()));
        let Some(file) = self.scratch.child(dir, MESSAGE) else { return Ok(String::new()) };
        let text = self.scratch_text(caller, file, &self.scratch.file(file)?).await?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    async fn end_transaction(&self, caller: &Caller, id: &SuperId) -> FsResult<()> {
        let slots: Vec<Arc<Slot>> = self.slots_of(id);
        self.lake.drop_branch(&self.principal(caller), id, DropBranch::Anyway).await?;
        for slot in slots {
            self.forget(&slot);
        }
        let dir = self.inodes.number(&Node::Super(id.clone()));
        for (name, _) in self.scratch.children(dir) {
            self.scratch.remove_name(dir, &name)?;
        }
        self.directory_changed(self.inodes.number(&Node::Transactions(id.main())));
        Ok(())
    }

    /// What a commit would do, in words.
    pub(super) async fn test_log(&self, caller: &Caller, id: &SuperId) -> FsResult<Vec<u8>> {
        let tried = self.rehearse(caller, id).await?;
        let mut text = String::new();
        for table in &tried {
            let (name, counts) = (&table.table, table.counts);
            let outcome = match table.outcome {
                MergeOutcome::Unchanged => continue,
                MergeOutcome::Merged => "would be changed",
                MergeOutcome::Created => "would be made",
                MergeOutcome::Dropped => "would be dropped",
                MergeOutcome::Conflict => "was changed by others in the same places",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{name} {outcome}: {} rows added, {} changed, {} removed",
                counts.inserted, counts.updated, counts.deleted
            );
            for conflict in &table.conflicts {
                let value = |text: &Option<String>| text.clone().unwrap_or_default();
                let _ = writeln!(
                    text,
                    "  row {}, column {}: was {}, is {}, would be {}",
                    conflict.key,
                    conflict.column,
                    value(&conflict.base),
                    value(&conflict.ours),
                    value(&conflict.theirs)
                );
            }
        }
        text.push_str(match verdict(&tried) {
            _ if tried.is_empty() => "nothing was changed\n",
            Ok(()) => "ok: touch .commit\n",
            Err(error) if error.kind() == Some(ErrorKind::Unsupported) => MANY_TABLES,
            Err(_) => "conflict: take the others' rows over, or touch .abort\n",
        });
        Ok(text.into_bytes())
    }

    /// What the transaction changed in a table.
    pub(super) async fn transaction_diff(
        &self,
        caller: &Caller,
        table: &TableId,
    ) -> FsResult<Vec<u8>> {
        let who = self.principal(caller);
        let new = self.lake.latest(&who, table).await?;
        let old = match self.lake.fork_of(&who, &new).await? {
            Some(fork) => fork,
            // It was made in the transaction.
            None => self.lake.snapshot(&who, table, At::Version(0)).await?,
        };
        self.diff_of(&who, [&old, &new]).await
    }
}

/// What `test.log` says where more than one table was changed.
const MANY_TABLES: &str = "more than one table was changed, and a commit is of one: merge table by \
                           table, `mountable merge ORG/SUPER/TABLE tx.NAME`, then touch .abort\n";

/// Whether a commit may be.
fn verdict(merged: &[TableMerge]) -> FsResult<()> {
    if merged.iter().any(|table| table.outcome == MergeOutcome::Conflict) {
        let what = "others changed the same rows: see test.log";
        return Err(FsError::new(ErrorKind::Conflict, what));
    }
    if merged.len() > 1 {
        let what = "a transaction commits one table: see test.log";
        return Err(FsError::new(ErrorKind::Unsupported, what));
    }
    Ok(())
}
