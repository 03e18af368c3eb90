//! Listings of directories.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::derived::Derived;
use super::gateway::Vfs;
use super::namespace::{AboutFile, GatewayFile, Node, TxFile, transaction_child};
use super::slot::Slot;
use super::tables::Shown;
use super::{Caller, DirEntry, DirPage, Entry, FileKind, FsError, FsResult, Handle};
use crate::lake::{Page, Snapshot, SuperId};

impl Vfs {
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
