//! Queries: names are looked up, roles are checked, and the rows are found before any is read.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use futures::{StreamExt, TryStreamExt};

use super::{
    Lake, OrgName, Principal, Reference, SimpleName, Snapshot, SuperId, SuperName, TableId,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::{self, About, Answer, Input, Means, Named, QueryText, TableName, TableRows};

/// Tables of a SuperTable whose rows are looked for at the same time.
const TABLES_AT_ONCE: usize = 8;

/// Where names of fewer than three parts are looked for first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryScope {
    /// Only in this organization.
    pub organization: Option<OrgName>,
    /// Before all others in this SuperTable.
    pub super_table: Option<SuperId>,
}

/// A query whose tables were found.
#[derive(Debug)]
pub struct Query {
    text: String,
    parsed: QueryText,
    inputs: Vec<(TableName, Input)>,
}

impl Query {
    /// A number that another text, or another version of a table, does not have; never 0.
    pub fn identity(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: &str| {
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            hasher.update(&bytes.to_le_bytes()).update(text.as_bytes());
        };
        add(&self.text);
        for (name, input) in &self.inputs {
            add(&name.to_string());
            match input {
                Input::Table(rows) => add(&rows.snapshot.path),
                Input::Union(tables) => tables.iter().for_each(|rows| add(&rows.snapshot.path)),
                Input::Rows(batch) => add(&format!("{batch:?}")),
            }
        }
        let mut first = [0_u8; 8];
        hasher.finalize_xof().fill(&mut first);
        (u64::from_le_bytes(first) >> 1).max(1)
    }

    /// The youngest of the versions that it reads, in milliseconds since 1970.
    pub fn newest_ms(&self) -> Option<i64> {
        let times = |rows: &TableRows| rows.snapshot.committed_ms;
        let inputs = self.inputs.iter().flat_map(|(_, input)| match input {
            Input::Table(rows) => vec![times(rows)],
            Input::Union(tables) => tables.iter().map(times).collect(),
            Input::Rows(_) => Vec::new(),
        });
        inputs.max()
    }
}

impl Lake {
    /// Answers one SELECT or EXPLAIN.
    ///
    /// # Errors
    /// As [`Lake::prepare_query`] and [`Lake::answer`].
    pub async fn query(&self, who: &Principal, text: &str, scope: &QueryScope) -> Result<Answer> {
        let query = self.prepare_query(who, text, scope).await?;
        self.answer(query).await
    }

    /// Parses a query and finds the versions of its tables.
    ///
    /// # Errors
    /// `Invalid` if it is no SELECT or EXPLAIN or a name is ambiguous, `NotFound` for names that
    /// there are not, `Denied` for tables that the role may not read, `Unavailable`.
    pub async fn prepare_query(
        &self,
        who: &Principal,
        text: &str,
        scope: &QueryScope,
    ) -> Result<Query> {
        let parsed = QueryText::parse(text)?;
        let mut inputs = Vec::new();
        for name in parsed.tables()? {
            let input = self.input(who, &name, scope).await;
            inputs.push((name.clone(), input.map_err(|error| error.with("name", name))?));
        }
        Ok(Query { text: text.to_owned(), parsed, inputs })
    }

    /// Begins to answer a query.
    ///
    /// # Errors
    /// As [`sql::run`].
    pub async fn answer(&self, query: Query) -> Result<Answer> {
        let turn = self.query_turn().await?;
        let answer = sql::run(query.parsed, query.inputs, self.means()).await?;
        Ok(while_held(answer, turn))
    }

    /// The rows of a version whose column has a value, which is written as in a cell of the file;
    /// nothing = NULL.
    ///
    /// # Errors
    /// `NotFound` if there is no such column, `Invalid` if it cannot have the value; those of
    /// [`Lake::answer`].
    pub async fn rows_with(
        &self,
        who: &Principal,
        snapshot: &Arc<Snapshot>,
        column: &str,
        text: &str,
    ) -> Result<Answer> {
        self.allow(who, &snapshot.table, crate::access::Permission::Read).await?;
        let field = snapshot
            .schema
            .field_with_name(column)
            .map_err(|_| Error::not_found("there is no such column").with("column", column))?;
        let value = cell(text, field.data_type())
            .map_err(|reason| Error::invalid(reason).with("column", column))?;
        let rows = self.table_rows(snapshot).await?;
        let turn = self.query_turn().await?;
        let answer = sql::select_equal(rows, column, value, self.means()).await?;
        Ok(while_held(answer, turn))
    }

    fn means(&self) -> Means {
        Means {
            reader: self.0.views.reader().clone(),
            clock: Arc::clone(&self.0.clock),
            settings: self.0.sql.clone(),
        }
    }

