//! A file system in memory: the ceiling that benchmarks compare the lake with, and the other side
//! of protocol tests.
//!
//! Files, directories, symbolic and hard links; no permission checks besides a read-only export.
//! Everything is lost with the process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::SharedClock;
use crate::error::ErrorKind;
use crate::vfs::{
    Attr, Caller, Changed, CreateMode, DirEntry, DirPage, Entry, FileKind, FileSystem, FileTime,
    FsError, FsResult, FsStat, Handle, Hint, Moved, PreAttr, ReadReply, SetAttr, Stability,
    Verifier, WriteReply,
};

mod content;
mod tree;

use content::Content;
use tree::{Body, ROOT, Tree};

/// Cookies of `.` and `..`.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// A file system in memory.
#[derive(Debug)]
pub struct MemoryFs {
    clock: SharedClock,
    capacity_bytes: u64,
    key: [u8; 32],
    verifier: Verifier,
    tree: Mutex<Tree>,
}

impl MemoryFs {
    /// An empty one whose files may hold `capacity_bytes` together.
    pub fn new(clock: SharedClock, capacity_bytes: u64) -> Self {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&clock.random().to_be_bytes());
        }
        let verifier = clock.random().to_be_bytes();
        let tree = Mutex::new(Tree::new(clock.now_ns()));
        Self { clock, capacity_bytes, key, verifier, tree }
    }

    /// Puts a file with this content into the root directory, in place of any other of the name.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the name is a directory's.
    pub fn insert(&self, name: &[u8], data: &Bytes) -> FsResult<()> {
        let (mut tree, time) = self.change();
        let content = Content::from_bytes(data);
        let length = content.len();
        let inode = match tree.find(ROOT, name) {
            Ok(inode) => inode,
            Err(_) => {
                let body = Body::File(Content::default());
                tree.make(&nobody(), (ROOT, name), body, &SetAttr::default(), time)?
            }
        };
        tree.edit(inode, u64::MAX, time, |old| *old = content, length)
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> (MutexGuard<'_, Tree>, FileTime) {
        let now = self.clock.now_ns();
        let mut tree = self.lock();
        let time = tree.tick(now);
        (tree, time)
    }

    /// Runs a change of one object under the lock, with its attributes before and after.
    fn changed<T>(
        &self,
        caller: &Caller,
        object: Handle,
        run: impl FnOnce(&mut Tree, FileTime) -> FsResult<T>,
    ) -> Changed<T> {
        let (mut tree, time) = self.change();
        let before = tree.attr(object.inode).as_ref().map(PreAttr::from);
        let result = writable(caller).and_then(|()| run(&mut tree, time));
        Changed { before, after: tree.attr(object.inode), result }
    }

    fn make(
        &self,
        caller: &Caller,
        (dir, name): (Handle, &[u8]),
        body: Body,
        attr: &SetAttr,
    ) -> Changed<Entry> {
        self.changed(caller, dir, |tree, time| {
            let inode = tree.make(caller, (dir.inode, name), body, attr, time)?;
            tree.entry(inode)
        })
    }

    fn rename_in(
        tree: &mut Tree,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        time: FileTime,
    ) -> FsResult<()> {
        let inode = tree.find(from.0, from.1)?;
        let directory = tree.node(inode)?.attr.kind == FileKind::Directory;
        if directory && tree.below(to.0, inode)? {
            return Err(FsError::new(ErrorKind::Invalid, "move a directory below itself"));
        }
        match tree.find(to.0, to.1) {
            Ok(target) if target == inode => return Ok(()),
            Ok(target) => {
                let replaced = tree.node(target)?.attr.kind == FileKind::Directory;
                match (directory, replaced) {
                    (false, false) => {
                        tree.detach(to, time)?;
                        tree.unlink(target, time)?;
                    }
                    (true, true) => Self::rmdir_in(tree, to, time)?,
                    _ => {
                        return Err(FsError::new(ErrorKind::AlreadyExists, "the name is taken"));
                    }
                }
            }
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
        tree.detach(from, time)?;
        tree.attach(to, inode, time)?;
        tree.adopt(inode, from.0, to.0)?;
        tree.node_mut(inode)?.attr.ctime = time;
        Ok(())
    }

    fn rmdir_in(tree: &mut Tree, place: (u64, &[u8]), time: FileTime) -> FsResult<()> {
        let inode = tree.find(place.0, place.1)?;
        if !tree.names(inode)?.is_empty() {
            return Err(FsError::NotEmpty);
        }
        tree.detach(place, time)?;
        tree.drop_directory(inode, place.0)
    }

    fn create_in(
        &self,
        tree: &mut Tree,
        caller: &Caller,
        place: (u64, &[u8]),
        mode: CreateMode,
        time: FileTime,
    ) -> FsResult<Entry> {
        let taken = || FsError::new(ErrorKind::AlreadyExists, "the name is taken");
        let (attr, verifier) = match mode {
            CreateMode::Unchecked(attr) | CreateMode::Guarded(attr) => (attr, None),
            CreateMode::Exclusive(verifier) => (SetAttr::default(), Some(verifier)),
        };
        if let Ok(inode) = tree.find(place.0, place.1) {
            let node = tree.node(inode)?;
            match mode {
                CreateMode::Guarded(_) => return Err(taken()),
                CreateMode::Exclusive(_) if node.created_with != verifier => return Err(taken()),
                CreateMode::Unchecked(_) if node.attr.kind != FileKind::Regular => {
                    return Err(taken());
                }
                CreateMode::Exclusive(_) | CreateMode::Unchecked(_) => {}
            }
            if let Some(size) = attr.size {
                tree.edit(inode, self.capacity_bytes, time, |file| file.resize(size), size)?;
            }
            return tree.entry(inode);
        }
        let inode = tree.make(caller, place, Body::File(Content::default()), &attr, time)?;
        tree.node_mut(inode)?.created_with = verifier;
        if let Some(size) = attr.size.filter(|size| *size > 0) {
            tree.edit(inode, self.capacity_bytes, time, |file| file.resize(size), size)?;
        }
        tree.entry(inode)
    }
}

fn nobody() -> Caller {
    let groups = std::sync::Arc::from([]);
    Caller { uid: 0, gid: 0, groups, client: "".into(), read_only: false }
}

fn writable(caller: &Caller) -> FsResult<()> {
    if caller.read_only {
        return Err(FsError::new(ErrorKind::ReadOnly, "the export is read-only"));
    }
    Ok(())
}

#[async_trait]
impl FileSystem for MemoryFs {
    async fn root(&self, _caller: &Caller, path: &str) -> FsResult<Handle> {
        let tree = self.lock();
        let mut inode = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            inode = tree.find(inode, name.as_bytes())?;
        }
        tree.names(inode).map(|_| Handle { inode, version: 0 })
    }

    async fn lookup(&self, _caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        let tree = self.lock();
        tree.find(dir.inode, name).and_then(|inode| tree.entry(inode))
    }

    async fn getattr(&self, _caller: &Caller, handle: Handle) -> FsResult<Attr> {
        self.lock().node(handle.inode).map(|node| node.attr)
    }

    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        self.changed(caller, handle, |tree, time| {
            let inode = handle.inode;
            let ctime = tree.node(inode)?.attr.ctime;
            if guard.is_some_and(|guard| guard != ctime) {
                return Err(FsError::NotSync);
            }
            if let Some(size) = attr.size {
                tree.edit(inode, self.capacity_bytes, time, |file| file.resize(size), size)?;
            }
            tree.set(inode, &attr, time)
        })
    }

    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32> {
        use crate::vfs::access::{DELETE, EXTEND, MODIFY};
        self.lock().node(handle.inode)?;
        Ok(if caller.read_only { asked & !(MODIFY | EXTEND | DELETE) } else { asked })
    }

    async fn readlink(&self, _caller: &Caller, handle: Handle) -> FsResult<Vec<u8>> {
        match &self.lock().node(handle.inode)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(FsError::WrongType),
        }
    }

    async fn read(
        &self,
        _caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let tree = self.lock();
        let node = tree.node(handle.inode)?;
        match &node.body {
            Body::File(content) => {
                let (data, eof) = content.read(offset, count);
                Ok(ReadReply { data, eof, attr: node.attr })
            }
            Body::Directory { .. } => Err(FsError::IsDirectory),
            Body::Symlink(_) => Err(FsError::WrongType),
        }
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        _stability: Stability,
    ) -> Changed<WriteReply> {
        self.changed(caller, handle, |tree, time| {
            let count = u32::try_from(data.len()).map_err(|_| FsError::FileTooLarge)?;
            let size = tree.node(handle.inode)?.attr.size;
            let end = offset.saturating_add(u64::from(count)).max(size);
            let write = |file: &mut Content| file.write(offset, &data);
            tree.edit(handle.inode, self.capacity_bytes, time, write, end)?;
            // Memory is as stable as it gets here.
            let stability = Stability::FileSync;
            Ok(WriteReply { count, stability, verifier: self.verifier })
        })
    }

    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry> {
        self.changed(caller, dir, |tree, time| {
            self.create_in(tree, caller, (dir.inode, name), mode, time)
        })
    }

    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        let body = Body::Directory { parent: dir.inode, names: Default::default() };
        self.make(caller, (dir, name), body, &attr)
    }

    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        self.make(caller, (dir, name), Body::Symlink(target.to_vec()), &attr)
    }

    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.changed(caller, dir, |tree, time| {
            let inode = tree.find(dir.inode, name)?;
            if tree.node(inode)?.attr.kind == FileKind::Directory {
                return Err(FsError::IsDirectory);
            }
            tree.detach((dir.inode, name), time)?;
            tree.unlink(inode, time)
        })
    }

    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.changed(caller, dir, |tree, time| Self::rmdir_in(tree, (dir.inode, name), time))
    }

    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved {
        let (mut tree, time) = self.change();
        let (source, target) = ((from.0.inode, from.1), (to.0.inode, to.1));
        let before = [source.0, target.0].map(|dir| tree.attr(dir).as_ref().map(PreAttr::from));
        let result =
            writable(caller).and_then(|()| Self::rename_in(&mut tree, source, target, time));
        let [from_before, to_before] = before;
        Moved {
            from: (from_before, tree.attr(source.0)),
            to: (to_before, tree.attr(target.0)),
            result,
        }
    }

    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved {
        let linked = self.changed(caller, to.0, |tree, time| {
            if tree.node(handle.inode)?.attr.kind == FileKind::Directory {
                return Err(FsError::IsDirectory);
            }
            if tree.names(to.0.inode)?.contains_key(to.1) {
                return Err(FsError::new(ErrorKind::AlreadyExists, "the name is taken"));
            }
            tree.attach((to.0.inode, to.1), handle.inode, time)?;
            let attr = &mut tree.node_mut(handle.inode)?.attr;
            attr.links += 1;
            attr.ctime = time;
            Ok(())
        });
        Moved { from: (None, None), to: (linked.before, linked.after), result: linked.result }
    }

    async fn readdir(
        &self,
        _caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage> {
        let tree = self.lock();
        let parent = tree.parent(dir.inode)?;
        let dots = [(DOT, &b"."[..], dir.inode), (DOT_DOT, b"..", parent)];
        let names = tree.names(dir.inode)?.iter();
        // In the order of cookies, so that a walk meets each name once whatever changes.
        let mut found: Vec<_> = dots
            .into_iter()
            .chain(names.map(|(name, (cookie, inode))| (*cookie, name.as_slice(), *inode)))
            .filter(|(at, _, _)| *at > cookie)
            .collect();
        found.sort_unstable_by_key(|(at, _, _)| *at);
        let end = found.len() <= limit;
        let entries = found.into_iter().take(limit).map(|(cookie, name, inode)| DirEntry {
            name: name.to_vec(),
            inode,
            cookie,
            kind: tree.node(inode).map_or(FileKind::Directory, |node| node.attr.kind),
            entry: attributes.then(|| tree.entry(inode).ok()).flatten(),
        });
        let attr = tree.node(dir.inode)?.attr;
        Ok(DirPage { entries: entries.collect(), end, attr })
    }

    async fn fsstat(&self, _caller: &Caller, handle: Handle) -> FsResult<FsStat> {
        let tree = self.lock();
        tree.node(handle.inode)?;
        let free_bytes = self.capacity_bytes.saturating_sub(tree.used_bytes);
        let free_files = 1 << 20;
        let total_files = tree.count().saturating_add(free_files);
        Ok(FsStat { total_bytes: self.capacity_bytes, free_bytes, total_files, free_files })
    }

    async fn commit(
        &self,
        _caller: &Caller,
        handle: Handle,
        _offset: u64,
        _count: u32,
    ) -> Changed<Verifier> {
        let tree = self.lock();
        let attr = tree.attr(handle.inode);
        let result = tree.node(handle.inode).map(|_| self.verifier);
        Changed { before: attr.as_ref().map(PreAttr::from), after: attr, result }
    }

    async fn hint(&self, _caller: &Caller, _handle: Handle, _hint: Hint) -> FsResult<()> {
        Ok(())
    }

    fn handle_key(&self) -> [u8; 32] {
        self.key
    }
}
