//! Conversions between the file system's values and those of RFC 1813: one table each.

use bytes::{BufMut, BytesMut};
use nfs3_types::mount::mountstat3;
use nfs3_types::nfs3::{ftype3, nfsstat3};

use super::xdr::put_flag;
use crate::error::ErrorKind;
use crate::vfs::{Attr, FileKind, FileTime, FsError, PreAttr};

/// Bytes of attributes (fattr3) with the flag before them.
pub(super) const POST_OP_ATTR_BYTES: usize = 4 + 84;

/// The NFS status of an error (architecture.md section 6).
pub(super) fn status(error: &FsError) -> nfsstat3 {
    match error {
        FsError::NotDirectory => nfsstat3::NFS3ERR_NOTDIR,
        FsError::IsDirectory => nfsstat3::NFS3ERR_ISDIR,
        FsError::NotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        FsError::NameTooLong => nfsstat3::NFS3ERR_NAMETOOLONG,
        FsError::BadHandle => nfsstat3::NFS3ERR_BADHANDLE,
        FsError::Stale => nfsstat3::NFS3ERR_STALE,
        FsError::NotSync => nfsstat3::NFS3ERR_NOT_SYNC,
        FsError::BadCookie => nfsstat3::NFS3ERR_BAD_COOKIE,
        FsError::CrossDevice => nfsstat3::NFS3ERR_XDEV,
        FsError::NotPermitted => nfsstat3::NFS3ERR_PERM,
        FsError::FileTooLarge => nfsstat3::NFS3ERR_FBIG,
        // RFC 1813 section 3.3.5: READLINK of something else. BADTYPE is for MKNOD alone.
        FsError::WrongType => nfsstat3::NFS3ERR_INVAL,
        FsError::Lake(error) => kind_status(error.kind()),
    }
}

fn kind_status(kind: ErrorKind) -> nfsstat3 {
    match kind {
        ErrorKind::NotFound => nfsstat3::NFS3ERR_NOENT,
        ErrorKind::AlreadyExists => nfsstat3::NFS3ERR_EXIST,
        ErrorKind::Denied => nfsstat3::NFS3ERR_ACCES,
        ErrorKind::ReadOnly => nfsstat3::NFS3ERR_ROFS,
        ErrorKind::Invalid => nfsstat3::NFS3ERR_INVAL,
        ErrorKind::Busy => nfsstat3::NFS3ERR_JUKEBOX,
        ErrorKind::Full => nfsstat3::NFS3ERR_NOSPC,
        ErrorKind::TooLarge => nfsstat3::NFS3ERR_FBIG,
        ErrorKind::Unsupported => nfsstat3::NFS3ERR_NOTSUPP,
        ErrorKind::Internal => nfsstat3::NFS3ERR_SERVERFAULT,
        ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Unknown => {
            nfsstat3::NFS3ERR_IO
        }
    }
}

/// The MOUNT status of an error (RFC 1813 section 5.1.4).
pub(super) fn mount_status(error: &FsError) -> mountstat3 {
    match status(error) {
        nfsstat3::NFS3_OK => mountstat3::MNT3_OK,
        nfsstat3::NFS3ERR_NOENT | nfsstat3::NFS3ERR_STALE => mountstat3::MNT3ERR_NOENT,
        nfsstat3::NFS3ERR_PERM => mountstat3::MNT3ERR_PERM,
        nfsstat3::NFS3ERR_ACCES | nfsstat3::NFS3ERR_ROFS => mountstat3::MNT3ERR_ACCES,
        nfsstat3::NFS3ERR_NOTDIR => mountstat3::MNT3ERR_NOTDIR,
        nfsstat3::NFS3ERR_INVAL | nfsstat3::NFS3ERR_ISDIR => mountstat3::MNT3ERR_INVAL,
        nfsstat3::NFS3ERR_NAMETOOLONG => mountstat3::MNT3ERR_NAMETOOLONG,
        nfsstat3::NFS3ERR_NOTSUPP => mountstat3::MNT3ERR_NOTSUPP,
        nfsstat3::NFS3ERR_SERVERFAULT => mountstat3::MNT3ERR_SERVERFAULT,
        _ => mountstat3::MNT3ERR_IO,
    }
}

