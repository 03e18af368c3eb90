//! Reads files that other tools wrote: CSV and its relatives, JSON, Parquet, Arrow; plain or
//! compressed with gzip or zstd. The format is told by the content, never by the name alone.
//!
//! Text formats are read twice: once to find the columns and their types, once for the rows, so
//! that a type never depends on a sample. Memory is bounded by one batch of rows. Everything
//! here blocks; callers run it on a thread of its own.

mod batches;
mod columnar;
mod comma;
mod convert;
mod delimited;
mod detect;
mod infer;
mod json;
mod normalize;
mod source;
mod unify;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::clock::SharedClock;
use crate::error::{Error, Result};
use comma::{Cut, Outline, SIZES, Sizes};

pub use detect::{Compression, Format};
pub use unify::unify;

/// Receives the rows of an input; an error ends the reading.
pub type Emit<'a> = dyn FnMut(RecordBatch) -> Result<()> + 'a;

/// Is told how many bytes of the input were read since it was last told.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Limits and places.
#[derive(Clone)]
pub struct Options {
    /// Directory for what has to be kept while it is read (standard input, compressed Parquet).
    pub spool: PathBuf,
    /// Longest record of a text format, in bytes.
    pub record_bytes_max: u64,
    /// Most columns.
    pub columns_max: usize,
    /// Names the spool files.
    pub clock: SharedClock,
    /// Hears about the progress.
    pub progress: Progress,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("spool", &self.spool).finish_non_exhaustive()
    }
}

/// A file to load.
#[derive(Debug)]
pub struct Input {
    name: String,
    file: File,
    bytes: u64,
    format: Format,
    compression: Compression,
    options: Options,
    /// Found by the first reading of comma-separated text.
    outline: OnceLock<Outline>,
    /// The part of such a text that is to be read; nothing means all of it.
    piece: Option<Piece>,
    sizes: Sizes,
}

/// Records of a text that was read through before.
#[derive(Debug, Clone)]
struct Piece {
    names: Arc<[String]>,
    start: Cut,
    end: u64,
}

/// Most threads that read one text for the first time.
const THREADS_MAX: usize = 8;

impl Input {
    /// Opens a file and finds out what it is; `-` is standard input.
    ///
    /// # Errors
    /// `NotFound` or `Denied` as the file system says; `Invalid` if the content is no format that
    /// can be read (with what it looks like).
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let name = if path.as_os_str() == "-" {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let opened = source::open(path, options).map_err(|error| error.with("file", &name))?;
        let (format, compression) =
            detect::detect(&opened.file, path).map_err(|error| error.with("file", &name))?;
        let input = Self {
            name,
            file: opened.file,
            bytes: opened.bytes,
            format,
            compression,
            options: options.clone(),
            outline: OnceLock::new(),
            piece: None,
            sizes: SIZES,
        };
        input.unpacked()
    }

