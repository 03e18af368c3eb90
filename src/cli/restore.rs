//! `mountable restore`: the trash of a SuperTable.

use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::SuperId;

/// Lists the trash, or brings a table of it back.
pub(super) async fn restore(
    session: &Session,
    place: &str,
    name: Option<&str>,
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
    let snapshot = lake.restore_table(&session.who(), &id, name).await?;
    console.note(&format!("restored {} with {} rows", snapshot.table, snapshot.rows()));
    Ok(Exit::Ok)
}
