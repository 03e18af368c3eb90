//! From a staged text to a commit: what changed against the snapshot that its author had read,
//! parsed, checked and handed to the lake as one change set.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tokio::sync::mpsc;

use super::chunks::Lines;
use super::conflicts::Sides;
use super::plan::{Plan, PlanError, Planned, check, infer, plan, record_end, rejection};
use super::text::{BlockingText, Frozen, SameBase};
use crate::csv;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{
    At, ChangeSet, CommitOutcome, CsvView, Lake, OnExistingKey, Principal, RowWriter, SchemaChange,
    Snapshot, TableConfig, TableId,
};

/// A staged text on its way to a commit.
pub(super) struct Save<'a> {
    /// The lake.
    pub(super) lake: &'a Lake,
    /// Who saves.
    pub(super) who: &'a Principal,
    /// The table.
    pub(super) table: &'a TableId,
    /// What the author had read; `None` = a new table.
    pub(super) base: Option<Arc<CsvView>>,
    /// The text.
    pub(super) text: Frozen,
    /// Whether the text's unwritten parts are `base`'s bytes.
    pub(super) same_base: SameBase,
    /// Id of the commit.
    pub(super) write_id: String,
    /// Only the rows from this offset on are new, whatever stands before it.
    pub(super) added_from: Option<u64>,
}

/// A save that was accepted.
#[derive(Debug)]
pub(super) struct Saved {
    /// The snapshot that holds it.
    pub(super) snapshot: Arc<Snapshot>,
    /// Whether the snapshot's CSV text is exactly the saved text.
    pub(super) same_text: bool,
    /// Whether the author's text still means the snapshot's rows (it does not when another
    /// writer's commit was merged in).
    pub(super) same_rows: bool,
}

/// Why a save was not accepted.
#[derive(Debug)]
pub(super) enum SaveError {
    /// The text is at fault; the table is as before.
    Refused(ErrorKind, Vec<csv::Rejection>),
    /// Something else is.
    Failed(Error),
}

impl From<Error> for SaveError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<PlanError> for SaveError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Rejected(list) => Self::Refused(ErrorKind::Invalid, list),
            PlanError::Failed(error) => Self::Failed(error),
        }
    }
}

type SaveResult<T> = std::result::Result<T, SaveError>;

/// The columns that a text's header asks for.
struct Target {
    schema: SchemaRef,
    /// The base under the new columns; `None` = every row is written anew.
    base: Option<Arc<CsvView>>,
    changed: bool,
    config: Option<TableConfig>,
    /// The columns before, if their types are to change and nothing else.
    retyped: Option<SchemaRef>,
}

impl Target {
    /// The columns of the base.
    fn unchanged(base: &Arc<CsvView>) -> Self {
        Self {
            schema: Arc::clone(base.schema()),
            base: Some(Arc::clone(base)),
            changed: false,
            config: None,
            retyped: None,
        }
    }
}

/// Longest header line, in bytes.
const HEADER_BYTES_MAX: u64 = 4 << 20;

