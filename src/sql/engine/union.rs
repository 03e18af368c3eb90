//! A SuperTable as one table: its tables, one below the other.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::prelude::ident;

use super::provider::LakeTable;
use super::refusal::refused;
use crate::error::{Error, Result};
use crate::sql::TableRows;
use crate::table::scan::FileReader;
use crate::table::widen;

/// The column with the name of the table.
const TABLE: &str = "_table";

/// The union of tables: columns by name in the order in which they are met, each as wide as the
/// values of all tables need it; what a table does not have is NULL there.
///
/// # Errors
/// `Invalid` if there are no tables, or one has a column `_table`.
pub(super) fn of(tables: Vec<TableRows>, reader: &FileReader) -> Result<Arc<dyn TableProvider>> {
    let mut schema: SchemaRef = Arc::new(Schema::empty());
    for table in &tables {
        schema = widen::union(&schema, &table.snapshot.schema);
    }
    if schema.field_with_name(TABLE).is_ok() {
        return Err(Error::invalid("a table of this SuperTable has a column `_table` itself"));
    }
    let mut whole: Option<LogicalPlanBuilder> = None;
    for table in tables {
        let name = table.snapshot.table.simple_name.to_string();
        let provider = LakeTable::within(table, Arc::clone(&schema), reader.clone());
        let columns: Vec<Expr> = std::iter::once(lit(name.clone()).alias(TABLE))
            .chain(schema.fields().iter().map(|field| ident(field.name())))
            .collect();
        let part = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(provider)), None)
            .and_then(|scan| scan.project(columns))
            .map_err(refused)?;
        whole = Some(match whole {
            None => part,
            Some(before) => before.union(part.build().map_err(refused)?).map_err(refused)?,
        });
    }
    let whole = whole.ok_or_else(|| Error::invalid("the SuperTable has no tables"))?;
    Ok(Arc::new(ViewTable::new(whole.build().map_err(refused)?, None)))
}
