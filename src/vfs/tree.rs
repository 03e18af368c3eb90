//! Names and attributes: look-up, access.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attr::{self, FSID_REPEATED};
use super::gateway::Vfs;
use super::namespace::{
    AboutFile, GatewayFile, NAME_BYTES_MAX, Node, SuperChild, super_child, super_of,
    transaction_child,
};
use super::permit;
use super::slot::Slot;
use super::{Attr, Caller, Entry, FileKind, FsError, FsResult, Handle, access};
use crate::error::{Error, ErrorKind};
use crate::lake::{At, OrgName, Reference, Snapshot, SuperId, TableId};

impl Vfs {
    /// What a client gets for a node that is no table.
    pub(super) async fn entry(&self, caller: &Caller, node: &Node) -> FsResult<Entry> {
        if let Node::Derived(derived) = node {
            return Box::pin(self.derived_entry(caller, derived)).await;
        }
        let handle = self.handle(node);
        let attr = self.node_attr(caller, handle, node).await?;
        Ok(Entry { handle, attr })
    }

    pub(super) async fn table_entry(&self, caller: &Caller, slot: &Slot) -> FsResult<Entry> {
        let (handle, shown) = self.table_handle(caller, slot).await?;
        let attr = self.attr_of(slot, handle.inode, &shown).await?;
        Ok(Entry { handle, attr })
    }

    /// Attributes of any node.
    pub(super) async fn node_attr(
        &self,
        caller: &Caller,
        handle: Handle,
        node: &Node,
    ) -> FsResult<Attr> {
        let writable = !self.settings.read_only;
        let inode = handle.inode;
        match node {
            Node::Table(table) => {
                let slot = self.slot(table);
                self.table_attr(caller, &slot, handle).await
            }
            Node::Scratch(id) => self.scratch_attr(caller, *id, inode).await,
            Node::Derived(derived) => {
                Box::pin(self.check_newest(caller, handle, derived)).await?;
                Box::pin(self.derived_attr(caller, handle, derived)).await
            }
            Node::Super(id) => {
                let changed = self.lake.super_seen_ms(id).await?;
                let changed = changed.ok_or(FsError::Stale)?;
                let time = self.directory_time(inode).max(attr::time_of_ms(changed));
                Ok(attr::directory(self.owner, inode, writable, time))
            }
            Node::AtFile(table, version) => {
                let who = self.principal(caller);
                let snapshot = self.lake.snapshot(&who, table, At::Version(*version)).await?;
                let mut attr = self.snapshot_attr(None, inode, &snapshot).await?;
                attr.mode = 0o444;
                attr.fsid = FSID_REPEATED;
                Ok(attr)
            }
            Node::TrashFile(id, name) => {
                let snapshot = self.lake.trashed(&self.principal(caller), id, name).await?;
                // The same file system as the tables: `mv .trash/x.csv .` has to be a rename.
                let mut attr = self.snapshot_attr(None, inode, &snapshot).await?;
                attr.mode = 0o444;
                Ok(attr)
            }
            Node::About(table) => {
                let snapshot = self.latest(caller, table).await?;
                Ok(self.about_attr(inode, &snapshot))
            }
            node if node.is_directory() == Some(true) => {
                let mut attr =
                    attr::directory(self.owner, inode, writable, self.directory_time(inode));
                if matches!(node, Node::TxDiff(_)) {
                    attr.mode = 0o555;
                }
                // Branches are of the same file system: a client does not remove a directory where
                // it crosses from one to another.
                if matches!(node, Node::At(_) | Node::AtVersion(..) | Node::Diff(_)) {
                    attr.mode = 0o555;
                    attr.fsid = FSID_REPEATED;
                }
                Ok(attr)
            }
            node => self.generated_attr(caller, inode, node).await,
        }
    }

    /// Attributes of the directory about a table.
    pub(super) fn about_attr(&self, inode: u64, snapshot: &Snapshot) -> Attr {
        let time = attr::time_of_ms(snapshot.committed_ms).max(self.directory_time(inode));
        attr::directory(self.owner, inode, false, time)
    }

    async fn scratch_attr(&self, caller: &Caller, id: u64, inode: u64) -> FsResult<Attr> {
        let meta = self.scratch.meta(id).ok_or(FsError::Stale)?;
        if let Some((slot, handle)) = self.became(&meta, inode) {
            let mut attr = self.table_attr(caller, &slot, handle).await?;
            attr.inode = inode;
            return Ok(attr);
        }
        self.scratch.attr(id, inode).ok_or(FsError::Stale)
    }

