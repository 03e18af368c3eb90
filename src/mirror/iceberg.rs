//! A table as an Iceberg table of format version 2, in the layout of Iceberg's file-system
//! catalogue: `metadata/v{n}.metadata.json`, `metadata/version-hint.text`.
//!
//! Data files without deleted rows stay where they are: Iceberg names files by their addresses. A
//! version is one create-only put of its metadata document; manifests are made before. Beside each
//! manifest stands a list of the same files as JSON, from which the next version goes on.

mod avro;
mod manifest;
mod metadata;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;

use self::manifest::{File, Owner, Status};
use self::metadata::{Document, Step};
use super::content::Content;
use super::{Mirror, MirrorParts, Pace, Published, copies, identity};
use crate::error::{Error, Result};
use crate::store::{self, PutCreate};
use crate::table::{COMPACT, VACUUM};

/// Metadata documents of earlier versions that are kept.
const DOCUMENTS_KEPT: u64 = 100;

/// A table's Iceberg mirror.
#[derive(Debug)]
pub(super) struct IcebergMirror {
    parts: MirrorParts,
    folder: String,
}

impl IcebergMirror {
    pub(super) fn new(parts: MirrorParts, folder: String) -> Self {
        Self { parts, folder }
    }

    fn uri(&self, object: &str) -> String {
        format!("{}/{object}", self.parts.root)
    }

    fn location(&self) -> String {
        self.uri(&self.folder)
    }

    fn metadata_path(&self, name: &str) -> String {
        format!("{}/metadata/{name}", self.folder)
    }

    fn document_path(&self, number: u64) -> String {
        self.metadata_path(&format!("v{number}.metadata.json"))
    }

    fn files_path(&self, snapshot_id: i64) -> String {
        self.metadata_path(&format!("{snapshot_id}.files.json"))
    }

    /// Number and document of the newest version.
    async fn newest(&self) -> Result<Option<(u64, Document)>> {
        let folder = format!("{}/metadata", self.folder);
        let listed = store::list(&self.parts.objects, &folder).await?;
        let number = |name: &str| -> Option<u64> {
            name.strip_prefix('v')?.strip_suffix(".metadata.json")?.parse().ok()
        };
        let newest = listed.iter().filter_map(|meta| number(meta.location.filename()?)).max();
        let Some(newest) = newest else { return Ok(None) };
        let path = self.document_path(newest);
        let bytes = store::get_existing(&self.parts.objects, &path).await?;
        let document = Document::parse(&bytes).map_err(|error| error.with("path", &path))?;
        Ok(Some((newest, document)))
    }

