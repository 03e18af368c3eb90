//! CSV records to record batches; everything that does not convert is refused with its place.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use memchr::memchr;

use super::build::{ColumnBuilder, Refused, builder};
use super::codes::{self, Code, Refusal};
use super::fields::{CHUNK_BYTES_MAX, ColumnFields, FieldTable, Malformed};
use super::rejection::{REJECTIONS_KEPT, Rejection};

/// Records that are split before their columns are converted; their fields then stay in cache.
const CHUNK_RECORDS: usize = 2_048;

/// Where a column of the schema stands in the file.
#[derive(Debug)]
struct Column {
    /// Index of the field in a record, nothing if the file lacks the column.
    place: Option<usize>,
    builder: Box<dyn ColumnBuilder>,
}

/// Turns records of a file with known columns into batches of a schema.
#[derive(Debug)]
pub struct Parser {
    schema: SchemaRef,
    names: Vec<String>,
    columns: Vec<Column>,
    table: FieldTable,
    rejected: u64,
}

/// A piece of text and what is wrong with it so far.
struct Piece<'a> {
    text: &'a [u8],
    first_line: u64,
    found: Vec<(usize, Rejection)>,
    count: u64,
}

impl Parser {
    /// Maps the columns of a file to the columns of a schema by name; nullable columns that the
    /// file lacks become NULL.
    ///
    /// # Errors
    /// A column that the schema lacks, or lacks altogether (lost header); a missing column that
    /// must have values; a repeated name; a type without a text.
    pub fn new(file_columns: &[String], schema: &SchemaRef) -> Result<Self, Rejection> {
        let mut places = HashMap::with_capacity(file_columns.len());
        for (index, name) in file_columns.iter().enumerate() {
            if places.insert(name.as_str(), index).is_some() {
                let reason = "the name stands twice in the header";
                return Err(Rejection::new(&codes::HEADER_REPEATED, 1, name.as_bytes(), reason)
                    .in_column(index, name));
            }
        }
        check_known(file_columns, schema)?;
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let place = places.get(field.name().as_str()).copied();
            if place.is_none() && !field.is_nullable() {
                let reason = format!("the column {:?} must have values", field.name());
                return Err(Rejection::new(&codes::HEADER_MISSING, 1, b"", reason));
            }
            let builder = builder(field.data_type()).ok_or_else(|| {
                let reason = format!("columns of type {} have no text", field.data_type());
                Rejection::new(&codes::NOT_CONVERTIBLE, 1, field.name().as_bytes(), reason)
            })?;
            columns.push(Column { place, builder });
        }
        Ok(Self {
            schema: schema.clone(),
            names: file_columns.to_vec(),
            columns,
            table: FieldTable::default(),
            rejected: 0,
        })
    }

    /// Rejections of all calls so far, with those that were not kept.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Parses whole records (the header is not one of them); `first_line` is the line of the file
    /// on which `text` begins, 1-based.
    ///
    /// # Errors
    /// Every cell that does not convert and every malformed record, in the order of the file; the
    /// first `REJECTIONS_KEPT` of them are returned.
    pub fn parse(&mut self, text: &[u8], first_line: u64) -> Result<RecordBatch, Vec<Rejection>> {
        let mut piece = Piece { text, first_line, found: Vec::new(), count: 0 };
        piece.check_bytes();
        let mut rows = 0;
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let consumed = self.parse_chunk(&mut piece, rest, at);
            rows += self.table.starts.len();
            if rest.len() > CHUNK_BYTES_MAX && consumed == CHUNK_BYTES_MAX {
                let reason = format!("more than {CHUNK_BYTES_MAX} bytes in a few lines");
                piece.refuse(at, &codes::TOO_LARGE, b"", reason);
                break;
            }
            at += consumed;
        }
        let batch = self.finish(rows, &mut piece);
        if piece.count == 0
            && let Some(batch) = batch
        {
            return Ok(batch);
        }
        self.rejected = self.rejected.saturating_add(piece.count);
        Err(piece.into_rejections())
    }

    /// Splits and converts some records at the beginning of `rest`, returns the bytes consumed.
    fn parse_chunk(&mut self, piece: &mut Piece<'_>, rest: &[u8], at: usize) -> usize {
        let width = self.names.len();
        let names = &self.names;
        let consumed = self.table.split(rest, width, CHUNK_RECORDS, &mut |malformed| {
            piece.refuse_record(&malformed, at, names);
        });
        let mut refused: Vec<Refused> = Vec::new();
        for (column, field) in self.columns.iter_mut().zip(self.schema.fields()) {
            let Some(place) = column.place else { continue };
            let fields =
                ColumnFields { text: rest, fields: &self.table.fields, width, column: place };
            column.builder.append(fields, &mut refused);
            if !field.is_nullable() {
                refuse_nulls(fields, &mut refused);
            }
            for (row, refusal) in refused.drain(..) {
                piece.count += 1;
                let field = fields.iter().nth(row);
                let start = self.table.starts.get(row).map_or(0, |start| *start as usize);
                if !piece.keeps() {
                    continue;
                }
                let value = field.map(|field| field.bytes(rest)).unwrap_or_default();
                let rejection = Rejection::of_cell(refusal, 0, value);
                piece
                    .found
                    .push((at + start, rejection.in_column(place, field_name(names, place))));
            }
        }
        consumed
    }

    /// Empties the builders into a batch.
    fn finish(&mut self, rows: usize, piece: &mut Piece<'_>) -> Option<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter_mut().zip(self.schema.fields()) {
            let array = match column.place {
                None => Ok(new_null_array(field.data_type(), rows)),
                Some(_) => column.builder.finish(),
            };
            match array {
                Ok(array) => arrays.push(array),
                // Invalid UTF-8 was refused with its place already.
                Err(_) if piece.count > 0 => {}
                Err(error) => piece.refuse(0, &codes::TOO_LARGE, b"", error.to_string()),
            }
        }
        if piece.count > 0 {
            return None;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        match RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options) {
            Ok(batch) => Some(batch),
            Err(error) => {
                piece.refuse(0, &codes::NOT_CONVERTIBLE, b"", error.to_string());
                None
            }
        }
    }
}

