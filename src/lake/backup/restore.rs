//! Making a lake of a backup.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::copy::{self, Way};
use super::manifest::{self, Manifest};
use super::{AT_ONCE, Progress, Watcher, no_backup, open_existing};
use crate::catalog;
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{
    At, CommitOutcome, Depth, Lake, LakeReport, Principal, Rebuild, Reference, Scope, Severity,
    TableId, import_catalog,
};
use crate::store::{self, Objects, PutCreate};

/// What is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreWanted {
    /// Where the backups are.
    pub from: String,
    /// Which one; `None` = the newest, or with a time the first one that was begun after it.
    pub backup: Option<String>,
    /// Bring every table back to this version.
    pub to: Option<Reference>,
}

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredLake {
    /// The backup.
    pub backup: String,
    /// Its time.
    pub time: String,
    /// Objects copied.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Tables that were brought back to an old version, with that version.
    pub moved: Vec<(String, u64)>,
    /// Tables that had no version that is old enough: they are as in the backup.
    pub left: Vec<String>,
    /// What a check of the new lake found.
    pub check: LakeReport,
}

/// Copies a backup into the empty lake that `settings` name, fills its catalogue, and checks it.
///
/// # Errors
/// `NotFound` if there is no such backup, `Conflict` if lake or catalogue are not empty, `Corrupt`
/// if the backup is damaged (then nothing is named by the catalogue); those of both stores.
pub async fn restore_backup(
    settings: &Settings,
    clock: SharedClock,
    who: &Principal,
    wanted: &RestoreWanted,
    progress: Watcher<'_>,
) -> Result<RestoredLake> {
    if settings.read_only {
        let what = "the settings say that nothing may be written";
        return Err(Error::new(ErrorKind::ReadOnly, what));
    }
    let from = open_existing(settings, &wanted.from)?;
    let manifest = chosen(&from, wanted).await?;
    let scope = Scope::of_name(&manifest.head.scope)?;
    let at = wanted.to.map(|to| to.at);
    if matches!(at, Some(At::Version(_) | At::Latest)) && !matches!(scope, Scope::Table(_)) {
        return Err(Error::invalid("several tables go back to a time, not to a version"));
    }
    let mut settings = settings.clone();
    if settings.layout.is_none() {
        settings.layout = Some(manifest.head.layout.clone());
    }
    let into = empty_lake(&settings, &clock).await?;
    if scope != Scope::Lake {
        Lake::init(&settings, Arc::clone(&clock)).await?;
    }
    copy_all(&from, &into, &manifest, progress).await?;
    if scope == Scope::Lake {
        let text = manifest.catalog.join("\n");
        import_catalog(&settings, Arc::clone(&clock), &text).await?;
    } else {
        // The catalogue has more than was backed up; a part of a lake is made anew.
        let lake = Lake::open(&settings, Arc::clone(&clock)).await?;
        lake.rebuild(who, &scope, Rebuild::Do).await?;
    }
    let lake = Lake::open(&settings, clock).await?;
    lake.bring_forward(who, &manifest).await?;
    let mut restored = RestoredLake {
        backup: manifest.head.id.clone(),
        time: manifest.head.time.clone(),
        objects: u64::try_from(manifest.objects.len()).unwrap_or(u64::MAX),
        bytes: manifest.bytes(),
        moved: Vec::new(),
        left: Vec::new(),
        check: LakeReport::default(),
    };
    if let Some(to) = wanted.to {
        lake.all_back(who, (&scope, to), &mut restored).await?;
    }
    restored.check = lake.check(who, &Scope::Lake, Depth::Documents).await?;
    Ok(restored)
}

