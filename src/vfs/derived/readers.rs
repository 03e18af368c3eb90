//! Who is in the middle of reading an old version of what is made of tables.
//!
//! An NFS client looks a name up again only when its handle is stale; so the attributes of a
//! version that is not the newest are, unless somebody reads it: a reader that has not reached the
//! end, or one that has it open.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::name::Derived;
use crate::vfs::gateway::Vfs;
use crate::vfs::{Caller, FsError, FsResult, Handle, Hint};

/// Files whose readers are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// What is known of the readers of a version.
#[derive(Debug, Default, Clone, Copy)]
struct Reader {
    /// When a part before the end was last read; 0 = not.
    read_ns: u64,
    /// How many have it open.
    opens: u64,
}

/// The readers of all versions.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Readers(Mutex<HashMap<Handle, Reader>>);

impl Readers {
    fn all(&self) -> MutexGuard<'_, HashMap<Handle, Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part was read, up to the end or not.
    pub(super) fn note_read(&self, handle: Handle, eof: bool, now_ns: u64) {
        let mut all = self.all();
        if eof {
            if let Some(reader) = all.get_mut(&handle) {
                reader.read_ns = 0;
            }
        } else {
            all.entry(handle).or_default().read_ns = now_ns.max(1);
        }
        if all.len() > REMEMBERED_MAX {
            let newest = all.values().map(|reader| reader.read_ns).max().unwrap_or_default();
            all.retain(|_, reader| reader.opens > 0 || reader.read_ns == newest);
        }
        all.retain(|_, reader| reader.opens > 0 || reader.read_ns > 0);
    }

    fn note_open(&self, handle: Handle) {
        self.all().entry(handle).or_default().opens += 1;
    }

    fn note_closed(&self, handle: Handle) {
        if let Some(reader) = self.all().get_mut(&handle) {
            reader.opens = reader.opens.saturating_sub(1);
        }
    }

    fn is_read(&self, handle: Handle, now_ns: u64, patience: Duration) -> bool {
        let all = self.all();
        let Some(reader) = all.get(&handle) else { return false };
        let silent = u128::from(now_ns.saturating_sub(reader.read_ns));
        reader.opens > 0 || (reader.read_ns > 0 && silent < patience.as_nanos())
    }
}

impl Vfs {
    /// Refuses a handle of an old version that nobody reads.
    ///
    /// # Errors
    /// `Stale`.
    pub(in crate::vfs) async fn check_newest(
        &self,
        caller: &Caller,
        handle: Handle,
        derived: &Derived,
    ) -> FsResult<()> {
        let newest = match derived {
            Derived::Format(table, _) | Derived::Part(table, _) => {
                let latest = self.latest(caller, table).await;
                latest.is_ok_and(|snapshot| snapshot.version == handle.version)
            }
            Derived::Result(id, name) => {
                self.is_newest_answer(caller, (id, name), handle.version).await
            }
            _ => true,
        };
        let now = self.clock.monotonic_ns();
        if newest || self.readers.is_read(handle, now, self.settings.timing.reader) {
            return Ok(());
        }
        Err(FsError::Stale)
    }

    /// What FUSE tells about open files.
    pub(in crate::vfs) fn take_derived_hint(&self, handle: Handle, hint: Hint) {
        match hint {
            Hint::Opened { .. } => self.readers.note_open(handle),
            Hint::Closed { .. } => self.readers.note_closed(handle),
            Hint::Flushed | Hint::Finished | Hint::Abandoned => {}
        }
    }
}
