//! What a merge of two versions does to the table that takes the changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::columns::Versions;
use super::decide::{Decision, decide, decide_count};
use super::rows::{Found, Rows, line_of, text_of};
use super::{MergeConflict, MergeCounts};
use crate::error::{Error, Result};
use crate::lake::{
    ChangeSet, Edit, Lake, NewRows, OnExistingKey, Principal, SchemaChange, TableConfig,
};
use crate::table::FileRun;

/// Rows written at once.
const WRITE_ROWS: usize = 8_192;

/// Where the cells of a new row come from.
#[derive(Debug, Clone)]
struct Pick {
    theirs: usize,
    ours: usize,
    from_theirs: Vec<bool>,
}

/// The changes that a merge makes.
#[derive(Debug)]
pub(super) struct Plan {
    columns: SchemaRef,
    config: TableConfig,
    keys: Vec<String>,
    /// Edits with the row that each inserts, if it inserts one.
    edits: Vec<(Edit, Option<Pick>)>,
    theirs: RecordBatch,
    ours: RecordBatch,
    pub(super) counts: MergeCounts,
}

/// A plan, or why there is none.
pub(super) type Planned = std::result::Result<Plan, Vec<MergeConflict>>;

impl Plan {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self, versions: &Versions) -> bool {
        let ours = &versions.ours;
        self.edits.is_empty() && self.columns == ours.schema && self.config == ours.config
    }

    fn remove(&mut self, at: u64) {
        self.counts.deleted += 1;
        self.edits.push((Edit { at, remove: 1, insert: 0 }, None));
    }

    fn replace(&mut self, at: u64, pick: Pick) {
        self.counts.updated += 1;
        self.edits.push((Edit { at, remove: 1, insert: 1 }, Some(pick)));
    }

    fn insert(&mut self, theirs: usize) {
        self.counts.inserted += 1;
        let from_theirs = vec![true; self.columns.fields().len()];
        let pick = Pick { theirs, ours: 0, from_theirs };
        self.edits.push((Edit { at: Edit::END, remove: 0, insert: 1 }, Some(pick)));
    }

    /// The new rows of some edits.
    fn batch(&self, picks: &[&Pick]) -> Result<RecordBatch> {
        let columns = (0..self.columns.fields().len()).map(|column| {
            let from = |pick: &&Pick| match pick.from_theirs.get(column) {
                Some(true) => (0, pick.theirs),
                _ => (1, pick.ours),
            };
            let places: Vec<(usize, usize)> = picks.iter().map(from).collect();
            let sides = [self.theirs.column(column).as_ref(), self.ours.column(column).as_ref()];
            interleave(&sides, &places)
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
        let batch = columns.and_then(|all| RecordBatch::try_new(Arc::clone(&self.columns), all));
        batch.map_err(|error| Error::internal("put merged rows together").caused_by(error))
    }
}

impl Lake {
    /// Finds out what a merge does.
    pub(super) async fn plan_merge(&self, versions: &Versions) -> Result<Planned> {
        let (columns, config) = match (versions.columns(), versions.config()) {
            (Ok(columns), Ok(config)) => (columns, config),
            (columns, config) => {
                let mut conflicts = columns.err().unwrap_or_default();
                conflicts.extend(config.err().unwrap_or_default());
                return Ok(Err(conflicts));
            }
        };
        let keys = versions.keys(&columns);
        let [gone, come] = self.changed_runs(versions, Side::Theirs).await?;
        let base = versions.base.as_ref().unwrap_or(&versions.theirs);
        let gone = self.read_runs(base, gone, &columns).await?;
        let come = self.read_runs(&versions.theirs, come, &columns).await?;
        let empty = RecordBatch::new_empty(Arc::clone(&columns));
        let mut plan = Plan {
            theirs: come.batch.clone(),
            ours: empty,
            edits: Vec::new(),
            counts: MergeCounts::default(),
            columns,
            config,
            keys,
        };
        let at = come.positions(&plan.keys);
        let keyed = (!at.is_empty()).then(|| Some((gone.by(&at)?, come.by(&at)?))).flatten();
        let conflicts = match keyed {
            Some((gone_by, come_by)) => {
                let sides = Keyed { at, gone: &gone, come: &come, gone_by, come_by };
                self.plan_by_key(versions, &sides, &mut plan).await?
            }
            None => self.plan_by_row(versions, [&gone, &come], &mut plan).await?,
        };
        Ok(if conflicts.is_empty() { Ok(plan) } else { Err(conflicts) })
    }

    /// Rows that a side removed from the base and added to it. Rows that were only moved to other
    /// files stand in both.
    async fn changed_runs(&self, versions: &Versions, side: Side) -> Result<[Vec<FileRun>; 2]> {
        let to = match side {
            Side::Ours => &versions.ours,
            Side::Theirs => &versions.theirs,
        };
        match &versions.base {
            Some(base) => self.table(&to.table).row_diff(base, to).await,
            None => Ok([Vec::new(), self.all_runs(to).await?]),
        }
    }

    async fn plan_by_key(
        &self,
        versions: &Versions,
        sides: &Keyed<'_>,
        plan: &mut Plan,
    ) -> Result<Vec<MergeConflict>> {
        let changed = sides.changed();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Option<Vec<FieldRef>> = plan
            .keys
            .iter()
            .map(|key| plan.columns.fields().find(key).map(|(_, field)| Arc::clone(field)))
            .collect();
        let by = Arc::new(Schema::new(fields.unwrap_or_default()));
        let wanted = changed.keys().map(|key| (key.clone(), 1)).collect();
        let found = self.find_texts(&versions.ours, &plan.columns, &by, wanted).await?;
        let ours: HashMap<String, usize> = found.rows.by(&sides.at).unwrap_or_default();
        let mut conflicts = Vec::new();
        // In the order of theirs, so that new rows are.
        let mut order: Vec<_> = changed.into_iter().collect();
        order.sort_by_key(|(_, (base, theirs))| (theirs.unwrap_or(usize::MAX), *base));
        for (key, (base, theirs)) in order {
            let our = ours.get(&key).copied();
            let cells = [
                base.and_then(|row| sides.gone.cells.get(row)),
                our.and_then(|row| found.rows.cells.get(row)),
                theirs.and_then(|row| sides.come.cells.get(row)),
            ]
            .map(|cells| cells.map(Vec::as_slice));
            let decision = decide(cells[0], cells[1], cells[2]);
            let at = our.and_then(|row| found.ordinals.get(row).copied());
            plan.apply(&decision, at, our, theirs);
            plan.complain(&decision, &key, cells, &mut conflicts);
        }
        plan.ours = found.rows.batch;
        plan.edits.sort_by_key(|(edit, _)| edit.at);
        Ok(conflicts)
    }

    async fn plan_by_row(
        &self,
        versions: &Versions,
        [gone, come]: [&Rows; 2],
        plan: &mut Plan,
    ) -> Result<Vec<MergeConflict>> {
        let theirs = counts([gone, come]);
        if theirs.is_empty() {
            return Ok(Vec::new());
        }
        let ours = {
            let [gone, come] = self.changed_runs(versions, Side::Ours).await?;
            let base = versions.base.as_ref().unwrap_or(&versions.ours);
            let gone = self.read_runs(base, gone, &plan.columns).await?;
            counts([&gone, &self.read_runs(&versions.ours, come, &plan.columns).await?])
        };
        let (mut add, mut remove, mut conflicts) = (HashMap::new(), HashMap::new(), Vec::new());
        for (line, their) in &theirs {
            let our = ours.get(line).copied().unwrap_or_default();
            match decide_count(our, *their) {
                Some(0) => {}
                Some(count) => {
                    let side = if count > 0 { &mut add } else { &mut remove };
                    side.insert(line.clone(), count.unsigned_abs());
                }
                None => conflicts.push(MergeConflict {
                    key: line.clone(),
                    column: String::new(),
                    base: None,
                    ours: Some(format!("{our:+} rows")),
                    theirs: Some(format!("{their:+} rows")),
                }),
            }
        }
        if !remove.is_empty() && conflicts.is_empty() {
            let missing: u64 = remove.values().sum();
            let by = Arc::clone(&plan.columns);
            let Found { ordinals, .. } = self.find_texts(&versions.ours, &by, &by, remove).await?;
            if u64::try_from(ordinals.len()).ok() != Some(missing) {
                return Err(Error::internal("rows to remove are not there")
                    .with("table", &versions.ours.table));
            }
            ordinals.into_iter().for_each(|at| plan.remove(at));
        }
        for (index, cells) in come.cells.iter().enumerate() {
            if let Some(left) = add.get_mut(&line_of(cells)).filter(|left| **left > 0) {
                *left -= 1;
                plan.insert(index);
            }
        }
        Ok(conflicts)
    }

    /// The change set of a plan; its new rows are written, and named by nothing yet.
    pub(super) async fn change_of(
        &self,
        who: &Principal,
        versions: &Versions,
        plan: &Plan,
    ) -> Result<ChangeSet> {
        let ours = &versions.ours;
        let picks: Vec<&Pick> = plan.edits.iter().filter_map(|(_, pick)| pick.as_ref()).collect();
        let rows = if picks.is_empty() {
            NewRows::none()
        } else {
            let keys = &plan.config.keys;
            let mut writer = self.writer(who, &ours.table, &plan.columns, keys).await?;
            for picks in picks.chunks(WRITE_ROWS) {
                writer.write(plan.batch(picks)?).await?;
            }
            writer.finish().await?
        };
        let mut edits: Vec<Edit> = Vec::new();
        for (edit, _) in &plan.edits {
            match edits.last_mut() {
                Some(last) if last.at == Edit::END && edit.at == Edit::END => {
                    last.insert += edit.insert;
                }
                _ => edits.push(*edit),
            }
        }
        let columns = || SchemaChange { columns: Arc::clone(&plan.columns) };
        Ok(ChangeSet {
            base: Arc::clone(ours),
            edits,
            rows,
            schema: (plan.columns != ours.schema).then(columns),
            config: (plan.config != ours.config).then(|| plan.config.clone()),
            on_existing_key: OnExistingKey::Refuse,
        })
    }
}

/// A side of a merge.
#[derive(Debug, Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

/// What theirs changed, by key.
struct Keyed<'a> {
    /// Positions of the key columns.
    at: Vec<usize>,
    gone: &'a Rows,
    come: &'a Rows,
    gone_by: HashMap<String, usize>,
    come_by: HashMap<String, usize>,
}

