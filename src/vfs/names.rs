//! Calls that change names: create, make directory, link, remove. Renames are in `rename`.

use std::sync::Arc;

use super::derived::Derived;
use super::gateway::Vfs;
use super::namespace::{NAME_BYTES_MAX, Node, SuperChild, super_child, super_of};
use super::scratch::ScratchKind;
use super::slot::{EditKey, Slot};
use super::staged::StagedFile;
use super::{
    Caller, Changed, CreateMode, Entry, FsError, FsResult, Handle, PreAttr, SetAttr, Special,
};
use crate::error::{Error, ErrorKind};
use crate::lake::{At, CsvView, OrgName};

/// Default mode of a new file or directory.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Checks a name that is to be made, changed or removed.
pub(super) fn check_name(name: &[u8]) -> FsResult<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0)
    {
        return Err(FsError::Lake(Error::invalid("this name cannot be changed")));
    }
    Ok(())
}

/// A directory that a user would take for an organization or a SuperTable must be one; hidden
/// names (`.Trash-1000`, `.git`) are scratch.
fn refuse_visible(name: &[u8]) -> FsResult<()> {
    if name.starts_with(b".") {
        return Ok(());
    }
    Err(FsError::Lake(Error::invalid(
        "name not allowed: use lower-case letters, digits, _ and -, beginning with a letter or \
         digit",
    )))
}

impl Vfs {
    /// Runs a change of a directory and reports its attributes before and after.
    pub(super) async fn in_directory<T>(
        &self,
        caller: &Caller,
        dir: Handle,
        change: impl Future<Output = FsResult<T>>,
    ) -> Changed<T> {
        let before = self.directory_attr(caller, dir).await;
        let result = change.await;
        if result.is_ok() {
            self.directory_changed(dir.inode);
        }
        let after = self.directory_attr(caller, dir).await;
        Changed { before: before.as_ref().map(PreAttr::from), after, result }
    }

    pub(super) async fn directory_attr(&self, caller: &Caller, dir: Handle) -> Option<super::Attr> {
        let node = self.node(dir).ok()?;
        self.node_attr(caller, dir, &node).await.ok()
    }

    /// The directory's node, if names in it may be changed.
    pub(super) fn writable_directory(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
    ) -> FsResult<Node> {
        self.check_writable(caller)?;
        check_name(name)?;
        let node = self.node(dir)?;
        match &node {
            Node::Scratch(id) => match self.scratch.meta(*id) {
                Some(meta) if meta.kind.is_directory() => {
                    self.check_search(caller, &node)?;
                    Ok(node)
                }
                Some(_) => Err(FsError::NotDirectory),
                None => Err(FsError::Stale),
            },
            node if node.is_directory() == Some(false) => Err(FsError::NotDirectory),
            Node::Derived(Derived::Views(_)) => Ok(node),
            Node::At(_)
            | Node::AtVersion(..)
            | Node::Diff(_)
            | Node::TxDiff(_)
            | Node::Gateway
            | Node::Derived(_) => {
                Err(FsError::new(ErrorKind::ReadOnly, "this directory is read-only"))
            }
            _ => Ok(node),
        }
    }

