//! The Delta log of a mirror: commits and checkpoints read back to a state, as any reader does it
//! (Delta protocol, "Action Reconciliation").

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::checkpoint;
use crate::error::{Error, Result};
use crate::store::{self, Objects};

/// Member of a `commitInfo` that only our commits have.
const OURS: &str = "mountable";
/// Digits of a version in a name.
const DIGITS: usize = 20;
/// End of the name of a commit.
const COMMIT: &str = "json";
/// End of the name of a checkpoint.
const CHECKPOINT: &str = "checkpoint.parquet";
/// Commits read at the same time.
const COMMITS_AT_ONCE: usize = 8;

/// Which objects the log has, from its last checkpoint on.
#[derive(Debug, Default)]
struct Names {
    checkpoint: Option<u64>,
    /// Commits behind the checkpoint, ascending.
    commits: Vec<u64>,
}

/// The log at a version.
#[derive(Debug, Default)]
pub(in crate::mirror) struct LogState {
    /// The newest version; `None` = there is no log.
    pub(in crate::mirror) newest: Option<u64>,
    /// Version of the last checkpoint.
    pub(in crate::mirror) checkpoint: Option<u64>,
    /// Files that the version holds: path to `add` action.
    pub(in crate::mirror) active: BTreeMap<String, Value>,
    /// Files that earlier versions hold: path to `remove` action.
    pub(super) removed: BTreeMap<String, Value>,
    /// The newest `metaData` action.
    pub(in crate::mirror) metadata: Option<Value>,
    /// The newest `protocol` action.
    pub(super) protocol: Option<Value>,
    /// The snapshot that the newest version says it shows; `None` if it is not ours.
    pub(super) said: Option<String>,
    /// Digest of the files that the newest version says it holds.
    said_files: Option<String>,
}

impl LogState {
    /// The snapshot that the newest version shows. A log that others wrote to as well may hold
    /// other files than its newest commit counted on.
    pub(super) fn shown(&self) -> Option<&str> {
        let fits = self.said_files.as_ref().is_none_or(|said| *said == self.files_digest());
        self.said.as_deref().filter(|_| fits)
    }

    /// Whether the newest version is one of another writer.
    pub(super) fn is_foreign(&self) -> bool {
        self.newest.is_some() && self.said.is_none()
    }

    /// Digest of the paths of all files.
    pub(super) fn files_digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for path in self.active.keys() {
            hasher.update(path.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().chars().take(32).collect()
    }

    /// Takes one action into account.
    pub(super) fn apply(&mut self, action: &Value) {
        let path = |of: &Value| of.get("path").and_then(Value::as_str).map(str::to_owned);
        if let Some(add) = action.get("add")
            && let Some(path) = path(add)
        {
            self.removed.remove(&path);
            self.active.insert(path, add.clone());
        } else if let Some(remove) = action.get("remove")
            && let Some(path) = path(remove)
        {
            self.active.remove(&path);
            self.removed.insert(path, remove.clone());
        } else if let Some(metadata) = action.get("metaData") {
            self.metadata = Some(metadata.clone());
        } else if let Some(protocol) = action.get("protocol") {
            self.protocol = Some(protocol.clone());
        } else if let Some(ours) = action.get("commitInfo").and_then(|info| info.get(OURS)) {
            let text = |name: &str| ours.get(name).and_then(Value::as_str).map(str::to_owned);
            self.said = text("snapshot");
            self.said_files = text("files");
        }
    }

    /// The actions of a checkpoint of this state. Removals from before `forget_before_ms` are
    /// left out.
    pub(super) fn actions(&self, forget_before_ms: i64) -> Vec<Value> {
        let mut actions = Vec::new();
        actions.extend(self.protocol.iter().map(|protocol| json!({"protocol": protocol})));
        actions.extend(self.metadata.iter().map(|metadata| json!({"metaData": metadata})));
        let still = |action: &Value| {
            let mut action = action.clone();
            if let Some(action) = action.as_object_mut() {
                action.insert("dataChange".to_owned(), false.into());
            }
            action
        };
        let remembered = self.removed.values().filter(|remove| {
            removed_ms(remove).is_none_or(|removed_ms| removed_ms >= forget_before_ms)
        });
        actions.extend(remembered.map(|remove| json!({"remove": still(remove)})));
        actions.extend(self.active.values().map(|add| json!({"add": still(add)})));
        actions
    }
}

/// Version and kind in the name of an object of the log.
fn version_of(name: &str) -> Option<(u64, &str)> {
    let (number, kind) = name.split_once('.')?;
    let version = number.parse().ok().filter(|_| number.len() == DIGITS)?;
    Some((version, kind))
}

/// When a file was removed, milliseconds since 1970.
pub(super) fn removed_ms(remove: &Value) -> Option<i64> {
    remove.get("deletionTimestamp").and_then(Value::as_i64)
}

/// The `commitInfo` of a commit of ours.
pub(super) fn commit_info(now_ms: i64, operation: &str, snapshot: &str, said: Value) -> Value {
    let mut ours = said;
    if let Some(ours) = ours.as_object_mut() {
        ours.insert("snapshot".to_owned(), snapshot.into());
    }
    json!({"commitInfo": {
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": {},
        "engineInfo": concat!("Mountable/", env!("CARGO_PKG_VERSION")),
        OURS: ours,
    }})
}

/// The log in a folder.
#[derive(Debug, Clone)]
pub(super) struct Log {
    objects: Objects,
    folder: String,
}

impl Log {
    pub(super) fn new(objects: Objects, table_folder: &str) -> Self {
        Self { objects, folder: format!("{table_folder}/_delta_log") }
    }

