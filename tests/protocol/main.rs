//! The commit protocol, every interleaving of it: an exhaustive model in which gateways crash and
//! sleep, locks expire under their holders, the catalogue is rolled back, answers are lost, other
//! writers overwrite the pointer, and tables are dropped, made anew and renamed meanwhile. The
//! protocols that lose commits, and ours with one rule taken away, must fail.
//!
//! `MOUNTABLE_LONG=1` adds the long scenarios.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "tests"
)]

mod gateway;
mod losing;
mod rules;
mod scenarios;
mod search;
mod state;
