//! The protocol-neutral file system: what NFS and FUSE adapters call.
//!
//! Stateless per call as NFSv3 is: no open handles, every call names an inode (and, for a table,
//! the snapshot that the handle was given out for). Adapters convert, call once and convert
//! back; they decide nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

mod attr;
mod away;
mod base;
mod branches;
mod changing;
mod chunks;
mod compared;
mod configure;
mod conflicts;
mod derived;
mod edits;
mod empty;
pub mod error;
mod exact;
mod extents;
mod feed;
mod flush;
mod gateway;
mod hold;
mod info;
mod inode;
mod listing;
mod names;
mod namespace;
mod opens;
mod own;
mod permit;
mod plan;
mod recover;
mod refuse;
mod rename;
mod respelled;
mod save;
mod scratch;
mod service;
mod shape;
mod shown;
mod slot;
mod staged;
mod tables;
mod text;
mod timer;
mod transactions;
mod tree;
mod verdict;

pub use error::{FsError, FsResult};
pub use gateway::Vfs;
pub(crate) use gateway::make_private_directory;
pub(crate) use staged::{private as private_file, write_private};

/// Names one file-system object for a client: an inode and, for tables, the version shown.
///
/// Adapters carry it as opaque bytes (NFS: with a MAC) and never make one up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// Inode number; the same for all versions of a table. Shown as the file id.
    pub inode: u64,
    /// Version of the table that this handle was given out for; 0 for everything else.
    pub version: u64,
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// User id (AUTH_SYS or FUSE), after squashing.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// What tells one client from another: peer address and machine name (NFS), `fuse` (FUSE).
    pub client: Arc<str>,
    /// Whether the export lets the caller write.
    pub read_only: bool,
}

/// Kind of a file-system object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Pipe,
    /// Socket.
    Socket,
}

/// A name without content at which programs of one machine meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// Named pipe.
    Pipe,
    /// Socket.
    Socket,
}

/// A time as the protocols carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: u32,
    /// Nanoseconds, below 1e9.
    pub nanos: u32,
}

/// Attributes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Kind.
    pub kind: FileKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes, exact.
    pub size: u64,
    /// Bytes used.
    pub used: u64,
    /// File system id: differs for dot directories that repeat data.
    pub fsid: u64,
    /// Inode number.
    pub inode: u64,
    /// Last access.
    pub atime: FileTime,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of content or attributes.
    pub ctime: FileTime,
}

/// The attributes of an object before a change (RFC 1813 section 2.6, wcc_attr).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreAttr {
    /// Size.
    pub size: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of content or attributes.
    pub ctime: FileTime,
}

impl From<&Attr> for PreAttr {
    fn from(attr: &Attr) -> Self {
        Self { size: attr.size, mtime: attr.mtime, ctime: attr.ctime }
    }
}

/// How a time is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetTime {
    /// Not at all.
    #[default]
    Keep,
    /// To the server's time.
    Now,
    /// To this time.
    At(FileTime),
}

/// Attributes to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size: truncates or extends with zeros.
    pub size: Option<u64>,
    /// Last access.
    pub atime: SetTime,
    /// Last change.
    pub mtime: SetTime,
}

/// How a file is created (RFC 1813 section 3.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// Opens the file if it exists: truncated only if a size is given, its mode kept.
    Unchecked(SetAttr),
    /// Fails if the file exists.
    Guarded(SetAttr),
    /// Fails if the file exists and was not created with this verifier.
    Exclusive([u8; 8]),
}

/// How durable a write is asked to be, or is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// In the gateway's memory or page cache.
    Unstable,
    /// Data on stable storage.
    DataSync,
    /// Data and metadata on stable storage.
    FileSync,
}

/// Changes when unstable writes may have been lost (RFC 1813 section 3.3.7, writeverf3).
pub type Verifier = [u8; 8];

/// An object found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its handle.
    pub handle: Handle,
    /// Its attributes.
    pub attr: Attr,
}

/// Bytes read.
#[derive(Debug, Clone)]
pub struct ReadReply {
    /// The bytes, in parts that follow each other; shared with the caches, never copied.
    pub data: Vec<Bytes>,
    /// Whether the end of the file was reached.
    pub eof: bool,
    /// The file's attributes.
    pub attr: Attr,
}

/// Bytes written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReply {
    /// Number of bytes taken.
    pub count: u32,
    /// How durable they are.
    pub stability: Stability,
    /// The current verifier.
    pub verifier: Verifier,
}

/// One name in a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// The name; `.` and `..` included.
    pub name: Vec<u8>,
    /// Inode number.
    pub inode: u64,
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// Kind of the object.
    pub kind: FileKind,
    /// Handle and attributes, if they were asked for.
    pub entry: Option<Entry>,
}

/// A part of a directory listing.
#[derive(Debug, Clone)]
pub struct DirPage {
    /// The entries.
    pub entries: Vec<DirEntry>,
    /// Whether the directory ends here.
    pub end: bool,
    /// The directory's attributes.
    pub attr: Attr,
}

