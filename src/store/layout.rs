//! Every object path of a lake (format spec sections 2 and 6.2, commit-protocol.md section 3).
//!
//! Names are validated types and numbers, so a path cannot leave its table's folder.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, Timelike};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::ident::{SuperId, TableId};

/// Digits of the version in the name of a successor.
const VERSION_DIGITS: usize = 20;
/// End of the name of a snapshot document.
const SNAPSHOT_END: &str = "_tables.json";

/// Object that marks a location as a lake of ours; lakes made by the Python library have none.
pub const LAKE_MARKER: &str = ".mountable/lake.json";

/// Object that is put to find out whether a store in a cloud honours create-only puts.
pub(super) const CREATE_ONLY_PROBE: &str = ".mountable/create-only";

/// File of the embedded catalogue in a local lake's directory.
pub const EMBEDDED_CATALOG: &str = ".mountable/catalog.sqlite";

/// An object that is made and removed again to see what the store does.
pub fn probe(now_ms: i64, hex: &str) -> String {
    format!(".mountable/probe_{now_ms}_{hex}")
}

/// Folder of a SuperTable, or of a branch of it.
pub fn super_location(id: &SuperId) -> String {
    match id.branch() {
        None => format!("{}/{}", id.organization, id.super_name),
        Some(branch) => format!("{}/{branch}", branches(id)),
    }
}

/// Folder of a SuperTable's branches.
pub fn branches(id: &SuperId) -> String {
    format!("{}/{}/.branches", id.organization, id.super_name.main())
}

/// Folder of a branch for the lists of what was dropped with earlier branches of its name.
pub fn ended_branches(id: &SuperId) -> String {
    format!("{}/ended", super_location(id))
}

/// A new list of what was dropped with a branch.
pub fn ended_branch(id: &SuperId, now_ms: i64, hex: &str) -> String {
    format!("{}/{now_ms}_{hex}_ended.json", ended_branches(id))
}

/// Folder of a SuperTable's tables.
pub fn tables(id: &SuperId) -> String {
    format!("{}/tables", super_location(id))
}

/// Folder of a table: `{org}/{sup}/tables/{t}`, the `location` of its snapshots.
pub fn table_location(table: &TableId) -> String {
    format!("{}/{}", tables(&table.super_id()), table.simple_name)
}

/// A new data file. `hex` are 16 random hexadecimal digits, `now_ms` is the time of the write.
pub fn data_file(table: &TableId, now_ms: i64, hex: &str) -> String {
    format!("{}/data/{}/{now_ms}_{hex}_data.parquet", table_location(table), day(now_ms))
}

/// A new data file of a generation that keeps files without a time in no folder of their day.
pub fn data_file_without_day(table: &TableId, now_ms: i64, hex: &str) -> String {
    format!("{}/data/{now_ms}_{hex}_data.parquet", table_location(table))
}

/// A new deletion-vector part.
pub fn deletion_part(table: &TableId, now_ms: i64, hex: &str) -> String {
    let hour = hour(now_ms);
    format!("{}/tombstone/{hour}/{now_ms}_{hex}_deleted.parquet", table_location(table))
}

/// A new statistics file.
pub fn stats_file(table: &TableId, now_ms: i64, hex: &str) -> String {
    let hour = hour(now_ms);
    format!("{}/stats/{hour}/{now_ms}_{hex}_stats.parquet", table_location(table))
}

/// A new order-of-rows object that is too large to stand in the snapshot.
pub fn layout_object(table: &TableId, now_ms: i64, hex: &str) -> String {
    format!("{}/layout/{}/{now_ms}_{hex}_layout.json", table_location(table), day(now_ms))
}

/// A write of somebody else that lost against an acknowledged one of ours (commit-protocol.md
/// section 3, "Conflicts").
pub fn rejected_object(table: &TableId, now_ms: i64, hex: &str) -> String {
    format!("{}/rejected/{now_ms}_{hex}_rejected.json", table_location(table))
}

/// Folder of a SuperTable's mirrors; `format` is the Python library's name of the folder (format
/// spec section 2.4).
pub fn mirrors(id: &SuperId, format: &str) -> String {
    format!("{}/{format}", super_location(id))
}

/// Folder of a table's mirror.
pub fn mirror(table: &TableId, format: &str) -> String {
    format!("{}/{}", mirrors(&table.super_id(), format), table.simple_name)
}

/// Folder of a table's snapshots.
pub fn snapshots(table: &TableId) -> String {
    format!("{}/snapshots", table_location(table))
}

/// The first snapshot of a table: it has no predecessor to derive its name from.
pub fn bootstrap_snapshot(table: &TableId, now_ms: i64, hex: &str) -> String {
    format!("{}/{now_ms}_{hex}{SNAPSHOT_END}", snapshots(table))
}

/// `succ(P)`: the one possible name of the snapshot that follows the one at `previous_path`;
/// `version_of_next` is its version.
pub fn successor(previous_path: &str, version_of_next: u64) -> String {
    let digest = Sha256::digest(previous_path.as_bytes());
    let mut name = match previous_path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/"),
        None => String::new(),
    };
    // Writing to a String cannot fail.
    let _ = write!(name, "{version_of_next:0VERSION_DIGITS$}_");
    for byte in digest.iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(SNAPSHOT_END);
    name
}

