//! The calls over a file system in memory, without a kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::nodes::Nodes;
use super::opens::{Listings, OpenFiles, OpenMode};
use super::service::{Service, Who, ttl};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind};
use crate::nfs::MemoryFs;
use crate::vfs::{
    Attr, Caller, Changed, CreateMode, DirPage, Entry, FileSystem, FileTime, FsError, FsResult,
    FsStat, Handle, Hint, Moved, ReadReply, SetAttr, Stability, Verifier, WriteReply,
};

const ME: Who = Who { uid: 1000, gid: 1000, thread: 0 };
const ROOT: u64 = 1;

/// Files in memory that keep the hints, and whose first `busy` renames find the table held.
struct Noted {
    files: MemoryFs,
    hints: std::sync::Mutex<Vec<Hint>>,
    busy: AtomicUsize,
}

fn lab(busy: usize) -> (Arc<Noted>, Service) {
    let clock = Arc::new(SystemClock);
    let files = MemoryFs::new(clock.clone(), 1 << 20);
    let noted =
        Arc::new(Noted { files, hints: std::sync::Mutex::default(), busy: AtomicUsize::new(busy) });
    let service = Service {
        files: noted.clone(),
        clock,
        nodes: Nodes::default(),
        opens: OpenFiles::default(),
        listings: Listings::default(),
        client: "fuse test".into(),
        read_only: false,
    };
    (noted, service)
}

const CREATE: i32 = 0o100 | 0o2;
const EXCLUSIVE: i32 = CREATE | 0o200;
const APPEND: i32 = 0o2000 | 0o1;

#[tokio::test]
async fn a_file_is_created_written_read_listed_renamed_and_removed() {
    let (_, service) = lab(0);
    let (found, file) = service.create(ME, ROOT, b"a", 0o640, EXCLUSIVE).await.unwrap();
    assert_eq!(found.attr.mode & 0o777, 0o640);
    let again = service.create(ME, ROOT, b"a", 0o640, EXCLUSIVE).await.unwrap_err();
    assert_eq!(again.kind(), Some(ErrorKind::AlreadyExists));
    let data = Bytes::from_static(b"hello");
    assert_eq!(service.write(file, 0, data, false).await.unwrap(), 5);
    assert_eq!(service.read(file, 1, 100).await.unwrap().concat(), b"ello");
    service.fsync(file).await.unwrap();
    service.release(file).await;
    assert!(matches!(service.read(file, 0, 1).await, Err(FsError::BadHandle)));
    assert_eq!(service.lookup(ME, ROOT, b"a").await.unwrap().attr.size, 5);
    service.rename(ME, (ROOT, b"a"), (ROOT, b"b")).await.unwrap();
    service.mkdir(ME, ROOT, b"d", 0o755).await.unwrap();
    let listing = service.listing(ME, ROOT, service.listings.open(), 0).await.unwrap();
    let mut names: Vec<_> = listing.iter().map(|entry| entry.name.clone()).collect();
    names.sort();
    assert_eq!(names, [&b"."[..], b"..", b"b", b"d"]);
    service.unlink(ME, ROOT, b"b").await.unwrap();
    service.rmdir(ME, ROOT, b"d").await.unwrap();
    let gone = service.lookup(ME, ROOT, b"b").await.unwrap_err();
    assert_eq!(gone.kind(), Some(ErrorKind::NotFound));
    assert_eq!(
        service.mknod(ME, ROOT, b"n", 0o10644).await.unwrap_err().kind(),
        Some(ErrorKind::Unsupported)
    );
    assert!(service.mknod(ME, ROOT, b"n", 0o100_644).await.is_ok());
}

#[tokio::test]
async fn a_listing_keeps_its_names_until_it_is_read_again() {
    let (_, service) = lab(0);
    let number = service.listings.open();
    let before = service.listing(ME, ROOT, number, 0).await.unwrap();
    service.mkdir(ME, ROOT, b"d", 0o755).await.unwrap();
    let rest = service.listing(ME, ROOT, number, 1).await.unwrap();
    assert_eq!(rest.len(), before.len());
    let fresh = service.listing(ME, ROOT, number, 0).await.unwrap();
    assert_eq!(fresh.len(), before.len() + 1);
    service.listings.close(number);
    assert!(service.listings.get(number).is_none());
}

#[tokio::test]
async fn an_append_goes_to_the_end_whatever_the_kernel_thinks() {
    let (_, service) = lab(0);
    let (found, file) = service.create(ME, ROOT, b"a", 0o640, CREATE).await.unwrap();
    service.write(file, 0, Bytes::from_static(b"12345"), false).await.unwrap();
    let file = service.open(ME, found.node, APPEND).await.unwrap().number;
    service.write(file, 9, Bytes::from_static(b"67"), false).await.unwrap();
    assert_eq!(service.getattr(ME, found.node).await.unwrap().size, 7);
    // Pages of a mapping are where they are.
    service.write(file, 9, Bytes::from_static(b"x"), true).await.unwrap();
    assert_eq!(service.getattr(ME, found.node).await.unwrap().size, 10);
}

