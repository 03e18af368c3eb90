//! A file system in memory that fails, panics or waits when a test tells it to, and counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind};
use crate::nfs::MemoryFs;
use crate::vfs::*;

/// What the next calls do instead of working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Fail(ErrorKind),
    Panic,
}

#[derive(Debug)]
pub(super) struct Scripted {
    inner: MemoryFs,
    fault: Mutex<Fault>,
    gate: watch::Sender<bool>,
    /// Calls of CREATE, WRITE and REMOVE that reached the file system.
    pub(super) changes: AtomicUsize,
    /// Calls that wait at the gate or work.
    pub(super) running: AtomicUsize,
    pub(super) running_max: AtomicUsize,
    pub(super) last_caller: Mutex<Option<Caller>>,
}

impl Scripted {
    pub(super) fn new(inner: MemoryFs) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            gate: watch::channel(true).0,
            changes: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
            last_caller: Mutex::new(None),
        }
    }

    pub(super) fn memory(&self) -> &MemoryFs {
        &self.inner
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Lets no call through until it is opened again.
    pub(super) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub(super) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    async fn pass(&self, caller: &Caller) -> FsResult<()> {
        *self.last_caller.lock().unwrap() = Some(caller.clone());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None => Ok(()),
            Fault::Fail(kind) => Err(FsError::Lake(Error::new(kind, "scripted"))),
            Fault::Panic => panic!("scripted"),
        }
    }

    async fn change<T>(
        &self,
        caller: &Caller,
        object: Handle,
        run: impl Future<Output = Changed<T>>,
    ) -> Changed<T> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        match self.pass(caller).await {
            Ok(()) => run.await,
            Err(error) => {
                let attr = self.inner.getattr(caller, object).await.ok();
                Changed {
                    before: attr.as_ref().map(PreAttr::from),
                    after: attr,
                    result: Err(error),
                }
            }
        }
    }

    async fn moved(
        &self,
        caller: &Caller,
        from: Option<Handle>,
        to: Handle,
        run: impl Future<Output = Moved>,
    ) -> Moved {
        let Err(error) = self.pass(caller).await else { return run.await };
        let data = async |handle| match handle {
            Some(handle) => {
                let attr = self.inner.getattr(caller, handle).await.ok();
                (attr.as_ref().map(PreAttr::from), attr)
            }
            None => (None, None),
        };
        Moved { from: data(from).await, to: data(Some(to)).await, result: Err(error) }
    }
}

#[async_trait]
impl FileSystem for Scripted {
    async fn root(&self, caller: &Caller, path: &str) -> FsResult<Handle> {
        self.pass(caller).await?;
        self.inner.root(caller, path).await
    }
    async fn lookup(&self, caller: &Caller, dir: Handle, name: &[u8]) -> FsResult<Entry> {
        self.pass(caller).await?;
        self.inner.lookup(caller, dir, name).await
    }
    async fn getattr(&self, caller: &Caller, handle: Handle) -> FsResult<Attr> {
        // Post-op attributes stay there when the operation itself fails.
        if *self.fault.lock().unwrap() == Fault::Panic {
            panic!("scripted");
        }
        self.inner.getattr(caller, handle).await
    }
    async fn setattr(
        &self,
        caller: &Caller,
        handle: Handle,
        attr: SetAttr,
        guard: Option<FileTime>,
    ) -> Changed<()> {
        self.change(caller, handle, self.inner.setattr(caller, handle, attr, guard)).await
    }
    async fn access(&self, caller: &Caller, handle: Handle, asked: u32) -> FsResult<u32> {
        self.pass(caller).await?;
        self.inner.access(caller, handle, asked).await
    }
    async fn readlink(&self, caller: &Caller, handle: Handle) -> FsResult<Vec<u8>> {
        self.pass(caller).await?;
        self.inner.readlink(caller, handle).await
    }
    async fn read(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        self.pass(caller).await?;
        self.inner.read(caller, handle, offset, count).await
    }
    async fn write(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Changed<WriteReply> {
        let run = self.inner.write(caller, handle, offset, data, stability);
        self.change(caller, handle, run).await
    }
    async fn create(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        mode: CreateMode,
    ) -> Changed<Entry> {
        self.change(caller, dir, self.inner.create(caller, dir, name, mode)).await
    }
    async fn mkdir(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        self.change(caller, dir, self.inner.mkdir(caller, dir, name, attr)).await
    }
    async fn symlink(
        &self,
        caller: &Caller,
        dir: Handle,
        name: &[u8],
        target: &[u8],
        attr: SetAttr,
    ) -> Changed<Entry> {
        self.change(caller, dir, self.inner.symlink(caller, dir, name, target, attr)).await
    }
    async fn remove(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.change(caller, dir, self.inner.remove(caller, dir, name)).await
    }
    async fn rmdir(&self, caller: &Caller, dir: Handle, name: &[u8]) -> Changed<()> {
        self.change(caller, dir, self.inner.rmdir(caller, dir, name)).await
    }
    async fn rename(&self, caller: &Caller, from: (Handle, &[u8]), to: (Handle, &[u8])) -> Moved {
        let run = self.inner.rename(caller, from, to);
        self.moved(caller, Some(from.0), to.0, run).await
    }
    async fn link(&self, caller: &Caller, handle: Handle, to: (Handle, &[u8])) -> Moved {
        self.moved(caller, None, to.0, self.inner.link(caller, handle, to)).await
    }
    async fn readdir(
        &self,
        caller: &Caller,
        dir: Handle,
        cookie: u64,
        limit: usize,
        attributes: bool,
    ) -> FsResult<DirPage> {
        self.pass(caller).await?;
        self.inner.readdir(caller, dir, cookie, limit, attributes).await
    }
    async fn fsstat(&self, caller: &Caller, handle: Handle) -> FsResult<FsStat> {
        self.pass(caller).await?;
        self.inner.fsstat(caller, handle).await
    }
    async fn commit(
        &self,
        caller: &Caller,
        handle: Handle,
        offset: u64,
        count: u32,
    ) -> Changed<Verifier> {
        self.change(caller, handle, self.inner.commit(caller, handle, offset, count)).await
    }
    async fn hint(&self, caller: &Caller, handle: Handle, hint: Hint) -> FsResult<()> {
        self.inner.hint(caller, handle, hint).await
    }
    fn handle_key(&self) -> [u8; 32] {
        self.inner.handle_key()
    }
}
