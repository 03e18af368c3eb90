//! The SimpleTable engine: snapshots, scans, change sets and the one commit.

pub mod changeset;
pub mod layout;
pub mod scan;
pub mod snapshot;
pub mod write;
