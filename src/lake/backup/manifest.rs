//! The list of what a backup holds: JSON lines, complete or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::copy::hex;
use crate::error::{Error, Result};
use crate::store::{self, Objects};

/// Version of the form.
const FORMAT: u64 = 1;
/// Folder of the manifests.
const FOLDER: &str = "manifests";
const END: &str = ".jsonl";

/// Whether a backup trusts those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// Every object is read.
    Full,
    /// Objects that an earlier backup holds are not read again.
    Incremental,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: u64,
    pub(super) id: String,
    pub(super) time: String,
    pub(super) time_ms: i64,
    pub(super) kind: BackupKind,
    /// Empty for a whole lake.
    pub(super) scope: String,
    /// How the catalogue spells its keys.
    pub(super) layout: String,
    /// The backups that hold a part of its objects.
    pub(super) builds_on: Vec<String>,
}

/// A table and the snapshot that the catalogue named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableLine {
    pub(super) name: String,
    /// `None` for a dropped or renamed one.
    pub(super) snapshot: Option<String>,
}

/// An object of the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectLine {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// Where it is in the backup.
    pub(super) stored: String,
    /// When the lake's store says it was written, to see whether it is still the same.
    pub(super) written_ms: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Backup(Head),
    Table(TableLine),
    Object(ObjectLine),
    Catalog(String),
    End { lines: u64, sha256: String },
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) head: Head,
    pub(super) tables: Vec<TableLine>,
    /// The lines of the exported catalogue; none if only a part of the lake was backed up.
    pub(super) catalog: Vec<String>,
    pub(super) objects: BTreeMap<String, ObjectLine>,
}

impl Head {
    pub(super) fn new(id: String, time_ms: i64, kind: BackupKind) -> Self {
        let time = crate::clock::rfc3339(time_ms.saturating_mul(1_000_000));
        let (scope, layout) = (String::new(), String::new());
        Self { format: FORMAT, id, time, time_ms, kind, scope, layout, builds_on: Vec::new() }
    }
}

impl Manifest {
    pub(super) fn bytes(&self) -> u64 {
        self.objects.values().map(|object| object.bytes).sum()
    }

    fn text(&self) -> Result<String> {
        let mut text = String::new();
        let mut lines = 0_u64;
        let mut put = |line: &Line| -> Result<()> {
            let json = serde_json::to_string(line);
            text.push_str(&json.map_err(|e| Error::internal("write JSON").caused_by(e))?);
            text.push('\n');
            lines = lines.saturating_add(1);
            Ok(())
        };
        put(&Line::Backup(self.head.clone()))?;
        self.tables.iter().try_for_each(|table| put(&Line::Table(table.clone())))?;
        self.catalog.iter().try_for_each(|line| put(&Line::Catalog(line.clone())))?;
        self.objects.values().try_for_each(|object| put(&Line::Object(object.clone())))?;
        let sha256 = hex(&Sha256::digest(text.as_bytes()));
        let end = serde_json::to_string(&Line::End { lines, sha256 });
        text.push_str(&end.map_err(|error| Error::internal("write JSON").caused_by(error))?);
        text.push('\n');
        Ok(text)
    }

    fn parse(text: &str) -> Result<Self> {
        let damaged = |what: &'static str| Error::corrupt(what);
        let body = text.trim_end_matches('\n');
        let at = body.rfind('\n').ok_or_else(|| damaged("manifest is cut off"))?;
        let (body, last) = text.split_at(at.saturating_add(1));
        let parse = |line: &str| {
            serde_json::from_str::<Line>(line)
                .map_err(|error| damaged("manifest holds a strange line").caused_by(error))
        };
        let Line::End { lines, sha256 } = parse(last)? else {
            return Err(damaged("manifest is cut off"));
        };
        let read = u64::try_from(body.lines().count()).unwrap_or_default();
        if sha256 != hex(&Sha256::digest(body.as_bytes())) || lines != read {
            return Err(damaged("manifest is damaged: it has another checksum"));
        }
        let mut lines = body.lines();
        let Line::Backup(head) = parse(lines.next().unwrap_or_default())? else {
            return Err(damaged("file is no manifest"));
        };
        if head.format != FORMAT {
            return Err(Error::unsupported("backup was made by a later version"));
        }
        let mut manifest =
            Self { head, tables: Vec::new(), catalog: Vec::new(), objects: BTreeMap::new() };
        for line in lines {
            match parse(line)? {
                Line::Table(table) => manifest.tables.push(table),
                Line::Catalog(line) => manifest.catalog.push(line),
                Line::Object(object) => {
                    manifest.objects.insert(object.path.clone(), object);
                }
                Line::Backup(_) | Line::End { .. } => {
                    return Err(damaged("manifest holds a strange line"));
                }
            }
        }
        Ok(manifest)
    }
}

fn path_of(id: &str) -> String {
    format!("{FOLDER}/{id}{END}")
}

/// Writes a manifest: from here on there is a backup.
pub(super) async fn write(objects: &Objects, manifest: &Manifest) -> Result<()> {
    let path = path_of(&manifest.head.id);
    match store::put_create(objects, &path, Bytes::from(manifest.text()?)).await? {
        store::PutCreate::Created => Ok(()),
        store::PutCreate::Exists => Err(Error::internal("name of a backup is taken")),
    }
}

/// Names of the backups, oldest first.
pub(super) async fn names(objects: &Objects) -> Result<Vec<String>> {
    let listed = store::list(objects, FOLDER).await?;
    let name = |meta: &object_store::ObjectMeta| {
        Some(meta.location.filename()?.strip_suffix(END)?.to_owned())
    };
    Ok(listed.iter().filter_map(name).collect())
}

/// Reads a manifest.
pub(super) async fn read(objects: &Objects, id: &str) -> Result<Manifest> {
    let path = path_of(id);
    let bytes = store::get(objects, &path).await?;
    let bytes = bytes.ok_or_else(|| Error::not_found("there is no such backup").with("id", id))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Error::corrupt("manifest is damaged: it is no text").caused_by(error));
    text.and_then(Manifest::parse).map_err(|error| error.with("manifest", path))
}