    /// The table that a scratch file was renamed onto.
    pub(super) fn became(
        &self,
        meta: &super::scratch::ScratchMeta,
        _inode: u64,
    ) -> Option<(Arc<Slot>, Handle)> {
        let became = meta.became.as_ref()?;
        let table = TableId::parse(&became.table).ok()?;
        let inode = self.inodes.number(&Node::Table(table.clone()));
        Some((self.slot(&table), Handle { inode, version: became.version }))
    }

    pub(super) async fn find(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        if name.len() > NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        let node = self.node(dir)?;
        if name == b"." {
            return self.entry(caller, &node).await;
        }
        if name == b".." {
            let parent = self.parent(&node)?;
            return self.entry(caller, &parent).await;
        }
        self.check_search(caller, &node)?;
        if let Some(id) = self.scratch.child(dir.inode, name) {
            return self.entry(caller, &Node::Scratch(id)).await;
        }
        if let Node::Super(id) = &node
            && let SuperChild::Table(simple) = super_child(name)
        {
            let slot = self.slot(&id.table(simple));
            match self.table_entry(caller, &slot).await {
                Err(FsError::Lake(error))
                    if error.kind() == ErrorKind::NotFound && name == b"errors.csv" => {}
                Ok(entry) => {
                    // A client that has to look the name up opens the file without more asking.
                    self.reopened(caller, &slot, entry.handle);
                    return Ok(entry);
                }
                Err(error) => return Err(error),
            }
        }
        let child = self.child(caller, &node, name).await?.ok_or_else(FsError::not_found)?;
        self.entry(caller, &child).await
    }

    /// The directory above a node.
    pub(super) fn parent(&self, node: &Node) -> FsResult<Node> {
        match node {
            Node::Scratch(id) => {
                let meta = self.scratch.meta(*id).ok_or(FsError::Stale)?;
                let (dir, _) = meta.names.first().ok_or(FsError::Stale)?;
                self.inodes.node(*dir).ok_or(FsError::Stale)
            }
            node => node.parent().ok_or(FsError::Stale),
        }
    }

    /// A lake child that is no table; `None` if there is no such name.
    async fn child(&self, caller: &Caller, dir: &Node, name: &[u8]) -> FsResult<Option<Node>> {
        let Ok(text) = std::str::from_utf8(name) else { return Ok(None) };
        if let Some(derived) = Box::pin(self.derived_child(caller, dir, text)).await? {
            return Ok(Some(derived));
        }
        Ok(match dir {
            Node::Root => match text {
                "README.txt" => Some(Node::Readme),
                ".control" => Some(Node::Control),
                ".mountable" => Some(Node::Gateway),
                _ => match OrgName::new(text) {
                    Ok(org) if self.in_scope(&org, None) => {
                        let exists = self.lake.organizations().await?.contains(&org);
                        exists.then_some(Node::Org(org))
                    }
                    _ => None,
                },
            },
            Node::Gateway => {
                let file = GatewayFile::ALL.into_iter().find(|file| file.name() == text);
                file.map(Node::GatewayFile)
            }
            Node::Org(org) => match super_of(org, name) {
                Some(id) if self.in_scope(org, Some(&id)) => {
                    self.lake.super_changed_ms(&id).await?.map(|_| Node::Super(id))
                }
                _ => None,
            },
            Node::Super(id) => self.in_super(caller, id, text).await?,
            Node::Branches(_) | Node::Transactions(_) | Node::TxDiff(_) => {
                self.branch_child(caller, dir, text).await?
            }
            Node::About(table) => self.about_child(table, text),
            Node::At(table) => self.at_child(caller, table, text).await?,
            Node::AtVersion(table, version) => {
                let file = format!("{}.csv", table.simple_name);
                (text == file).then(|| Node::AtFile(table.clone(), *version))
            }
            Node::Diff(table) => self.diff_child(caller, table, text).await?,
            Node::Rejected(table) => {
                let attempt = text.strip_suffix(".csv");
                let attempt = attempt.filter(|name| self.rejected(table).contains_key(*name));
                attempt.map(|name| Node::RejectedFile(table.clone(), name.to_owned()))
            }
            Node::Trash(id) => {
                let stem = text.strip_suffix(".csv").unwrap_or(text);
                let found = self.lake.trash(id).await?.into_iter().find(|name| name == stem);
                found.map(|name| Node::TrashFile(id.clone(), name))
            }
            _ => None,
        })
    }

    /// A name in a SuperTable that is no table.
    async fn in_super(&self, caller: &Caller, id: &SuperId, name: &str) -> FsResult<Option<Node>> {
        if let Some(node) = transaction_child(id, name) {
            return Ok(Some(node));
        }
        Ok(match super_child(name.as_bytes()) {
            _ if name == "errors.csv" => {
                let refused = !self.lake.super_refusals(id, 1).await?.is_empty();
                refused.then(|| Node::SuperErrors(id.clone()))
            }
            SuperChild::Trash => Some(Node::Trash(id.clone())),
            SuperChild::Branches if id.branch().is_none() => Some(Node::Branches(id.clone())),
            SuperChild::Transactions if id.branch().is_none() => {
                Some(Node::Transactions(id.clone()))
            }
            SuperChild::About(simple) => {
                let table = id.table(simple);
                self.exists(caller, &table).await?.then_some(Node::About(table))
            }
            _ => None,
        })
    }

