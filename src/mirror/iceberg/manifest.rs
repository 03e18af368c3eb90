//! Manifests and manifest lists (Iceberg specification, "Manifests", "Manifest Lists").

use serde::{Deserialize, Serialize};

use super::avro::{self, Record};
use crate::error::{Error, Result};

/// Avro schema of a manifest of an unpartitioned table.
const ENTRY_SCHEMA: &str = r#"{"type":"record","name":"manifest_entry","fields":[
{"name":"status","type":"int","field-id":0},
{"name":"snapshot_id","type":["null","long"],"default":null,"field-id":1},
{"name":"sequence_number","type":["null","long"],"default":null,"field-id":3},
{"name":"file_sequence_number","type":["null","long"],"default":null,"field-id":4},
{"name":"data_file","type":{"type":"record","name":"r2","fields":[
{"name":"content","type":"int","field-id":134},
{"name":"file_path","type":"string","field-id":100},
{"name":"file_format","type":"string","field-id":101},
{"name":"partition","type":{"type":"record","name":"r102","fields":[]},"field-id":102},
{"name":"record_count","type":"long","field-id":103},
{"name":"file_size_in_bytes","type":"long","field-id":104}]},"field-id":2}]}"#;

/// Avro schema of a manifest list.
const LIST_SCHEMA: &str = r#"{"type":"record","name":"manifest_file","fields":[
{"name":"manifest_path","type":"string","field-id":500},
{"name":"manifest_length","type":"long","field-id":501},
{"name":"partition_spec_id","type":"int","field-id":502},
{"name":"content","type":"int","field-id":517},
{"name":"sequence_number","type":"long","field-id":515},
{"name":"min_sequence_number","type":"long","field-id":516},
{"name":"added_snapshot_id","type":"long","field-id":503},
{"name":"added_files_count","type":"int","field-id":504},
{"name":"existing_files_count","type":"int","field-id":505},
{"name":"deleted_files_count","type":"int","field-id":506},
{"name":"added_rows_count","type":"long","field-id":512},
{"name":"existing_rows_count","type":"long","field-id":513},
{"name":"deleted_rows_count","type":"long","field-id":514},
{"name":"partitions","type":["null",{"type":"array","items":{"type":"record","name":"r508",
"fields":[{"name":"contains_null","type":"boolean","field-id":509},
{"name":"contains_nan","type":["null","boolean"],"default":null,"field-id":518},
{"name":"lower_bound","type":["null","bytes"],"default":null,"field-id":510},
{"name":"upper_bound","type":["null","bytes"],"default":null,"field-id":511}]},
"element-id":508}],"default":null,"field-id":507}]}"#;

/// A data file of a snapshot, as it is remembered beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    /// Address of the object.
    pub(super) uri: String,
    /// Object path of a copy of ours; `None` for a data file of the table.
    pub(super) copy: Option<String>,
    /// Digest of what is in it.
    pub(super) digest: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// The Iceberg snapshot that added it, and its sequence number.
    pub(super) snapshot_id: i64,
    pub(super) sequence: i64,
}

/// What a snapshot does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Existing,
    Added,
    Deleted,
}

/// Files and rows of one status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) files: i64,
    pub(super) rows: i64,
}

/// What a manifest belongs to.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    pub(super) snapshot_id: i64,
    pub(super) parent: Option<i64>,
    pub(super) sequence: i64,
    /// The schema document of the table.
    pub(super) schema: &'a str,
    pub(super) schema_id: i64,
}

/// The bytes of a manifest.
///
/// # Errors
/// `Internal` if a number is out of range.
pub(super) fn manifest(owner: &Owner<'_>, entries: &[(Status, &File)]) -> Result<Vec<u8>> {
    let mut records = Vec::with_capacity(entries.len());
    for (status, file) in entries {
        let (number, by) = match status {
            Status::Existing => (0, file.snapshot_id),
            Status::Added => (1, file.snapshot_id),
            Status::Deleted => (2, owner.snapshot_id),
        };
        let mut record = Record::default();
        record.long(number).optional_long(by);
        record.optional_long(file.sequence).optional_long(file.sequence);
        record.long(0).text(&file.uri).text("PARQUET");
        record.long(count(file.rows)?).long(count(file.bytes)?);
        records.push(record);
    }
    let header = [
        ("schema", owner.schema.to_owned()),
        ("schema-id", owner.schema_id.to_string()),
        ("partition-spec", "[]".to_owned()),
        ("partition-spec-id", "0".to_owned()),
        ("format-version", "2".to_owned()),
        ("content", "data".to_owned()),
    ];
    avro::file(&one_line(ENTRY_SCHEMA), &header, &records)
}

/// Files and rows of a status.
///
/// # Errors
/// `Internal` if a number is out of range.
pub(super) fn tally(entries: &[(Status, &File)], of: Status) -> Result<Tally> {
    let mut tally = Tally::default();
    for (_, file) in entries.iter().filter(|(status, _)| *status == of) {
        tally.files = tally.files.saturating_add(1);
        tally.rows = tally.rows.saturating_add(count(file.rows)?);
    }
    Ok(tally)
}

/// The bytes of a manifest list of at most one manifest: its address and size.
///
/// # Errors
/// As [`manifest`].
pub(super) fn manifest_list(
    owner: &Owner<'_>,
    entries: &[(Status, &File)],
    manifest: Option<(&str, u64)>,
) -> Result<Vec<u8>> {
    let mut records = Vec::new();
    if let Some((uri, bytes)) = manifest {
        let live = entries.iter().filter(|(status, _)| *status != Status::Deleted);
        let oldest = live.map(|(_, file)| file.sequence).min().unwrap_or(owner.sequence);
        let [added, existing, deleted] =
            [Status::Added, Status::Existing, Status::Deleted].map(|of| tally(entries, of));
        let (added, existing, deleted) = (added?, existing?, deleted?);
        let mut record = Record::default();
        record.text(uri).long(count(bytes)?).long(0).long(0);
        record.long(owner.sequence).long(oldest).long(owner.snapshot_id);
        record.long(added.files).long(existing.files).long(deleted.files);
        record.long(added.rows).long(existing.rows).long(deleted.rows).null();
        records.push(record);
    }
    let header = [
        ("snapshot-id", owner.snapshot_id.to_string()),
        ("parent-snapshot-id", owner.parent.map_or("null".to_owned(), |id| id.to_string())),
        ("sequence-number", owner.sequence.to_string()),
        ("format-version", "2".to_owned()),
    ];
    avro::file(&one_line(LIST_SCHEMA), &header, &records)
}

fn one_line(schema: &str) -> String {
    schema.replace('\n', "")
}

fn count(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::internal("number is out of range"))
}
