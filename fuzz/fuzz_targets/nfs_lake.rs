//! See `nfs_lake` in `tests/fuzz/wire.rs`.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;
#[path = "../../tests/fuzz/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::nfs_lake(data));
