//! After a restart: what was acknowledged and not finished is there again.
//!
//! Every staged file has a note (`<id>.json`) that says what it is: scratch, or an edit of a table
//! with its base, its client and its handle. A staged file without a readable note was never
//! acknowledged and is removed.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Caller;
use super::gateway::Vfs;
use super::scratch::ScratchMeta;
use super::slot::{BIRTH, Edit, EditKey, Kept, Trigger};
use super::staged::{SUFFIXES, StagedFile, StagingArea, write_note};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{At, TableId};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Note {
    Scratch(ScratchMeta),
    Edit(EditNote),
    Kept(KeptNote),
}

/// A saved text that is spelled otherwise than we would.
#[derive(Debug, Serialize, Deserialize)]
struct KeptNote {
    table: String,
    version: u64,
    /// Object path of the version's snapshot.
    path: String,
    below: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EditNote {
    table: String,
    client: String,
    handle_version: u64,
    uid: u32,
    gid: u32,
    below: Option<u64>,
    against: Option<u64>,
    verifier: Option<[u8; 8]>,
    #[serde(default)]
    token: String,
    /// Bytes at the beginning that are saved already.
    #[serde(default)]
    extends: Option<u64>,
    /// Its writer has the file open and tells by closing it that the text is whole.
    #[serde(default)]
    held: bool,
}

/// Writes down what a staged edit is.
///
/// # Errors
/// As the file system's.
pub(super) fn note_edit(
    area: &Arc<StagingArea>,
    table: &TableId,
    key: &EditKey,
    edit: &Edit,
    held: bool,
) -> Result<()> {
    let version = |view: &Option<Arc<crate::lake::CsvView>>| {
        view.as_ref().map(|view| view.snapshot().version)
    };
    let note = Note::Edit(EditNote {
        table: table.to_string(),
        client: key.client.to_string(),
        handle_version: key.version,
        uid: edit.caller.uid,
        gid: edit.caller.gid,
        below: version(&edit.below),
        against: version(&edit.against),
        verifier: edit.verifier,
        token: edit.token.clone(),
        extends: edit.extends,
        held,
    });
    let id = edit.file.lock().unwrap_or_else(PoisonError::into_inner).id();
    write_note(area, id, &note.to_bytes()?)
}

impl Note {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(ErrorKind::Internal, "note a staged text").caused_by(error))
    }
}

/// Whoever called an earlier process.
pub(super) fn earlier_caller(client: &str, uid: u32, gid: u32) -> Caller {
    Caller { uid, gid, groups: Arc::from([]), client: client.into(), read_only: false }
}

fn ids(area: &StagingArea) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    for file in std::fs::read_dir(&area.directory)? {
        let name = file?.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next());
        if let Some(id) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The highest number of a staged file.
///
/// # Errors
/// As the file system's.
pub(super) fn last_id(area: &StagingArea) -> Result<u64> {
    Ok(ids(area)?.last().copied().unwrap_or(0))
}

impl Vfs {
    /// Puts back what an earlier process left in the state directory.
    pub(super) async fn recover(&self) -> Result<()> {
        let area = Arc::clone(self.scratch.area());
        for id in ids(&area)? {
            let note = std::fs::read(area.directory.join(format!("{id:016x}.json")));
            let note = note.ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
            let outcome = match note {
                Some(Note::Scratch(meta)) => self.recover_scratch(&area, id, meta),
                Some(Note::Edit(note)) => self.recover_edit(&area, id, note).await,
                Some(Note::Kept(note)) => self.recover_kept(&area, id, note).await,
                None => {
                    remove_files(&area, id);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(id, %error, "leave a staged file for the next start");
            }
        }
        Ok(())
    }

    fn recover_scratch(&self, area: &Arc<StagingArea>, id: u64, meta: ScratchMeta) -> Result<()> {
        let file = match meta.kind {
            super::scratch::ScratchKind::File => Some(StagedFile::recover(area, id)?),
            _ => None,
        };
        self.scratch.insert(id, meta, file);
        Ok(())
    }

    /// Writes down that a staged text is the spelling of a version.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn note_kept(&self, table: &TableId, path: &str, kept: &Kept) -> Result<()> {
        let note = Note::Kept(KeptNote {
            table: table.to_string(),
            version: kept.version,
            path: path.to_owned(),
            below: kept.below.as_ref().map(|view| view.snapshot().version),
        });
        let id = kept.file.lock().unwrap_or_else(PoisonError::into_inner).id();
        write_note(self.scratch.area(), id, &note.to_bytes()?)
    }