impl Keyed<'_> {
    /// The keys whose rows differ, with the rows in `gone` and in `come`.
    fn changed(&self) -> BTreeMap<String, (Option<usize>, Option<usize>)> {
        let mut changed = BTreeMap::new();
        for key in self.gone_by.keys().chain(self.come_by.keys()) {
            let (was, is) = (self.gone_by.get(key).copied(), self.come_by.get(key).copied());
            let old = was.and_then(|row| self.gone.cells.get(row));
            if old != is.and_then(|row| self.come.cells.get(row)) {
                changed.insert(key.clone(), (was, is));
            }
        }
        changed
    }
}

impl Plan {
    fn apply(
        &mut self,
        decision: &Decision,
        at: Option<u64>,
        ours: Option<usize>,
        theirs: Option<usize>,
    ) {
        let all = vec![true; self.columns.fields().len()];
        match (decision, at, theirs) {
            (Decision::Take, None, Some(theirs)) => self.insert(theirs),
            (Decision::Take, Some(at), Some(theirs)) => {
                let ours = ours.unwrap_or_default();
                self.replace(at, Pick { theirs, ours, from_theirs: all });
            }
            (Decision::Mix(from_theirs), Some(at), Some(theirs)) => {
                let (ours, from_theirs) = (ours.unwrap_or_default(), from_theirs.clone());
                self.replace(at, Pick { theirs, ours, from_theirs });
            }
            (Decision::Remove, Some(at), _) => self.remove(at),
            _ => {}
        }
    }