    /// Columnar formats need to seek: a compressed one is unpacked to the spool first.
    fn unpacked(mut self) -> Result<Self> {
        if self.compression != Compression::None && self.format.is_columnar() {
            let spooled = source::spool(&mut self.reader()?, &self.options)?;
            self.file = spooled.file;
            self.bytes = spooled.bytes;
            self.compression = Compression::None;
        }
        Ok(self)
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that will be reported as progress by [`Self::schema`] and [`Self::read`] together.
    pub fn work(&self) -> u64 {
        if self.format.is_columnar() { self.bytes } else { self.bytes.saturating_mul(2) }
    }

    /// The columns with types that can be stored. Reads text formats through.
    ///
    /// # Errors
    /// `Invalid` with file, line and column if the text cannot be split into records, or with the
    /// column if its type cannot be stored.
    pub fn schema(&self) -> Result<SchemaRef> {
        let schema = match self.format {
            Format::Delimited(b',') => self.outlined(),
            Format::Delimited(_) | Format::JsonLines | Format::JsonArray => {
                let mut inference = infer::Inference::default();
                self.records(&mut |names, record| {
                    inference.observe(names, record);
                    Ok(())
                })
                .and_then(|names| inference.finish(&names))
            }
            Format::Parquet => columnar::parquet_schema(&self.file),
            Format::ArrowFile => columnar::file_schema(&self.file),
            Format::ArrowStream => columnar::stream_schema(&self.file),
        };
        schema.map_err(|error| self.named(error))
    }

    /// Reads all rows as `target`: columns by name, missing ones NULL, others left out.
    ///
    /// # Errors
    /// `Invalid` with file, line or row, column and value if a value does not fit the target's
    /// type exactly; whatever `emit` returns.
    pub fn read(&self, target: &SchemaRef, emit: &mut Emit<'_>) -> Result<()> {
        let outcome = match self.format {
            Format::Delimited(b',') => self.read_comma(target, emit),
            Format::Delimited(_) | Format::JsonLines | Format::JsonArray => {
                let mut batches = batches::Batches::new(target);
                self.records(&mut |names, record| batches.push(names, record, emit))
                    .and_then(|_| batches.finish(emit))
            }
            Format::Parquet => columnar::read_parquet(&self.file, target, emit, &|share| {
                self.report(share);
            }),
            Format::ArrowFile => columnar::read_file(&self.file, target, emit),
            Format::ArrowStream => columnar::read_stream(&self.file, target, emit),
        };
        outcome.map_err(|error| self.named(error))
    }

    /// The input cut into parts that can be read at the same time, in the order of the rows. Only
    /// comma-separated text that was read through by [`Self::schema`], and is not compressed, has
    /// more than one.
    ///
    /// # Errors
    /// As the file system says.
    pub fn pieces(mut self) -> Result<Vec<Self>> {
        let outline = self.outline.take().filter(|_| self.compression == Compression::None);
        let Some(outline) = outline.filter(|outline| outline.cuts.len() > 1) else {
            return Ok(vec![self]);
        };
        let ends = outline.cuts.iter().skip(1).map(|cut| cut.offset).chain([self.bytes]);
        let mut pieces = Vec::with_capacity(outline.cuts.len());
        for (start, end) in outline.cuts.iter().zip(ends) {
            let names = Arc::clone(&outline.names);
            pieces.push(Self {
                name: self.name.clone(),
                file: self.file.try_clone()?,
                bytes: self.bytes,
                format: self.format,
                compression: self.compression,
                options: self.options.clone(),
                outline: OnceLock::new(),
                piece: Some(Piece { names, start: *start, end }),
                sizes: self.sizes,
            });
        }
        Ok(pieces)
    }

    fn outlined(&self) -> Result<SchemaRef> {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let threads = threads.min(THREADS_MAX);
        let (schema, outline) = comma::outline(self.reader()?, self.limits(), self.sizes, threads)?;
        // A second call finds the same.
        let _ = self.outline.set(outline);
        Ok(schema)
    }

    fn read_comma(&self, target: &SchemaRef, emit: &mut Emit<'_>) -> Result<()> {
        let limits = self.limits();
        if let Some(piece) = &self.piece {
            let chunks = comma::Chunks::new(self.reader()?, limits, self.sizes, piece.start);
            return comma::read(chunks, &piece.names, target, emit);
        }
        let (chunks, names) = comma::Chunks::with_header(self.reader()?, limits, self.sizes)?;
        comma::read(chunks, &names, target, emit)
    }

    fn limits(&self) -> Limits {
        Limits {
            record_bytes_max: self.options.record_bytes_max,
            columns_max: self.options.columns_max,
        }
    }

    /// Reports a share (0 to 1) of the file.
    fn report(&self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a progress bar may be off by a few bytes; float casts saturate"
        )]
        (self.options.progress)((share * self.bytes as f64) as u64);
    }

    fn records(&self, each: &mut Each<'_>) -> Result<Vec<String>> {
        let reader = self.reader()?;
        let limits = self.limits();
        match self.format {
            Format::Delimited(delimiter) => delimited::read(reader, delimiter, limits, each),
            Format::JsonLines => json::read_lines(reader, limits, each),
            Format::JsonArray => json::read_array(reader, limits, each),
            Format::Parquet | Format::ArrowFile | Format::ArrowStream => {
                Err(Error::internal("columnar files have no text records"))
            }
        }
    }

    /// The unpacked bytes of what is to be read.
    fn reader(&self) -> Result<BufReader<source::Unpacked>> {
        let all = 0..u64::MAX;
        let range = self.piece.as_ref().map_or(all, |piece| piece.start.offset..piece.end);
        source::reader(&self.file, range, self.compression, &self.options.progress)
    }

    fn named(&self, error: Error) -> Error {
        error.with("file", &self.name)
    }
}

/// What text formats are bounded by.
#[derive(Debug, Clone, Copy)]
struct Limits {
    record_bytes_max: u64,
    columns_max: usize,
}

/// Receives the column names known so far and one record.
type Each<'a> = dyn FnMut(&[String], &Record) -> Result<()> + 'a;

/// One record of a text format; reused from record to record.
#[derive(Debug, Default)]
struct Record {
    text: Vec<u8>,
    cells: Vec<Cell>,
    /// Line on which it starts (JSON array: ordinal), from 1.
    line: u64,
}

/// Where a cell's text is, and what it was.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    start: usize,
    end: usize,
    kind: CellKind,
}

/// What a cell was before it became text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum CellKind {
    /// Nothing there.
    #[default]
    Null,
    /// Unquoted CSV; JSON number or boolean.
    Plain,
    /// Quoted CSV: may be anything.
    Quoted,
    /// JSON string: text, date or time, but never a number.
    Text,
}

impl Record {
    /// A cell's text and kind; a cell that is not there is NULL.
    fn cell(&self, index: usize) -> (&str, CellKind) {
        let Some(cell) = self.cells.get(index) else { return ("", CellKind::Null) };
        let bytes = self.text.get(cell.start..cell.end).unwrap_or_default();
        // Every source validates UTF-8 before it hands out a record.
        (std::str::from_utf8(bytes).unwrap_or_default(), cell.kind)
    }
}

/// Longest value that a message repeats, in characters.
const VALUE_SHOWN_MAX: usize = 60;

/// A value for a message: bounded, control characters escaped.
fn shown(value: &str) -> String {
    let mut text: String =
        value.chars().take(VALUE_SHOWN_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(VALUE_SHOWN_MAX).is_some() {
        text.push_str("...");
    }
    text
}

/// Reads a small comma-separated file with a header as (column, value) pairs a row.
///
/// # Errors
/// As reading the file; `Invalid` if it is no CSV.
pub fn read_small_csv(path: &Path) -> Result<Vec<Vec<(String, String)>>> {
    let limits = Limits { record_bytes_max: 1 << 20, columns_max: 1000 };
    let mut rows = Vec::new();
    let reader = BufReader::new(File::open(path)?);
    delimited::read(reader, b',', limits, &mut |names, record| {
        let cell =
            |(index, name): (usize, &String)| (name.clone(), record.cell(index).0.to_owned());
        rows.push(names.iter().enumerate().map(cell).collect());
        Ok(())
    })?;
    Ok(rows)
}

#[cfg(test)]
mod tests;
