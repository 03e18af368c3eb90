//! The user stories of the library, one module each, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod appends;
mod bad_input;
mod compaction;
mod edits;
mod model;
mod names;
mod opens;
mod outages;
mod readers;
mod refusals;
mod renames;
mod respelled;
mod restarts;
mod rewrites;
mod round_trips;
mod schema;
#[cfg(feature = "sql")]
mod sql;
#[cfg(feature = "sql")]
mod sql_filters;
#[cfg(feature = "sql")]
mod sql_tree;
mod support;
mod trash;
mod verdicts;
mod versions;
mod wire;