impl Save<'_> {
    /// Compares, parses and commits.
    ///
    /// # Errors
    /// `Refused` with line, column and reason; `Failed` with the lake's error.
    pub(super) async fn run(self) -> SaveResult<Saved> {
        let (names, body) = self.header().await?;
        let Some(base) = self.base.clone() else {
            return self.create(&names, body).await;
        };
        let target = match self.added_from {
            Some(_) => Target::unchanged(&base),
            None => self.target(&base, &names, body).await?,
        };
        self.store(&base, target, &names, body).await
    }

    /// Writes the text's rows, all of them, in columns of other types.
    ///
    /// # Errors
    /// As [`Save::run`].
    pub(super) async fn retype(
        self,
        schema: SchemaRef,
        config: Option<TableConfig>,
    ) -> SaveResult<Saved> {
        let Some(base) = self.base.clone() else {
            return Err(Error::internal("a new table has no types to change").into());
        };
        let (names, body) = self.header().await?;
        let retyped = Some(Arc::clone(base.schema()));
        let target = Target { schema, base: None, changed: true, config, retyped };
        self.store(&base, target, &names, body).await
    }

    /// Compares, parses and commits against what the author had read.
    async fn store(
        &self,
        base: &Arc<CsvView>,
        target: Target,
        names: &[String],
        body: u64,
    ) -> SaveResult<Saved> {
        let (planned, rows) = self.collect(&target, names, body).await?;
        if planned.edits.is_empty() && !target.changed {
            return Ok(Saved {
                snapshot: Arc::clone(base.snapshot()),
                same_text: planned.same_text && self.text.len() == base.len(),
                same_rows: true,
            });
        }
        let change = ChangeSet {
            base: Arc::clone(base.snapshot()),
            edits: planned.edits.clone(),
            rows,
            schema: target.changed.then(|| SchemaChange { columns: Arc::clone(&target.schema) }),
            config: target.config,
            on_existing_key: OnExistingKey::Refuse,
        };
        let operation = planned.operation(target.changed);
        let outcome = self.commit(change, operation).await?;
        self.finish(base, &planned, outcome).await
    }

    async fn finish(
        &self,
        base: &CsvView,
        planned: &Planned,
        outcome: CommitOutcome,
    ) -> SaveResult<Saved> {
        match outcome {
            CommitOutcome::Committed { snapshot, .. } | CommitOutcome::Unchanged { snapshot } => {
                let merged = self.holds_others(base.snapshot(), &snapshot).await;
                Ok(Saved { same_text: planned.same_text && !merged, same_rows: !merged, snapshot })
            }
            CommitOutcome::Conflict { rows, current } => {
                let mut rejections = Vec::new();
                let current = self.lake.view_of(&current).await?;
                let sides = Sides { base, current: &current, text: &self.text };
                let mut lines = Lines::default();
                for row in rows.iter().take(csv::REJECTIONS_KEPT) {
                    rejections.push(planned.conflict(row, &sides, &mut lines).await?);
                }
                let kind = planned.conflict_kind(&rows);
                Err(SaveError::Refused(kind, rejections))
            }
        }
    }

    /// Whether a commit on `base` has rows of others in it: made together with it or in between.
    async fn holds_others(&self, base: &Snapshot, snapshot: &Snapshot) -> bool {
        if snapshot.lineage.is_shared() {
            return true;
        }
        if snapshot.version <= base.version.saturating_add(1) {
            return false;
        }
        // Compactions in between have changed nothing that the author had read.
        let before = At::Version(snapshot.version - 1);
        match self.lake.snapshot(self.who, self.table, before).await {
            Ok(before) => before.text_version() != base.text_version(),
            Err(_) => true,
        }
    }

    /// The column names and where the rows begin.
    async fn header(&self) -> SaveResult<(Vec<String>, u64)> {
        let mut wanted = 64 << 10;
        loop {
            let text = self.text.read_all(0..wanted).await?;
            let whole = wanted >= self.text.len();
            let line = record_end(&text).and_then(|end| text.get(..end)).unwrap_or_default();
            if line.ends_with(b"\n") || (whole && !line.is_empty()) {
                let end = line.len();
                let names = csv::parse_header(line).map_err(refuse)?;
                return Ok((names, u64::try_from(end).unwrap_or(u64::MAX)));
            }
            if whole || wanted >= HEADER_BYTES_MAX {
                return Err(refuse(header_lost("the file has no header line")));
            }
            wanted *= 4;
        }
    }

    /// A table that does not exist yet.
    async fn create(self, names: &[String], body: u64) -> SaveResult<Saved> {
        let schema = self.infer(names, body).await?;
        self.check(names, &schema, body).await?;
        let snapshot = self.new_table(&schema).await?;
        let base = self.lake.view_of(&snapshot).await?;
        if self.text.len() == body {
            let same_text = self.same_bytes(base.header()).await?;
            return Ok(Saved { snapshot, same_text, same_rows: true });
        }
        let target = Target::unchanged(&base);
        let (planned, rows) = self.collect(&target, names, body).await?;
        let change = ChangeSet {
            base: snapshot,
            edits: planned.edits.clone(),
            rows,
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let outcome = self.commit(change, "append").await?;
        self.finish(&base, &planned, outcome).await
    }

    async fn commit(&self, change: ChangeSet, operation: &str) -> Result<CommitOutcome> {
        let note = (operation, "");
        self.lake.commit_once(self.who, self.table, change, note, &self.write_id).await
    }

    /// The empty table; also one that this author made a moment ago and could not fill.
    async fn new_table(&self, schema: &SchemaRef) -> Result<Arc<Snapshot>> {
        let config = TableConfig::default();
        let made = self.lake.create_table(self.who, self.table, Arc::clone(schema), config).await;
        let exists = match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
            other => return other,
        };
        match self.lake.snapshot(self.who, self.table, At::Version(0)).await {
            Ok(first)
                if first.schema == *schema
                    && first.rows() == 0
                    && first.lineage.client == self.who.describe() =>
            {
                Ok(first)
            }
            _ => Err(exists),
        }
    }

    async fn same_bytes(&self, header: &[u8]) -> Result<bool> {
        Ok(self.text.len() == u64::try_from(header.len()).unwrap_or(u64::MAX)
            && self.text.read_all(0..self.text.len()).await? == header)
    }

    /// Types of all columns by the text's values.
    async fn infer(&self, names: &[String], body: u64) -> SaveResult<SchemaRef> {
        let mut text = BlockingText::staged(self.text.clone(), SameBase::No);
        let names = names.to_vec();
        let inferred = tokio::task::spawn_blocking(move || infer(&names, &mut text, body))
            .await
            .map_err(|error| Error::internal("infer column types").caused_by(error))?;
        Ok(Arc::new(inferred?))
    }

    /// Parses all rows, so that a table is made only if they can be saved.
    async fn check(&self, names: &[String], schema: &SchemaRef, body: u64) -> SaveResult<()> {
        let mut text = BlockingText::staged(self.text.clone(), SameBase::No);
        let (names, schema) = (names.to_vec(), Arc::clone(schema));
        tokio::task::spawn_blocking(move || check(&names, &schema, &mut text, body))
            .await
            .map_err(|error| Error::internal("check a new table").caused_by(error))?
            .map_err(SaveError::from)
    }

    /// What the header asks for against the base's columns.
    async fn target(&self, base: &Arc<CsvView>, names: &[String], body: u64) -> SaveResult<Target> {
        let schema = base.schema();
        let old: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let untyped = base.rows() == 0
            && schema.fields().iter().any(|field| *field.data_type() == DataType::Null);
        if old == names && !untyped {
            return Ok(Target::unchanged(base));
        }
        if !names.iter().any(|name| old.contains(&name.as_str())) && base.rows() > 0 {
            return Err(refuse(header_lost(
                "the header line is lost: none of its names is a column of this table",
            )));
        }
        let inferred = self.infer(names, body).await?;
        let renamed = renamed_columns(&old, names);
        let fields: Vec<Field> = names
            .iter()
            .zip(inferred.fields())
            .map(|(name, guess)| match column_named(schema, name, &renamed) {
                Some(field) if *field.data_type() != DataType::Null => {
                    field.clone().with_name(name)
                }
                _ => typed(guess),
            })
            .collect();
        let new_schema: SchemaRef = Arc::new(Schema::new(fields));
        let config = renamed_keys(&base.snapshot().config, &renamed);
        let base = if renamed.is_empty() && !untyped {
            let mut evolved = Snapshot::clone(base.snapshot());
            evolved.schema = Arc::clone(&new_schema);
            Some(self.lake.view_of(&Arc::new(evolved)).await?)
        } else {
            None
        };
        Ok(Target { schema: new_schema, base, changed: true, config, retyped: None })
    }

    /// Runs the plan in a blocking thread while its rows are written here.
    async fn collect(
        &self,
        target: &Target,
        names: &[String],
        body: u64,
    ) -> SaveResult<(Planned, crate::lake::NewRows)> {
        let (sender, mut batches) = mpsc::channel::<RecordBatch>(4);
        let rows_before = self.base.as_ref().map_or(0, |base| base.rows());
        let request = Plan {
            base: target.base.clone(),
            rows_before,
            text: BlockingText::staged(
                self.text.clone(),
                if target.changed { SameBase::No } else { self.same_base },
            ),
            body,
            added_from: self.added_from,
            names: names.to_vec(),
            schema: Arc::clone(&target.schema),
            retyped: target.retyped.clone(),
            header_same: self.header_same(target, body).await?,
            sender,
            runtime: tokio::runtime::Handle::current(),
        };
        let planning = tokio::task::spawn_blocking(move || plan(request));
        let mut writer: Option<RowWriter> = None;
        let keys = match &target.config {
            Some(config) => config.keys.clone(),
            None => self.base.as_ref().map_or(Vec::new(), |b| b.snapshot().config.keys.clone()),
        };
        while let Some(batch) = batches.recv().await {
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer
                    .insert(self.lake.writer(self.who, self.table, &target.schema, &keys).await?),
            };
            writer.write(batch).await?;
        }
        let planned = planning
            .await
            .map_err(|error| Error::internal("compare a save").caused_by(error))?
            .map_err(SaveError::from)?;
        let rows = match writer {
            Some(writer) => writer.hold().await?,
            None => crate::lake::NewRows::default(),
        };
        Ok((planned, rows))
    }

    async fn header_same(&self, target: &Target, body: u64) -> Result<bool> {
        let Some(base) = &target.base else { return Ok(false) };
        Ok(self.text.read_all(0..body).await? == base.header()[..])
    }
}

