//! A table's name as a slot (semantics section 5): clean, edited by somebody, or displaced a
//! moment ago. This file holds the state and the pure decisions; `save.rs` acts on them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::changing::Changing;
use super::gateway::later;
use super::opens::Opens;
use super::scratch::SharedFile;
use super::{Caller, FileTime, Handle};
use crate::error::ErrorKind;
use crate::lake::{CsvView, TableId};

/// Handle versions from here on name an edit that began in an empty slot, not a snapshot.
pub(super) const BIRTH: u64 = 1 << 63;

/// Which client edits through which handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EditKey {
    /// [`Caller::client`] of the editor.
    pub(super) client: Arc<str>,
    /// [`Handle::version`] of the handle.
    pub(super) version: u64,
}

/// A staged edit of a table.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    /// The staged content.
    pub(super) file: SharedFile,
    /// What shows where the content was not written; `None` = nothing.
    pub(super) below: Option<Arc<CsvView>>,
    /// The snapshot that the author had read, which the content is compared with; `None` = a new
    /// table. Another than `below` when the author's own spelling of an earlier save lies below.
    pub(super) against: Option<Arc<CsvView>>,
    /// Who edits.
    pub(super) caller: Caller,
    /// Time of the last write, shown as mtime.
    pub(super) mtime: FileTime,
    /// Time of the last change of anything; never falls.
    pub(super) ctime: FileTime,
    /// Number of writes so far: tells whether more came while a reply was held.
    pub(super) writes: u64,
    /// When it is committed if nothing more comes (monotonic nanoseconds).
    pub(super) due_ns: u64,
    /// Time of the last write (monotonic nanoseconds).
    pub(super) written_ns: u64,
    /// Whether one durable write brought the whole content.
    pub(super) whole: bool,
    /// Verifier of the exclusive create that began it.
    pub(super) verifier: Option<[u8; 8]>,
    /// Failed attempts in the background.
    pub(super) attempts: u32,
    /// Random text that the ids of its commits begin with.
    pub(super) token: String,
    /// Bytes at the beginning that are saved already, among rows of others that this client has
    /// not seen: they cannot be changed, only added to (see `own`).
    pub(super) extends: Option<u64>,
    /// Where the bytes begin that were added, as long as nothing before them was written or cut.
    pub(super) adds_from: Option<u64>,
}

/// A slot whose table was moved or removed a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Displaced {
    /// Version that was there.
    pub(super) version: u64,
    /// When (monotonic nanoseconds).
    pub(super) since_ns: u64,
    /// Who did it.
    pub(super) caller: Caller,
    /// Whether nothing coming back means a drop (removed, silly rename) or a return to what was
    /// there (renamed to a scratch name).
    pub(super) drops: bool,
}

/// The bytes that a client saved, kept because they are spelled otherwise than we would.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Version that they mean.
    pub(super) version: u64,
    /// The bytes.
    pub(super) file: SharedFile,
    /// What shows where they were not written.
    pub(super) below: Option<Arc<CsvView>>,
}

/// A refusal, for the writes of the same save that are still on their way.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// Kind of the error.
    pub(super) kind: ErrorKind,
    /// Its text.
    pub(super) message: String,
    /// Nobody was told: the save was refused in the background.
    pub(super) untold: bool,
    /// The refused text replaced the table's; what follows in mid-file belongs to it.
    pub(super) replaced: bool,
    /// When (monotonic nanoseconds).
    pub(super) since_ns: u64,
}

/// State of a slot.
#[derive(Debug, Default)]
pub(super) struct SlotState {
    /// Edits under way.
    pub(super) edits: HashMap<EditKey, Edit>,
    /// Texts of saves that were merged with others' rows, for handles that stay open.
    pub(super) own: HashMap<EditKey, Edit>,
    /// Handles whose last save was merged: without the own text nothing can be laid over it.
    pub(super) partial: HashSet<EditKey>,
    /// What a client's handle shows after its own commits.
    pub(super) shown: HashMap<EditKey, u64>,
    /// Refusals that the client may not have heard of.
    pub(super) verdicts: HashMap<EditKey, Verdict>,
    /// The handle version that a client got last.
    pub(super) current: HashMap<Arc<str>, u64>,
    /// When a client last was told that the snapshot of a handle is the newest (monotonic
    /// nanoseconds).
    pub(super) confirmed: HashMap<EditKey, u64>,
    /// Newest version that a client has read or written itself.
    pub(super) read: HashMap<Arc<str>, u64>,
    /// Handles that are open, as far as the adapter tells.
    pub(super) opens: HashMap<EditKey, Opens>,
    /// Editor of each handle version from [`BIRTH`] on.
    pub(super) births: HashMap<u64, Arc<str>>,
    /// Set while the table is away from its name.
    pub(super) displaced: Option<Displaced>,
    /// Spelling of the newest save.
    pub(super) kept: Option<Kept>,
    /// Versions in use.
    pub(super) views: HashMap<u64, UsedView>,
    /// mtime shown for a version, where it is not the commit's.
    pub(super) mtime: Option<(u64, FileTime)>,
    /// ctime raised after a refusal.
    pub(super) ctime: Option<FileTime>,
}

