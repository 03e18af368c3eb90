//! The calls, apart from the crate that carries them: each finds out what a number stands for,
//! asks the file system once and says what the kernel may remember.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::nodes::Nodes;
use super::opens::{Listings, OpenFile, OpenFiles, OpenMode};
use super::process::{self, Closing};
use crate::clock::SharedClock;
use crate::error::ErrorKind;
use crate::vfs::{
    Attr, Caller, Changed, CreateMode, DirEntry, Entry, FileKind, FileSystem, FsError, FsResult,
    FsStat, Handle, Hint, Moved, SetAttr, Special, Stability, access,
};

/// How long the kernel may take a directory's name and attributes for true. Names and attributes
/// of files are asked for each time: other clients commit at any time, and whoever opens a table
/// now has to see its newest version.
const DIRECTORY_TTL: Duration = Duration::from_secs(1);
/// How long a call waits for a table that somebody else holds.
const BUSY_WAIT: Duration = Duration::from_secs(60);
/// Wait between two attempts.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Names asked of the file system at once.
const LISTED_AT_ONCE: usize = 1024;

/// Everything that the calls of one mount share.
pub(super) struct Service {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) clock: SharedClock,
    pub(super) nodes: Nodes,
    pub(super) opens: OpenFiles,
    pub(super) listings: Listings,
    pub(super) client: Arc<str>,
    pub(super) read_only: bool,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The thread; 0 if the kernel acts by itself.
    pub(super) thread: u32,
}

/// An object that the kernel is told about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) node: u64,
    pub(super) attr: Attr,
    pub(super) ttl: Duration,
}

/// A file that was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) number: u64,
    /// The pages that the kernel has are still right.
    pub(super) keeps_pages: bool,
}

type Call<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a call came to, as far as waiting is concerned.
trait Outcome {
    fn is_busy(&self) -> bool;
}

fn busy(error: Option<&FsError>) -> bool {
    error.and_then(FsError::kind) == Some(ErrorKind::Busy)
}

impl<T> Outcome for FsResult<T> {
    fn is_busy(&self) -> bool {
        busy(self.as_ref().err())
    }
}

impl<T> Outcome for Changed<T> {
    fn is_busy(&self) -> bool {
        self.result.is_busy()
    }
}

impl Outcome for Moved {
    fn is_busy(&self) -> bool {
        self.result.is_busy()
    }
}

