//! Which rows a scan has to look at: what the footers of the data files rule out is not read.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use futures::{StreamExt, TryStreamExt};

use super::predicate::Predicate;
use super::refusal::refused;
use super::scan::Source;
use crate::error::Result;
use crate::sql::TableRows;
use crate::table::FileRun;
use crate::table::scan::{Footer, GroupBounds};
use crate::table::snapshot::DataFile;

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 16;
/// Rows that are read and decided in one step; pages and blocks begin at its multiples.
const STEP_ROWS: u32 = 32_768;

/// What a scan reads, and what it does not have to.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    /// The rows, in the order of the text, cut into steps.
    pub(super) steps: Vec<FileRun>,
    pub(super) figures: Figures,
}

/// How much that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// Rows to be looked at.
    pub(super) rows: u64,
    /// Data files, and those that are not read.
    pub(super) files: u64,
    pub(super) files_skipped: u64,
    /// Row groups, if the footers were looked at.
    pub(super) groups: u64,
    pub(super) groups_skipped: u64,
    /// Bytes of the files, and of what is skipped of them.
    pub(super) bytes: u64,
    pub(super) bytes_skipped: u64,
}

impl Chosen {
    /// All rows, or the first `limit`.
    pub(super) fn all(rows: &TableRows, limit: Option<usize>) -> Self {
        let mut left = limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(u64::MAX);
        let mut steps = Vec::new();
        for run in &rows.runs {
            let wanted = u32::try_from(left).unwrap_or(u32::MAX);
            let end = run.rows.end.min(run.rows.start.saturating_add(wanted));
            left = left.saturating_sub(u64::from(end - run.rows.start));
            steps.extend(cut(&run.file, run.rows.start..end));
        }
        let files = files_of(rows);
        let read: HashSet<&str> = steps.iter().map(|step| step.file.path.as_ref()).collect();
        let skipped = files.iter().filter(|file| !read.contains(file.path.as_ref()));
        let mut figures = Figures { rows: rows_of(&steps), ..Figures::default() };
        for file in skipped {
            figures.files_skipped += 1;
            figures.bytes_skipped += file.bytes;
        }
        figures.files = count(files.len());
        figures.bytes = files.iter().map(|file| file.bytes).sum();
        Self { steps, figures }
    }
}

/// The rows that may meet a condition.
///
/// # Errors
/// Those of reading footers.
pub(super) async fn choose(
    source: &Source,
    rows: &TableRows,
    predicate: &Predicate,
) -> Result<Chosen> {
    let files = files_of(rows);
    let pruning = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(&predicate.columns))
        .try_build(Arc::clone(&predicate.expression));
    let Some(pruning) = pruning.ok().filter(|pruning| !pruning.always_true()) else {
        return Ok(Chosen::all(rows, None));
    };
    let requests: Vec<_> = files.iter().map(|file| source.reader.footer(file)).collect();
    let footers: Vec<Arc<Footer>> =
        futures::stream::iter(requests).buffered(FOOTERS_AT_ONCE).try_collect().await?;
    let mut chosen = Chosen::default();
    let mut kept: HashMap<&str, Vec<Range<u32>>> = HashMap::new();
    for (file, footer) in files.iter().zip(&footers) {
        let figures = &mut chosen.figures;
        let may_match = pruning.prune(&Groups::of(footer, predicate, source)?).map_err(refused)?;
        let mut ranges = Vec::new();
        let mut bytes_skipped = 0_u64;
        for ((range, bytes), may_match) in
            footer.row_groups().zip(footer.row_group_bytes()).zip(&may_match)
        {
            figures.groups += 1;
            if *may_match {
                ranges.push(range);
            } else {
                figures.groups_skipped += 1;
                bytes_skipped += bytes;
            }
        }
        figures.files += 1;
        figures.bytes += file.bytes;
        if ranges.is_empty() {
            figures.files_skipped += 1;
            bytes_skipped = file.bytes;
        }
        figures.bytes_skipped += bytes_skipped.min(file.bytes);
        kept.insert(file.path.as_ref(), ranges);
    }
    for run in &rows.runs {
        for range in kept.get(run.file.path.as_ref()).into_iter().flatten() {
            let rows = run.rows.start.max(range.start)..run.rows.end.min(range.end);
            chosen.steps.extend(cut(&run.file, rows));
        }
    }
    chosen.figures.rows = rows_of(&chosen.steps);
    Ok(chosen)
}

/// The files that hold rows, each once.
fn files_of(rows: &TableRows) -> Vec<DataFile> {
    let mut seen = HashSet::new();
    let files = rows.runs.iter().map(|run| &run.file);
    files.filter(|file| seen.insert(Arc::clone(&file.path))).cloned().collect()
}

fn rows_of(steps: &[FileRun]) -> u64 {
    steps.iter().map(|step| u64::from(step.rows.end - step.rows.start)).sum()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Cuts a run at multiples of the step; nothing for an empty one.
fn cut(file: &DataFile, rows: Range<u32>) -> impl Iterator<Item = FileRun> {
    let mut start = rows.start;
    std::iter::from_fn(move || {
        let border = (start / STEP_ROWS).saturating_add(1).saturating_mul(STEP_ROWS);
        let step = start..rows.end.min(border);
        start = step.end;
        (step.start < step.end).then(|| FileRun { file: file.clone(), rows: step })
    })
}

/// What the footer of a file tells about the row groups, for the columns of a condition.
struct Groups {
    columns: HashMap<String, GroupBounds>,
    rows: UInt64Array,
}

impl Groups {
    fn of(footer: &Footer, predicate: &Predicate, source: &Source) -> Result<Self> {
        let mut columns = HashMap::new();
        for field in predicate.columns.fields() {
            let own = source.snapshot.schema.field_with_name(field.name()).is_ok();
            // A column that the table gave up may still be in its files.
            let bounds = match own {
                true => footer.group_bounds(field)?,
                false => GroupBounds::absent(footer, field),
            };
            columns.insert(field.name().clone(), bounds);
        }
        let rows = footer.row_groups().map(|rows| u64::from(rows.end - rows.start)).collect();
        Ok(Self { columns, rows })
    }
}

impl PruningStatistics for Groups {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.columns.get(column.name())?.min.clone()
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.columns.get(column.name())?.max.clone()
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(Arc::new(self.columns.get(column.name())?.nulls.clone()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.rows.clone()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