/// A version that was looked at.
#[derive(Debug)]
pub(super) struct UsedView {
    /// Object path of the snapshot: numbers of versions begin anew with a table.
    pub(super) path: String,
    /// Let go when too much is kept; then it is opened again.
    pub(super) view: Option<Arc<CsvView>>,
    /// Time of the last use, monotonic nanoseconds.
    pub(super) used_ns: u64,
}

/// A table's name.
#[derive(Debug)]
pub(super) struct Slot {
    /// The table.
    pub(super) table: TableId,
    /// Held while the slot is changed; readers do not take it.
    pub(super) changing: Changing,
    state: Mutex<SlotState>,
}

/// From this many on, handles that were confirmed long ago are forgotten.
const CONFIRMED_MAX: usize = 256;

/// Most old views kept per table.
const VIEWS_MAX: usize = 8;

impl Slot {
    /// A clean slot.
    pub(super) fn new(table: TableId) -> Arc<Self> {
        Arc::new(Self { table, changing: Changing::default(), state: Mutex::default() })
    }

    /// The state, for a moment.
    pub(super) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose edit a handle means.
    pub(super) fn key(&self, caller: &Caller, handle: Handle) -> EditKey {
        let client = match self.state().births.get(&handle.version) {
            Some(editor) => Arc::clone(editor),
            None => Arc::clone(&caller.client),
        };
        EditKey { client, version: handle.version }
    }
}

impl Edit {
    /// The id of a commit of the content as it is: the same after a restart, so that a commit
    /// that was not noticed any more is not repeated.
    pub(super) fn write_id(&self) -> String {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}.{}", self.token, file.revision())
    }

    /// The snapshot below and compared with, if it is the same one.
    pub(super) fn same_base(&self) -> Option<&Arc<CsvView>> {
        let below = self.below.as_ref()?;
        let against = self.against.as_ref()?;
        (below.snapshot().path == against.snapshot().path).then_some(against)
    }
}

impl SlotState {
    /// The snapshot version that a handle shows; `None` if that is not known (a birth from
    /// before a restart).
    pub(super) fn shown_version(&self, key: &EditKey) -> Option<u64> {
        match self.shown.get(key) {
            Some(version) => Some(*version),
            None if key.version < BIRTH => Some(key.version),
            None => None,
        }
    }

    /// The newest version up to `newest` that a client has read or committed.
    pub(super) fn seen(&self, client: &Arc<str>, newest: u64) -> Option<u64> {
        self.read.get(client).copied().filter(|version| *version <= newest)
    }

    /// Notes that a client has seen a version's text; an old reader that goes on beside a newer
    /// one does not take that back.
    /// Whether it is new.
    pub(super) fn note_seen(&mut self, client: &Arc<str>, version: u64) -> bool {
        let newer = self.read.get(client).is_none_or(|seen| *seen < version);
        if newer {
            self.read.insert(Arc::clone(client), version);
        }
        newer
    }

    /// The edit that a newcomer to the name finds: its own, or one that began in an empty slot.
    pub(super) fn visible_edit(&self, client: &Arc<str>) -> Option<(EditKey, Edit)> {
        // A text that lacks rows of others is only for the handle that it was written through.
        let own = |(key, edit): &(&EditKey, &Edit)| key.client == *client && edit.extends.is_none();
        // Once it was saved it is one client's edit like any other: who writes into it from another
        // machine would write over rows that it has not seen.
        let born =
            |(key, _): &(&EditKey, &Edit)| key.version >= BIRTH && !self.shown.contains_key(*key);
        let found = self.edits.iter().filter(own).max_by_key(|(_, edit)| edit.writes);
        let found = found.or_else(|| self.edits.iter().find(born));
        found.map(|(key, edit)| (key.clone(), edit.clone()))
    }

