//! What an NFS procedure has at hand while it runs: the file system, the caller, the handles;
//! and how failures are logged and answered.

use bytes::BytesMut;
use nfs3_types::nfs3::{NFS_PROGRAM, nfsstat3};
use tracing::{debug, error, warn};

use super::convert::{put_post_op, put_wcc, status};
use super::handle::HandleCodec;
use super::reply::Results;
use super::xdr::put_flag;
use crate::error::ErrorKind;
use crate::vfs::{Attr, Caller, Entry, FileSystem, FsError, FsResult, Handle, PreAttr};

/// Surroundings of one call.
#[derive(Clone, Copy)]
pub(super) struct Cx<'a> {
    pub(super) files: &'a dyn FileSystem,
    pub(super) handles: &'a HandleCodec,
    pub(super) caller: &'a Caller,
}

/// Why a procedure fails: an error of the file system or a status found here.
#[derive(Debug)]
pub(super) enum Failure {
    Files(FsError),
    Status(nfsstat3),
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<nfsstat3> for Failure {
    fn from(status: nfsstat3) -> Self {
        Self::Status(status)
    }
}

impl Failure {
    /// The status to answer; the one place where a failed call is logged.
    pub(super) fn status(&self) -> nfsstat3 {
        match self {
            Self::Status(status) => {
                debug!(status = %status, "refuse call");
                *status
            }
            Self::Files(failed) => Self::status_of(failed),
        }
    }

    /// The status to answer to an error of the file system, which is logged.
    pub(super) fn status_of(failed: &FsError) -> nfsstat3 {
        let answer = status(failed);
        match failed.kind() {
            Some(ErrorKind::Internal | ErrorKind::Corrupt) => {
                error!(status = %answer, error = %failed, "fail call");
            }
            Some(ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Full) => {
                warn!(status = %answer, error = %failed, "fail call");
            }
            _ => debug!(status = %answer, error = %failed, "fail call"),
        }
        answer
    }
}

impl Cx<'_> {
    /// The handle behind a client's bytes.
    pub(super) fn open(&self, bytes: &[u8]) -> FsResult<Handle> {
        self.handles.open(bytes)
    }

    /// Attributes for a reply that may go without them.
    pub(super) async fn attr(&self, handle: Handle) -> Option<Attr> {
        self.files.getattr(self.caller, handle).await.ok()
    }

    /// Attributes of the object a client named by `bytes`, for a failed call.
    pub(super) async fn attr_of(&self, bytes: &[u8]) -> Option<Attr> {
        match self.open(bytes) {
            Ok(handle) => self.attr(handle).await,
            Err(_) => None,
        }
    }

    /// Results of a failed call that names one object: status and its attributes.
    pub(super) async fn failed(&self, failure: impl Into<Failure>, object: &[u8]) -> Results {
        let failure = failure.into();
        let mut results = Results::with_status(failure.status());
        // A handle that does not open was counted once already.
        let known = !matches!(failure, Failure::Files(FsError::BadHandle | FsError::Stale));
        let attr = if known { self.attr_of(object).await } else { None };
        put_post_op(&mut results.out, attr.as_ref());
        results
    }

    /// Weak cache consistency data of an object that a refused call left as it is.
    pub(super) async fn unchanged(&self, handle: Handle) -> (Option<PreAttr>, Option<Attr>) {
        let attr = self.attr(handle).await;
        (attr.as_ref().map(PreAttr::from), attr)
    }

    /// Writes the handle and attributes of an object that was made.
    pub(super) fn put_made(&self, out: &mut BytesMut, entry: &Entry) {
        put_flag(out, true);
        self.handles.put(out, entry.handle);
        put_post_op(out, Some(&entry.attr));
    }
}

/// Results of a failed call with nothing known: what is answered when a procedure panics, and to
/// handles that do not open.
pub(super) fn bare_failure(procedure: NFS_PROGRAM, status: nfsstat3) -> Results {
    use NFS_PROGRAM as P;
    let mut results = Results::with_status(status);
    let out = &mut results.out;
    match procedure {
        P::NFSPROC3_NULL | P::NFSPROC3_GETATTR => {}
        P::NFSPROC3_LOOKUP
        | P::NFSPROC3_ACCESS
        | P::NFSPROC3_READLINK
        | P::NFSPROC3_READ
        | P::NFSPROC3_READDIR
        | P::NFSPROC3_READDIRPLUS
        | P::NFSPROC3_FSSTAT
        | P::NFSPROC3_FSINFO
        | P::NFSPROC3_PATHCONF => put_post_op(out, None),
        P::NFSPROC3_SETATTR
        | P::NFSPROC3_WRITE
        | P::NFSPROC3_CREATE
        | P::NFSPROC3_MKDIR
        | P::NFSPROC3_SYMLINK
        | P::NFSPROC3_MKNOD
        | P::NFSPROC3_REMOVE
        | P::NFSPROC3_RMDIR
        | P::NFSPROC3_COMMIT => put_wcc(out, None, None),
        P::NFSPROC3_RENAME => {
            put_wcc(out, None, None);
            put_wcc(out, None, None);
        }
        P::NFSPROC3_LINK => {
            put_post_op(out, None);
            put_wcc(out, None, None);
        }
    }
    results
}
