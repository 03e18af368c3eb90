//! How many bytes of CSV text a run of rows has; answered from above, where the offset indexes
//! and caches are.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::error::Result;
use crate::table::snapshot::DataFile;

/// Measures the CSV text of stored rows.
///
/// # Errors
/// Those of reading the data file; `NotFound` or `Corrupt` name it.
#[async_trait]
pub trait RowMeasure: fmt::Debug + Send + Sync + 'static {
    /// Bytes of the text of `rows` of `file` when the shown columns are `schema`; newline of the
    /// last row included.
    async fn bytes(&self, file: &DataFile, rows: Range<u32>, schema: &SchemaRef) -> Result<u64>;

    /// The same for each block of rows of the file, in order.
    async fn block_bytes(&self, file: &DataFile, schema: &SchemaRef) -> Result<Arc<[u64]>>;
}

/// A shared measure.
pub type SharedMeasure = Arc<dyn RowMeasure>;
