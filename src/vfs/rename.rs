//! Renames: the one perfect commit point, and the way most editors put a file aside.

use std::sync::{Arc, PoisonError};

use super::derived::Derived;
use super::gateway::Vfs;
use super::names::{Afterwards, check_name};
use super::namespace::{Node, SuperChild, is_silly_rename, super_child};
use super::scratch::{BaseRef, ScratchKind};
use super::slot::{EditKey, Slot, SlotState, Trigger};
use super::tables::{Shown, Strict, shows};
use super::{Caller, FsError, FsResult, Handle};
use crate::error::{Error, ErrorKind};
use crate::lake::{CsvView, SimpleName, SuperId, TableId};

/// What a name is, for a rename.
enum Place {
    Slot(Arc<Slot>),
    Scratch(u64),
    Trashed(SuperId, String),
    Config(TableId),
    View(SuperId, SimpleName),
    Other,
}

/// Whether one of two tables is on a branch, where tables keep their names.
fn on_branch(from: &TableId, to: &TableId) -> bool {
    [from, to].iter().any(|table| table.super_id().branch().is_some())
}

impl Vfs {
    pub(super) async fn rename_name(
        &self,
        caller: &Caller,
        from: (Handle, &[u8]),
        to: (Handle, &[u8]),
    ) -> FsResult<()> {
        let from_dir = self.writable_directory(caller, from.0, from.1)?;
        let to_dir = self.writable_directory(caller, to.0, to.1)?;
        check_name(to.1)?;
        if matches!(to_dir, Node::Branches(_) | Node::Transactions(_)) {
            return Err(FsError::CrossDevice);
        }
        if from.0.inode == to.0.inode && from.1 == to.1 {
            self.find(caller, from.0, from.1).await?;
            return Ok(());
        }
        self.check_names(caller, &from_dir)?;
        self.check_names(caller, &to_dir)?;
        let source = self.place(from.0, &from_dir, from.1);
        let target = self.place(to.0, &to_dir, to.1);
        if let (Node::Super(id), SuperChild::NotAllowed) = (&to_dir, super_child(to.1)) {
            return Err(self.refuse_name(caller, id, to.1).await);
        }
        for (dir, place) in [(&from_dir, &source), (&to_dir, &target)] {
            if let Place::Scratch(id) = place {
                self.check_unlink(caller, dir, *id)?;
            }
        }
        match (source, target) {
            (Place::Scratch(id), Place::Slot(_)) => {
                self.put_scratch_on_slot(caller, id, &to_dir, to.1, Afterwards::Remove).await
            }
            (Place::Scratch(id), target @ (Place::Config(_) | Place::View(..))) => {
                self.put_scratch_on_setting(caller, id, target).await?;
                self.scratch.remove_name(from.0.inode, from.1)?;
                Ok(())
            }
            (Place::View(id, name), target) => {
                self.rename_view(caller, (&id, &name), target, to).await
            }
            (Place::Scratch(id), Place::Scratch(_) | Place::Other) => {
                self.rename_scratch(caller, id, from, to).await
            }
            (Place::Slot(slot), Place::Slot(target)) => {
                self.rename_table(caller, &slot, &target).await
            }
            (Place::Slot(slot), Place::Scratch(_) | Place::Other) => {
                self.displace(caller, &slot, &to_dir, to).await
            }
            (Place::Trashed(super_id, name), Place::Slot(slot)) => {
                self.take_from_trash(caller, &super_id, &name, &slot).await
            }
            _ => {
                self.find(caller, from.0, from.1).await?;
                Err(FsError::new(ErrorKind::Unsupported, "this cannot be renamed"))
            }
        }
    }

    /// Saves a complete file as the configuration of a table or as the text of a view.
    async fn put_scratch_on_setting(
        &self,
        caller: &Caller,
        id: u64,
        target: Place,
    ) -> FsResult<()> {
        let file = self.scratch.file(id)?;
        let text = self.scratch_text(caller, id, &file).await?;
        match target {
            Place::Config(table) => Ok(self.save_config(caller, &table, &text).await?),
            Place::View(super_id, name) => {
                Ok(self.save_view(caller, &super_id, &name, &text).await?)
            }
            _ => Err(FsError::new(ErrorKind::Unsupported, "this cannot be renamed")),
        }
    }

