//! What a change makes of the newest snapshot: files, deletes, order, columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::changeset::{ChangeSet, ConflictReason, OnExistingKey, RowConflict};
use crate::table::deletes::DeadRows;
use crate::table::edits::{self, Edited};
use crate::table::keys;
use crate::table::layout::{self, Layout, Piece, Run};
use crate::table::rebase::{self, Moves, Rebase, Rebased};
use crate::table::scan::conform;
use crate::table::schema;
use crate::table::snapshot::{DataFile, OnConflict, Snapshot, TableConfig};
use crate::table::stored;
use crate::table::widen;
use crate::table::write::NewRows;

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

/// What became of planning.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It can be committed.
    Ready(Box<Planned>),
    /// It changes nothing.
    Unchanged,
    /// Somebody else's rows are in the way.
    Conflict(Vec<RowConflict>),
    /// Row ids of the new rows belong to other rows by now: they have to be written again.
    RowIdsTaken,
}

impl Table {
    /// Plans a change against a tip.
    ///
    /// # Errors
    /// `Invalid` if the change does not fit its own base; those of reading layouts and key columns.
    pub(crate) async fn plan(&self, change: &ChangeSet, tip: &Arc<Snapshot>) -> Result<Plan> {
        check_counts(change)?;
        let config = change.config.clone().unwrap_or_else(|| tip.config.clone());
        let schema = match wanted_schema(change, tip)? {
            Ok(schema) => schema,
            Err(reason) => return Ok(Plan::Conflict(vec![reason])),
        };
        let nothing = change.edits.iter().all(|edit| edit.remove == 0 && edit.insert == 0);
        if nothing && schema == tip.schema && config == tip.config {
            return Ok(Plan::Unchanged);
        }
        let tip_layout = self.layout(tip).await?;
        let mut moves = match self.moves(change, tip, &tip_layout).await? {
            Rebased::Moves(moves) => moves,
            Rebased::Conflict(rows) => return Ok(Plan::Conflict(rows)),
        };
        let context = KeyContext { change, tip, tip_layout: &tip_layout, schema: &schema };
        if let Some(rows) = self.check_keys(&context, &config, &mut moves).await? {
            return Ok(Plan::Conflict(rows));
        }
        if !self.row_ids_free(&change.rows, &change.base, tip).await? {
            return Ok(Plan::RowIdsTaken);
        }
        let new_layout = new_layout(&change.rows)?;
        let counts = counts(&moves);
        let mut edited = edits::apply(&tip_layout, &moves.placed(), &new_layout)?;
        forget_lengths(&mut edited, change, tip, &tip_layout, &schema);
        let all: Vec<DataFile> = tip
            .files
            .iter()
            .chain(change.rows.files.iter().map(|file| &file.file))
            .cloned()
            .collect();
        let mut layout = edits::finish(&edited, &all, &schema, self.parts.measure.as_ref()).await?;
        layout.columns = layout::columns_digest(&schema);
        let alive: HashSet<&str> = layout.files.iter().map(AsRef::as_ref).collect();
        // A file whose rows are all dead is dropped at once, as the Python library does it.
        let files: Vec<DataFile> =
            all.into_iter().filter(|file| alive.contains(file.path.as_ref())).collect();
        let dead = self.dying(&edited, &files).await?;
        Ok(Plan::Ready(Box::new(Planned {
            schema,
            config,
            files,
            dead,
            layout,
            row_id_high_watermark: watermark(tip, &change.rows),
            counts,
        })))
    }

    /// The change's edits in terms of the tip.
    async fn moves(
        &self,
        change: &ChangeSet,
        tip: &Arc<Snapshot>,
        tip_layout: &Layout,
    ) -> Result<Rebased> {
        if tip.path == change.base.path {
            return Ok(Rebased::Moves(rebase::direct(&change.edits, tip_layout.rows())?));
        }
        let base = self.layout(&change.base).await?;
        let base_files: HashSet<&str> =
            change.base.files.iter().map(|file| file.path.as_ref()).collect();
        let only_deleted = tip.files.iter().all(|file| base_files.contains(file.path.as_ref()));
        let moved = self.moved_rows(&change.base, tip).await?;
        let find = |file: &str, row: u32| moved.find(file, row);
        Rebase {
            base: &base,
            tip: tip_layout,
            base_files: &base_files,
            only_deleted,
            rule: tip.config.on_conflict,
            moved: &find,
        }
        .run(&change.edits)
    }

