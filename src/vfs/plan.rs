//! The comparison of a staged text with its base, in a thread that may block: hunks of records,
//! parsed into rows, trimmed of what means the same, as edits of a change set.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::text::{BlockingText, Frozen};
use crate::csv::{self, Hunk, Parser, RecordSplitter, Records, Rejection, Text, TypeInference};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{ConflictReason, CsvView, Edit, RowConflict};

/// Text parsed at once, in bytes.
const CHUNK: usize = 1 << 20;
/// A hunk up to this size is compared again in canonical spelling.
const RESPELL_BYTES_MAX: u64 = 64 << 20;

/// What is to be compared.
pub(super) struct Plan {
    /// The base under the target's columns; `None` = all rows are written anew.
    pub(super) base: Option<Arc<CsvView>>,
    /// Rows of the base.
    pub(super) rows_before: u64,
    /// The staged text.
    pub(super) text: BlockingText,
    /// Where its rows begin.
    pub(super) body: u64,
    /// Only the rows from this offset on are new, whatever stands before it.
    pub(super) added_from: Option<u64>,
    /// Its column names.
    pub(super) names: Vec<String>,
    /// The target's columns.
    pub(super) schema: SchemaRef,
    /// Whether its header line is the canonical one.
    pub(super) header_same: bool,
    /// Takes the new rows.
    pub(super) sender: mpsc::Sender<RecordBatch>,
    /// To wait for the base's blocks.
    pub(super) runtime: tokio::runtime::Handle,
}

/// Why a text cannot be saved.
#[derive(Debug)]
pub(super) enum PlanError {
    /// The text is at fault.
    Rejected(Vec<Rejection>),
    /// Something else is.
    Failed(Error),
}

impl From<Error> for PlanError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The result of the comparison.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Edits in base order.
    pub(super) edits: Vec<Edit>,
    /// Whether the canonical text of the result is the staged text.
    pub(super) same_text: bool,
    /// First new row and text offset of each run of new rows.
    places: Vec<(u64, u64)>,
    rows_before: u64,
}

/// Compares; new rows go to the sender as they are found.
///
/// # Errors
/// `Rejected` with every bad row (bounded), or what reading the texts failed with.
pub(super) fn plan(request: Plan) -> Result<Planned, PlanError> {
    let parser = Parser::new(&request.names, &request.schema)
        .map_err(|rejection| PlanError::Rejected(vec![rejection]))?;
    let mut hunks = request.hunks();
    let mut work = Work {
        planned: Planned {
            same_text: request.header_same,
            rows_before: request.rows_before,
            ..Planned::default()
        },
        rejections: Vec::new(),
        new_rows: 0,
        parser,
        request,
    };
    // Hunks are worked off as they are found: a text may have millions of them.
    let mut stopped = None;
    let compared = hunks.each(&mut |hunk| {
        let done = work.hunk(&hunk);
        if done.is_ok() && work.rejections.len() < csv::REJECTIONS_KEPT {
            return Ok(());
        }
        stopped = done.err();
        Err(Error::internal("the comparison has come to its end"))
    });
    match (stopped, compared) {
        (Some(error), _) => Err(error),
        _ if !work.rejections.is_empty() => Err(PlanError::Rejected(work.rejections)),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(work.planned),
    }
}

/// What the hunks of a save are found from.
struct Hunks {
    base: Option<Arc<CsvView>>,
    text: BlockingText,
    rows_before: u64,
    body: u64,
    added_from: Option<u64>,
}

impl Hunks {
    fn each(&mut self, emit: &mut dyn FnMut(Hunk) -> Result<()>) -> Result<()> {
        let end = self.text.len();
        let Some(base) = &self.base else {
            return emit(Hunk {
                base: 0..0,
                base_records: self.rows_before,
                edited: self.body..end,
                edited_records: 0,
            });
        };
        if let Some(from) = self.added_from {
            let edited = from..end;
            if edited.is_empty() {
                return Ok(());
            }
            let base = base.len()..base.len();
            return emit(Hunk { base, base_records: 0, edited, edited_records: 0 });
        }
        let base_body = u64::try_from(base.header().len()).unwrap_or(u64::MAX);
        let mut base = BlockingText::view(Arc::clone(base));
        csv::diff(&mut base, base_body, &mut self.text, self.body, emit)
    }
}

