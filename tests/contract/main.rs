//! Conformance suites run against every implementation of a trait.

mod catalog_suite;
mod catalogs;
mod embedded;
mod lease;
mod redis_server;
mod redis_wire;
mod stores;
