//! `mountable delete`, `update` and `upsert`: changes of rows without a mount.

use crate::cli::args::{DeleteRows, Load, Mode, UpdateRows, UpsertRows};
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session, address, load};
use crate::error::Result;
use crate::lake::{Rehearsal, RowsWanted};

/// Words about what was done with rows.
struct Words {
    done: &'static str,
    would: &'static str,
}

/// Deletes the rows that meet a condition.
pub(super) async fn delete(
    session: &Session,
    delete: &DeleteRows,
    console: &mut Console,
) -> Result<Exit> {
    let wanted = RowsWanted {
        condition: &delete.condition,
        assignments: &[],
        message: &delete.message,
        rehearsal: rehearsal(delete.dry_run),
    };
    let words = Words { done: "deleted", would: "would be deleted" };
    change(session, &delete.table, &wanted, &words, console).await
}

/// Gives columns of the rows that meet a condition new values.
pub(super) async fn update(
    session: &Session,
    update: &UpdateRows,
    console: &mut Console,
) -> Result<Exit> {
    let wanted = RowsWanted {
        condition: &update.condition,
        assignments: &update.set,
        message: &update.message,
        rehearsal: rehearsal(update.dry_run),
    };
    let words = Words { done: "changed", would: "would be changed" };
    change(session, &update.table, &wanted, &words, console).await
}

fn rehearsal(dry_run: bool) -> Rehearsal {
    if dry_run { Rehearsal::Yes } else { Rehearsal::No }
}

async fn change(
    session: &Session,
    table: &str,
    wanted: &RowsWanted<'_>,
    words: &Words,
    console: &mut Console,
) -> Result<Exit> {
    let table = address::table(table)?;
    let lake = session.lake().await?;
    let done = lake.change_rows(&session.who(), &table, wanted).await?;
    let (version, rows) = (done.snapshot.version, done.snapshot.rows());
    let dry_run = wanted.rehearsal == Rehearsal::Yes;
    if console.form == Form::Json {
        console.json(&serde_json::json!({
            "table": table.to_string(), "version": version, "rows": rows,
            "matched": done.matched, "changed": done.changed, "dry_run": dry_run,
        }))?;
        return Ok(Exit::Ok);
    }
    let Words { done: verb, would } = words;
    let (matched, changed) = (done.matched, done.changed);
    if dry_run {
        console
            .line(&format!("{changed} of {rows} rows {would} ({matched} meet the condition)"))?;
    } else if changed == 0 {
        console.note(&format!(
            "{table} stays at version {version}: {matched} rows meet the condition, 0 {verb}"
        ));
    } else {
        console.note(&format!(
            "{table} is at version {version}: {changed} rows {verb}; {rows} rows in all"
        ));
    }
    Ok(Exit::Ok)
}

/// Loads files and replaces rows with the same key.
pub(super) async fn upsert(
    session: &Session,
    upsert: &UpsertRows,
    console: &mut Console,
) -> Result<Exit> {
    let wanted = Load {
        table: upsert.table.clone(),
        files: upsert.files.clone(),
        mode: Mode::Upsert,
        keys: upsert.keys.clone(),
        add_columns: upsert.add_columns,
        message: upsert.message.clone(),
        newer_than: upsert.newer_than.clone(),
    };
    load::load(session, &wanted, console).await
}
