//! `mountable vacuum`.

use std::time::Duration;

use crate::cli::args::Vacuum;
use crate::cli::compact::tables_of;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::lake::{VacuumSettings, Vacuumed};

/// Younger versions than this may be in somebody's editor.
const OLDER_THAN_MIN: Duration = Duration::from_secs(3_600);

/// Removes old versions of a table, or of all tables of a SuperTable.
pub(super) async fn vacuum(
    session: &Session,
    vacuum: &Vacuum,
    console: &mut Console,
) -> Result<Exit> {
    let older_than = crate::config::values::duration(&vacuum.older_than)
        .map_err(|reason| Error::invalid(reason).with("--older-than", &vacuum.older_than))?;
    if older_than < OLDER_THAN_MIN {
        return Err(Error::invalid(
            "--older-than is at least 1h: younger versions may be in use by editors and readers",
        )
        .with("got", &vacuum.older_than));
    }
    let lake = session.lake().await?;
    let tables = tables_of(&lake, &vacuum.place).await?;
    let settings =
        VacuumSettings { rehearsal: vacuum.dry_run, ..VacuumSettings::older_than(older_than) };
    for id in tables {
        let done = lake.vacuum(&session.who(), &id, &settings, &vacuum.message).await?;
        report(&id, &done, vacuum.dry_run, console)?;
    }
    Ok(Exit::Ok)
}

fn report(id: &TableId, done: &Vacuumed, dry_run: bool, console: &mut Console) -> Result<()> {
    let Vacuumed { snapshot, first_kept, versions, objects, bytes } = done;
    if console.form == Form::Json {
        return console.json(&serde_json::json!({
            "table": id.to_string(), "version": snapshot.version, "first_kept": first_kept,
            "versions": versions, "objects": objects, "bytes": bytes, "dry_run": dry_run,
        }));
    }
    let would = if dry_run { "would be " } else { "" };
    let text = if *versions == 0 && *objects == 0 {
        format!("{id}: nothing to remove")
    } else {
        format!(
            "{id}: {versions} versions {would}removed, {objects} objects of {bytes} bytes; the \
             history begins at version {first_kept}"
        )
    };
    if dry_run {
        return console.line(&text);
    }
    console.note(&text);
    Ok(())
}
