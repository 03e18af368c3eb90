//! Reading what stands at a snapshot's name, and the leaf that points to it.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::catalog::Leaf;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, PutCreate, Retries};
use crate::table::Table;
use crate::table::codec;
use crate::table::json;
use crate::table::schema;
use crate::table::snapshot::{DataFile, JsonMap, LayoutRef, Snapshot};
use crate::table::stored;
use crate::table::widen;

/// What an object in the place of a successor says (commit-protocol.md section 3).
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// A snapshot of ours.
    Snapshot(Arc<Snapshot>),
    /// Another writer's snapshot, taken over unchanged.
    Adopt(String),
    /// The table was dropped, or its name given up; the object's path and content.
    Ended(End),
    /// An old snapshot that was vacuumed.
    Gone(Stub),
}

/// What is left of a vacuumed snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Stub {
    /// Path of the next mark.
    pub(crate) next: String,
    /// Its version; 0 if it does not say.
    pub(crate) version: u64,
    /// Whether it was another writer's, beside the trunk's names.
    pub(crate) foreign: bool,
}

/// How a trunk ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    /// Path of the mark.
    pub(crate) path: String,
    /// Version of the mark.
    pub(crate) version: u64,
    /// What it says.
    pub(crate) content: JsonMap,
}

/// Member of a mark that takes a foreign snapshot over.
pub(crate) const ADOPT: &str = "adopt";
/// Member of a mark that ends a dropped table.
pub(crate) const DROPPED: &str = "dropped";
/// Member of a mark that ends a renamed table.
pub(crate) const RENAMED: &str = "renamed_to";
/// Member of the stub of a vacuumed snapshot.
pub(crate) const GONE: &str = "gone";

/// Member of the stub of another writer's snapshot, which does not begin a trunk.
pub(crate) const FOREIGN: &str = "foreign";

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 16;

/// A leaf taken apart.
#[derive(Debug)]
pub(crate) struct LeafParts {
    /// Counter of the pointer.
    pub(crate) version: u64,
    /// Path of the snapshot document.
    pub(crate) path: String,
    /// The snapshot itself, if it is there.
    pub(crate) payload: Option<JsonMap>,
}

/// Takes a leaf apart.
///
/// # Errors
/// `Corrupt` if it is not one.
pub(crate) fn parse_leaf(raw: &[u8]) -> Result<LeafParts> {
    let mut leaf = json::parse_object(raw)?;
    let payload = match leaf.get_mut("payload").map(Value::take) {
        Some(Value::Object(payload)) if !payload.is_empty() => Some(payload),
        _ => None,
    };
    Ok(LeafParts {
        version: leaf.get("version").and_then(json::as_count).unwrap_or_default(),
        path: json::text(&leaf, "path")?.to_owned(),
        payload,
    })
}

/// The bytes of a leaf that names `snapshot`.
pub(crate) fn leaf_bytes(version: u64, snapshot: &Snapshot) -> Bytes {
    let leaf = json!({
        "version": version,
        "ts": snapshot.committed_ms,
        "path": snapshot.path,
        "payload": snapshot.document.as_ref(),
    });
    leaf.to_string().into()
}

impl Table {
    /// The snapshot of a document path.
    ///
    /// # Errors
    /// `NotFound` if there is no such object, `Corrupt` if it cannot be read.
    pub(crate) async fn load(&self, path: &str) -> Result<Arc<Snapshot>> {
        let key = (self.id.clone(), path.to_owned());
        if let Some(known) = self.parts.caches.snapshots.get(&key) {
            return Ok(known);
        }
        match self.load_mark(path).await? {
            Some(Mark::Snapshot(snapshot)) => Ok(snapshot),
            Some(Mark::Gone(_)) => Err(Error::not_found("snapshot was vacuumed")
                .with("table", &self.id)
                .with("snapshot", path)),
            Some(_) => Err(Error::corrupt("object is no snapshot")
                .with("table", &self.id)
                .with("snapshot", path)),
            None => Err(Error::not_found("read snapshot")
                .with("table", &self.id)
                .with("snapshot", path)),
        }
    }

    /// What stands at a path; `None` = nothing.
    ///
    /// # Errors
    /// `Corrupt` if it is neither snapshot nor mark; those of the store.
    pub(crate) async fn load_mark(&self, path: &str) -> Result<Option<Mark>> {
        let Some(bytes) = store::get(&self.parts.objects, path).await? else { return Ok(None) };
        let document = json::parse_object(&bytes)
            .map_err(|error| error.with("table", &self.id).with("snapshot", path))?;
        if let Some(adopted) = document.get(ADOPT).and_then(Value::as_str) {
            return Ok(Some(Mark::Adopt(adopted.to_owned())));
        }
        if document.contains_key(GONE) {
            return Ok(Some(Mark::Gone(Stub {
                next: json::text_or_empty(&document, "next"),
                version: json::count(&document, "snapshot_version").unwrap_or_default(),
                foreign: document.contains_key(FOREIGN),
            })));
        }
        if document.contains_key(DROPPED) || document.contains_key(RENAMED) {
            let version = json::count(&document, "snapshot_version")?;
            let end = End { path: path.to_owned(), version, content: document };
            return Ok(Some(Mark::Ended(end)));
        }
        let snapshot = Arc::new(self.decode(path, document)?);
        self.remember(&snapshot);
        Ok(Some(Mark::Snapshot(snapshot)))
    }

