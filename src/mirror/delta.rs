//! A table as a Delta table: a log of our own actions over copies of its data files.
//!
//! Version `n` of the Delta table is version `n` of the SuperTable's, as the Python library numbers
//! its commits, too. A commit is one create-only put; whoever loses looks again. The Python
//! library mirrors without regard to deleted rows, and without asking whether a number is taken:
//! its commits are read like all others and corrected by the next one, or in place if it has the
//! number of the snapshot that is to be shown (adr/0014).

mod checkpoint;
mod log;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Value, json};

use self::log::{Log, LogState, commit_info, removed_ms};
use super::content::{Content, Source};
use super::{Mirror, MirrorParts, Pace, Published, copies, identity};
use crate::clock::now_ms;
use crate::error::Result;
use crate::ident::TableId;
use crate::store::{self, PutCreate};
use crate::table::{COMPACT, VACUUM};

/// A checkpoint is written after so many commits.
const CHECKPOINT_EVERY: u64 = 10;
/// Removals are remembered in checkpoints for so long; readers that follow the table need them.
const REMOVALS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// Folder of the copies below the mirror's. The Python library empties its own, `files`.
const DATA: &str = "data";

/// A table's Delta mirror.
#[derive(Debug)]
pub(super) struct DeltaMirror {
    parts: MirrorParts,
    table: TableId,
    folder: String,
    log: Log,
}

/// Where a commit goes.
struct Target {
    /// The state that it changes.
    base: LogState,
    version: u64,
    /// Whether another writer's commit has the number and is replaced.
    replaces: bool,
}

impl DeltaMirror {
    pub(super) fn new(parts: MirrorParts, table: TableId, folder: String) -> Self {
        let log = Log::new(parts.objects.clone(), &folder);
        Self { parts, table, folder, log }
    }

    async fn target(&self, content: &Content) -> Result<Target> {
        let state = self.log.read(None).await?;
        let wanted = content.snapshot.version;
        let Some(newest) = state.newest else {
            return Ok(Target { base: state, version: wanted, replaces: false });
        };
        if state.is_foreign() && newest == wanted && state.checkpoint != Some(newest) {
            let base = match newest.checked_sub(1) {
                Some(before) => self.log.read(Some(before)).await?,
                None => LogState::default(),
            };
            return Ok(Target { base, version: newest, replaces: true });
        }
        let version = wanted.max(newest.saturating_add(1));
        Ok(Target { base: state, version, replaces: false })
    }

    /// The `add` actions of the content by path; files that the base has are not written again.
    async fn adds(&self, content: &Content, target: &Target) -> Result<BTreeMap<String, Value>> {
        let held: BTreeMap<&str, &String> = target
            .base
            .active
            .keys()
            .filter_map(|path| Some((path.strip_prefix(DATA)?.get(1..)?.split_once('_')?.0, path)))
            .collect();
        let mut adds = BTreeMap::new();
        for source in &content.sources {
            let digest = digest(content, source);
            if let Some(path) = held.get(digest.as_str())
                && let Some(add) = target.base.active.get(*path)
            {
                adds.insert((*path).clone(), add.clone());
                continue;
            }
            // A name is never used again, so that what was removed can be cleaned away for good.
            let path = format!("{DATA}/{digest}_{}.parquet", target.version);
            let object = format!("{}/{path}", self.folder);
            let bytes = if source.fits {
                copies::whole(&self.parts, source, &object).await?
            } else {
                copies::rewritten(&self.parts, content, source, &object).await?
            };
            let add = json!({
                "path": path,
                "partitionValues": {},
                "size": bytes,
                "modificationTime": content.snapshot.committed_ms,
                "dataChange": true,
                "stats": json!({"numRecords": source.live()}).to_string(),
            });
            adds.insert(path, add);
        }
        Ok(adds)
    }