    /// Brings a dropped table back under a name.
    async fn take_from_trash(
        &self,
        caller: &Caller,
        super_id: &SuperId,
        name: &str,
        slot: &Arc<Slot>,
    ) -> FsResult<()> {
        let who = self.principal(caller);
        let dropped = &self.lake.trashed(&who, super_id, name).await?.table;
        if *dropped != slot.table && on_branch(dropped, &slot.table) {
            return Err(FsError::CrossDevice);
        }
        let restored = self.lake.restore_table(&who, super_id, name).await?;
        self.forget(slot);
        if restored.table != slot.table {
            self.lake.rename_table(&who, &restored.table, &slot.table).await?;
        }
        Ok(())
    }

    fn place(&self, dir: Handle, node: &Node, name: &[u8]) -> Place {
        if let Some(id) = self.scratch.child(dir.inode, name) {
            return Place::Scratch(id);
        }
        match node {
            Node::Super(id) => match super_child(name) {
                SuperChild::Table(simple) => Place::Slot(self.slot(&id.table(simple))),
                _ => Place::Other,
            },
            Node::Trash(id) => {
                let text = String::from_utf8_lossy(name);
                let stem = text.strip_suffix(".csv").unwrap_or(&text);
                Place::Trashed(id.clone(), stem.to_owned())
            }
            Node::About(table) if name == b"config.toml" => Place::Config(table.clone()),
            Node::Derived(views) => {
                let text = std::str::from_utf8(name).ok();
                match text.and_then(|text| views.child(text)) {
                    Some(Derived::View(id, name)) => Place::View(id, name),
                    _ => Place::Other,
                }
            }
            _ => Place::Other,
        }
    }

    /// Renames a view, or puts its text aside as an editor does.
    async fn rename_view(
        &self,
        caller: &Caller,
        (id, name): (&SuperId, &SimpleName),
        target: Place,
        to: (Handle, &[u8]),
    ) -> FsResult<()> {
        let view = self.lake.named_view(&self.principal(caller), id, name).await?;
        let view = view.ok_or_else(FsError::not_found)?;
        match target {
            Place::View(other, new) => {
                self.save_view(caller, &other, &new, view.text.as_bytes()).await?;
            }
            Place::Scratch(_) | Place::Other => {
                let free = match self.find(caller, to.0, to.1).await {
                    Ok(entry) => matches!(self.node(entry.handle)?, Node::Scratch(_)),
                    Err(_) => true,
                };
                if !free {
                    return Err(FsError::new(ErrorKind::AlreadyExists, "the name exists"));
                }
                let owner = (0o644, caller.uid, caller.gid);
                let kind = ScratchKind::File;
                let scratch = self.scratch.create((to.0.inode, to.1), kind, owner, self.now())?;
                let file = self.scratch.file(scratch)?;
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write(0, view.text.as_bytes())?;
            }
            _ => {
                return Err(FsError::new(ErrorKind::Unsupported, "this cannot be renamed"));
            }
        }
        self.remove_view(caller, id, name).await
    }

