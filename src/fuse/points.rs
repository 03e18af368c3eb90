//! Where lakes are mounted on this machine, and how they are unmounted.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{Error, ErrorKind, Result};

/// What the source of every mount of ours begins with.
pub(super) const SOURCE_PREFIX: &str = "mountable:";

/// A mounted lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// The directory.
    pub dir: PathBuf,
    /// The lake, as it was named when it was mounted.
    pub source: String,
}

/// What happens to a mount that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It stays.
    No,
    /// It leaves its directory now, and ends when nobody uses it any more.
    Detach,
}

/// The lakes that are mounted through FUSE in this process's mount namespace.
///
/// # Errors
/// As reading /proc.
pub fn mounts() -> Result<Vec<MountPoint>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(mount_point).collect())
}

/// Reads a line of /proc/self/mountinfo (proc(5)).
fn mount_point(line: &[u8]) -> Option<MountPoint> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().position(|field| *field == b"-")?;
    let kind = *fields.get(separator + 1)?;
    let source = unescaped(fields.get(separator + 2)?);
    let source = String::from_utf8_lossy(source.as_bytes()).into_owned();
    let source = source.strip_prefix(SOURCE_PREFIX)?.to_owned();
    let ours = kind == b"fuse" || kind == b"fuse.mountable";
    ours.then(|| Some(MountPoint { dir: unescaped(fields.get(4)?).into(), source }))?
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Unmounts a directory: by the system call as root, else through fusermount3.
///
/// # Errors
/// `Busy` if it is in use, `NotFound` if nothing is mounted there, `Denied` if it is another
/// user's.
pub fn unmount(dir: &Path, force: Force) -> Result<()> {
    let flags = match force {
        Force::No => UnmountFlags::NOFOLLOW,
        Force::Detach => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    let error = match rustix::mount::unmount(dir, flags) {
        Ok(()) => return Ok(()),
        Err(Errno::PERM) => return by_helper(dir, force),
        Err(error) => error,
    };
    let (kind, message) = match error {
        Errno::BUSY => (
            ErrorKind::Busy,
            "the mount is in use: close the files, leave the directories (`fuser -vm DIR` shows \
             who is there), or use --lazy",
        ),
        Errno::INVAL | Errno::NOENT => (ErrorKind::NotFound, "nothing is mounted there"),
        _ => (ErrorKind::Denied, "unmount"),
    };
    Err(Error::new(kind, message)
        .with("directory", dir.display())
        .caused_by(std::io::Error::from(error)))
}

fn by_helper(dir: &Path, force: Force) -> Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if force == Force::Detach {
        command.arg("-z");
    }
    command.arg("--").arg(dir).stdin(Stdio::null());
    let output = command.output().map_err(|error| {
        let why = "ordinary users unmount with fusermount3: install fuse3";
        Error::new(ErrorKind::Unsupported, why).caused_by(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let kind = if said.contains("busy") {
        ErrorKind::Busy
    } else if said.contains("not found") || said.contains("not mounted") {
        ErrorKind::NotFound
    } else {
        ErrorKind::Denied
    };
    Err(Error::new(kind, "unmount").with("directory", dir.display()).with("it says", said.trim()))
}

/// Takes away what a process that was killed left mounted.
///
/// # Errors
/// As [`unmount`].
pub(super) fn clear_dead(dir: &Path) -> Result<()> {
    let dead = match rustix::fs::stat(dir) {
        Err(Errno::NOTCONN | Errno::CONNABORTED) => true,
        Ok(_) | Err(_) => false,
    };
    if !dead {
        return Ok(());
    }
    tracing::info!(dir = %dir.display(), "take away the mount of a process that is gone");
    unmount(dir, Force::Detach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_mounts_are_found_and_blanks_are_read_back() {
        let ours = b"36 35 0:40 / /mnt/my\\040lake rw,nosuid shared:1 - fuse \
            mountable:/data/a\\040b rw,user_id=0";
        let point = mount_point(ours).unwrap();
        assert_eq!(point.dir, Path::new("/mnt/my lake"));
        assert_eq!(point.source, "/data/a b");
        let user = b"36 35 0:40 / /home/u/l rw - fuse.mountable mountable:s3://x rw";
        assert_eq!(mount_point(user).unwrap().source, "s3://x");
        for other in [
            &b"36 35 0:40 / /mnt rw - fuse.sshfs host:/x rw"[..],
            b"36 35 0:40 / /mnt rw - ext4 mountable:x rw",
            b"",
        ] {
            assert_eq!(mount_point(other), None);
        }
    }

    #[test]
    fn what_is_not_mounted_cannot_be_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = unmount(dir.path(), Force::No).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Busy);
        clear_dead(dir.path()).unwrap();
    }
}