    /// Notes that a client was told that a handle shows the newest snapshot. What shows only a part
    /// of the rows has to be opened anew at once.
    pub(super) fn confirm(&mut self, key: EditKey, now_ns: u64, lasts_ns: u64) {
        if self.partial.contains(&key) {
            return;
        }
        if self.confirmed.len() >= CONFIRMED_MAX {
            self.confirmed.retain(|_, told| now_ns.saturating_sub(*told) < lasts_ns);
        }
        self.confirmed.insert(key, now_ns);
    }

    /// Remembers a view and forgets those that nobody used for long.
    pub(super) fn keep_view(&mut self, view: Arc<CsvView>, now_ns: u64) {
        let (version, path) = (view.snapshot().version, view.snapshot().path.clone());
        self.views.insert(version, UsedView { path, view: Some(view), used_ns: now_ns });
        while self.views.len() > VIEWS_MAX {
            let oldest = self.views.iter().min_by_key(|(_, kept)| kept.used_ns).map(|(v, _)| *v);
            let Some(oldest) = oldest else { break };
            self.views.remove(&oldest);
        }
    }

    /// Moves the ctime of all versions to `now` or later.
    pub(super) fn raise_ctime(&mut self, now: FileTime) {
        self.ctime = Some(match self.ctime {
            Some(old) if old >= now => later(old),
            _ => now,
        });
    }

    /// Notes a completed save of `key` as `version`.
    pub(super) fn saved(&mut self, key: &EditKey, version: u64) {
        self.edits.remove(key);
        self.shown.insert(key.clone(), version);
        self.current.insert(Arc::clone(&key.client), key.version);
        // A bounded memory of who was shown what.
        if self.shown.len() > 1024 {
            let current = &self.current;
            self.shown.retain(|k, _| current.get(&k.client) == Some(&k.version));
            let shown = &self.shown;
            self.partial.retain(|key| shown.contains_key(key));
            let (shown, edits) = (&self.shown, &self.edits);
            self.births.retain(|version, client| {
                let key = EditKey { client: Arc::clone(client), version: *version };
                shown.contains_key(&key) || edits.contains_key(&key)
            });
        }
    }
}

/// What a staged text looks like against its base, without parsing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Ends in a newline, has no hole, is not empty.
    pub(super) complete: bool,
    /// The base with bytes added at its end.
    pub(super) append: bool,
    /// A proper prefix of the base, the header only, nothing, or much less than the base: may be
    /// a writer that has not finished.
    pub(super) doubtful: bool,
    /// At least as long as the base, or ends with the base's last row; of a text that stops in
    /// mid-line: but for the newline at its end.
    pub(super) reaches_end: bool,
    /// As long as the base and ending like it, without a truncation before: bytes changed in
    /// place, or shorter content whose writer has not yet cut off the old end.
    pub(super) in_place: bool,
}

/// What asks for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// A WRITE asked to be durable; whether it brought the whole file at once.
    StableWrite {
        /// The write covers the file from its first to its last byte.
        whole_file: bool,
        /// It made a text longer that earlier writes had begun anew: a client sends the page of a
        /// writer that goes on line by line again as a whole.
        grown: bool,
    },
    /// COMMIT.
    Commit,
    /// SETATTR of mode or times after a write: the editor is done.
    Confirm,
    /// A complete file renamed onto the name, or the control file: no doubt is left.
    Certain,
    /// The quiet time is over.
    Quiet,
    /// A descriptor of an open file was closed, perhaps not the last.
    Flushed,
    /// The writer closed the file.
    Finished {
        /// The text replaces the table's; else the first part of a line was added.
        rewritten: bool,
    },
}

/// What is done about a staged edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Commit before the reply.
    Now,
    /// Wait a moment for more writes, then commit before the reply.
    NowUnlessMore,
    /// Wait for the settle time; if no more writes come, commit before the reply.
    SettleInCall,
    /// Commit after the settle time.
    Settle,
    /// Commit after the shrink time.
    Shrink,
    /// Nothing before the file is closed.
    Close,
}

