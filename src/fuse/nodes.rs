//! The numbers that the kernel knows objects by.
//!
//! The kernel keeps one size and one page cache for each number. A table therefore has a number
//! for every version that was looked up, so that a reader of an old version and a reader of the
//! newest never share pages; everything else has its inode number. Numbers are forgotten when the
//! kernel says so, and are not used again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::vfs::{Attr, FileTime, Handle};

/// Numbers from here on stand for versions; inode numbers have 63 bits.
const VERSIONED: u64 = 1 << 63;

/// What a page cache was filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    size: u64,
    mtime: FileTime,
    ctime: FileTime,
}

#[derive(Debug)]
struct Node {
    handle: Handle,
    /// How many look-ups the kernel has not forgotten.
    lookups: u64,
    /// What it showed when it was last opened.
    opened: Option<Content>,
}

/// The numbers of one mount.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    nodes: HashMap<u64, Node>,
    numbers: HashMap<Handle, u64>,
    given: u64,
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an object that the kernel is told about now.
    pub(super) fn looked_up(&self, handle: Handle) -> u64 {
        if handle.version == 0 {
            return handle.inode;
        }
        let mut table = self.lock();
        let number = match table.numbers.get(&handle) {
            Some(number) => *number,
            None => {
                table.given += 1;
                let number = VERSIONED | table.given;
                table.numbers.insert(handle, number);
                table.nodes.insert(number, Node { handle, lookups: 0, opened: None });
                number
            }
        };
        if let Some(node) = table.nodes.get_mut(&number) {
            node.lookups = node.lookups.saturating_add(1);
        }
        number
    }

    /// What a number stands for; `None` if it was forgotten.
    pub(super) fn handle(&self, number: u64) -> Option<Handle> {
        if number < VERSIONED {
            return Some(Handle { inode: number, version: 0 });
        }
        self.lock().nodes.get(&number).map(|node| node.handle)
    }

    /// Whether the pages that the kernel has are those of what is opened now.
    pub(super) fn keeps_pages(&self, number: u64, attr: &Attr) -> bool {
        let now = Content { size: attr.size, mtime: attr.mtime, ctime: attr.ctime };
        let mut table = self.lock();
        let Some(node) = table.nodes.get_mut(&number) else { return false };
        node.opened.replace(now) == Some(now)
    }

    /// The kernel forgets `lookups` look-ups of a number.
    pub(super) fn forget(&self, number: u64, lookups: u64) {
        let mut table = self.lock();
        let Some(node) = table.nodes.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 {
            let handle = node.handle;
            table.nodes.remove(&number);
            table.numbers.remove(&handle);
        }
    }

    /// Numbers of versions that the kernel knows.
    pub(super) fn len(&self) -> usize {
        self.lock().nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_a_number_until_all_its_look_ups_are_forgotten() {
        let nodes = Nodes::default();
        let directory = Handle { inode: 7, version: 0 };
        assert_eq!(nodes.looked_up(directory), 7);
        let (old, new) = (Handle { inode: 9, version: 4 }, Handle { inode: 9, version: 5 });
        let first = nodes.looked_up(old);
        let second = nodes.looked_up(new);
        assert_ne!(first, second);
        assert_eq!(nodes.looked_up(old), first);
        assert_eq!(nodes.handle(first), Some(old));
        nodes.forget(first, 1);
        assert_eq!(nodes.handle(first), Some(old));
        nodes.forget(first, 1);
        assert_eq!(nodes.handle(first), None);
        assert_ne!(nodes.looked_up(old), first, "a number came back");
        assert_eq!(nodes.len(), 2);
    }
}
