//! Inode numbers: stable over restarts, the same on every gateway for the same name.
//!
//! A number is the hash of the node's text; the table that leads back from number to node is kept
//! in memory and in an append-only file of the state directory. Losing the file costs clients one
//! fresh look-up per handle, never data.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use super::namespace::Node;
use crate::error::Result;

/// Inode number of the root.
pub(super) const ROOT: u64 = 1;

/// The inode table.
#[derive(Debug)]
pub(super) struct Inodes {
    maps: RwLock<Maps>,
    log: Mutex<File>,
}

#[derive(Debug, Default)]
struct Maps {
    nodes: HashMap<u64, Node>,
    numbers: HashMap<Node, u64>,
}

impl Maps {
    fn bind(&mut self, number: u64, node: Node) {
        if let Some(old) = self.nodes.insert(number, node.clone())
            && old != node
        {
            self.numbers.remove(&old);
        }
        self.numbers.insert(node, number);
    }
}

impl Inodes {
    /// Reads the table kept in `directory`.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("inodes.log");
        let mut maps = Maps::default();
        maps.bind(ROOT, Node::Root);
        if let Ok(file) = File::open(&path) {
            for line in BufReader::new(file).lines().map_while(std::io::Result::ok) {
                let Some((number, text)) = line.split_once('\t') else { continue };
                let number = u64::from_str_radix(number, 16).ok();
                if let (Some(number), Some(node)) = (number, Node::from_text(text)) {
                    maps.bind(number, node);
                }
            }
        }
        let log = super::staged::private().append(true).open(&path)?;
        Ok(Self { maps: RwLock::new(maps), log: Mutex::new(log) })
    }

    /// The node of a number; `None` if it was never given out here.
    pub(super) fn node(&self, number: u64) -> Option<Node> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner).nodes.get(&number).cloned()
    }

    /// The number of a node, made if there is none.
    pub(super) fn number(&self, node: &Node) -> u64 {
        if let Some(number) =
            self.maps.read().unwrap_or_else(PoisonError::into_inner).numbers.get(node)
        {
            return *number;
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = maps.numbers.get(node) {
            return *number;
        }
        let text = node.to_text();
        let number = free_number(&maps, &text);
        maps.bind(number, node.clone());
        self.record(number, &text);
        number
    }

    /// Lets the number of `from` stand for `to` from now on (a renamed table keeps its inode).
    pub(super) fn rebind(&self, from: &Node, to: &Node) {
        let number = self.number(from);
        self.maps.write().unwrap_or_else(PoisonError::into_inner).bind(number, to.clone());
        self.record(number, &to.to_text());
    }

    fn record(&self, number: u64, text: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.write_all(format!("{number:x}\t{text}\n").as_bytes()) {
            tracing::warn!(%error, "go on without recording an inode");
        }
    }
}

fn free_number(maps: &Maps, text: &str) -> u64 {
    let mut salt = 0_u32;
    loop {
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.as_bytes()).update(&salt.to_le_bytes());
        let mut first = [0_u8; 8];
        hasher.finalize_xof().fill(&mut first);
        // 63 bits: some tools keep inode numbers in signed integers.
        let number = u64::from_le_bytes(first) >> 1;
        if number > ROOT && !maps.nodes.contains_key(&number) {
            return number;
        }
        salt = salt.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::TableId;

    #[test]
    fn numbers_survive_a_restart_and_follow_a_rename() {
        let directory = tempfile::tempdir().expect("directory");
        let a = Node::Table(TableId::parse("acme/shop/a").expect("valid"));
        let b = Node::Table(TableId::parse("acme/shop/b").expect("valid"));
        let inodes = Inodes::open(directory.path()).expect("open");
        let number = inodes.number(&a);
        inodes.rebind(&a, &b);
        drop(inodes);
        let inodes = Inodes::open(directory.path()).expect("open");
        assert_eq!(inodes.node(number), Some(b.clone()));
        assert_eq!(inodes.number(&b), number);
        assert_ne!(inodes.number(&a), number);
        assert_eq!(inodes.node(ROOT), Some(Node::Root));
    }
}
