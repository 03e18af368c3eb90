//! The scan: rows of a version in the order of its text, decided and projected step by step.
//!
//! A step reads the columns of the condition first, and the others only between the first and the
//! last row that meet it. Values are those of the CSV file: the same reader brings them into the
//! table's columns.

use std::fmt;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};

use super::predicate::Predicate;
use super::prune::Chosen;
use super::refusal::outward;
use crate::error::{Error, ErrorKind, Result};
use crate::table::FileRun;
use crate::table::scan::{FetchedRows, FileReader, conform};
use crate::table::snapshot::Snapshot;

/// Where the rows of a table come from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) snapshot: Arc<Snapshot>,
    /// The columns that are shown, at least as wide as the table's own.
    pub(super) shown: SchemaRef,
    pub(super) reader: FileReader,
}

/// A scan of one version.
#[derive(Debug)]
pub(super) struct LakeScan {
    source: Arc<Source>,
    chosen: Chosen,
    predicate: Option<Arc<Predicate>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LakeScan {
    pub(super) fn new(
        source: Arc<Source>,
        chosen: Chosen,
        projected: SchemaRef,
        predicate: Option<Predicate>,
        limit: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(projected),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            source,
            chosen,
            predicate: predicate.map(Arc::new),
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for LakeScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, chosen, predicate, limit, .. } = self;
        let figures = &chosen.figures;
        let columns: Vec<String> =
            self.schema().fields().iter().map(|field| field.name().clone()).collect();
        write!(f, "LakeScan: {}@{}", source.snapshot.table, source.snapshot.version)?;
        write!(f, ", columns=[{}], rows={}", columns.join(", "), figures.rows)?;
        write!(f, ", files={}, files_skipped={}", figures.files, figures.files_skipped)?;
        if figures.groups > 0 {
            write!(f, ", row_groups={}", figures.groups)?;
            write!(f, ", row_groups_skipped={}", figures.groups_skipped)?;
        }
        write!(f, ", bytes={}, bytes_skipped={}", figures.bytes, figures.bytes_skipped)?;
        if let Some(predicate) = predicate {
            write!(f, ", filter={}", predicate.text)?;
        }
        if let Some(limit) = limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for LakeScan {
    fn name(&self) -> &'static str {
        "LakeScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        // The condition is decided here, and is nothing that others may rewrite.
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let ahead = context.session_config().target_partitions().max(2);
        let measured = BaselineMetrics::new(&self.metrics, partition);
        let step = Step {
            source: Arc::clone(&self.source),
            predicate: self.predicate.clone(),
            projected: self.schema(),
        };
        let steps = futures::stream::iter(self.chosen.steps.clone())
            .map(move |run| step.clone().read(run))
            .buffered(ahead)
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0));
        let rows = steps
            .map_ok(move |batch| {
                measured.record_output(batch.num_rows());
                batch
            })
            .map_err(outward);
        // The batch that reaches the limit is cut, and no further one is asked for.
        let limited = rows.scan(self.limit.unwrap_or(usize::MAX), |left, batch| {
            if *left == 0 {
                return std::future::ready(None);
            }
            let batch = batch.map(|batch| batch.slice(0, batch.num_rows().min(*left)));
            *left = left.saturating_sub(batch.as_ref().map_or(0, RecordBatch::num_rows));
            std::future::ready(Some(batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), limited)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>, DataFusionError> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        let rows = usize::try_from(self.chosen.figures.rows).unwrap_or(usize::MAX);
        let rows = rows.min(self.limit.unwrap_or(usize::MAX));
        statistics.num_rows = match self.predicate {
            None => Precision::Exact(rows),
            Some(_) => Precision::Inexact(rows),
        };
        Ok(Arc::new(statistics))
    }
}

/// What is done with each step.
#[derive(Clone)]
struct Step {
    source: Arc<Source>,
    predicate: Option<Arc<Predicate>>,
    projected: SchemaRef,
}

impl Step {
    async fn read(self, run: FileRun) -> Result<RecordBatch> {
        let Some(predicate) = &self.predicate else {
            let fetched = self.fetch(&run, &self.projected).await?;
            let projected = Arc::clone(&self.projected);
            return blocking(&run, move || fetched.decoded(&projected)).await;
        };
        let fetched = self.fetch(&run, &predicate.columns).await?;
        let condition = Arc::clone(predicate);
        let (named, met) = blocking(&run, move || {
            let named = fetched.decoded(&condition.columns)?;
            let met = condition.matches(&named)?;
            Ok((named, met))
        })
        .await?;
        let Some((first, last)) = bounds_of(&met) else {
            return Ok(RecordBatch::new_empty(self.projected));
        };
        let (named, met) = (named.slice(first, last - first), met.slice(first, last - first));
        let others = self.others(&predicate.columns);
        let start = run.rows.start.saturating_add(u32::try_from(first).unwrap_or(u32::MAX));
        let end = run.rows.start.saturating_add(u32::try_from(last).unwrap_or(u32::MAX));
        let between = FileRun { file: run.file.clone(), rows: start..end };
        let fetched = self.fetch(&between, &others).await?;
        let projected = self.projected;
        blocking(&run, move || {
            let rest = fetched.decoded(&others)?;
            let whole = joined(&projected, &named, &rest)?;
            filter_record_batch(&whole, &met)
                .map_err(|error| Error::internal("select rows").caused_by(error))
        })
        .await
    }

    /// The projected columns that the condition does not name.
    fn others(&self, named: &SchemaRef) -> SchemaRef {
        let fields = self.projected.fields().iter();
        let others = fields.filter(|field| named.field_with_name(field.name()).is_err());
        Arc::new(Schema::new(others.cloned().collect::<Vec<_>>()))
    }

    /// Pages of the rows of a run, in the table's own types.
    async fn fetch(&self, run: &FileRun, wanted: &SchemaRef) -> Result<Fetched> {
        let own = &self.source.snapshot.schema;
        let fields: Vec<Arc<Field>> = wanted
            .fields()
            .iter()
            .filter_map(|field| own.fields().find(field.name()).map(|(_, own)| Arc::clone(own)))
            .collect();
        let stored = Arc::new(Schema::new(fields));
        let rows = self.source.reader.fetch(&run.file, run.rows.clone(), &stored).await?;
        Ok(Fetched(rows))
    }
}

/// Pages that wait to be decoded.
struct Fetched(FetchedRows);

impl Fetched {
    fn decoded(self, wanted: &SchemaRef) -> Result<RecordBatch> {
        conform(&self.0.decode()?, wanted)
    }
}

/// The first row that is meant, and the one behind the last.
fn bounds_of(met: &BooleanArray) -> Option<(usize, usize)> {
    let mut slices = met.values().set_slices();
    let (first, end) = slices.next()?;
    Some((first, slices.last().map_or(end, |(_, end)| end)))
}

/// The columns of two batches of the same rows, as `schema` names them.
fn joined(schema: &SchemaRef, one: &RecordBatch, other: &RecordBatch) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| {
        let found = one.column_by_name(field.name()).or_else(|| other.column_by_name(field.name()));
        found.cloned().ok_or_else(|| Error::internal("column was not read"))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(one.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::internal("join columns").caused_by(error))
}

/// Runs `work` where it may take a while. A decoder that panics does so because of the bytes it
/// was given.
async fn blocking<T: Send + 'static>(
    run: &FileRun,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(Error::new(ErrorKind::Corrupt, "decode data file").with("path", &run.file.path))
        }
        Err(error) => Err(Error::unavailable("the process is stopping").caused_by(error)),
    }
}
