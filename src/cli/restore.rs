//! `mountable restore`: the trash of a SuperTable.

use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::{SimpleName, SuperId};

/// Lists the trash, or brings a table of it back.
pub(super) async fn restore(
    session: &Session,
    place: &str,
    name: Option<&str>,
    rename: Option<&str>,
    console: &mut Console,
) -> Result<Exit> {
    let id = SuperId::parse(place.trim_matches('/'))?;
    let lake = session.lake().await?;
    let trash = lake.trash(&id).await?;
    let Some(name) = name else {
        match console.form {
            Form::Json => console.json(&trash)?,
            Form::Text => trash.iter().try_for_each(|name| console.line(name))?,
        }
        return Ok(Exit::Ok);
    };
    if !trash.iter().any(|dropped| dropped == name) {
        return Err(Error::not_found("not in the trash").with("name", name).with("of", id));
    }
    let who = session.who();
    let table = match rename {
        Some(rename) => id.table(SimpleName::new(rename.strip_suffix(".csv").unwrap_or(rename))?),
        None => lake.trashed(&who, &id, name).await?.table.clone(),
    };
    let snapshot = lake.restore_table(&who, name, &id, &table).await?;
    console.note(&format!("restored {table} with {} rows", snapshot.rows()));
    Ok(Exit::Ok)
}
