//! `mountable ls`, `log` and `schema`.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::cli::address::{self, Place};
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::csv::type_name;
use crate::error::{Error, Result};
use crate::ident::At;
use crate::lake::{Lineage, Reference, Snapshot};

/// Columns of a listing of tables.
const TABLE_HEAD: &[&str] = &["NAME", "VERSION", "ROWS", "COLUMNS", "KEYS", "CHANGED"];
/// Columns of a history.
pub(super) const LOG_HEAD: &[&str] = &[
    "VERSION",
    "TIME",
    "OPERATION",
    "ROWS",
    "ADDED",
    "CHANGED",
    "REMOVED",
    "ROLE",
    "CLIENT",
    "MESSAGE",
];

#[derive(Serialize)]
struct TableRow {
    name: String,
    version: u64,
    rows: u64,
    columns: usize,
    keys: Vec<String>,
    changed: String,
}

impl TableRow {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            name: snapshot.table.to_string(),
            version: snapshot.version,
            rows: snapshot.rows(),
            columns: snapshot.schema.fields().len(),
            keys: snapshot.config.keys.clone(),
            changed: time_text(snapshot.committed_ms),
        }
    }

    fn cells(self) -> Vec<String> {
        vec![
            self.name,
            self.version.to_string(),
            self.rows.to_string(),
            self.columns.to_string(),
            self.keys.join(","),
            self.changed,
        ]
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(super) fn time_text(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Lists what is at a place.
pub(super) async fn ls(session: &Session, place: &str, console: &mut Console) -> Result<Exit> {
    let place = Place::parse(place)?;
    let lake = session.lake().await?;
    match place {
        Place::Lake => {
            let names = lake.organizations().await?;
            names_of(names.iter().map(ToString::to_string).collect(), console)
        }
        Place::Organization(organization) => {
            let names = lake.supers(&organization).await?;
            if names.is_empty() && !lake.organizations().await?.contains(&organization) {
                return Err(Error::not_found("no such organization").with("name", organization));
            }
            names_of(names.iter().map(|name| format!("{organization}/{name}")).collect(), console)
        }
        Place::Super(id) => {
            let tables = lake.tables(&id).await?;
            if tables.is_empty() && !lake.has_super(&id).await? {
                return Err(Error::not_found("no such SuperTable").with("name", id));
            }
            tables_of(tables.iter().map(|snapshot| TableRow::of(snapshot)).collect(), console)
        }
        Place::Table(id) => {
            let snapshot = lake.snapshot(&session.who(), &id, At::Latest).await?;
            tables_of(vec![TableRow::of(&snapshot)], console)
        }
    }
}

fn names_of(names: Vec<String>, console: &mut Console) -> Result<Exit> {
    match console.form {
        Form::Json => console.json(&names)?,
        Form::Text => names.iter().try_for_each(|name| console.line(name))?,
    }
    Ok(Exit::Ok)
}

fn tables_of(rows: Vec<TableRow>, console: &mut Console) -> Result<Exit> {
    match console.form {
        Form::Json => console.json(&rows)?,
        Form::Text => {
            let rows: Vec<_> = rows.into_iter().map(TableRow::cells).collect();
            console.table(TABLE_HEAD, &rows)?;
        }
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
pub(super) struct LogRow {
    version: u64,
    time: String,
    operation: String,
    rows: u64,
    inserted: u64,
    updated: u64,
    deleted: u64,
    role: String,
    client: String,
    message: String,
}

impl LogRow {
    /// One for each change that the snapshot's commit made.
    pub(super) fn of(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        snapshot.lineage.changes().iter().map(|change| Self::of_change(snapshot, change))
    }

    fn of_change(snapshot: &Snapshot, lineage: &Lineage) -> Self {
        Self {
            version: snapshot.version,
            time: time_text(snapshot.committed_ms),
            operation: lineage.operation.clone(),
            rows: snapshot.rows(),
            inserted: lineage.inserted,
            updated: lineage.updated,
            deleted: lineage.deleted,
            role: lineage.role.clone(),
            client: lineage.client.clone(),
            message: lineage.message.clone(),
        }
    }

    pub(super) fn cells(self) -> Vec<String> {
        vec![
            self.version.to_string(),
            self.time,
            self.operation,
            self.rows.to_string(),
            self.inserted.to_string(),
            self.updated.to_string(),
            self.deleted.to_string(),
            self.role,
            self.client,
            self.message,
        ]
    }
}

/// Lists the snapshots of a table, newest first.
pub(super) async fn log(
    session: &Session,
    table: &str,
    limit: usize,
    console: &mut Console,
) -> Result<Exit> {
    let (table, reference) = address::table_at(table)?;
    let lake = session.lake().await?;
    let history = if reference == Reference::NEWEST {
        lake.history(&session.who(), &table, limit).await?
    } else {
        let from = lake.resolve(&session.who(), &table, reference).await?;
        let mut history = lake.history(&session.who(), &table, usize::MAX).await?;
        history.retain(|snapshot| snapshot.version <= from.version);
        history.truncate(limit);
        history
    };
    let rows: Vec<LogRow> = history.iter().flat_map(|snapshot| LogRow::of(snapshot)).collect();
    match console.form {
        Form::Json => console.json(&rows)?,
        Form::Text => {
            let rows: Vec<_> = rows.into_iter().map(LogRow::cells).collect();
            console.table(LOG_HEAD, &rows)?;
        }
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct ColumnRow {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    key: bool,
}

/// Prints the columns of a table.
pub(super) async fn schema(session: &Session, text: &str, console: &mut Console) -> Result<Exit> {
    let (table, reference) = address::table_at(text)?;
    let snapshot = session.lake().await?.resolve(&session.who(), &table, reference).await?;
    let column = |field: &arrow::datatypes::FieldRef| ColumnRow {
        name: field.name().clone(),
        data_type: type_name(field.data_type()),
        key: snapshot.config.keys.contains(field.name()),
    };
    let rows: Vec<ColumnRow> = snapshot.schema.fields().iter().map(column).collect();
    match console.form {
        Form::Json => console.json(&rows)?,
        Form::Text => {
            let cells = |row: ColumnRow| {
                vec![row.name, row.data_type, if row.key { "key" } else { "" }.to_owned()]
            };
            let rows: Vec<_> = rows.into_iter().map(cells).collect();
            console.table(&["COLUMN", "TYPE", ""], &rows)?;
        }
    }
    Ok(Exit::Ok)
}
