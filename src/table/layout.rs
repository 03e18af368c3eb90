//! The order of the rows: a piece table over immutable data files (architecture section 2).
//!
//! The layout is advice that is stored with the snapshot. It is used only if its digest matches
//! the snapshot's files and deletion-vector parts; otherwise it heals against them, which alone
//! are the truth (unknown files go last, vanished rows drop out).

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::table::json;
use crate::table::snapshot::{DataFile, Deletes};

/// Layouts of at most this many pieces stay in the snapshot document.
pub const INLINE_PIECES_MAX: usize = 200;
/// zstd level of a layout object: they are written on each commit, so speed counts.
const ZSTD_LEVEL: i32 = 3;
/// Largest layout object that is unpacked, in bytes.
const UNPACKED_BYTES_MAX: usize = 1 << 30;

/// A run of rows of one data file that follow each other in the CSV text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Index into [`Layout::files`].
    pub file: u32,
    /// First row of the file.
    pub first: u32,
    /// Number of rows, at least 1.
    pub rows: u32,
    /// Bytes of CSV text of these rows for [`Layout::columns`]; newline of the last row included.
    pub bytes: u64,
}

/// The ordered pieces of a snapshot; together they hold every live row exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Object paths of the data files that the pieces name.
    pub files: Vec<Arc<str>>,
    /// The pieces in CSV order.
    pub pieces: Vec<Piece>,
    /// Digest of the snapshot's file and deletion-vector lists that this layout was made for.
    pub digest: String,
    /// Digest of the columns (names, types, order) that the byte lengths were made for.
    pub columns: String,
}

impl Piece {
    /// The rows of the file that the piece shows.
    pub fn range(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.rows)
    }
}

/// A run of rows of one file, found by ordinal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Index into [`Layout::files`].
    pub file: u32,
    /// Rows of that file.
    pub rows: Range<u32>,
}

impl Layout {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.rows)).sum()
    }

    /// Bytes of CSV text of all rows, without the header.
    pub fn text_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes).sum()
    }

    /// Path of a file that a piece names.
    ///
    /// # Errors
    /// `Corrupt` if the layout names no such file.
    pub fn path(&self, file: u32) -> Result<&Arc<str>> {
        usize::try_from(file)
            .ok()
            .and_then(|index| self.files.get(index))
            .ok_or_else(|| Error::corrupt("layout names a file that it does not list"))
    }

    /// Number of rows in front of each piece, and the total as last entry.
    pub fn starts(&self) -> Vec<u64> {
        let mut starts = Vec::with_capacity(self.pieces.len() + 1);
        let mut before = 0_u64;
        for piece in &self.pieces {
            starts.push(before);
            before += u64::from(piece.rows);
        }
        starts.push(before);
        starts
    }

    /// The runs of file rows at `ordinals`, in order; ordinals behind the end have none.
    /// `starts` is what [`Layout::starts`] gives.
    pub fn runs(&self, starts: &[u64], ordinals: Range<u64>) -> Vec<Run> {
        let mut runs = Vec::new();
        let first = starts.partition_point(|start| *start <= ordinals.start).saturating_sub(1);
        for (piece, start) in self.pieces.iter().zip(starts).skip(first) {
            if *start >= ordinals.end {
                break;
            }
            let from = ordinals.start.max(*start) - start;
            let to = (ordinals.end - start).min(u64::from(piece.rows));
            if let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(to))
                && from < to
            {
                runs.push(Run { file: piece.file, rows: piece.first + from..piece.first + to });
            }
        }
        runs
    }
}

/// Digest of a snapshot's files and deletion-vector parts; their order does not count.
pub fn digest(files: &[DataFile], deletes: &Deletes) -> String {
    let mut names: Vec<&str> = files.iter().map(|file| file.path.as_ref()).collect();
    names.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(name.as_bytes()).update(b"\n");
    }
    if let Deletes::ByKey(dead) = deletes {
        for (file, ids) in dead.files() {
            hasher.update(b"#").update(file.as_bytes()).update(b"\n");
            for id in ids {
                hasher.update(&id.to_le_bytes());
            }
        }
    }
    if let Deletes::Rows { parts, .. } = deletes {
        let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        parts.sort_unstable();
        for part in parts {
            hasher.update(b"-").update(part.as_bytes()).update(b"\n");
        }
    }
    short_hex(&hasher)
}

/// Digest of the shown columns: names, types, order.
pub fn columns_digest(schema: &Schema) -> String {
    let mut hasher = blake3::Hasher::new();
    for field in schema.fields() {
        let name = field.name().as_bytes();
        hasher.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_le_bytes()).update(name);
        hasher.update(field.data_type().to_string().as_bytes()).update(b"\n");
    }
    short_hex(&hasher)
}

fn short_hex(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex().chars().take(32).collect()
}

/// The JSON form: digests, file paths, and the pieces as one flat list of numbers
/// (file, first, rows, bytes, file, ...).
pub fn to_json(layout: &Layout) -> Value {
    let numbers: Vec<u64> = layout
        .pieces
        .iter()
        .flat_map(|piece| {
            [u64::from(piece.file), u64::from(piece.first), u64::from(piece.rows), piece.bytes]
        })
        .collect();
    let files: Vec<&str> = layout.files.iter().map(AsRef::as_ref).collect();
    json!({
        "digest": layout.digest,
        "columns": layout.columns,
        "files": files,
        "pieces": numbers,
    })
}

/// Reads [`to_json`]'s form; `None` if it is not one (a layout is advice, so nothing is lost).
pub fn from_json(value: &Value) -> Option<Layout> {
    let object = value.as_object()?;
    let mut layout = Layout {
        digest: object.get("digest")?.as_str()?.to_owned(),
        columns: object.get("columns")?.as_str()?.to_owned(),
        ..Layout::default()
    };
    for file in json::list(object, "files").ok()? {
        layout.files.push(file.as_str()?.into());
    }
    let numbers = json::list(object, "pieces").ok()?;
    for four in numbers.chunks(4) {
        let [file, first, rows, bytes] = four else { return None };
        let piece = Piece {
            file: u32::try_from(json::as_count(file)?).ok()?,
            first: u32::try_from(json::as_count(first)?).ok()?,
            rows: u32::try_from(json::as_count(rows)?).ok()?,
            bytes: json::as_count(bytes)?,
        };
        let known = usize::try_from(piece.file).is_ok_and(|file| file < layout.files.len());
        if !known || piece.rows == 0 || piece.first.checked_add(piece.rows).is_none() {
            return None;
        }
        layout.pieces.push(piece);
    }
    Some(layout)
}

/// The bytes of a layout object.
///
/// # Errors
/// `Internal` if packing fails.
pub fn pack(layout: &Layout) -> Result<Vec<u8>> {
    zstd::bulk::compress(to_json(layout).to_string().as_bytes(), ZSTD_LEVEL)
        .map_err(|error| Error::internal("pack layout").caused_by(error))
}

/// Reads a layout object; `None` if it is not one.
pub fn unpack(bytes: &[u8]) -> Option<Layout> {
    let mut text = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(bytes).ok()?;
    let limit = u64::try_from(UNPACKED_BYTES_MAX).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, limit), &mut text).ok()?;
    from_json(&serde_json::from_slice(&text).ok()?)
}
