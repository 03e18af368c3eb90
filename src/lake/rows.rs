//! Changes of the rows that a condition names: found, changed and committed as one version.
//!
//! Rows are looked for in the newest version, data file by data file; only the columns that the
//! condition names are read, and the others where a row is to be written anew. If somebody else
//! changes the same rows meanwhile, everything begins again on the newest version.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};

use super::{
    At, ChangeSet, CommitOutcome, Edit, Lake, NewRows, OnExistingKey, Principal, Snapshot, TableId,
};
use crate::access::Permission;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Assignments, Filter, both};
use crate::table::{DataFile, FileRun};

/// Rows that are looked at in one step.
const STEP_ROWS: u32 = 32_768;
/// Steps that are read at the same time.
const STEPS_AHEAD: usize = 4;
/// How often a change begins again because somebody else changed the same rows.
const ROUNDS_MAX: usize = 5;

/// What happens to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehearsal {
    /// They are changed.
    No,
    /// They are only counted.
    Yes,
}

/// A change of the rows that a condition names.
#[derive(Debug, Clone)]
pub struct RowsWanted<'a> {
    /// The condition.
    pub condition: &'a str,
    /// `column = value`, each; none = the rows are deleted.
    pub assignments: &'a [String],
    /// Text for the history.
    pub message: &'a str,
    /// Whether it is only tried.
    pub rehearsal: Rehearsal,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct RowsChanged {
    /// The newest version: the one that was made, if anything was changed.
    pub snapshot: Arc<Snapshot>,
    /// Rows that meet the condition.
    pub matched: u64,
    /// Rows that were changed or deleted, or would be.
    pub changed: u64,
}

/// Some rows of a data file, which of them are meant, and the new rows in their place.
struct Step {
    rows: u32,
    matched: u64,
    changed: BooleanArray,
    new: Option<RecordBatch>,
}

/// A change that was found out.
struct Found {
    edits: Vec<Edit>,
    rows: NewRows,
    matched: u64,
    changed: u64,
}

