//! Compaction: rows of many small or half-dead data files go to few new ones (adr/0010).
//!
//! The rows keep their order, their text, their ids and the times of their writes; nothing that a
//! reader sees changes. Rows are rewritten without the table's lock; the commit at the end finds
//! them again in whatever the table has become meanwhile. The old files stay: older snapshots
//! name them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;

use crate::catalog::AuditFields;
use crate::error::{Error, ErrorKind, Result};
use crate::table::Table;
use crate::table::codec;
use crate::table::commit::{Prepared, Published};
use crate::table::deletes::DeadRows;
use crate::table::edits;
use crate::table::generation::SystemColumns;
use crate::table::layout::{self, Layout};
use crate::table::lock::Hold;
use crate::table::plan::{Counts, Planned};
use crate::table::scan::FileReader;
use crate::table::schema;
use crate::table::settle::{Head, Look};
use crate::table::snapshot::{DataFile, Lineage, Snapshot};
use crate::table::stored;
use crate::table::widen;
use crate::table::write::KeptRows;

mod choose;
mod place;

use place::Replaced;
pub(in crate::table) use place::Rewritten;

/// Operation of a compaction in the lineage of its snapshot.
pub const COMPACT: &str = "compact";
/// Mark of a snapshot that shows the same text as its predecessor: version and time of the one
/// that changed the text last.
pub(in crate::table) const SAME_TEXT: &str = "same_text_as";
/// Rewrites that are begun anew because the table was changed too much meanwhile.
const ROUNDS_MAX: usize = 3;
/// Bytes of footers kept while rewriting.
const FOOTER_BYTES: u64 = 8 << 20;

/// What is worth being compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactSettings {
    /// A data file of fewer bytes is small.
    pub small_bytes: u64,
    /// So many small files are put together.
    pub files_min: usize,
    /// A file is rewritten if more than so many of a hundred rows are deleted.
    pub dead_percent: u64,
    /// Fewer deleted rows of a file than this are not worth it.
    pub dead_min: u64,
    /// Layouts of more pieces are made short again.
    pub pieces_max: usize,
    /// Bytes of data files that one run rewrites at most (but at least one file).
    pub bytes_max: u64,
}

impl CompactSettings {
    /// What somebody who asks for it gets: everything that can be put together.
    pub fn all() -> Self {
        Self {
            small_bytes: 16 << 20,
            files_min: 2,
            dead_percent: 0,
            dead_min: 1,
            pieces_max: 0,
            bytes_max: u64::MAX,
        }
    }

    /// What is done in the background: what slows readers down, a bounded piece of it at a time.
    pub fn background() -> Self {
        Self {
            small_bytes: 8 << 20,
            files_min: 64,
            dead_percent: 30,
            dead_min: 10_000,
            pieces_max: 20_000,
            bytes_max: 256 << 20,
        }
    }
}

/// What a compaction did.
#[derive(Debug, Clone)]
pub struct Compacted {
    /// The newest snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Data files replaced; 0 = nothing was worth it.
    pub files_before: usize,
    /// Data files made of them.
    pub files_after: usize,
    /// Deleted rows that are in no file of the newest snapshot any more.
    pub rows_dropped: u64,
}

/// A snapshot's content with some files rewritten.
#[derive(Debug)]
pub(in crate::table) struct InPlace {
    /// All its files.
    pub(in crate::table) files: Vec<DataFile>,
    /// Their order; its digest is not set.
    pub(in crate::table) layout: Layout,
    /// Rows of the new files that are not alive any more.
    pub(in crate::table) dead: DeadRows,
}