    fn about_child(&self, table: &TableId, name: &str) -> Option<Node> {
        match name {
            "rejected" => Some(Node::Rejected(table.clone())),
            ".at" => Some(Node::At(table.clone())),
            ".diff" => Some(Node::Diff(table.clone())),
            name => {
                let file = AboutFile::ALL.into_iter().find(|file| file.name() == name)?;
                Some(Node::AboutFile(table.clone(), file))
            }
        }
    }

    async fn at_child(
        &self,
        caller: &Caller,
        table: &TableId,
        name: &str,
    ) -> FsResult<Option<Node>> {
        let Ok(reference) = Reference::parse(name) else { return Ok(None) };
        match self.lake.resolve(&self.principal(caller), table, reference).await {
            Ok(snapshot) => Ok(Some(Node::AtVersion(table.clone(), snapshot.version))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `<a>..<b>.csv`; a side that is left out is the newest version.
    async fn diff_child(
        &self,
        caller: &Caller,
        table: &TableId,
        name: &str,
    ) -> FsResult<Option<Node>> {
        let sides = name.strip_suffix(".csv").and_then(|stem| stem.split_once(".."));
        let Some((old, new)) = sides else { return Ok(None) };
        let mut versions = [0; 2];
        for (side, version) in [old, new].into_iter().zip(&mut versions) {
            let reference = match side {
                "" => Ok(Reference::NEWEST),
                side => Reference::parse(side),
            };
            let Ok(reference) = reference else { return Ok(None) };
            match self.lake.resolve(&self.principal(caller), table, reference).await {
                Ok(snapshot) => *version = snapshot.version,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let [old, new] = versions;
        Ok(Some(Node::DiffFile(table.clone(), old, new)))
    }

    /// Whether a table exists in the lake.
    pub(super) async fn exists(&self, caller: &Caller, table: &TableId) -> FsResult<bool> {
        match self.latest(caller, table).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `--org` and `--super` let a name be seen.
    pub(super) fn in_scope(&self, org: &OrgName, id: Option<&SuperId>) -> bool {
        let settings = &self.settings;
        let org_fits = settings.organization.as_ref().is_none_or(|only| only == org.as_str());
        let super_fits = match (&settings.super_name, id) {
            (Some(only), Some(id)) => only == id.super_name.as_str(),
            _ => true,
        };
        org_fits && super_fits
    }

    /// Names of the refused texts of a table and their sizes.
    pub(super) fn rejected(&self, table: &TableId) -> BTreeMap<String, u64> {
        let Ok(files) = std::fs::read_dir(self.rejected_directory(table)) else {
            return BTreeMap::new();
        };
        files
            .filter_map(|file| {
                let file = file.ok()?;
                let name = file.file_name().into_string().ok()?;
                let stem = name.strip_suffix(".csv")?.to_owned();
                Some((stem, file.metadata().ok()?.len()))
            })
            .collect()
    }

    pub(super) async fn access_of(
        &self,
        caller: &Caller,
        handle: Handle,
        asked: u32,
    ) -> FsResult<u32> {
        let node = self.node(handle)?;
        let attr = self.node_attr(caller, handle, &node).await?;
        if let Node::Scratch(id) = node
            && let Some(meta) = self.scratch.meta(id)
            && meta.became.is_none()
        {
            let writable = self.check_writable(caller).is_ok();
            return Ok(permit::access_bits(caller, &meta, writable) & asked);
        }
        let mut granted = access::READ;
        if attr.kind == FileKind::Directory {
            granted |= access::LOOKUP | access::EXECUTE;
        } else if attr.mode & 0o111 != 0 {
            granted |= access::EXECUTE;
        }
        if attr.mode & 0o222 != 0 && self.check_writable(caller).is_ok() {
            granted |= access::MODIFY | access::EXTEND;
            if attr.kind == FileKind::Directory {
                granted |= access::DELETE;
            }
        }
        Ok(granted & asked)
    }

    /// Notes that the directory of a table changed.
    pub(super) fn table_directory_changed(&self, table: &TableId) {
        self.directory_changed(self.inodes.number(&Node::Super(table.super_id())));
    }
}

impl From<FsError> for Error {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Lake(error) => error,
            other => Self::new(ErrorKind::Internal, other.to_string()),
        }
    }
}
