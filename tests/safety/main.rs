//! The gateway as a process in an unfriendly world: a hostile network, secrets that must not come
//! out, files that others must not read, licences.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "../counts/mod.rs"]
mod counts;
mod hostile;
mod licences;
mod rpc;
mod secrets;
