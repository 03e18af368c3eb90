//! What a change makes of the newest snapshot: files, deletes, order, columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::changeset::{ChangeSet, ConflictReason, Edit, OnExistingKey, RowConflict};
use crate::table::deletes::DeadRows;
use crate::table::edits::{self, Edited};
use crate::table::generation::Generation;
use crate::table::incoming::StoredRows;
use crate::table::keys;
use crate::table::layout::{self, Layout, Run};
use crate::table::rebase::{self, Moves, Rebase, Rebased};
use crate::table::scan::conform;
use crate::table::schema;
use crate::table::snapshot::{DataFile, OnConflict, Snapshot, TableConfig};
use crate::table::stored::{self, is_derived};
use crate::table::widen;
use crate::table::write::{KeyDigester, NewFile};

/// A change that can be committed onto a tip.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The columns after it.
    pub(crate) schema: SchemaRef,
    /// The configuration after it.
    pub(crate) config: TableConfig,
    /// The data files after it.
    pub(crate) files: Vec<DataFile>,
    /// Rows that die, in files that stay.
    pub(crate) dead: DeadRows,
    /// The order of the rows after it; its digest is not set yet.
    pub(crate) layout: Layout,
    /// Highest row id after it.
    pub(crate) row_id_high_watermark: u64,
    /// Rows inserted, replaced, deleted.
    pub(crate) counts: Counts,
}

/// What a change does, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// New rows beyond those that replace others.
    pub(crate) inserted: u64,
    /// Rows replaced.
    pub(crate) updated: u64,
    /// Rows gone without replacement.
    pub(crate) deleted: u64,
}

/// Changes that may be made on a tip; what is left is to give their rows files.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The columns after them.
    pub(crate) schema: SchemaRef,
    /// The configuration after them.
    pub(crate) config: TableConfig,
    /// Their edits in terms of the tip, new rows by their ordinals.
    pub(crate) moves: Moves,
    /// Whether the new rows were measured in these columns.
    pub(crate) new_lengths_fit: bool,
}

/// What is said about a change.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It can be made.
    Accepted(Box<Accepted>),
    /// It changes nothing.
    Unchanged,
    /// Somebody else's rows are in the way.
    Conflict(Vec<RowConflict>),
}

/// What became of planning.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It can be committed.
    Ready(Box<Planned>),
    /// The ids of the new rows in this file (by its place in the list) belong to other rows by
    /// now: they have to be written again.
    RowIdsTaken(usize),
}

impl Table {
    /// Judges a change against a tip with its layout.
    ///
    /// # Errors
    /// `Invalid` if the change does not fit its own base; those of reading layouts and key columns.
    pub(crate) async fn judge(
        &self,
        change: &ChangeSet,
        tip: &Arc<Snapshot>,
        tip_layout: &Layout,
    ) -> Result<Verdict> {
        check_counts(change)?;
        let config = change.config.clone().unwrap_or_else(|| tip.config.clone());
        let schema = match wanted_schema(change, tip)? {
            Ok(schema) => schema,
            Err(reason) => return Ok(Verdict::Conflict(vec![reason])),
        };
        tip.generation.check_writable()?;
        tip.generation.check_columns(&tip.schema, &schema)?;
        let nothing = change.edits.iter().all(|edit| edit.remove == 0 && edit.insert == 0);
        if nothing && schema == tip.schema && config == tip.config {
            return Ok(Verdict::Unchanged);
        }
        let mut moves = match self.moves(change, tip, tip_layout).await? {
            Rebased::Moves(moves) => moves,
            Rebased::Conflict(rows) => return Ok(Verdict::Conflict(rows)),
        };
        let context = KeyContext { change, tip, tip_layout, schema: &schema };
        if let Some(rows) = self.check_keys(&context, &config, &mut moves).await? {
            return Ok(Verdict::Conflict(rows));
        }
        let new_lengths_fit = change.schema.is_some() || schema == change.base.schema;
        Ok(Verdict::Accepted(Box::new(Accepted { schema, config, moves, new_lengths_fit })))
    }