    /// Waits until fewer queries run than may.
    async fn query_turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit> {
        let wait = Arc::clone(&self.0.queries).acquire_owned();
        let deadline = self.0.clock.pace(self.0.sql.time_max);
        match futures::future::select(Box::pin(wait), deadline).await {
            futures::future::Either::Left((turn, _)) => {
                turn.map_err(|error| Error::internal("wait for other queries").caused_by(error))
            }
            futures::future::Either::Right(_) => {
                Err(Error::new(ErrorKind::Busy, "other queries take all the time"))
            }
        }
    }

    async fn table_rows(&self, snapshot: &Arc<Snapshot>) -> Result<TableRows> {
        let (runs, _) = self.runs_of(snapshot, 0..u64::MAX).await?;
        Ok(TableRows { snapshot: Arc::clone(snapshot), runs })
    }

    async fn input(&self, who: &Principal, name: &TableName, scope: &QueryScope) -> Result<Input> {
        let Named { path, version, about } = name.named()?;
        let reference = match version.as_str() {
            "" => Reference::NEWEST,
            version => Reference::parse(version)?,
        };
        let table = match self.found(who, &path, scope).await? {
            Found::Table(table) => table,
            Found::Super(id) if about == About::Rows && version.is_empty() => {
                return self.union(who, &id).await;
            }
            Found::Super(_) => {
                return Err(Error::invalid("a SuperTable as a whole has no versions and files"));
            }
        };
        let snapshot = self.resolve(who, &table, reference).await?;
        Ok(match about {
            About::Rows => Input::Table(self.table_rows(&snapshot).await?),
            About::Files => Input::Rows(files(&snapshot)?),
            About::Snapshots => {
                let history = self.history_from(who, &snapshot, self.0.history_max).await?;
                Input::Rows(snapshots(&history)?)
            }
        })
    }

    async fn union(&self, who: &Principal, id: &SuperId) -> Result<Input> {
        let requests: Vec<_> = self
            .tables(id)
            .await?
            .into_iter()
            .map(|known| async move {
                let snapshot = self.latest(who, &known.table).await?;
                self.table_rows(&snapshot).await
            })
            .collect();
        let tables = futures::stream::iter(requests).buffered(TABLES_AT_ONCE);
        Ok(Input::Union(tables.try_collect().await?))
    }

    /// What a name of one to three parts means: a table if there is one, else a SuperTable.
    async fn found(&self, who: &Principal, path: &[String], scope: &QueryScope) -> Result<Found> {
        let (candidates, super_name) = match path {
            [org, super_name, table] => {
                let id = super_id(org, super_name)?;
                return Ok(Found::Table(id.table(SimpleName::new(table)?)));
            }
            [super_name, table] => {
                let supers = self.supers_named(super_name, scope).await?;
                let org = OrgName::new(super_name).ok().zip(SuperName::new(table).ok());
                let whole = org
                    .map(|(organization, super_name)| vec![SuperId { organization, super_name }]);
                (tables_in(supers, table), whole.unwrap_or_default())
            }
            [table] => {
                let preferred: Vec<SuperId> = scope.super_table.iter().cloned().collect();
                if let Some(found) = self.only(who, tables_in(preferred, table)).await? {
                    return Ok(Found::Table(found));
                }
                let supers = self.supers_in(scope).await?;
                (tables_in(supers, table), self.supers_named(table, scope).await?)
            }
            _ => return Err(Error::invalid("a name has one to three parts")),
        };
        if let Some(table) = self.only(who, candidates).await? {
            return Ok(Found::Table(table));
        }
        let mut existing = Vec::new();
        for id in super_name {
            if self.super_changed_ms(&id).await?.is_some() {
                existing.push(id);
            }
        }
        match existing.as_slice() {
            [id] => Ok(Found::Super(id.clone())),
            [] => Err(Error::not_found("there is no such table")),
            several => Err(ambiguous(several)),
        }
    }

    /// The one of these tables that exists.
    async fn only(&self, who: &Principal, candidates: Vec<TableId>) -> Result<Option<TableId>> {
        let (mut existing, mut denied) = (Vec::new(), None);
        for table in candidates {
            match self.latest(who, &table).await {
                Ok(_) => existing.push(table),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Denied => denied = Some(error),
                Err(error) => return Err(error),
            }
        }
        match (existing.as_slice(), denied) {
            ([], None) => Ok(None),
            ([], Some(error)) => Err(error),
            ([table], _) => Ok(Some(table.clone())),
            (several, _) => Err(ambiguous(several)),
        }
    }

