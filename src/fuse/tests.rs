//! The calls over a file system in memory, without a kernel.
