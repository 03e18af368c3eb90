//! `mountable load`: files into a table, in one commit.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::cli::args::{Load, Mode};
use crate::cli::console::{Console, Form};
use crate::cli::newer::Upsert;
use crate::cli::{Exit, Session, address, tables};
use crate::config::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{At, TableId};
use crate::ingest::{self, Input};
use crate::lake::{
    ChangeSet, CommitOutcome, Edit, Lake, NewRows, OnExistingKey, SchemaChange, Snapshot,
    TableConfig,
};

/// Batches that wait between the reading and the writing side.
const BATCHES_WAITING: usize = 2;
/// Pieces of text that are read and written at the same time, which bounds the memory.
const PIECES_AT_ONCE_MAX: usize = 4;

pub(super) type Inputs = Vec<(Input, SchemaRef)>;

/// Loads files into a table.
pub(super) async fn load(session: &Session, load: &Load, console: &mut Console) -> Result<Exit> {
    let table = address::table(&load.table)?;
    let lake = session.lake().await?;
    let bar = console.bytes_bar(work(&load.files), "reading");
    let inputs = open(session, load, &bar).await?;
    for (input, schema) in &inputs {
        let columns = schema.fields().len();
        tracing::debug!(file = input.name(), format = input.format().name(), columns, "to load");
    }
    let schema = ingest::unify(&inputs);
    let snapshot = existing(&lake, session, &table).await?;
    let plan = plan(load, snapshot.as_deref(), &schema)?;
    let created = snapshot.is_none();
    let base = match snapshot {
        Some(snapshot) => snapshot,
        None => create(&lake, session, &table, &plan).await?,
    };
    let committed = async {
        if let Some(column) = &load.newer_than {
            let (lake, table, message) = (&lake, &table, load.message.as_str());
            let upsert = Upsert { lake, session, table, plan, column, message };
            let outcome = upsert.commit(base, inputs, console).await?;
            return refuse_conflict(table, outcome);
        }
        let rows = write(&lake, session, &table, &plan, inputs).await?;
        let change = change(load.mode, base, plan, rows);
        let operation = load.mode.operation();
        let who = session.who();
        let outcome = lake.commit(&who, &table, change, operation, &load.message).await?;
        refuse_conflict(&table, outcome)
    };
    let outcome = committed.await;
    bar.finish_and_clear();
    match outcome {
        Ok(outcome) => report(&table, &outcome, console),
        Err(error) => {
            // All or nothing: a table that was made for these rows goes with them, unless they
            // may have arrived after all.
            if created && error.kind() != ErrorKind::Unknown {
                let undone = lake.drop_table(&session.who(), &table).await;
                if let Err(error) = undone {
                    tracing::warn!(%error, %table, "an empty table stays behind");
                }
            }
            Err(error)
        }
    }
}

/// Bytes that reading the files will report, more or less: text is read twice.
fn work(files: &[std::path::PathBuf]) -> u64 {
    let bytes = |path: &std::path::PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    files.iter().map(bytes).sum::<u64>().saturating_mul(2)
}

