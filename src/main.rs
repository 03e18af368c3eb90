//! The `mountable` binary: the allocator and the exit code, nothing else.

fn main() {}
