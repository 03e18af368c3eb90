//! What a client's handle shows after its own saves, over restarts.
//!
//! A process that keeps a table open goes on writing through the handle of an old snapshot, at the
//! offsets of what it saved since. A gateway that has forgotten those saves would lay its writes
//! over the old snapshot.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::away::{Away, ShownTime};
use super::gateway::Vfs;
use super::slot::{BIRTH, EditKey, Slot};
use crate::error::{Error, Result};
use crate::lake::TableId;

/// Most lines that are taken over at a start.
const LINES_MAX: usize = 4096;

/// The log.
#[derive(Debug)]
pub(super) struct ShownLog(Mutex<File>);

/// One line: a handle shows another version; without it, all about the table is forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ShownLine {
    pub(super) table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handle: Option<(String, u64, u64)>,
    /// The handle's client has not seen all rows of the version.
    #[serde(default)]
    pub(super) partial: bool,
    /// A client read a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read: Option<(String, u64)>,
    /// The table is away from its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) away: Option<Away>,
    /// It is no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) back: bool,
    /// The time that a version shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtime: Option<ShownTime>,
}

impl ShownLine {
    pub(super) fn new(slot: &Slot) -> Self {
        Self {
            table: slot.table.to_string(),
            handle: None,
            partial: false,
            read: None,
            away: None,
            back: false,
            mtime: None,
        }
    }

    fn forgets(&self) -> bool {
        let says = self.away.is_some() || self.back || self.mtime.is_some();
        self.handle.is_none() && self.read.is_none() && !says
    }

    /// Lines with the same subject replace each other.
    fn subject(&self) -> (String, String, Option<u64>) {
        if self.away.is_some() || self.back {
            return (self.table.clone(), "/away".to_owned(), None);
        }
        if self.mtime.is_some() {
            return (self.table.clone(), "/time".to_owned(), None);
        }
        match (&self.handle, &self.read) {
            (Some((client, version, _)), _) => (self.table.clone(), client.clone(), Some(*version)),
            (None, Some((client, _))) => (self.table.clone(), client.clone(), None),
            (None, None) => (self.table.clone(), String::new(), None),
        }
    }
}

impl ShownLog {
    /// Opens the log in `directory`; what it says, oldest first.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn open(directory: &Path) -> Result<(Self, Vec<ShownLine>)> {
        let path = directory.join("shown.log");
        let mut lines: Vec<ShownLine> = Vec::new();
        if let Ok(file) = File::open(&path) {
            for line in BufReader::new(file).lines().map_while(std::io::Result::ok) {
                let Ok(line) = serde_json::from_str::<ShownLine>(&line) else { continue };
                if line.forgets() {
                    lines.retain(|old| old.table != line.table);
                }
                lines.push(line);
            }
        }
        lines.retain(|line| !line.forgets());
        let mut newest = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            newest.insert(line.subject(), index);
        }
        let mut keep: Vec<usize> = newest.into_values().collect();
        keep.sort_unstable();
        let keep = keep.get(keep.len().saturating_sub(LINES_MAX)..).unwrap_or_default();
        let lines: Vec<ShownLine> = keep.iter().filter_map(|i| lines.get(*i).cloned()).collect();
        let fresh = directory.join("shown.log.new");
        let mut text = Vec::new();
        for line in &lines {
            append(&mut text, line)?;
        }
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, &path)?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok((Self(Mutex::new(file)), lines))
    }

    pub(super) fn record(&self, line: &ShownLine) {
        let mut text = Vec::new();
        let written = append(&mut text, line).and_then(|()| {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(file.write_all(&text)?)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "go on without recording what a handle shows");
        }
    }
}

fn append(text: &mut Vec<u8>, line: &ShownLine) -> Result<()> {
    serde_json::to_writer(&mut *text, line)
        .map_err(|error| Error::internal("write the log of handles").caused_by(error))?;
    text.push(b'\n');
    Ok(())
}

impl Vfs {
    /// Writes down what a handle shows from now on.
    pub(super) fn record_shown(&self, slot: &Slot, key: &EditKey, version: u64, partial: bool) {
        let handle = Some((key.client.to_string(), key.version, version));
        self.shown_log.record(&ShownLine { handle, partial, ..ShownLine::new(slot) });
    }

    /// Notes which version a client has read; once for each. An old reader that goes on beside a
    /// newer one takes nothing back.
    pub(super) fn note_read(&self, slot: &Slot, client: &Arc<str>, version: u64) {
        if slot.state().note_seen(client, version) {
            let read = Some((client.to_string(), version));
            self.shown_log.record(&ShownLine { read, ..ShownLine::new(slot) });
        }
    }

    /// Forgets everything about a name but what is staged for it.
    pub(super) fn forget(&self, slot: &Slot) {
        slot.forget();
        self.shown_log.record(&ShownLine::new(slot));
    }

    /// Takes over what an earlier process wrote down.
    pub(super) fn recover_shown(&self, lines: &[ShownLine]) {
        for line in lines {
            let Ok(table) = TableId::parse(&line.table) else { continue };
            if let Some(time) = line.mtime {
                self.recover_time(&table, time);
            }
            if let Some((client, version)) = &line.read {
                self.slot(&table).state().note_seen(&client.as_str().into(), *version);
            }
            let Some((client, handle, version)) = &line.handle else { continue };
            let key = EditKey { client: client.as_str().into(), version: *handle };
            let slot = self.slot(&table);
            let mut state = slot.state();
            if *handle >= BIRTH {
                state.births.insert(*handle, key.client.clone());
            }
            state.current.insert(key.client.clone(), *handle);
            if line.partial {
                state.partial.insert(key.clone());
            }
            state.shown.insert(key, *version);
        }
    }

    /// Takes over which tables were away from their names; the staged edits are there already.
    pub(super) async fn recover_displaced(&self, lines: &[ShownLine]) {
        for line in lines {
            let (Some(away), Ok(table)) = (&line.away, TableId::parse(&line.table)) else {
                continue;
            };
            if let Err(error) = self.recover_away(&table, away).await {
                tracing::warn!(%table, %error, "forget that a table was moved or removed");
            }
        }
    }
}
