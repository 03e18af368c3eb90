//! Conformance suites run against every implementation of a trait.
