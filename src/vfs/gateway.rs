//! [`Vfs`]: the lake as a file system. This file holds its state, its start and its stop; what
//! the calls do is in `tree` (names and attributes), `tables` (content of tables), `names`
//! (create, remove, rename) and `info` (small files).

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::attr::{Owner, time_of_ns};
use super::inode::Inodes;
use super::namespace::Node;
use super::scratch::Scratch;
use super::slot::{BIRTH, Slot};
use super::staged::StagingArea;
use super::{Caller, FileTime, FsError, FsResult, Handle, Verifier};
use crate::clock::{Clock, SharedClock, random_hex};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::{Lake, Principal, SuperId, TableId};

/// The lake as a file system; see [`super::FileSystem`].
#[derive(Debug)]
pub struct Vfs {
    pub(super) lake: Lake,
    pub(super) settings: Settings,
    pub(super) clock: SharedClock,
    pub(super) inodes: Inodes,
    pub(super) scratch: Scratch,
    pub(super) owner: Owner,
    pub(super) verifier: Verifier,
    pub(super) counters: Counters,
    pub(super) shown_log: super::shown::ShownLog,
    slots: Mutex<HashMap<TableId, Arc<Slot>>>,
    /// Tables whose slot has something to finish.
    pending: Mutex<HashSet<TableId>>,
    /// When a directory was last changed here.
    directory_times: Mutex<HashMap<u64, FileTime>>,
    handle_key: [u8; 32],
    births: AtomicU64,
    started: FileTime,
    /// Content of generated files, so that size and bytes agree between calls.
    pub(super) generated: Mutex<HashMap<u64, super::info::Generated>>,
    /// Change feeds by table.
    pub(super) feeds: Mutex<HashMap<TableId, super::feed::SharedFeed>>,
    /// Files that were made of tables and queries.
    pub(super) spool: super::derived::spool::Spool,
    /// Who reads old versions of them.
    pub(super) readers: super::derived::Readers,
    /// The last answers of views.
    pub(super) view_results: super::derived::ViewResults,
    _lock: std::fs::File,
}

/// Counts since the start, shown in `.mountable/stats.json`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Saves that became a snapshot.
    pub(super) commits: AtomicU64,
    /// Saves that changed nothing.
    pub(super) unchanged: AtomicU64,
    /// Saves that were refused.
    pub(super) refused: AtomicU64,
    /// Bytes read from tables.
    pub(super) read_bytes: AtomicU64,
    /// Bytes written to tables.
    pub(super) written_bytes: AtomicU64,
}

impl Vfs {
    /// Opens the file system over a lake: takes the state directory, finishes or restores what an
    /// earlier process left there.
    ///
    /// # Errors
    /// `Busy` if another process uses the state directory; as the lake's and the local file
    /// system's.
    pub async fn open(lake: Lake, settings: &Settings, clock: SharedClock) -> Result<Arc<Self>> {
        let mut lock = take_state_directory(&settings.state)?;
        lake.take_locks_as(&lock_owner(&mut lock, clock.as_ref())?);
        let staged = settings.state.join("staged");
        make_private_directory(&staged)?;
        make_private_directory(&settings.state.join("rejected"))?;
        let limits = &settings.limits;
        let area = StagingArea::new(staged, limits.staged_bytes_max, limits.staged_file_bytes_max);
        // Behind all numbers of earlier processes: a handle of a file that is gone must not lead to
        // another one.
        let millis = u64::try_from(clock.now_ns().div_euclid(1_000_000)).unwrap_or(0);
        let last_id = super::recover::last_id(&area)?.max(millis << 12);
        let handle_key = lake.secret("handle-key").await?;
        let (shown_log, shown) = super::shown::ShownLog::open(&settings.state)?;
        let vfs = Arc::new(Self {
            inodes: Inodes::open(&settings.state)?,
            scratch: Scratch::new(area, Arc::clone(&clock), last_id),
            owner: Owner {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            },
            verifier: clock.random().to_be_bytes(),
            counters: Counters::default(),
            shown_log,
            slots: Mutex::default(),
            pending: Mutex::default(),
            directory_times: Mutex::default(),
            handle_key,
            births: AtomicU64::new(clock.random() >> 16),
            started: time_of_ns(clock.now_ns()),
            generated: Mutex::default(),
            feeds: Mutex::default(),
            spool: super::derived::spool::Spool::open(&settings.state, &settings.sql)?,
            readers: super::derived::Readers::default(),
            view_results: super::derived::ViewResults::default(),
            settings: settings.clone(),
            lake,
            clock,
            _lock: lock,
        });
        vfs.recover_shown(&shown);
        vfs.recover().await?;
        vfs.recover_displaced(&shown).await;
        super::timer::start(&vfs);
        Ok(vfs)
    }

    /// Finishes pending saves and leaves what cannot be finished for the next start.
    pub async fn shutdown(&self) {
        if let Err(error) = self.finish_everything().await {
            tracing::warn!(%error, "a pending save waits for the next start");
        }
        self.scratch.keep_on_disk();
        for slot in self.all_slots() {
            let state = slot.state();
            for edit in state.edits.values().chain(state.own.values()) {
                edit.file.lock().unwrap_or_else(PoisonError::into_inner).keep_on_disk();
            }
            if let Some(kept) = &state.kept {
                kept.file.lock().unwrap_or_else(PoisonError::into_inner).keep_on_disk();
            }
        }
    }

