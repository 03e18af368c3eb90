//! Rows that move to another data file and stay what they are: row id and time of their write go
//! with them.

use std::mem;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::encode::{self, EncodedFile, Encoder};
use super::{NewFile, WriterParts, blocking, store_file};
use crate::error::{Error, Result};
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
    ids: Vec<i64>,
    done: Vec<(NewFile, RowIds)>,
}

impl KeptRows {
    /// Begins with the user's columns `shown`.
    pub(crate) fn new(parts: WriterParts, shown: &SchemaRef) -> Self {
        let shown = encode::nullable(shown);
        Self {
            parts,
            stored: encode::with_system_columns(&shown),
            shown,
            held: Vec::new(),
            held_rows: 0,
            held_bytes: 0,
            encoder: None,
            ids: Vec::new(),
            done: Vec::new(),
        }
    }

    /// The columns that rows must come with: the user's, row id and time.
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
        let mut batch = blocking(join)
            .await?
            .map_err(|error| Error::internal("join rows").caused_by(error))?;
        while batch.num_rows() > 0 {
            let mut encoder = match self.encoder.take() {
                Some(encoder) => encoder,
                None => Box::new(Encoder::keeping(&self.shown, std::slice::from_ref(&batch))?),
            };
            let room = usize::try_from(encoder.room()).unwrap_or(usize::MAX);
            let part = batch.slice(0, room.min(batch.num_rows()));
            batch = batch.slice(part.num_rows(), batch.num_rows() - part.num_rows());
            let ids = part.column(part.num_columns().saturating_sub(2));
            self.ids.extend_from_slice(ids.as_primitive::<Int64Type>().values());
            let work = move || encoder.write_kept(&part).map(|()| encoder);
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

    async fn store(&mut self, file: EncodedFile) -> Result<()> {
        let ids = mem::take(&mut self.ids);
        let new = store_file(&self.parts, file).await?;
        self.done.push((new, RowIds::of(ids)));
        Ok(())
    }
}
