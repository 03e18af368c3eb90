//! Delta checkpoints: the state of the log at one version as a Parquet file of actions (Delta
//! protocol, "Checkpoints"). Actions go in and come out as the JSON that commits hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use crate::error::{BoxError, Error, Result};

/// Actions decoded at once.
const BATCH_ACTIONS: usize = 8192;
/// Footer entry: the snapshot that the version shows.
const SNAPSHOT_KEY: &str = "mountable.snapshot";

/// A checkpoint as read.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) actions: Vec<Value>,
    /// Object path of the snapshot that the version shows, if we wrote it.
    pub(super) snapshot: Option<String>,
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

fn texts(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(text("element"))), true)
}

fn map(name: &str) -> Field {
    let key = Field::new("key", DataType::Utf8, false);
    Field::new_map(name, "key_value", key, text("value"), false, true)
}

fn structure(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(fields.into()), true)
}

/// The columns of a checkpoint: one for each kind of action.
fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    Arc::new(Schema::new(vec![
        structure("txn", vec![text("appId"), long("version"), long("lastUpdated")]),
        structure(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                flag("dataChange"),
                text("stats"),
            ],
        ),
        structure(
            "remove",
            vec![
                text("path"),
                long("deletionTimestamp"),
                flag("dataChange"),
                flag("extendedFileMetadata"),
                map("partitionValues"),
                long("size"),
            ],
        ),
        structure(
            "metaData",
            vec![
                text("id"),
                text("name"),
                text("description"),
                structure("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        structure(
            "protocol",
            vec![
                number("minReaderVersion"),
                number("minWriterVersion"),
                texts("readerFeatures"),
                texts("writerFeatures"),
            ],
        ),
    ]))
}

/// The bytes of a checkpoint.
///
/// # Errors
/// `Internal` if the actions do not fit the form.
pub(super) fn encode(actions: &[Value], snapshot: &str) -> Result<Vec<u8>> {
    let failed = |error: BoxError| Error::internal("encode Delta checkpoint").caused_by(error);
    let note = KeyValue::new(SNAPSHOT_KEY.to_owned(), snapshot.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![note]))
        .build();
    let schema = schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))
        .map_err(|error| failed(error.into()))?;
    for some in actions.chunks(BATCH_ACTIONS) {
        let mut decoder = ReaderBuilder::new(schema.clone())
            .with_batch_size(BATCH_ACTIONS)
            .build_decoder()
            .map_err(|error| failed(error.into()))?;
        decoder.serialize(some).map_err(|error| failed(error.into()))?;
        if let Some(batch) = decoder.flush().map_err(|error| failed(error.into()))? {
            writer.write(&batch).map_err(|error| failed(error.into()))?;
        }
    }
    writer.into_inner().map_err(|error| failed(error.into()))
}

/// Reads a checkpoint, also one that another writer made in one part.
///
/// # Errors
/// `Corrupt` if it is none.
pub(super) fn decode(bytes: Bytes) -> Result<Checkpoint> {
    let failed = |error: BoxError| Error::corrupt("read Delta checkpoint").caused_by(error);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| failed(error.into()))?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let snapshot = pairs.and_then(|pairs| {
        pairs.iter().find(|pair| pair.key == SNAPSHOT_KEY).and_then(|pair| pair.value.clone())
    });
    let reader = builder.build().map_err(|error| failed(error.into()))?;
    let mut lines = LineDelimitedWriter::new(Vec::new());
    for batch in reader {
        let batch = batch.map_err(|error| failed(error.into()))?;
        lines.write(&batch).map_err(|error| failed(error.into()))?;
    }
    lines.finish().map_err(|error| failed(error.into()))?;
    let actions = lines
        .into_inner()
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|error| failed(error.into())))
        .collect::<Result<_>>()?;
    Ok(Checkpoint { actions, snapshot })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_come_back_as_they_went_in() {
        let actions = vec![
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {
                "id": "a-b", "name": "t", "format": {"provider": "parquet", "options": {}},
                "schemaString": "{\"type\":\"struct\",\"fields\":[]}", "partitionColumns": [],
                "configuration": {}, "createdTime": 1,
            }}),
            json!({"txn": {"appId": "x", "version": 7, "lastUpdated": 2}}),
            json!({"add": {
                "path": "data/a.parquet", "partitionValues": {}, "size": 10,
                "modificationTime": 3, "dataChange": false, "stats": "{\"numRecords\":2}",
            }}),
            json!({"remove": {
                "path": "data/b.parquet", "deletionTimestamp": 4, "dataChange": false,
                "size": 5,
            }}),
        ];
        let read = decode(encode(&actions, "some/path").expect("encode").into()).expect("decode");
        assert_eq!(read.actions, actions);
        assert_eq!(read.snapshot.as_deref(), Some("some/path"));
    }

    #[test]
    fn a_cut_checkpoint_is_an_error() {
        let mut bytes = encode(&[json!({"txn": {"appId": "x"}})], "p").expect("encode");
        bytes.truncate(bytes.len() - 1);
        assert!(decode(bytes.into()).is_err());
    }
}
