//! Between versions: which rows two of them do not share, and going back to an old one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::catalog::AuditFields;
use crate::error::{Error, ErrorKind, Result};
use crate::store;
use crate::table::Table;
use crate::table::commit::{NextDocument, Published};
use crate::table::layout::Layout;
use crate::table::lock::Hold;
use crate::table::settle::Look;
use crate::table::snapshot::{DataFile, Lineage, Snapshot};
use crate::table::{CommitOutcome, layout};

/// Rows of a data file that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRun {
    /// The file.
    pub file: DataFile,
    /// Its rows.
    pub rows: Range<u32>,
}

impl Table {
    /// Rows that only `old` shows, and rows that only `new` shows, each in the order of its text.
    /// A row is known by its place in an immutable file; a row that was rewritten stands in both.
    ///
    /// # Errors
    /// As [`Table::layout`].
    pub async fn row_diff(
        &self,
        old: &Arc<Snapshot>,
        new: &Arc<Snapshot>,
    ) -> Result<[Vec<FileRun>; 2]> {
        let (a, b) = (self.layout(old).await?, self.layout(new).await?);
        Ok([only(old, &a, &b)?, only(new, &b, &a)?])
    }

    /// Makes a new version whose text is that of the old version `to`: its rows in its order, its
    /// columns and its configuration. Data files are not written.
    ///
    /// # Errors
    /// `NotFound` if the table was dropped, `Busy`, `Unknown`; those of store and catalogue.
    pub async fn go_back(
        &self,
        to: &Arc<Snapshot>,
        lineage: Lineage,
        audit: Vec<AuditFields>,
    ) -> Result<CommitOutcome> {
        let own = store::layout::check_within(&self.id, &to.path).is_ok();
        if !own && self.id.super_id().branch().is_some() {
            // A vacuum of the table that it was branched off may be removing what it names.
            return Err(Error::unsupported(
                "the version is older than the branch: copy its text (`.at/VERSION/TABLE.csv`, or \
                 `mountable cat` into `mountable load --mode replace`)",
            )
            .with("table", &self.id)
            .with("version", to.version));
        }
        let lease = self.lock().await?;
        let hold = Hold::of(&lease);
        let done = Box::pin(self.go_back_locked(to, self.named(lineage), audit, &hold)).await;
        self.end(lease, &hold).await;
        done
    }

    async fn go_back_locked(
        &self,
        to: &Arc<Snapshot>,
        mut lineage: Lineage,
        audit: Vec<AuditFields>,
        hold: &Hold,
    ) -> Result<CommitOutcome> {
        let deadline = self.deadline();
        let target = self.layout(to).await?;
        while self.parts.clock.monotonic_ns() < deadline {
            let head = self.head(Look::Closely).await?.ok_or_else(|| self.no_table())?;
            let tip = &head.tip;
            if to.version < tip.history_begins() {
                return Err(self.vacuumed(tip));
            }
            let now = self.layout(tip).await?;
            let [gone, back] = [only(tip, &now, &target)?, only(to, &target, &now)?];
            let same_rows = now.files == target.files && now.pieces == target.pieces;
            if same_rows && tip.schema == to.schema && tip.config == to.config {
                return Ok(CommitOutcome::Unchanged { snapshot: Arc::clone(tip) });
            }
            lineage.inserted = count(&back);
            lineage.deleted = count(&gone);
            let mut placed = Layout::clone(&target);
            placed.digest = layout::digest(&to.files, &to.deletes);
            let new = NextDocument {
                schema: &to.schema,
                files: &to.files,
                deletes: &to.deletes,
                // Ids that were given since are not given again.
                row_id_high_watermark: tip.row_id_high_watermark.max(to.row_id_high_watermark),
                config: &to.config,
                marks: Vec::new(),
            };
            let prepared = self.document(tip, new, &Arc::new(placed), &lineage).await?;
            if let Published::Won(snapshot) = self.publish(&prepared, deadline).await? {
                self.announce(&head, &snapshot, audit, (deadline, hold)).await;
                let (inserted, deleted) = (lineage.inserted, lineage.deleted);
                return Ok(CommitOutcome::Committed { snapshot, inserted, updated: 0, deleted });
            }
        }
        Err(Error::new(ErrorKind::Busy, "other writers were faster each time")
            .with("table", &self.id))
    }
}

fn count(runs: &[FileRun]) -> u64 {
    runs.iter().map(|run| u64::from(run.rows.end - run.rows.start)).sum()
}

/// Rows of `snapshot`, which is laid out as `own`, that `other` does not show.
fn only(snapshot: &Snapshot, own: &Layout, other: &Layout) -> Result<Vec<FileRun>> {
    let mut shown: HashMap<&str, Vec<Range<u32>>> = HashMap::new();
    for piece in &other.pieces {
        shown.entry(other.path(piece.file)?.as_ref()).or_default().push(piece.range());
    }
    for runs in shown.values_mut() {
        runs.sort_by_key(|run| run.start);
    }
    let files: HashMap<&str, &DataFile> =
        snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
    let mut out = Vec::new();
    for piece in &own.pieces {
        let path = own.path(piece.file)?;
        let file = files
            .get(path.as_ref())
            .ok_or_else(|| Error::corrupt("layout names a file that is gone").with("file", path))?;
        let runs = shown.get(path.as_ref()).map(Vec::as_slice).unwrap_or_default();
        for rows in without(piece.range(), runs) {
            out.push(FileRun { file: (*file).clone(), rows });
        }
    }
    Ok(out)
}

/// What of `rows` the ascending `shown` do not hold.
fn without(rows: Range<u32>, shown: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut out = Vec::new();
    let mut at = rows.start;
    let first = shown.partition_point(|run| run.end <= rows.start);
    for run in shown.iter().skip(first).take_while(|run| run.start < rows.end) {
        if run.start > at {
            out.push(at..run.start);
        }
        at = at.max(run.end);
    }
    if at < rows.end {
        out.push(at..rows.end);
    }
    out
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "runs are ranges")]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_shown_are_left_out() {
        assert_eq!(without(2..8, &[]), [2..8]);
        assert_eq!(without(2..8, &[0..3, 4..5, 7..9]), [3..4, 5..7]);
        assert_eq!(without(2..8, &[0..2, 8..9]), [2..8]);
        assert_eq!(without(2..8, &[0..20]), Vec::<Range<u32>>::new());
    }
}
