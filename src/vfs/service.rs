//! [`FileSystem`] for [`Vfs`]: one short method per call, which finds out what the handle stands
//! for and hands over.

use std::sync::PoisonError;

use async_trait::async_trait;
use bytes::Bytes;

use super::gateway::Vfs;
use super::listing::Attributes;
use super::namespace::Node;
use super::permit;
use super::scratch::ScratchKind;
use super::staged::sync_files;
use super::tables::READ_MAX;
use super::text::Frozen;
use super::{
    Attr, Caller, Changed, CreateMode, DirPage, Entry, FileSystem, FileTime, FsError, FsResult,
    FsStat, Handle, Hint, Moved, PreAttr, ReadReply, SetAttr, SetTime, Special, Stability,
    Verifier, WriteReply,
};
use crate::error::{Error, ErrorKind};

impl Vfs {
    /// Follows a scratch file that became a table to that table.
    fn resolve(&self, handle: Handle) -> FsResult<(Handle, Node)> {
        let node = self.node(handle)?;
        if let Node::Scratch(id) = &node
            && let Some(meta) = self.scratch.meta(*id)
            && let Some((slot, handle)) = self.became(&meta, handle.inode)
        {
            return Ok((handle, Node::Table(slot.table.clone())));
        }
        Ok((handle, node))
    }

    /// SETATTR, also used by a create that opens an existing file.
    pub(super) async fn set_attributes(
        &self,
        caller: &Caller,
        handle: Handle,
        set: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        let (resolved, node) = match self.resolve(handle) {
            Ok(resolved) => resolved,
            Err(error) => return Changed { before: None, after: None, result: Err(error) },
        };
        if let Node::Table(table) = &node {
            let slot = self.slot(table);
            let mut changed = self.set_table_attr(caller, &slot, resolved, set, guard).await;
            if let Some(after) = &mut changed.after {
                after.inode = handle.inode;
            }
            return changed;
        }
        let before = self.node_attr(caller, handle, &node).await.ok();
        let guarded = guard.is_some_and(|guard| before.is_some_and(|attr| attr.ctime != guard));
        let result = if guarded {
            Err(FsError::NotSync)
        } else {
            self.set_other_attr(caller, &node, set).await
        };
        let after = self.node_attr(caller, handle, &node).await.ok();
        Changed { before: before.as_ref().map(PreAttr::from), after, result }
    }

    async fn set_other_attr(&self, caller: &Caller, node: &Node, set: SetAttr) -> FsResult<()> {
        self.check_writable(caller)?;
        match node {
            Node::Scratch(id) => {
                let meta = self.scratch.meta(*id).ok_or(FsError::Stale)?;
                permit::check_attributes(caller, &meta, &set)?;
                let mode = set.mode.map(|mode| permit::settable_mode(caller, &meta, mode));
                let set = SetAttr { mode, ..set };
                if let Some(size) = set.size {
                    let file = self.scratch.file(*id).map_err(|_| FsError::IsDirectory)?;
                    file.lock().unwrap_or_else(PoisonError::into_inner).truncate(size)?;
                }
                Ok(self.scratch.set_attr(*id, &set, self.now())?)
            }
            // The lake's own directories and files: times and modes are not kept, and asking for
            // them is no reason to fail a `cp -p` or `touch`.
            Node::Control | Node::AboutFile(..) => Ok(()),
            // A truncation comes before what is written; `touch` sets times.
            Node::TxFile(id, file) if set.size.is_none() && set.mtime != SetTime::Keep => {
                self.transact(caller, id, *file).await
            }
            Node::TxFile(..) => Ok(()),
            Node::Derived(derived) if !derived.is_directory() => {
                self.set_derived_attr(caller, derived, &set).await
            }
            node if node.is_directory() == Some(true) => Ok(()),
            _ => Err(FsError::new(ErrorKind::ReadOnly, "this file is read-only")),
        }
    }

    async fn read_snapshot_file(
        &self,
        caller: &Caller,
        handle: Handle,
        node: &Node,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let attr = self.node_attr(caller, handle, node).await?;
        let end = offset.saturating_add(u64::from(count.min(READ_MAX))).min(attr.size);
        let view = match node {
            Node::AtFile(table, version) => {
                let slot = self.slot(table);
                self.snapshot_view(caller, &slot, *version).await?
            }
            Node::TrashFile(id, name) => {
                let snapshot = self.lake.trashed(&self.principal(caller), id, name).await?;
                self.lake.view_of(&snapshot).await?
            }
            _ => return Err(FsError::WrongType),
        };
        let data = view.read_at(offset.min(end)..end).await?;
        Ok(ReadReply { data, eof: end >= attr.size, attr })
    }