#[tokio::test]
async fn only_a_file_that_was_written_is_judged_at_close() {
    let (noted, service) = lab(0);
    let (found, file) = service.create(ME, ROOT, b"a", 0o640, CREATE).await.unwrap();
    service.flush(ME, found.node, file).await.unwrap();
    service.write(file, 0, Bytes::from_static(b"x"), false).await.unwrap();
    // The closing thread is not known: perhaps not the last descriptor.
    service.flush(ME, found.node, file).await.unwrap();
    service.release(file).await;
    let reader = service.open(ME, found.node, 0).await.unwrap().number;
    service.flush(ME, found.node, reader).await.unwrap();
    service.release(reader).await;
    let hints = noted.hints.lock().unwrap().clone();
    let expected = [
        Hint::Opened { writes: true },
        Hint::Flushed,
        Hint::Closed { writes: true, written: true },
        Hint::Opened { writes: false },
        Hint::Closed { writes: false, written: false },
    ];
    assert_eq!(hints, expected);
}

#[tokio::test]
async fn what_is_open_when_the_mount_ends_was_not_finished() {
    let (noted, service) = lab(0);
    let (_, file) = service.create(ME, ROOT, b"a", 0o640, CREATE).await.unwrap();
    service.write(file, 0, Bytes::from_static(b"x"), false).await.unwrap();
    service.close_all().await;
    service.close_all().await;
    let hints = noted.hints.lock().unwrap().clone();
    let closed = Hint::Closed { writes: true, written: true };
    assert_eq!(hints, [Hint::Opened { writes: true }, Hint::Abandoned, closed]);
}

#[tokio::test]
async fn a_table_that_is_held_elsewhere_is_waited_for() {
    let (noted, service) = lab(3);
    service.create(ME, ROOT, b"a", 0o640, CREATE).await.unwrap();
    service.rename(ME, (ROOT, b"a"), (ROOT, b"b")).await.unwrap();
    assert_eq!(noted.busy.load(Ordering::SeqCst), 0);
    assert!(service.lookup(ME, ROOT, b"b").await.is_ok());
}

#[tokio::test]
async fn files_are_asked_for_each_time_and_directories_for_a_second() {
    let (_, service) = lab(0);
    let (file, _) = service.create(ME, ROOT, b"a", 0o640, CREATE).await.unwrap();
    assert_eq!(file.ttl, Duration::ZERO);
    let directory = service.getattr(ME, ROOT).await.unwrap();
    assert_eq!(ttl(&directory), Duration::from_secs(1));
}

#[test]
fn flags_of_open_are_read() {
    let mode = |writes, appends| OpenMode { writes, appends };
    assert_eq!(OpenMode::of(0), mode(false, false));
    assert_eq!(OpenMode::of(0o1), mode(true, false));
    assert_eq!(OpenMode::of(0o2 | 0o2000), mode(true, true));
    assert_eq!(OpenMode::of(0o2000), mode(false, false));
}

#[async_trait::async_trait]
impl FileSystem for Noted {
    async fn root(&self, caller: &Caller, path: &str) -> FsResult<Handle> {
        self.files.root(caller, path).await
    }
    async fn lookup(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        self.files.lookup(caller, dir, name).await
    }
    async fn getattr(&self, caller: &Caller, handle: Handle) -> FsResult<Attr> {
        self.files.getattr(caller, handle).await
    }
    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        self.files.setattr(caller, handle, attr, guard).await
    }
    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32> {
        self.files.access(caller, handle, asked).await
    }
    async fn readlink(&self, caller: &Caller, handle: Handle) -> FsResult<Vec<u8>> {
        self.files.readlink(caller, handle).await
    }
    async fn read(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        self.files.read(caller, handle, offset, count).await
    }
    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply> {
        self.files.write(caller, handle, offset, data, stability).await
    }
    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry> {
        self.files.create(caller, dir, name, mode).await
    }
    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        self.files.mkdir(caller, dir, name, attr).await
    }
    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        self.files.symlink(caller, dir, name, target, attr).await
    }
    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.files.remove(caller, dir, name).await
    }
    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.files.rmdir(caller, dir, name).await
    }
    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved {
        let busy = |count: usize| count.checked_sub(1);
        if self.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, busy).is_ok() {
            let error = FsError::Lake(Error::new(ErrorKind::Busy, "held"));
            return Moved { from: (None, None), to: (None, None), result: Err(error) };
        }
        self.files.rename(caller, from, to).await
    }
    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved {
        self.files.link(caller, handle, to).await
    }
    async fn readdir(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage> {
        self.files.readdir(caller, dir, cookie, limit, attributes).await
    }
    async fn fsstat(&self, caller: &Caller, handle: Handle) -> FsResult<FsStat> {
        self.files.fsstat(caller, handle).await
    }
    async fn commit(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> Changed<Verifier> {
        self.files.commit(caller, handle, offset, count).await
    }
    async fn hint(&self, caller: &Caller, handle: Handle, hint: Hint) -> FsResult<()> {
        self.hints.lock().unwrap().push(hint);
        self.files.hint(caller, handle, hint).await
    }
    fn handle_key(&self) -> [u8; 32] {
        self.files.handle_key()
    }
}