    /// SuperTables of this name; if one is in the scope's organization, only that.
    async fn supers_named(&self, name: &str, scope: &QueryScope) -> Result<Vec<SuperId>> {
        let mut supers = self.supers_in(scope).await?;
        supers.retain(|id| id.super_name.as_str() == name);
        if let Some(own) = &scope.super_table
            && let Some(near) = supers.iter().find(|id| id.organization == own.organization)
        {
            return Ok(vec![near.clone()]);
        }
        Ok(supers)
    }

    /// All SuperTables that a name may mean.
    async fn supers_in(&self, scope: &QueryScope) -> Result<Vec<SuperId>> {
        let organizations = match &scope.organization {
            Some(only) => vec![only.clone()],
            None => self.organizations().await?,
        };
        let mut all = Vec::new();
        for organization in organizations {
            for super_name in self.supers(&organization).await? {
                all.push(SuperId { organization: organization.clone(), super_name });
            }
        }
        Ok(all)
    }
}

/// What a name means.
enum Found {
    Table(TableId),
    Super(SuperId),
}

/// Lets other queries wait until the last row was given.
fn while_held(answer: Answer, turn: tokio::sync::OwnedSemaphorePermit) -> Answer {
    let Answer { schema, rows, repeatable } = answer;
    let rows = rows.inspect(move |_| {
        let _held = &turn;
    });
    Answer { schema, rows: rows.boxed(), repeatable }
}

fn super_id(organization: &str, super_name: &str) -> Result<SuperId> {
    Ok(SuperId {
        organization: OrgName::new(organization)?,
        super_name: SuperName::new(super_name)?,
    })
}

fn tables_in(supers: Vec<SuperId>, table: &str) -> Vec<TableId> {
    let Ok(name) = SimpleName::new(table) else { return Vec::new() };
    supers.into_iter().map(|id| id.table(name.clone())).collect()
}

fn ambiguous(several: &[impl ToString]) -> Error {
    let names: Vec<String> =
        several.iter().map(|name| name.to_string().replace('/', ".")).collect();
    Error::invalid("the name means several tables; write one of them in full")
        .with("tables", names.join(" "))
}

/// One value, read as a cell of the file.
fn cell(
    text: &str,
    data_type: &arrow::datatypes::DataType,
) -> std::result::Result<ArrayRef, String> {
    if text.is_empty() {
        return Ok(arrow::array::new_null_array(data_type, 1));
    }
    let texts = StringArray::from(vec![text]);
    crate::csv::convert(&texts, data_type).map_err(|(_, reason)| reason)
}

/// `TABLE$files`.
fn files(snapshot: &Snapshot) -> Result<RecordBatch> {
    let files = || snapshot.files.iter();
    let paths: StringArray = files().map(|file| Some(file.path.as_ref())).collect();
    let numbers = |number: fn(&crate::table::DataFile) -> u64| -> ArrayRef {
        Arc::new(files().map(number).collect::<UInt64Array>())
    };
    batch(vec![
        ("path", Arc::new(paths)),
        ("bytes", numbers(|file| file.bytes)),
        ("rows", numbers(|file| file.rows)),
        ("columns", numbers(|file| file.columns)),
    ])
}

/// `TABLE$snapshots`, oldest first.
fn snapshots(history: &[Arc<Snapshot>]) -> Result<RecordBatch> {
    let all = || history.iter().rev();
    let numbers = |number: fn(&Snapshot) -> u64| -> ArrayRef {
        Arc::new(all().map(|snapshot| number(snapshot)).collect::<UInt64Array>())
    };
    let texts = |text: fn(&Snapshot) -> &str| -> ArrayRef {
        Arc::new(all().map(|snapshot| Some(text(snapshot))).collect::<StringArray>())
    };
    let times = all().map(|snapshot| Some(snapshot.committed_ms));
    let times = times.collect::<TimestampMillisecondArray>().with_timezone("UTC");
    batch(vec![
        ("version", numbers(|snapshot| snapshot.version)),
        ("time", Arc::new(times)),
        ("operation", texts(|snapshot| &snapshot.lineage.operation)),
        ("rows", numbers(Snapshot::rows)),
        ("added", numbers(|snapshot| snapshot.lineage.inserted)),
        ("updated", numbers(|snapshot| snapshot.lineage.updated)),
        ("removed", numbers(|snapshot| snapshot.lineage.deleted)),
        ("role", texts(|snapshot| &snapshot.lineage.role)),
        ("client", texts(|snapshot| &snapshot.lineage.client)),
        ("message", texts(|snapshot| &snapshot.lineage.message)),
        ("path", texts(|snapshot| &snapshot.path)),
    ])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::internal("describe a table").caused_by(error))
}
