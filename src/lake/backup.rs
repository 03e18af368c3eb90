//! Backups: the catalogue's pointers first, then every object that their histories name, the list
//! of both last. A backup without its list is none.
//!
//! Objects are kept under their own paths. Where a path has another content than before (a vacuum
//! puts stubs in the place of old snapshots), the new content is kept under its checksum, so that
//! earlier backups stay whole.

mod copy;
mod manifest;
mod restore;
mod shelf;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::{Lake, OrgName, Principal, Scope, SuperId, TableId};
use crate::access::Permission;
use crate::catalog::{self, Held, Leaf};
use crate::clock::{now_ms, random_hex};
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Objects, PutCreate};
use crate::table::{Listed, Needed};

use copy::{Print, Way};
use manifest::{Head, Manifest, ObjectLine, TableLine};

pub use manifest::BackupKind;
pub use restore::{RestoreWanted, RestoredLake, restore_backup};
pub use verify::{BackupReport, BackupTold, verify_backup};

/// Objects that are copied, and tables that are looked through, at the same time.
const AT_ONCE: usize = 4;
/// Folder of the objects, under their own paths.
const OBJECTS: &str = "objects";
/// Folder of contents that a path had later, under their checksums.
const CHANGED: &str = "changed";

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are to be handled in all.
    Total(u64),
    /// So many more were.
    Done(u64),
}

/// Is told how far it is.
pub type Watcher<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// What is to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupWanted {
    /// Where the backup goes: a directory, `s3://`, `gs://`, `az://`.
    pub to: String,
    /// What of the lake.
    pub scope: Scope,
    /// Whether earlier backups are trusted.
    pub kind: BackupKind,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Its name.
    pub id: String,
    /// Full or incremental.
    pub kind: BackupKind,
    /// Its time.
    pub time: String,
    /// Tables, dropped ones included.
    pub tables: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that this backup wrote.
    pub new_objects: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

/// The pointers of the exported catalogue.
struct Pointers {
    lines: Vec<String>,
    leaves: HashMap<String, String>,
}

/// A backup under way.
struct Run<'a> {
    lake: &'a Objects,
    to: &'a Objects,
    /// What earlier backups hold.
    known: HashMap<&'a str, Vec<&'a ObjectLine>>,
    kind: BackupKind,
    progress: Watcher<'a>,
}

impl Lake {
    /// Copies the catalogue and everything that it names to another place. Gateways may go on
    /// meanwhile; what they commit after the catalogue was read belongs to the next backup.
    ///
    /// # Errors
    /// `NotFound` if there is nothing of that name, or no backup to build on; `Conflict` if a
    /// vacuum removed what was to be copied; `Corrupt` if the lake is damaged; `Denied`, those of
    /// both stores. A backup that broke off is no backup; the next one uses what it copied.
    pub async fn backup(
        &self,
        settings: &Settings,
        who: &Principal,
        wanted: &BackupWanted,
        progress: Watcher<'_>,
    ) -> Result<BackedUp> {
        let to = open_target(settings, &wanted.to).await?;
        let earlier = self.earlier(&to, wanted.kind).await?;
        let clock = self.0.clock.as_ref();
        let time_ms = now_ms(clock);
        let hex: String = random_hex(clock).chars().take(8).collect();
        let mut head = Head::new(format!("{time_ms:014}-{hex}"), time_ms, wanted.kind);
        head.scope = wanted.scope.name();
        head.layout = self.0.catalog.layout().to_string();
        // Everything that these pointers name is there, and stays there but for a vacuum.
        let pointers = self.exported(settings).await?;
        let (tables, mut objects) = self.needs(who, &wanted.scope, &pointers).await?;
        let whole = wanted.scope == Scope::Lake;
        if whole && store::exists(&self.0.objects, store::layout::LAKE_MARKER).await? {
            objects.insert(store::layout::LAKE_MARKER.to_owned(), None);
        }
        let bytes = objects.values().flatten().map(|listed| listed.bytes).sum();
        progress(Progress::Total(bytes));
        let mut known: HashMap<&str, Vec<&ObjectLine>> = HashMap::new();
        for line in earlier.iter().flat_map(|manifest| manifest.objects.values()) {
            known.entry(line.path.as_str()).or_default().push(line);
        }
        let run = Run { lake: &self.0.objects, to: &to, known, kind: wanted.kind, progress };
        let copies: Vec<_> = objects.iter().map(|(path, listed)| run.keep(path, *listed)).collect();
        let copied = futures::stream::iter(copies).buffer_unordered(AT_ONCE);
        let copied: Vec<(ObjectLine, bool)> = copied.try_collect().await?;
        head.builds_on = earlier.iter().map(|manifest| manifest.head.id.clone()).collect();
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let new = || copied.iter().filter(|(_, new)| *new);
        let (new_objects, new_bytes) = (count(new().count()), new().map(|(o, _)| o.bytes).sum());
        let objects: BTreeMap<_, _> =
            copied.into_iter().map(|(line, _)| (line.path.clone(), line)).collect();
        let catalog = if whole { pointers.lines } else { Vec::new() };
        let manifest = Manifest { head, tables, catalog, objects };
        manifest::write(&to, &manifest).await?;
        Ok(BackedUp {
            id: manifest.head.id.clone(),
            kind: wanted.kind,
            time: manifest.head.time.clone(),
            tables: count(manifest.tables.len()),
            objects: count(manifest.objects.len()),
            bytes: manifest.bytes(),
            new_objects,
            new_bytes,
        })
    }

