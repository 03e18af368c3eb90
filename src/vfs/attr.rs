//! Attributes: owners, modes and times of what the tree shows.

use super::{Attr, FileKind, FileTime, SetTime};

/// File system id of the tree.
pub(super) const FSID: u64 = 0x4d4e_5442;
/// File system id of what repeats data (`.at/`): `du -x` and friends stay out.
pub(super) const FSID_REPEATED: u64 = 0x4d4e_5443;

/// A protocol time from nanoseconds since 1970.
pub(super) fn time_of_ns(ns: i64) -> FileTime {
    let seconds = ns.div_euclid(1_000_000_000);
    let nanos = ns.rem_euclid(1_000_000_000);
    FileTime {
        seconds: u32::try_from(seconds.max(0)).unwrap_or(u32::MAX),
        nanos: u32::try_from(nanos).unwrap_or(0),
    }
}

/// A protocol time from milliseconds since 1970.
pub(super) fn time_of_ms(ms: i64) -> FileTime {
    time_of_ns(ms.saturating_mul(1_000_000))
}

/// What a time becomes; `None` = it stays.
pub(super) fn chosen_time(set: SetTime, now: FileTime) -> Option<FileTime> {
    match set {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::At(time) => Some(time),
    }
}

/// Who owns what the lake shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// User.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

/// A directory of the lake.
pub(super) fn directory(owner: Owner, inode: u64, writable: bool, time: FileTime) -> Attr {
    Attr {
        kind: FileKind::Directory,
        mode: if writable { 0o755 } else { 0o555 },
        links: 2,
        uid: owner.uid,
        gid: owner.gid,
        size: 4096,
        used: 4096,
        fsid: FSID,
        inode,
        atime: time,
        mtime: time,
        ctime: time,
    }
}

/// A file of the lake.
pub(super) fn file(owner: Owner, inode: u64, writable: bool, size: u64, time: FileTime) -> Attr {
    Attr {
        kind: FileKind::Regular,
        mode: if writable { 0o644 } else { 0o444 },
        links: 1,
        uid: owner.uid,
        gid: owner.gid,
        size,
        used: size.div_ceil(512).saturating_mul(512),
        fsid: FSID,
        inode,
        atime: time,
        mtime: time,
        ctime: time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds_and_never_wrap() {
        let time = time_of_ns(1_795_253_675_027_123_456);
        assert_eq!((time.seconds, time.nanos), (1_795_253_675, 27_123_456));
        assert_eq!(time_of_ns(-1).seconds, 0);
        assert_eq!(time_of_ms(i64::MAX).seconds, u32::MAX);
    }
}
