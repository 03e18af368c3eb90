//! Who may do what with scratch files: the permission bits of POSIX, as other file servers obey
//! them. Tables and the lake's directories belong to roles (`access`), not to user ids.

use super::gateway::Vfs;
use super::namespace::Node;
use super::scratch::ScratchMeta;
use super::{Caller, FsError, FsResult, SetAttr, SetTime, access};
use crate::error::ErrorKind;

/// Permission to list or read.
pub(super) const READ: u32 = 0o4;
/// Permission to change.
pub(super) const WRITE: u32 = 0o2;
/// Permission to look up or run.
pub(super) const EXECUTE: u32 = 0o1;
/// In a directory with this bit, names belong to the owners of the files.
const STICKY: u32 = 0o1000;
/// Bits that only an owner in the group, or the superuser, may set.
const SET_GROUP: u32 = 0o2000;

const SUPERUSER: u32 = 0;

fn denied() -> FsError {
    FsError::new(ErrorKind::Denied, "the permission bits of the scratch file do not allow this")
}

fn in_group(caller: &Caller, gid: u32) -> bool {
    caller.gid == gid || caller.groups.contains(&gid)
}

fn owns(caller: &Caller, meta: &ScratchMeta) -> bool {
    caller.uid == SUPERUSER || caller.uid == meta.uid
}

/// The permissions that a caller has of `READ`, `WRITE` and `EXECUTE`.
pub(super) fn granted(caller: &Caller, meta: &ScratchMeta) -> u32 {
    if caller.uid == SUPERUSER {
        // It may run only what somebody may run.
        let runs = meta.kind.is_directory() || meta.mode & 0o111 != 0;
        return READ | WRITE | if runs { EXECUTE } else { 0 };
    }
    let class = if caller.uid == meta.uid {
        meta.mode >> 6
    } else if in_group(caller, meta.gid) {
        meta.mode >> 3
    } else {
        meta.mode
    };
    class & 0o7
}

/// The bits of ACCESS that a caller has (RFC 1813 section 3.3.4).
pub(super) fn access_bits(caller: &Caller, meta: &ScratchMeta, writable: bool) -> u32 {
    let granted = granted(caller, meta);
    let directory = meta.kind.is_directory();
    let mut bits = 0;
    if granted & READ != 0 {
        bits |= access::READ;
    }
    if granted & WRITE != 0 && writable {
        bits |= access::MODIFY | access::EXTEND;
        bits |= if directory { access::DELETE } else { 0 };
    }
    if granted & EXECUTE != 0 {
        // FUSE asks for EXECUTE where it means to look a name up.
        bits |= access::EXECUTE | if directory { access::LOOKUP } else { 0 };
    }
    bits
}

/// Whether content may be read or written. The owner may always: a file that was opened stays
/// open when its mode changes, and NFS does not tell an open file from one that is being opened.
pub(super) fn check_content(caller: &Caller, meta: &ScratchMeta, wanted: u32) -> FsResult<()> {
    if owns(caller, meta) || granted(caller, meta) & wanted == wanted {
        return Ok(());
    }
    Err(denied())
}

/// Whether attributes may be set (chmod(2), chown(2), utimensat(2), truncate(2)).
pub(super) fn check_attributes(caller: &Caller, meta: &ScratchMeta, set: &SetAttr) -> FsResult<()> {
    let foreign_owner = set.uid.is_some_and(|uid| uid != meta.uid);
    let foreign_group = set.gid.is_some_and(|gid| gid != meta.gid && !in_group(caller, gid));
    let needs_owner = set.mode.is_some()
        || set.uid.is_some()
        || set.gid.is_some()
        || matches!(set.atime, SetTime::At(_))
        || matches!(set.mtime, SetTime::At(_));
    if caller.uid != SUPERUSER && (foreign_owner || foreign_group) {
        return Err(FsError::NotPermitted);
    }
    if needs_owner && !owns(caller, meta) {
        return Err(FsError::NotPermitted);
    }
    let touches = set.atime == SetTime::Now || set.mtime == SetTime::Now;
    if set.size.is_some() || touches {
        check_content(caller, meta, WRITE)?;
    }
    Ok(())
}

/// The mode that is set when a caller asks for `mode`.
pub(super) fn settable_mode(caller: &Caller, meta: &ScratchMeta, mode: u32) -> u32 {
    match caller.uid == SUPERUSER || in_group(caller, meta.gid) {
        true => mode,
        false => mode & !SET_GROUP,
    }
}