    /// The files of an Iceberg snapshot; none are known of one that is not ours.
    async fn files(&self, snapshot_id: Option<i64>) -> Result<Vec<File>> {
        let Some(id) = snapshot_id else { return Ok(Vec::new()) };
        match store::get(&self.parts.objects, &self.files_path(id)).await? {
            None => Ok(Vec::new()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::corrupt("read the file list of an Iceberg snapshot")
                    .with("path", self.files_path(id))
                    .caused_by(error)
            }),
        }
    }

    async fn hint(&self, number: u64) -> Result<()> {
        let path = self.metadata_path("version-hint.text");
        store::put_overwrite(&self.parts.objects, &path, number.to_string().into()).await
    }

    /// The files that the content needs; those that `before` has are not written again.
    async fn place(
        &self,
        content: &Content,
        before: &[File],
        (number, snapshot_id, sequence): (u64, i64, i64),
    ) -> Result<Vec<File>> {
        let held: BTreeMap<&str, &File> =
            before.iter().map(|file| (file.digest.as_str(), file)).collect();
        let mut files = Vec::with_capacity(content.sources.len());
        for source in &content.sources {
            let digest = source.digest((!source.fits).then_some(content.columns.as_ref()));
            let in_place = self.uri(&source.file.path);
            let usable = |file: &&&File| match &file.copy {
                None => source.fits && file.uri == in_place,
                Some(copy) => !source.fits && file.uri == self.uri(copy),
            };
            if let Some(file) = held.get(digest.as_str()).filter(usable) {
                files.push((*file).clone());
                continue;
            }
            let (uri, copy, bytes) = if source.fits {
                (in_place, None, source.file.bytes)
            } else {
                let path = format!("{}/data/{digest}_{number}.parquet", self.folder);
                let bytes = copies::rewritten(&self.parts, content, source, &path).await?;
                (self.uri(&path), Some(path), bytes)
            };
            let rows = source.live();
            files.push(File { uri, copy, digest, bytes, rows, snapshot_id, sequence });
        }
        Ok(files)
    }

    /// Removes manifests and lists of snapshots that are no longer named: those that were so until
    /// now, and older ones.
    async fn sweep_manifests(&self, named: &[i64], expired: &[i64], before_ms: i64) -> Result<()> {
        let objects = &self.parts.objects;
        for meta in store::list(objects, &format!("{}/metadata", self.folder)).await? {
            let Some(id) = meta.location.filename().and_then(snapshot_of) else { continue };
            // A young one may belong to a snapshot that somebody is about to publish.
            let old = meta.last_modified.timestamp_millis() < before_ms;
            if !named.contains(&id) && (old || expired.contains(&id)) {
                store::delete(objects, meta.location.as_ref()).await?;
            }
        }
        Ok(())
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<String> {
        let path = self.metadata_path(name);
        // The name is derived from all that the content depends on.
        let _same = store::put_create(&self.parts.objects, &path, bytes.into()).await?;
        Ok(self.uri(&path))
    }

    /// Puts the metadata document of a version.
    async fn put(&self, number: u64, document: &Document) -> Result<Published> {
        let path = self.document_path(number);
        let put = store::put_create(&self.parts.objects, &path, document.to_bytes()).await?;
        if put == PutCreate::Exists {
            return Ok(Published::Moved);
        }
        self.hint(number).await?;
        if let Some(old) = number.checked_sub(DOCUMENTS_KEPT) {
            store::delete(&self.parts.objects, &self.document_path(old)).await?;
        }
        Ok(Published::Done)
    }
}

/// The snapshot that an object of the metadata folder belongs to.
fn snapshot_of(name: &str) -> Option<i64> {
    let id = name
        .strip_suffix("-m0.avro")
        .or_else(|| name.strip_suffix(".files.json"))
        .or_else(|| name.strip_prefix("snap-")?.strip_suffix(".avro"));
    id?.parse().ok()
}

/// What happened to the files between two snapshots.
fn entries<'a>(before: &'a [File], after: &'a [File], id: i64) -> Vec<(Status, &'a File)> {
    let live: BTreeSet<&str> = after.iter().map(|file| file.uri.as_str()).collect();
    let gone = before.iter().filter(|file| !live.contains(file.uri.as_str()));
    let status = |file: &File| match file.snapshot_id == id {
        true => Status::Added,
        false => Status::Existing,
    };
    let live = after.iter().map(|file| (status(file), file));
    live.chain(gone.map(|file| (Status::Deleted, file))).collect()
}

/// The name of what a snapshot did, as Iceberg has it.
fn operation(content: &Content, entries: &[(Status, &File)], before: &[File]) -> &'static str {
    let has = |wanted: Status| entries.iter().any(|(status, _)| *status == wanted);
    if [COMPACT, VACUUM].contains(&content.snapshot.lineage.operation.as_str())
        && !before.is_empty()
    {
        return "replace";
    }
    match (has(Status::Added), has(Status::Deleted)) {
        (_, false) => "append",
        (false, true) => "delete",
        (true, true) => "overwrite",
    }
}

#[async_trait]
impl Mirror for IcebergMirror {
    fn pace(&self) -> Pace {
        Pace::NewestOnly
    }

