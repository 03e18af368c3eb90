//! Where each block of rows begins in the CSV text of a data file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::table::snapshot::DataFile;

/// The columns that a text shows, with the digest that caches know them by.
#[derive(Debug)]
pub(super) struct Shown {
    /// The columns.
    pub(super) schema: SchemaRef,
    /// Digest of names, types and order.
    pub(super) digest: u128,
}

impl Shown {
    pub(super) fn new(schema: &SchemaRef) -> Arc<Self> {
        let mut hasher = blake3::Hasher::new();
        for field in schema.fields() {
            for part in [field.name().as_bytes(), field.data_type().to_string().as_bytes()] {
                hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
                hasher.update(part);
            }
        }
        let digest = hasher.finalize();
        let half = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
        Arc::new(Self { schema: schema.clone(), digest: u128::from_le_bytes(half) })
    }
}

/// The blocks of one data file for the shown columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileIndex {
    /// Rows of the file.
    rows: u32,
    /// Rows of each block but the last.
    block_rows: u32,
    /// Text offset of each block, and behind the last one the length of the whole text.
    starts: Box<[u64]>,
    /// Whether few rows can be read without reading whole column chunks.
    pub(super) paged: bool,
}

impl FileIndex {
    /// Puts the lengths of blocks together.
    ///
    /// # Errors
    /// `Corrupt` if their number does not fit the file's rows.
    pub(super) fn new(
        file: &DataFile,
        block_rows: u32,
        lengths: &[u64],
        paged: bool,
    ) -> Result<Self> {
        let rows = u32::try_from(file.rows).map_err(|_| {
            Error::unsupported("data file with too many rows").with("path", &file.path)
        })?;
        let blocks = if block_rows == 0 { 0 } else { rows.div_ceil(block_rows) };
        if u32::try_from(lengths.len()) != Ok(blocks) || (rows > 0 && blocks == 0) {
            return Err(
                Error::corrupt("offset index does not fit the data file").with("path", &file.path)
            );
        }
        let mut starts = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0_u64;
        starts.push(end);
        for length in lengths {
            end = end.saturating_add(*length);
            starts.push(end);
        }
        Ok(Self { rows, block_rows, starts: starts.into(), paged })
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes of the text of all rows.
    pub(super) fn text_bytes(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// The block that holds a row.
    pub(super) fn block_of_row(&self, row: u32) -> u32 {
        row / self.block_rows.max(1)
    }

    /// The block that holds a text offset before the text's end.
    pub(super) fn block_of_offset(&self, offset: u64) -> u32 {
        let after = self.starts.partition_point(|start| *start <= offset);
        u32::try_from(after.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Rows of a block.
    pub(super) fn rows_of(&self, block: u32) -> std::ops::Range<u32> {
        let first = block.saturating_mul(self.block_rows).min(self.rows);
        first..first.saturating_add(self.block_rows).min(self.rows)
    }

    /// Text offset of a block; of the text's end for the block behind the last.
    pub(super) fn start_of(&self, block: u32) -> u64 {
        let block = usize::try_from(block).unwrap_or(usize::MAX);
        self.starts.get(block).copied().unwrap_or_else(|| self.text_bytes())
    }

    /// Bytes of the text of a block.
    pub(super) fn bytes_of(&self, block: u32) -> u64 {
        self.start_of(block.saturating_add(1)) - self.start_of(block)
    }

    /// Text offset of a row's begin if that is known without its block.
    pub(super) fn start_of_row(&self, row: u32) -> Option<u64> {
        if row >= self.rows {
            return Some(self.text_bytes());
        }
        row.is_multiple_of(self.block_rows.max(1)).then(|| self.start_of(self.block_of_row(row)))
    }

    /// Length of each block's text.
    pub(super) fn lengths(&self) -> Arc<[u64]> {
        let ends = self.starts.iter().skip(1);
        ends.zip(self.starts.iter()).map(|(end, start)| end - start).collect()
    }

    /// Memory held, in bytes.
    pub(super) fn weight(&self) -> u64 {
        u64::try_from(self.starts.len()).unwrap_or(u64::MAX).saturating_mul(8) + 256
    }
}