impl Plan {
    fn hunks(&self) -> Hunks {
        Hunks {
            base: self.base.clone(),
            text: self.text.clone(),
            rows_before: self.rows_before,
            body: self.body,
            added_from: self.added_from,
        }
    }

    /// Ordinal of the base row that begins at `offset`.
    fn ordinal(&self, offset: u64) -> Result<u64> {
        match &self.base {
            None => Ok(0),
            Some(base) if offset >= base.len() => Ok(base.rows()),
            Some(base) => Ok(self.runtime.block_on(base.row_at(offset))?.ordinal),
        }
    }
}

struct Work {
    planned: Planned,
    rejections: Vec<Rejection>,
    new_rows: u64,
    parser: Parser,
    request: Plan,
}

impl Work {
    fn hunk(&mut self, hunk: &Hunk) -> Result<(), PlanError> {
        let at = self.request.ordinal(hunk.base.start)?;
        let len = hunk.edited.end - hunk.edited.start;
        if hunk.edited.is_empty() {
            self.edit(at, hunk.base_records, 0);
            return Ok(());
        }
        if hunk.base_records > 0 && len <= RESPELL_BYTES_MAX && self.request.base.is_some() {
            return self.respelled(hunk, at);
        }
        let before = self.new_rows;
        let mut inserted = 0_u64;
        let mut reader = Chunks::new(hunk.edited.clone());
        while let Some((start, chunk)) = reader.next(&mut self.request.text)? {
            let Some(batch) = self.parse(&chunk, start)? else { continue };
            let (text, _) = canonical(&batch)?;
            self.planned.same_text &= text == chunk[..];
            self.planned.places.push((before + inserted, start));
            inserted += rows_of(&batch);
            self.send(batch)?;
        }
        self.new_rows = before + inserted;
        self.edit(at, hunk.base_records, inserted);
        Ok(())
    }

    /// A hunk that replaces rows: what only differs in spelling is no change.
    fn respelled(&mut self, hunk: &Hunk, at: u64) -> Result<(), PlanError> {
        let mut reader = Chunks::new(hunk.edited.clone());
        let mut batches = Vec::new();
        let mut text = Vec::new();
        let mut ends = Vec::new();
        while let Some((start, chunk)) = reader.next(&mut self.request.text)? {
            let Some(batch) = self.parse(&chunk, start)? else { continue };
            let (canonical, row_ends) = canonical(&batch)?;
            self.planned.same_text &= canonical == chunk[..];
            let shift = u64::try_from(text.len()).unwrap_or(u64::MAX);
            ends.extend(row_ends.iter().map(|end| shift + u64::from(*end)));
            text.extend_from_slice(&canonical);
            batches.push(batch);
        }
        if !self.rejections.is_empty() {
            return Ok(());
        }
        let rows = arrow::compute::concat_batches(&self.request.schema, &batches)
            .map_err(|error| Error::internal("join the rows of a save").caused_by(error))?;
        let mut base = Slice::new(self.read_base(hunk)?);
        let mut edited = Slice::new(text.into());
        let mut found = Vec::new();
        csv::diff(&mut base, 0, &mut edited, 0, &mut |hunk| {
            found.push(hunk);
            Ok(())
        })?;
        for inner in found {
            let start = self.request.ordinal(hunk.base.start + inner.base.start)?;
            let start = start.min(at + hunk.base_records);
            let first = row_of(&ends, inner.edited.start);
            let last = row_of(&ends, inner.edited.end);
            if last > first {
                let batch = rows.slice(first, last - first);
                self.planned.places.push((self.new_rows, hunk.edited.start));
                self.new_rows += rows_of(&batch);
                self.send(batch)?;
            }
            let insert = u64::try_from(last - first).unwrap_or(u64::MAX);
            self.edit(start, inner.base_records, insert);
        }
        Ok(())
    }

    fn read_base(&self, hunk: &Hunk) -> Result<Bytes> {
        let Some(base) = &self.request.base else { return Ok(Bytes::new()) };
        let parts = self.request.runtime.block_on(base.read_at(hunk.base.clone()))?;
        Ok(parts.concat().into())
    }

    fn edit(&mut self, at: u64, remove: u64, insert: u64) {
        if remove == 0 && insert == 0 {
            return;
        }
        let last = remove == 0 && at >= self.planned.rows_before;
        let at = if last { Edit::END } else { at };
        self.planned.edits.push(Edit { at, remove, insert });
    }