fn put_time(out: &mut BytesMut, time: FileTime) {
    out.put_u32(time.seconds);
    out.put_u32(time.nanos);
}

/// Writes fattr3.
pub(super) fn put_attr(out: &mut BytesMut, attr: &Attr) {
    let kind = match attr.kind {
        FileKind::Regular => ftype3::NF3REG,
        FileKind::Directory => ftype3::NF3DIR,
        FileKind::Symlink => ftype3::NF3LNK,
        FileKind::Pipe => ftype3::NF3FIFO,
        FileKind::Socket => ftype3::NF3SOCK,
    };
    out.put_u32(kind as u32);
    out.put_u32(attr.mode);
    out.put_u32(attr.links);
    out.put_u32(attr.uid);
    out.put_u32(attr.gid);
    out.put_u64(attr.size);
    out.put_u64(attr.used);
    out.put_u64(0); // rdev: no devices here
    out.put_u64(attr.fsid);
    out.put_u64(attr.inode);
    put_time(out, attr.atime);
    put_time(out, attr.mtime);
    put_time(out, attr.ctime);
}

/// Writes post_op_attr.
pub(super) fn put_post_op(out: &mut BytesMut, attr: Option<&Attr>) {
    put_flag(out, attr.is_some());
    if let Some(attr) = attr {
        put_attr(out, attr);
    }
}

/// Writes wcc_data.
pub(super) fn put_wcc(out: &mut BytesMut, before: Option<&PreAttr>, after: Option<&Attr>) {
    put_flag(out, before.is_some());
    if let Some(before) = before {
        out.put_u64(before.size);
        put_time(out, before.mtime);
        put_time(out, before.ctime);
    }
    put_post_op(out, after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn every_kind_has_the_status_of_the_table() {
        use ErrorKind as K;
        let table = [
            (K::NotFound, nfsstat3::NFS3ERR_NOENT),
            (K::AlreadyExists, nfsstat3::NFS3ERR_EXIST),
            (K::Denied, nfsstat3::NFS3ERR_ACCES),
            (K::ReadOnly, nfsstat3::NFS3ERR_ROFS),
            (K::Invalid, nfsstat3::NFS3ERR_INVAL),
            (K::Conflict, nfsstat3::NFS3ERR_IO),
            (K::Busy, nfsstat3::NFS3ERR_JUKEBOX),
            (K::Unavailable, nfsstat3::NFS3ERR_IO),
            (K::Full, nfsstat3::NFS3ERR_NOSPC),
            (K::TooLarge, nfsstat3::NFS3ERR_FBIG),
            (K::Unsupported, nfsstat3::NFS3ERR_NOTSUPP),
            (K::Corrupt, nfsstat3::NFS3ERR_IO),
            (K::Unknown, nfsstat3::NFS3ERR_IO),
            (K::Internal, nfsstat3::NFS3ERR_SERVERFAULT),
        ];
        for (kind, expected) in table {
            assert_eq!(status(&FsError::Lake(Error::new(kind, "x"))), expected, "{kind:?}");
        }
    }

    #[test]
    fn attributes_take_the_announced_bytes() {
        let time = FileTime::default();
        let attr = Attr {
            kind: FileKind::Regular,
            mode: 0o644,
            links: 1,
            uid: 1,
            gid: 2,
            size: 3,
            used: 4,
            fsid: 5,
            inode: 6,
            atime: time,
            mtime: time,
            ctime: time,
        };
        let mut out = BytesMut::new();
        put_post_op(&mut out, Some(&attr));
        assert_eq!(out.len(), POST_OP_ATTR_BYTES);
        out.clear();
        put_wcc(&mut out, Some(&PreAttr::from(&attr)), Some(&attr));
        assert_eq!(out.len(), 4 + 24 + POST_OP_ATTR_BYTES);
    }
}