    async fn rename_scratch(
        &self,
        caller: &Caller,
        id: u64,
        from: (Handle, &[u8]),
        to: (Handle, &[u8]),
    ) -> FsResult<()> {
        match self.find(caller, to.0, to.1).await {
            Ok(entry) => {
                let Node::Scratch(other) = self.node(entry.handle)? else {
                    return Err(FsError::new(ErrorKind::AlreadyExists, "the name exists"));
                };
                if other == id {
                    return Ok(());
                }
                match (self.is_scratch_directory(id), self.is_scratch_directory(other)) {
                    (false, true) => return Err(FsError::IsDirectory),
                    (true, false) => return Err(FsError::NotDirectory),
                    (true, true) if !self.scratch.is_empty(entry.handle.inode) => {
                        return Err(FsError::NotEmpty);
                    }
                    _ => {}
                }
            }
            Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.scratch.add_name(id, (to.0.inode, to.1))?;
        self.scratch.remove_name(from.0.inode, from.1)?;
        Ok(())
    }

    /// Puts a complete file on a table's name: the commit, whose verdict is the call's status.
    pub(super) async fn put_scratch_on_slot(
        &self,
        caller: &Caller,
        id: u64,
        dir: &Node,
        name: &[u8],
        afterwards: Afterwards,
    ) -> FsResult<()> {
        let (Node::Super(super_id), SuperChild::Table(simple)) = (dir, super_child(name)) else {
            return Err(FsError::new(ErrorKind::Unsupported, "this cannot be renamed"));
        };
        let slot = self.slot(&super_id.table(simple));
        let _changing = slot.changing.lock().await;
        let file = self.scratch.file(id)?;
        let below = self.scratch_base(caller, id).await?;
        if afterwards == Afterwards::Remove
            && self.is_put_back(caller, &slot, id, below.as_ref()).await?
        {
            // An editor whose save was refused puts the table back by hand.
            self.replaced(&slot);
            self.table_directory_changed(&slot.table);
            return self.became_table(&slot, id, slot_version(below.as_ref()));
        }
        let against = self.author_base(caller, &slot).await?;
        let (copy, revision) = {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let below_bytes = below.as_ref().map_or(0, |view| view.len());
            (file.duplicate(self.scratch.fresh_id(), below_bytes)?, file.revision())
        };
        let version = self.fresh_birth();
        let key = EditKey { client: Arc::clone(&caller.client), version };
        let mut edit = self.new_edit(caller, copy, below, against);
        edit.writes = 1;
        // A repeated RENAME is the same commit.
        edit.token = format!("{id:016x}-{revision}");
        if let Some(attr) = self.scratch.attr(id, 0) {
            // The file keeps the time of its last write (rsync -t, cp -p).
            edit.mtime = attr.mtime;
        }
        self.begin_edit(&slot, &key, edit)?;
        slot.state().births.insert(version, Arc::clone(&caller.client));
        if let Err(error) = self.flush(&slot, &key, Trigger::Certain).await {
            slot.state().edits.remove(&key);
            return Err(error.into());
        }
        self.table_directory_changed(&slot.table);
        // What this client had begun in the replaced file is replaced with it: a truncation that
        // still waits would delete the rows that were just saved.
        slot.state().edits.retain(|other, edit| {
            other == &key || other.client != key.client || edit.extends.is_some()
        });
        if slot.state().edits.remove(&key).is_some() {
            // An empty file on a name where nothing is: nothing to save, and nothing is lost by
            // leaving it where it was.
            return Err(FsError::Lake(Error::invalid("an empty file has no header line")));
        }
        if afterwards == Afterwards::Remove {
            self.became_table(&slot, id, version)?;
        }
        Ok(())
    }

    /// Lets the handles of a scratch file lead to a table from now on; its names are gone.
    fn became_table(&self, slot: &Slot, id: u64, version: u64) -> FsResult<()> {
        let became = BaseRef { table: slot.table.to_string(), version };
        let names = self.scratch.update(id, |meta| {
            meta.became = Some(became);
            meta.names.clone()
        })?;
        for (dir, name) in names {
            self.scratch.remove_name(dir, &name)?;
            self.directory_changed(dir);
        }
        Ok(())
    }

    /// Whether a scratch file is just the table that was moved away from this name, or that stands
    /// under it again since the save it made room for was refused.
    async fn is_put_back(
        &self,
        caller: &Caller,
        slot: &Slot,
        id: u64,
        below: Option<&Arc<CsvView>>,
    ) -> FsResult<bool> {
        let Some(view) = below else { return Ok(false) };
        let snapshot = view.snapshot();
        let displaced = slot.state().displaced.as_ref().map(|displaced| displaced.version);
        let version = match displaced {
            Some(version) => version,
            None => match self.latest(caller, &slot.table).await {
                Ok(latest) => latest.version,
                Err(_) => return Ok(false),
            },
        };
        if snapshot.version != version || snapshot.table != slot.table {
            return Ok(false);
        }
        let file = self.scratch.file(id)?;
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let content = file.content();
        Ok(content.unwritten_from(0) == view.len() && content.size == view.len())
    }

    /// The snapshot below a scratch file's content.
    pub(super) async fn scratch_base(
        &self,
        caller: &Caller,
        id: u64,
    ) -> FsResult<Option<Arc<CsvView>>> {
        let Some(base) = self.scratch.meta(id).and_then(|meta| meta.base) else {
            return Ok(None);
        };
        let slot = self.slot(&TableId::parse(&base.table)?);
        Ok(Some(self.view_at(caller, &slot, base.version).await?))
    }

    /// Renames a table, or saves its content onto another one.
    async fn rename_table(
        &self,
        caller: &Caller,
        from: &Arc<Slot>,
        to: &Arc<Slot>,
    ) -> FsResult<()> {
        self.finish_edits(from).await?;
        if let Some(key) = from.empty_birth(&caller.client) {
            return self.move_empty(caller, from, to, &key).await;
        }
        let target_taken = {
            let free = self.table_handle(caller, to).await;
            match free {
                Ok(_) => true,
                Err(FsError::Lake(error)) if error.kind() == ErrorKind::NotFound => false,
                Err(error) => return Err(error),
            }
        };
        let displaced = to.state().displaced.is_some();
        if target_taken || displaced {
            return self.save_table_onto(caller, from, to).await;
        }
        if on_branch(&from.table, &to.table) {
            // `mv` copies the rows then, and drops the old table.
            return Err(FsError::CrossDevice);
        }
        let _from = from.changing.lock().await;
        self.flush_all(from).await?;
        let who = self.principal(caller);
        if from.state().displaced.is_some() {
            return Err(FsError::not_found());
        }
        self.lake.rename_table(&who, &from.table, &to.table).await?;
        self.inodes.rebind(&Node::Table(from.table.clone()), &Node::Table(to.table.clone()));
        self.inodes.rebind(&Node::About(from.table.clone()), &Node::About(to.table.clone()));
        let handles = from.handles();
        self.forget(from);
        from.state().opens.clear();
        self.forget(to);
        for (key, version) in &handles.shown {
            self.record_shown(to, key, *version, handles.partial.contains(key));
        }
        to.take_handles(handles);
        self.table_directory_changed(&from.table);
        self.table_directory_changed(&to.table);
        Ok(())
    }

    /// `mv a.csv b.csv` where b exists: b gets a's rows, then a is dropped.
    async fn save_table_onto(
        &self,
        caller: &Caller,
        from: &Arc<Slot>,
        to: &Arc<Slot>,
    ) -> FsResult<()> {
        let latest = self.latest(caller, &from.table).await?;
        let view = self.snapshot_view(caller, from, latest.version).await?;
        let id = self.scratch.fresh_id();
        let file = super::staged::StagedFile::create(self.scratch.area(), id, view.len())?;
        let key = EditKey { client: Arc::clone(&caller.client), version: self.fresh_birth() };
        {
            let _changing = to.changing.lock().await;
            let against = self.author_base(caller, to).await?;
            let edit = self.new_edit(caller, file, Some(view), against);
            self.begin_edit(to, &key, edit)?;
            if let Err(error) = self.flush(to, &key, Trigger::Certain).await {
                to.state().edits.remove(&key);
                return Err(error.into());
            }
        }
        let _changing = from.changing.lock().await;
        self.flush_all(from).await?;
        self.lake.drop_table(&self.principal(caller), &from.table).await?;
        self.forget(from);
        self.table_directory_changed(&from.table);
        self.table_directory_changed(&to.table);
        Ok(())
    }

    async fn finish_edits(&self, slot: &Arc<Slot>) -> FsResult<()> {
        let _changing = slot.changing.lock().await;
        self.flush_all(slot).await
    }

    /// Commits what any client has staged for a table that is about to leave its name. The caller
    /// holds the slot.
    pub(super) async fn flush_all(&self, slot: &Arc<Slot>) -> FsResult<()> {
        let keys: Vec<EditKey> = slot.state().edits.keys().cloned().collect();
        for key in keys {
            self.flush(slot, &key, Trigger::Certain).await?;
        }
        Ok(())
    }

    /// A table is renamed to a name that no table can have: put aside by an editor or `sed
    /// -i.bak`, or removed while a process has it open. The old content stays under that name.
    async fn displace(
        &self,
        caller: &Caller,
        slot: &Arc<Slot>,
        to_dir: &Node,
        to: (Handle, &[u8]),
    ) -> FsResult<()> {
        if !matches!(to_dir, Node::Super(_) | Node::Scratch(_) | Node::Org(_) | Node::Root) {
            return Err(FsError::CrossDevice);
        }
        let _changing = slot.changing.lock().await;
        let (handle, shown) = self.table_handle(caller, slot).await?;
        let key = slot.key(caller, handle);
        let displaced = slot.state().displaced.is_some();
        self.view_as_scratch(caller, slot, &shown, (to.0.inode, to.1)).await?;
        let drops = is_silly_rename(to.1);
        let snapshot = match (&shown, displaced) {
            // New content that was not committed yet goes; what was displaced before stays so.
            (Shown::Edit(_), true) => None,
            (Shown::Edit(edit), false) => edit.against.as_ref().map(|base| base.snapshot()),
            (Shown::Snapshot(snapshot), _) => Some(snapshot),
        };
        if let Some(snapshot) = snapshot {
            self.displace_table(slot, snapshot, caller, drops);
        }
        slot.state().edits.remove(&key);
        self.table_directory_changed(&slot.table);
        Ok(())
    }

    pub(super) async fn loose_shown(
        &self,
        caller: &Caller,
        slot: &Slot,
        handle: Handle,
    ) -> FsResult<Shown> {
        self.shown(caller, slot, handle, Strict::No).await
    }

    /// What a table's handle shows, under a scratch name; nothing is copied but staged bytes.
    pub(super) async fn view_as_scratch(
        &self,
        caller: &Caller,
        slot: &Slot,
        shown: &Shown,
        at: (u64, &[u8]),
    ) -> FsResult<()> {
        let mut attr = self.attr_of(slot, 0, shown).await?;
        // A copy that belongs to who made it, as it would anywhere else.
        (attr.uid, attr.gid) = (caller.uid, caller.gid);
        let (version, content) = match shown {
            Shown::Edit(edit) => {
                let below = edit.below.as_ref().map_or(0, |view| view.len());
                let file = edit.file.lock().unwrap_or_else(PoisonError::into_inner);
                let copy = file.duplicate(self.scratch.fresh_id(), below)?;
                (edit.below.as_ref().map(|view| view.snapshot().version), Some(copy))
            }
            Shown::Snapshot(snapshot) => {
                let kept = slot.state().kept.clone();
                match kept.filter(|kept| shows(snapshot, kept.version)) {
                    Some(kept) => {
                        let below = kept.below.as_ref().map_or(0, |view| view.len());
                        let file = kept.file.lock().unwrap_or_else(PoisonError::into_inner);
                        let copy = file.duplicate(self.scratch.fresh_id(), below)?;
                        (kept.below.as_ref().map(|view| view.snapshot().version), Some(copy))
                    }
                    None => (Some(snapshot.version), None),
                }
            }
        };
        let id = self.scratch.create_view(at, &attr, &slot.table, version.unwrap_or(0), content)?;
        if version.is_none() {
            self.scratch.update(id, |meta| meta.base = None)?;
        }
        Ok(())
    }
}

fn slot_version(view: Option<&Arc<CsvView>>) -> u64 {
    view.map_or(0, |view| view.snapshot().version)
}

impl Slot {
    /// What clients' handles show, for the name that the table goes to.
    fn handles(&self) -> SlotState {
        let state = self.state();
        SlotState {
            shown: state.shown.clone(),
            current: state.current.clone(),
            read: state.read.clone(),
            births: state.births.clone(),
            partial: state.partial.clone(),
            opens: state.opens.clone(),
            ..SlotState::default()
        }
    }

    fn take_handles(&self, handles: SlotState) {
        let mut state = self.state();
        state.shown.extend(handles.shown);
        state.current.extend(handles.current);
        state.read.extend(handles.read);
        state.births.extend(handles.births);
        state.partial.extend(handles.partial);
        state.opens.extend(handles.opens);
    }

    /// Forgets everything about a name whose table is gone, but not what is staged for it.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        let edits = std::mem::take(&mut state.edits);
        let births = std::mem::take(&mut state.births);
        let opens = std::mem::take(&mut state.opens);
        *state = SlotState { edits, births, opens, ..SlotState::default() };
    }
}