    /// Parses whole records; `None` if rows are refused (they are noted).
    fn parse(&mut self, text: &[u8], offset: u64) -> Result<Option<RecordBatch>, PlanError> {
        match self.parser.parse(text, 1) {
            Ok(batch) if self.rejections.is_empty() => Ok(Some(batch)),
            Ok(_) => Ok(None),
            Err(found) => {
                let lines = lines_before(&mut self.request.text, offset)?;
                let room = csv::REJECTIONS_KEPT.saturating_sub(self.rejections.len());
                self.rejections.extend(found.into_iter().take(room).map(|mut rejection| {
                    rejection.line += lines;
                    rejection
                }));
                Ok(None)
            }
        }
    }

    fn send(&self, batch: RecordBatch) -> Result<()> {
        self.request
            .sender
            .blocking_send(batch)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the rows could not be written"))
    }
}

impl Planned {
    /// Name of the operation for the history.
    pub(super) fn operation(&self, schema_changed: bool) -> &'static str {
        let removes = self.edits.iter().any(|edit| edit.remove > 0);
        let inserts = self.edits.iter().any(|edit| edit.insert > 0);
        match (schema_changed, removes, inserts) {
            (true, ..) => "schema",
            (_, true, false) => "delete",
            (_, false, true) if self.edits.iter().all(|edit| edit.at == Edit::END) => "append",
            _ => "edit",
        }
    }

    /// The kind that a set of conflicts is answered with.
    pub(super) fn conflict_kind(&self, rows: &[RowConflict]) -> ErrorKind {
        let by_other = |row: &RowConflict| {
            matches!(
                row.reason,
                ConflictReason::ChangedByOther | ConflictReason::SchemaChangedByOther
            )
        };
        if rows.iter().any(by_other) { ErrorKind::Conflict } else { ErrorKind::Invalid }
    }

    /// A conflict as one refused row of the staged text.
    ///
    /// # Errors
    /// As reading the text.
    pub(super) async fn conflict(&self, row: &RowConflict, text: &Frozen) -> Result<Rejection> {
        let mut rejection = conflict_rejection(row.reason);
        if let Some(new_row) = row.new_row {
            let (line, record) = self.find(new_row, text).await?;
            rejection.line = line;
            rejection.row = record;
        }
        let other = row.current_row.map(|ordinal| ordinal.saturating_add(2));
        if let Some(line) = other {
            rejection.reason = format!("{}; the other row is on line {line}", rejection.reason);
        }
        Ok(rejection)
    }

    /// Line and text of a new row.
    async fn find(&self, new_row: u64, text: &Frozen) -> Result<(u64, Vec<u8>)> {
        let index = self.places.partition_point(|(first, _)| *first <= new_row);
        let Some((first, offset)) = index.checked_sub(1).and_then(|i| self.places.get(i)) else {
            return Ok((0, Vec::new()));
        };
        let before = text.read_all(0..*offset).await?;
        let mut line = 1 + count_lines(&before);
        let window = text.read_all(*offset..offset.saturating_add(8 << 20)).await?;
        let mut rest = &window[..];
        for _ in *first..new_row {
            let Some(end) = record_end(rest) else { break };
            let (record, behind) = rest.split_at(end.min(rest.len()));
            line += count_lines(record);
            rest = behind;
        }
        let end = record_end(rest).unwrap_or(rest.len()).min(rest.len());
        Ok((line, rest.get(..end).unwrap_or_default().to_vec()))
    }
}

