//! A version of a table as the engine sees it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::predicate::{Predicate, is_decided_by_scan};
use super::prune::{self, Chosen};
use super::refusal::outward;
use super::scan::{LakeScan, Source};
use crate::sql::TableRows;
use crate::table::scan::FileReader;

/// A version of a table.
#[derive(Debug)]
pub(super) struct LakeTable {
    source: Arc<Source>,
    rows: TableRows,
}

impl LakeTable {
    /// A table in its own columns.
    pub(super) fn new(rows: TableRows, reader: FileReader) -> Self {
        let shown = Arc::clone(&rows.snapshot.schema);
        Self::within(rows, shown, reader)
    }

    /// A table in columns at least as wide as its own; those that it does not have are NULL.
    pub(super) fn within(rows: TableRows, shown: SchemaRef, reader: FileReader) -> Self {
        let snapshot = Arc::clone(&rows.snapshot);
        Self { source: Arc::new(Source { snapshot, shown, reader }), rows }
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.source.shown)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let support = |filter: &&Expr| match is_decided_by_scan(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let shown = &self.source.shown;
        let projected = match projection {
            Some(columns) => Arc::new(shown.project(columns)?),
            None => Arc::clone(shown),
        };
        let predicate = Predicate::of(state, filters, shown)?;
        let chosen = match &predicate {
            None => Chosen::all(&self.rows, limit),
            Some(predicate) => {
                prune::choose(&self.source, &self.rows, predicate).await.map_err(outward)?
            }
        };
        let source = Arc::clone(&self.source);
        Ok(Arc::new(LakeScan::new(source, chosen, projected, predicate, limit)))
    }
}
