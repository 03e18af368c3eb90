//! Names and attributes: look-up, listing, access.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attr::{self, FSID_REPEATED};
use super::derived::Derived;
use super::gateway::Vfs;
use super::namespace::{
    AboutFile, GatewayFile, NAME_BYTES_MAX, Node, SuperChild, TxFile, super_child, super_of,
    transaction_child,
};
use super::permit;
use super::slot::Slot;
use super::tables::Shown;
use super::{Attr, Caller, DirEntry, DirPage, Entry, FileKind, FsError, FsResult, Handle, access};
use crate::error::{Error, ErrorKind};
use crate::lake::{At, OrgName, Page, Reference, Snapshot, SuperId, TableId};

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
    fn about_attr(&self, inode: u64, snapshot: &Snapshot) -> Attr {
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
    fn in_scope(&self, org: &OrgName, id: Option<&SuperId>) -> bool {
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

    pub(super) async fn list(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        wanted: Attributes,
    ) -> FsResult<DirPage> {
        let node = self.node(dir)?;
        let attr = self.node_attr(caller, dir, &node).await?;
        if attr.kind != FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        self.check_list(caller, &node)?;
        let page = if cookie == 0 { Page::First } else { Page::Later };
        let names = self.names(caller, dir, &node, page).await?;
        let mut entries = Vec::new();
        let mut end = true;
        for (cookie_after, (name, child)) in numbered(names) {
            if cookie_after <= cookie {
                continue;
            }
            if entries.len() >= limit {
                end = false;
                break;
            }
            let entry = match wanted {
                Attributes::None => None,
                Attributes::All => self.listed_entry(caller, &child).await,
            };
            let inode = entry.map_or_else(|| self.listed_inode(&child), |e| e.handle.inode);
            let kind = self.listed_kind(&child);
            entries.push(DirEntry { name, inode, cookie: cookie_after, kind, entry });
        }
        Ok(DirPage { entries, end, attr })
    }

    async fn listed_entry(&self, caller: &Caller, child: &Child) -> Option<Entry> {
        // A name that goes away while it is listed is listed without attributes.
        match child {
            Child::Node(node) => self.entry(caller, node).await.ok(),
            Child::About(snapshot) => {
                let handle = self.handle(&Node::About(snapshot.table.clone()));
                Some(Entry { handle, attr: self.about_attr(handle.inode, snapshot) })
            }
            Child::Table(slot, None) => self.table_entry(caller, slot).await.ok(),
            Child::Table(slot, Some(snapshot)) => {
                let edited = {
                    let state = slot.state();
                    state.visible_edit(&caller.client).is_some()
                        || state.current.contains_key(&caller.client)
                };
                if edited {
                    return self.table_entry(caller, slot).await.ok();
                }
                let inode = self.inodes.number(&Node::Table(slot.table.clone()));
                let handle = Handle { inode, version: snapshot.version };
                let shown = Shown::Snapshot(Arc::clone(snapshot));
                let attr = self.attr_of(slot, inode, &shown).await.ok()?;
                Some(Entry { handle, attr })
            }
        }
    }

    fn listed_kind(&self, child: &Child) -> FileKind {
        match child {
            Child::Node(Node::Scratch(id)) => {
                self.scratch.meta(*id).map_or(FileKind::Regular, |meta| meta.kind.file_kind())
            }
            Child::Node(node) if node.is_directory() == Some(true) => FileKind::Directory,
            Child::About(_) => FileKind::Directory,
            _ => FileKind::Regular,
        }
    }

    fn listed_inode(&self, child: &Child) -> u64 {
        match child {
            Child::Node(node) => self.inodes.number(node),
            Child::Table(slot, _) => self.inodes.number(&Node::Table(slot.table.clone())),
            Child::About(snapshot) => self.inodes.number(&Node::About(snapshot.table.clone())),
        }
    }

    /// The names of a directory: `.`, `..`, the lake's and the scratch ones.
    async fn names(
        &self,
        caller: &Caller,
        dir: Handle,
        node: &Node,
        page: Page,
    ) -> FsResult<Vec<(Vec<u8>, Child)>> {
        let parent = self.parent(node).unwrap_or(Node::Root);
        let mut names: BTreeMap<Vec<u8>, Child> = BTreeMap::new();
        match node {
            Node::Super(id) => self.super_names(id, page, &mut names).await?,
            node => {
                for (name, child) in self.lake_names(caller, node).await? {
                    names.insert(name.into_bytes(), Child::Node(child));
                }
            }
        }
        for (name, id) in self.scratch.children(dir.inode) {
            names.insert(name, Child::Node(Node::Scratch(id)));
        }
        let dots =
            [(b".".to_vec(), Child::Node(node.clone())), (b"..".to_vec(), Child::Node(parent))];
        Ok(dots.into_iter().chain(names).collect())
    }

    /// The lake's names in a directory that is no SuperTable.
    async fn lake_names(&self, caller: &Caller, node: &Node) -> FsResult<Vec<(String, Node)>> {
        Ok(match node {
            Node::Root => {
                let orgs = self.lake.organizations().await?.into_iter();
                let seen = orgs.filter(|org| self.in_scope(org, None));
                let orgs = seen.map(|org| (org.to_string(), Node::Org(org)));
                std::iter::once(("README.txt".to_owned(), Node::Readme)).chain(orgs).collect()
            }
            Node::Gateway => {
                let files = GatewayFile::ALL.into_iter();
                files.map(|file| (file.name().to_owned(), Node::GatewayFile(file))).collect()
            }
            Node::Org(org) => {
                let ids = self.lake.supers(org).await?.into_iter();
                let ids = ids.map(|super_name| SuperId { organization: org.clone(), super_name });
                let seen = ids.filter(|id| self.in_scope(org, Some(id)));
                seen.map(|id| (id.super_name.to_string(), Node::Super(id))).collect()
            }
            Node::About(table) => {
                let files = AboutFile::ALL.into_iter().filter(|file| *file != AboutFile::Changes);
                let files = files
                    .map(|file| (file.name().to_owned(), Node::AboutFile(table.clone(), file)));
                let rejected = ("rejected".to_owned(), Node::Rejected(table.clone()));
                files.chain(std::iter::once(rejected)).collect()
            }
            Node::Rejected(table) => {
                let attempts = self.rejected(table).into_keys();
                let file = |name: String| Node::RejectedFile(table.clone(), name);
                attempts.map(|name| (format!("{name}.csv"), file(name))).collect()
            }
            Node::At(table) => {
                let who = self.principal(caller);
                let limit = self.settings.limits.history_max;
                let history = self.lake.history(&who, table, limit).await?;
                let versions = history.iter().map(|snapshot| snapshot.version);
                versions.map(|v| (v.to_string(), Node::AtVersion(table.clone(), v))).collect()
            }
            Node::AtVersion(table, version) => {
                let file = Node::AtFile(table.clone(), *version);
                vec![(format!("{}.csv", table.simple_name), file)]
            }
            Node::Branches(_) | Node::Transactions(_) | Node::TxDiff(_) => {
                self.branch_names(node).await?
            }
            Node::Derived(Derived::Views(id)) => {
                let names = self.lake.views(&self.principal(caller), id).await?.into_iter();
                let view = |name| Node::Derived(Derived::View(id.clone(), name));
                names.map(|name| (format!("{name}.sql"), view(name))).collect()
            }
            Node::Trash(id) => {
                let names = self.lake.trash(id).await?.into_iter();
                let file = |name: String| Node::TrashFile(id.clone(), name);
                names.map(|name| (format!("{name}.csv"), file(name))).collect()
            }
            _ => Vec::new(),
        })
    }

    async fn super_names(
        &self,
        id: &SuperId,
        page: Page,
        names: &mut BTreeMap<Vec<u8>, Child>,
    ) -> FsResult<()> {
        let listing = self.lake.listing(id, page).await?;
        for snapshot in self.lake.newest_known(&listing.tables) {
            let table = snapshot.table.clone();
            let slot = self.slot(&table);
            if slot.state().displaced.is_some() {
                continue;
            }
            let about = Child::About(Arc::clone(&snapshot));
            names.insert(table.simple_name.to_string().into_bytes(), about);
            let name = format!("{}.csv", table.simple_name).into_bytes();
            names.insert(name, Child::Table(slot, Some(snapshot)));
        }
        for slot in self.slots_of(id) {
            let born = slot.state().edits.keys().any(Slot::is_birth);
            if born {
                let name = format!("{}.csv", slot.table.simple_name).into_bytes();
                names.entry(name).or_insert(Child::Table(slot, None));
            }
        }
        if let Some(log) = transaction_child(id, TxFile::Log.name()) {
            names.entry(TxFile::Log.name().into()).or_insert(Child::Node(log));
        }
        if listing.refused {
            let errors = Child::Node(Node::SuperErrors(id.clone()));
            names.entry(b"errors.csv".to_vec()).or_insert(errors);
        }
        Ok(())
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

/// Whether a listing carries handles and attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// Names only (READDIR).
    None,
    /// All (READDIRPLUS).
    All,
}

/// A name's target in a listing; a table with the snapshot that was fetched with the others.
enum Child {
    Node(Node),
    Table(Arc<Slot>, Option<Arc<Snapshot>>),
    /// The directory about a table.
    About(Arc<Snapshot>),
}

/// Gives each name a cookie that does not depend on the other names, so that a listing goes on
/// in the right place although names came and went: 1 and 2 for the dots, then the hash of the
/// name. Sorted by cookie.
fn numbered<T>(names: Vec<(Vec<u8>, T)>) -> BTreeMap<u64, (Vec<u8>, T)> {
    let mut numbered = BTreeMap::new();
    for (name, child) in names {
        let mut cookie = match name.as_slice() {
            b"." => 1,
            b".." => 2,
            name => {
                let mut first = [0_u8; 8];
                blake3::Hasher::new().update(name).finalize_xof().fill(&mut first);
                // Positive as a signed 64-bit number, for clients that keep it as one.
                (u64::from_le_bytes(first) >> 1).max(3)
            }
        };
        while numbered.contains_key(&cookie) {
            cookie += 1;
        }
        numbered.insert(cookie, (name, child));
    }
    numbered
}

impl From<FsError> for Error {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Lake(error) => error,
            other => Self::new(ErrorKind::Internal, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_do_not_depend_on_the_other_names() {
        let list = |names: &[&str]| {
            let names = names.iter().map(|name| (name.as_bytes().to_vec(), ())).collect();
            numbered(names).into_iter().map(|(c, (n, ()))| (n, c)).collect::<BTreeMap<_, _>>()
        };
        let all = list(&[".", "..", "a", "b", "c"]);
        let fewer = list(&[".", "..", "c"]);
        assert_eq!(all.get(&b"c"[..]), fewer.get(&b"c"[..]));
        assert_eq!(all.get(&b"."[..]), Some(&1));
    }
}
