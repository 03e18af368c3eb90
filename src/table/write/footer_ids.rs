//! Row ids in the footer of a data file, for generations whose files have no column for them.
//!
//! The text is the list of runs of ascending ids, each as its first id and its length, packed by
//! zstd and spelled in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::table::stored::RowIds;

/// zstd level: most lists are one run.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of one run.
const RUN_BYTES: usize = 12;

/// The text for the ids of a file's rows in order.
///
/// # Errors
/// `Internal` if packing fails.
pub(crate) fn encode(ids: &[i64]) -> Result<String> {
    let mut plain = Vec::new();
    for run in ids.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let rows = u32::try_from(run.len()).map_err(|_| Error::internal("row count"))?;
        plain.extend_from_slice(&run.first().copied().unwrap_or_default().to_le_bytes());
        plain.extend_from_slice(&rows.to_le_bytes());
    }
    let packed = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        .map_err(|error| Error::internal("pack row ids").caused_by(error))?;
    Ok(BASE64.encode(packed))
}

/// The ids of a file of `rows` rows; `None` if the text does not say them.
pub(crate) fn decode(text: &str, rows: u64) -> Option<RowIds> {
    let rows = usize::try_from(rows).ok()?;
    let packed = BASE64.decode(text).ok()?;
    let plain = zstd::bulk::decompress(&packed, rows.checked_mul(RUN_BYTES)?).ok()?;
    let mut runs = Vec::with_capacity(plain.len() / RUN_BYTES);
    let mut total = 0_usize;
    for run in plain.chunks(RUN_BYTES) {
        let first = i64::from_le_bytes(*run.first_chunk()?);
        let count = u32::from_le_bytes(*run.get(8..)?.first_chunk()?);
        total = total.checked_add(usize::try_from(count).ok()?)?;
        first.checked_add(i64::from(count))?;
        runs.push((first, count));
    }
    if total != rows {
        return None;
    }
    if let [(first, _)] = runs[..] {
        return Some(RowIds::From(first));
    }
    let ids = runs.iter().flat_map(|(first, count)| *first..*first + i64::from(*count));
    Some(RowIds::of(ids.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_written() {
        for ids in [vec![], vec![7], vec![5, 6, 7], vec![9, 3, 4, 1 << 62, (1 << 62) + 1]] {
            let text = encode(&ids).expect("packs");
            let rows = u64::try_from(ids.len()).expect("small");
            assert_eq!(decode(&text, rows), Some(RowIds::of(ids.clone())), "{ids:?}");
            assert_eq!(decode(&text, rows + 1), None, "another number of rows");
        }
    }

    #[test]
    fn damaged_texts_are_refused() {
        for text in ["", "x", "AAAA", "KLUv/QBYAQAA"] {
            assert_eq!(decode(text, 3), None, "{text}");
        }
    }
}