impl Table {
    /// Puts small files together and leaves deleted rows behind; no text changes.
    ///
    /// # Errors
    /// `NotFound` if there is no such table, `Busy` if it changes too much meanwhile; those of
    /// store and catalogue.
    pub async fn compact(
        &self,
        settings: &CompactSettings,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<Compacted> {
        let lineage = self.named(lineage);
        for _ in 0..ROUNDS_MAX {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            let layout = self.layout(&head.tip).await?;
            let chosen = choose::choose(&head.tip, &layout, settings);
            let chosen = self.rewritable(&head.tip, chosen).await?;
            if chosen.is_empty() || !is_worth_it(&head.tip, &layout, &chosen) {
                return Ok(Compacted {
                    snapshot: head.tip,
                    files_before: 0,
                    files_after: 0,
                    rows_dropped: 0,
                });
            }
            let rewritten = self.rewrite_files(&head.tip, &layout, &chosen).await?;
            let done =
                self.replace_files(&head.tip.schema, &chosen, &rewritten, &lineage, &audit).await?;
            if let Some(snapshot) = done {
                let stored = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
                let old: Vec<DataFile> =
                    head.tip.files.iter().filter(|f| chosen.contains(&f.path)).cloned().collect();
                let new: Vec<DataFile> =
                    rewritten.new.iter().map(|(file, _)| file.clone()).collect();
                return Ok(Compacted {
                    snapshot,
                    files_before: chosen.len(),
                    files_after: rewritten.new.len(),
                    rows_dropped: stored(&old).saturating_sub(stored(&new)),
                });
            }
        }
        Err(Error::new(ErrorKind::Busy, "the table changes too much to be compacted")
            .with("table", &self.id))
    }

    /// The files whose columns a rewrite keeps as they are: other writers store types that have
    /// no counterpart here.
    pub(in crate::table) async fn rewritable(
        &self,
        tip: &Snapshot,
        chosen: HashSet<Arc<str>>,
    ) -> Result<HashSet<Arc<str>>> {
        let mut kept = HashSet::new();
        for file in tip.files.iter().filter(|file| chosen.contains(&file.path)) {
            let stored = stored::read_schema(&self.parts.objects, file).await?;
            let same = stored.fields().iter().filter(|field| !schema::is_system(field.name())).all(
                |field| match tip.schema.field_with_name(field.name()) {
                    Err(_) => true,
                    Ok(shown) => is_kept(field.data_type(), shown.data_type()),
                },
            );
            let ids = tip.generation.is_without_row_ids()
                || stored.field_with_name(schema::ROW_ID).is_ok();
            if same && ids {
                kept.insert(Arc::clone(&file.path));
            }
        }
        Ok(kept)
    }

    /// Writes the live rows of files to new ones, in the order of the layout.
    pub(in crate::table) async fn rewrite_files(
        &self,
        tip: &Snapshot,
        layout: &Layout,
        chosen: &HashSet<Arc<str>>,
    ) -> Result<Rewritten> {
        let old = place::only(layout, |path| chosen.contains(path))?;
        let files: HashMap<&str, &DataFile> =
            tip.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let system = tip.system_columns();
        let mut ids = Vec::new();
        let mut runs: Vec<(DataFile, Range<u32>)> = Vec::with_capacity(old.pieces.len());
        for piece in &old.pieces {
            let path = old.path(piece.file)?;
            let file = files.get(path.as_ref()).ok_or_else(|| {
                Error::corrupt("layout names a file that is gone").with("file", path)
            })?;
            if system != SystemColumns::RowIdAndTime {
                let stored = self.row_ids(file).await?;
                ids.extend(piece.range().filter_map(|row| stored.at(row)));
            }
            runs.push(((*file).clone(), piece.range()));
        }
        let reader = FileReader::new(Arc::clone(&self.parts.objects), FOOTER_BYTES);
        let since_ns = self.parts.clock.monotonic_ns();
        let mut writer = KeptRows::new(self.writer_parts(tip), &tip.schema, ids);
        let mut batches = reader.scan(runs, Arc::clone(writer.schema()));
        while let Some(batch) = batches.next().await {
            writer.write(batch?).await?;
        }
        let mut new = Vec::new();
        for (file, ids) in writer.finish().await? {
            self.parts.caches.row_ids.insert(Arc::clone(&file.file.path), ids.clone());
            new.push((file.file, ids));
        }
        let written: u64 = new.iter().map(|(file, _)| file.rows).sum();
        if written != old.rows() {
            return Err(Error::internal("compaction wrote another number of rows"));
        }
        Ok(Rewritten { old, new, since_ns })
    }

    /// Commits the new files in place of the old ones, onto whatever is newest; `None` if the rows
    /// have to be rewritten again.
    pub(in crate::table) async fn replace_files(
        &self,
        schema: &arrow::datatypes::SchemaRef,
        chosen: &HashSet<Arc<str>>,
        rewritten: &Rewritten,
        lineage: &Lineage,
        audit: &[AuditFields],
    ) -> Result<Option<Arc<Snapshot>>> {
        let lease = self.lock().await?;
        let hold = Hold::of(&lease);
        let done =
            Box::pin(self.replace_locked(schema, chosen, rewritten, (lineage, audit), &hold)).await;
        self.end(lease, &hold).await;
        done
    }

    async fn replace_locked(
        &self,
        schema: &arrow::datatypes::SchemaRef,
        chosen: &HashSet<Arc<str>>,
        rewritten: &Rewritten,
        (lineage, audit): (&Lineage, &[AuditFields]),
        hold: &Hold,
    ) -> Result<Option<Arc<Snapshot>>> {
        let deadline = self.deadline();
        while self.parts.clock.monotonic_ns() < deadline {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            let there: HashSet<&str> =
                head.tip.files.iter().map(|file| file.path.as_ref()).collect();
            let all_there = chosen.iter().all(|path| there.contains(path.as_ref()));
            if !all_there || head.tip.schema != *schema {
                return Ok(None);
            }
            let Some(planned) = self.replaced(&head, chosen, rewritten).await? else {
                return Ok(None);
            };
            let (version, ms) = head.tip.text_origin();
            let marks = vec![(SAME_TEXT, format!("{version} {ms}"))];
            let prepared = self.prepare_marked(&head.tip, &planned, lineage.clone(), marks).await?;
            let prepared = Prepared { since_ns: rewritten.since_ns, ..prepared };
            match self.publish(&prepared, deadline).await? {
                Published::Won(snapshot) => {
                    self.announce(&head, &snapshot, audit.to_vec(), (deadline, hold)).await;
                    return Ok(Some(snapshot));
                }
                Published::Lost => {}
            }
        }
        Err(self.others_were_faster())
    }

    /// The newest snapshot with the new files; `None` if it has rows of the old ones that are not
    /// in them.
    async fn replaced(
        &self,
        head: &Head,
        chosen: &HashSet<Arc<str>>,
        rewritten: &Rewritten,
    ) -> Result<Option<Planned>> {
        let tip = &head.tip;
        let tip_layout = self.layout(tip).await?;
        let Some(InPlace { files, layout, dead }) =
            self.in_place_of(tip, &tip_layout, chosen, rewritten).await?
        else {
            return Ok(None);
        };
        Ok(Some(Planned {
            schema: Arc::clone(&tip.schema),
            config: tip.config.clone(),
            files,
            dead,
            layout,
            row_id_high_watermark: tip.row_id_high_watermark,
            counts: Counts::default(),
        }))
    }

    /// `tip`, which is laid out as `tip_layout`, with the new files; `None` if it has rows of the
    /// old ones that are not in them.
    pub(in crate::table) async fn in_place_of(
        &self,
        tip: &Snapshot,
        tip_layout: &Layout,
        chosen: &HashSet<Arc<str>>,
        rewritten: &Rewritten,
    ) -> Result<Option<InPlace>> {
        let Some(Replaced { edited, dead }) = rewritten.replace_in(tip_layout)? else {
            return Ok(None);
        };
        // The new files take the place of the first old one: without a layout, files are shown in
        // the order of the document.
        let mut all: Vec<DataFile> = Vec::with_capacity(tip.files.len());
        let mut new: Vec<DataFile> = rewritten.new.iter().map(|(file, _)| file.clone()).collect();
        for file in tip.files.iter() {
            if chosen.contains(&file.path) {
                all.append(&mut new);
            } else {
                all.push(file.clone());
            }
        }
        let measure = self.parts.measure.as_ref();
        let mut layout = edits::finish(&edited, &all, &tip.schema, measure).await?;
        layout.columns = layout::columns_digest(&tip.schema);
        if layout.rows() != tip_layout.rows() || layout.text_bytes() != tip_layout.text_bytes() {
            return Err(
                Error::internal("compaction would change what is shown").with("table", &self.id)
            );
        }
        let alive: HashSet<&str> = layout.files.iter().map(AsRef::as_ref).collect();
        all.retain(|file| alive.contains(file.path.as_ref()));
        let mut dead = dead;
        dead.retain_files(|file| alive.contains(file));
        Ok(Some(InPlace { files: all, layout, dead }))
    }
}

impl Snapshot {
    /// The version that changed the table's text last, and when: a compaction does not change it.
    fn text_origin(&self) -> (u64, i64) {
        let marked = codec::own_text(&self.document, SAME_TEXT);
        marked
            .and_then(|text| text.split_once(' '))
            .and_then(|(version, ms)| Some((version.parse().ok()?, ms.parse().ok()?)))
            .unwrap_or((self.version, self.committed_ms))
    }

    /// The version whose text this one shows: its own, or an older one's after a compaction.
    pub fn text_version(&self) -> u64 {
        self.text_origin().0
    }

    /// Time of that version, milliseconds since 1970.
    pub fn text_ms(&self) -> i64 {
        self.text_origin().1
    }
}

/// Whether rewriting changes anything for the better: one whole file would become itself.
fn is_worth_it(tip: &Snapshot, layout: &Layout, chosen: &HashSet<Arc<str>>) -> bool {
    let stored: u64 =
        tip.files.iter().filter(|f| chosen.contains(&f.path)).map(|file| file.rows).sum();
    let Ok(old) = place::only(layout, |path| chosen.contains(path)) else { return false };
    chosen.len() > 1 || old.rows() < stored || old.pieces.len() > 1
}

/// Whether a stored column is stored in the shown type without becoming something else.
fn is_kept(stored: &arrow::datatypes::DataType, shown: &arrow::datatypes::DataType) -> bool {
    if stored.is_null() {
        return true;
    }
    let same = schema::to_text(stored).ok() == schema::to_text(shown).ok();
    same || (stored.is_integer() && shown.is_integer() && widen::fits(stored, shown))
}
