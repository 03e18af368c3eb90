//! Nodes and names of the file system in memory; every change keeps times and link counts right.

use std::collections::{BTreeMap, HashMap};

use super::content::Content;
use crate::error::ErrorKind;
use crate::vfs::{
    Attr, Caller, Entry, FileKind, FileTime, FsError, FsResult, Handle, SetAttr, SetTime,
};

/// Inode of the root directory.
pub(super) const ROOT: u64 = 1;

/// What a node is.
#[derive(Debug)]
pub(super) enum Body {
    File(Content),
    Directory {
        parent: u64,
        names: BTreeMap<Vec<u8>, (u64, u64)>, // name -> (cookie, inode)
    },
    Symlink(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) attr: Attr,
    /// Verifier of the exclusive CREATE that made it.
    pub(super) created_with: Option<[u8; 8]>,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    next_inode: u64,
    next_cookie: u64,
    last_time_ns: i64,
    pub(super) used_bytes: u64,
}

impl Tree {
    pub(super) fn new(now_ns: i64) -> Self {
        let mut tree = Self {
            nodes: HashMap::new(),
            next_inode: ROOT,
            next_cookie: 3, // 1 and 2 are `.` and `..`
            last_time_ns: 0,
            used_bytes: 0,
        };
        let time = tree.tick(now_ns);
        let body = Body::Directory { parent: ROOT, names: BTreeMap::new() };
        tree.add(body, FileKind::Directory, 0o777, (0, 0), time);
        tree
    }

    /// The time of a change; each is later than the one before.
    pub(super) fn tick(&mut self, now_ns: i64) -> FileTime {
        self.last_time_ns = now_ns.max(self.last_time_ns.saturating_add(1));
        let seconds = u32::try_from(self.last_time_ns.div_euclid(1_000_000_000));
        let nanos = u32::try_from(self.last_time_ns.rem_euclid(1_000_000_000));
        FileTime { seconds: seconds.unwrap_or(u32::MAX), nanos: nanos.unwrap_or_default() }
    }