    async fn shown(&self) -> Result<Option<String>> {
        let Some((number, document)) = self.newest().await? else { return Ok(None) };
        let hint = self.metadata_path("version-hint.text");
        let hint = store::get(&self.parts.objects, &hint).await?;
        if hint.is_none_or(|hint| hint != number.to_string().as_bytes()) {
            self.hint(number).await?;
        }
        // A lake that was moved has other addresses.
        let here = document.location() == Some(self.location().as_str());
        Ok(document.snapshot_path().filter(|_| here).map(str::to_owned))
    }

    async fn publish(&self, content: &Content) -> Result<Published> {
        let newest = self.newest().await?;
        let number = newest.as_ref().map_or(1, |(number, _)| number.saturating_add(1));
        let before_document = newest.map(|(_, document)| document);
        // A document that is not ours is left behind as a whole.
        let before_document = before_document.filter(|before| before.snapshot_path().is_some());
        let parent = before_document.as_ref().and_then(Document::current);
        let before = self.files(parent).await?;
        let sequence = before_document.as_ref().map_or(1, |document| document.sequence() + 1);
        let root = &self.parts.root;
        let id = identity::number_of(&format!("{root}\n{number}\n{}", content.snapshot.path));
        let files = self.place(content, &before, (number, id, sequence)).await?;

        let mut document = before_document.unwrap_or_default();
        document.begin(&self.location(), content);
        let mut ids = document.field_ids();
        let (schema_id, schema) = document.add_schema(&content.columns, &mut ids)?;
        let stored: Vec<_> = content
            .sources
            .iter()
            .filter(|source| source.fits)
            .map(|source| source.stored.as_ref())
            .collect();
        document.set_mapping(&content.columns, &stored, &mut ids);

        let entries = entries(&before, &files, id);
        let owner = Owner { snapshot_id: id, parent, sequence, schema: &schema, schema_id };
        let manifest = match entries.is_empty() {
            true => None,
            false => {
                let bytes = manifest::manifest(&owner, &entries)?;
                let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Some((self.create(&format!("{id}-m0.avro"), bytes).await?, len))
            }
        };
        let named = manifest.as_ref().map(|(uri, bytes)| (uri.as_str(), *bytes));
        let list = manifest::manifest_list(&owner, &entries, named)?;
        let list = self.create(&format!("snap-{id}.avro"), list).await?;
        let kept = serde_json::to_vec(&files)
            .map_err(|error| Error::internal("file list").caused_by(error))?;
        self.create(&format!("{id}.files.json"), kept).await?;
        document.add_snapshot(&Step {
            id,
            parent,
            sequence,
            schema_id,
            manifest_list: &list,
            operation: operation(content, &entries, &before),
            content,
            entries: &entries,
            before: number
                .checked_sub(1)
                .filter(|number| *number > 0)
                .map(|number| self.uri(&self.document_path(number))),
        })?;
        self.put(number, &document).await
    }

    async fn clean(&self, before_ms: i64) -> Result<()> {
        let Some((number, mut document)) = self.newest().await? else { return Ok(()) };
        let expired = document.expire(before_ms);
        if !expired.is_empty() {
            let next = number.saturating_add(1);
            if self.put(next, &document).await? == Published::Moved {
                return Ok(());
            }
        }
        let mut kept = BTreeSet::new();
        for id in document.snapshot_ids() {
            kept.extend(self.files(Some(id)).await?.into_iter().filter_map(|file| file.copy));
        }
        let objects = &self.parts.objects;
        for meta in store::list(objects, &format!("{}/data", self.folder)).await? {
            let path = meta.location.to_string();
            let version = path.strip_suffix(".parquet").and_then(|path| path.rsplit_once('_'));
            let version = version.and_then(|(_, version)| version.parse::<u64>().ok());
            // A version that is not there yet may be under way elsewhere.
            if version.is_some_and(|version| version <= number) && !kept.contains(&path) {
                store::delete(objects, &path).await?;
            }
        }
        self.sweep_manifests(&document.snapshot_ids(), &expired, before_ms).await
    }
}

/// A member of a JSON object as text.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}