impl Lake {
    /// Deletes or updates the rows of a table that meet a condition, as one commit. Nothing is
    /// committed if there are none, or if all of them have the new values already.
    ///
    /// # Errors
    /// As [`Lake::commit`]; `Invalid` for a condition or an assignment that cannot be read;
    /// `Conflict` if the new rows repeat a key, or if others change the same rows again and again.
    pub async fn change_rows(
        &self,
        who: &Principal,
        id: &TableId,
        wanted: &RowsWanted<'_>,
    ) -> Result<RowsChanged> {
        self.allow(who, id, Permission::Write).await?;
        let operation = if wanted.assignments.is_empty() { "delete" } else { "update" };
        for _ in 0..ROUNDS_MAX {
            let base = self.snapshot(who, id, At::Latest).await?;
            let found = self.find_rows(who, &base, wanted).await?;
            let done =
                |snapshot| RowsChanged { snapshot, matched: found.matched, changed: found.changed };
            if found.changed == 0 || wanted.rehearsal == Rehearsal::Yes {
                return Ok(done(base));
            }
            let change = ChangeSet {
                base: Arc::clone(&base),
                edits: found.edits.clone(),
                rows: found.rows.clone(),
                schema: None,
                config: None,
                on_existing_key: OnExistingKey::Refuse,
            };
            match self.commit(who, id, change, operation, wanted.message).await? {
                CommitOutcome::Committed { snapshot, .. }
                | CommitOutcome::Unchanged { snapshot } => return Ok(done(snapshot)),
                CommitOutcome::Conflict { current, .. } if current.path == base.path => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "the new values would give two rows the same key, or none",
                    )
                    .with("table", id)
                    .with("keys", base.config.keys.join(",")));
                }
                CommitOutcome::Conflict { .. } => self.forget(id),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "others changed the same rows each time")
            .with("table", id))
    }

    async fn find_rows(
        &self,
        who: &Principal,
        base: &Arc<Snapshot>,
        wanted: &RowsWanted<'_>,
    ) -> Result<Found> {
        let filter = Filter::parse(wanted.condition, &base.schema)?;
        let assignments = match wanted.assignments {
            [] => None,
            texts => Some(Assignments::parse(texts, &base.schema)?),
        };
        let writes = assignments.is_some() && wanted.rehearsal == Rehearsal::No;
        let schema = &base.schema;
        let mut writer = self.writer(who, &base.table, schema, &base.config.keys).await?;
        let look = Look { filter, assignments, writes, schema };
        let (runs, _) = self.runs_of(base, 0..u64::MAX).await?;
        let steps: Vec<FileRun> = runs.into_iter().flat_map(cut).collect();
        let requests: Vec<_> = steps.into_iter().map(|run| self.look_at(run, &look)).collect();
        let mut steps = futures::stream::iter(requests).buffered(STEPS_AHEAD);
        let mut found = Found { edits: Vec::new(), rows: NewRows::none(), matched: 0, changed: 0 };
        let mut at = 0_u64;
        while let Some(step) = steps.try_next().await? {
            found.matched += step.matched;
            note(&step.changed, at, look.assignments.is_some(), &mut found);
            at += u64::from(step.rows);
            if let Some(new) = step.new {
                writer.write(new).await?;
            }
        }
        found.rows = writer.finish().await?;
        Ok(found)
    }

    async fn look_at(&self, run: FileRun, look: &Look<'_>) -> Result<Step> {
        let reader = self.0.views.reader();
        let rows = run.rows.end - run.rows.start;
        let named = reader.read_rows(&run.file, run.rows.clone(), look.filter.columns()).await?;
        let met = look.filter.matches(&named)?;
        let mut step = Step { rows, matched: ones(&met), changed: met, new: None };
        let Some(assignments) = look.assignments.as_ref().filter(|_| step.matched > 0) else {
            return Ok(step);
        };
        let old = reader.read_rows(&run.file, run.rows.clone(), assignments.columns()).await?;
        step.changed = both(&step.changed, &assignments.change(&old)?)?;
        if look.writes && ones(&step.changed) > 0 {
            let all = reader.read_rows(&run.file, run.rows, look.schema).await?;
            let all = filter_record_batch(&all, &step.changed)
                .map_err(|error| Error::internal("select rows").caused_by(error))?;
            step.new = Some(assignments.apply(&all)?);
        }
        Ok(step)
    }

    /// Where the rows at these places of a version's text are stored, in their order, and how many
    /// rows there are in all.
    pub(super) async fn runs_of(
        &self,
        snapshot: &Arc<Snapshot>,
        ordinals: Range<u64>,
    ) -> Result<(Vec<FileRun>, u64)> {
        let layout = self.table(&snapshot.table).layout(snapshot).await?;
        let starts = layout.starts();
        let files: HashMap<&str, &DataFile> =
            snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let mut runs = Vec::new();
        for run in layout.runs(&starts, ordinals) {
            let path = layout.path(run.file)?;
            let file = *files.get(path.as_ref()).ok_or_else(|| {
                Error::corrupt("layout names a file that is gone").with("file", path)
            })?;
            runs.push(FileRun { file: file.clone(), rows: run.rows });
        }
        Ok((runs, layout.rows()))
    }
}

/// What rows are looked at for.
struct Look<'a> {
    filter: Filter,
    assignments: Option<Assignments>,
    writes: bool,
    schema: &'a SchemaRef,
}

/// Notes the rows that are meant as edits; neighbours become one.
fn note(changed: &BooleanArray, first: u64, replaced: bool, found: &mut Found) {
    for (start, end) in changed.values().set_slices() {
        let (Ok(start), Ok(end)) = (u64::try_from(start), u64::try_from(end)) else { continue };
        let (at, rows) = (first + start, end - start);
        found.changed += rows;
        let insert = if replaced { rows } else { 0 };
        match found.edits.last_mut() {
            Some(last) if last.at + last.remove == at => {
                last.remove += rows;
                last.insert += insert;
            }
            _ => found.edits.push(Edit { at, remove: rows, insert }),
        }
    }
}

fn ones(mask: &BooleanArray) -> u64 {
    u64::try_from(mask.true_count()).unwrap_or(u64::MAX)
}

/// Cuts a run at multiples of the step, where pages begin as well.
pub(super) fn cut(run: FileRun) -> impl Iterator<Item = FileRun> {
    let FileRun { file, rows } = run;
    let mut start = rows.start;
    std::iter::from_fn(move || {
        let border = (start / STEP_ROWS).saturating_add(1).saturating_mul(STEP_ROWS);
        let step = start..rows.end.min(border);
        start = step.end;
        (!step.is_empty()).then(|| FileRun { file: file.clone(), rows: step })
    })
}