    /// Object path of a commit.
    pub(super) fn commit_path(&self, version: u64) -> String {
        format!("{}/{version:0DIGITS$}.{COMMIT}", self.folder)
    }

    fn checkpoint_path(&self, version: u64) -> String {
        format!("{}/{version:0DIGITS$}.{CHECKPOINT}", self.folder)
    }

    fn hint_path(&self) -> String {
        format!("{}/_last_checkpoint", self.folder)
    }

    /// The newest state, or that of version `up_to` if it lies behind the last checkpoint.
    ///
    /// # Errors
    /// `Corrupt` if an object of the log cannot be read; those of the store.
    pub(super) async fn read(&self, up_to: Option<u64>) -> Result<LogState> {
        let names = self.names().await?;
        let mut state = LogState::default();
        if let Some(version) = names.checkpoint {
            let bytes = store::get_existing(&self.objects, &self.checkpoint_path(version)).await?;
            let read = checkpoint::decode(bytes).map_err(|error| error.with("version", version))?;
            for action in &read.actions {
                state.apply(action);
            }
            state.said = read.snapshot;
            (state.newest, state.checkpoint) = (Some(version), Some(version));
        }
        let wanted: Vec<u64> = names
            .commits
            .into_iter()
            .filter(|version| up_to.is_none_or(|up_to| *version <= up_to))
            .collect();
        let requests: Vec<_> = wanted.iter().map(|version| self.commit(*version)).collect();
        let mut commits = futures::stream::iter(requests).buffered(COMMITS_AT_ONCE);
        let mut versions = wanted.iter();
        while let Some(actions) = commits.try_next().await? {
            // Only the newest commit says what is shown.
            (state.said, state.said_files) = (None, None);
            for action in &actions {
                state.apply(action);
            }
            state.newest = versions.next().copied();
        }
        Ok(state)
    }

    async fn commit(&self, version: u64) -> Result<Vec<Value>> {
        let path = self.commit_path(version);
        let bytes = store::get_existing(&self.objects, &path).await?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line).map_err(|error| {
                    Error::corrupt("read Delta commit").with("path", &path).caused_by(error)
                })
            })
            .collect()
    }

    async fn names(&self) -> Result<Names> {
        if let Some(hint) = self.hint().await? {
            let names = self.names_from(Some(hint)).await?;
            if names.checkpoint.is_some() {
                return Ok(names);
            }
        }
        self.names_from(None).await
    }

    async fn hint(&self) -> Result<Option<u64>> {
        let Some(bytes) = store::get(&self.objects, &self.hint_path()).await? else {
            return Ok(None);
        };
        // Only a hint: one that cannot be read is as good as none.
        let hint: Option<Value> = serde_json::from_slice(&bytes).ok();
        Ok(hint.and_then(|hint| hint.get("version").and_then(Value::as_u64)))
    }

    /// The names from the checkpoint of version `from` on; all of them without one.
    async fn names_from(&self, from: Option<u64>) -> Result<Names> {
        let folder = store::object_path(&self.folder)?;
        let listed: Vec<_> = match from.and_then(|version| version.checked_sub(1)) {
            None => self.objects.list(Some(&folder)).try_collect().await,
            Some(before) => {
                let offset = store::object_path(&self.commit_path(before))?;
                self.objects.list_with_offset(Some(&folder), &offset).try_collect().await
            }
        }
        .map_err(|error| store::error_of(error, "list Delta log", &self.folder))?;
        let mut names = Names::default();
        for meta in listed {
            let found = meta.location.filename().and_then(version_of);
            let Some((version, kind)) = found else { continue };
            match kind {
                COMMIT => names.commits.push(version),
                CHECKPOINT => names.checkpoint = names.checkpoint.max(Some(version)),
                _ => {}
            }
        }
        names.commits.sort_unstable();
        if let Some(checkpoint) = names.checkpoint {
            names.commits.retain(|version| *version > checkpoint);
        }
        Ok(names)
    }

    /// Removes what lies before the newest checkpoint that is older than a time: versions since
    /// then need nothing of it.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn trim(&self, before_ms: i64) -> Result<()> {
        let listed = store::list(&self.objects, &self.folder).await?;
        let named: Vec<(u64, &str, _)> = listed
            .iter()
            .filter_map(|meta| {
                let (version, kind) = version_of(meta.location.filename()?)?;
                Some((version, kind, meta))
            })
            .collect();
        let from = named
            .iter()
            .filter(|(_, kind, meta)| {
                *kind == CHECKPOINT && meta.last_modified.timestamp_millis() < before_ms
            })
            .map(|(version, ..)| *version)
            .max();
        for (version, _, meta) in &named {
            if Some(*version) < from {
                store::delete(&self.objects, meta.location.as_ref()).await?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint of a state, and says where it is.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn put_checkpoint(
        &self,
        state: &LogState,
        snapshot: &str,
        forget_before_ms: i64,
    ) -> Result<()> {
        let Some(version) = state.newest else { return Ok(()) };
        let actions = state.actions(forget_before_ms);
        let bytes = Bytes::from(checkpoint::encode(&actions, snapshot)?);
        let (count, size) = (actions.len(), bytes.len());
        store::put_overwrite(&self.objects, &self.checkpoint_path(version), bytes).await?;
        let hint = json!({
            "version": version,
            "size": count,
            "sizeInBytes": size,
            "numOfAddFiles": state.active.len(),
        });
        store::put_overwrite(&self.objects, &self.hint_path(), hint.to_string().into()).await
    }
}