    async fn recover_kept(&self, area: &Arc<StagingArea>, id: u64, note: KeptNote) -> Result<()> {
        let table = TableId::parse(&note.table)?;
        let mut file = StagedFile::recover(area, id)?;
        file.keep_on_disk();
        let who = self.principal(&earlier_caller("gateway", 0, 0));
        let latest = match self.lake.latest(&who, &table).await {
            Ok(latest) => Some(latest),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let newest = latest.is_some_and(|latest| latest.path == note.path);
        let below = match note.below.filter(|_| newest) {
            Some(version) => Some(self.lake.view(&who, &table, At::Version(version)).await?),
            None => None,
        };
        file.drop_from_disk();
        if newest {
            let file = Arc::new(std::sync::Mutex::new(file));
            let kept = Kept { version: note.version, file, below };
            self.slot(&table).state().kept = Some(kept);
        }
        Ok(())
    }

    async fn recover_edit(&self, area: &Arc<StagingArea>, id: u64, note: EditNote) -> Result<()> {
        let table = TableId::parse(&note.table)?;
        let mut file = StagedFile::recover(area, id)?;
        file.keep_on_disk();
        let caller = earlier_caller(&note.client, note.uid, note.gid);
        let slot = self.slot(&table);
        let who = self.principal(&caller);
        let view = async |version: Option<u64>| match version {
            Some(version) => self.lake.view(&who, &table, At::Version(version)).await.map(Some),
            None => Ok(None),
        };
        let below = view(note.below).await?;
        let against = view(note.against).await?;
        file.drop_from_disk();
        let key = EditKey { client: Arc::clone(&caller.client), version: note.handle_version };
        let mut edit = self.new_edit(&caller, file, below, against);
        edit.verifier = note.verifier;
        edit.extends = note.extends;
        edit.adds_from = note.extends;
        edit.token = note.token;
        let saved = all_saved(&edit);
        let settle = self.settings.timing.settle;
        let settle = u64::try_from(settle.as_nanos()).unwrap_or(u64::MAX);
        edit.due_ns = self.clock.monotonic_ns().saturating_add(settle);
        let against = edit.against.clone();
        let write_id = edit.write_id();
        {
            let mut state = slot.state();
            if key.version >= BIRTH {
                state.births.insert(key.version, Arc::clone(&key.client));
            }
            if saved {
                state.own.insert(key, edit);
                return Ok(());
            }
            state.edits.insert(key.clone(), edit);
        }
        self.mark_pending(&table);
        tracing::info!(%table, "a save from before the restart goes on");
        if let Some(against) = against
            && self.lake.was_committed(against.snapshot(), &write_id).await?
        {
            // It was committed and only the notes are old: known before the client writes more.
            let _changing = slot.changing.lock().await;
            self.flush(&slot, &key, Trigger::Quiet).await?;
        } else if note.held {
            // The file that it was written through is gone with the process before.
            let _changing = slot.changing.lock().await;
            self.abandon(&slot, &key, super::opens::CUT_OFF).await;
        }
        Ok(())
    }
}

/// Removes what a process left that was stopped before it had noted what the file is.
fn remove_files(area: &StagingArea, id: u64) {
    for suffix in SUFFIXES {
        let path = area.directory.join(format!("{id:016x}.{suffix}"));
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "leave a staging file behind");
        }
    }
}

/// Whether all of an edit's text was saved before the restart.
fn all_saved(edit: &Edit) -> bool {
    let size = edit.file.lock().unwrap_or_else(PoisonError::into_inner).size();
    edit.extends == Some(size)
}