impl Vfs {
    /// Whether the caller may look names up in a directory.
    pub(super) fn check_search(&self, caller: &Caller, dir: &Node) -> FsResult<()> {
        self.check_directory(caller, dir, EXECUTE)
    }

    /// Whether the caller may list a directory.
    pub(super) fn check_list(&self, caller: &Caller, dir: &Node) -> FsResult<()> {
        self.check_directory(caller, dir, READ)
    }

    /// Whether the caller may change names in a directory.
    pub(super) fn check_names(&self, caller: &Caller, dir: &Node) -> FsResult<()> {
        self.check_directory(caller, dir, WRITE | EXECUTE)
    }

    fn check_directory(&self, caller: &Caller, dir: &Node, wanted: u32) -> FsResult<()> {
        let Node::Scratch(id) = dir else { return Ok(()) };
        let meta = self.scratch.meta(*id).ok_or(FsError::Stale)?;
        if granted(caller, &meta) & wanted == wanted {
            return Ok(());
        }
        Err(denied())
    }

    /// Whether the caller may take the name of a scratch object in `dir` away.
    pub(super) fn check_unlink(&self, caller: &Caller, dir: &Node, id: u64) -> FsResult<()> {
        let Node::Scratch(dir) = dir else { return Ok(()) };
        let dir = self.scratch.meta(*dir).ok_or(FsError::Stale)?;
        if dir.mode & STICKY == 0 || owns(caller, &dir) {
            return Ok(());
        }
        match self.scratch.meta(id) {
            Some(meta) if !owns(caller, &meta) => Err(FsError::NotPermitted),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scratch::ScratchKind;
    use super::*;

    fn meta(mode: u32, uid: u32, gid: u32) -> ScratchMeta {
        ScratchMeta {
            kind: ScratchKind::File,
            mode,
            uid,
            gid,
            times: [(0, 0); 3],
            names: Vec::new(),
            verifier: None,
            base: None,
            became: None,
        }
    }

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        let (client, groups) = ("test".into(), groups.into());
        Caller { uid, gid, groups, client, read_only: false }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let file = meta(0o640, 7, 8);
        assert_eq!(granted(&caller(7, 8, &[]), &file), READ | WRITE);
        assert_eq!(granted(&caller(9, 8, &[]), &file), READ);
        assert_eq!(granted(&caller(9, 9, &[8]), &file), READ);
        assert_eq!(granted(&caller(9, 9, &[]), &file), 0);
        assert_eq!(granted(&caller(7, 8, &[]), &meta(0o077, 7, 8)), 0, "the owner's bits alone");
        assert_eq!(granted(&caller(0, 0, &[]), &meta(0o000, 7, 8)), READ | WRITE);
        assert_eq!(granted(&caller(0, 0, &[]), &meta(0o100, 7, 8)), READ | WRITE | EXECUTE);
    }

    #[test]
    fn an_owner_reads_and_writes_whatever_the_mode() {
        assert!(check_content(&caller(7, 8, &[]), &meta(0, 7, 8), READ | WRITE).is_ok());
        assert!(check_content(&caller(9, 9, &[]), &meta(0o604, 7, 8), READ).is_ok());
        assert!(check_content(&caller(9, 9, &[]), &meta(0o604, 7, 8), WRITE).is_err());
    }

    #[test]
    fn attributes_belong_to_the_owner_and_owners_to_the_superuser() {
        let file = meta(0o666, 7, 8);
        let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        let give = SetAttr { uid: Some(9), ..SetAttr::default() };
        let group = SetAttr { gid: Some(5), ..SetAttr::default() };
        let now = SetAttr { mtime: SetTime::Now, ..SetAttr::default() };
        let cut = SetAttr { size: Some(0), ..SetAttr::default() };
        let allowed = |who: &Caller, set: &SetAttr| check_attributes(who, &file, set).is_ok();
        let (owner, other, root) = (caller(7, 8, &[5]), caller(9, 9, &[]), caller(0, 0, &[]));
        assert!(allowed(&owner, &mode) && allowed(&root, &mode) && !allowed(&other, &mode));
        assert!(!allowed(&owner, &give) && allowed(&root, &give));
        assert!(allowed(&owner, &group), "a group that the owner is in");
        assert!(!allowed(&caller(7, 8, &[]), &group));
        assert!(allowed(&other, &now) && allowed(&other, &cut), "who may write may touch");
        assert!(check_attributes(&other, &meta(0o600, 7, 8), &cut).is_err());
        assert_eq!(settable_mode(&owner, &file, 0o2755), 0o2755);
        assert_eq!(settable_mode(&caller(7, 9, &[]), &file, 0o2755), 0o755);
    }
}
