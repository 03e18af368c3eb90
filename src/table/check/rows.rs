//! The rows of one snapshot: counted, told apart by their ids, each shown once, as long as said.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::csv;
use crate::error::{Error, Result};
use crate::table::check::{Check, Depth, REPORT, Severity, is_outage};
use crate::table::codec;
use crate::table::layout::{self, Layout};
use crate::table::scan::FileReader;
use crate::table::snapshot::{DataFile, Snapshot};
use crate::table::stored::RowIds;

/// Rows rendered at once.
const RENDER_ROWS: u32 = 32_768;
/// Bytes of footers that are kept while rendering.
const FOOTER_BYTES: u64 = 4 << 20;

const REORDERED: &str = "the rows are re-ordered when they are read; save the table once";

/// Runs of rows by data file.
type Runs = HashMap<Arc<str>, Vec<Range<u32>>>;

impl Check<'_> {
    /// Checks the rows of a snapshot; the newest one's text too, if the check is a deep one.
    pub(crate) async fn rows(&mut self, snapshot: &Arc<Snapshot>, newest: bool) -> Result<()> {
        let outcome = self.rows_of(snapshot, newest).await;
        match outcome {
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                let what = format!("rows of version {} cannot be read: {error}", snapshot.version);
                self.say_on(&snapshot.path, Severity::Error, "rows", what, REPORT);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn rows_of(&mut self, snapshot: &Arc<Snapshot>, newest: bool) -> Result<()> {
        self.row_ids(snapshot).await?;
        let live = self.table.live_rows(snapshot).await?;
        let count: u64 = live.values().flatten().map(|run| u64::from(run.end - run.start)).sum();
        if count != snapshot.rows() {
            let what = format!(
                "version {} says it has {} rows, its files and deletes give {count}",
                snapshot.version,
                snapshot.rows()
            );
            self.say_on(&snapshot.path, Severity::Error, "rows", what, REPORT);
        }
        let stored = codec::carried_layout(&snapshot.document);
        let stored = self.table.stored_layout(stored).await?;
        let fits = stored.as_ref().is_some_and(|stored| {
            stored.digest == layout::digest(&snapshot.files, &snapshot.deletes)
                && stored.columns == layout::columns_digest(&snapshot.schema)
        });
        match stored {
            Some(stored) if fits => {
                if let Some(what) = contradiction(&stored, &live) {
                    let what = format!("layout of version {}: {what}", snapshot.version);
                    self.say_on(&snapshot.path, Severity::Error, "layout", what, REPORT);
                }
            }
            _ if codec::is_ours(&snapshot.document) => {
                let what = format!("version {} has no layout that fits it", snapshot.version);
                self.say_on(&snapshot.path, Severity::Warning, "layout", what, REORDERED);
            }
            _ => {}
        }
        if newest && self.depth == Depth::Text {
            self.text(snapshot).await?;
        }
        Ok(())
    }

    /// No id twice, none above the mark.
    async fn row_ids(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut spans: Vec<(i64, i64, RowIds, &DataFile)> = Vec::new();
        for file in snapshot.files.iter() {
            let ids = self.table.row_ids(file).await?;
            if let Some((first, last)) = ids.span(file.rows) {
                spans.push((first, last, ids, file));
            }
        }
        spans.sort_by_key(|(first, last, ..)| (*first, *last));
        let highest = spans.iter().filter_map(|(.., ids, file)| ids.highest(file.rows)).max();
        let highest = highest.unwrap_or_default();
        let mark = snapshot.row_id_high_watermark;
        if mark > 0 && u64::try_from(highest).unwrap_or_default() > mark {
            let what = format!("row id {highest} lies above the highest known one, {mark}");
            self.say_on(&snapshot.path, Severity::Error, "row-ids", what, REPORT);
        }
        let mut group: Vec<&(i64, i64, RowIds, &DataFile)> = Vec::new();
        let mut end = i64::MIN;
        let mut twice = None;
        for span in &spans {
            if span.0 > end {
                twice = twice.or_else(|| repeated(&group));
                group.clear();
            }
            end = end.max(span.1);
            group.push(span);
        }
        if let Some((id, path)) = twice.or_else(|| repeated(&group)) {
            let what = format!("row id {id} stands twice in version {}", snapshot.version);
            self.say_on(&path, Severity::Error, "row-ids", what, REPORT);
        }
        Ok(())
    }

    /// Renders all rows and compares the lengths with what the layout says.
    async fn text(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let objects = Arc::clone(&self.table.parts.objects);
        let reader = FileReader::new(objects, FOOTER_BYTES);
        let layout = self.table.layout(snapshot).await?;
        let files: HashMap<&str, &DataFile> =
            snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        for piece in &layout.pieces {
            let path = layout.path(piece.file)?;
            let file = *files
                .get(path.as_ref())
                .ok_or_else(|| Error::corrupt("layout names a file that is gone"))?;
            let mut rendered = 0_u64;
            let mut first = piece.first;
            while first < piece.range().end {
                let next = first.saturating_add(RENDER_ROWS).min(piece.range().end);
                let batch = reader.read_rows(file, first..next, &snapshot.schema).await?;
                let (mut text, mut ends) = (Vec::new(), Vec::new());
                csv::render(&batch, &mut text, &mut ends)?;
                rendered += u64::try_from(text.len()).unwrap_or_default();
                first = next;
            }
            let measure = self.table.parts.measure.as_ref();
            let measured = measure.bytes(file, piece.range(), &snapshot.schema).await?;
            if rendered != piece.bytes || rendered != measured {
                let what = format!(
                    "rows {}..{} have {rendered} bytes of text; the layout says {}, the file's \
                     index {measured}",
                    piece.first,
                    piece.range().end,
                    piece.bytes
                );
                self.say_on(path, Severity::Error, "text", what, REPORT);
            }
        }
        Ok(())
    }
}

/// An id that files whose ids overlap hold twice, and the file with the second one.
fn repeated(group: &[&(i64, i64, RowIds, &DataFile)]) -> Option<(i64, String)> {
    if let [(_, _, RowIds::From(_), _)] = group {
        return None;
    }
    let mut seen = std::collections::HashSet::new();
    for (_, _, ids, file) in group {
        for row in 0..u32::try_from(file.rows).ok()? {
            let id = ids.at(row)?;
            if !seen.insert(id) {
                return Some((id, file.path.to_string()));
            }
        }
    }
    None
}

/// Where a layout does not show every live row exactly once.
fn contradiction(layout: &Layout, live: &Runs) -> Option<String> {
    let mut shown: HashMap<&str, Vec<Range<u32>>> = HashMap::new();
    for piece in &layout.pieces {
        let Ok(path) = layout.path(piece.file) else {
            return Some("names a file that it does not list".to_owned());
        };
        shown.entry(path.as_ref()).or_default().push(piece.range());
    }
    for (path, runs) in &mut shown {
        runs.sort_by_key(|run| run.start);
        let twice = runs.windows(2).find(|two| matches!(two, [a, b] if a.end > b.start));
        if let Some([_, b]) = twice {
            return Some(format!("row {} of {path} is shown twice", b.start));
        }
        if live.get(*path).is_none() {
            return Some(format!("shows rows of {path}, which the version does not have"));
        }
    }
    for (path, runs) in live {
        let shown = joined(shown.get(path.as_ref()).map(Vec::as_slice).unwrap_or_default());
        if shown != joined(runs) {
            return Some(format!("does not show exactly the live rows of {path}"));
        }
    }
    None
}

/// Ascending runs with neighbours put together.
fn joined(runs: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut out: Vec<Range<u32>> = Vec::new();
    for run in runs.iter().filter(|run| !run.is_empty()) {
        match out.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => out.push(run.clone()),
        }
    }
    out
}
