//! `mountable backup`: copies of a lake, read back and restored.

use std::sync::Arc;

use indicatif::ProgressBar;

use crate::cli::address::Place;
use crate::cli::args::{BackupAction, BackupOf};
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session, fsck};
use crate::error::Result;
use crate::lake::{self, BackupKind, BackupWanted, Progress, Reference, RestoreWanted, Severity};

/// Makes, reads back or restores backups.
pub(super) async fn backup(
    session: &Session,
    action: &BackupAction,
    console: &mut Console,
) -> Result<Exit> {
    match action {
        BackupAction::Full(of) => take(session, of, BackupKind::Full, console).await,
        BackupAction::Incremental(of) => take(session, of, BackupKind::Incremental, console).await,
        BackupAction::Verify { from, backup } => {
            verify(session, (from, backup.as_deref()), console).await
        }
        BackupAction::Restore { from, to, backup, .. } => {
            let to = to.as_deref().map(Reference::parse).transpose()?;
            let wanted = RestoreWanted { from: from.clone(), backup: backup.clone(), to };
            restore(session, &wanted, console).await
        }
    }
}

/// Moves a bar.
fn watcher(bar: &ProgressBar) -> impl Fn(Progress) + Send + Sync {
    move |progress| match progress {
        Progress::Total(bytes) => bar.set_length(bytes),
        Progress::Done(bytes) => bar.inc(bytes),
    }
}

async fn take(
    session: &Session,
    of: &BackupOf,
    kind: BackupKind,
    console: &mut Console,
) -> Result<Exit> {
    let scope = fsck::scope(Place::parse(of.place.as_deref().unwrap_or_default())?);
    let wanted = BackupWanted { to: of.to.clone(), scope, kind };
    let lake = session.lake().await?;
    let bar = console.bytes_bar(0, "backup");
    let done = lake.backup(&session.settings, &session.who(), &wanted, &watcher(&bar)).await;
    bar.finish_and_clear();
    let done = done?;
    if console.form == Form::Json {
        console.json(&done)?;
        return Ok(Exit::Ok);
    }
    console.note(&format!(
        "backup {}: {} tables, {} objects of {} bytes; {} objects of {} bytes are new",
        done.id, done.tables, done.objects, done.bytes, done.new_objects, done.new_bytes
    ));
    Ok(Exit::Ok)
}

async fn verify(
    session: &Session,
    from: (&str, Option<&str>),
    console: &mut Console,
) -> Result<Exit> {
    let bar = console.bytes_bar(0, "verify");
    let clock = Arc::clone(&session.clock);
    let done = lake::verify_backup(&session.settings, clock, from, &watcher(&bar)).await;
    bar.finish_and_clear();
    let report = done?;
    match console.form {
        Form::Json => console.json(&report)?,
        Form::Text => {
            fsck::findings(&report.findings, console)?;
            for told in &report.backups {
                let scope = if told.scope.is_empty() { "the whole lake" } else { &told.scope };
                let kind = match told.kind {
                    BackupKind::Full => "full",
                    BackupKind::Incremental => "incremental",
                };
                console.line(&format!(
                    "backup {} of {}, {kind}, {scope}: {} tables, {} objects of {} bytes",
                    told.id, told.time, told.tables, told.objects, told.bytes
                ))?;
            }
            console.line(&format!(
                "{} objects of {} bytes read: {} errors",
                report.objects,
                report.bytes,
                report.findings.len()
            ))?;
        }
    }
    Ok(if report.findings.is_empty() { Exit::Ok } else { Exit::Failed })
}

async fn restore(session: &Session, wanted: &RestoreWanted, console: &mut Console) -> Result<Exit> {
    let bar = console.bytes_bar(0, "restore");
    let clock = Arc::clone(&session.clock);
    let who = session.who();
    let watcher = watcher(&bar);
    let done = lake::restore_backup(&session.settings, clock, &who, wanted, &watcher);
    let done = Box::pin(done).await;
    bar.finish_and_clear();
    let done = done?;
    if console.form == Form::Json {
        console.json(&done)?;
    } else {
        for (table, version) in &done.moved {
            console.note(&format!("{table} is as version {version} was"));
        }
        for table in &done.left {
            console.note(&format!("{table} has no version that old: it is as in the backup"));
        }
        fsck::print(&done.check, console)?;
        console.note(&format!(
            "restored backup {} of {}: {} objects of {} bytes",
            done.backup, done.time, done.objects, done.bytes
        ));
    }
    let failed = done.check.worst() == Some(Severity::Error);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}