    /// `protocol` and `metaData`, where they change.
    fn declarations(&self, content: &Content, base: &LogState) -> Result<Vec<Value>> {
        let mut actions = Vec::new();
        let local_times = schema::has_local_times(&content.columns);
        if let Some(protocol) = protocol(base.protocol.as_ref(), local_times) {
            actions.push(json!({"protocol": protocol}));
        }
        let columns = schema::schema_string(&content.columns)?;
        let text = |name: &str| base.metadata.as_ref()?.get(name)?.as_str();
        let parted = base.metadata.as_ref().and_then(|metadata| metadata.get("partitionColumns"));
        let parted = parted.and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        if text("schemaString") != Some(columns.as_str()) || parted {
            let id = text("id").map_or_else(|| self.new_id(content), str::to_owned);
            actions.push(json!({"metaData": {
                "id": id,
                "name": self.table.simple_name.as_str(),
                "format": {"provider": "parquet", "options": {}},
                "schemaString": columns,
                "partitionColumns": [],
                "configuration": {},
                "createdTime": content.snapshot.committed_ms,
            }}));
        }
        Ok(actions)
    }

    /// The id of the Delta table, in the form of a UUID.
    fn new_id(&self, content: &Content) -> String {
        identity::uuid_of(&format!("delta\n{}\n{}", self.table, content.snapshot.path))
    }

    /// Fills the numbers between the newest version and `version`: snapshots that are gone.
    async fn fill(&self, target: &Target) -> Result<Published> {
        let Some(newest) = target.base.newest else { return Ok(Published::Done) };
        let said = target.base.said.as_deref().unwrap_or_default();
        for version in newest.saturating_add(1)..target.version {
            let info = self.info("WRITE", said, &target.base);
            let bytes = format!("{info}\n").into();
            let path = self.log.commit_path(version);
            if store::put_create(&self.parts.objects, &path, bytes).await? == PutCreate::Exists {
                return Ok(Published::Moved);
            }
        }
        Ok(Published::Done)
    }

    fn info(&self, operation: &str, snapshot: &str, after: &LogState) -> Value {
        let now = now_ms(self.parts.clock.as_ref());
        commit_info(now, operation, snapshot, json!({"files": after.files_digest()}))
    }
}

/// Digest of a source as this mirror copies it.
fn digest(content: &Content, source: &Source) -> String {
    source.digest((!source.fits).then_some(content.columns.as_ref()))
}

/// The protocol to declare, if the present one does not do.
fn protocol(present: Option<&Value>, local_times: bool) -> Option<Value> {
    const LOCAL_TIMES: &str = "timestampNtz";
    let knows = present
        .and_then(|protocol| protocol.get("readerFeatures")?.as_array())
        .is_some_and(|features| features.iter().any(|feature| feature == LOCAL_TIMES));
    match (present, local_times) {
        (Some(_), false) => None,
        (Some(_), true) if knows => None,
        (None, false) => Some(json!({"minReaderVersion": 1, "minWriterVersion": 2})),
        (_, true) => Some(json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": [LOCAL_TIMES],
            "writerFeatures": ["appendOnly", "invariants", LOCAL_TIMES],
        })),
    }
}

#[async_trait]
impl Mirror for DeltaMirror {
    fn pace(&self) -> Pace {
        Pace::EachSnapshot
    }

    async fn shown(&self) -> Result<Option<String>> {
        Ok(self.log.read(None).await?.shown().map(str::to_owned))
    }

    async fn publish(&self, content: &Content) -> Result<Published> {
        let target = self.target(content).await?;
        let adds = self.adds(content, &target).await?;
        let now = now_ms(self.parts.clock.as_ref());
        let snapshot = &content.snapshot;
        // Compaction moves rows to other files; whoever follows the changes has seen them.
        let moves_only = [COMPACT, VACUUM].contains(&snapshot.lineage.operation.as_str())
            && snapshot.previous.is_some()
            && target.base.shown() == snapshot.previous.as_deref();
        let mut actions = self.declarations(content, &target.base)?;
        for (path, add) in &target.base.active {
            if !adds.contains_key(path) {
                actions.push(json!({"remove": {
                    "path": path,
                    "deletionTimestamp": now,
                    "dataChange": !moves_only,
                    "size": add.get("size"),
                }}));
            }
        }
        for (path, add) in adds {
            if !target.base.active.contains_key(&path) {
                let mut add = add;
                if let Some(add) = add.as_object_mut() {
                    add.insert("dataChange".to_owned(), (!moves_only).into());
                }
                actions.push(json!({"add": add}));
            }
        }
        self.commit(content, target, actions).await
    }