/// The backup to restore.
async fn chosen(from: &Objects, wanted: &RestoreWanted) -> Result<Manifest> {
    if let Some(id) = &wanted.backup {
        return manifest::read(from, id).await;
    }
    let names = manifest::names(from).await?;
    let newest = names.last().ok_or_else(|| no_backup(&wanted.from))?;
    let Some(Reference { at: At::Time(time), .. }) = wanted.to else {
        return manifest::read(from, newest).await;
    };
    // The first one that was begun later holds the version, and more of its past than later ones,
    // which may be younger than a vacuum.
    for id in &names {
        let manifest = manifest::read(from, id).await?;
        if manifest.head.time_ms >= time {
            return Ok(manifest);
        }
    }
    manifest::read(from, newest).await
}

/// Opens the place of the new lake: neither objects nor a catalogue are there.
async fn empty_lake(settings: &Settings, clock: &SharedClock) -> Result<Objects> {
    let full = |what: &'static str| Err(Error::new(ErrorKind::Conflict, what));
    store::prepare(&settings.lake)?;
    let into = store::open(&settings.lake, &settings.storage)?;
    let mut listed = into.list(None);
    while let Some(meta) = listed.next().await {
        let meta = meta.map_err(|error| store::error_of(error, "list objects", ""))?;
        let path = meta.location.as_ref();
        // A catalogue's file, or what a store was asked with, is no lake yet.
        if path == store::layout::LAKE_MARKER || !path.starts_with(".mountable/") {
            return full("a backup is restored into an empty place, and there is a lake already");
        }
    }
    drop(listed);
    let held = catalog::open_transfer(settings, Arc::clone(clock)).await?.keys().await?;
    if held.iter().any(|key| catalog::fill_order(key).0) {
        return full("the catalogue holds a lake already: name an empty one with --catalog");
    }
    Ok(into)
}

async fn copy_all(
    from: &Objects,
    into: &Objects,
    manifest: &Manifest,
    progress: Watcher<'_>,
) -> Result<()> {
    progress(Progress::Total(manifest.bytes()));
    let copies: Vec<_> = manifest
        .objects
        .values()
        .map(|line| async move {
            let way = Way { from: (from, &line.stored), to: (into, &line.path) };
            let copied = copy::copy(way, Some(&line.sha256)).await;
            let (_, put) = copied.map_err(|error| missing(error, &line.path))?;
            if put == PutCreate::Exists {
                let what = "somebody else writes into the new lake";
                return Err(Error::new(ErrorKind::Conflict, what).with("path", &line.path));
            }
            progress(Progress::Done(line.bytes));
            Ok(())
        })
        .map(Box::pin)
        .collect();
    futures::stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await
}

fn missing(error: Error, path: &str) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::corrupt("the backup does not hold what it lists: see `mountable backup verify`")
        .with("object", path)
        .caused_by(error)
}

impl Lake {
    /// Names what was committed between the pointer and the objects of a table.
    async fn bring_forward(&self, who: &Principal, manifest: &Manifest) -> Result<()> {
        for line in &manifest.tables {
            let id = TableId::parse(&line.name)?;
            let report = Box::pin(self.table(&id).check(Depth::Documents)).await?;
            let behind = |finding: &crate::lake::Finding| {
                finding.severity >= Severity::Warning
                    && matches!(finding.check, "pointer" | "trash" | "row-ids")
            };
            if line.snapshot.is_some() && report.findings.iter().any(behind) {
                self.rebuild(who, &Scope::Table(id), Rebuild::Do).await?;
            }
        }
        Ok(())
    }

    /// Brings tables back to an old version.
    async fn all_back(
        &self,
        who: &Principal,
        (scope, to): (&Scope, Reference),
        restored: &mut RestoredLake,
    ) -> Result<()> {
        for id in self.known_tables(scope).await? {
            if self.0.catalog.leaf(&id).await?.is_none() {
                continue;
            }
            let old = match self.resolve(who, &id, to).await {
                Ok(old) => old,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    restored.left.push(id.to_string());
                    continue;
                }
                Err(error) => return Err(error.with("table", &id)),
            };
            let outcome = Box::pin(self.go_back(who, &id, &old)).await?;
            if let CommitOutcome::Committed { .. } = outcome {
                restored.moved.push((id.to_string(), old.version));
            }
        }
        Ok(())
    }
}
