//! Record batches to CSV text.

use std::ops::Range;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{self as types, DataType, Schema};

use super::calendar::SLOT;
use super::cells::Cells;
use super::{number, quote};
use crate::error::{Error, ErrorKind, Result};

/// Cells that are prepared at a time; their slots then fit the second-level cache.
const CHUNK_CELLS: usize = 4_096;

/// Appends the header line: column names, quoted like text, and a newline.
pub fn render_header(schema: &Schema, out: &mut Vec<u8>) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quote::write(field.name().as_bytes(), out);
    }
    out.push(b'\n');
}

/// Appends the rows of a batch, each with a newline.
///
/// Pushes for each row the offset of its end onto `ends`, relative to the length of `out` at
/// entry.
///
/// # Errors
/// `Unsupported` if a column has a type without a text (then nothing is appended), `TooLarge` if
/// the text is 4 GiB or more.
pub fn render(batch: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<u32>) -> Result<()> {
    let (base, known) = (out.len(), ends.len());
    let result = render_chunks(batch, out, ends, base);
    if result.is_err() {
        out.truncate(base);
        ends.truncate(known);
    }
    result
}

fn render_chunks(
    batch: &RecordBatch,
    out: &mut Vec<u8>,
    ends: &mut Vec<u32>,
    base: usize,
) -> Result<()> {
    let mut columns: Vec<Cells<'_>> =
        batch.columns().iter().map(|column| Cells::new(column.as_ref())).collect();
    let chunk = (CHUNK_CELLS / columns.len().max(1)).clamp(16, 1_024);
    ends.reserve(batch.num_rows());
    let mut row = 0;
    while row < batch.num_rows() {
        let rows = row..(row + chunk).min(batch.num_rows());
        let mut bytes = rows.len() * columns.len().max(1);
        for column in &mut columns {
            column.load(rows.clone())?;
            bytes += column.written();
        }
        let start = out.len();
        let end = start + bytes;
        if u32::try_from(end - base).is_err() {
            return Err(Error::new(ErrorKind::TooLarge, "render 4 GiB of CSV text at once"));
        }
        if out.capacity() < end + SLOT {
            reserve(out, bytes, batch.num_rows() - rows.start, rows.len());
        }
        out.resize(end + SLOT, 0);
        let written = assemble(&columns, rows.len(), out, start, base, ends);
        assert_eq!(written, end, "measured and written lengths agree");
        out.truncate(end);
        row = rows.end;
    }
    Ok(())
}

/// Makes room for the rest of the batch, judged by the chunk at hand.
fn reserve(out: &mut Vec<u8>, chunk_bytes: usize, rows_left: usize, chunk_rows: usize) {
    let chunks = rows_left.div_ceil(chunk_rows.max(1));
    out.reserve(chunk_bytes.saturating_mul(chunks.min(1_024)) + chunk_bytes / 8 + SLOT);
}

/// Copies the cells row by row; the place to write only moves forward.
fn assemble(
    columns: &[Cells<'_>],
    rows: usize,
    out: &mut [u8],
    start: usize,
    base: usize,
    ends: &mut Vec<u32>,
) -> usize {
    let mut at = start;
    for index in 0..rows {
        for column in columns {
            at = column.copy(index, out, at);
            if let Some(place) = out.get_mut(at) {
                *place = b',';
            }
            at += 1;
        }
        if columns.is_empty() {
            at += 1;
        }
        if let Some(place) = out.get_mut(at - 1) {
            *place = b'\n';
        }
        ends.push(u32::try_from(at - base).unwrap_or(u32::MAX));
    }
    at
}

/// Bytes of the cells of `rows` of one column as `render` writes them, without separators.
///
/// # Errors
/// `Unsupported` if the type has no text.
pub fn text_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    if rows.start > rows.end || rows.end > array.len() {
        return Err(Error::internal("rows outside the array"));
    }
    macro_rules! integers {
        ($arrow:ty) => {
            Ok(sum_integers(array.as_primitive::<$arrow>(), &rows, |value| {
                number::integer_length(u64::from(value.unsigned_abs()), value < 0)
            }))
        };
    }
    macro_rules! naturals {
        ($arrow:ty) => {
            Ok(sum_integers(array.as_primitive::<$arrow>(), &rows, |value| {
                number::integer_length(u64::from(value), false)
            }))
        };
    }
    match array.data_type() {
        DataType::Int8 => integers!(types::Int8Type),
        DataType::Int16 => integers!(types::Int16Type),
        DataType::Int32 => integers!(types::Int32Type),
        DataType::Int64 => integers!(types::Int64Type),
        DataType::UInt8 => naturals!(types::UInt8Type),
        DataType::UInt16 => naturals!(types::UInt16Type),
        DataType::UInt32 => naturals!(types::UInt32Type),
        DataType::UInt64 => naturals!(types::UInt64Type),
        _ => prepared_bytes(array, rows),
    }
}

fn sum_integers<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    rows: &Range<usize>,
    length: impl Fn(T::Native) -> u64,
) -> u64 {
    let values = array.values().get(rows.clone()).unwrap_or_default();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => values.iter().map(|value| length(*value)).sum(),
        Some(nulls) => {
            let valid = nulls.iter().skip(rows.start);
            let lengths = values.iter().zip(valid).filter(|(_, valid)| *valid);
            lengths.map(|(value, _)| length(*value)).sum()
        }
    }
}

fn prepared_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    let mut cells = Cells::new(array);
    let mut sum = 0_u64;
    let mut row = rows.start;
    while row < rows.end {
        let end = (row + 1_024).min(rows.end);
        cells.load(row..end)?;
        sum += u64::try_from(cells.written()).unwrap_or(u64::MAX);
        row = end;
    }
    Ok(sum)
}
