//! Objects of a lake: data files, snapshots, deletion vectors, layouts.

use std::sync::Arc;

/// A shared object store.
pub type Objects = Arc<dyn object_store::ObjectStore>;
