//! Record batches to CSV text.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::calendar::SLOT;
use super::cells::Cells;
use super::quote;
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
