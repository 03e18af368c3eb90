//! Parquet footers: read once per file with one request, kept in a bounded cache.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use object_store::{GetOptions, GetRange};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::{RowGroupPart, damaged, explain, object_path};
use crate::error::{Error, Result};
use crate::store::Objects;
use crate::table::snapshot::DataFile;

/// Bytes read from a file's end in the hope that the footer and the offset index lie there.
const TAIL_BYTES: u64 = 128 << 10;

/// The metadata of a data file.
#[derive(Debug)]
pub struct Footer {
    arrow: ArrowReaderMetadata,
    /// First row of each row group, and behind the last one the number of rows.
    group_starts: Vec<u32>,
}

impl Footer {
    fn new(file: &DataFile, metadata: ParquetMetaData) -> Result<Self> {
        let mut group_starts = vec![0_u32];
        let mut rows = 0_u32;
        for group in metadata.row_groups() {
            rows = u32::try_from(group.num_rows())
                .ok()
                .and_then(|count| rows.checked_add(count))
                .ok_or_else(|| damaged(&file.path, "number of rows is out of range"))?;
            group_starts.push(rows);
        }
        if u64::from(rows) != file.rows {
            return Err(damaged(
                &file.path,
                "the data file has another number of rows than its \
                snapshot says",
            )
            .with("expected", file.rows)
            .with("found", rows));
        }
        let arrow = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
            .map_err(|error| damaged(&file.path, "read columns").caused_by(error))?;
        Ok(Self { arrow, group_starts })
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.group_starts.last().copied().unwrap_or_default()
    }

    /// The stored columns, system columns included.
    pub fn schema(&self) -> &SchemaRef {
        self.arrow.schema()
    }

