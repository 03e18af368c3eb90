//! Old versions: named, compared, brought back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use futures::StreamExt;

use super::{CommitOutcome, Lake, Principal, Reference, Snapshot, TableId};
use crate::access::Permission;
use crate::csv;
use crate::error::{Error, Result};
use crate::table::{FileRun, widen};

/// Rows rendered at once.
const RENDER_ROWS: u32 = 8_192;
/// Bytes of removed rows that are kept to find out which of them were only changed.
const KEPT_BYTES: usize = 256 << 20;

/// A row as it was.
const OLD: &str = "-";
/// A row as it is.
const NEW: &str = "+";

/// A row as text, and the text of its key.
struct Line {
    text: Vec<u8>,
    key: Vec<u8>,
}

/// Removed rows that nothing was found for yet.
#[derive(Default)]
struct Removed {
    lines: Vec<Option<Line>>,
    by_text: HashMap<Vec<u8>, Vec<usize>>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
}

impl Removed {
    fn push(&mut self, line: Line, keyed: bool) {
        let number = self.lines.len();
        self.by_text.entry(line.text.clone()).or_default().push(number);
        if keyed {
            self.by_key.entry(line.key.clone()).or_default().push(number);
        }
        self.lines.push(Some(line));
    }

    /// Takes a row out that is the same.
    fn same(&mut self, line: &Line) -> bool {
        let numbers = self.by_text.get_mut(&line.text);
        let number = numbers.and_then(|numbers| take(numbers, &self.lines));
        number.and_then(|number| self.lines.get_mut(number)?.take()).is_some()
    }

    /// Takes a row out that has the same key.
    fn before(&mut self, line: &Line) -> Option<Line> {
        let number = take(self.by_key.get_mut(&line.key)?, &self.lines)?;
        self.lines.get_mut(number)?.take()
    }
}

fn take(numbers: &mut Vec<usize>, lines: &[Option<Line>]) -> Option<usize> {
    while let Some(number) = numbers.pop() {
        if lines.get(number).is_some_and(Option::is_some) {
            return Some(number);
        }
    }
    None
}

impl Lake {
    /// The version of a table that a reference names.
    ///
    /// # Errors
    /// As [`Lake::snapshot`]; `NotFound` if there are not so many versions.
    pub async fn resolve(
        &self,
        who: &Principal,
        id: &TableId,
        reference: Reference,
    ) -> Result<Arc<Snapshot>> {
        let mut snapshot = self.snapshot(who, id, reference.at).await?;
        for _ in 0..reference.back {
            let before = self.table(&snapshot.table).before(&snapshot).await?;
            snapshot = before.ok_or_else(|| {
                Error::not_found("there are not so many versions")
                    .with("table", id)
                    .with("back", reference.back)
            })?;
        }
        Ok(snapshot)
    }

    /// A version with counts of what it did, also if other software made it.
    ///
    /// # Errors
    /// As [`Lake::snapshot`].
    pub async fn with_counts(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        self.table(&snapshot.table).with_counts(snapshot).await
    }

    /// Makes a new version of a table whose text is that of an old one.
    ///
    /// # Errors
    /// As [`Lake::commit`].
    pub async fn go_back(
        &self,
        who: &Principal,
        id: &TableId,
        to: &Arc<Snapshot>,
    ) -> Result<CommitOutcome> {
        self.allow(who, id, Permission::Write).await?;
        let message = format!("to version {}", to.version);
        let detail = serde_json::json!({"to_version": to.version});
        let audit = self.event(who, id, "table_restore", detail);
        let lineage = self.lineage(who, "restore", &message);
        let outcome = self.table(id).go_back(to, lineage, audit).await;
        self.forget(id);
        if let Ok(CommitOutcome::Committed { snapshot, .. }) = &outcome {
            self.remember(Arc::clone(snapshot));
        }
        outcome
    }

