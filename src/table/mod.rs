//! The SimpleTable engine: snapshots, scans, change sets and the one commit.

pub mod changeset;
pub mod codec;
pub mod layout;
pub mod measure;
pub mod scan;
pub mod schema;
pub mod snapshot;
pub mod widen;
pub mod write;

mod json;
