//! placeholder: an in-memory lake with the signatures of the door, one per lake name and process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::access::Principal as Who;
use crate::clock::{SharedClock, now_ms};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};

pub use crate::access::Principal;
use crate::ident::{At, OrgName, SuperId, SuperName, TableId};
pub use crate::table::changeset::{ChangeSet, CommitOutcome, Edit, OnExistingKey, SchemaChange};
pub use crate::table::snapshot::{DataFile, Deletes, LayoutRef, Lineage, Snapshot, TableConfig};
pub use crate::table::write::NewRows;

type Versions = Vec<(Arc<Snapshot>, Vec<RecordBatch>)>;

#[derive(Default)]
struct State {
    made: bool,
    organizations: Vec<OrgName>,
    supers: Vec<SuperId>,
    tables: BTreeMap<TableId, Versions>,
    written: Vec<RecordBatch>,
}

/// The lake.
#[derive(Clone)]
pub struct Lake {
    state: Arc<Mutex<State>>,
    clock: SharedClock,
}

/// A refused write.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// Time.
    pub time: String,
    /// Attempt.
    pub attempt: String,
    /// Client.
    pub client: String,
    /// User.
    pub user: String,
    /// File.
    pub file: String,
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u32,
    /// Name of the column.
    pub column_name: String,
    /// Value.
    pub value: String,
    /// Code.
    pub code: String,
    /// Errno.
    pub errno: String,
    /// Reason.
    pub reason: String,
    /// Remedy.
    pub remedy: String,
    /// Where the text was kept.
    pub kept: String,
}

/// A snapshot's text.
#[derive(Debug)]
pub struct CsvView(Bytes);

impl CsvView {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }
    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Reads.
    #[allow(clippy::missing_errors_doc, clippy::unused_async)]
    pub async fn read_at(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(self.0.len());
        Ok(vec![self.0.slice(at(range.start)..at(range.end))])
    }
}

fn printable(batch: &RecordBatch) -> Result<RecordBatch> {
    use arrow::datatypes::DataType;
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let column = match column.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
                arrow::compute::cast(column, &utc).unwrap_or_else(|_| column.clone())
            }
            _ => column.clone(),
        };
        (field.name().clone(), column)
    });
    RecordBatch::try_from_iter(columns.collect::<Vec<_>>())
        .map_err(|e| Error::internal("render").caused_by(e))
}

/// Writes rows.
#[derive(Debug)]
pub struct RowWriter {
    lake: Lake,
    rows: u64,
    batches: Vec<RecordBatch>,
}

#[allow(clippy::missing_errors_doc, clippy::unused_async)]
impl RowWriter {
    /// Writes.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.batches.push(batch);
        Ok(())
    }
    /// Finishes.
    pub async fn finish(self) -> Result<NewRows> {
        self.lake.lock().written = self.batches;
        let mut rows = NewRows::default();
        rows.rows = self.rows;
        Ok(rows)
    }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lake")
    }
}

