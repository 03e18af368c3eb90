//! Scratch: everything that tools create beside tables (swap files, temporary copies, lock links,
//! `.git`). Kept on local disk with POSIX semantics, never in the lake, gone when it expires.
//!
//! A scratch file can also be a view of a table's snapshot (`orders.csv~` after a rename): its
//! staged content then lies over that snapshot, and nothing is copied.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attr::{FSID, chosen_time, time_of_ns};
use super::gateway::later;
use super::staged::{StagedFile, StagingArea, write_note};
use super::{Attr, FileKind, FileTime, SetAttr};
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::TableId;

/// A staged file that several calls may use.
pub(super) type SharedFile = Arc<Mutex<StagedFile>>;

/// What a scratch object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ScratchKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link with its target.
    Symlink(Vec<u8>),
    /// Named pipe.
    Pipe,
    /// Socket.
    Socket,
}

impl ScratchKind {
    /// The kind as clients see it.
    pub(super) fn file_kind(&self) -> FileKind {
        match self {
            Self::File => FileKind::Regular,
            Self::Directory => FileKind::Directory,
            Self::Symlink(_) => FileKind::Symlink,
            Self::Pipe => FileKind::Pipe,
            Self::Socket => FileKind::Socket,
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        *self == Self::Directory
    }
}

/// A snapshot that a scratch file shows where it was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BaseRef {
    /// Table as `org/super/table`.
    pub(super) table: String,
    /// Version.
    pub(super) version: u64,
}

/// What is kept about a scratch object, also on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ScratchMeta {
    /// Kind.
    pub(super) kind: ScratchKind,
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Access, modification and change times, as (seconds, nanoseconds).
    pub(super) times: [(u32, u32); 3],
    /// Directory inodes and names under which it is known.
    pub(super) names: Vec<(u64, Vec<u8>)>,
    /// Verifier of the exclusive create that made it.
    pub(super) verifier: Option<[u8; 8]>,
    /// Snapshot below the staged content.
    pub(super) base: Option<BaseRef>,
    /// The table and version that this file became when it was renamed onto a table's name.
    pub(super) became: Option<BaseRef>,
}

struct Object {
    meta: ScratchMeta,
    file: Option<SharedFile>,
    used_ns: u64,
}

/// All scratch objects.
pub(super) struct Scratch {
    area: Arc<StagingArea>,
    clock: SharedClock,
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: HashMap<u64, Object>,
    names: HashMap<u64, BTreeMap<Vec<u8>, u64>>,
}

