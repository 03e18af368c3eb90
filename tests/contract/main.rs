//! Conformance suites run against every implementation of a trait.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "the helpers of a test crate are tests too"
)]

mod appends;
mod catalog_suite;
mod catalogs;
mod embedded;
mod lake_fixture;
mod lease;
mod lost_catalog;
mod redis_server;
mod redis_wire;
mod stores;
mod transfer;