fn header_lost(reason: &str) -> csv::Rejection {
    let code = "MNT-1220";
    let remedy = csv::explain(code).map_or("", |code| code.remedy);
    csv::Rejection { line: 1, ..rejection(code, reason, remedy) }
}

fn refuse(rejection: csv::Rejection) -> SaveError {
    SaveError::Refused(ErrorKind::Invalid, vec![rejection])
}

/// A column without any value becomes text once rows exist.
fn typed(guess: &Field) -> Field {
    match guess.data_type() {
        DataType::Null => guess.clone().with_data_type(DataType::Utf8),
        _ => guess.clone(),
    }
}

/// Pairs (old, new) of columns that keep their place and change their name.
fn renamed_columns(old: &[&str], new: &[String]) -> Vec<(String, String)> {
    if old.len() != new.len() {
        return Vec::new();
    }
    let pairs: Vec<(String, String)> = old
        .iter()
        .zip(new)
        .filter(|(old, new)| *old != new)
        .map(|(old, new)| ((*old).to_owned(), new.clone()))
        .collect();
    // Names that only changed places were reordered, not renamed.
    if pairs.iter().any(|(_, new)| old.contains(&new.as_str())) {
        return Vec::new();
    }
    pairs
}

fn column_named<'a>(
    schema: &'a Schema,
    name: &str,
    renamed: &[(String, String)],
) -> Option<&'a Field> {
    let stored = renamed.iter().find(|(_, new)| new == name).map_or(name, |(old, _)| old);
    schema.field_with_name(stored).ok()
}

