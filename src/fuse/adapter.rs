//! The calls as the crate `fuser` brings them: taken off its threads, answered from tasks.
//!
//! A call is a task of the runtime, so that a slow one delays nobody; the number of calls under
//! way is bounded, and the kernel keeps what comes beyond that. The crate answers the kernel's
//! request to interrupt a call with "not supported": a process that is killed goes when its call
//! is answered, and every call has an end because the back ends have time limits.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::sync::Semaphore;

use super::convert::{errno, file_attr, file_type, set_time};
use super::service::{Found, Service, Who, ttl};
use crate::vfs::{FsError, SetAttr, access};

/// Largest READ or WRITE that the kernel is offered.
const TRANSFER_BYTES: u32 = 1 << 20;
/// Requests that the kernel sends ahead of the answers (readahead, releases).
const BACKGROUND_MAX: u16 = 64;
/// Unit of statfs(2).
const STATFS_BLOCK: u32 = 4096;
/// Numbers are never used again, so there is one generation of each.
const GENERATION: Generation = Generation(0);

/// One mount's calls.
pub(super) struct Adapter {
    service: Arc<Service>,
    runtime: tokio::runtime::Handle,
    permits: Arc<Semaphore>,
}

impl Adapter {
    /// Answers on the current runtime, at most `calls_max` calls at once.
    pub(super) fn new(service: Arc<Service>, calls_max: usize) -> Self {
        let permits = Arc::new(Semaphore::new(calls_max.max(1)));
        Self { service, runtime: tokio::runtime::Handle::current(), permits }
    }

