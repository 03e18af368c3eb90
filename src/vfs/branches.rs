//! `<super>/.branches/`: `mkdir` makes a branch, `rmdir` drops one that was merged.

use std::sync::Arc;

use super::gateway::Vfs;
use super::namespace::{Node, SuperChild, branch_of, super_child};
use super::{Caller, FsError, FsResult};
use crate::error::{Error, Result};
use crate::lake::{
    At, BranchName, BranchWanted, DropBranch, Page, Principal, Snapshot, SuperId, TableId,
};

impl Vfs {
    /// A name in `.branches/`, `.tx/` or the `.diff/` of a transaction.
    pub(super) async fn branch_child(
        &self,
        caller: &Caller,
        dir: &Node,
        name: &str,
    ) -> FsResult<Option<Node>> {
        Ok(match dir {
            Node::Branches(main) => match branch_of(main, name.as_bytes()) {
                Some(id) if self.lake.has_super(&id).await? => Some(Node::Super(id)),
                _ => None,
            },
            Node::Transactions(main) => self.transaction(main, name).await?,
            Node::TxDiff(id) => match super_child(name.as_bytes()) {
                SuperChild::Table(simple) => {
                    let table = id.table(simple);
                    self.exists(caller, &table).await?.then_some(Node::TxDiffFile(table))
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// The names in `.branches/`, `.tx/` or the `.diff/` of a transaction.
    pub(super) async fn branch_names(&self, dir: &Node) -> FsResult<Vec<(String, Node)>> {
        Ok(match dir {
            Node::Branches(main) => {
                let branches = self.lake.branches(main).await?.into_iter();
                let node = |name: String| {
                    let id = branch_of(main, name.as_bytes())?;
                    Some((name, Node::Super(id)))
                };
                branches.filter_map(|branch| node(branch.name)).collect()
            }
            Node::Transactions(main) => self.transactions(main).await?,
            Node::TxDiff(id) => {
                let listing = self.lake.listing(id, Page::First).await?;
                let changed = |snapshot: &&Arc<Snapshot>| snapshot.fork() != Some(&snapshot.path);
                let tables = listing.tables.iter().filter(changed).map(|s| s.table.clone());
                let file = |id: TableId| (format!("{}.csv", id.simple_name), Node::TxDiffFile(id));
                tables.map(file).collect()
            }
            _ => Vec::new(),
        })
    }

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
    pub(super) async fn remove_branch(
        &self,
        who: &Principal,
        id: &SuperId,
    ) -> FsResult<Result<()>> {
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