fn check_known(file_columns: &[String], schema: &SchemaRef) -> Result<(), Rejection> {
    let known = |name: &String| schema.fields().iter().any(|field| field.name() == name);
    if let Some((index, name)) = file_columns.iter().enumerate().find(|(_, name)| !known(name)) {
        if !file_columns.iter().any(known) && !schema.fields().is_empty() {
            let reason = "none of the names is a column of the table";
            return Err(Rejection::new(&codes::HEADER_LOST, 1, name.as_bytes(), reason));
        }
        let similar = schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name));
        let reason = match similar {
            Some(field) => format!("did you mean {:?}?", field.name()),
            None => "the table has no column of this name".to_owned(),
        };
        return Err(Rejection::new(&codes::HEADER_UNKNOWN, 1, name.as_bytes(), reason)
            .in_column(index, name));
    }
    Ok(())
}

fn field_name(names: &[String], index: usize) -> &str {
    names.get(index).map_or("", String::as_str)
}

fn refuse_nulls(fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
    for (row, field) in fields.iter().enumerate() {
        if field.is_null() {
            refused.push((row, Refusal::new(&codes::NULL_REFUSED, "there is no value")));
        }
    }
}

impl Piece<'_> {
    /// Whether another rejection is kept; twice as many as returned, since columns are converted
    /// one after the other and the order of the file is made at the end.
    fn keeps(&self) -> bool {
        self.found.len() < 2 * REJECTIONS_KEPT
    }

    /// `at` is any place in the record that is refused.
    fn refuse(&mut self, at: usize, code: &'static Code, value: &[u8], reason: impl Into<String>) {
        self.count += 1;
        if self.keeps() {
            self.found.push((at, Rejection::new(code, 0, value, reason)));
        }
    }

    fn refuse_record(&mut self, malformed: &Malformed, at: usize, names: &[String]) {
        self.count += 1;
        if !self.keeps() {
            return;
        }
        let start = at + malformed.record.start;
        let record = self.text.get(start..at + malformed.record.end).unwrap_or_default();
        let rejection = if malformed.code == &codes::FIELD_COUNT {
            let reason = match record.trim_ascii() {
                [] => format!("the line is empty; the header has {} columns", names.len()),
                _ => format!("{} fields, the header has {}", malformed.fields, names.len()),
            };
            Rejection::new(malformed.code, 0, b"", reason)
        } else {
            let name = field_name(names, malformed.fields);
            Rejection::new(malformed.code, 0, record.trim_ascii_end(), malformed.code.meaning)
                .in_column(malformed.fields, name)
        };
        self.found.push((start, rejection));
    }

    /// Refuses what no column can hold: invalid UTF-8, NUL, CR outside line ends and quotes.
    fn check_bytes(&mut self) {
        let text = self.text;
        let mut from = 0;
        while self.keeps() {
            let rest = text.get(from..).unwrap_or_default();
            if simdutf8::basic::from_utf8(rest).is_ok() {
                break;
            }
            let Err(error) = std::str::from_utf8(rest) else { break };
            let at = from + error.valid_up_to();
            let byte = text.get(at).copied().unwrap_or_default();
            self.refuse(at, &codes::NOT_UTF8, b"", format!("byte 0x{byte:02X} is not UTF-8"));
            from = at + error.error_len().unwrap_or(rest.len());
        }
        let mut from = 0;
        while self.keeps()
            && let Some(found) = memchr(0, text.get(from..).unwrap_or_default())
        {
            self.refuse(from + found, &codes::NUL_BYTE, b"", "a NUL byte");
            from += found + 1;
        }
        if memchr(b'\r', text).is_some() {
            self.check_returns();
        }
    }

    fn check_returns(&mut self) {
        for record in super::scan::Records::new(self.text) {
            let bytes = self.text.get(record.clone()).unwrap_or_default();
            let content = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            if memchr(b'\r', content).is_some() && has_unquoted_return(content) {
                self.refuse(
                    record.start,
                    &codes::STRAY_RETURN,
                    content,
                    codes::STRAY_RETURN.meaning,
                );
            }
        }
    }

    fn into_rejections(mut self) -> Vec<Rejection> {
        self.found.sort_by_key(|(at, rejection)| (*at, rejection.column));
        let (text, first_line) = (self.text, self.first_line);
        let mut place = Places { text, at: 0, line: first_line };
        let mut rejections = Vec::with_capacity(self.found.len().min(REJECTIONS_KEPT));
        let mut last: Option<Range<usize>> = None;
        let mut records = super::scan::Records::new(text);
        for (at, mut rejection) in self.found.into_iter().take(REJECTIONS_KEPT) {
            let holds = |record: &Range<usize>| record.contains(&at);
            let record = match last.take().filter(holds) {
                Some(record) => Some(record),
                None => records.find(holds),
            };
            if let Some(record) = record {
                rejection.line = place.line_of(record.start);
                rejection = rejection.with_row(text.get(record.clone()).unwrap_or_default());
                last = Some(record);
            } else {
                rejection.line = place.line_of(at);
            }
            rejections.push(rejection);
        }
        rejections
    }
}

/// Counts lines up to ascending places.
struct Places<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Places<'_> {
    fn line_of(&mut self, place: usize) -> u64 {
        let between = self.text.get(self.at..place).unwrap_or_default();
        let newlines = memchr::memchr_iter(b'\n', between).count();
        self.line += u64::try_from(newlines).unwrap_or(0);
        self.at = self.at.max(place);
        self.line
    }
}

/// Whether a CR stands outside quoted fields of a record without its line end.
fn has_unquoted_return(record: &[u8]) -> bool {
    let mut quoted = false;
    record.iter().any(|byte| {
        quoted ^= *byte == b'"';
        *byte == b'\r' && !quoted
    })
}