    async fn read_scratch(
        &self,
        caller: &Caller,
        handle: Handle,
        id: u64,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let meta = self.scratch.meta(id).ok_or(FsError::Stale)?;
        permit::check_content(caller, &meta, permit::READ)?;
        let file = self.scratch.file(id).map_err(|_| FsError::Stale)?;
        let base = self.scratch_base(caller, id).await?;
        let text = Frozen::new(&file, base);
        let end = offset.saturating_add(u64::from(count.min(READ_MAX))).min(text.len());
        let data = text.read(offset.min(end)..end).await?;
        let attr = self.scratch.attr(id, handle.inode).ok_or(FsError::Stale)?;
        Ok(ReadReply { data, eof: end >= attr.size, attr })
    }

    async fn write_scratch(
        &self,
        caller: &Caller,
        id: u64,
        offset: u64,
        data: &[u8],
    ) -> FsResult<WriteReply> {
        self.check_writable(caller)?;
        let meta = self.scratch.meta(id).ok_or(FsError::Stale)?;
        permit::check_content(caller, &meta, permit::WRITE)?;
        let file = self.scratch.file(id).map_err(|_| FsError::Stale)?;
        file.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)?;
        self.scratch.touch(id);
        Ok(WriteReply {
            count: u32::try_from(data.len()).unwrap_or(u32::MAX),
            // Scratch is durable enough in the page cache: it has to survive the gateway, not the
            // machine, until it is renamed onto a table, which commits it.
            stability: Stability::FileSync,
            verifier: self.verifier,
        })
    }

    /// Takes what is written to a file that is stored as a whole.
    async fn write_small(
        &self,
        caller: &Caller,
        node: &Node,
        offset: u64,
        data: &[u8],
    ) -> FsResult<()> {
        match node {
            Node::Derived(derived) => {
                self.check_writable(caller)?;
                self.write_view(caller, derived, offset, data).await
            }
            node => self.write_generated(caller, node, offset, data).await,
        }
    }

    async fn write_other(
        &self,
        caller: &Caller,
        handle: Handle,
        node: &Node,
        offset: u64,
        data: &Bytes,
    ) -> Changed<WriteReply> {
        let before = self.node_attr(caller, handle, node).await.ok();
        let result = match node {
            Node::Scratch(id) => self.write_scratch(caller, *id, offset, data).await,
            node => self.write_small(caller, node, offset, data).await.map(|()| WriteReply {
                count: u32::try_from(data.len()).unwrap_or(u32::MAX),
                stability: Stability::FileSync,
                verifier: self.verifier,
            }),
        };
        let after = self.node_attr(caller, handle, node).await.ok();
        Changed { before: before.as_ref().map(PreAttr::from), after, result }
    }
}

fn failed<T>(error: FsError) -> Changed<T> {
    Changed { before: None, after: None, result: Err(error) }
}