#[allow(clippy::missing_errors_doc, clippy::unused_async)]
impl Lake {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn named(settings: &Settings, clock: SharedClock) -> Self {
        static LAKES: OnceLock<Mutex<BTreeMap<String, Arc<Mutex<State>>>>> = OnceLock::new();
        let lakes = LAKES.get_or_init(Mutex::default);
        let mut lakes = lakes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self { state: lakes.entry(settings.lake.clone()).or_default().clone(), clock }
    }
    /// Opens.
    pub async fn open(settings: &Settings, clock: SharedClock) -> Result<Self> {
        let lake = Self::named(settings, clock);
        if !lake.lock().made {
            return Err(Error::not_found("no lake there").with("lake", &settings.lake));
        }
        Ok(lake)
    }
    /// Makes.
    pub async fn init(settings: &Settings, clock: SharedClock) -> Result<Self> {
        let lake = Self::named(settings, clock);
        lake.lock().made = true;
        Ok(lake)
    }
    /// Organizations.
    pub async fn organizations(&self) -> Result<Vec<OrgName>> {
        Ok(self.lock().organizations.clone())
    }
    /// SuperTables.
    pub async fn supers(&self, org: &OrgName) -> Result<Vec<SuperName>> {
        let state = self.lock();
        let mine = state.supers.iter().filter(|id| id.organization == *org);
        Ok(mine.map(|id| id.super_name.clone()).collect())
    }
    /// Tables.
    pub async fn tables(&self, id: &SuperId) -> Result<Vec<Arc<Snapshot>>> {
        let state = self.lock();
        let mine = state.tables.iter().filter(|(table, _)| table.super_id() == *id);
        Ok(mine.filter_map(|(_, v)| v.last().map(|v| v.0.clone())).collect())
    }
    /// Creates.
    pub async fn create_organization(&self, _: &Who, org: &OrgName) -> Result<()> {
        let mut state = self.lock();
        if !state.organizations.contains(org) {
            state.organizations.push(org.clone());
        }
        Ok(())
    }
    /// Creates.
    pub async fn create_super(&self, who: &Who, id: &SuperId) -> Result<()> {
        self.create_organization(who, &id.organization).await?;
        let mut state = self.lock();
        if state.supers.contains(id) {
            return Err(Error::new(ErrorKind::AlreadyExists, "SuperTable exists"));
        }
        state.supers.push(id.clone());
        Ok(())
    }
    /// Drops.
    pub async fn drop_super(&self, _: &Who, id: &SuperId) -> Result<()> {
        self.lock().supers.retain(|other| other != id);
        Ok(())
    }
    /// Creates.
    pub async fn create_table(
        &self,
        _: &Who,
        id: &TableId,
        schema: SchemaRef,
        config: TableConfig,
    ) -> Result<Arc<Snapshot>> {
        let snapshot = Arc::new(Snapshot {
            table: id.clone(),
            version: 0,
            path: String::new(),
            committed_ms: now_ms(&*self.clock),
            schema,
            files: Arc::new([]),
            deletes: Deletes::None,
            previous: None,
            row_id_high_watermark: 0,
            layout: LayoutRef::Missing,
            lineage: Lineage { operation: "create".to_owned(), ..Lineage::default() },
            config,
            document: Arc::default(),
        });
        let mut state = self.lock();
        if state.tables.contains_key(id) {
            return Err(Error::new(ErrorKind::AlreadyExists, "table exists"));
        }
        state.tables.insert(id.clone(), vec![(snapshot.clone(), Vec::new())]);
        Ok(snapshot)
    }
    fn version(&self, id: &TableId, at: At) -> Result<(Arc<Snapshot>, Vec<RecordBatch>)> {
        let state = self.lock();
        let versions = state
            .tables
            .get(id)
            .ok_or_else(|| Error::not_found("no such table").with("table", id))?;
        let mut fitting = versions.iter().filter(|(snapshot, _)| match at {
            At::Latest => true,
            At::Version(version) => snapshot.version == version,
            At::Time(ms) => snapshot.committed_ms <= ms,
        });
        fitting.next_back().cloned().ok_or_else(|| Error::not_found("no such version"))
    }
    /// A snapshot.
    pub async fn snapshot(&self, _: &Who, id: &TableId, at: At) -> Result<Arc<Snapshot>> {
        self.version(id, at).map(|version| version.0)
    }
    /// History.
    pub async fn history(&self, _: &Who, id: &TableId, n: usize) -> Result<Vec<Arc<Snapshot>>> {
        self.version(id, At::Latest)?;
        let state = self.lock();
        let all = state.tables.get(id).into_iter().flatten();
        Ok(all.rev().take(n).map(|version| version.0.clone()).collect())
    }
    /// The text.
    pub async fn view(&self, _: &Who, id: &TableId, at: At) -> Result<Arc<CsvView>> {
        let (snapshot, batches) = self.version(id, at)?;
        let mut out = Vec::new();
        let mut writer = arrow::csv::WriterBuilder::new().build(&mut out);
        let empty = RecordBatch::new_empty(snapshot.schema.clone());
        for batch in std::iter::once(&empty).chain(&batches) {
            writer.write(&printable(batch)?).map_err(|e| Error::internal("render").caused_by(e))?;
        }
        drop(writer);
        Ok(Arc::new(CsvView(out.into())))
    }
    /// A writer.
    pub async fn writer(
        &self,
        _: &Who,
        _: &TableId,
        _: &SchemaRef,
        _: &[String],
    ) -> Result<RowWriter> {
        Ok(RowWriter { lake: self.clone(), rows: 0, batches: Vec::new() })
    }
    /// Commits.
    pub async fn commit(
        &self,
        _: &Who,
        id: &TableId,
        change: ChangeSet,
        operation: &str,
        message: &str,
    ) -> Result<CommitOutcome> {
        let (old, mut batches) = self.version(id, At::Latest)?;
        let mut state = self.lock();
        if change.edits.iter().any(|edit| edit.remove > 0) {
            batches.clear();
        }
        let inserted = change.rows.rows;
        batches.append(&mut state.written);
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let file = DataFile { path: "x".into(), bytes: 0, rows, columns: 0 };
        let mut new = (*old).clone();
        new.version += 1;
        new.files = Arc::new([file]);
        new.schema = change.schema.map_or(new.schema, |schema| schema.columns);
        new.config = change.config.unwrap_or(new.config);
        new.lineage.operation = operation.to_owned();
        new.lineage.message = message.to_owned();
        let snapshot = Arc::new(new);
        if let Some(versions) = state.tables.get_mut(id) {
            versions.push((snapshot.clone(), batches));
        }
        Ok(CommitOutcome::Committed { snapshot, inserted, updated: 0, deleted: 0 })
    }
    /// Drops.
    pub async fn drop_table(&self, _: &Who, id: &TableId) -> Result<()> {
        self.version(id, At::Latest)?;
        self.lock().tables.remove(id);
        Ok(())
    }
    /// Restores.
    pub async fn restore_table(&self, _: &Who, _: &SuperId, _: &str) -> Result<Arc<Snapshot>> {
        Err(Error::unsupported("placeholder"))
    }
    /// Renames.
    pub async fn rename_table(
        &self,
        _: &Who,
        from: &TableId,
        to: &TableId,
    ) -> Result<Arc<Snapshot>> {
        self.version(from, At::Latest)?;
        let mut state = self.lock();
        if let Some(versions) = state.tables.remove(from) {
            state.tables.insert(to.clone(), versions);
        }
        drop(state);
        self.version(to, At::Latest).map(|version| version.0)
    }
    /// Refusals.
    pub async fn refusals(&self, id: &TableId, _: usize) -> Result<Vec<Refusal>> {
        self.version(id, At::Latest)?;
        Ok(vec![Refusal {
            time: "2026-11-21T10:00:00Z".to_owned(),
            reason: "not a number".to_owned(),
            remedy: "write digits".to_owned(),
            line: 3,
            ..Refusal::default()
        }])
    }
    /// Trash.
    pub async fn trash(&self, _: &SuperId) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