/// The rules of semantics section 5, "When it commits".
pub(super) fn decide(shape: Shape, trigger: Trigger) -> Decision {
    match trigger {
        Trigger::Certain | Trigger::Quiet => Decision::Now,
        Trigger::Flushed if shape.doubtful || shape.in_place => Decision::Close,
        Trigger::Flushed if shape.complete && shape.reaches_end => Decision::Now,
        Trigger::Flushed => Decision::Close,
        // The close is the confirmation. The rest of a line may come from the next process.
        Trigger::Finished { rewritten } if shape.complete || rewritten => Decision::Now,
        Trigger::Finished { .. } => Decision::Shrink,
        Trigger::Confirm if shape.complete => Decision::Now,
        _ if shape.doubtful => Decision::Shrink,
        // A last line without its newline: a writer in mid-line, or an editor that leaves it out
        // and then writes the whole file at once.
        Trigger::StableWrite { whole_file: true, .. } if !shape.complete && shape.reaches_end => {
            Decision::Settle
        }
        _ if !shape.complete => Decision::Shrink,
        _ if shape.in_place => Decision::Settle,
        Trigger::StableWrite { .. } if shape.append => Decision::Now,
        Trigger::StableWrite { .. } if shape.reaches_end => Decision::Now,
        Trigger::StableWrite { whole_file: true, grown: false } => Decision::Now,
        Trigger::Commit if shape.append || shape.reaches_end => Decision::NowUnlessMore,
        // A new table, or a text that is shorter than the table's: nothing tells its end but
        // silence.
        Trigger::Commit => Decision::SettleInCall,
        _ => Decision::Settle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWRITE: Shape = Shape {
        complete: true,
        append: false,
        doubtful: false,
        reaches_end: false,
        in_place: false,
    };
    const APPEND: Shape = Shape { append: true, reaches_end: true, ..REWRITE };
    const PREFIX: Shape = Shape { doubtful: true, ..REWRITE };
    const PART: Shape = Shape { complete: false, reaches_end: true, ..REWRITE };
    const BEGUN: Shape = Shape { complete: false, ..REWRITE };
    const WHOLE: Trigger = Trigger::StableWrite { whole_file: true, grown: false };
    const PIECE: Trigger = Trigger::StableWrite { whole_file: false, grown: false };
    const GROWN: Trigger = Trigger::StableWrite { whole_file: true, grown: true };
    const IN_PLACE: Shape = Shape { reaches_end: true, in_place: true, ..REWRITE };

    #[test]
    fn bytes_changed_in_place_wait_for_a_truncation_that_may_follow() {
        let write = WHOLE;
        assert_eq!(decide(IN_PLACE, write), Decision::Settle);
        assert_eq!(decide(IN_PLACE, Trigger::Commit), Decision::Settle);
        assert_eq!(decide(IN_PLACE, Trigger::Confirm), Decision::Now);
    }

    #[test]
    fn an_append_is_judged_in_the_write_that_brings_it() {
        assert_eq!(decide(APPEND, PIECE), Decision::Now);
        assert_eq!(decide(APPEND, Trigger::Commit), Decision::NowUnlessMore);
        assert_eq!(decide(PART, PIECE), Decision::Shrink);
        assert_eq!(decide(PART, WHOLE), Decision::Settle);
        assert_eq!(decide(BEGUN, WHOLE), Decision::Shrink);
    }

    #[test]
    fn a_rewrite_commits_at_once_only_when_it_is_surely_whole() {
        assert_eq!(decide(REWRITE, WHOLE), Decision::Now);
        assert_eq!(decide(REWRITE, PIECE), Decision::Settle);
        assert_eq!(decide(REWRITE, GROWN), Decision::Settle);
        assert_eq!(decide(Shape { reaches_end: true, ..REWRITE }, GROWN), Decision::Now);
        assert_eq!(decide(REWRITE, Trigger::Commit), Decision::SettleInCall);
    }

    #[test]
    fn a_close_confirms_what_a_flush_of_one_descriptor_does_not() {
        for shape in [PREFIX, IN_PLACE, PART, REWRITE] {
            assert_eq!(decide(shape, Trigger::Flushed), Decision::Close);
        }
        for shape in [Shape { reaches_end: true, ..REWRITE }, APPEND] {
            assert_eq!(decide(shape, Trigger::Flushed), Decision::Now);
        }
        let rewritten = Trigger::Finished { rewritten: true };
        for shape in [REWRITE, APPEND, PREFIX, IN_PLACE, PART] {
            assert_eq!(decide(shape, rewritten), Decision::Now);
        }
        let added = Trigger::Finished { rewritten: false };
        assert_eq!(decide(APPEND, added), Decision::Now);
        assert_eq!(decide(PART, added), Decision::Shrink);
    }

    #[test]
    fn a_shrinking_rewrite_waits_unless_it_is_confirmed() {
        for trigger in [WHOLE, Trigger::Commit] {
            assert_eq!(decide(PREFIX, trigger), Decision::Shrink);
        }
        for trigger in [Trigger::Confirm, Trigger::Certain, Trigger::Quiet] {
            assert_eq!(decide(PREFIX, trigger), Decision::Now);
        }
    }
}