    /// Where rows went whose files another writer compacted since the base: rewritten files keep
    /// the row ids (format spec section 6.2), so they hold ids from before the base's watermark.
    async fn moved_rows(&self, base: &Snapshot, tip: &Snapshot) -> Result<MovedRows> {
        let mut moved = MovedRows::default();
        let kept: HashSet<&str> = tip.files.iter().map(|file| file.path.as_ref()).collect();
        let known: HashSet<&str> = base.files.iter().map(|file| file.path.as_ref()).collect();
        let vanished: Vec<&DataFile> =
            base.files.iter().filter(|file| !kept.contains(file.path.as_ref())).collect();
        if vanished.is_empty() {
            return Ok(moved);
        }
        let limit = i64::try_from(base.row_id_high_watermark).unwrap_or(i64::MAX);
        for file in tip.files.iter().filter(|file| !known.contains(file.path.as_ref())) {
            let ids = self.row_ids(file).await?;
            if ids.span(file.rows).is_some_and(|(lowest, _)| lowest > limit) {
                continue;
            }
            for row in 0..u32::try_from(file.rows).unwrap_or(u32::MAX) {
                if let Some(id) = ids.at(row) {
                    moved.now.insert(id, (file.path.to_string(), row));
                }
            }
        }
        if !moved.now.is_empty() {
            for file in vanished {
                moved.ids.insert(Arc::clone(&file.path), self.row_ids(file).await?);
            }
        }
        Ok(moved)
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
        let (digests, null_key) = self.new_keys(&change.rows, &keys).await?;
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
        if change.on_existing_key == OnExistingKey::Replace || later_wins {
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

    /// Key digests of the new rows, read from their files if the writer made none.
    async fn new_keys(&self, rows: &NewRows, keys: &SchemaRef) -> Result<(Vec<u128>, Option<u64>)> {
        let made = u64::try_from(rows.key_digests.len()).unwrap_or(u64::MAX);
        if made == rows.rows {
            return Ok((rows.key_digests.clone(), rows.null_key));
        }
        let mut digests = Vec::new();
        for file in &rows.files {
            digests.extend_from_slice(&self.key_digests(&file.file, keys).await?);
        }
        Ok((digests, rows.null_key))
    }

    /// Whether no other file holds an id of the new rows (commit-protocol.md section 7). Ids
    /// above the tip's watermark are free; below it only those of files can be taken.
    async fn row_ids_free(&self, rows: &NewRows, base: &Snapshot, tip: &Snapshot) -> Result<bool> {
        for new in &rows.files {
            let Some(last) = new.first_row_id.checked_add(new.file.rows.saturating_sub(1)) else {
                return Err(Error::internal("row id out of range"));
            };
            if new.first_row_id > tip.row_id_high_watermark {
                continue;
            }
            let above_base = new.first_row_id > base.row_id_high_watermark;
            let known: HashSet<&str> = if above_base {
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
        }
        Ok(true)
    }

    /// Writes new rows again, with other row ids; the old files become garbage.
    ///
    /// # Errors
    /// Those of reading and writing data files.
    pub(crate) async fn rewrite(&self, change: &ChangeSet, tip: &Snapshot) -> Result<NewRows> {
        let schema = match &change.schema {
            Some(wanted) => schema::shown_schema(&wanted.columns)?,
            None => Arc::clone(&change.base.schema),
        };
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let keys = change.config.as_ref().unwrap_or(&tip.config).keys.clone();
        let mut writer = self.writer(tip, &schema, &keys)?;
        for new in &change.rows.files {
            for batch in stored::read_columns(&self.parts.objects, &new.file, &names).await? {
                writer.write(conform(&batch, &schema)?).await?;
            }
        }
        let rows = writer.finish().await?;
        if rows.rows != change.rows.rows {
            return Err(Error::internal("rewritten rows are not as many as before"));
        }
        Ok(rows)
    }

    /// Ids of the removed rows of files that stay.
    async fn dying(&self, edited: &Edited, files: &[DataFile]) -> Result<DeadRows> {
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

/// Rows found again after a compaction.
#[derive(Debug, Default)]
struct MovedRows {
    ids: HashMap<Arc<str>, crate::table::stored::RowIds>,
    now: HashMap<i64, (String, u32)>,
}

impl MovedRows {
    fn find(&self, file: &str, row: u32) -> Option<(String, u32)> {
        self.now.get(&self.ids.get(file)?.at(row)?).cloned()
    }
}

fn check_counts(change: &ChangeSet) -> Result<()> {
    let wanted: u64 = change.edits.iter().map(|edit| edit.insert).sum();
    let written: u64 = change.rows.files.iter().map(|file| file.file.rows).sum();
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

fn new_layout(rows: &NewRows) -> Result<Layout> {
    let mut layout = Layout::default();
    for (number, new) in (0_u32..).zip(&rows.files) {
        let count = u32::try_from(new.file.rows)
            .map_err(|_| Error::unsupported("data file of more than 2^32 rows"))?;
        layout.files.push(Arc::clone(&new.file.path));
        layout.pieces.push(Piece { file: number, first: 0, rows: count, bytes: new.text_bytes });
    }
    Ok(layout)
}

/// Forgets byte lengths that were made for other columns than the ones shown now.
fn forget_lengths(
    edited: &mut Edited,
    change: &ChangeSet,
    tip: &Snapshot,
    tip_layout: &Layout,
    schema: &SchemaRef,
) {
    let old_fit = *schema == tip.schema;
    let new_fit = change.schema.is_some() || *schema == change.base.schema;
    for draft in &mut edited.drafts {
        let new = usize::try_from(draft.file).is_ok_and(|file| file >= tip_layout.files.len());
        if !(if new { new_fit } else { old_fit }) {
            draft.bytes = None;
        }
    }
}

fn watermark(tip: &Snapshot, rows: &NewRows) -> u64 {
    let last = |new: &crate::table::write::NewFile| {
        new.first_row_id.saturating_add(new.file.rows.saturating_sub(1))
    };
    rows.files.iter().map(last).fold(tip.row_id_high_watermark, u64::max)
}

/// A row put in the place of removed ones replaces them, one by one.
fn counts(moves: &Moves) -> Counts {
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