impl State {
    /// How many names in a directory are directories.
    fn directories_in(&self, dir: u64) -> usize {
        let Some(names) = self.names.get(&dir) else { return 0 };
        let is_directory =
            |id: &&u64| self.objects.get(*id).is_some_and(|object| object.meta.kind.is_directory());
        names.values().filter(is_directory).count()
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

fn pair(time: FileTime) -> (u32, u32) {
    (time.seconds, time.nanos)
}

fn unpair((seconds, nanos): (u32, u32)) -> FileTime {
    FileTime { seconds, nanos }
}

fn gone() -> Error {
    Error::not_found("the scratch object is gone")
}

impl Scratch {
    /// Starts empty; numbers begin behind `last_id`.
    pub(super) fn new(area: Arc<StagingArea>, clock: SharedClock, last_id: u64) -> Self {
        Self { area, clock, next_id: AtomicU64::new(last_id + 1), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new staged file.
    pub(super) fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The staging area.
    pub(super) fn area(&self) -> &Arc<StagingArea> {
        &self.area
    }

    /// The object of that name in a directory.
    pub(super) fn child(&self, dir: u64, name: &[u8]) -> Option<u64> {
        self.state().names.get(&dir)?.get(name).copied()
    }

    /// Names in a directory.
    pub(super) fn children(&self, dir: u64) -> Vec<(Vec<u8>, u64)> {
        let state = self.state();
        let Some(names) = state.names.get(&dir) else { return Vec::new() };
        names.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// Makes an object; an object that had the name loses it.
    ///
    /// # Errors
    /// `Full`, or as the file system's.
    pub(super) fn create(
        &self,
        at: (u64, &[u8]),
        kind: ScratchKind,
        owner: (u32, u32, u32),
        now: FileTime,
    ) -> Result<u64> {
        let id = self.fresh_id();
        let file = match kind {
            ScratchKind::File => Some(StagedFile::create(&self.area, id, 0)?),
            _ => None,
        };
        let (mode, uid, gid) = owner;
        let meta = ScratchMeta {
            kind,
            mode,
            uid,
            gid,
            times: [pair(now); 3],
            names: Vec::new(),
            verifier: None,
            base: None,
            became: None,
        };
        self.insert(id, meta, file);
        self.add_name(id, at)?;
        Ok(id)
    }

    /// Makes a file that shows a snapshot of `bytes` length.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn create_view(
        &self,
        at: (u64, &[u8]),
        attr: &Attr,
        table: &TableId,
        version: u64,
        content: Option<StagedFile>,
    ) -> Result<u64> {
        let (id, file) = match content {
            Some(file) => (file.id(), file),
            None => {
                let id = self.fresh_id();
                (id, StagedFile::create(&self.area, id, attr.size)?)
            }
        };
        let meta = ScratchMeta {
            kind: ScratchKind::File,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            times: [pair(attr.atime), pair(attr.mtime), pair(attr.ctime)],
            names: Vec::new(),
            verifier: None,
            base: Some(BaseRef { table: table.to_string(), version }),
            became: None,
        };
        self.insert(id, meta, Some(file));
        self.add_name(id, at)?;
        Ok(id)
    }

    /// Puts an object back after a restart.
    pub(super) fn insert(&self, id: u64, meta: ScratchMeta, file: Option<StagedFile>) {
        let mut state = self.state();
        for (dir, name) in &meta.names {
            state.names.entry(*dir).or_default().insert(name.clone(), id);
        }
        let file = file.map(|file| Arc::new(Mutex::new(file)));
        state.objects.insert(id, Object { meta, file, used_ns: self.clock.monotonic_ns() });
    }

    /// Lets `change` edit what is kept about an object, and writes it down.
    ///
    /// # Errors
    /// `NotFound`, or as the file system's.
    pub(super) fn update<T>(
        &self,
        id: u64,
        change: impl FnOnce(&mut ScratchMeta) -> T,
    ) -> Result<T> {
        let mut state = self.state();
        let object = state.objects.get_mut(&id).ok_or_else(gone)?;
        let value = change(&mut object.meta);
        self.save(id, &object.meta)?;
        Ok(value)
    }

    /// What is kept about an object.
    pub(super) fn meta(&self, id: u64) -> Option<ScratchMeta> {
        self.state().objects.get(&id).map(|object| object.meta.clone())
    }

    /// The content of a file.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` if it is no file.
    pub(super) fn file(&self, id: u64) -> Result<SharedFile> {
        let mut state = self.state();
        let object = state.objects.get_mut(&id).ok_or_else(gone)?;
        object.used_ns = self.clock.monotonic_ns();
        object.file.clone().ok_or_else(|| Error::invalid("not a regular file"))
    }

    /// Attributes of an object under an inode number.
    pub(super) fn attr(&self, id: u64, inode: u64) -> Option<Attr> {
        let state = self.state();
        let object = state.objects.get(&id)?;
        let meta = &object.meta;
        let kind = meta.kind.file_kind();
        let size = match &meta.kind {
            ScratchKind::File => {
                let file = object.file.as_ref()?;
                file.lock().unwrap_or_else(PoisonError::into_inner).size()
            }
            ScratchKind::Directory => 4096,
            ScratchKind::Symlink(target) => u64::try_from(target.len()).unwrap_or(u64::MAX),
            ScratchKind::Pipe | ScratchKind::Socket => 0,
        };
        let links = match kind {
            // Its name, its dot, and the two dots of those below.
            FileKind::Directory => 2 + state.directories_in(inode),
            _ => meta.names.len().max(1),
        };
        let links = u32::try_from(links).unwrap_or(u32::MAX);
        Some(Attr {
            kind,
            mode: meta.mode,
            links,
            uid: meta.uid,
            gid: meta.gid,
            size,
            used: size.div_ceil(512).saturating_mul(512),
            fsid: FSID,
            inode,
            atime: unpair(meta.times[0]),
            mtime: unpair(meta.times[1]),
            ctime: unpair(meta.times[2]),
        })
    }

    /// Sets mode, owner and times (the size is set on the content).
    ///
    /// # Errors
    /// `NotFound`, or as the file system's.
    pub(super) fn set_attr(&self, id: u64, set: &SetAttr, now: FileTime) -> Result<()> {
        self.update(id, |meta| {
            meta.mode = set.mode.map_or(meta.mode, |mode| mode & 0o7777);
            meta.uid = set.uid.unwrap_or(meta.uid);
            meta.gid = set.gid.unwrap_or(meta.gid);
            if let Some(time) = chosen_time(set.atime, now) {
                meta.times[0] = pair(time);
            }
            if let Some(time) = chosen_time(set.mtime, now) {
                meta.times[1] = pair(time);
            } else if set.size.is_some() {
                meta.times[1] = pair(now);
            }
            meta.times[2] = pair(now);
        })
    }

    /// Notes that the content changed, or the names in a directory.
    pub(super) fn touch(&self, id: u64) {
        // Not written down: after a crash the time is that of the last attribute change.
        if let Some(object) = self.state().objects.get_mut(&id) {
            let now = self.change_time(&object.meta);
            object.meta.times[1] = now;
            object.meta.times[2] = now;
        }
    }

    /// A change time for now, later than the last one.
    fn change_time(&self, meta: &ScratchMeta) -> (u32, u32) {
        let last = later(unpair(meta.times[2]));
        pair(time_of_ns(self.clock.now_ns()).max(last))
    }

    /// Gives an object a name; an object that had it loses it.
    ///
    /// # Errors
    /// `NotFound`, or as the file system's.
    pub(super) fn add_name(&self, id: u64, (dir, name): (u64, &[u8])) -> Result<()> {
        if self.child(dir, name).is_some_and(|old| old != id) {
            self.remove_name(dir, name)?;
        }
        let mut state = self.state();
        state.names.entry(dir).or_default().insert(name.to_vec(), id);
        let object = state.objects.get_mut(&id).ok_or_else(gone)?;
        let entry = (dir, name.to_vec());
        if !object.meta.names.contains(&entry) {
            object.meta.names.push(entry);
            object.meta.times[2] = self.change_time(&object.meta);
        }
        self.save(id, &object.meta)
    }

    /// Takes a name away; an object without names is removed.
    ///
    /// # Errors
    /// `NotFound`, or as the file system's.
    pub(super) fn remove_name(&self, dir: u64, name: &[u8]) -> Result<u64> {
        let mut state = self.state();
        let id = state.names.get_mut(&dir).and_then(|names| names.remove(name)).ok_or_else(gone)?;
        if state.names.get(&dir).is_some_and(BTreeMap::is_empty) {
            state.names.remove(&dir);
        }
        let Some(object) = state.objects.get_mut(&id) else { return Ok(id) };
        object.meta.names.retain(|(d, n)| *d != dir || n != name);
        object.meta.times[2] = self.change_time(&object.meta);
        if !object.meta.names.is_empty() {
            self.save(id, &object.meta)?;
            return Ok(id);
        }
        if object.meta.became.is_none() {
            state.objects.remove(&id);
        } else {
            // Its handles lead to the table now; the bytes are there.
            object.file = None;
            object.used_ns = self.clock.monotonic_ns();
        }
        drop(state);
        let path = self.area.directory.join(format!("{id:016x}.json"));
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(id),
        }
    }

    /// Whether a directory has no scratch children.
    pub(super) fn is_empty(&self, dir: u64) -> bool {
        self.state().names.get(&dir).is_none_or(BTreeMap::is_empty)
    }

    /// Removes files that nobody used for `unused`; their number.
    pub(super) fn expire(&self, unused: Duration) -> usize {
        let unused = u64::try_from(unused.as_nanos()).unwrap_or(u64::MAX);
        let before_ns = self.clock.monotonic_ns().saturating_sub(unused);
        let old: Vec<(u64, Vec<u8>)> = {
            let mut state = self.state();
            state.objects.retain(|_, object| {
                object.meta.became.is_none()
                    || !object.meta.names.is_empty()
                    || object.used_ns >= before_ns
            });
            let idle = |object: &&Object| {
                object.used_ns < before_ns && object.meta.kind == ScratchKind::File
            };
            state.objects.values().filter(idle).flat_map(|o| o.meta.names.clone()).collect()
        };
        old.iter().filter(|(dir, name)| self.remove_name(*dir, name).is_ok()).count()
    }

    /// Leaves all files on disk when the gateway stops.
    pub(super) fn keep_on_disk(&self) {
        for object in self.state().objects.values() {
            if let Some(file) = &object.file {
                file.lock().unwrap_or_else(PoisonError::into_inner).keep_on_disk();
            }
        }
    }

    fn save(&self, id: u64, meta: &ScratchMeta) -> Result<()> {
        let text = serde_json::to_vec(&serde_json::json!({ "scratch": meta }))
            .map_err(|error| Error::new(ErrorKind::Internal, "write scratch").caused_by(error))?;
        write_note(&self.area, id, &text)
    }
}