    pub(super) fn key(&self) -> [u8; 32] {
        self.handle_key
    }

    /// The time that new attributes get.
    pub(super) fn now(&self) -> FileTime {
        time_of_ns(self.clock.now_ns())
    }

    /// A handle version for an edit that begins in an empty slot.
    pub(super) fn fresh_birth(&self) -> u64 {
        BIRTH | (self.births.fetch_add(1, Ordering::Relaxed) & (BIRTH - 1))
    }

    /// The slot of a table's name.
    pub(super) fn slot(&self, table: &TableId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(table.clone()).or_insert_with(|| Slot::new(table.clone())))
    }

    /// The slot of a table's name, if there is one in use.
    pub(super) fn known_slot(&self, table: &TableId) -> Option<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    pub(super) fn all_slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Slots of a SuperTable that are in use.
    pub(super) fn slots_of(&self, id: &SuperId) -> Vec<Arc<Slot>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter(|slot| slot.table.super_id() == *id).cloned().collect()
    }

    /// Notes that a slot has something to finish later.
    pub(super) fn mark_pending(&self, table: &TableId) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone());
    }

    /// Slots with something to finish; those without are forgotten.
    pub(super) fn pending_slots(&self) -> Vec<Arc<Slot>> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = Vec::new();
        pending.retain(|table| {
            let Some(slot) = self.known_slot(table) else { return false };
            let busy = {
                let state = slot.state();
                !state.edits.is_empty() || state.displaced.is_some()
            };
            if busy {
                slots.push(slot);
            }
            busy
        });
        slots
    }

    /// The lake's principal for a caller.
    pub(super) fn principal(&self, caller: &Caller) -> Principal {
        Principal {
            uid: caller.uid,
            client: caller.client.to_string(),
            role: self.settings.role.clone(),
            read_only: self.settings.read_only || caller.read_only,
        }
    }

    /// The gateway itself as a principal (timers, recovery).
    pub(super) fn check_writable(&self, caller: &Caller) -> FsResult<()> {
        if self.settings.read_only || caller.read_only {
            let kind = crate::error::ErrorKind::ReadOnly;
            return Err(FsError::new(kind, "this export is read-only"));
        }
        Ok(())
    }

    /// What a handle stands for.
    ///
    /// # Errors
    /// `Stale` if it was never given out here or its object is gone.
    pub(super) fn node(&self, handle: Handle) -> FsResult<Node> {
        self.inodes.node(handle.inode).ok_or(FsError::Stale)
    }

    /// The handle of anything but a table.
    pub(super) fn handle(&self, node: &Node) -> Handle {
        Handle { inode: self.inodes.number(node), version: 0 }
    }

    /// When a directory was changed here; the start of the process if never.
    pub(super) fn directory_time(&self, inode: u64) -> FileTime {
        let times = self.directory_times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(&inode).copied().unwrap_or(self.started)
    }

    /// Notes that a directory changed.
    pub(super) fn directory_changed(&self, inode: u64) {
        if let Some(Node::Scratch(id)) = self.inodes.node(inode) {
            self.scratch.touch(id);
            return;
        }
        let now = self.now();
        let mut times = self.directory_times.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = times.entry(inode).or_insert(now);
        // Strictly increasing, so that a client's cached listing is never taken for current.
        *entry = if *entry < now { now } else { later(*entry) };
    }
}

/// The next representable time.
pub(super) fn later(time: FileTime) -> FileTime {
    if time.nanos >= 999_999_999 {
        return FileTime { seconds: time.seconds.saturating_add(1), nanos: 0 };
    }
    FileTime { seconds: time.seconds, nanos: time.nanos + 1 }
}

/// Makes a directory for this user only, with all above it.
///
/// # Errors
/// As the file system's.
pub(crate) fn make_private_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(())
}

/// The name under which every process with this state directory takes the locks of tables; it is
/// kept in the directory's lock file.
fn lock_owner(file: &mut std::fs::File, clock: &dyn Clock) -> Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    Read::by_ref(file).take(64).read_to_end(&mut text)?;
    let mut name = String::from_utf8_lossy(&text).into_owned();
    if name.len() != 16 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        name = random_hex(clock);
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(name.as_bytes())?;
    }
    Ok(name)
}

/// Makes the state directory and keeps other processes out of it.
fn take_state_directory(path: &Path) -> Result<std::fs::File> {
    make_private_directory(path).map_err(|error| error.with("state directory", path.display()))?;
    let lock = super::staged::private().read(true).write(true).open(path.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |error| {
            Error::new(
                crate::error::ErrorKind::Busy,
                "another gateway uses this state directory; stop it or choose another one with \
                 --state",
            )
            .with("state directory", path.display())
            .caused_by(std::io::Error::from(error))
        },
    )?;
    Ok(lock)
}