    /// The value of a key of the footer's key-value metadata.
    pub fn value(&self, key: &str) -> Option<&str> {
        let pairs = self.arrow.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// Whether single pages can be found without reading the whole column chunk.
    pub fn has_page_index(&self) -> bool {
        self.arrow.metadata().offset_index().is_some_and(|index| !index.is_empty())
    }

    /// Bytes of all column chunks before compression.
    pub fn uncompressed_bytes(&self) -> u64 {
        let groups = self.arrow.metadata().row_groups();
        groups.iter().filter_map(|group| u64::try_from(group.total_byte_size()).ok()).sum()
    }

    /// Digest of where the file's column chunks lie; the writer leaves it in the footer
    /// ([`PAGES_KEY`]), so that entries which were copied into another file are noticed.
    pub fn pages_digest(&self) -> String {
        pages_digest(self.arrow.metadata().row_groups().iter())
    }

    pub(super) fn arrow(&self) -> &ArrowReaderMetadata {
        &self.arrow
    }

    /// The rows of each row group.
    pub fn row_groups(&self) -> impl Iterator<Item = Range<u32>> {
        let ends = self.group_starts.iter().skip(1);
        self.group_starts.iter().zip(ends).map(|(start, end)| *start..*end)
    }

    /// Splits a run of rows at the borders of row groups.
    pub(super) fn row_group_parts(&self, rows: &Range<u32>) -> Vec<RowGroupPart> {
        let mut parts = Vec::new();
        for (group, bounds) in self.group_starts.windows(2).enumerate() {
            let (&[start, end] | &[start, .., end]) = bounds else { continue };
            let (from, to) = (rows.start.max(start), rows.end.min(end));
            if from < to {
                parts.push(RowGroupPart { group, rows: from - start..to - start });
            }
        }
        parts
    }
}

/// Key of [`Footer::pages_digest`] in the footer.
pub const PAGES_KEY: &str = "mountable.pages.v1";

/// Digest of the offsets, sizes and value counts of all column chunks.
pub(crate) fn pages_digest<'a>(groups: impl Iterator<Item = &'a RowGroupMetaData>) -> String {
    let mut hasher = blake3::Hasher::new();
    for group in groups {
        hasher.update(&group.num_rows().to_le_bytes());
        for chunk in group.columns() {
            hasher.update(chunk.column_path().string().as_bytes());
            for number in
                [chunk.data_page_offset(), chunk.compressed_size(), chunk.uncompressed_size()]
            {
                hasher.update(&number.to_le_bytes());
            }
        }
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}

/// Footers by path and size, bounded in bytes. Two readers that miss at once read it once.
#[derive(Debug)]
pub(super) struct FooterCache(Cache<(Arc<str>, u64), Arc<Footer>, FooterWeight>);

#[derive(Debug, Clone)]
struct FooterWeight;

impl Weighter<(Arc<str>, u64), Arc<Footer>> for FooterWeight {
    fn weight(&self, key: &(Arc<str>, u64), footer: &Arc<Footer>) -> u64 {
        let bytes = footer.arrow.metadata().memory_size() + key.0.len() + 512;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl FooterCache {
    pub(super) fn new(bytes_max: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(4)
            .estimated_items_capacity(1024)
            .weight_capacity(bytes_max)
            .build();
        Self(match options {
            Ok(options) => {
                Cache::with_options(options, FooterWeight, Default::default(), Default::default())
            }
            Err(_) => Cache::with_weighter(1024, bytes_max, FooterWeight),
        })
    }

    pub(super) async fn load(&self, objects: &Objects, file: &DataFile) -> Result<Arc<Footer>> {
        let key = (file.path.clone(), file.bytes);
        let footer = self
            .0
            .get_or_insert_async(&key, async {
                let metadata = read_metadata(objects, file).await?;
                Footer::new(file, metadata).map(Arc::new)
            })
            .await?;
        if u64::from(footer.rows()) == file.rows {
            return Ok(footer);
        }
        Err(damaged(&file.path, "the data file has another number of rows than its snapshot says"))
    }
}

async fn read_metadata(objects: &Objects, file: &DataFile) -> Result<ParquetMetaData> {
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let mut tail = tail(objects, file, TAIL_BYTES.min(file.bytes)).await?;
    for _ in 0..4 {
        let parsed = if reader.has_metadata() {
            reader.read_page_indexes_sized(&tail, file.bytes)
        } else {
            reader.try_parse_sized(&tail, file.bytes)
        };
        match parsed {
            Ok(()) => {
                return reader
                    .finish()
                    .map_err(|error| damaged(&file.path, "read footer").caused_by(error));
            }
            Err(ParquetError::NeedMoreData(needed)) => {
                let needed = u64::try_from(needed).unwrap_or(u64::MAX).min(file.bytes);
                tail = self::tail(objects, file, needed).await?;
            }
            Err(error) => return Err(damaged(&file.path, "read footer").caused_by(error)),
        }
    }
    Err(damaged(&file.path, "the footer contradicts itself"))
}

/// The last `len` bytes of the file; also finds out whether its size is as expected.
async fn tail(objects: &Objects, file: &DataFile, len: u64) -> Result<Bytes> {
    let path = object_path(&file.path)?;
    if len == 0 {
        return Err(damaged(&file.path, "the data file is empty"));
    }
    let range = GetRange::Bounded(file.bytes - len..file.bytes);
    let options = GetOptions { range: Some(range), ..GetOptions::default() };
    let result = match objects.get_opts(&path, options).await {
        Ok(result) => result,
        Err(error) => return Err(explain(objects, file, error).await),
    };
    let found = result.meta.size;
    if found != file.bytes {
        return Err(damaged(&file.path, "the data file has another size than its snapshot says")
            .with("expected", file.bytes)
            .with("found", found));
    }
    let bytes = match result.bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return Err(explain(objects, file, error).await),
    };
    if u64::try_from(bytes.len()).is_ok_and(|got| got == len) {
        return Ok(bytes);
    }
    Err(Error::unavailable("the store returned too few bytes").with("path", &file.path))
}
