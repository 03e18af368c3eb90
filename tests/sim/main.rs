//! The whole engine on a simulated store, catalogue and clock: one seed decides every delay, every
//! error, every crash, every pause and every turn of a scheduler, so that what went wrong once goes
//! wrong again.
//!
//! `MOUNTABLE_SIM_SEED=N` replays one seed, `MOUNTABLE_SIM_LOG=1` prints what happens,
//! `MOUNTABLE_SIM_SEEDS=N` sets how many are run, `MOUNTABLE_LONG=1` runs many.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    clippy::missing_errors_doc,
    reason = "tests"
)]

mod calls;
mod catalog;
mod history;
mod lab;
mod seeds;
mod store;
mod world;
