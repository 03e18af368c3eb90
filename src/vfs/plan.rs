//! The comparison of a staged text with its base, in a thread that may block: hunks of records,
//! parsed into rows, trimmed of what means the same, as edits of a change set.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tokio::sync::mpsc;

use super::chunks::{Chunks, Lines, count_lines};
use super::exact::Exact;
use super::respelled::{Compared, Part, Respelled};
use super::text::{BlockingText, Frozen};
use crate::csv::{self, Hunk, Parser, Records, Rejection, Text, TypeInference};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{ConflictReason, CsvView, Edit, RowConflict};

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
    /// The columns whose values must come through a change of types.
    pub(super) retyped: Option<SchemaRef>,
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
    let exact = request.retyped.as_ref().map(|old| Exact::new(&request.names, old)).transpose();
    let exact = exact.map_err(|rejection| PlanError::Rejected(vec![rejection]))?;
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
        lines: Lines::default(),
        exact,
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

/// A hunk as far as it is worked off.
struct Told<'a> {
    hunk: &'a Hunk,
    /// Ordinal of its first row in the base.
    at: u64,
    /// Rows sent of it.
    inserted: u64,
}

struct Work {
    planned: Planned,
    rejections: Vec<Rejection>,
    new_rows: u64,
    parser: Parser,
    lines: Lines,
    exact: Option<Exact>,
    request: Plan,
}

impl Work {
    fn hunk(&mut self, hunk: &Hunk) -> Result<(), PlanError> {
        let at = self.request.ordinal(hunk.base.start)?;
        let before = self.new_rows;
        let replaced = self.request.base.clone().filter(|_| hunk.base_records > 0);
        let mut reader = Chunks::new(hunk.edited.clone());
        while let Some((start, chunk)) = reader.next(&mut self.request.text)? {
            let Some(batch) = self.parse(&chunk, start)? else { continue };
            let (text, ends) = canonical(&batch)?;
            if text != chunk {
                self.planned.same_text = false;
                if let Some(base) = &replaced {
                    let mut respelled = self.respelled()?;
                    respelled.push(start, &chunk, batch, (text, ends));
                    let told = Told { hunk, at, inserted: self.new_rows - before };
                    return self.respell(base, &told, reader, respelled);
                }
            }
            self.insert(batch, start)?;
        }
        self.edit(at, hunk.base_records, self.new_rows - before);
        Ok(())
    }

    fn respelled(&self) -> Result<Respelled, PlanError> {
        let parser = Parser::new(&self.request.names, &self.request.schema)
            .map_err(|rejection| PlanError::Rejected(vec![rejection]))?;
        Ok(Respelled::new(self.request.text.clone(), parser))
    }

    /// The rest of a hunk that replaces rows and is spelled in another way than the table: what
    /// only differs in spelling is no change.
    fn respell(
        &mut self,
        base: &Arc<CsvView>,
        told: &Told<'_>,
        mut reader: Chunks,
        mut respelled: Respelled,
    ) -> Result<(), PlanError> {
        while let Some((start, chunk)) = reader.next(&mut self.request.text)? {
            let Some(batch) = self.parse(&chunk, start)? else { continue };
            let text = canonical(&batch)?;
            respelled.push(start, &chunk, batch, text);
        }
        if !self.rejections.is_empty() {
            return Ok(());
        }
        let respelled = RefCell::new(respelled);
        // Rows of the hunk that were sent and stand in no edit yet.
        let mut sent = told.inserted;
        let mut part = Part::new(base, told.hunk.base.clone());
        csv::diff(&mut part, 0, &mut Compared(&respelled), 0, &mut |inner| {
            let start = self.request.ordinal(told.hunk.base.start + inner.base.start)?;
            let start = start.min(told.at + told.hunk.base_records);
            if inner.base.start > 0 {
                self.edit(told.at, 0, std::mem::take(&mut sent));
            }
            let before = self.new_rows;
            let mut rows = respelled.borrow_mut();
            rows.pieces(inner.edited, &mut |piece| self.insert(piece.rows, piece.offset))?;
            let inserted = std::mem::take(&mut sent) + (self.new_rows - before);
            self.edit(start, inner.base_records, inserted);
            Ok(())
        })?;
        self.edit(told.at, 0, sent);
        Ok(())
    }

    /// Sends rows of which the first begins at `offset` of the text.
    fn insert(&mut self, rows: RecordBatch, offset: u64) -> Result<()> {
        self.planned.places.push((self.new_rows, offset));
        self.new_rows += rows_of(&rows);
        self.send(rows)
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
        let found = match self.parser.parse(text, 1) {
            Ok(batch) => {
                let lost =
                    self.exact.as_mut().map(|exact| exact.check(text, &batch)).transpose()?;
                match lost.flatten() {
                    None => return Ok(self.rejections.is_empty().then_some(batch)),
                    Some(lost) => vec![lost],
                }
            }
            Err(found) => found,
        };
        let lines = self.lines.before(&mut self.request.text, offset)?;
        let room = csv::REJECTIONS_KEPT.saturating_sub(self.rejections.len());
        self.rejections.extend(found.into_iter().take(room).map(|mut rejection| {
            rejection.line += lines;
            rejection
        }));
        Ok(None)
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

    /// Line and text of a new row; `lines` are those of `text`.
    pub(super) async fn find(
        &self,
        new_row: u64,
        text: &Frozen,
        lines: &mut Lines,
    ) -> Result<(u64, Vec<u8>)> {
        let index = self.places.partition_point(|(first, _)| *first <= new_row);
        let Some((first, offset)) = index.checked_sub(1).and_then(|i| self.places.get(i)) else {
            return Ok((0, Vec::new()));
        };
        let mut line = 1 + lines.before_in(text, *offset).await?;
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
    let mut line = 1 + Lines::default().before(text, body)?;
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

fn canonical(batch: &RecordBatch) -> Result<(Vec<u8>, Vec<u32>)> {
    let mut text = Vec::new();
    let mut ends = Vec::new();
    csv::render(batch, &mut text, &mut ends)?;
    Ok((text, ends))
}
