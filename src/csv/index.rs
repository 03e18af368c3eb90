//! The offset index of a data file: how many bytes of CSV text each block of rows is, by column.
//!
//! Depends on the immutable file alone, so it is made once and kept for ever; a reader adds up the
//! columns it shows. Encoded form, version 1 (numbers are LEB128 varints unless said):
//!
//! ```text
//! "MCI" | 1 (byte) | rows | rows per block | columns
//! for each column:  name length, name | type length, type (arrow's Display) | bytes of each block
//! first 8 bytes of the BLAKE3 hash of everything before
//! ```
//! The number of blocks of every column is rows / rows per block, rounded up.

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use super::{SYSTEM_PREFIX, length};
use crate::error::{Error, Result};

/// Rows of a block of the indexes that this version writes.
pub const BLOCK_ROWS: u32 = 4_096;

/// Key of the Parquet footer's metadata; its value is base64 of `OffsetIndex::encode`.
pub const FOOTER_KEY: &str = "mountable.csv.v1";

const MAGIC: &[u8; 4] = b"MCI\x01";
const HASH_BYTES: usize = 8;

/// CSV bytes of the cells of one column, block by block, without separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnIndex {
    /// Name of the column in the data file.
    pub name: String,
    /// `Display` form of its type in the data file.
    pub data_type: String,
    /// Sum of the text lengths of each block.
    pub bytes: Vec<u64>,
}

/// CSV bytes of each block of rows of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetIndex {
    /// Rows of the file.
    pub rows: u64,
    /// Rows of every block but the last, at least 1.
    pub block_rows: u32,
    /// The columns of the file except those that tables keep for themselves (`__...`). Those of
    /// types without a text are listed with 0 bytes and never shown from the index.
    pub columns: Vec<ColumnIndex>,
}

impl OffsetIndex {
    /// Begins an index for a file of this schema.
    pub fn builder(schema: &Schema, block_rows: u32) -> IndexBuilder {
        let columns = schema.fields().iter().enumerate();
        let columns = columns
            .filter(|(_, field)| !field.name().starts_with(SYSTEM_PREFIX))
            .map(|(place, field)| {
                let data_type = display(field.data_type());
                let column = ColumnIndex { name: field.name().clone(), data_type, bytes: vec![] };
                (place, column)
            })
            .collect();
        IndexBuilder { rows: 0, block_rows: block_rows.max(1), columns }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u32 {
        let blocks = self.rows.div_ceil(u64::from(self.block_rows.max(1)));
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// Rows of a block, 0 behind the last.
    pub fn rows_of_block(&self, block: u32) -> u64 {
        let start = u64::from(block).saturating_mul(u64::from(self.block_rows));
        self.rows.saturating_sub(start).min(u64::from(self.block_rows))
    }

    /// Bytes of the CSV text of each block, separators and newlines included, when the columns
    /// `schema` are shown; a column that the file lacks is NULL.
    ///
    /// `None` if a column has no text or is shown in another type than it is stored in, so that
    /// its text may
    /// differ; widened integers and the several kinds of text arrays have the same text.
    pub fn block_bytes(&self, schema: &Schema) -> Option<Vec<u64>> {
        let separators = u64::try_from(schema.fields().len().max(1)).ok()?;
        let mut sums: Vec<u64> = (0..self.blocks())
            .map(|block| self.rows_of_block(block).saturating_mul(separators))
            .collect();
        for field in schema.fields() {
            let Some(column) = self.columns.iter().find(|column| column.name == *field.name())
            else {
                continue;
            };
            let shown = field.data_type();
            if !super::supported(shown) || !has_same_text(&column.data_type, shown) {
                return None;
            }
            for (sum, bytes) in sums.iter_mut().zip(&column.bytes) {
                *sum = sum.saturating_add(*bytes);
            }
        }
        Some(sums)
    }

    /// The compact form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        write_number(self.rows, &mut out);
        write_number(u64::from(self.block_rows), &mut out);
        write_number(count_of(self.columns.len()), &mut out);
        for column in &self.columns {
            for text in [&column.name, &column.data_type] {
                write_number(count_of(text.len()), &mut out);
                out.extend_from_slice(text.as_bytes());
            }
            for bytes in &column.bytes {
                write_number(*bytes, &mut out);
            }
        }
        let hash = blake3::hash(&out);
        out.extend(hash.as_bytes().iter().take(HASH_BYTES));
        out
    }

    /// Reads the compact form; never allocates more than a small multiple of its length.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged, cut or of another version.
    pub fn decode(encoded: &[u8]) -> Result<Self> {
        read(encoded).ok_or_else(|| Error::corrupt("decode CSV offset index"))
    }
}

fn read(encoded: &[u8]) -> Option<OffsetIndex> {
    let (content, hash) = encoded.split_at_checked(encoded.len().checked_sub(HASH_BYTES)?)?;
    if blake3::hash(content).as_bytes().get(..HASH_BYTES)? != hash {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let rows = read_number(&mut rest)?;
    let block_rows = u32::try_from(read_number(&mut rest)?).ok().filter(|rows| *rows > 0)?;
    let columns = read_number(&mut rest)?;
    let blocks = rows.div_ceil(u64::from(block_rows));
    let blocks = usize::try_from(u32::try_from(blocks).ok()?).ok()?;
    let mut index = OffsetIndex { rows, block_rows, columns: Vec::new() };
    for _ in 0..columns {
        let name = read_text(&mut rest)?;
        let data_type = read_text(&mut rest)?;
        // Every block takes a byte at least, so a false count ends here and not in an allocation.
        if rest.len() < blocks {
            return None;
        }
        let mut bytes = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            bytes.push(read_number(&mut rest)?);
        }
        index.columns.push(ColumnIndex { name, data_type, bytes });
    }
    rest.is_empty().then_some(index)
}

fn write_number(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = value.to_le_bytes().first().copied().unwrap_or(0) & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(read_number(rest)?).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    String::from_utf8(text.to_vec()).ok()
}

fn count_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn display(data_type: &DataType) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{data_type}");
    text
}

