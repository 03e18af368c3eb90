//! Arguments that several NFS procedures share, and the rules for names.

use bytes::Bytes;
use nfs3_types::nfs3::nfsstat3;

use super::xdr::{Decoded, Decoder, Garbage};
use crate::vfs::{FileTime, SetAttr, SetTime};

/// Longest name, in bytes.
pub(super) const NAME_MAX: u32 = 255;
/// Longest target of a symbolic link, in bytes.
const TARGET_MAX: usize = 4096;

/// A directory and a name in it (diropargs3).
#[derive(Debug)]
pub(super) struct Place {
    /// The directory's handle as sent.
    pub(super) dir: Bytes,
    /// The name as sent.
    pub(super) name: Bytes,
}

impl Place {
    pub(super) fn decode(args: &mut Decoder) -> Decoded<Self> {
        Ok(Self { dir: args.opaque()?, name: args.opaque()? })
    }
}

/// Whether a name may be looked up: RFC 1813 section 3.2 ("filename3" and the notes to LOOKUP).
pub(super) fn check_name(name: &[u8]) -> Result<(), nfsstat3> {
    if name.is_empty() {
        return Err(nfsstat3::NFS3ERR_ACCES);
    }
    if name.len() > usize::try_from(NAME_MAX).unwrap_or_default() {
        return Err(nfsstat3::NFS3ERR_NAMETOOLONG);
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    Ok(())
}

/// Whether a name may be made, removed or renamed; `dots` is the answer for `.` and `..`.
pub(super) fn check_entry_name(name: &[u8], dots: nfsstat3) -> Result<(), nfsstat3> {
    check_name(name)?;
    if name == b"." || name == b".." { Err(dots) } else { Ok(()) }
}

/// Whether a symbolic link may have this target.
pub(super) fn check_target(target: &[u8]) -> Result<(), nfsstat3> {
    if target.is_empty() || target.contains(&0) {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    if target.len() > TARGET_MAX { Err(nfsstat3::NFS3ERR_NAMETOOLONG) } else { Ok(()) }
}

/// Reads a time (nfstime3).
pub(super) fn time(args: &mut Decoder) -> Decoded<FileTime> {
    Ok(FileTime { seconds: args.u32()?, nanos: args.u32()? })
}

/// Reads attributes to set (sattr3).
pub(super) fn attributes(args: &mut Decoder) -> Decoded<SetAttr> {
    Ok(SetAttr {
        mode: args.option(Decoder::u32)?.map(|mode| mode & 0o7777),
        uid: args.option(Decoder::u32)?,
        gid: args.option(Decoder::u32)?,
        size: args.option(Decoder::u64)?,
        atime: set_time(args)?,
        mtime: set_time(args)?,
    })
}

fn set_time(args: &mut Decoder) -> Decoded<SetTime> {
    match args.u32()? {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::Now),
        2 => time(args).map(SetTime::At),
        _ => Err(Garbage),
    }
}

/// Whether the values of attributes to set are possible.
pub(super) fn check_attributes(attr: &SetAttr) -> Result<(), nfsstat3> {
    let impossible = |time| matches!(time, SetTime::At(at) if at.nanos >= 1_000_000_000);
    if impossible(attr.atime) || impossible(attr.mtime) {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    if attr.size.is_some_and(|size| size > i64::MAX.unsigned_abs()) {
        return Err(nfsstat3::NFS3ERR_FBIG);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_directory_can_hold_are_refused() {
        assert_eq!(check_name(b""), Err(nfsstat3::NFS3ERR_ACCES));
        assert_eq!(check_name(b"a/b"), Err(nfsstat3::NFS3ERR_INVAL));
        assert_eq!(check_name(b"a\0b"), Err(nfsstat3::NFS3ERR_INVAL));
        assert_eq!(check_name(&[b'a'; 256]), Err(nfsstat3::NFS3ERR_NAMETOOLONG));
        assert_eq!(check_name(&[0xff; 255]), Ok(()));
        assert_eq!(check_name(b".."), Ok(()));
        let exist = nfsstat3::NFS3ERR_EXIST;
        assert_eq!(check_entry_name(b"..", exist), Err(exist));
        assert_eq!(check_entry_name(b"...", exist), Ok(()));
    }

    #[test]
    fn impossible_attributes_are_refused() {
        let nanos = FileTime { seconds: 0, nanos: 1_000_000_000 };
        let attr = SetAttr { mtime: SetTime::At(nanos), ..SetAttr::default() };
        assert_eq!(check_attributes(&attr), Err(nfsstat3::NFS3ERR_INVAL));
        let attr = SetAttr { size: Some(1 << 63), ..SetAttr::default() };
        assert_eq!(check_attributes(&attr), Err(nfsstat3::NFS3ERR_FBIG));
        assert_eq!(check_attributes(&SetAttr::default()), Ok(()));
    }
}
