//! See `leaf_json` in `tests/fuzz/targets.rs`.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::leaf_json(data));
