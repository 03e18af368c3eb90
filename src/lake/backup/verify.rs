//! Reading backups back: every object by its checksum, and that nothing is missing that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::manifest::{self, BackupKind, Manifest, ObjectLine};
use super::shelf::Shelf;
use super::{AT_ONCE, Progress, Watcher, copy, no_backup, open_existing};
use crate::catalog::EmbeddedCatalog;
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Finding, Lake, Severity, TableId};
use crate::store::Objects;

/// What to do about a damaged backup.
const REMEDY: &str = "make a new full backup; restore from an earlier one if you must";

/// A backup, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupTold {
    /// Its name.
    pub id: String,
    /// When it was begun.
    pub time: String,
    /// Full or incremental.
    pub kind: BackupKind,
    /// `ORG[/SUPER[/TABLE]]`; empty for a whole lake.
    pub scope: String,
    /// Tables, dropped ones included.
    pub tables: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What reading backups back found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BackupReport {
    /// The backups, oldest first.
    pub backups: Vec<BackupTold>,
    /// Objects read, each once.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Reads every backup of a place back, or only one of them, and compares it with its list; then
/// walks the histories of its tables to see that the list holds everything.
///
/// # Errors
/// `NotFound` if there is no such backup; those of the store. What is wrong is in the report.
pub async fn verify_backup(
    settings: &Settings,
    clock: SharedClock,
    (from, backup): (&str, Option<&str>),
    progress: Watcher<'_>,
) -> Result<BackupReport> {
    let objects = open_existing(settings, from)?;
    let names = match backup {
        Some(id) => vec![id.to_owned()],
        None => manifest::names(&objects).await?,
    };
    if names.is_empty() {
        return Err(no_backup(from));
    }
    let mut report = BackupReport::default();
    let mut manifests = Vec::new();
    for id in names {
        match manifest::read(&objects, &id).await {
            Ok(manifest) => manifests.push(manifest),
            Err(error) if is_damage(&error) => report.say("backup-list", &id, error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let mut stored: BTreeMap<(&str, &str), &ObjectLine> = BTreeMap::new();
    for line in manifests.iter().flat_map(|manifest| manifest.objects.values()) {
        stored.insert((&line.stored, &line.sha256), line);
    }
    progress(Progress::Total(stored.values().map(|line| line.bytes).sum()));
    let checks: Vec<_> = stored.values().map(|line| checked(&objects, line, progress)).collect();
    let checks = futures::stream::iter(checks).buffered(AT_ONCE);
    let wrong: Vec<Option<(String, String)>> = checks.try_collect().await?;
    report.objects = count(stored.len());
    report.bytes = stored.values().map(|line| line.bytes).sum();
    for (path, what) in wrong.into_iter().flatten() {
        let finding = Finding::new(Severity::Error, "backup-object", from, what, REMEDY);
        report.findings.push(finding.on(path));
    }
    for manifest in &manifests {
        complete(settings, &clock, &objects, manifest, &mut report).await?;
        report.backups.push(told(manifest));
    }
    Ok(report)
}

impl BackupReport {
    fn say(&mut self, check: &'static str, place: &str, what: String) {
        self.findings.push(Finding::new(Severity::Error, check, place, what, REMEDY));
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn told(manifest: &Manifest) -> BackupTold {
    let head = &manifest.head;
    BackupTold {
        id: head.id.clone(),
        time: head.time.clone(),
        kind: head.kind,
        scope: head.scope.clone(),
        tables: count(manifest.tables.len()),
        objects: count(manifest.objects.len()),
        bytes: manifest.bytes(),
    }
}

fn is_damage(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::NotFound)
}

/// What is wrong with an object: its path and why.
async fn checked(
    objects: &Objects,
    line: &ObjectLine,
    progress: Watcher<'_>,
) -> Result<Option<(String, String)>> {
    let what = match copy::print(objects, &line.stored).await {
        Ok(Some(print)) if (print.bytes, &print.sha256) == (line.bytes, &line.sha256) => None,
        Ok(Some(print)) if print.bytes != line.bytes => {
            Some(format!("has {} bytes and should have {}", print.bytes, line.bytes))
        }
        Ok(Some(_)) => Some("has another checksum than it should have".to_owned()),
        Ok(None) => Some("is missing".to_owned()),
        Err(error) if is_damage(&error) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    progress(Progress::Done(line.bytes));
    Ok(what.map(|what| (line.stored.clone(), what)))
}

/// Walks the histories of a backup's tables within the backup.
async fn complete(
    settings: &Settings,
    clock: &SharedClock,
    objects: &Objects,
    manifest: &Manifest,
    report: &mut BackupReport,
) -> Result<()> {
    let id = manifest.head.id.as_str();
    let shelf = Shelf::open(objects, &manifest.objects);
    let catalog = Arc::new(EmbeddedCatalog::memory(Arc::clone(clock))?);
    let lake = Lake::from_parts(settings, shelf, catalog, Arc::clone(clock))?;
    let mut missing = BTreeSet::new();
    for line in &manifest.tables {
        let table = TableId::parse(&line.name)?;
        let needed = Box::pin(lake.table(&table).needed(line.snapshot.as_deref())).await;
        match needed {
            Ok(needed) => {
                let unlisted = |path: &String| !manifest.objects.contains_key(path);
                missing.extend(needed.objects.into_keys().filter(unlisted));
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => report.say("backup-table", id, format!("{table}: {error}")),
        }
    }
    for path in missing {
        let what = "a snapshot names it, and the backup does not hold it";
        let finding = Finding::new(Severity::Error, "backup-complete", id, what, REMEDY);
        report.findings.push(finding.on(path));
    }
    Ok(())
}