    pub(super) async fn create_file(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> FsResult<Entry> {
        let node = self.writable_directory(caller, dir, name)?;
        match self.find(caller, dir, name).await {
            Ok(entry) => return self.create_existing(caller, entry, mode).await,
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Node::Super(id) = &node {
            match super_child(name) {
                SuperChild::Table(simple) => {
                    let slot = self.slot(&id.table(simple));
                    return self.create_in_slot(caller, &slot, mode).await;
                }
                SuperChild::NotAllowed => return Err(self.refuse_name(caller, id, name).await),
                _ => {}
            }
        }
        if let Some(created) = self.create_view(caller, &node, name).await? {
            return Ok(created);
        }
        let no_files = matches!(node, Node::Branches(_) | Node::Transactions(_));
        if no_files || matches!(node, Node::Trash(_) | Node::Rejected(_)) {
            return Err(FsError::new(ErrorKind::Unsupported, "files cannot be made here"));
        }
        let (set, verifier) = match mode {
            CreateMode::Unchecked(set) | CreateMode::Guarded(set) => (set, None),
            CreateMode::Exclusive(verifier) => (SetAttr::default(), Some(verifier)),
        };
        self.check_names(caller, &node)?;
        let owner = (set.mode.unwrap_or(FILE_MODE) & 0o7777, caller.uid, caller.gid);
        let id = self.scratch.create((dir.inode, name), ScratchKind::File, owner, self.now())?;
        if verifier.is_some() {
            self.scratch.update(id, |meta| meta.verifier = verifier)?;
        }
        self.entry(caller, &Node::Scratch(id)).await
    }

    async fn create_existing(
        &self,
        caller: &Caller,
        entry: Entry,
        mode: CreateMode,
    ) -> FsResult<Entry> {
        let node = self.node(entry.handle)?;
        let exists = || FsError::new(ErrorKind::AlreadyExists, "the file exists");
        match mode {
            CreateMode::Guarded(_) => Err(exists()),
            CreateMode::Exclusive(verifier) => {
                let made_by = match &node {
                    Node::Scratch(id) => self.scratch.meta(*id).and_then(|meta| meta.verifier),
                    Node::Table(table) => {
                        let slot = self.slot(table);
                        let key = slot.key(caller, entry.handle);
                        let state = slot.state();
                        state.edits.get(&key).and_then(|edit| edit.verifier)
                    }
                    _ => None,
                };
                if made_by == Some(verifier) { Ok(entry) } else { Err(exists()) }
            }
            CreateMode::Unchecked(set) => {
                if entry.attr.kind == super::FileKind::Directory {
                    return Err(FsError::IsDirectory);
                }
                // An open, not a creation: the mode stays, only a size is obeyed.
                let Some(size) = set.size else { return Ok(entry) };
                let set = SetAttr { size: Some(size), ..SetAttr::default() };
                self.set_attributes(caller, entry.handle, set, None).await.result?;
                let attr = self.node_attr(caller, entry.handle, &node).await?;
                Ok(Entry { handle: entry.handle, attr })
            }
        }
    }

    /// New content under a table's name that nothing stands under: a new table, or a save by an
    /// editor that moved the old content away.
    async fn create_in_slot(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        mode: CreateMode,
    ) -> FsResult<Entry> {
        let changing = slot.changing.lock().await;
        // Somebody may have made it since the name was looked up.
        match self.table_entry(caller, slot).await {
            Ok(entry) => {
                drop(changing);
                return self.create_existing(caller, entry, mode).await;
            }
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let displaced = slot.state().displaced.is_some();
        let against = if displaced { self.author_base(caller, slot).await? } else { None };
        let id = self.scratch.fresh_id();
        let file = StagedFile::create(self.scratch.area(), id, 0)?;
        self.begin_birth(caller, slot, file, None, against, mode)
    }

    /// Begins an edit in an empty slot; its handle stands for it until it is committed.
    fn begin_birth(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        file: StagedFile,
        below: Option<Arc<CsvView>>,
        against: Option<Arc<CsvView>>,
        mode: CreateMode,
    ) -> FsResult<Entry> {
        let version = self.fresh_birth();
        let key = EditKey { client: Arc::clone(&caller.client), version };
        let mut edit = self.new_edit(caller, file, below, against);
        if let CreateMode::Exclusive(verifier) = mode {
            edit.verifier = Some(verifier);
        }
        let mtime = edit.mtime;
        self.begin_edit(slot, &key, edit)?;
        slot.state().births.insert(version, Arc::clone(&caller.client));
        self.table_directory_changed(&slot.table);
        let inode = self.inodes.number(&Node::Table(slot.table.clone()));
        let size = slot.size_of(&key).unwrap_or(0);
        let attr = super::attr::file(self.owner, inode, true, size, mtime);
        Ok(Entry { handle: Handle { inode, version }, attr })
    }

    pub(super) async fn make_directory(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        set: SetAttr,
    ) -> FsResult<Entry> {
        let node = self.writable_directory(caller, dir, name)?;
        match self.find(caller, dir, name).await {
            Ok(_) => return Err(FsError::new(ErrorKind::AlreadyExists, "the name exists")),
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let who = self.principal(caller);
        let text = std::str::from_utf8(name).ok();
        match &node {
            Node::Root => {
                if let Some(org) = text.and_then(|text| OrgName::new(text).ok()) {
                    self.lake.create_organization(&who, &org).await?;
                    return self.entry(caller, &Node::Org(org)).await;
                }
                refuse_visible(name)?;
            }
            Node::Org(org) => {
                if let Some(id) = super_of(org, name) {
                    self.lake.create_super(&who, &id).await?;
                    return self.entry(caller, &Node::Super(id)).await;
                }
                refuse_visible(name)?;
            }
            Node::Branches(main) => {
                let id = self.make_branch(&who, main, text).await?;
                return self.entry(caller, &Node::Super(id)).await;
            }
            Node::Transactions(main) => {
                let id = self.begin_transaction(caller, main, text).await?;
                return self.entry(caller, &Node::Super(id)).await;
            }
            Node::Super(_) => {}
            Node::Scratch(_) => self.check_names(caller, &node)?,
            _ => {
                return Err(FsError::new(
                    ErrorKind::Unsupported,
                    "directories cannot be made here",
                ));
            }
        }
        let owner = (set.mode.unwrap_or(DIRECTORY_MODE) & 0o7777, caller.uid, caller.gid);
        let kind = ScratchKind::Directory;
        let id = self.scratch.create((dir.inode, name), kind, owner, self.now())?;
        self.entry(caller, &Node::Scratch(id)).await
    }

    pub(super) async fn make_symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
    ) -> FsResult<Entry> {
        let kind = ScratchKind::Symlink(target.to_vec());
        self.make_bare(caller, dir, name, kind, 0o777).await
    }

    pub(super) async fn make_special(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        kind: Special,
        set: SetAttr,
    ) -> FsResult<Entry> {
        let kind = match kind {
            Special::Pipe => ScratchKind::Pipe,
            Special::Socket => ScratchKind::Socket,
        };
        let mode = set.mode.unwrap_or(FILE_MODE) & 0o7777;
        self.make_bare(caller, dir, name, kind, mode).await
    }

    /// Makes a scratch object that has no content.
    async fn make_bare(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        kind: ScratchKind,
        mode: u32,
    ) -> FsResult<Entry> {
        let node = self.writable_directory(caller, dir, name)?;
        if let (Node::Super(id), SuperChild::Table(_) | SuperChild::NotAllowed) =
            (&node, super_child(name))
        {
            return Err(self.refuse_name(caller, id, name).await);
        }
        match self.find(caller, dir, name).await {
            Ok(_) => return Err(FsError::new(ErrorKind::AlreadyExists, "the name exists")),
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.check_names(caller, &node)?;
        let owner = (mode, caller.uid, caller.gid);
        let id = self.scratch.create((dir.inode, name), kind, owner, self.now())?;
        self.entry(caller, &Node::Scratch(id)).await
    }

    pub(super) async fn remove_file(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
    ) -> FsResult<()> {
        let node = self.writable_directory(caller, dir, name)?;
        if let Some(id) = self.scratch.child(dir.inode, name) {
            if self.is_scratch_directory(id) {
                return Err(FsError::IsDirectory);
            }
            self.check_names(caller, &node)?;
            self.check_unlink(caller, &node, id)?;
            self.scratch.remove_name(dir.inode, name)?;
            return Ok(());
        }
        if let (Node::Super(id), SuperChild::Table(simple)) = (&node, super_child(name)) {
            let slot = self.slot(&id.table(simple));
            return self.remove_table(caller, &slot).await;
        }
        let entry = self.find(caller, dir, name).await?;
        match self.node(entry.handle)? {
            Node::RejectedFile(table, attempt) => {
                let path = self.rejected_directory(&table).join(format!("{attempt}.csv"));
                Ok(std::fs::remove_file(path).map_err(Error::from)?)
            }
            Node::Derived(Derived::View(id, view)) => self.remove_view(caller, &id, &view).await,
            node if node.is_directory() == Some(true) => Err(FsError::IsDirectory),
            _ => Err(FsError::new(ErrorKind::Denied, "this file is made by the gateway")),
        }
    }

    /// Takes a table off its name; it is dropped when nothing comes back in the grace time.
    async fn remove_table(&self, caller: &Caller, slot: &Arc<Slot>) -> FsResult<()> {
        let _changing = slot.changing.lock().await;
        let (handle, _) = self.table_handle(caller, slot).await?;
        let key = slot.key(caller, handle);
        let born = {
            let mut state = slot.state();
            state.edits.remove(&key).is_some() && Slot::is_birth(&key)
        };
        if born && slot.state().displaced.is_some() {
            return Ok(());
        }
        let latest = match self.latest(caller, &slot.table).await {
            Ok(latest) => latest,
            // A new file that never became a table.
            Err(error) if born && error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.displace_table(slot, &latest, caller, true);
        Ok(())
    }

    pub(super) fn is_scratch_directory(&self, id: u64) -> bool {
        self.scratch.meta(id).is_some_and(|meta| meta.kind.is_directory())
    }

    pub(super) async fn remove_directory(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
    ) -> FsResult<()> {
        let node = self.writable_directory(caller, dir, name)?;
        let entry = self.find(caller, dir, name).await?;
        if entry.attr.kind != super::FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        if !self.scratch.is_empty(entry.handle.inode) {
            return Err(FsError::NotEmpty);
        }
        let who = self.principal(caller);
        let emptied = match self.node(entry.handle)? {
            Node::Scratch(id) => {
                self.check_names(caller, &node)?;
                self.check_unlink(caller, &node, id)?;
                self.scratch.remove_name(dir.inode, name)?;
                return Ok(());
            }
            Node::Super(id) => {
                for slot in self.slots_of(&id) {
                    // What was removed a moment ago does not keep the directory.
                    self.finish_displaced(&slot, super::timer::Urgency::Now).await?;
                    if slot.state().edits.keys().any(Slot::is_birth) {
                        return Err(FsError::NotEmpty);
                    }
                }
                match id.branch() {
                    Some(_) => self.remove_branch(&who, &id).await?,
                    None => self.lake.drop_super(&who, &id).await,
                }
            }
            Node::Org(org) => self.lake.remove_organization(&who, &org).await,
            _ => {
                return Err(FsError::new(ErrorKind::Denied, "this directory belongs to a table"));
            }
        };
        match emptied {
            Err(error) if error.kind() == ErrorKind::Conflict => Err(FsError::NotEmpty),
            other => Ok(other?),
        }
    }

    pub(super) async fn link_file(
        &self,
        caller: &Caller,
        handle: Handle,
        dir: Handle,
        name: &[u8],
    ) -> FsResult<()> {
        let to = self.writable_directory(caller, dir, name)?;
        let in_slot = matches!(
            (&to, super_child(name)),
            (Node::Super(_), SuperChild::Table(_) | SuperChild::NotAllowed)
        );
        match self.find(caller, dir, name).await {
            Ok(_) => return Err(FsError::new(ErrorKind::AlreadyExists, "the name exists")),
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.check_names(caller, &to)?;
        match self.node(handle)? {
            Node::Scratch(id) if in_slot => {
                self.put_scratch_on_slot(caller, id, &to, name, Afterwards::Keep).await
            }
            Node::Scratch(id) => Ok(self.scratch.add_name(id, (dir.inode, name))?),
            Node::Table(table) if !in_slot => {
                let slot = self.slot(&table);
                let shown = self.loose_shown(caller, &slot, handle).await?;
                self.view_as_scratch(caller, &slot, &shown, (dir.inode, name)).await
            }
            _ => Err(FsError::new(ErrorKind::Unsupported, "this file cannot be linked")),
        }
    }

    /// A version of a table by number, for callers that have checked the handle.
    pub(super) async fn snapshot_view(
        &self,
        caller: &Caller,
        slot: &Slot,
        version: u64,
    ) -> FsResult<Arc<CsvView>> {
        let who = self.principal(caller);
        Ok(self.lake.view(&who, &slot.table, At::Version(version)).await?)
    }
}

/// Whether a scratch file keeps its name after its content was put on a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It was linked.
    Keep,
    /// It was renamed.
    Remove,
}
