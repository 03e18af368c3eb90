//! Files that are open on the mount.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::vfs::{Caller, DirEntry, Handle};

/// An open file: what the kernel calls a file handle.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// What is open.
    pub(super) handle: Handle,
    /// Who opened it; the kernel writes pages back in nobody's name.
    pub(super) caller: Caller,
    /// Process that opened it, 0 if it is not known.
    pub(super) process: u32,
    /// Opened for writing.
    pub(super) writes: bool,
    /// Every write goes to the end of the file.
    pub(super) appends: bool,
    /// Something was written or cut off.
    written: AtomicBool,
}

impl OpenFile {
    pub(super) fn new(handle: Handle, caller: Caller, process: u32, mode: OpenMode) -> Self {
        let OpenMode { writes, appends } = mode;
        Self { handle, caller, process, writes, appends, written: AtomicBool::new(false) }
    }

    /// Notes a change.
    pub(super) fn note_written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    /// Whether there was a change.
    pub(super) fn written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenMode {
    /// For writing.
    pub(super) writes: bool,
    /// For writing at the end.
    pub(super) appends: bool,
}

impl OpenMode {
    /// Reads the flags of open(2).
    pub(super) fn of(flags: i32) -> Self {
        let flags = rustix::fs::OFlags::from_bits_retain(flags.cast_unsigned());
        let access = flags & rustix::fs::OFlags::RWMODE;
        let writes = access == rustix::fs::OFlags::WRONLY || access == rustix::fs::OFlags::RDWR;
        Self { writes, appends: writes && flags.contains(rustix::fs::OFlags::APPEND) }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    files: HashMap<u64, Arc<OpenFile>>,
    given: u64,
}

impl OpenFiles {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an open file under a number of its own.
    pub(super) fn insert(&self, file: OpenFile) -> u64 {
        let mut table = self.lock();
        table.given += 1;
        let number = table.given;
        table.files.insert(number, Arc::new(file));
        number
    }

    /// The open file of a number.
    pub(super) fn get(&self, number: u64) -> Option<Arc<OpenFile>> {
        self.lock().files.get(&number).cloned()
    }

    /// Takes an open file out.
    pub(super) fn remove(&self, number: u64) -> Option<Arc<OpenFile>> {
        self.lock().files.remove(&number)
    }

    /// Takes all out.
    pub(super) fn drain(&self) -> Vec<Arc<OpenFile>> {
        self.lock().files.drain().map(|(_, file)| file).collect()
    }
}

/// Directories that are open, with the names that they had when they were read.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    open: HashMap<u64, Option<Arc<Vec<DirEntry>>>>,
    given: u64,
}

impl Listings {
    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a directory.
    pub(super) fn open(&self) -> u64 {
        let mut listed = self.lock();
        listed.given += 1;
        let number = listed.given;
        listed.open.insert(number, None);
        number
    }

    /// The names, if they were read.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Vec<DirEntry>>> {
        self.lock().open.get(&number).cloned().flatten()
    }

    /// Keeps the names for the rest of the listing.
    pub(super) fn set(&self, number: u64, names: Arc<Vec<DirEntry>>) {
        if let Some(open) = self.lock().open.get_mut(&number) {
            *open = Some(names);
        }
    }

    /// Closes a directory.
    pub(super) fn close(&self, number: u64) {
        self.lock().open.remove(&number);
    }
}
