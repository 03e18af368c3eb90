//! Conditions that a scan decides by itself.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::PhysicalExpr;

use super::refusal::refused;
use crate::error::{Error, Result};

/// Conditions that all have to hold, over the columns that they name.
#[derive(Debug)]
pub(super) struct Predicate {
    pub(super) expression: Arc<dyn PhysicalExpr>,
    pub(super) columns: SchemaRef,
    /// As it is shown in plans.
    pub(super) text: String,
}

impl Predicate {
    /// The conditions `filters` on rows of `schema`; `None` if there are none.
    pub(super) fn of(
        state: &dyn Session,
        filters: &[Expr],
        schema: &SchemaRef,
    ) -> Result<Option<Self>, DataFusionError> {
        let Some(all) = conjunction(filters.to_vec()) else { return Ok(None) };
        let named = all.column_refs();
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .filter(|field| named.iter().any(|column| column.name() == field.name()))
            .cloned()
            .collect();
        let columns: SchemaRef = Arc::new(Schema::new(fields));
        let typed = DFSchema::try_from(columns.as_ref().clone())?;
        let text = all.to_string();
        let expression = state.create_physical_expr(all, &typed)?;
        Ok(Some(Self { expression, columns, text }))
    }

    /// Which rows of a batch in its columns are meant.
    ///
    /// # Errors
    /// `Invalid` if a value cannot be computed.
    pub(super) fn matches(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let value = self.expression.evaluate(batch).map_err(refused)?;
        let value = value.into_array(batch.num_rows()).map_err(refused)?;
        let mask = value
            .as_boolean_opt()
            .ok_or_else(|| Error::internal("condition that is neither true nor false"))?;
        Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
    }
}

/// Whether a scan can decide a condition on its own rows alone.
pub(super) fn is_decided_by_scan(filter: &Expr) -> bool {
    let mut own = true;
    let walked = filter.apply(|part| {
        let foreign = matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
        );
        own &= !foreign;
        Ok(if own { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    own && walked.is_ok()
}