    /// The backups that an incremental one builds on.
    async fn earlier(&self, to: &Objects, kind: BackupKind) -> Result<Vec<Manifest>> {
        let mut earlier = Vec::new();
        if kind == BackupKind::Full {
            return Ok(earlier);
        }
        for id in manifest::names(to).await? {
            match manifest::read(to, &id).await {
                Ok(manifest) => earlier.push(manifest),
                // What it lists is copied or compared again.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(%error, "a damaged backup is not built on");
                }
                Err(error) => return Err(error),
            }
        }
        if earlier.is_empty() {
            return Err(Error::not_found(
                "there is no backup here to build on: begin with `mountable backup full`",
            ));
        }
        Ok(earlier)
    }

    async fn exported(&self, settings: &Settings) -> Result<Pointers> {
        let mut lines = Vec::new();
        let clock = self.0.clock.clone();
        super::export_catalog(settings, clock, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .await?;
        let mut leaves = HashMap::new();
        for entry in catalog::read_export(&lines.join("\n"))? {
            if let Held::Value(raw) = entry.held
                && let Ok(leaf) = (Leaf { raw }).parse()
            {
                leaves.insert(entry.key, leaf.path);
            }
        }
        Ok(Pointers { lines, leaves })
    }

    /// The tables of a scope, those whose folders their histories began in, and their objects.
    async fn needs(
        &self,
        who: &Principal,
        scope: &Scope,
        pointers: &Pointers,
    ) -> Result<(Vec<TableLine>, BTreeMap<String, Option<Listed>>)> {
        let mut open = self.known_tables(scope).await?;
        if open.is_empty() && *scope != Scope::Lake {
            return Err(
                Error::not_found("there is no table of this name").with("name", scope.name())
            );
        }
        let mut named = BTreeMap::new();
        let mut objects = BTreeMap::new();
        while !open.is_empty() {
            for id in &open {
                self.allow(who, id, Permission::Read).await?;
                let key = catalog::leaf_key(self.0.catalog.layout(), id);
                named.insert(id.clone(), pointers.leaves.get(&key).cloned());
            }
            let round: Vec<_> =
                open.iter().map(|id| self.needed(id, named.get(id).cloned().flatten())).collect();
            let round: Vec<Needed> =
                futures::stream::iter(round).buffered(AT_ONCE).try_collect().await?;
            let mut next = BTreeSet::new();
            for needed in round {
                for (path, listed) in needed.objects {
                    let entry = objects.entry(path).or_insert(listed);
                    *entry = entry.or(listed);
                }
                next.extend(needed.origins);
            }
            open = next.into_iter().filter(|id| !named.contains_key(id)).collect();
        }
        let line = |(id, snapshot): (TableId, Option<String>)| TableLine {
            name: id.to_string(),
            snapshot,
        };
        Ok((named.into_iter().map(line).collect(), objects))
    }

    async fn needed(&self, id: &TableId, named: Option<String>) -> Result<Needed> {
        let needed = Box::pin(self.table(id).needed(named.as_deref())).await;
        needed.map_err(|error| gone(error.with("table", id)))
    }
}

