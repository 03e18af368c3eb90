//! Single columns of data files, read whole: row ids and key columns.
//!
//! What is read here is small beside the file and never rendered; rows for people are read by
//! `table::scan`.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Objects};
use crate::table::schema::ROW_ID;
use crate::table::snapshot::DataFile;
use crate::table::write::{FOOTER_IDS_KEY, LISTED_IDS_KEY, footer_ids};

/// Bytes read at the end of a file in the hope that they hold the whole footer.
const FOOTER_BYTES: usize = 32 << 10;
/// Rows decoded at once.
const BATCH_ROWS: usize = 65_536;
/// Footer entry that our own writer leaves; its files hold ascending row ids unless they say
/// otherwise ([`LISTED_IDS_KEY`]).
const OWN_FOOTER_KEY: &str = "mountable.csv.v1";

/// The row ids of a data file, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowIds {
    /// The first id; each row has the next one.
    From(i64),
    /// Each row's id.
    Each(Arc<[i64]>),
}

/// Ids from here on were never given by a counter: they are those of files without row ids.
const DERIVED: i64 = 1 << 62;

/// The first id of a file that has none: the same for every gateway, and another one than that of
/// any other file but for chance. The 32 lower bits count its rows.
pub(crate) fn derived_ids(path: &str) -> i64 {
    let digest = blake3::hash(path.as_bytes());
    let half = digest.as_bytes().first_chunk::<4>().copied().unwrap_or_default();
    DERIVED | (i64::from(u32::from_le_bytes(half) >> 2) << 32)
}

/// Whether an id is one of [`derived_ids`].
pub(crate) fn is_derived(id: i64) -> bool {
    id >= DERIVED
}

impl RowIds {
    /// The ids of a file's rows in order.
    pub(crate) fn of(ids: Vec<i64>) -> Self {
        let dense = ids.windows(2).all(|two| matches!(two, [a, b] if a.checked_add(1) == Some(*b)));
        match ids.first() {
            Some(first) if dense => Self::From(*first),
            _ => Self::Each(ids.into()),
        }
    }

    /// Id of the row at `position`; `None` behind the end of a list.
    pub fn at(&self, position: u32) -> Option<i64> {
        match self {
            Self::From(first) => first.checked_add(i64::from(position)),
            Self::Each(ids) => ids.get(usize::try_from(position).ok()?).copied(),
        }
    }

    /// Highest id of a file of `rows` rows that a counter gave.
    pub(crate) fn highest(&self, rows: u64) -> Option<i64> {
        match self {
            Self::From(_) => self.span(rows).map(|(_, last)| last).filter(|id| !is_derived(*id)),
            Self::Each(ids) => ids.iter().copied().filter(|id| !is_derived(*id)).max(),
        }
    }

    /// Lowest and highest id of a file of `rows` rows; `None` if it has none.
    pub fn span(&self, rows: u64) -> Option<(i64, i64)> {
        match self {
            Self::From(first) => {
                let last = i64::try_from(rows).ok()?.checked_sub(1)?;
                (last >= 0).then_some((*first, first.checked_add(last)?))
            }
            Self::Each(ids) => Some((*ids.iter().min()?, *ids.iter().max()?)),
        }
    }
}

type Builder = ParquetRecordBatchStreamBuilder<ObjectReader>;

/// A data file of the store, as the Parquet reader wants it.
#[derive(Debug)]
struct ObjectReader {
    objects: Objects,
    path: Arc<str>,
    bytes: u64,
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        Box::pin(async move {
            store::get_range(&self.objects, &self.path, range)
                .await
                .map_err(|error| ParquetError::External(Box::new(error)))
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let size = self.bytes;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        })
    }
}

async fn open(objects: &Objects, file: &DataFile) -> Result<Builder> {
    let path = Arc::clone(&file.path);
    let reader = ObjectReader { objects: Arc::clone(objects), path, bytes: file.bytes };
    let builder = Builder::new(reader).await.map_err(|error| read_error(error, file))?;
    let rows = builder.metadata().file_metadata().num_rows();
    if u64::try_from(rows).is_ok_and(|rows| rows == file.rows) {
        return Ok(builder);
    }
    Err(Error::corrupt("data file holds another number of rows than its snapshot says")
        .with("file", &file.path)
        .with("expected", file.rows)
        .with("found", rows))
}