    /// Plans what was accepted, with its rows in files.
    ///
    /// # Errors
    /// Those of reading row ids and measuring rows.
    pub(crate) async fn plan(
        &self,
        accepted: Accepted,
        rows: &StoredRows,
        tip: &Arc<Snapshot>,
        tip_layout: &Layout,
    ) -> Result<Plan> {
        for (number, stored) in rows.files.iter().enumerate() {
            if !self.row_ids_free(&stored.new, &stored.base, tip).await? {
                return Ok(Plan::RowIdsTaken(number));
            }
        }
        let Accepted { schema, config, moves, new_lengths_fit } = accepted;
        let counts = counts(&moves);
        let mut edited = edits::apply(tip_layout, &moves.placed(), &rows.layout())?;
        forget_lengths(&mut edited, tip_layout, schema == tip.schema, new_lengths_fit);
        let all: Vec<DataFile> = tip
            .files
            .iter()
            .chain(rows.files.iter().map(|stored| &stored.new.file))
            .cloned()
            .collect();
        let mut layout = edits::finish(&edited, &all, &schema, self.parts.measure.as_ref()).await?;
        layout.columns = layout::columns_digest(&schema);
        let alive: HashSet<&str> = layout.files.iter().map(AsRef::as_ref).collect();
        // A file whose rows are all dead is dropped at once, as the Python library does it.
        let files: Vec<DataFile> =
            all.into_iter().filter(|file| alive.contains(file.path.as_ref())).collect();
        let dead = self.dying(&edited, &files, tip.generation).await?;
        Ok(Plan::Ready(Box::new(Planned {
            schema,
            config,
            files,
            dead,
            layout,
            row_id_high_watermark: rows.watermark(tip),
            counts,
        })))
    }

    /// The change's edits in terms of the tip.
    pub(crate) async fn moves(
        &self,
        change: &ChangeSet,
        tip: &Arc<Snapshot>,
        tip_layout: &Layout,
    ) -> Result<Rebased> {
        let only_appends = change.edits.iter().all(|edit| edit.at == Edit::END && edit.remove == 0);
        if tip.path == change.base.path || only_appends {
            return Ok(Rebased::Moves(rebase::direct(&change.edits, tip_layout.rows())?));
        }
        let base = self.layout(&change.base).await?;
        let base_files: HashSet<&str> =
            change.base.files.iter().map(|file| file.path.as_ref()).collect();
        let moved = Box::pin(self.moved_rows(&change.base, tip)).await?;
        let only_deleted = tip.files.iter().all(|file| {
            base_files.contains(file.path.as_ref()) || moved.holds_only_old(&file.path, file.rows)
        });
        let find = |file: &str, row: u32| moved.find(file, row);
        let old = |file: &str, row: u32| base_files.contains(file) || moved.is_old(file, row);
        Rebase {
            base: &base,
            tip: tip_layout,
            old: &old,
            only_deleted,
            rule: tip.config.on_conflict,
            moved: &find,
        }
        .run(&change.edits)
    }

    /// Checks keys; conflicts, or moves that let new rows take the place of existing ones.
    async fn check_keys(
        &self,
        context: &KeyContext<'_>,
        config: &TableConfig,
        moves: &mut Moves,
    ) -> Result<Option<Vec<RowConflict>>> {
        if config.keys.is_empty() {
            return Ok(None);
        }
        let KeyContext { change, tip, tip_layout, schema } = context;
        let keys = keys::key_schema(schema, &config.keys)?;
        let (digests, null_key) = self.new_keys(change, &config.keys, &keys).await?;
        let new_rows = match keys::among_themselves(&digests, null_key) {
            Ok(new_rows) => new_rows,
            Err(rows) => return Ok(Some(rows)),
        };
        let retyped = !same_types(&keys, &tip.schema);
        if config.keys != tip.config.keys || retyped {
            let rows = self.all_keys(tip_layout, &tip.files, &keys, moves, &new_rows).await?;
            return Ok(Some(rows).filter(|rows| !rows.is_empty()));
        }
        if new_rows.is_empty() {
            return Ok(None);
        }
        let existing = self.existing_keys(tip_layout, &tip.files, &keys, &new_rows, moves).await?;
        if existing.is_empty() {
            return Ok(None);
        }
        let later_wins =
            tip.path != change.base.path && tip.config.on_conflict == OnConflict::LastWriterWins;
        let replaces = match change.on_existing_key {
            OnExistingKey::Refuse => false,
            OnExistingKey::Replace => true,
            OnExistingKey::ReplaceSeen => tip.path == change.base.path,
        };
        let decided = change.on_existing_key == OnExistingKey::ReplaceSeen;
        if replaces || (later_wins && !decided) {
            take_places(moves, existing);
            return Ok(None);
        }
        Ok(Some(
            existing
                .into_iter()
                .take(rebase::CONFLICTS_MAX)
                .map(|(new_row, ordinal)| RowConflict {
                    base_row: None,
                    new_row: Some(new_row),
                    current_row: Some(ordinal),
                    twin: None,
                    reason: ConflictReason::KeyExists,
                })
                .collect(),
        ))
    }