    async fn clean(&self, before_ms: i64) -> Result<()> {
        let state = self.log.read(None).await?;
        let Some(newest) = state.newest else { return Ok(()) };
        let recent: BTreeSet<&str> = state
            .removed
            .iter()
            .filter(|(_, remove)| removed_ms(remove).is_none_or(|removed| removed >= before_ms))
            .map(|(path, _)| path.as_str())
            .collect();
        let folder = format!("{}/{DATA}", self.folder);
        for meta in store::list(&self.parts.objects, &folder).await? {
            let Some(name) = meta.location.filename() else { continue };
            let path = format!("{DATA}/{name}");
            let version = name.strip_suffix(".parquet").and_then(|name| name.split_once('_'));
            let version = version.and_then(|(_, version)| version.parse::<u64>().ok());
            // A version that is not there yet may be under way elsewhere.
            let past = version.is_some_and(|version| version <= newest);
            if past && !state.active.contains_key(&path) && !recent.contains(path.as_str()) {
                store::delete(&self.parts.objects, &format!("{folder}/{name}")).await?;
            }
        }
        self.log.trim(before_ms).await
    }
}

impl DeltaMirror {
    /// Puts the commit, and now and then a checkpoint.
    async fn commit(
        &self,
        content: &Content,
        mut target: Target,
        actions: Vec<Value>,
    ) -> Result<Published> {
        if !target.replaces && self.fill(&target).await? == Published::Moved {
            return Ok(Published::Moved);
        }
        let corrects = target.base.shown().is_none() && target.base.newest.is_some();
        for action in &actions {
            target.base.apply(action);
        }
        let after = &mut target.base;
        after.newest = Some(target.version);
        let path = self.log.commit_path(target.version);
        let mut lines = self.info("WRITE", &content.snapshot.path, after).to_string();
        for action in &actions {
            lines.push('\n');
            lines.push_str(&action.to_string());
        }
        lines.push('\n');
        let objects = &self.parts.objects;
        if target.replaces {
            tracing::warn!(table = %self.table, version = target.version,
                "replace the commit of another writer in the Delta mirror");
            store::put_overwrite(objects, &path, lines.into()).await?;
        } else {
            let put = store::put_create(objects, &path, lines.into()).await?;
            if copies::published(put) == Published::Moved {
                return Ok(Published::Moved);
            }
        }
        let due = after.checkpoint.is_none_or(|last| target.version - last >= CHECKPOINT_EVERY);
        if due || corrects || target.replaces {
            let forget = now_ms(self.parts.clock.as_ref()).saturating_sub(REMOVALS_KEPT_MS);
            self.log.put_checkpoint(after, &content.snapshot.path, forget).await?;
        }
        Ok(Published::Done)
    }
}

/// The log of a table folder, as a reader sees it.
#[cfg(test)]
pub(super) async fn read_log(objects: store::Objects, folder: &str) -> Result<LogState> {
    Log::new(objects, folder).read(None).await
}

/// The same at a version.
#[cfg(test)]
pub(super) async fn read_log_at(
    objects: store::Objects,
    folder: &str,
    version: u64,
) -> Result<LogState> {
    Log::new(objects, folder).read(Some(version)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_declared_once_and_raised_for_local_times() {
        let first = protocol(None, false).expect("declared");
        assert_eq!(first["minReaderVersion"], 1);
        assert_eq!(protocol(Some(&first), false), None);
        let raised = protocol(Some(&first), true).expect("raised");
        assert_eq!(raised["minReaderVersion"], 3);
        assert_eq!(protocol(Some(&raised), true), None);
        assert_eq!(protocol(Some(&raised), false), None);
    }
}