impl Service {
    /// Repeats a call while a table is held elsewhere: there is no answer that makes the kernel
    /// ask again later.
    async fn patiently<'a, T: Outcome>(&self, mut call: impl FnMut() -> Call<'a, T>) -> T {
        let begun = self.clock.monotonic_ns();
        loop {
            let outcome = call().await;
            let waited = self.clock.monotonic_ns().saturating_sub(begun);
            if !outcome.is_busy() || u128::from(waited) >= BUSY_WAIT.as_nanos() {
                return outcome;
            }
            self.clock.sleep(BUSY_PAUSE).await;
        }
    }

    /// The file system's caller.
    pub(super) fn caller(&self, who: Who) -> Caller {
        Caller {
            uid: who.uid,
            gid: who.gid,
            groups: Arc::from([]),
            client: Arc::clone(&self.client),
            read_only: self.read_only,
        }
    }

    fn handle(&self, node: u64) -> FsResult<Handle> {
        self.nodes.handle(node).ok_or(FsError::Stale)
    }

    fn found(&self, entry: Entry) -> Found {
        let node = self.nodes.looked_up(entry.handle);
        Found { node, attr: entry.attr, ttl: ttl(&entry.attr) }
    }

    pub(super) async fn lookup(&self, who: Who, parent: u64, name: &[u8]) -> FsResult<Found> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        Ok(self.found(self.files.lookup(&caller, dir, name).await?))
    }

    pub(super) async fn getattr(&self, who: Who, node: u64) -> FsResult<Attr> {
        self.files.getattr(&self.caller(who), self.handle(node)?).await
    }

    pub(super) async fn setattr(
        &self,
        who: Who,
        node: u64,
        set: SetAttr,
        file: Option<u64>,
    ) -> FsResult<Attr> {
        let (caller, handle) = (self.caller(who), self.handle(node)?);
        if set.size.is_some()
            && let Some(file) = file.and_then(|number| self.opens.get(number))
        {
            file.note_written();
        }
        let changed = self.patiently(|| self.files.setattr(&caller, handle, set, None)).await;
        changed.result?;
        match changed.after {
            Some(attr) => Ok(attr),
            None => self.files.getattr(&caller, handle).await,
        }
    }

    pub(super) async fn readlink(&self, who: Who, node: u64) -> FsResult<Vec<u8>> {
        self.files.readlink(&self.caller(who), self.handle(node)?).await
    }

    /// Whether the caller may do what the bits of access(2) ask for.
    pub(super) async fn access(&self, who: Who, node: u64, asked: u32) -> FsResult<()> {
        let granted = self.files.access(&self.caller(who), self.handle(node)?, asked).await?;
        match asked & !granted {
            0 => Ok(()),
            missing if missing & access::MODIFY != 0 => {
                Err(FsError::new(ErrorKind::ReadOnly, "this cannot be written"))
            }
            _ => Err(FsError::new(ErrorKind::Denied, "not allowed")),
        }
    }

    pub(super) async fn mkdir(
        &self,
        who: Who,
        parent: u64,
        name: &[u8],
        mode: u32,
    ) -> FsResult<Found> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        let changed = self.patiently(|| self.files.mkdir(&caller, dir, name, set)).await;
        Ok(self.found(changed.result?))
    }

    pub(super) async fn symlink(
        &self,
        who: Who,
        parent: u64,
        name: &[u8],
        target: &[u8],
    ) -> FsResult<Found> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        let set = SetAttr::default();
        let changed = self.files.symlink(&caller, dir, name, target, set).await;
        Ok(self.found(changed.result?))
    }

    pub(super) async fn unlink(&self, who: Who, parent: u64, name: &[u8]) -> FsResult<()> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        self.patiently(|| self.files.remove(&caller, dir, name)).await.result
    }

    pub(super) async fn rmdir(&self, who: Who, parent: u64, name: &[u8]) -> FsResult<()> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        self.patiently(|| self.files.rmdir(&caller, dir, name)).await.result
    }

    pub(super) async fn rename(
        &self,
        who: Who,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
    ) -> FsResult<()> {
        let caller = self.caller(who);
        let from = (self.handle(from.0)?, from.1);
        let to = (self.handle(to.0)?, to.1);
        self.patiently(|| self.files.rename(&caller, from, to)).await.result
    }

    pub(super) async fn link(&self, who: Who, node: u64, to: (u64, &[u8])) -> FsResult<Found> {
        let (caller, handle) = (self.caller(who), self.handle(node)?);
        let dir = self.handle(to.0)?;
        self.patiently(|| self.files.link(&caller, handle, (dir, to.1))).await.result?;
        Ok(self.found(self.files.lookup(&caller, dir, to.1).await?))
    }

    /// Opens a file; what it shows stays until it is closed.
    pub(super) async fn open(&self, who: Who, node: u64, flags: i32) -> FsResult<Opened> {
        let mode = OpenMode::of(flags);
        let (caller, handle) = (self.caller(who), self.handle(node)?);
        let asked = if mode.writes { access::MODIFY } else { access::READ };
        // A version that is not the newest any more is stale: the kernel looks the name up again.
        self.access(who, node, asked).await?;
        let number = self.opened(who, caller.clone(), handle, mode).await?;
        let keeps_pages = match self.files.getattr(&caller, handle).await {
            Ok(attr) => self.nodes.keeps_pages(node, &attr),
            Err(_) => false,
        };
        Ok(Opened { number, keeps_pages })
    }

    async fn opened(
        &self,
        who: Who,
        caller: Caller,
        handle: Handle,
        mode: OpenMode,
    ) -> FsResult<u64> {
        self.files.hint(&caller, handle, Hint::Opened { writes: mode.writes }).await?;
        let process = if mode.writes { process::process_of(who.thread) } else { 0 };
        Ok(self.opens.insert(OpenFile::new(handle, caller, process, mode)))
    }

    /// Creates and opens a file.
    pub(super) async fn create(
        &self,
        who: Who,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: i32,
    ) -> FsResult<(Found, u64)> {
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        let how = create_mode(mode, flags);
        let changed = self.patiently(|| self.files.create(&caller, dir, name, how)).await;
        let entry = changed.result?;
        let number = self.opened(who, caller, entry.handle, OpenMode::of(flags)).await?;
        Ok((self.found(entry), number))
    }

    /// Creates a file without opening it, a named pipe or a socket.
    pub(super) async fn mknod(
        &self,
        who: Who,
        parent: u64,
        name: &[u8],
        mode: u32,
    ) -> FsResult<Found> {
        use rustix::fs::FileType;
        let (caller, dir) = (self.caller(who), self.handle(parent)?);
        let attr = mode_only(mode);
        let special = |kind| self.files.special(&caller, dir, name, kind, attr);
        let changed = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => {
                let how = CreateMode::Guarded(attr);
                self.patiently(|| self.files.create(&caller, dir, name, how)).await
            }
            FileType::Fifo => special(Special::Pipe).await,
            FileType::Socket => special(Special::Socket).await,
            // A device of whoever mounts the lake is nobody's to name there.
            _ => return Err(FsError::NotPermitted),
        };
        Ok(self.found(changed.result?))
    }

    fn file(&self, number: u64) -> FsResult<Arc<OpenFile>> {
        self.opens.get(number).ok_or(FsError::BadHandle)
    }

    pub(super) async fn read(&self, number: u64, offset: u64, count: u32) -> FsResult<Vec<Bytes>> {
        let file = self.file(number)?;
        Ok(self.files.read(&file.caller, file.handle, offset, count).await?.data)
    }

    /// Writes; the status is the verdict where whole lines were added.
    pub(super) async fn write(
        &self,
        number: u64,
        offset: u64,
        data: Bytes,
        paged: bool,
    ) -> FsResult<u32> {
        let file = self.file(number)?;
        let (caller, handle) = (&file.caller, file.handle);
        let mut offset = offset;
        if file.appends && !paged {
            // After a refusal the kernel goes on at the end of what was refused.
            offset = offset.min(self.files.getattr(caller, handle).await?.size);
        }
        file.note_written();
        let stability = Stability::Unstable;
        let write = || self.files.write(caller, handle, offset, data.clone(), stability);
        Ok(self.patiently(write).await.result?.count)
    }

    /// A descriptor is closed: a save that ends with it is judged, and the verdict is what
    /// close(2) answers.
    pub(super) async fn flush(&self, who: Who, node: u64, number: u64) -> FsResult<()> {
        let file = self.file(number)?;
        if !file.written() {
            // Shells duplicate a descriptor and close the first before anything is written.
            return Ok(());
        }
        let hint = match process::closing(who.thread, file.process, [node, file.handle.inode]) {
            Closing::OneOfSeveral => Hint::Flushed,
            Closing::Last => Hint::Finished,
            Closing::Killed => Hint::Abandoned,
        };
        self.patiently(|| self.files.hint(&file.caller, file.handle, hint)).await
    }

    /// Everything that was written survives the machine from now on.
    pub(super) async fn fsync(&self, number: u64) -> FsResult<()> {
        let file = self.file(number)?;
        let commit = || self.files.commit(&file.caller, file.handle, 0, 0);
        self.patiently(commit).await.result.map(|_| ())
    }

    /// The last descriptor of an open file is gone.
    pub(super) async fn release(&self, number: u64) {
        if let Some(file) = self.opens.remove(number) {
            self.close(&file).await;
        }
    }

    async fn close(&self, file: &OpenFile) {
        let hint = Hint::Closed { writes: file.writes, written: file.written() };
        if let Err(error) = self.files.hint(&file.caller, file.handle, hint).await {
            tracing::debug!(%error, "nobody hears the verdict of a save");
        }
    }

    /// Closes what the kernel did not close: the mount is gone, and with it the way by which a
    /// writer could finish.
    pub(super) async fn close_all(&self) {
        for file in self.opens.drain() {
            if file.written()
                && let Err(error) =
                    self.files.hint(&file.caller, file.handle, Hint::Abandoned).await
            {
                tracing::debug!(%error, "forget an open file");
            }
            self.close(&file).await;
        }
    }

    pub(super) async fn statfs(&self, who: Who, node: u64) -> FsResult<FsStat> {
        self.files.fsstat(&self.caller(who), self.handle(node)?).await
    }

    /// Lists a directory from `offset` on. The names are those of the first call with offset 0.
    pub(super) async fn listing(
        &self,
        who: Who,
        node: u64,
        number: u64,
        offset: u64,
    ) -> FsResult<Arc<Vec<DirEntry>>> {
        if offset > 0
            && let Some(listing) = self.listings.get(number)
        {
            return Ok(listing);
        }
        let (caller, dir) = (self.caller(who), self.handle(node)?);
        let mut all = Vec::new();
        loop {
            let cookie = all.last().map_or(0, |entry: &DirEntry| entry.cookie);
            let page = self.files.readdir(&caller, dir, cookie, LISTED_AT_ONCE, false).await?;
            let end = page.end || page.entries.is_empty();
            all.extend(page.entries);
            if end {
                break;
            }
        }
        let listing = Arc::new(all);
        self.listings.set(number, Arc::clone(&listing));
        Ok(listing)
    }
}

/// How long the kernel may take attributes for true.
pub(super) fn ttl(attr: &Attr) -> Duration {
    match attr.kind {
        FileKind::Directory => DIRECTORY_TTL,
        FileKind::Regular | FileKind::Symlink | FileKind::Pipe | FileKind::Socket => Duration::ZERO,
    }
}

fn mode_only(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode & 0o7777), ..SetAttr::default() }
}

fn create_mode(mode: u32, flags: i32) -> CreateMode {
    use rustix::fs::OFlags;
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    let set = mode_only(mode);
    if flags.contains(OFlags::EXCL) {
        return CreateMode::Guarded(set);
    }
    let size = flags.contains(OFlags::TRUNC).then_some(0);
    CreateMode::Unchecked(SetAttr { size, ..set })
}