    fn complain(
        &self,
        decision: &Decision,
        key: &str,
        rows: [Option<&[String]>; 3],
        conflicts: &mut Vec<MergeConflict>,
    ) {
        let conflict = |column: String, [base, ours, theirs]: [Option<String>; 3]| MergeConflict {
            key: key.to_owned(),
            column,
            base,
            ours,
            theirs,
        };
        match decision {
            Decision::CellConflict(columns) => {
                for at in columns {
                    let name = self.columns.fields().get(*at).map(|field| field.name().clone());
                    let cells = rows.map(|row| row.and_then(|cells| cells.get(*at).cloned()));
                    conflicts.push(conflict(name.unwrap_or_default(), cells));
                }
            }
            Decision::RowConflict => {
                conflicts.push(conflict(String::new(), rows.map(|row| row.map(line_of))));
            }
            _ => {}
        }
    }
}

/// By how many each row became more; rows whose number is the same are left out.
fn counts([gone, come]: [&Rows; 2]) -> HashMap<String, i64> {
    let mut counts: HashMap<String, i64> = HashMap::new();
    for (rows, step) in [(gone, -1), (come, 1)] {
        for cells in &rows.cells {
            let all: Vec<usize> = (0..cells.len()).collect();
            *counts.entry(text_of(cells, &all)).or_default() += step;
        }
    }
    counts.retain(|_, count| *count != 0);
    counts
}