    /// Runs a call; waits here, on the crate's thread, while too many are under way.
    fn run<F>(&self, call: impl FnOnce(Arc<Service>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let Ok(permit) = self.runtime.block_on(permits.acquire_owned()) else { return };
        let call = call(Arc::clone(&self.service));
        self.runtime.spawn(async move {
            call.await;
            drop(permit);
        });
    }
}

fn who(request: &Request) -> Who {
    Who { uid: request.uid(), gid: request.gid(), thread: request.pid() }
}

fn failed(call: &'static str, error: &FsError) -> Errno {
    let errno = errno(error);
    tracing::debug!(call, errno = errno.code(), %error, "call fails");
    errno
}

fn answer_entry(call: &'static str, result: Result<Found, FsError>, reply: ReplyEntry) {
    match result {
        Ok(found) => reply.entry(&found.ttl, &file_attr(found.node, &found.attr), GENERATION),
        Err(error) => reply.error(failed(call, &error)),
    }
}

fn answer(call: &'static str, result: Result<(), FsError>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(failed(call, &error)),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // What an older kernel does not know it goes without.
        for wish in [
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            let _ = config.add_capabilities(wish);
        }
        let _ = config.set_max_write(TRANSFER_BYTES);
        if let Err(largest) = config.set_max_readahead(TRANSFER_BYTES) {
            let _ = config.set_max_readahead(largest);
        }
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            let found = service.lookup(who, parent.0, name.as_bytes()).await;
            answer_entry("lookup", found, reply);
        });
    }

    fn forget(&self, _request: &Request, node: INodeNo, lookups: u64) {
        self.service.nodes.forget(node.0, lookups);
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let who = who(request);
        self.run(|service| async move {
            match service.getattr(who, node.0).await {
                Ok(attr) => reply.attr(&ttl(&attr), &file_attr(attr.inode, &attr)),
                Err(error) => reply.error(failed("getattr", &error)),
            }
        });
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        file: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let who = who(request);
        let mode = mode.map(|mode| mode & 0o7777);
        let (atime, mtime) = (set_time(atime), set_time(mtime));
        let set = SetAttr { mode, uid, gid, size, atime, mtime };
        self.run(|service| async move {
            match service.setattr(who, node.0, set, file.map(|file| file.0)).await {
                Ok(attr) => reply.attr(&ttl(&attr), &file_attr(attr.inode, &attr)),
                Err(error) => reply.error(failed("setattr", &error)),
            }
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let who = who(request);
        self.run(|service| async move {
            match service.readlink(who, node.0).await {
                Ok(target) => reply.data(&target),
                Err(error) => reply.error(failed("readlink", &error)),
            }
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            let made = service.mknod(who, parent.0, name.as_bytes(), mode).await;
            answer_entry("mknod", made, reply);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            let made = service.mkdir(who, parent.0, name.as_bytes(), mode & 0o7777).await;
            answer_entry("mkdir", made, reply);
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            answer("unlink", service.unlink(who, parent.0, name.as_bytes()).await, reply);
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            answer("rmdir", service.rmdir(who, parent.0, name.as_bytes()).await, reply);
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (who, name, target) = (who(request), name.to_owned(), target.to_owned());
        self.run(|service| async move {
            let target = target.as_os_str().as_bytes();
            let made = service.symlink(who, parent.0, name.as_bytes(), target).await;
            answer_entry("symlink", made, reply);
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            // Neither exchange nor "only if nothing is there": tools do without, as over NFS.
            return reply.error(Errno::EINVAL);
        }
        let (who, name, new_name) = (who(request), name.to_owned(), new_name.to_owned());
        self.run(|service| async move {
            let from = (parent.0, name.as_bytes());
            let to = (new_parent.0, new_name.as_bytes());
            answer("rename", service.rename(who, from, to).await, reply);
        });
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (who, new_name) = (who(request), new_name.to_owned());
        self.run(|service| async move {
            let to = (new_parent.0, new_name.as_bytes());
            answer_entry("link", service.link(who, node.0, to).await, reply);
        });
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let who = who(request);
        self.run(|service| async move {
            match service.open(who, node.0, flags.0).await {
                Ok(opened) => {
                    let keep = FopenFlags::FOPEN_KEEP_CACHE;
                    let flags = if opened.keeps_pages { keep } else { FopenFlags::empty() };
                    reply.opened(FileHandle(opened.number), flags);
                }
                Err(error) => reply.error(failed("open", &error)),
            }
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (who, name) = (who(request), name.to_owned());
        self.run(|service| async move {
            match service.create(who, parent.0, name.as_bytes(), mode, flags).await {
                Ok((found, number)) => {
                    let attr = file_attr(found.node, &found.attr);
                    let file = FileHandle(number);
                    reply.created(&found.ttl, &attr, GENERATION, file, FopenFlags::empty());
                }
                Err(error) => reply.error(failed("create", &error)),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        _node: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.run(|service| async move {
            match service.read(file.0, offset, size).await {
                Ok(parts) => match parts.as_slice() {
                    [whole] => reply.data(whole),
                    parts => reply.data(&parts.concat()),
                },
                Err(error) => reply.error(failed("read", &error)),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        _node: INodeNo,
        file: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = Bytes::copy_from_slice(data);
        let paged = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        self.run(|service| async move {
            match service.write(file.0, offset, data, paged).await {
                Ok(count) => reply.written(count),
                Err(error) => reply.error(failed("write", &error)),
            }
        });
    }

    fn flush(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let who = who(request);
        self.run(|service| async move {
            answer("flush", service.flush(who, node.0, file.0).await, reply);
        });
    }

    fn release(
        &self,
        _request: &Request,
        _node: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.run(|service| async move {
            service.release(file.0).await;
            reply.ok();
        });
    }

    fn fsync(
        &self,
        _request: &Request,
        _node: INodeNo,
        file: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.run(|service| async move {
            answer("fsync", service.fsync(file.0).await, reply);
        });
    }

    fn opendir(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.service.listings.open()), FopenFlags::empty());
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        file: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let who = who(request);
        self.run(|service| async move {
            let listing = match service.listing(who, node.0, file.0, offset).await {
                Ok(listing) => listing,
                Err(error) => return reply.error(failed("readdir", &error)),
            };
            let first = listing.partition_point(|entry| entry.cookie <= offset);
            for entry in listing.get(first..).unwrap_or_default() {
                let name = OsStr::from_bytes(&entry.name);
                let kind = file_type(entry.kind);
                if reply.add(INodeNo(entry.inode), entry.cookie, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _node: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.service.listings.close(file.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _node: INodeNo,
        _file: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        // Names are in the lake, or in the journal, before their call is answered.
        reply.ok();
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        let who = who(request);
        self.run(|service| async move {
            match service.statfs(who, node.0).await {
                Ok(stat) => {
                    let block = u64::from(STATFS_BLOCK);
                    let (total, free) = (stat.total_bytes / block, stat.free_bytes / block);
                    let (files, unused) = (stat.total_files, stat.free_files);
                    reply.statfs(total, free, free, files, unused, STATFS_BLOCK, 255, STATFS_BLOCK);
                }
                Err(error) => reply.error(failed("statfs", &error)),
            }
        });
    }

    fn access(&self, request: &Request, node: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let who = who(request);
        let mut asked = 0;
        for (flag, bit) in [
            (AccessFlags::R_OK, access::READ),
            (AccessFlags::W_OK, access::MODIFY),
            (AccessFlags::X_OK, access::EXECUTE),
        ] {
            if mask.contains(flag) {
                asked |= bit;
            }
        }
        self.run(|service| async move {
            answer("access", service.access(who, node.0, asked).await, reply);
        });
    }

    // There are no extended attributes, holes, or device controls. The kernel notes the first
    // such answer and does not ask again.

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: fuser::CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }
}

/// Threads that take requests from the kernel.
pub(super) const THREADS: usize = 2;
/// How long a thread that nothing wakes may take to notice the end of a mount.
pub(super) const END_WAIT: Duration = Duration::from_secs(5);
