//! Deletion vectors: which rows of the data files are dead (format spec section 6.2).
//!
//! A part is a Parquet file with the columns `__file__` (large text) and `__rowid__` (int64).
//! Rows are dead by their id alone, as the Python library reads it; the file only tells which
//! entries fall away with it. A part that cannot be read is an error, never "nothing deleted".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, LargeStringArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::store::{self, Objects};
use crate::table::schema::ROW_ID;

/// A vector of more parts than this is written as one (the Python library's
/// `SUPERTABLE_TOMBSTONE_MAX_PARTS`).
pub const PARTS_MAX: usize = 100;
/// Column that names the data file.
const FILE: &str = "__file__";

/// Dead rows: ids by data file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadRows {
    by_file: BTreeMap<Arc<str>, BTreeSet<i64>>,
}

impl DeadRows {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.by_file.values().map(|ids| u64::try_from(ids.len()).unwrap_or(u64::MAX)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_file.is_empty()
    }

    /// Adds a row.
    pub fn insert(&mut self, file: &Arc<str>, id: i64) {
        self.by_file.entry(Arc::clone(file)).or_default().insert(id);
    }

    /// Adds all rows of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (file, ids) in &other.by_file {
            self.by_file.entry(Arc::clone(file)).or_default().extend(ids);
        }
    }

    /// Drops the entries of files that `keep` does not want.
    pub fn retain_files(&mut self, keep: impl Fn(&str) -> bool) {
        self.by_file.retain(|file, _| keep(file));
    }

    /// Files and their dead ids, ascending.
    pub fn files(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeSet<i64>)> {
        self.by_file.iter()
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.by_file.values().flatten().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// Whether an ascending list of ids holds `id`.
pub fn holds(ids: &[i64], id: i64) -> bool {
    ids.binary_search(&id).is_ok()
}

/// The bytes of a part.
///
/// # Errors
/// `Internal` if encoding fails.
pub fn encode(rows: &DeadRows) -> Result<Vec<u8>> {
    let pairs: Vec<(&str, i64)> = rows
        .files()
        .flat_map(|(file, ids)| ids.iter().map(move |id| (file.as_ref(), *id)))
        .collect();
    let files = LargeStringArray::from_iter_values(pairs.iter().map(|(file, _)| file));
    let ids = Int64Array::from_iter_values(pairs.iter().map(|(_, id)| *id));
    let schema = Arc::new(Schema::new(vec![
        Field::new(FILE, DataType::LargeUtf8, true),
        Field::new(ROW_ID, DataType::Int64, true),
    ]));
    let failed = |error: BoxError| Error::internal("encode deletion vector").caused_by(error);
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(files), Arc::new(ids)])
        .map_err(|error| failed(error.into()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, schema, Some(properties))
        .map_err(|error| failed(error.into()))?;
    writer.write(&batch).map_err(|error| failed(error.into()))?;
    writer.close().map_err(|error| failed(error.into()))?;
    Ok(out)
}

type BoxError = crate::error::BoxError;

/// Reads the bytes of a part.
///
/// # Errors
/// `Corrupt` if it is not one.
pub fn decode(bytes: Bytes) -> Result<DeadRows> {
    let failed = |error: BoxError| Error::corrupt("read deletion vector").caused_by(error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| failed(error.into()))?;
    let mut rows = DeadRows::default();
    for batch in reader {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let column = |name: &'static str, data_type: &DataType| {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| Error::corrupt("deletion vector lacks a column").with("is", name))?;
            arrow::compute::cast(column, data_type).map_err(|error| failed(error.into()))
        };
        let files = column(FILE, &DataType::LargeUtf8)?;
        let ids = column(ROW_ID, &DataType::Int64)?;
        let (files, ids) = (files.as_string::<i64>(), ids.as_primitive::<Int64Type>());
        if files.null_count() > 0 || ids.null_count() > 0 {
            return Err(Error::corrupt("deletion vector holds an empty cell"));
        }
        let mut last: Option<Arc<str>> = None;
        for (file, id) in files.iter().flatten().zip(ids.values()) {
            let path = match last {
                Some(path) if path.as_ref() == file => path,
                _ => Arc::from(file),
            };
            rows.insert(&path, *id);
            last = Some(path);
        }
    }
    Ok(rows)
}

/// Reads one part of a vector.
///
/// # Errors
/// `Corrupt` if the part is missing or unreadable, else those of the store.
pub async fn read_part(objects: &Objects, path: &str) -> Result<DeadRows> {
    let bytes = store::get(objects, path)
        .await?
        .ok_or_else(|| Error::corrupt("deletion-vector part is missing").with("path", path))?;
    decode(bytes).map_err(|error| error.with("path", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_as_written() {
        let mut rows = DeadRows::default();
        let (a, b): (Arc<str>, Arc<str>) = ("t/a.parquet".into(), "t/b.parquet".into());
        for id in [5, 1, 9_007_199_254_740_993] {
            rows.insert(&a, id);
        }
        rows.insert(&b, 2);
        rows.insert(&b, 2);
        assert_eq!(rows.len(), 4);
        let read = decode(encode(&rows).expect("encode").into()).expect("decode");
        assert_eq!(read, rows);
        assert_eq!(read.ids(), [1, 2, 5, 9_007_199_254_740_993]);
    }

    #[test]
    fn a_cut_part_is_an_error_and_not_an_empty_vector() {
        let mut rows = DeadRows::default();
        rows.insert(&"t/a.parquet".into(), 1);
        let mut bytes = encode(&rows).expect("encode");
        bytes.truncate(bytes.len() / 2);
        let error = decode(bytes.into()).expect_err("cut");
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
    }
}