/// Opens the files and finds their columns, on a thread that may block.
async fn open(session: &Session, load: &Load, bar: &ProgressBar) -> Result<Inputs> {
    let bar = bar.clone();
    let options = ingest::Options {
        spool: session.settings.state.join("load"),
        record_bytes_max: session.settings.limits.record_text_bytes_max,
        columns_max: session.settings.limits.columns_max,
        clock: Arc::clone(&session.clock),
        progress: Arc::new(move |bytes| bar.inc(bytes)),
    };
    let files = load.files.clone();
    blocking(move || {
        let open = |path: &std::path::PathBuf| -> Result<(Input, SchemaRef)> {
            let input = Input::open(Path::new(path), &options)?;
            let schema = input.schema()?;
            Ok((input, schema))
        };
        files.iter().map(open).collect()
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("reading thread ended").caused_by(error))?
}

async fn existing(
    lake: &Lake,
    session: &Session,
    table: &TableId,
) -> Result<Option<Arc<Snapshot>>> {
    match lake.snapshot(&session.who(), table, At::Latest).await {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the load makes of the table.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Columns after the load.
    pub(super) schema: SchemaRef,
    /// Whether they differ from the table's.
    pub(super) schema_changes: bool,
    /// Configuration after the load.
    pub(super) config: TableConfig,
    /// Whether it differs from the table's.
    pub(super) config_changes: bool,
}

fn plan(load: &Load, snapshot: Option<&Snapshot>, found: &SchemaRef) -> Result<Plan> {
    let schema = match snapshot {
        None => found.clone(),
        Some(snapshot) if load.mode == Mode::Replace && snapshot.schema.fields().is_empty() => {
            found.clone()
        }
        Some(snapshot) => extended(&snapshot.schema, found, load)?,
    };
    let old = snapshot.map(|snapshot| snapshot.config.clone()).unwrap_or_default();
    let keys = tables::keys(&load.keys, &schema)?;
    let mut config = old.clone();
    if !keys.is_empty() {
        config.keys = keys;
    }
    if load.mode == Mode::Upsert && config.keys.is_empty() {
        return Err(Error::invalid(
            "--mode upsert needs to know the key: the table has no key columns yet, name them \
             with --keys",
        ));
    }
    if snapshot.is_some_and(|snapshot| snapshot.rows() > 0)
        && !old.keys.is_empty()
        && config.keys != old.keys
    {
        return Err(Error::new(ErrorKind::Conflict, "the table has other key columns")
            .with("keys", old.keys.join(",")));
    }
    let missing = config.keys.iter().find(|key| found.column_with_name(key).is_none());
    if let Some(key) = missing {
        return Err(Error::invalid(format!("key column `{key}` is in none of the files")));
    }
    let schema_changes = snapshot.is_some_and(|snapshot| snapshot.schema != schema);
    let config_changes = snapshot.is_some() && config != old;
    Ok(Plan { schema, schema_changes, config, config_changes })
}

/// The table's columns, and behind them the new ones if that is wanted.
fn extended(table: &SchemaRef, found: &SchemaRef, load: &Load) -> Result<SchemaRef> {
    let is_new =
        |field: &&arrow::datatypes::FieldRef| table.column_with_name(field.name()).is_none();
    let new: Vec<_> = found.fields().iter().filter(is_new).cloned().collect();
    if let Some(first) = new.first().filter(|_| !load.add_columns) {
        let names = table.fields().iter().map(|field| field.name().as_str());
        let error = Error::invalid(format!(
            "the table has no column `{}`; add it with --add-columns or take it out of the file",
            first.name()
        ));
        return Err(match nearest(first.name(), names) {
            Some(near) => error.with("did you mean", near),
            None => error,
        });
    }
    if new.is_empty() {
        return Ok(table.clone());
    }
    let fields: Vec<_> = table.fields().iter().cloned().chain(new).collect();
    Ok(Arc::new(Schema::new(fields)))
}

async fn create(
    lake: &Lake,
    session: &Session,
    table: &TableId,
    plan: &Plan,
) -> Result<Arc<Snapshot>> {
    tables::ensure_super(lake, session, &table.super_id()).await?;
    let schema = plan.schema.clone();
    lake.create_table(&session.who(), table, schema, plan.config.clone()).await
}

/// Reads and writes several pieces of the files at a time; their rows stay in order.
async fn write(
    lake: &Lake,
    session: &Session,
    table: &TableId,
    plan: &Plan,
    inputs: Inputs,
) -> Result<NewRows> {
    let mut pieces = Vec::new();
    for (input, _) in inputs {
        pieces.extend(input.pieces()?);
    }
    let at_once = std::thread::available_parallelism().map_or(1, |count| count.get());
    let written = stream::iter(pieces)
        .map(|input| write_piece(lake, session, table, plan, input))
        .buffered(at_once.min(PIECES_AT_ONCE_MAX));
    written.try_fold(NewRows::none(), async |all, piece| Ok(all.followed_by(piece))).await
}

/// Reads a piece on a blocking thread and writes the rows as they come.
async fn write_piece(
    lake: &Lake,
    session: &Session,
    table: &TableId,
    plan: &Plan,
    input: Input,
) -> Result<NewRows> {
    let mut writer = lake.writer(&session.who(), table, &plan.schema, &plan.config.keys).await?;
    let (sender, mut receiver) = mpsc::channel::<RecordBatch>(BATCHES_WAITING);
    let target = plan.schema.clone();
    let reading = tokio::task::spawn_blocking(move || {
        input.read(&target, &mut |batch| {
            // The receiver only goes away when writing failed, and that is the error to show.
            sender.blocking_send(batch).map_err(|_| Error::internal("writing stopped"))
        })
    });
    let mut failed = None;
    while let Some(batch) = receiver.recv().await {
        if let Err(error) = writer.write(batch).await {
            failed = Some(error);
            break;
        }
    }
    drop(receiver);
    let read =
        reading.await.map_err(|error| Error::internal("reading thread ended").caused_by(error))?;
    if let Some(error) = failed {
        return Err(error);
    }
    read?;
    writer.finish().await
}

/// The change that a load is.
pub(super) fn change(mode: Mode, base: Arc<Snapshot>, plan: Plan, rows: NewRows) -> ChangeSet {
    let edit = match mode {
        Mode::Append | Mode::Upsert => Edit { at: Edit::END, remove: 0, insert: rows.rows },
        Mode::Replace => Edit { at: 0, remove: base.rows(), insert: rows.rows },
    };
    ChangeSet {
        base,
        edits: if edit.remove == 0 && edit.insert == 0 { Vec::new() } else { vec![edit] },
        rows,
        schema: plan.schema_changes.then_some(SchemaChange { columns: plan.schema }),
        config: plan.config_changes.then_some(plan.config),
        on_existing_key: match mode {
            Mode::Upsert => OnExistingKey::Replace,
            Mode::Append | Mode::Replace => OnExistingKey::Refuse,
        },
    }
}

fn report(table: &TableId, outcome: &CommitOutcome, console: &mut Console) -> Result<Exit> {
    match outcome {
        CommitOutcome::Committed { snapshot, inserted, updated, deleted } => {
            if console.form == Form::Json {
                console.json(&serde_json::json!({
                    "table": table.to_string(), "version": snapshot.version,
                    "rows": snapshot.rows(), "inserted": inserted, "updated": updated,
                    "deleted": deleted,
                }))?;
            }
            let columns: Vec<String> = snapshot
                .schema
                .fields()
                .iter()
                .map(|field| {
                    format!("{}:{}", field.name(), crate::csv::type_name(field.data_type()))
                })
                .collect();
            console.note(&format!(
                "{table} is at version {}: {inserted} rows added, {updated} changed, {deleted} \
                 removed; {} rows in all\n  columns {}",
                snapshot.version,
                snapshot.rows(),
                columns.join(",")
            ));
            Ok(Exit::Ok)
        }
        CommitOutcome::Unchanged { snapshot } => {
            console.note(&format!("{table} stays at version {}: nothing to do", snapshot.version));
            Ok(Exit::Ok)
        }
        // `refuse_conflict` turned it into an error before.
        CommitOutcome::Conflict { .. } => Ok(Exit::Conflict),
    }
}

/// Turns a conflict into the error that explains it.
fn refuse_conflict(table: &TableId, outcome: CommitOutcome) -> Result<CommitOutcome> {
    let CommitOutcome::Conflict { current, rows } = &outcome else { return Ok(outcome) };
    let mut error = Error::new(
        ErrorKind::Conflict,
        "nothing was loaded: rows with the same key exist, occur twice in the files, or were \
         changed by somebody else meanwhile; --mode upsert replaces rows by key",
    )
    .with("table", table)
    .with("version", current.version);
    if let Some(row) = rows.iter().find_map(|row| row.new_row) {
        error = error.with("first row of the files concerned", row + 1);
    }
    Err(error)
}
