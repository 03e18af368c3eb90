//! Conversions between the file system's values and those of the FUSE protocol: one table each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

use crate::error::ErrorKind;
use crate::vfs::{Attr, FileKind, FileTime, FsError, SetTime};

/// Block size that programs are told to read in.
const BLOCK_BYTES: u32 = 1 << 20;

/// The errno of an error. Its text is all that many programs show, so it is chosen as a message.
pub(super) fn errno(error: &FsError) -> Errno {
    match error {
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::BadHandle | FsError::Stale => Errno::ESTALE,
        FsError::NotSync | FsError::BadCookie | FsError::WrongType => Errno::EINVAL,
        FsError::CrossDevice => Errno::EXDEV,
        FsError::NotPermitted => Errno::EPERM,
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::Lake(error) => kind_errno(error.kind()),
    }
}

fn kind_errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::Denied => Errno::EACCES,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::Full => Errno::ENOSPC,
        ErrorKind::TooLarge => Errno::EFBIG,
        ErrorKind::Unsupported => Errno::ENOTSUP,
        ErrorKind::Conflict
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Unknown
        | ErrorKind::Internal => Errno::EIO,
    }
}

/// The type of an object.
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Pipe => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

fn system_time(time: FileTime) -> SystemTime {
    UNIX_EPOCH + Duration::new(u64::from(time.seconds), time.nanos)
}

fn file_time(time: SystemTime) -> FileTime {
    // Times before 1970 cannot be told over NFS either.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime {
        seconds: u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
        nanos: since.subsec_nanos(),
    }
}

/// How a time is set.
pub(super) fn set_time(time: Option<TimeOrNow>) -> SetTime {
    match time {
        None => SetTime::Keep,
        Some(TimeOrNow::Now) => SetTime::Now,
        Some(TimeOrNow::SpecificTime(time)) => SetTime::At(file_time(time)),
    }
}

/// Attributes under the number `node`.
pub(super) fn file_attr(node: u64, attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(node),
        size: attr.size,
        blocks: attr.used.div_ceil(512),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.ctime),
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn every_kind_has_its_errno() {
        use ErrorKind as K;
        for (kind, expected) in [
            (K::NotFound, Errno::ENOENT),
            (K::AlreadyExists, Errno::EEXIST),
            (K::Denied, Errno::EACCES),
            (K::ReadOnly, Errno::EROFS),
            (K::Invalid, Errno::EINVAL),
            (K::Conflict, Errno::EIO),
            (K::Busy, Errno::EBUSY),
            (K::Unavailable, Errno::EIO),
            (K::Full, Errno::ENOSPC),
            (K::TooLarge, Errno::EFBIG),
            (K::Unsupported, Errno::ENOTSUP),
            (K::Corrupt, Errno::EIO),
            (K::Unknown, Errno::EIO),
            (K::Internal, Errno::EIO),
        ] {
            let error = FsError::Lake(Error::new(kind, "x"));
            assert_eq!(errno(&error).code(), expected.code(), "{kind:?}");
        }
    }

    #[test]
    fn times_are_exact_and_never_before_1970() {
        let time = FileTime { seconds: 1_795_253_675, nanos: 27_123_456 };
        assert_eq!(set_time(Some(TimeOrNow::SpecificTime(system_time(time)))), SetTime::At(time));
        let early = UNIX_EPOCH - Duration::from_secs(1);
        let zero = FileTime::default();
        assert_eq!(set_time(Some(TimeOrNow::SpecificTime(early))), SetTime::At(zero));
        assert_eq!(set_time(None), SetTime::Keep);
    }
}
