//! Avro object container files (Avro specification 1.11, "Object Container Files"): just what
//! Iceberg's manifests need, written only.

use crate::error::{Error, Result};

/// First bytes of a file.
const MAGIC: &[u8] = b"Obj\x01";

/// The bytes of one record, field after field.
#[derive(Debug, Default)]
pub(super) struct Record(Vec<u8>);

impl Record {
    /// An `int` or a `long`.
    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        // Zigzag: the sign goes to the lowest bit.
        let mut left = value.wrapping_shl(1).cast_unsigned() ^ (value >> 63).cast_unsigned();
        loop {
            let [low, ..] = left.to_le_bytes();
            left >>= 7;
            if left == 0 {
                self.0.push(low & 0x7f);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }

    /// The same in a union with `null`, which is its first branch.
    pub(super) fn optional_long(&mut self, value: i64) -> &mut Self {
        self.long(1).long(value)
    }

    /// The `null` of such a union.
    pub(super) fn null(&mut self) -> &mut Self {
        self.long(0)
    }

    /// A `string` or `bytes`.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.long(i64::try_from(value.len()).unwrap_or(i64::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// A `string`.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }
}

/// A file of records of one schema, with further entries in its header.
///
/// # Errors
/// `Internal` if there are too many records.
pub(super) fn file(schema: &str, header: &[(&str, String)], records: &[Record]) -> Result<Vec<u8>> {
    let count = |len: usize| i64::try_from(len).map_err(|_| Error::internal("Avro block size"));
    let mut head = Record::default();
    head.long(count(header.len())?.saturating_add(2));
    head.text("avro.schema").text(schema);
    head.text("avro.codec").text("null");
    for (key, value) in header {
        head.text(key).text(value);
    }
    head.long(0);
    let body: Vec<u8> = records.iter().flat_map(|record| record.0.iter().copied()).collect();
    // Any sixteen bytes do; these are the same for the same content.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head.0).update(&body);
    let mut sync = [0_u8; 16];
    hasher.finalize_xof().fill(&mut sync);
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&head.0);
    out.extend_from_slice(&sync);
    if !records.is_empty() {
        let mut block = Record::default();
        block.long(count(records.len())?).bytes(&body);
        out.extend_from_slice(&block.0);
        out.extend_from_slice(&sync);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_the_specification_says() {
        // The table of "Binary encoding of Avro": value and bytes in hexadecimal.
        for (value, expected) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (-2, vec![0x03]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (i64::MAX, vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut record = Record::default();
            record.long(value);
            assert_eq!(record.0, expected, "{value}");
        }
        let mut record = Record::default();
        record.text("foo");
        assert_eq!(record.0, b"\x06foo");
    }

    #[test]
    fn a_file_ends_each_block_with_its_marker() {
        let mut record = Record::default();
        record.long(7);
        let bytes = file("\"long\"", &[("k", "v".to_owned())], &[record]).expect("written");
        let empty = file("\"long\"", &[("k", "v".to_owned())], &[]).expect("written");
        assert!(bytes.starts_with(MAGIC));
        // count 1, size 1, the record, marker.
        let tail = &bytes[empty.len()..];
        assert_eq!(&tail[..3], [2, 2, 14]);
        assert_eq!(&tail[3..], &bytes[empty.len() - 16..empty.len()]);
    }
}
