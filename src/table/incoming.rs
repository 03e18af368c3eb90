//! New rows on their way into a snapshot: which file has which of them.
//!
//! Rows that a writer left in memory are stored here, those of several changes in one data file.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::changeset::ChangeSet;
use crate::table::layout::{Layout, Piece};
use crate::table::scan::conform;
use crate::table::schema;
use crate::table::snapshot::Snapshot;
use crate::table::stored::{self, RowIds};
use crate::table::write::{HeldRows, NewFile};

/// New rows in data files.
#[derive(Debug, Default)]
pub(crate) struct StoredRows {
    /// The files.
    pub(crate) files: Vec<StoredFile>,
    /// Runs of their rows, in the order of the new rows.
    pieces: Vec<Piece>,
}

/// A file of new rows.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    /// The file.
    pub(crate) new: NewFile,
    /// The snapshot above whose row ids those of the file were reserved.
    pub(crate) base: Arc<Snapshot>,
}

impl StoredRows {
    /// Adds all rows of a file behind the others.
    pub(crate) fn push_file(&mut self, new: &NewFile, base: &Arc<Snapshot>) -> Result<()> {
        let file = self.add_file(new, base)?;
        self.push_piece(file, 0, new.file.rows, new.text_bytes)
    }

    /// Adds a file whose rows are added by [`Self::push_piece`]; its place in the list.
    pub(crate) fn add_file(&mut self, new: &NewFile, base: &Arc<Snapshot>) -> Result<u32> {
        let number = u32::try_from(self.files.len())
            .map_err(|_| Error::unsupported("more than 2^32 new files"))?;
        self.files.push(StoredFile { new: new.clone(), base: Arc::clone(base) });
        Ok(number)
    }

    /// Adds rows of a file behind the others; `bytes` is the length of their text.
    pub(crate) fn push_piece(
        &mut self,
        file: u32,
        first: u64,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        let (Ok(first), Ok(rows)) = (u32::try_from(first), u32::try_from(rows)) else {
            return Err(Error::unsupported("data file of more than 2^32 rows"));
        };
        self.pieces.push(Piece { file, first, rows, bytes });
        Ok(())
    }

    /// The new rows as a layout of their own.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            files: self.files.iter().map(|stored| Arc::clone(&stored.new.file.path)).collect(),
            pieces: self.pieces.clone(),
            ..Layout::default()
        }
    }

    /// The highest row id after `tip` and these rows.
    pub(crate) fn watermark(&self, tip: &Snapshot) -> u64 {
        let last = |stored: &StoredFile| {
            let new = &stored.new;
            new.first_row_id.saturating_add(new.file.rows.saturating_sub(1))
        };
        self.files.iter().map(last).fold(tip.row_id_high_watermark, u64::max)
    }
}

impl Table {
    /// The rows of one change in files; rows in memory are stored, and are in a file from then on.
    ///
    /// # Errors
    /// Those of catalogue and store.
    pub(crate) async fn stored_rows(
        &self,
        change: &mut ChangeSet,
        tip: &Arc<Snapshot>,
    ) -> Result<StoredRows> {
        let mut base = Arc::clone(&change.base);
        if let Some(held) = change.rows.held.take() {
            match self.store_held(&[&held], tip).await {
                Ok(files) => change.rows.files = files,
                Err(error) => {
                    change.rows.held = Some(held);
                    return Err(error);
                }
            }
            // Ids above the tip's are above the base's, too.
            base = Arc::clone(tip);
        }
        let mut rows = StoredRows::default();
        for new in &change.rows.files {
            rows.push_file(new, &base)?;
        }
        Ok(rows)
    }

    /// Stores rows that are in memory, one after the other, with row ids above those of `tip`.
    ///
    /// # Errors
    /// Those of catalogue and store.
    pub(crate) async fn store_held(
        &self,
        all: &[&HeldRows],
        tip: &Snapshot,
    ) -> Result<Vec<NewFile>> {
        let Some(first) = all.first() else { return Ok(Vec::new()) };
        let mut writer = self.writer(tip, &first.schema, &[])?;
        for batch in all.iter().flat_map(|held| &held.batches) {
            writer.write(batch.clone()).await?;
        }
        let files = writer.finish().await?.files;
        self.know_row_ids(&files);
        Ok(files)
    }

    /// Remembers the row ids of files that were just written.
    pub(crate) fn know_row_ids(&self, files: &[NewFile]) {
        for new in files {
            if let Ok(first) = i64::try_from(new.first_row_id) {
                let path = Arc::clone(&new.file.path);
                self.parts.caches.row_ids.insert(path, RowIds::From(first));
            }
        }
    }

    /// Writes the new rows of a change again, with other row ids; the old files become garbage.
    ///
    /// # Errors
    /// Those of reading and writing data files.
    pub(crate) async fn rewrite(&self, change: &mut ChangeSet, tip: &Snapshot) -> Result<()> {
        tracing::warn!(table = %self.id, "row ids given twice: rows are rewritten");
        let schema = match &change.schema {
            Some(wanted) => schema::shown_schema(&wanted.columns)?,
            None => Arc::clone(&change.base.schema),
        };
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut writer = self.writer(tip, &schema, &[])?;
        for new in &change.rows.files {
            for batch in stored::read_columns(&self.parts.objects, &new.file, &names).await? {
                writer.write(conform(&batch, &schema)?).await?;
            }
        }
        let rows = writer.finish().await?;
        if rows.rows != change.rows.rows {
            return Err(Error::internal("rewritten rows are not as many as before"));
        }
        // What is known of the keys stays true.
        change.rows.files = rows.files;
        Ok(())
    }
}