    /// Creates an object under a name that must be free; waits on the table's own clock.
    pub(crate) async fn put_create(&self, path: &str, bytes: Bytes) -> Result<PutCreate> {
        let retries = Retries::standard(Arc::clone(&self.parts.clock));
        store::put_create_with(&self.parts.objects, path, bytes, &retries).await
    }

    pub(crate) fn remember(&self, snapshot: &Arc<Snapshot>) {
        let key = (self.id.clone(), snapshot.path.clone());
        self.parts.caches.snapshots.insert(key, Arc::clone(snapshot));
    }

    /// The snapshot that a leaf names. Our own payloads are exact; those that the Python library
    /// sent through cjson are not, so the document itself is read.
    ///
    /// # Errors
    /// `Corrupt` if leaf and document cannot be read.
    pub(crate) async fn snapshot_of(&self, leaf: &Leaf) -> Result<Arc<Snapshot>> {
        if let Some((raw, snapshot)) = self.parts.caches.leaves.get(&self.id)
            && raw == leaf.raw
        {
            return Ok(snapshot);
        }
        let parts = parse_leaf(&leaf.raw).map_err(|error| error.with("table", &self.id))?;
        let snapshot = match parts.payload {
            Some(payload) if codec::is_ours(&payload) => {
                let snapshot = Arc::new(self.decode(&parts.path, payload)?);
                self.remember(&snapshot);
                snapshot
            }
            Some(payload) => match self.load(&parts.path).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Arc::new(self.decode(&parts.path, payload)?)
                }
                loaded => loaded?,
            },
            None => self.load(&parts.path).await.map_err(missing_is_corrupt)?,
        };
        let snapshot = self.with_all_columns(snapshot).await?;
        let entry = (leaf.raw.clone(), Arc::clone(&snapshot));
        self.parts.caches.leaves.insert(self.id.clone(), entry);
        Ok(snapshot)
    }
}

impl Table {
    /// A document of this table.
    ///
    /// # Errors
    /// As [`codec::decode`].
    pub(crate) fn decode(&self, path: &str, document: JsonMap) -> Result<Snapshot> {
        codec::decode(&self.id, self.parts.catalog.layout(), path, document)
    }

    /// The snapshot with columns wide enough for everything that its files hold, and with the rows
    /// known that are hidden by their keys. Other writers name the columns of their last frame
    /// only; shown in those, values would be cut or missing.
    pub(crate) async fn with_all_columns(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        let snapshot = Box::pin(self.widened(snapshot)).await?;
        if snapshot.generation.is_without_row_ids() {
            return Box::pin(self.with_hidden_rows(snapshot)).await;
        }
        Ok(snapshot)
    }

    async fn widened(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        if codec::is_ours(&snapshot.document) {
            return Ok(snapshot);
        }
        // A column that we took away is still in old files; others came from other writers.
        let dropped = codec::dropped(&snapshot.document);
        let requests: Vec<_> = snapshot.files.iter().map(|file| self.stored_schema(file)).collect();
        let stored: Vec<SchemaRef> =
            futures::stream::iter(requests).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        let mut schema = Arc::clone(&snapshot.schema);
        for stored in &stored {
            let shown = |field: &&FieldRef| {
                !dropped.contains(field.name()) || schema.field_with_name(field.name()).is_ok()
            };
            let fields: Vec<FieldRef> =
                stored.fields().iter().filter(shown).map(Arc::clone).collect();
            schema = widen::union(&schema, &Schema::new(fields));
        }
        let schema = in_order_of_files(&schema, &snapshot, &stored);
        if schema == snapshot.schema {
            return Ok(snapshot);
        }
        let mut wider = Snapshot::clone(&snapshot);
        wider.schema = schema;
        wider.layout = LayoutRef::Missing;
        Ok(Arc::new(wider))
    }

    async fn stored_schema(&self, file: &DataFile) -> Result<SchemaRef> {
        if let Some(known) = self.parts.caches.schemas.get(&file.path) {
            return Ok(known);
        }
        let stored = stored::read_schema(&self.parts.objects, file).await?;
        let shown =
            schema::shown_schema(&stored).map_err(|error| error.with("file", &file.path))?;
        self.parts.caches.schemas.insert(Arc::clone(&file.path), Arc::clone(&shown));
        Ok(shown)
    }
}

/// Columns in the order that a commit of ours settled, then in that of the files, then the rest:
/// cjson scrambles the members of a document, and the library carries them on.
fn in_order_of_files(schema: &SchemaRef, snapshot: &Snapshot, stored: &[SchemaRef]) -> SchemaRef {
    let settled = codec::ordered_columns(&snapshot.document);
    let in_files = stored.iter().flat_map(|file| file.fields()).map(|field| field.name());
    let rest = schema.fields().iter().map(|field| field.name());
    let mut seen = HashSet::new();
    let fields: Vec<FieldRef> = settled
        .iter()
        .chain(in_files)
        .chain(rest)
        .filter(|name| seen.insert(name.as_str()))
        .filter_map(|name| schema.fields().find(name))
        .map(|(_, field)| Arc::clone(field))
        .collect();
    Arc::new(Schema::new(fields))
}

/// A snapshot that something refers to must exist.
fn missing_is_corrupt(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return Error::corrupt("snapshot that the catalogue names is missing").caused_by(error);
    }
    error
}