/// Size of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsStat {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes in all.
    pub total_files: u64,
    /// Inodes free.
    pub free_files: u64,
}

/// The outcome of a call that changes one object: weak cache consistency data on success and on
/// failure, taken under one lock.
#[derive(Debug)]
pub struct Changed<T> {
    /// Attributes before; `None` if unknown.
    pub before: Option<PreAttr>,
    /// Attributes after; `None` if unknown.
    pub after: Option<Attr>,
    /// The outcome.
    pub result: FsResult<T>,
}

/// The outcome of a rename or link: both directories.
#[derive(Debug)]
pub struct Moved {
    /// The directory the name left: before and after.
    pub from: (Option<PreAttr>, Option<Attr>),
    /// The directory the name came to: before and after.
    pub to: (Option<PreAttr>, Option<Attr>),
    /// The outcome.
    pub result: FsResult<()>,
}

/// What an adapter knows about open files (FUSE does, NFS does not). An object that was opened is
/// closed again: every [`Hint::Opened`] is followed by one [`Hint::Closed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// An application opened the object. What the handle shows stays what it is until the object
    /// is closed; with `writes`, saves through it are judged when the writer closes.
    Opened {
        /// Opened for writing.
        writes: bool,
    },
    /// A descriptor that was written through is closed; duplicates of it may be open and go on.
    Flushed,
    /// The writer closed its only descriptor: nothing more comes from it.
    Finished,
    /// The writer was killed before it closed the file.
    Abandoned,
    /// The open file is gone, with all duplicates of its descriptor.
    Closed {
        /// It was opened for writing.
        writes: bool,
        /// It was written to or truncated.
        written: bool,
    },
}

/// Access bits (RFC 1813 section 3.3.4).
pub mod access {
    /// Read data or list a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Rewrite data or change a directory entry.
    pub const MODIFY: u32 = 0x04;
    /// Write new data or add directory entries.
    pub const EXTEND: u32 = 0x08;
    /// Delete a directory entry.
    pub const DELETE: u32 = 0x10;
    /// Execute a file.
    pub const EXECUTE: u32 = 0x20;
}

/// A file system as the adapters see it. [`Vfs`] is the lake; `nfs::memory` holds one file in
/// memory as the ceiling that benchmarks compare with, and for protocol tests.
#[async_trait]
pub trait FileSystem: Send + Sync + 'static {
    /// Handle of a directory by its path below the lake's root (`""` = the root); the path of an
    /// NFS mount request.
    async fn root(&self, caller: &Caller, path: &str) -> FsResult<Handle>;
    /// Finds a name in a directory; `.` and `..` work.
    async fn lookup(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry>;
    /// Attributes.
    async fn getattr(&self, caller: &Caller, handle: Handle) -> FsResult<Attr>;
    /// Sets attributes; with `guard`, only if the ctime is still that one (`NotSync` else).
    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()>;
    /// Which of the asked [`access`] bits the caller has.
    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32>;
    /// Target of a symbolic link.
    async fn readlink(&self, caller: &Caller, handle: Handle) -> FsResult<Vec<u8>>;
    /// Reads up to `count` bytes at `offset`.
    async fn read(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply>;
    /// Writes at `offset`. The status is the verdict wherever the write completes a save.
    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply>;
    /// Creates or opens a file in `dir`; the attributes in the outcome are the directory's.
    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry>;
    /// Creates a directory.
    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry>;
    /// Creates a symbolic link.
    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry>;
    /// Creates a named pipe or a socket; a file system may have none.
    async fn special(
        &self,
        caller: &Caller,
        dir: Handle,
        _name: &[u8],
        _kind: Special,
        _attr: SetAttr,
    ) -> Changed<Entry> {
        let after = self.getattr(caller, dir).await.ok();
        let why = "there are no sockets or pipes here";
        let result = Err(FsError::new(crate::error::ErrorKind::Unsupported, why));
        Changed { before: after.as_ref().map(PreAttr::from), after, result }
    }
    /// Removes a file.
    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()>;
    /// Removes an empty directory.
    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()>;
    /// Renames; an existing file of that name is replaced.
    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved;
    /// Gives an object a second name; `from` in the outcome stays empty.
    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved;
    /// Lists a directory after `cookie` (0 = from the start), at most `limit` entries; with
    /// `attributes`, each entry carries its handle and attributes.
    async fn readdir(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage>;
    /// Size of the file system.
    async fn fsstat(&self, caller: &Caller, handle: Handle) -> FsResult<FsStat>;
    /// Makes earlier unstable writes durable; the status is the verdict wherever that completes
    /// a save.
    async fn commit(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> Changed<Verifier>;
    /// Tells what NFS cannot. The status is the verdict wherever the hint completes a save.
    async fn hint(&self, caller: &Caller, handle: Handle, hint: Hint) -> FsResult<()>;
    /// A key for the MAC of handles that adapters give out; the same after a restart.
    fn handle_key(&self) -> [u8; 32];
}