impl Run<'_> {
    /// Makes the backup hold an object; whether it had to be written.
    async fn keep(&self, path: &str, listed: Option<Listed>) -> Result<(ObjectLine, bool)> {
        let done = Box::pin(self.kept(path, listed)).await.map_err(gone)?;
        (self.progress)(Progress::Done(done.0.bytes));
        Ok(done)
    }

    async fn kept(&self, path: &str, listed: Option<Listed>) -> Result<(ObjectLine, bool)> {
        if let (BackupKind::Incremental, Some(line)) = (self.kind, self.same(path, listed)) {
            return Ok((line.clone(), false));
        }
        let target = format!("{OBJECTS}/{path}");
        let way = |target| Way { from: (self.lake, path), to: (self.to, target) };
        let (print, put) = copy::copy(way(&target), None).await?;
        let same =
            listed.is_none_or(|l| (l.bytes, l.written_ms) == (print.bytes, print.written_ms));
        if !same {
            return Err(vacuumed().with("path", path));
        }
        if put == PutCreate::Created {
            return Ok((line(path, print, target), true));
        }
        if copy::print(self.to, &target).await?.is_some_and(|held| held.sha256 == print.sha256) {
            return Ok((line(path, print, target), false));
        }
        // Another content than an earlier backup keeps there, or a damaged one.
        let target = format!("{CHANGED}/{}", print.sha256);
        let (_, put) = copy::copy(way(&target), Some(&print.sha256)).await?;
        if put == PutCreate::Exists
            && copy::print(self.to, &target).await?.is_none_or(|held| held.sha256 != print.sha256)
        {
            return Err(Error::corrupt("the backup holds a damaged object: remove it there")
                .with("object", target));
        }
        Ok((line(path, print, target), put == PutCreate::Created))
    }

    /// What an earlier backup holds of an object, if it is the same still.
    fn same(&self, path: &str, listed: Option<Listed>) -> Option<&ObjectLine> {
        let listed = listed?;
        let same = |line: &&&ObjectLine| {
            (line.bytes, line.written_ms) == (listed.bytes, listed.written_ms)
        };
        self.known.get(path)?.iter().rev().find(same).copied()
    }
}

fn line(path: &str, print: Print, stored: String) -> ObjectLine {
    let Print { bytes, sha256, written_ms } = print;
    ObjectLine { path: path.to_owned(), bytes, sha256, stored, written_ms }
}

fn vacuumed() -> Error {
    let what = "an object changed while it was copied: a vacuum was at work; repeat the backup";
    Error::new(ErrorKind::Conflict, what)
}

/// What is missing was there when the pointers were read, or the lake is damaged.
fn gone(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::new(
        ErrorKind::Conflict,
        "an object is gone: a vacuum was at work (repeat the backup), or the lake is damaged (see \
         `mountable fsck`)",
    )
    .caused_by(error)
}

/// Opens the place where backups go, made if it is missing.
async fn open_target(settings: &Settings, url: &str) -> Result<Objects> {
    if let (Some(to), Some(lake)) =
        (store::local_directory(url), store::local_directory(&settings.lake))
    {
        make_private(&to)?;
        let (to, lake) = (to.canonicalize()?, lake.canonicalize()?);
        if to.starts_with(&lake) || lake.starts_with(&to) {
            return Err(Error::invalid("lake and backup lie within each other")
                .with("backup", to.display()));
        }
    } else if let Some(to) = store::local_directory(url) {
        make_private(&to)?;
    }
    let objects = store::open(url, &settings.storage)?;
    if store::exists(&objects, store::layout::LAKE_MARKER).await? {
        return Err(Error::invalid("there is a lake: a backup needs a place of its own"));
    }
    Ok(objects)
}

/// A backup holds what the catalogue holds: only its owner may look into a new directory.
fn make_private(directory: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Error::from(error).with("directory", directory.display()))
}

/// Opens a place that holds backups.
fn open_existing(settings: &Settings, url: &str) -> Result<Objects> {
    if store::local_directory(url).is_some_and(|directory| !directory.is_dir()) {
        return Err(no_backup(url));
    }
    store::open(url, &settings.storage)
}

fn no_backup(url: &str) -> Error {
    Error::not_found("there is no complete backup here")
        .with("place", crate::config::redact_url(url))
}

impl Scope {
    /// Its name on the command line; empty for the whole lake.
    fn name(&self) -> String {
        match self {
            Self::Lake => String::new(),
            Self::Organization(name) => name.to_string(),
            Self::Super(id) => id.to_string(),
            Self::Table(id) => id.to_string(),
        }
    }

    /// The scope of a name.
    fn of_name(name: &str) -> Result<Self> {
        Ok(match name.matches('/').count() {
            0 if name.is_empty() => Self::Lake,
            0 => Self::Organization(OrgName::new(name)?),
            1 => Self::Super(SuperId::parse(name)?),
            _ => Self::Table(TableId::parse(name)?),
        })
    }
}
