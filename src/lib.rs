//! Mountable: mount a SuperTable data lake and use cat, grep, sed, vi and any file manager on it.
//!
//! Layers, each using only those below it (`tests/tidy.rs` enforces it; docs/ARCHITECTURE.md has
//! the picture): `nfs`, `fuse`, `cli` -> `vfs` -> `lake` -> `ingest`, `filter`, `sql`, `mirror` -> `view`, `access`, `audit` ->
//! `table` -> `csv`, `store`, `catalog` -> `ident`, `error`, `clock`, `config`, `telemetry`.

pub mod access;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod csv;
pub mod error;
pub mod filter;
pub mod fuse;
pub mod ident;
pub mod ingest;
pub mod lake;
pub mod mirror;
pub mod nfs;
pub mod sql;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod vfs;
pub mod view;
