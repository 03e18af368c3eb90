//! What a process that closes a file is doing, as far as /proc tells.
//!
//! The kernel announces each close of a descriptor (FLUSH) and cannot say whether a duplicate goes
//! on. A writer has finished when the process that opened the file closes its only descriptor of
//! it. Where /proc does not tell (another process namespace, no right to look), a close is taken
//! for one of several, and the save is judged when the last is gone (RELEASE).

use std::fs;

/// How a descriptor is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// Perhaps one of several.
    OneOfSeveral,
    /// The only one of the process that opened the file.
    Last,
    /// By the end of a process that was killed.
    Killed,
}

/// Flag of a process that ends (PF_EXITING of the kernel's task flags).
const EXITING: u64 = 0x4;

/// The process of a thread; 0 if it is not known.
pub(super) fn process_of(thread: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|id| id.trim().parse().ok()).unwrap_or(0)
}

/// What the close of a file by `thread` means, if `opener` opened it and the kernel knows it by
/// one of `numbers`.
pub(super) fn closing(thread: u32, opener: u32, numbers: [u64; 2]) -> Closing {
    if thread == 0 {
        return Closing::OneOfSeveral;
    }
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
    let process = process_of(thread);
    if process == 0 || process != opener {
        return Closing::OneOfSeveral;
    }
    if was_killed(&stat) {
        return Closing::Killed;
    }
    match has_open(thread, numbers) {
        Some(false) => Closing::Last,
        Some(true) | None => Closing::OneOfSeveral,
    }
}

/// Whether a line of /proc/PID/stat shows a process that is ending because of a signal.
fn was_killed(stat: &str) -> bool {
    // The name, in brackets, may hold anything; the state is the third field of the line.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let ending = number(9).is_some_and(|flags| flags & EXITING != 0);
    ending && number(52).is_some_and(|status| status & 0x7f != 0)
}

/// Whether a process has a descriptor of an inode; `None` if that cannot be found out.
fn has_open(thread: u32, numbers: [u64; 2]) -> Option<bool> {
    for entry in fs::read_dir(format!("/proc/{thread}/fdinfo")).ok()? {
        // A descriptor that another thread closes meanwhile is gone.
        let Ok(info) = fs::read_to_string(entry.ok()?.path()) else { continue };
        let inode = info.lines().find_map(|line| line.strip_prefix("ino:"));
        // Kernels before 5.14 do not tell.
        let inode: u64 = inode?.trim().parse().ok()?;
        if numbers.contains(&inode) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(flags: u64, status: u64) -> String {
        let mut fields = vec!["0".to_owned(); 50];
        fields[0] = "S".to_owned();
        fields[9 - 3] = flags.to_string();
        fields[52 - 3] = status.to_string();
        format!("12 (a name) with) brackets) {}", fields.join(" "))
    }

    #[test]
    fn a_killed_process_is_told_from_one_that_exits() {
        assert!(was_killed(&line(0x40_0004, 9)));
        assert!(was_killed(&line(0x40_0004, 15 | 0x80)));
        assert!(!was_killed(&line(0x40_0004, 1 << 8)), "exit 1");
        assert!(!was_killed(&line(0x40_0000, 9)), "not ending");
        assert!(!was_killed(""));
    }

    #[test]
    fn this_process_knows_itself_and_its_descriptors() {
        use std::os::unix::fs::MetadataExt;
        let me = std::process::id();
        assert_eq!(process_of(me), me);
        let file = tempfile::tempfile().unwrap();
        let inode = file.metadata().unwrap().ino();
        assert_eq!(closing(me, me, [inode, 0]), Closing::OneOfSeveral);
        drop(file);
        assert_eq!(closing(me, me, [u64::MAX, u64::MAX]), Closing::Last);
        assert_eq!(closing(me, 1, [u64::MAX, u64::MAX]), Closing::OneOfSeveral);
        assert_eq!(closing(0, 0, [0, 0]), Closing::OneOfSeveral);
    }
}
