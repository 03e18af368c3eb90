//! Rows that move to another data file and stay what they are: row id and time of their write go
//! with them.
//!
//! Files of generations without row ids have them in the footer: the ids of all rows are then
//! given beforehand, in the order in which the rows come.

use std::mem;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::encode::{self, EncodedFile, Encoder};
use super::{NewFile, WriterParts, blocking, store_file};
use crate::error::{Error, Result};
use crate::table::schema::ROW_ID;
use crate::table::stored::RowIds;

/// Rows encoded at once.
const STEP_ROWS: usize = 16_384;
/// Bytes of them.
const STEP_BYTES: usize = 8 << 20;

/// Writes rows of other data files to new ones, in the order in which they come.
#[derive(Debug)]
pub(crate) struct KeptRows {
    parts: WriterParts,
    shown: SchemaRef,
    stored: SchemaRef,
    held: Vec<RecordBatch>,
    held_rows: usize,
    held_bytes: usize,
    encoder: Option<Box<Encoder>>,
    /// Ids of the rows that are still to come, last first, where they have no column.
    given: Vec<i64>,
    ids: Vec<i64>,
    done: Vec<(NewFile, RowIds)>,
}

impl KeptRows {
    /// Begins with the user's columns `shown`; `ids` are those of all rows, if they have no column.
    pub(crate) fn new(parts: WriterParts, shown: &SchemaRef, mut ids: Vec<i64>) -> Self {
        let shown = encode::nullable(shown);
        ids.reverse();
        Self {
            stored: parts.system.behind(&shown),
            parts,
            shown,
            held: Vec::new(),
            held_rows: 0,
            held_bytes: 0,
            encoder: None,
            given: ids,
            ids: Vec::new(),
            done: Vec::new(),
        }
    }

    /// The columns that rows must come with: the user's and those of the system.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.stored
    }

    /// Adds rows with the columns of [`Self::schema`].
    ///
    /// # Errors
    /// Those of encoding and storing.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.held_rows += batch.num_rows();
        self.held_bytes += batch.get_array_memory_size();
        self.held.push(batch);
        if self.held_rows >= STEP_ROWS || self.held_bytes >= STEP_BYTES {
            self.encode().await?;
        }
        Ok(())
    }

    /// Stores what is left; the files with the ids of their rows, in order.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) async fn finish(mut self) -> Result<Vec<(NewFile, RowIds)>> {
        self.encode().await?;
        if let Some(encoder) = self.encoder.take() {
            let file = blocking(move || encoder.close()).await??;
            self.store(file).await?;
        }
        Ok(self.done)
    }

    async fn encode(&mut self) -> Result<()> {
        let held = mem::take(&mut self.held);
        self.held_rows = 0;
        self.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        let stored = self.stored.clone();
        let join = move || concat_batches(&stored, &held);
        let mut batch =
            blocking(join).await?.map_err(|error| Error::internal("join rows").caused_by(error))?;
        while batch.num_rows() > 0 {
            let mut encoder = match self.encoder.take() {
                Some(encoder) => encoder,
                None => {
                    let sample = std::slice::from_ref(&batch);
                    Box::new(Encoder::keeping(&self.shown, self.parts.system, sample)?)
                }
            };
            let room = usize::try_from(encoder.room()).unwrap_or(usize::MAX);
            let part = batch.slice(0, room.min(batch.num_rows()));
            batch = batch.slice(part.num_rows(), batch.num_rows() - part.num_rows());
            let ids = self.ids_of(&part)?;
            self.ids.extend_from_slice(&ids);
            let work = move || encoder.write_kept(&part, &ids).map(|()| encoder);
            let encoder = blocking(work).await??;
            if encoder.room() > 0 {
                self.encoder = Some(encoder);
            } else {
                let file = blocking(move || encoder.close()).await??;
                self.store(file).await?;
            }
        }
        Ok(())
    }

    fn ids_of(&mut self, part: &RecordBatch) -> Result<Vec<i64>> {
        if let Some(column) = part.column_by_name(ROW_ID) {
            let column = column.as_primitive::<Int64Type>();
            if column.null_count() > 0 {
                return Err(Error::corrupt("row without row id"));
            }
            return Ok(column.values().to_vec());
        }
        let left = self.given.len().checked_sub(part.num_rows());
        let left = left.ok_or_else(|| Error::internal("more rows than row ids"))?;
        let mut ids = self.given.split_off(left);
        ids.reverse();
        Ok(ids)
    }

    async fn store(&mut self, file: EncodedFile) -> Result<()> {
        let ids = mem::take(&mut self.ids);
        let new = store_file(&self.parts, file).await?;
        self.done.push((new, RowIds::of(ids)));
        Ok(())
    }
}