    /// Digests of the new rows' keys and the first row with a NULL in its key. Those that the
    /// writer made are used if it knew the same keys in the same types.
    pub(crate) async fn new_keys(
        &self,
        change: &ChangeSet,
        names: &[String],
        keys: &SchemaRef,
    ) -> Result<(Vec<u128>, Option<u64>)> {
        let rows = &change.rows;
        let written = match &change.schema {
            Some(wanted) => schema::shown_schema(&wanted.columns)?,
            None => Arc::clone(&change.base.schema),
        };
        let known = change.config.is_some() || change.base.config.keys == names;
        let made = u64::try_from(rows.key_digests.len()).is_ok_and(|made| made == rows.rows);
        if made && known && same_types(keys, &written) {
            return Ok((rows.key_digests.clone(), rows.null_key));
        }
        let mut digester = KeyDigester::new(keys, names)?;
        for batch in rows.held.iter().flat_map(|held| &held.batches) {
            digester.observe(&conform(batch, keys)?)?;
        }
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        for new in &rows.files {
            for batch in stored::read_columns(&self.parts.objects, &new.file, &wanted).await? {
                digester.observe(&conform(&batch, keys)?)?;
            }
        }
        Ok(digester.finish())
    }

    /// Whether no other file holds an id of a file of new rows (commit-protocol.md section 7).
    /// Ids above the tip's watermark are free; below it only those of files can be taken.
    async fn row_ids_free(&self, new: &NewFile, base: &Snapshot, tip: &Snapshot) -> Result<bool> {
        let Some(last) = new.first_row_id.checked_add(new.file.rows.saturating_sub(1)) else {
            return Err(Error::internal("row id out of range"));
        };
        if new.first_row_id > tip.row_id_high_watermark {
            return Ok(true);
        }
        let known: HashSet<&str> = if new.first_row_id > base.row_id_high_watermark {
            base.files.iter().map(|file| file.path.as_ref()).collect()
        } else {
            HashSet::new()
        };
        for file in tip.files.iter().filter(|file| !known.contains(file.path.as_ref())) {
            let ids = self.row_ids(file).await?;
            let Some((low, high)) = ids.span(file.rows) else { continue };
            let low = u64::try_from(low).unwrap_or_default();
            let high = u64::try_from(high).unwrap_or_default();
            if low <= last && new.first_row_id <= high {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ids of the removed rows of files that stay.
    async fn dying(
        &self,
        edited: &Edited,
        files: &[DataFile],
        generation: Generation,
    ) -> Result<DeadRows> {
        let by_path: HashMap<&str, &DataFile> =
            files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let mut dead = DeadRows::default();
        for Run { file, rows } in &edited.removed {
            let path = usize::try_from(*file).ok().and_then(|index| edited.files.get(index));
            let Some(file) = path.and_then(|path| by_path.get(path.as_ref())) else { continue };
            let ids = self.row_ids(file).await?;
            for row in rows.clone() {
                let id = ids.at(row).ok_or_else(|| {
                    Error::corrupt("layout names a row that its file lacks")
                        .with("file", &file.path)
                        .with("row", row)
                })?;
                if is_derived(id) && !generation.is_without_row_ids() {
                    return Err(Error::unsupported(
                        "row of a data file without row ids (SuperTable before 2.3)",
                    )
                    .with("file", &file.path));
                }
                dead.insert(&file.path, id);
            }
        }
        Ok(dead)
    }
}

/// What a key check looks at.
struct KeyContext<'a> {
    change: &'a ChangeSet,
    tip: &'a Arc<Snapshot>,
    tip_layout: &'a Layout,
    schema: &'a SchemaRef,
}

fn check_counts(change: &ChangeSet) -> Result<()> {
    let wanted: u64 = change.edits.iter().map(|edit| edit.insert).sum();
    let held = change.rows.held.iter().flat_map(|held| &held.batches);
    let written: u64 = change.rows.files.iter().map(|file| file.file.rows).sum::<u64>()
        + held.filter_map(|batch| u64::try_from(batch.num_rows()).ok()).sum::<u64>();
    if wanted == written && written == change.rows.rows {
        return Ok(());
    }
    Err(Error::invalid("edits insert another number of rows than there are new ones")
        .with("edits", wanted)
        .with("rows", written))
}

fn same_types(keys: &SchemaRef, schema: &SchemaRef) -> bool {
    keys.fields().iter().all(|key| {
        schema.field_with_name(key.name()).is_ok_and(|field| field.data_type() == key.data_type())
    })
}

/// The columns after the change, or why it does not fit columns that changed meanwhile.
fn wanted_schema(
    change: &ChangeSet,
    tip: &Snapshot,
) -> Result<std::result::Result<SchemaRef, RowConflict>> {
    let conflict = RowConflict {
        base_row: None,
        new_row: None,
        current_row: None,
        twin: None,
        reason: ConflictReason::SchemaChangedByOther,
    };
    let base = &change.base.schema;
    if let Some(wanted) = &change.schema {
        let wanted = schema::shown_schema(&wanted.columns)?;
        let untouched = *base == tip.schema || wanted == tip.schema;
        return Ok(if untouched { Ok(wanted) } else { Err(conflict) });
    }
    let inserts = change.edits.iter().any(|edit| edit.insert > 0);
    let fits = base.fields().iter().all(|field| {
        let now = tip.schema.field_with_name(field.name());
        now.is_ok_and(|now| widen::fits(field.data_type(), now.data_type()))
    });
    Ok(if fits || !inserts { Ok(Arc::clone(&tip.schema)) } else { Err(conflict) })
}

/// Forgets byte lengths that were made for other columns than the ones shown now.
fn forget_lengths(edited: &mut Edited, tip_layout: &Layout, old_fit: bool, new_fit: bool) {
    for draft in &mut edited.drafts {
        let new = usize::try_from(draft.file).is_ok_and(|file| file >= tip_layout.files.len());
        if !(if new { new_fit } else { old_fit }) {
            draft.bytes = None;
        }
    }
}

/// A row put in the place of removed ones replaces them, one by one.
pub(crate) fn counts(moves: &Moves) -> Counts {
    let mut counts = Counts::default();
    let mut removed: HashMap<u64, u64> = HashMap::new();
    for range in &moves.deletions {
        *removed.entry(range.start).or_default() += range.end - range.start;
    }
    for (at, rows) in &moves.inserts {
        let rows = rows.end - rows.start;
        let free = removed.entry(*at).or_default();
        let updated = rows.min(*free);
        *free -= updated;
        counts.updated += updated;
        counts.inserted += rows - updated;
    }
    counts.deleted = removed.values().sum();
    counts
}

/// Lets new rows take the places of the existing rows with their keys.
fn take_places(moves: &mut Moves, existing: Vec<(u64, u64)>) {
    let places: HashMap<u64, u64> = existing.into_iter().collect();
    let mut inserts = Vec::with_capacity(moves.inserts.len());
    for (at, rows) in std::mem::take(&mut moves.inserts) {
        let mut start = rows.start;
        for row in rows.clone() {
            if let Some(place) = places.get(&row) {
                inserts.push((at, start..row));
                inserts.push((*place, row..row + 1));
                moves.deletions.push(*place..*place + 1);
                start = row + 1;
            }
        }
        inserts.push((at, start..rows.end));
    }
    moves.inserts = inserts;
}
