//! `mountable upsert --newer-than`: rows that are not newer than what the table has stay out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use crate::cli::args::Mode;
use crate::cli::load::{Inputs, Plan, change};
use crate::cli::{Session, console::Console};
use crate::error::{Error, Result};
use crate::ident::TableId;
use crate::lake::{At, CommitOutcome, Incoming, Lake, NewRows, OnExistingKey, Snapshot};

/// Batches that wait between the reading and the writing side.
const BATCHES_WAITING: usize = 2;
/// How often it begins again because others changed the table meanwhile.
const ROUNDS_MAX: usize = 5;

/// What an upsert by age works with.
pub(super) struct Upsert<'a> {
    pub(super) lake: &'a Lake,
    pub(super) session: &'a Session,
    pub(super) table: &'a TableId,
    pub(super) plan: Plan,
    pub(super) column: &'a str,
    pub(super) message: &'a str,
}

impl Upsert<'_> {
    /// Replaces and adds the rows of the files that are newer.
    pub(super) async fn commit(
        &self,
        mut base: Arc<Snapshot>,
        inputs: Inputs,
        console: &mut Console,
    ) -> Result<CommitOutcome> {
        let (who, inputs) = (self.session.who(), Arc::new(inputs));
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            let mut incoming = self.observed(&inputs).await?;
            let all = incoming.1;
            self.lake.keep_newer(&who, &base, &mut incoming.0).await?;
            let taken = incoming.0.count();
            let rows = self.written(&inputs, incoming.0).await?;
            console.note(&format!("{taken} of {all} rows are newer"));
            if taken == 0 && !self.plan.schema_changes && !self.plan.config_changes {
                return Ok(CommitOutcome::Unchanged { snapshot: base });
            }
            let mut change = change(Mode::Upsert, Arc::clone(&base), self.plan.clone(), rows);
            change.on_existing_key = OnExistingKey::ReplaceSeen;
            let outcome = self.lake.commit(&who, self.table, change, "upsert", self.message);
            match outcome.await? {
                CommitOutcome::Conflict { current, .. } if current.path != base.path => {
                    base = self.lake.snapshot(&who, self.table, At::Latest).await?;
                    last = Some(current);
                }
                outcome => return Ok(outcome),
            }
        }
        Err(Error::new(crate::error::ErrorKind::Busy, "others changed the table each time")
            .with("table", self.table)
            .with("version", last.map_or(0, |snapshot| snapshot.version)))
    }

    /// The keys of all rows of the files, and their number.
    async fn observed(&self, inputs: &Arc<Inputs>) -> Result<(Incoming, usize)> {
        let (inputs, schema) = (Arc::clone(inputs), Arc::clone(&self.plan.schema));
        let mut incoming = Incoming::new(&schema, &self.plan.config.keys, self.column)?;
        blocking(move || {
            let mut rows = 0;
            for (input, _) in inputs.iter() {
                input.read(&schema, &mut |batch| {
                    rows += batch.num_rows();
                    incoming.observe(&batch)
                })?;
            }
            Ok((incoming, rows))
        })
        .await
    }

    /// Writes the rows that are taken.
    async fn written(&self, inputs: &Arc<Inputs>, incoming: Incoming) -> Result<NewRows> {
        let (inputs, schema) = (Arc::clone(inputs), Arc::clone(&self.plan.schema));
        let keys = &self.plan.config.keys;
        let mut writer = self.lake.writer(&self.session.who(), self.table, &schema, keys).await?;
        let (sender, mut receiver) = mpsc::channel::<RecordBatch>(BATCHES_WAITING);
        let reading = tokio::spawn(blocking(move || {
            let mut first = 0;
            for (input, _) in inputs.iter() {
                input.read(&schema, &mut |batch| {
                    let taken = incoming.select(first, &batch)?;
                    first += batch.num_rows();
                    sender.blocking_send(taken).map_err(|_| Error::internal("writing stopped"))
                })?;
            }
            Ok(())
        }));
        let mut failed = None;
        while let Some(batch) = receiver.recv().await {
            if batch.num_rows() > 0
                && let Err(error) = writer.write(batch).await
            {
                failed = Some(error);
                break;
            }
        }
        drop(receiver);
        let read = reading.await;
        match failed {
            Some(error) => Err(error),
            None => {
                read.map_err(|error| Error::internal("reading ended").caused_by(error))??;
                writer.finish().await
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("reading thread ended").caused_by(error))?
}