/// Whether every value of a stored type has the same text after conversion to the shown type.
fn has_same_text(stored: &str, shown: &DataType) -> bool {
    if stored == display(shown) {
        return true;
    }
    let Ok(stored) = stored.parse::<DataType>() else { return false };
    text_class(&stored) == text_class(shown)
        && text_class(shown).is_some()
        && widens(&stored, shown)
}

/// Types of one class write equal values as equal text.
fn text_class(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        data_type if data_type.is_integer() => 0,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 1,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => 2,
        DataType::Timestamp(_, None) => 3,
        DataType::Timestamp(_, Some(_)) => 4,
        DataType::Dictionary(_, values) => return text_class(values),
        _ => return None,
    })
}

/// Whether the conversion keeps every value.
fn widens(stored: &DataType, shown: &DataType) -> bool {
    match (stored, shown) {
        (DataType::Dictionary(_, stored), shown) => widens(stored, shown),
        (stored, DataType::Dictionary(_, shown)) => widens(stored, shown),
        (stored, shown) if stored.is_integer() && shown.is_integer() => {
            let (from, to) = (stored.primitive_width(), shown.primitive_width());
            match (stored.is_signed_integer(), shown.is_signed_integer()) {
                (true, false) => false,
                (false, true) => from < to,
                _ => from <= to,
            }
        }
        // A zone of another name shows the same instants; a finer unit could overflow.
        (DataType::Timestamp(stored, _), DataType::Timestamp(shown, _)) => stored == shown,
        _ => true,
    }
}

/// Makes an index while batches pass by in the order of the rows.
#[derive(Debug)]
pub struct IndexBuilder {
    rows: u64,
    block_rows: u32,
    /// With the place of each column in the batches.
    columns: Vec<(usize, ColumnIndex)>,
}

impl IndexBuilder {
    /// Takes the first row that it sees for this row of the file, so that blocks end where those
    /// of the whole file end; a first block that is cut holds the bytes of its rest.
    #[must_use]
    pub fn beginning_at(mut self, row: u64) -> Self {
        self.rows = row % u64::from(self.block_rows);
        self
    }

    /// Adds the rows of a batch of any size.
    ///
    /// # Errors
    /// `Internal` if the batch lacks a column of the schema.
    pub fn observe(&mut self, batch: &RecordBatch) -> Result<()> {
        let block_rows = u64::from(self.block_rows);
        let mut row = 0;
        while row < batch.num_rows() {
            let filled = self.rows % block_rows;
            let room = usize::try_from(block_rows - filled).unwrap_or(usize::MAX);
            let rows = row..batch.num_rows().min(row.saturating_add(room));
            for (place, column) in &mut self.columns {
                let Some(array) = batch.columns().get(*place) else {
                    return Err(Error::internal("index a batch of another schema"));
                };
                let bytes = match super::supported(array.data_type()) {
                    true => length::text_bytes(array.as_ref(), rows.clone())?,
                    false => 0,
                };
                match column.bytes.last_mut() {
                    Some(last) if filled > 0 => *last = last.saturating_add(bytes),
                    _ => column.bytes.push(bytes),
                }
            }
            self.rows += count_of(rows.len());
            row = rows.end;
        }
        Ok(())
    }

    /// The index of all rows seen.
    pub fn finish(self) -> OffsetIndex {
        let columns = self.columns.into_iter().map(|(_, column)| column).collect();
        OffsetIndex { rows: self.rows, block_rows: self.block_rows, columns }
    }
}