    fn add(
        &mut self,
        body: Body,
        kind: FileKind,
        mode: u32,
        owner: (u32, u32),
        time: FileTime,
    ) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        let size = match &body {
            Body::Symlink(target) => u64::try_from(target.len()).unwrap_or_default(),
            Body::Directory { .. } => 4096,
            Body::File(content) => content.len(),
        };
        let attr = Attr {
            kind,
            mode,
            links: if kind == FileKind::Directory { 2 } else { 1 },
            uid: owner.0,
            gid: owner.1,
            size,
            used: size,
            fsid: 1,
            inode,
            atime: time,
            mtime: time,
            ctime: time,
        };
        self.nodes.insert(inode, Node { body, attr, created_with: None });
        inode
    }

    pub(super) fn node(&self, inode: u64) -> FsResult<&Node> {
        self.nodes.get(&inode).ok_or(FsError::Stale)
    }

    pub(super) fn node_mut(&mut self, inode: u64) -> FsResult<&mut Node> {
        self.nodes.get_mut(&inode).ok_or(FsError::Stale)
    }

    pub(super) fn attr(&self, inode: u64) -> Option<Attr> {
        self.nodes.get(&inode).map(|node| node.attr)
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.nodes.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn entry(&self, inode: u64) -> FsResult<Entry> {
        let attr = self.node(inode)?.attr;
        Ok(Entry { handle: Handle { inode, version: 0 }, attr })
    }

    pub(super) fn names(&self, dir: u64) -> FsResult<&BTreeMap<Vec<u8>, (u64, u64)>> {
        match &self.node(dir)?.body {
            Body::Directory { names, .. } => Ok(names),
            _ => Err(FsError::NotDirectory),
        }
    }

    fn names_mut(&mut self, dir: u64) -> FsResult<&mut BTreeMap<Vec<u8>, (u64, u64)>> {
        match &mut self.node_mut(dir)?.body {
            Body::Directory { names, .. } => Ok(names),
            _ => Err(FsError::NotDirectory),
        }
    }

    pub(super) fn parent(&self, dir: u64) -> FsResult<u64> {
        match &self.node(dir)?.body {
            Body::Directory { parent, .. } => Ok(*parent),
            _ => Err(FsError::NotDirectory),
        }
    }

    /// The inode of a name.
    pub(super) fn find(&self, dir: u64, name: &[u8]) -> FsResult<u64> {
        match name {
            b"." => self.names(dir).map(|_| dir),
            b".." => self.parent(dir),
            _ => {
                let found = self.names(dir)?.get(name);
                found.map(|(_, inode)| *inode).ok_or_else(FsError::not_found)
            }
        }
    }

    /// Makes a node and gives it a name that must be free.
    pub(super) fn make(
        &mut self,
        caller: &Caller,
        (dir, name): (u64, &[u8]),
        body: Body,
        attr: &SetAttr,
        time: FileTime,
    ) -> FsResult<u64> {
        if self.names(dir)?.contains_key(name) {
            return Err(FsError::new(ErrorKind::AlreadyExists, "the name is taken"));
        }
        let (kind, mode) = match &body {
            Body::File(_) => (FileKind::Regular, 0o644),
            Body::Directory { .. } => (FileKind::Directory, 0o755),
            Body::Symlink(_) => (FileKind::Symlink, 0o777),
        };
        let owner = (attr.uid.unwrap_or(caller.uid), attr.gid.unwrap_or(caller.gid));
        let inode = self.add(body, kind, attr.mode.unwrap_or(mode), owner, time);
        self.attach((dir, name), inode, time)?;
        if kind == FileKind::Directory {
            self.node_mut(dir)?.attr.links += 1;
        }
        Ok(inode)
    }

    /// Gives a node a name, which must be free.
    pub(super) fn attach(
        &mut self,
        (dir, name): (u64, &[u8]),
        inode: u64,
        time: FileTime,
    ) -> FsResult<()> {
        let cookie = self.next_cookie;
        self.names_mut(dir)?.insert(name.to_vec(), (cookie, inode));
        self.next_cookie += 1;
        self.touch(dir, time)
    }

    /// Takes a name away and returns what it named; the node itself stays.
    pub(super) fn detach(&mut self, (dir, name): (u64, &[u8]), time: FileTime) -> FsResult<u64> {
        let (_, inode) = self.names_mut(dir)?.remove(name).ok_or_else(FsError::not_found)?;
        self.touch(dir, time)?;
        Ok(inode)
    }

    /// Counts one name less; the last one takes the node with it.
    pub(super) fn unlink(&mut self, inode: u64, time: FileTime) -> FsResult<()> {
        let node = self.node_mut(inode)?;
        node.attr.links = node.attr.links.saturating_sub(1);
        node.attr.ctime = time;
        if node.attr.links == 0 {
            let size = node.attr.size;
            let file = matches!(node.body, Body::File(_));
            self.nodes.remove(&inode);
            if file {
                self.used_bytes = self.used_bytes.saturating_sub(size);
            }
        }
        Ok(())
    }

    /// Removes an empty directory that has lost its name already.
    pub(super) fn drop_directory(&mut self, inode: u64, parent: u64) -> FsResult<()> {
        self.nodes.remove(&inode);
        let attr = &mut self.node_mut(parent)?.attr;
        attr.links = attr.links.saturating_sub(1);
        Ok(())
    }

    /// Moves a directory's `..` elsewhere.
    pub(super) fn adopt(&mut self, inode: u64, from: u64, to: u64) -> FsResult<()> {
        if let Body::Directory { parent, .. } = &mut self.node_mut(inode)?.body
            && from != to
        {
            *parent = to;
            let links = &mut self.node_mut(from)?.attr.links;
            *links = links.saturating_sub(1);
            self.node_mut(to)?.attr.links += 1;
        }
        Ok(())
    }

    /// Whether `dir` lies at or below `top`.
    pub(super) fn below(&self, mut dir: u64, top: u64) -> FsResult<bool> {
        while dir != top {
            if dir == ROOT {
                return Ok(false);
            }
            dir = self.parent(dir)?;
        }
        Ok(true)
    }

    fn touch(&mut self, inode: u64, time: FileTime) -> FsResult<()> {
        let attr = &mut self.node_mut(inode)?.attr;
        (attr.mtime, attr.ctime) = (time, time);
        Ok(())
    }

    /// Changes a file's bytes; `capacity` bounds all files together.
    pub(super) fn edit(
        &mut self,
        inode: u64,
        capacity: u64,
        time: FileTime,
        edit: impl FnOnce(&mut Content),
        end: u64,
    ) -> FsResult<()> {
        let used = self.used_bytes;
        let node = self.node_mut(inode)?;
        let content = match &mut node.body {
            Body::File(content) => content,
            Body::Directory { .. } => return Err(FsError::IsDirectory),
            Body::Symlink(_) => return Err(FsError::WrongType),
        };
        let before = content.len();
        if used.saturating_sub(before).saturating_add(end) > capacity {
            return Err(FsError::new(ErrorKind::Full, "memory for files is used up"));
        }
        edit(content);
        let after = content.len();
        (node.attr.size, node.attr.used) = (after, after);
        (node.attr.mtime, node.attr.ctime) = (time, time);
        self.used_bytes = used.saturating_sub(before).saturating_add(after);
        Ok(())
    }

    /// Sets attributes other than the size.
    pub(super) fn set(&mut self, inode: u64, attr: &SetAttr, time: FileTime) -> FsResult<()> {
        let target = &mut self.node_mut(inode)?.attr;
        target.mode = attr.mode.unwrap_or(target.mode);
        target.uid = attr.uid.unwrap_or(target.uid);
        target.gid = attr.gid.unwrap_or(target.gid);
        let set = |old, new| match new {
            SetTime::Keep => old,
            SetTime::Now => time,
            SetTime::At(at) => at,
        };
        target.atime = set(target.atime, attr.atime);
        target.mtime = set(target.mtime, attr.mtime);
        target.ctime = time;
        Ok(())
    }
}
