//! `mountable init`, `create`, `drop` and `rename`.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::cli::address::{self, Place};
use crate::cli::args::{Create, Drop};
use crate::cli::console::Console;
use crate::cli::{Exit, Session, columns};
use crate::config::redact_url;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{At, SimpleName, SuperId};
use crate::lake::{Lake, TableConfig};

/// Makes an empty lake, unless there is one.
pub(super) async fn init(session: &Session, console: &mut Console) -> Result<Exit> {
    Lake::init(&session.settings, Arc::clone(&session.clock)).await?;
    console.note(&format!("lake {} is ready", redact_url(&session.settings.lake)));
    Ok(Exit::Ok)
}

/// Makes an organization, SuperTable or table and whatever lies above it.
pub(super) async fn create(
    session: &Session,
    create: &Create,
    console: &mut Console,
) -> Result<Exit> {
    let place = Place::parse(&create.place)?;
    if create.columns.is_some() != matches!(place, Place::Table(_)) {
        return Err(Error::invalid(
            "a table needs --columns name:type,... (and only a table has them); to make one from \
             a file use `mountable load`",
        ));
    }
    let lake = session.lake().await?;
    let who = session.who();
    match place {
        Place::Lake => return Err(Error::invalid("expected ORG, ORG/SUPER or ORG/SUPER/TABLE")),
        Place::Organization(organization) => lake.create_organization(&who, &organization).await?,
        Place::Super(id) => lake.create_super(&who, &id).await?,
        Place::Table(id) => {
            let schema = columns::parse(create.columns.as_deref().unwrap_or_default())?;
            if schema.fields().is_empty() {
                return Err(Error::invalid("a table needs at least one column"));
            }
            let config = TableConfig { keys: keys(&create.keys, &schema)?, ..Default::default() };
            ensure_super(&lake, session, &id.super_id()).await?;
            lake.create_table(&who, &id, schema, config).await?;
        }
    }
    console.note(&format!("created {}", create.place));
    Ok(Exit::Ok)
}

/// The key columns, each of which has to be a column.
pub(super) fn keys(names: &[String], schema: &Schema) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    for name in names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        if schema.column_with_name(name).is_none() {
            let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(Error::invalid(format!("key column `{name}` is no column of the table"))
                .with("columns", columns.join(", ")));
        }
        if !keys.iter().any(|key| key == name) {
            keys.push(name.to_owned());
        }
    }
    Ok(keys)
}

/// Makes the SuperTable unless it exists.
pub(super) async fn ensure_super(lake: &Lake, session: &Session, id: &SuperId) -> Result<()> {
    if lake.has_super(id).await? {
        return Ok(());
    }
    match lake.create_super(&session.who(), id).await {
        // Somebody else was faster; what was wanted is there.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// Drops a table or an empty SuperTable.
pub(super) async fn drop(session: &Session, drop: &Drop, console: &mut Console) -> Result<Exit> {
    let lake = session.lake().await?;
    let who = session.who();
    let place = Place::parse(&drop.place)?;
    let what = match &place {
        Place::Table(id) => {
            let snapshot = lake.snapshot(&who, id, At::Latest).await?;
            format!("table {id} with {} rows", snapshot.rows())
        }
        Place::Super(id) => {
            if !lake.has_super(id).await? {
                return Err(Error::not_found("no such SuperTable").with("name", id));
            }
            let tables = lake.tables(id).await?.len();
            if tables > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("SuperTable holds {tables} tables; drop them first"),
                )
                .with("name", id));
            }
            format!("empty SuperTable {id}")
        }
        Place::Lake | Place::Organization(_) => {
            return Err(Error::invalid("expected ORG/SUPER/TABLE or ORG/SUPER"));
        }
    };
    if drop.dry_run {
        console.line(&format!("would drop {what}"))?;
        return Ok(Exit::Ok);
    }
    if !drop.yes && !console.confirm(&format!("Drop {what}?"))? {
        console.complain("nothing was dropped");
        return Ok(Exit::Failed);
    }
    match &place {
        Place::Table(id) => {
            lake.drop_table(&who, id).await?;
            let super_id = id.super_id();
            console
                .note(&format!("dropped {what}; `mountable restore {super_id}` lists the trash"));
        }
        Place::Super(id) => {
            lake.drop_super(&who, id).await?;
            console.note(&format!("dropped {what}"));
        }
        Place::Lake | Place::Organization(_) => {}
    }
    Ok(Exit::Ok)
}

/// Renames a table; a bare new name stays in the SuperTable.
pub(super) async fn rename(
    session: &Session,
    from: &str,
    to: &str,
    console: &mut Console,
) -> Result<Exit> {
    let from = address::table(from)?;
    let to = if to.contains('/') {
        address::table(to)?
    } else {
        from.super_id().table(SimpleName::new(to.strip_suffix(".csv").unwrap_or(to))?)
    };
    let lake = session.lake().await?;
    lake.rename_table(&session.who(), &from, &to).await?;
    console.note(&format!("renamed {from} to {to}"));
    Ok(Exit::Ok)
}