/// A rejection that the text itself is not to blame for.
pub(super) fn rejection(code: &'static str, reason: &str, remedy: &str) -> Rejection {
    Rejection {
        code,
        line: 0,
        column: None,
        column_name: None,
        value: String::new(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
        row: Vec::new(),
    }
}

fn conflict_rejection(reason: ConflictReason) -> Rejection {
    let (code, why, remedy) = match reason {
        ConflictReason::ChangedByOther => (
            "MNT-1310",
            "the row was changed or removed by somebody else since you read the file",
            "read the file again and repeat the change",
        ),
        ConflictReason::KeyExists => (
            "MNT-1311",
            "another row of the table has the same key",
            "edit that row instead, or give the new row another key",
        ),
        ConflictReason::DuplicateKey => {
            ("MNT-1312", "two rows of the file have the same key", "keep one of them")
        }
        ConflictReason::NullKey => ("MNT-1313", "a key column has no value", "give the row a key"),
        ConflictReason::SchemaChangedByOther => (
            "MNT-1314",
            "the columns were changed by somebody else since you read the file",
            "read the file again and repeat the change",
        ),
    };
    rejection(code, why, remedy)
}

/// Column types by the values of all rows of a text.
///
/// # Errors
/// As reading the text.
pub(super) fn infer(names: &[String], text: &mut BlockingText, body: u64) -> Result<Schema> {
    let mut inference = TypeInference::new(names);
    let mut chunks = Chunks::new(body..text.len());
    while let Some((_, chunk)) = chunks.next(text)? {
        inference.observe(&chunk);
    }
    Ok(inference.finish())
}

/// Parses all rows of a text.
///
/// # Errors
/// `Rejected` with every bad row (bounded), or what reading the text failed with.
pub(super) fn check(
    names: &[String],
    schema: &SchemaRef,
    text: &mut BlockingText,
    body: u64,
) -> Result<(), PlanError> {
    let mut parser =
        Parser::new(names, schema).map_err(|rejection| PlanError::Rejected(vec![rejection]))?;
    let mut chunks = Chunks::new(body..text.len());
    let mut line = 1 + lines_before(text, body)?;
    while let Some((_, chunk)) = chunks.next(text)? {
        if let Err(rejections) = parser.parse(&chunk, line) {
            return Err(PlanError::Rejected(rejections));
        }
        line += count_lines(&chunk);
    }
    Ok(())
}

/// Length of the first record of a text; `None` if there is none.
pub(super) fn record_end(text: &[u8]) -> Option<usize> {
    Records::new(text).next().map(|range| range.end)
}

fn rows_of(batch: &RecordBatch) -> u64 {
    u64::try_from(batch.num_rows()).unwrap_or(u64::MAX)
}

/// Index of the row that begins at `offset` of a text whose rows end at `ends`.
fn row_of(ends: &[u64], offset: u64) -> usize {
    ends.partition_point(|end| *end <= offset)
}

fn canonical(batch: &RecordBatch) -> Result<(Vec<u8>, Vec<u32>)> {
    let mut text = Vec::new();
    let mut ends = Vec::new();
    csv::render(batch, &mut text, &mut ends)?;
    Ok((text, ends))
}

fn count_lines(text: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', text).count()).unwrap_or(u64::MAX)
}

fn lines_before(text: &mut BlockingText, end: u64) -> Result<u64> {
    let mut at = 0;
    let mut lines = 0;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let part = text.read(at, wanted)?;
        if part.is_empty() {
            break;
        }
        lines += count_lines(&part);
        at += u64::try_from(part.len()).unwrap_or(u64::MAX);
    }
    Ok(lines)
}

/// Reads a range of the text in chunks of whole records.
struct Chunks {
    at: u64,
    end: u64,
    pending: Vec<u8>,
}

impl Chunks {
    fn new(range: std::ops::Range<u64>) -> Self {
        Self { at: range.start, end: range.end, pending: Vec::new() }
    }

    fn next(&mut self, text: &mut BlockingText) -> Result<Option<(u64, Vec<u8>)>> {
        let mut wanted = CHUNK;
        loop {
            while self.pending.len() < wanted && self.at < self.end {
                let left = usize::try_from(self.end - self.at).unwrap_or(CHUNK);
                let part = text.read(self.at, left.min(CHUNK))?;
                if part.is_empty() {
                    return Err(Error::internal("the staged text became shorter"));
                }
                self.at += u64::try_from(part.len()).unwrap_or(u64::MAX);
                self.pending.extend_from_slice(&part);
            }
            let start = self.at - u64::try_from(self.pending.len()).unwrap_or(0);
            if self.at >= self.end {
                let rest = std::mem::take(&mut self.pending);
                return Ok((!rest.is_empty()).then_some((start, rest)));
            }
            let whole = RecordSplitter::new().last_end(&self.pending).unwrap_or(0);
            if whole > 0 {
                let rest = self.pending.split_off(whole);
                return Ok(Some((start, std::mem::replace(&mut self.pending, rest))));
            }
            // A record longer than a chunk: take more.
            wanted = self.pending.len() + CHUNK;
        }
    }
}

/// A text in memory.
struct Slice(Bytes);

impl Slice {
    fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Text for Slice {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let end = start.saturating_add(max).min(self.0.len());
        Ok(self.0.slice(start..end))
    }
}
