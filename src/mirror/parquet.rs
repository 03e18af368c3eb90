//! A table as a folder of Parquet files: `v{version}_{digest}/`, one for each version that was
//! mirrored, complete before `latest.json` names it. Files that did not change are links to, or
//! copies within the store of, those in the folder before.
//!
//! Every file has exactly the table's columns, so that readers of a folder need not join schemas.

use std::collections::BTreeMap;

use async_trait::async_trait;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::content::{Content, Source};
use super::{Mirror, MirrorParts, Pace, Published, copies, identity};
use crate::error::{Error, Result};
use crate::store;

/// Digits of the digest in the name of a folder.
const DIGITS: usize = 8;
/// Object of a folder that is written first; engines pass over names that begin with `_`.
const BEGUN: &str = "_mirror.json";
/// The folder before the newest is left to its readers, and others for so long.
const FOLDERS_KEPT_MS: i64 = 10 * 60 * 1000;

/// What `latest.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Latest {
    /// Version of the table.
    version: u64,
    /// Object path of its snapshot.
    snapshot: String,
    /// Folder of the files, below the one of `latest.json`.
    folder: String,
    /// The files.
    files: Vec<File>,
    /// All rows.
    rows: u64,
    /// The folder that was the latest before.
    before: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    name: String,
    rows: u64,
    bytes: u64,
}

/// A table's Parquet mirror.
#[derive(Debug)]
pub(super) struct ParquetMirror {
    parts: MirrorParts,
    folder: String,
}

impl ParquetMirror {
    pub(super) fn new(parts: MirrorParts, folder: String) -> Self {
        Self { parts, folder }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    async fn latest(&self) -> Result<Option<Latest>> {
        let path = self.path("latest.json");
        let Some(bytes) = store::get(&self.parts.objects, &path).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Error::corrupt("read what a Parquet mirror shows").with("path", path).caused_by(error)
        })
    }

    async fn place(
        &self,
        content: &Content,
        source: &Source,
        folder: &str,
        before: Option<&Latest>,
    ) -> Result<File> {
        let name = format!("{}.parquet", source.digest(Some(&content.columns)));
        let target = self.path(&format!("{folder}/{name}"));
        let rows = source.live();
        let held = before.and_then(|before| {
            let file = before.files.iter().find(|file| file.name == name)?;
            Some((file, self.path(&format!("{}/{name}", before.folder))))
        });
        if let Some((file, from)) = held
            && store::size(&self.parts.objects, &from).await? == Some(file.bytes)
        {
            if from != target
                && store::size(&self.parts.objects, &target).await? != Some(file.bytes)
            {
                copies::link(&self.parts, &from, &target).await?;
            }
            return Ok(File { name, rows, bytes: file.bytes });
        }
        let same_columns = source.stored.fields().len() == content.columns.fields().len()
            && source.stored.fields().iter().zip(content.columns.fields()).all(
                |(stored, wanted)| {
                    stored.name() == wanted.name() && stored.data_type() == wanted.data_type()
                },
            );
        let bytes = if source.fits && same_columns {
            copies::whole(&self.parts, source, &target).await?
        } else {
            copies::rewritten(&self.parts, content, source, &target).await?
        };
        Ok(File { name, rows, bytes })
    }

    /// Removes the folders that were begun before a time of the store, but those that are read.
    async fn sweep(&self, latest: &Latest, before_ms: i64) -> Result<()> {
        let objects = &self.parts.objects;
        let mut begun: BTreeMap<String, i64> = BTreeMap::new();
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for meta in store::list(objects, &self.folder).await? {
            let path = meta.location.to_string();
            let inner = path.strip_prefix(&self.folder).unwrap_or_default().trim_start_matches('/');
            let Some((folder, name)) = inner.split_once('/') else { continue };
            // The Python library has a folder of its own here.
            if !is_version(folder) {
                continue;
            }
            if name == BEGUN {
                begun.insert(folder.to_owned(), meta.last_modified.timestamp_millis());
            }
            of.entry(folder.to_owned()).or_default().push(path);
        }
        for (folder, paths) in of {
            let kept = folder == latest.folder || Some(&folder) == latest.before.as_ref();
            let begun = begun.get(&folder).copied().unwrap_or_default();
            if kept || begun >= before_ms {
                continue;
            }
            for path in paths.iter().rev() {
                store::delete(objects, path).await?;
            }
        }
        Ok(())
    }
}

fn is_version(folder: &str) -> bool {
    folder.strip_prefix('v').and_then(|rest| rest.split_once('_')).is_some_and(
        |(version, digest)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_digit())
                && digest.len() == DIGITS
                && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        },
    )
}

#[async_trait]
impl Mirror for ParquetMirror {
    fn pace(&self) -> Pace {
        Pace::NewestOnly
    }

    async fn shown(&self) -> Result<Option<String>> {
        Ok(self.latest().await?.map(|latest| latest.snapshot))
    }

    async fn publish(&self, content: &Content) -> Result<Published> {
        let before = self.latest().await?;
        let snapshot = &content.snapshot;
        let digest: String = identity::uuid_of(&snapshot.path).chars().take(DIGITS).collect();
        let folder = format!("v{}_{digest}", snapshot.version);
        let about = json!({"version": snapshot.version, "snapshot": snapshot.path});
        let objects = &self.parts.objects;
        let begun = self.path(&format!("{folder}/{BEGUN}"));
        store::put_overwrite(objects, &begun, about.to_string().into()).await?;
        let mut files = Vec::with_capacity(content.sources.len());
        for source in &content.sources {
            files.push(self.place(content, source, &folder, before.as_ref()).await?);
        }
        if files.is_empty() {
            // A folder without a file has no columns: engines could not read it.
            let name = "empty.parquet".to_owned();
            let target = self.path(&format!("{folder}/{name}"));
            let bytes = copies::without_rows(&self.parts, content, &target).await?;
            files.push(File { name, rows: 0, bytes });
        }
        let latest = Latest {
            version: snapshot.version,
            snapshot: snapshot.path.clone(),
            rows: files.iter().map(|file| file.rows).sum(),
            files,
            before: before.map(|before| before.folder).filter(|before| *before != folder),
            folder,
        };
        let text = serde_json::to_string_pretty(&latest)
            .map_err(|error| Error::internal("spell latest.json").caused_by(error))?;
        let path = self.path("latest.json");
        store::put_overwrite(objects, &path, text.into()).await?;
        // Ages are told by the store's clock.
        let meta = objects.head(&store::object_path(&path)?).await;
        let meta = meta.map_err(|error| store::error_of(error, "read the store's time", &path))?;
        let now_ms = meta.last_modified.timestamp_millis();
        self.sweep(&latest, now_ms.saturating_sub(FOLDERS_KEPT_MS)).await?;
        Ok(Published::Done)
    }

    async fn clean(&self, before_ms: i64) -> Result<()> {
        match self.latest().await? {
            Some(latest) => self.sweep(&latest, before_ms).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_ours_are_swept() {
        assert!(is_version("v12_0123abcd"));
        for other in ["files", "v12", "v_0123abcd", "v1_0123abc", "v1_0123abcz", "x1_0123abcd"] {
            assert!(!is_version(other), "{other}");
        }
    }
}
