//! SQL on DataFusion: one SELECT or EXPLAIN in a session of its own that knows nothing but the
//! tables it was given - no files, no network, no settings that a statement could change.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::catalog::{
    CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider,
    TableProvider,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, Volatility, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionContext, ident};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::FutureExt;
use futures::future::Either;

use super::{Answer, Input, Means, QUERY_BYTES_MAX, TableName, TableRows};
use crate::error::{Error, ErrorKind, Result};
use provider::LakeTable;

mod answer;
mod depth;
mod predicate;
mod provider;
mod prune;
mod refusal;
mod scan;
mod session;
mod union;

use refusal::refused;

/// What a statement may be.
const ONLY_SELECT: &str = "only SELECT and EXPLAIN SELECT are possible here";

/// The text of a query, parsed.
#[derive(Debug)]
pub struct QueryText {
    statement: Statement,
    state: SessionState,
}

impl QueryText {
    /// Parses one statement.
    ///
    /// # Errors
    /// `Invalid` if it cannot be parsed, is too long, or is anything but SELECT and EXPLAIN.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the text of the query is too long")
                .with("bytes_max", QUERY_BYTES_MAX));
        }
        depth::check(text)?;
        let state = session::for_parsing();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(text, &dialect).map_err(refused)?;
        if !is_select(&statement) {
            return Err(Error::invalid(ONLY_SELECT));
        }
        Ok(Self { statement, state })
    }

    /// The tables that it names, each once.
    ///
    /// # Errors
    /// `Invalid` if a name cannot be one.
    pub fn tables(&self) -> Result<Vec<TableName>> {
        let references = self.state.resolve_table_references(&self.statement).map_err(refused)?;
        let mut names: Vec<TableName> = Vec::new();
        for reference in references {
            let parts = match reference {
                TableReference::Bare { table } => vec![table.to_string()],
                TableReference::Partial { schema, table } => {
                    vec![schema.to_string(), table.to_string()]
                }
                TableReference::Full { catalog, schema, table } => {
                    vec![catalog.to_string(), schema.to_string(), table.to_string()]
                }
            };
            let name = TableName { parts };
            let is_function = name.parts.len() == 1
                && name.parts.iter().all(|part| self.state.table_functions().contains_key(part));
            if !is_function && !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn is_select(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(inner) => match inner.as_ref() {
            SqlStatement::Query(_) => true,
            SqlStatement::Explain { statement, .. } => {
                matches!(statement.as_ref(), SqlStatement::Query(_))
            }
            _ => false,
        },
        Statement::Explain(explain) => is_select(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

/// Answers a query over these tables.
///
/// # Errors
/// `Invalid` if it does not fit the tables or cannot be computed, `Unsupported` for SQL that the
/// engine does not have, `TooLarge` beyond the limits, `Busy` beyond the time; those of reading.
/// The rows themselves fail in the same ways.
pub async fn run(
    query: QueryText,
    inputs: Vec<(TableName, Input)>,
    means: Means,
) -> Result<Answer> {
    let context = session::for_running(&means.settings)?;
    register(&context, inputs, &means)?;
    let QueryText { statement, .. } = query;
    let explains = matches!(statement, Statement::Explain(_));
    planned(context, &means, async move |context| {
        let plan = context.state().statement_to_plan(statement).await?;
        let forbidden = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        forbidden.verify_plan(&plan)?;
        Ok(plan)
    })
    .await
    .map(|answer| Answer { repeatable: answer.repeatable && !explains, ..answer })
}

/// The rows of a table whose `column` equals the one value of `value`; those where it is NULL, if
/// the value is.
///
/// # Errors
/// As [`run`].
pub async fn select_equal(
    rows: TableRows,
    column: &str,
    value: ArrayRef,
    means: Means,
) -> Result<Answer> {
    let context = session::for_running(&means.settings)?;
    let table: Arc<dyn TableProvider> = Arc::new(LakeTable::new(rows, means.reader.clone()));
    let column = ident(column);
    planned(context, &means, async move |_| {
        let value = ScalarValue::try_from_array(&value, 0)?;
        let wanted = if value.is_null() { column.is_null() } else { column.eq(lit(value)) };
        let source = datafusion::datasource::provider_as_source(table);
        LogicalPlanBuilder::scan("rows", source, None)?.filter(wanted)?.build()
    })
    .await
}

/// Plans within the time, on a stack that deep expressions fit on, and starts.
async fn planned<F>(
    context: SessionContext,
    means: &Means,
    plan: impl FnOnce(SessionContext) -> F + Send + 'static,
) -> Result<Answer>
where
    F: Future<Output = Result<LogicalPlan, DataFusionError>> + Send + 'static,
{
    let mut deadline = means.clock.pace(means.settings.time_max).fuse();
    let work = depth::on_a_large_stack(async move {
        let plan = plan(context.clone()).await.map_err(refused)?;
        let repeatable = is_repeatable(&plan)?;
        let mut state = context.state();
        if keeps_order(&plan) {
            // One scan whose rows come in the order of the file; it filters on all cores itself.
            let optimizer = &mut state.config_mut().options_mut().optimizer;
            optimizer.enable_round_robin_repartition = false;
        }
        let plan = state.create_physical_plan(&plan).await.map_err(refused)?;
        let rows = execute_stream(plan, state.task_ctx()).map_err(refused)?;
        Ok((rows, repeatable))
    });
    match futures::future::select(Box::pin(work), &mut deadline).await {
        Either::Left((started, _)) => {
            let (rows, repeatable) = started?;
            answer::bounded(rows, &means.settings, deadline, repeatable)
        }
        Either::Right(((), _)) => Err(answer::too_slow(&means.settings)),
    }
}

/// Makes the tables known under the names that the query has for them.
fn register(
    context: &SessionContext,
    inputs: Vec<(TableName, Input)>,
    means: &Means,
) -> Result<()> {
    let mut schemas: HashMap<(String, String), Arc<MemorySchemaProvider>> = HashMap::new();
    for (name, input) in inputs {
        let provider = provided(input, means)?;
        let [catalog, schema, table] = session::resolved(&name.parts);
        let place = schemas.entry((catalog, schema)).or_default();
        place.register_table(table, provider).map_err(refused)?;
    }
    for ((catalog, schema), provider) in schemas {
        let known = match context.catalog(&catalog) {
            Some(known) => known,
            None => {
                let new: Arc<dyn CatalogProvider> = Arc::new(MemoryCatalogProvider::new());
                context.register_catalog(&catalog, Arc::clone(&new));
                new
            }
        };
        known.register_schema(&schema, provider).map_err(refused)?;
    }
    Ok(())
}

fn provided(input: Input, means: &Means) -> Result<Arc<dyn TableProvider>> {
    Ok(match input {
        Input::Table(rows) => Arc::new(LakeTable::new(rows, means.reader.clone())),
        Input::Union(tables) => union::of(tables, &means.reader)?,
        Input::Rows(batch) => {
            Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(refused)?)
        }
    })
}

/// Whether a plan is one scan and steps that leave the order of its rows as it is.
fn keeps_order(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Limit(_) => plan.inputs().into_iter().all(keeps_order),
        _ => false,
    }
}

/// Whether no function in a plan depends on time or chance.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut repeatable = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            use datafusion::common::tree_node::TreeNode;
            expression.apply(|part| {
                if let datafusion::logical_expr::Expr::ScalarFunction(function) = part {
                    let volatility = function.func.signature().volatility;
                    repeatable &= volatility == Volatility::Immutable;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(refused)?;
    Ok(repeatable)
}
