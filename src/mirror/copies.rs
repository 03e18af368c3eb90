//! Files of a mirror: a data file under a second name where all of it counts, else its live rows
//! written anew.
//!
//! Names are derived from what is in the file, and an object appears whole or not at all. A file
//! that is there is therefore right, and a refresh that broke off does not write it again.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::content::{Content, Source};
use super::{MirrorParts, Published};
use crate::error::{BoxError, Error, Result};
use crate::store::{self, PutCreate};
use crate::table::scan::conform;

/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 122_880;

/// Gives an object a second name: a link in a directory, a copy within the store elsewhere.
pub(super) async fn link(parts: &MirrorParts, from: &str, to: &str) -> Result<()> {
    let (source, target) = (store::object_path(from)?, store::object_path(to)?);
    match parts.objects.copy(&source, &target).await {
        Ok(()) => return Ok(()),
        Err(error @ object_store::Error::NotFound { .. }) => {
            return Err(store::error_of(error, "copy object", from));
        }
        // A file system without links, an object that is too large for one step: its bytes travel.
        Err(error) => tracing::debug!(%error, from, to, "copy an object by its bytes"),
    }
    let bytes = store::get_existing(&parts.objects, from).await?;
    create(parts, to, bytes).await.map(|_| ())
}

/// Creates an object that only one content fits.
async fn create(parts: &MirrorParts, path: &str, bytes: Bytes) -> Result<u64> {
    let len = u64::try_from(bytes.len()).map_err(|_| Error::internal("file size"))?;
    match store::put_create(&parts.objects, path, bytes).await? {
        PutCreate::Created => Ok(len),
        // Another release packs the same rows otherwise.
        PutCreate::Exists => store::size(&parts.objects, path)
            .await?
            .ok_or_else(|| Error::unavailable("the object went away").with("path", path)),
    }
}

/// Puts the live rows of a data file at `path`, if they are not there; the file's size.
pub(super) async fn rewritten(
    parts: &MirrorParts,
    content: &Content,
    source: &Source,
    path: &str,
) -> Result<u64> {
    if let Some(bytes) = store::size(&parts.objects, path).await? {
        return Ok(bytes);
    }
    let bytes = encode(parts, content, source).await?;
    create(parts, path, bytes.into()).await
}

/// Puts a whole data file at `path`, if it is not there; the file's size.
pub(super) async fn whole(parts: &MirrorParts, source: &Source, path: &str) -> Result<u64> {
    if store::size(&parts.objects, path).await? != Some(source.file.bytes) {
        link(parts, &source.file.path, path).await?;
    }
    Ok(source.file.bytes)
}

/// Puts a file without rows at `path`; its size.
pub(super) async fn without_rows(
    parts: &MirrorParts,
    content: &Content,
    path: &str,
) -> Result<u64> {
    let bytes = writer(content)?.into_inner().map_err(|error| not_written(error.into()))?;
    create(parts, path, bytes.into()).await
}

fn writer(content: &Content) -> Result<ArrowWriter<Vec<u8>>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    ArrowWriter::try_new(Vec::new(), content.columns.clone(), Some(properties))
        .map_err(|error| not_written(error.into()))
}

/// A Parquet file of the live rows, with the columns of the mirror.
async fn encode(parts: &MirrorParts, content: &Content, source: &Source) -> Result<Vec<u8>> {
    let columns = content.columns.clone();
    let mut writer = writer(content)?;
    let runs = source.rows.iter().map(|run| (source.file.clone(), run.clone())).collect();
    // First the table's own types, as the CSV file has them; these then become the mirror's.
    let mut batches = parts.reader.scan(runs, content.snapshot.schema.clone());
    while let Some(batch) = batches.try_next().await? {
        let columns = columns.clone();
        writer = blocking(move || {
            let batch: RecordBatch = conform(&batch, &columns)?;
            writer.write(&batch).map_err(|error| not_written(error.into()))?;
            Ok(writer)
        })
        .await?;
    }
    blocking(move || writer.into_inner().map_err(|error| not_written(error.into()))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::unavailable("the process is stopping").caused_by(error))?
}

fn not_written(error: BoxError) -> Error {
    Error::unsupported("the rows cannot be written to a mirror").caused_by(error)
}

/// What a create-only put means for whoever publishes.
pub(super) fn published(put: PutCreate) -> Published {
    match put {
        PutCreate::Created => Published::Done,
        PutCreate::Exists => Published::Moved,
    }
}