    /// What changed from one version of a table to another, as CSV that is handed to `out` part by
    /// part: a column `_op` (`-` a row as it was, `+` as it is), then the columns of both. A
    /// changed row of a table with keys is a `-` directly followed by its `+`; rows that were only
    /// removed come last.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`; `TooLarge` if so many rows were removed that they do not
    /// fit into memory; those of `out`.
    pub async fn diff(
        &self,
        who: &Principal,
        [old, new]: [&Arc<Snapshot>; 2],
        out: &mut (dyn FnMut(&[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        let schema = widen::union(&new.schema, &old.schema);
        let mut head = b"_op,".to_vec();
        csv::render_header(&schema, &mut head);
        out(&head)?;
        let mut each = |op: &str, row: &[u8]| {
            out(op.as_bytes())?;
            out(b",")?;
            out(row)
        };
        self.changes(who, [old, new], &schema, &mut each).await
    }

    /// What changed from one version of a table to another, row by row: `-` or `+` and the text of
    /// the row in the columns `schema`; the order is that of [`Lake::diff`].
    ///
    /// # Errors
    /// As [`Lake::diff`].
    pub async fn changes(
        &self,
        who: &Principal,
        [old, new]: [&Arc<Snapshot>; 2],
        schema: &SchemaRef,
        each: &mut (dyn FnMut(&str, &[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        self.allow(who, &old.table, Permission::Read).await?;
        self.allow(who, &new.table, Permission::Read).await?;
        let keys = key_schema(schema, &new.config.keys);
        let [gone, come] = self.table(&new.table).row_diff(old, new).await?;
        let mut removed = Removed::default();
        let mut bytes = 0_usize;
        let mut lines = self.lines(gone, schema, keys.as_ref());
        while let Some(batch) = lines.next().await {
            for line in batch? {
                bytes = bytes.saturating_add(line.text.len().saturating_mul(2));
                if bytes > KEPT_BYTES {
                    return Err(too_large(old));
                }
                removed.push(line, keys.is_some());
            }
        }
        let mut lines = self.lines(come, schema, keys.as_ref());
        while let Some(batch) = lines.next().await {
            for line in batch? {
                if removed.same(&line) {
                    continue;
                }
                if let Some(before) = removed.before(&line) {
                    each(OLD, &before.text)?;
                }
                each(NEW, &line.text)?;
            }
        }
        removed.lines.iter().flatten().try_for_each(|line| each(OLD, &line.text))
    }

    /// The lines of some rows.
    fn lines<'a>(
        &'a self,
        runs: Vec<FileRun>,
        schema: &'a SchemaRef,
        keys: Option<&'a SchemaRef>,
    ) -> futures::stream::BoxStream<'a, Result<Vec<Line>>> {
        let parts = runs.into_iter().flat_map(|run| {
            let end = run.rows.end;
            let step = usize::try_from(RENDER_ROWS).unwrap_or(usize::MAX);
            run.rows.step_by(step).map(move |first| {
                (run.file.clone(), first..first.saturating_add(RENDER_ROWS).min(end))
            })
        });
        let reader = self.0.views.reader();
        let parts: Vec<_> = parts.collect();
        let lines = futures::stream::iter(parts).then(move |(file, rows)| async move {
            let batch = reader.read_rows(&file, rows.clone(), schema).await?;
            let texts = rendered(&batch)?;
            let keys = match keys {
                Some(keys) => rendered(&reader.read_rows(&file, rows, keys).await?)?,
                None => vec![Vec::new(); texts.len()],
            };
            Ok(texts.into_iter().zip(keys).map(|(text, key)| Line { text, key }).collect())
        });
        Box::pin(lines)
    }
}

fn too_large(old: &Snapshot) -> Error {
    Error::new(
        crate::error::ErrorKind::TooLarge,
        "too many rows of the older version are gone: compare the texts with `mountable cat` and \
         `diff`",
    )
    .with("table", &old.table)
}

/// Appends a field of CSV with its comma, quoted where it has to be.
pub(super) fn put_field(text: &str, out: &mut Vec<u8>) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b',');
}

/// The lines of a batch.
pub(super) fn rendered(batch: &arrow::record_batch::RecordBatch) -> Result<Vec<Vec<u8>>> {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    csv::render(batch, &mut text, &mut ends)?;
    let mut lines = Vec::with_capacity(ends.len());
    let mut start = 0_usize;
    for end in ends {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        lines.push(text.get(start..end).unwrap_or_default().to_vec());
        start = end;
    }
    Ok(lines)
}

/// The key columns, if the table has a key and all of its columns are there.
fn key_schema(schema: &SchemaRef, keys: &[String]) -> Option<SchemaRef> {
    if keys.is_empty() {
        return None;
    }
    let field = |key: &String| schema.fields().find(key).map(|(_, field)| Arc::clone(field));
    let fields = keys.iter().map(field).collect::<Option<Vec<_>>>()?;
    Some(Arc::new(Schema::new(fields)))
}
