//! Tells the format of a file by its first bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ingest::{delimited, source};

/// How much of the unpacked content is looked at.
const HEAD_BYTES: u64 = 64 << 10;
/// Delimiters, the most likely first.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Records that the choice of the delimiter rests on.
const SNIFF_RECORDS: usize = 100;

/// What a file is, compression aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Cells separated by this byte, one record a line, with a header.
    Delimited(u8),
    /// One JSON object after the other.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC file (Feather version 2).
    ArrowFile,
    /// Arrow IPC stream.
    ArrowStream,
}

impl Format {
    /// Whether it is stored by columns, with types.
    pub fn is_columnar(self) -> bool {
        matches!(self, Self::Parquet | Self::ArrowFile | Self::ArrowStream)
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delimited(b'\t') => "TSV",
            Self::Delimited(_) => "CSV",
            Self::JsonLines => "JSON lines",
            Self::JsonArray => "JSON array",
            Self::Parquet => "Parquet",
            Self::ArrowFile => "Arrow file",
            Self::ArrowStream => "Arrow stream",
        }
    }
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Formats that are known but not read, by their first bytes.
const STRANGERS: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a zip archive or spreadsheet; export it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file; export it as CSV"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "compressed with xz; unpack it first"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it first"),
    (b"FEA1", "Feather version 1; write version 2"),
    (b"ORC", "ORC; convert it to Parquet"),
    (b"Obj\x01", "Avro; convert it to Parquet"),
    (b"SQLite format 3", "a SQLite database; export its tables as CSV"),
    (b"\xff\xfe", "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16 text; convert it with `iconv -f UTF-16 -t UTF-8`"),
];

/// Finds out what a file is.
pub(super) fn detect(file: &File, path: &Path) -> Result<(Format, Compression)> {
    let mut magic = [0; 4];
    let mut raw = file.try_clone()?;
    raw.seek(SeekFrom::Start(0))?;
    let compression = match raw.read_exact(&mut magic) {
        Ok(()) if magic.starts_with(&[0x1f, 0x8b]) => Compression::Gzip,
        Ok(()) if magic == [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    };
    let silent: crate::ingest::Progress = Arc::new(|_| {});
    let mut head = Vec::new();
    let mut reader = source::reader(file, 0..u64::MAX, compression, &silent)?.take(HEAD_BYTES);
    reader.read_to_end(&mut head).map_err(source::read_error)?;
    Ok((format_of(&head, is_tab_name(path))?, compression))
}

/// Whether the name says tab-separated (`x.tsv`, `x.tab.gz`).
fn is_tab_name(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    name.ends_with(".tsv") || name.ends_with(".tab")
}

/// The format of a file that begins with `head`.
pub(super) fn format_of(head: &[u8], tab_name: bool) -> Result<Format> {
    if let Some((_, what)) = STRANGERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Error::invalid(format!("this is {what}")));
    }
    if head.starts_with(b"PAR1") {
        return Ok(Format::Parquet);
    }
    if head.starts_with(b"PARE") {
        return Err(Error::invalid("this is encrypted Parquet"));
    }
    if head.starts_with(b"ARROW1") {
        return Ok(Format::ArrowFile);
    }
    // A stream begins with the continuation mark and the length of the schema message.
    if head.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
        return Ok(Format::ArrowStream);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if text.contains(&0) {
        return Err(Error::invalid(
            "unknown format: expected CSV, TSV, JSON, Parquet or Arrow, found binary data",
        ));
    }
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(Error::invalid("the file is empty: not even a header")),
        Some(b'{') => Ok(Format::JsonLines),
        Some(b'[') if is_json_array(text) => Ok(Format::JsonArray),
        Some(_) => Ok(Format::Delimited(delimiter(text, tab_name))),
    }
}

/// `[` followed by an object or the end of the array; `[x],[y]` may be a CSV header.
fn is_json_array(text: &[u8]) -> bool {
    let mut solid = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    solid.next() == Some(&b'[') && matches!(solid.next(), Some(b'{' | b']'))
}

/// The delimiter that splits the first records most evenly into more than one cell.
fn delimiter(text: &[u8], tab_name: bool) -> u8 {
    let score = |delimiter: u8| {
        let counts = delimited::cell_counts(text, delimiter, SNIFF_RECORDS);
        let first = counts.first().copied().unwrap_or_default();
        if first < 2 {
            return (0, 0);
        }
        let same = counts.iter().filter(|count| **count == first).count();
        (same * 100 / counts.len().max(1), first)
    };
    if tab_name && score(b'\t').0 > 0 {
        return b'\t';
    }
    let mut best = (b',', (0, 0));
    for candidate in DELIMITERS {
        let score = score(candidate);
        // Ties go to the earlier, more usual delimiter unless the later one gives more cells.
        if score > best.1 {
            best = (candidate, score);
        }
    }
    best.0
}