/// What the name of a snapshot document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotName {
    /// Made by [`successor`]: the version.
    Successor(u64),
    /// A bootstrap or a snapshot of the Python library: the time, milliseconds since 1970.
    Timed(i64),
}

/// Reads the name of a snapshot document; `None` if the path does not name one.
pub fn snapshot_name(path: &str) -> Option<SnapshotName> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let (number, hex) = name.strip_suffix(SNAPSHOT_END)?.split_once('_')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if !digits || hex.len() != 16 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    if number.len() == VERSION_DIGITS {
        return number.parse().ok().map(SnapshotName::Successor);
    }
    number.parse().ok().map(SnapshotName::Timed)
}

/// Version in the name of a snapshot that was made by [`successor`].
pub fn version_of(path: &str) -> Option<u64> {
    match snapshot_name(path)? {
        SnapshotName::Successor(version) => Some(version),
        SnapshotName::Timed(_) => None,
    }
}

/// Time in the name of a data file, deletion-vector part or timed snapshot, milliseconds since
/// 1970; `None` for other names.
pub fn time_of(path: &str) -> Option<i64> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let (number, _) = name.split_once('_')?;
    if number.len() == VERSION_DIGITS {
        return None;
    }
    number.parse().ok()
}

/// Checks that a path found in a document lies in the table's own folder.
///
/// # Errors
/// `Corrupt` if it does not.
pub fn check_within(table: &TableId, path: &str) -> Result<()> {
    let inside =
        path.strip_prefix(&table_location(table)).is_some_and(|rest| rest.starts_with('/'));
    if inside && super::object_path(path).is_ok() {
        return Ok(());
    }
    Err(Error::corrupt("snapshot names an object outside its table")
        .with("table", table)
        .with("path", path.escape_debug()))
}

fn day(ms: i64) -> String {
    let time = utc(ms);
    format!("year={:04}/month={:02}/day={:02}", time.year(), time.month(), time.day())
}

fn hour(ms: i64) -> String {
    format!("{}/hour={:02}", day(ms), utc(ms).hour())
}

/// A time that chrono cannot hold goes into the folder of 1970; folders are only folders.
fn utc(ms: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_795_253_675_027;
    const HEX: &str = "9869e1645d6e4c1a";

    fn table() -> TableId {
        TableId::parse("acme/shop/orders").expect("valid id")
    }

    #[test]
    fn paths_are_those_of_the_format_specification() {
        let check = |got: String, expected: &str| {
            assert_eq!(got, format!("acme/shop/tables/orders/{expected}"));
        };
        let day = "year=2026/month=11/day=21";
        check(data_file(&table(), MS, HEX), &format!("data/{day}/{MS}_{HEX}_data.parquet"));
        let part = format!("tombstone/{day}/hour=09/{MS}_{HEX}_deleted.parquet");
        check(deletion_part(&table(), MS, HEX), &part);
        let stats = format!("stats/{day}/hour=09/{MS}_{HEX}_stats.parquet");
        check(stats_file(&table(), MS, HEX), &stats);
        check(bootstrap_snapshot(&table(), MS, HEX), &format!("snapshots/{MS}_{HEX}_tables.json"));
    }

    #[test]
    fn a_branch_lies_in_a_folder_that_no_table_can_have() {
        let table = TableId::parse("acme/shop@dev/orders").expect("valid id");
        assert_eq!(table_location(&table), "acme/shop/.branches/dev/tables/orders");
        assert!(super::super::object_path(&table_location(&table)).is_ok());
    }

    #[test]
    fn successor_is_derived_from_the_predecessor_alone() {
        let first = bootstrap_snapshot(&table(), MS, HEX);
        let next = successor(&first, 1);
        // First 16 digits of sha256("acme/shop/tables/orders/snapshots/1795253675027_9869..."),
        // computed with sha256sum.
        assert_eq!(
            next,
            "acme/shop/tables/orders/snapshots/00000000000000000001_0fae80724d1ce628_tables.json"
        );
        assert_eq!(next, successor(&first, 1));
        assert_ne!(successor(&next, 2), successor(&first, 2));
    }

    #[test]
    fn names_are_read_back() {
        let first = bootstrap_snapshot(&table(), MS, HEX);
        let next = successor(&first, u64::MAX);
        assert_eq!(snapshot_name(&first), Some(SnapshotName::Timed(MS)));
        assert_eq!(version_of(&next), Some(u64::MAX));
        assert_eq!(version_of(&first), None);
        assert_eq!(time_of(&data_file(&table(), MS, HEX)), Some(MS));
        assert_eq!(time_of(&next), None);
        for bad in ["", "x", "1_zz_tables.json", "_0123456789abcdef_tables.json", "a/1_2.json"] {
            assert_eq!(snapshot_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_outside_the_table_is_corrupt() {
        let inside = data_file(&table(), MS, HEX);
        check_within(&table(), &inside).expect("inside");
        for bad in [
            "acme/shop/tables/orders",
            "acme/shop/tables/orders2/data/x",
            "acme/shop/tables/orders/../other/x",
            "/etc/passwd",
        ] {
            assert!(check_within(&table(), bad).is_err(), "{bad}");
        }
    }
}
