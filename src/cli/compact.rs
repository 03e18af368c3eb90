//! `mountable compact`.

use crate::cli::address::Place;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::lake::{CompactSettings, Compacted};

/// Compacts a table, or all tables of a SuperTable.
pub(super) async fn compact(session: &Session, place: &str, console: &mut Console) -> Result<Exit> {
    let lake = session.lake().await?;
    let tables: Vec<TableId> = match Place::parse(place)? {
        Place::Table(id) => vec![id],
        Place::Super(id) => {
            if !lake.supers(&id.organization).await?.contains(&id.super_name) {
                return Err(Error::not_found("no such SuperTable").with("name", id));
            }
            lake.tables(&id).await?.iter().map(|snapshot| snapshot.table.clone()).collect()
        }
        Place::Lake | Place::Organization(_) => {
            return Err(Error::invalid("name a table or a SuperTable").with("got", place));
        }
    };
    for id in tables {
        let done = lake.compact(&session.who(), &id, &CompactSettings::all()).await?;
        report(&id, &done, console)?;
    }
    Ok(Exit::Ok)
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