/// The error of reading a Parquet file: the store's own kind if the store failed.
pub(crate) fn read_error(error: ParquetError, file: &DataFile) -> Error {
    let kind = match &error {
        ParquetError::External(cause) => match cause.downcast_ref::<Error>().map(Error::kind) {
            // The snapshot names the file, so it must be there.
            None | Some(ErrorKind::NotFound) => ErrorKind::Corrupt,
            Some(kind) => kind,
        },
        _ => ErrorKind::Corrupt,
    };
    Error::new(kind, "read data file").with("file", &file.path).caused_by(error)
}

/// Reads columns of a data file by name, in the file's row order; columns that the file lacks are
/// left out of the batches.
///
/// # Errors
/// `Corrupt` if the file is missing or cannot be decoded, `Unavailable` if the store fails.
pub async fn read_columns(
    objects: &Objects,
    file: &DataFile,
    names: &[&str],
) -> Result<Vec<RecordBatch>> {
    let builder = open(objects, file).await?;
    let mask = ProjectionMask::roots(
        builder.parquet_schema(),
        builder
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| names.contains(&field.name().as_str()))
            .map(|(index, _)| index),
    );
    let stream = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| read_error(error, file))?;
    stream.try_collect().await.map_err(|error| read_error(error, file))
}

/// Reads the columns of a data file from its footer.
///
/// # Errors
/// As [`read_columns`].
pub async fn read_schema(objects: &Objects, file: &DataFile) -> Result<SchemaRef> {
    Ok(Arc::clone(open(objects, file).await?.schema()))
}

/// Reads the row ids of a data file.
///
/// # Errors
/// As [`read_columns`].
pub async fn read_row_ids(objects: &Objects, file: &DataFile) -> Result<RowIds> {
    let builder = open(objects, file).await?;
    if let Some(first) = ascending(&builder) {
        return Ok(RowIds::From(first));
    }
    if builder.schema().index_of(ROW_ID).is_err() {
        return in_footer(&builder, file);
    }
    drop(builder);
    let batches = read_columns(objects, file, &[ROW_ID]).await?;
    let mut ids = Vec::new();
    for batch in &batches {
        let column = batch.column_by_name(ROW_ID).ok_or_else(|| {
            Error::unsupported("data file without row ids (SuperTable before 2.3)")
                .with("file", &file.path)
        })?;
        ids.extend_from_slice(row_id_values(column.as_ref(), file)?.values());
    }
    Ok(RowIds::of(ids))
}

fn row_id_values<'a>(column: &'a dyn Array, file: &DataFile) -> Result<&'a Int64Array> {
    let values = arrow::array::AsArray::as_primitive_opt::<Int64Type>(column);
    match values {
        Some(values) if values.null_count() == 0 => Ok(values),
        _ => Err(Error::corrupt("row ids are not whole numbers").with("file", &file.path)),
    }
}

/// The ids of a file without a column of them: those that our writer left in the footer, else ones
/// that follow from the file's name.
fn in_footer(builder: &Builder, file: &DataFile) -> Result<RowIds> {
    let entries = builder.metadata().file_metadata().key_value_metadata();
    let entry = entries.and_then(|entries| entries.iter().find(|e| e.key == FOOTER_IDS_KEY));
    match entry.and_then(|entry| entry.value.as_deref()) {
        None => Ok(RowIds::From(derived_ids(&file.path))),
        Some(text) => footer_ids::decode(text, file.rows).ok_or_else(|| {
            Error::corrupt("row ids in the footer cannot be read").with("file", &file.path)
        }),
    }
}

/// The first id if the footer alone proves that ids ascend by one: our own writer made the file
/// and the ids span exactly its number of rows.
fn ascending(builder: &Builder) -> Option<i64> {
    let metadata = builder.metadata();
    let entries = metadata.file_metadata().key_value_metadata()?;
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    if !has(OWN_FOOTER_KEY) || has(LISTED_IDS_KEY) {
        return None;
    }
    let column = builder.schema().index_of(ROW_ID).ok()?;
    let leaf = (0..builder.parquet_schema().num_columns())
        .find(|leaf| builder.parquet_schema().get_column_root_idx(*leaf) == column)?;
    let (mut lowest, mut highest) = (i64::MAX, i64::MIN);
    for group in metadata.row_groups() {
        match group.columns().get(leaf)?.statistics()? {
            Statistics::Int64(values) => {
                lowest = lowest.min(*values.min_opt()?);
                highest = highest.max(*values.max_opt()?);
            }
            _ => return None,
        }
    }
    let span = highest.checked_sub(lowest)?.checked_add(1)?;
    (span == metadata.file_metadata().num_rows()).then_some(lowest)
}