#[async_trait]
impl FileSystem for Vfs {
    async fn root(&self, caller: &Caller, path: &str) -> FsResult<Handle> {
        let mut handle = self.handle(&Node::Root);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let entry = self.find(caller, handle, name.as_bytes()).await?;
            if entry.attr.kind != super::FileKind::Directory {
                return Err(FsError::NotDirectory);
            }
            handle = entry.handle;
        }
        Ok(handle)
    }

    async fn lookup(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        self.find(caller, dir, name).await
    }

    async fn getattr(&self, caller: &Caller, handle: Handle) -> FsResult<Attr> {
        let node = self.node(handle)?;
        self.node_attr(caller, handle, &node).await
    }

    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        self.set_attributes(caller, handle, attr, guard).await
    }

    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32> {
        self.access_of(caller, handle, asked).await
    }

    async fn readlink(&self, _caller: &Caller, handle: Handle) -> FsResult<Vec<u8>> {
        let Node::Scratch(id) = self.node(handle)? else { return Err(FsError::WrongType) };
        match self.scratch.meta(id).ok_or(FsError::Stale)?.kind {
            ScratchKind::Symlink(target) => Ok(target),
            _ => Err(FsError::WrongType),
        }
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let (resolved, node) = self.resolve(handle)?;
        match &node {
            Node::Table(table) => {
                let slot = self.slot(table);
                let mut reply = self.read_table(caller, &slot, resolved, offset, count).await?;
                reply.attr.inode = handle.inode;
                Ok(reply)
            }
            Node::Scratch(id) if self.is_scratch_directory(*id) => Err(FsError::IsDirectory),
            Node::Scratch(id) => self.read_scratch(caller, handle, *id, offset, count).await,
            Node::Derived(derived) if !derived.is_directory() => {
                Box::pin(self.read_derived(caller, handle, derived, offset, count)).await
            }
            Node::AtFile(..) | Node::TrashFile(..) => {
                self.read_snapshot_file(caller, handle, &node, offset, count).await
            }
            node if node.is_directory() == Some(true) => Err(FsError::IsDirectory),
            node => self.read_generated(caller, handle.inode, node, offset, count).await,
        }
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply> {
        let (resolved, node) = match self.resolve(handle) {
            Ok(resolved) => resolved,
            Err(error) => return failed(error),
        };
        match &node {
            Node::Table(table) => {
                let slot = self.slot(table);
                let mut changed =
                    self.write_table(caller, &slot, resolved, offset, data, stability).await;
                if let Some(after) = &mut changed.after {
                    after.inode = handle.inode;
                }
                changed
            }
            node if node.is_directory() == Some(true) => failed(FsError::IsDirectory),
            node => self.write_other(caller, handle, node, offset, &data).await,
        }
    }

    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry> {
        let create = Box::pin(self.create_file(caller, dir, name, mode));
        Box::pin(self.in_directory(caller, dir, create)).await
    }

    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        let make = self.make_directory(caller, dir, name, attr);
        Box::pin(self.in_directory(caller, dir, make)).await
    }

    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        _attr: SetAttr,
    ) -> Changed<Entry> {
        let make = self.make_symlink(caller, dir, name, target);
        Box::pin(self.in_directory(caller, dir, make)).await
    }

    async fn special(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        kind: Special,
        attr: SetAttr,
    ) -> Changed<Entry> {
        let make = self.make_special(caller, dir, name, kind, attr);
        Box::pin(self.in_directory(caller, dir, make)).await
    }

    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        let remove = self.remove_file(caller, dir, name);
        Box::pin(self.in_directory(caller, dir, remove)).await
    }

    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        let remove = self.remove_directory(caller, dir, name);
        Box::pin(self.in_directory(caller, dir, remove)).await
    }

    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved {
        let from_before = self.directory_attr(caller, from.0).await;
        let to_before = self.directory_attr(caller, to.0).await;
        let result = Box::pin(self.rename_name(caller, from, to)).await;
        if result.is_ok() {
            self.directory_changed(from.0.inode);
            self.directory_changed(to.0.inode);
        }
        Moved {
            from: (
                from_before.as_ref().map(PreAttr::from),
                self.directory_attr(caller, from.0).await,
            ),
            to: (to_before.as_ref().map(PreAttr::from), self.directory_attr(caller, to.0).await),
            result,
        }
    }

    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved {
        let link = Box::pin(self.link_file(caller, handle, to.0, to.1));
        let changed = self.in_directory(caller, to.0, link).await;
        Moved { from: (None, None), to: (changed.before, changed.after), result: changed.result }
    }

    async fn readdir(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage> {
        let wanted = if attributes { Attributes::All } else { Attributes::None };
        self.list(caller, dir, cookie, limit, wanted).await
    }

    async fn fsstat(&self, _caller: &Caller, _handle: Handle) -> FsResult<FsStat> {
        // What limits a write is the staging area; the lake's storage has no size of its own.
        let stat = rustix::fs::statvfs(&self.settings.state)
            .map_err(|error| Error::from(std::io::Error::from(error)))?;
        Ok(FsStat {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_files: stat.f_files,
            free_files: stat.f_ffree,
        })
    }

    async fn commit(
        &self,
        caller: &Caller,
        handle: Handle,
        _offset: u64,
        _count: u32,
    ) -> Changed<Verifier> {
        let (resolved, node) = match self.resolve(handle) {
            Ok(resolved) => resolved,
            Err(error) => return failed(error),
        };
        match &node {
            Node::Table(table) => {
                let slot = self.slot(table);
                let mut changed = self.commit_table(caller, &slot, resolved).await;
                if let Some(after) = &mut changed.after {
                    after.inode = handle.inode;
                }
                changed
            }
            node => {
                let attr = self.node_attr(caller, handle, node).await.ok();
                let synced = match node {
                    Node::Scratch(id) => match self.scratch.file(*id) {
                        Ok(file) => {
                            let files =
                                file.lock().unwrap_or_else(PoisonError::into_inner).files_to_sync();
                            match files {
                                Ok(files) => sync_files(files).await,
                                Err(error) => Err(error),
                            }
                        }
                        Err(error) => Err(error),
                    },
                    _ => Ok(()),
                };
                Changed {
                    before: attr.as_ref().map(PreAttr::from),
                    after: attr,
                    result: synced.map(|()| self.verifier).map_err(FsError::from),
                }
            }
        }
    }

    async fn hint(&self, caller: &Caller, handle: Handle, hint: Hint) -> FsResult<()> {
        // Only tables have saves that are judged, and versions that go out of date.
        let (resolved, node) = self.resolve(handle)?;
        if let Node::Derived(_) = &node {
            self.take_derived_hint(handle, hint);
        }
        let Node::Table(table) = node else { return Ok(()) };
        let slot = self.slot(&table);
        self.take_hint(caller, &slot, resolved, hint).await
    }

    fn handle_key(&self) -> [u8; 32] {
        self.key()
    }
}
