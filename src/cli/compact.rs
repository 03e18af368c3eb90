//! `mountable compact`.

use crate::cli::address::Place;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::lake::{CompactSettings, Compacted, Lake};

/// Compacts a table, or all tables of a SuperTable.
pub(super) async fn compact(session: &Session, place: &str, console: &mut Console) -> Result<Exit> {
    let lake = session.lake().await?;
    for id in tables_of(&lake, place).await? {
        let done = lake.compact(&session.who(), &id, &CompactSettings::all()).await?;
        report(&id, &done, console)?;
    }
    Ok(Exit::Ok)
}

/// The table that is named, or all tables of the SuperTable.
pub(super) async fn tables_of(lake: &Lake, place: &str) -> Result<Vec<TableId>> {
    match Place::parse(place)? {
        Place::Table(id) => Ok(vec![id]),
        Place::Super(id) => {
            if !lake.has_super(&id).await? {
                return Err(Error::not_found("no such SuperTable").with("name", id));
            }
            Ok(lake.tables(&id).await?.iter().map(|snapshot| snapshot.table.clone()).collect())
        }
        Place::Lake | Place::Organization(_) => {
            Err(Error::invalid("name a table or a SuperTable").with("got", place))
        }
    }
}

fn report(id: &TableId, done: &Compacted, console: &mut Console) -> Result<()> {
    if console.form == Form::Json {
        return console.json(&serde_json::json!({
            "table": id.to_string(), "version": done.snapshot.version,
            "files_before": done.files_before, "files_after": done.files_after,
            "rows_dropped": done.rows_dropped,
        }));
    }
    if done.files_before == 0 {
        console.note(&format!("{id} stays at version {}: nothing to do", done.snapshot.version));
    } else {
        console.note(&format!(
            "{id} is at version {}: {} data files in place of {}, {} deleted rows left behind",
            done.snapshot.version, done.files_after, done.files_before, done.rows_dropped
        ));
    }
    Ok(())
}