fn renamed_keys(config: &TableConfig, renamed: &[(String, String)]) -> Option<TableConfig> {
    let mut changed = config.clone();
    for key in &mut changed.keys {
        if let Some((_, new)) = renamed.iter().find(|(old, _)| old == key) {
            key.clone_from(new);
        }
    }
    (changed != *config).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_new_name_in_the_old_place_is_a_rename() {
        let renamed = renamed_columns(&["id", "qty"], &names(&["id", "quantity"]));
        assert_eq!(renamed, [("qty".to_owned(), "quantity".to_owned())]);
    }

    #[test]
    fn swapped_added_and_dropped_columns_are_not_renames() {
        assert!(renamed_columns(&["id", "qty"], &names(&["qty", "id"])).is_empty());
        assert!(renamed_columns(&["id", "qty"], &names(&["id", "qty", "note"])).is_empty());
        assert!(renamed_columns(&["id", "qty"], &names(&["id"])).is_empty());
    }

    #[test]
    fn keys_follow_a_renamed_column() {
        let config = TableConfig { keys: names(&["id"]), ..TableConfig::default() };
        let renamed = [("id".to_owned(), "number".to_owned())];
        let changed = renamed_keys(&config, &renamed).expect("changed");
        assert_eq!(changed.keys, ["number"]);
        assert!(renamed_keys(&config, &[]).is_none());
    }
}
