//! A snapshot as the bytes of a CSV file: exact size without rendering, any range by rendering the
//! few blocks of rows that hold it.
//!
//! [`Views`] holds the caches (offset indexes, rendered blocks, open views), all bounded in bytes
//! and shared by all tables. A block depends on its immutable data file and the shown columns
//! only, so a commit leaves nearly everything warm. Nothing here knows users or paths of the mount.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::{Error, Result};
use crate::store::Objects;
use crate::table::Table;
use crate::table::layout::{Layout, columns_digest};
use crate::table::measure::RowMeasure;
use crate::table::scan::FileReader;
use crate::table::snapshot::{DataFile, Snapshot};

mod ahead;
mod build;
mod cache;
mod index;
mod kept;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests;
mod text;

use build::Indexes;
use cache::{Blocks, Source, weighted};
use index::{FileIndex, Shown};
use kept::KeptIndexes;
pub use text::{CsvView, RowAt};

/// Limits and places of the caches.
#[derive(Debug, Clone)]
pub struct ViewSettings {
    /// Upper bound of all caches together, in bytes.
    pub cache_bytes: u64,
    /// Directory of the offset indexes of files that other software wrote; `None` keeps them in
    /// memory only.
    pub index_dir: Option<PathBuf>,
    /// Upper bound of that directory, in bytes.
    pub index_dir_bytes: u64,
    /// Threads that decode and render at once; 0 = as many as there are cores.
    pub threads: usize,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self { cache_bytes: 128 << 20, index_dir: None, index_dir_bytes: 256 << 20, threads: 0 }
    }
}

/// How full the caches are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewStats {
    /// Bytes of rendered blocks in the cache.
    pub block_bytes: u64,
    /// Blocks rendered since the start.
    pub blocks_rendered: u64,
    /// Bytes of the views in the cache.
    pub view_bytes: u64,
}

/// Opens views; cheap to clone, clones share the caches.
#[derive(Debug, Clone)]
pub struct Views {
    engine: Arc<Engine>,
    views: Arc<Cache<ViewKey, Arc<CsvView>, ViewWeight>>,
}

/// Path of the snapshot document, and digest of the layout that it is shown in.
type ViewKey = (String, String);

#[derive(Debug, Clone)]
struct ViewWeight;

impl Weighter<ViewKey, Arc<CsvView>> for ViewWeight {
    fn weight(&self, _: &ViewKey, view: &Arc<CsvView>) -> u64 {
        view.weight()
    }
}

/// What all views share.
#[derive(Debug)]
struct Engine {
    reader: FileReader,
    indexes: Indexes,
    blocks: Arc<Blocks>,
    /// Bytes of text that are rendered ahead of a sequential reader.
    ahead_bytes: u64,
}

impl Engine {
    /// Everything that rendering blocks of `file` takes.
    async fn source(&self, file: &DataFile, shown: &Arc<Shown>) -> Result<Source> {
        let index = self.indexes.get(file, shown).await?;
        Ok(Source { file: file.clone(), shown: shown.clone(), index })
    }

    /// Text offset of a row's begin within the text of its file.
    async fn start_of_row(&self, source: &Source, row: u32) -> Result<u64> {
        let index: &FileIndex = &source.index;
        if let Some(start) = index.start_of_row(row) {
            return Ok(start);
        }
        let number = index.block_of_row(row);
        let block = self.blocks.get(source, number).await?;
        let first = index.rows_of(number).start;
        Ok(index.start_of(number) + block.start_of(row - first))
    }
}

impl Views {
    /// Makes the caches.
    pub fn new(objects: Objects, settings: ViewSettings) -> Self {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
            threads => threads,
        };
        let total = settings.cache_bytes;
        let (footers, indexes, views) = (total / 16, total / 16, total / 12);
        let blocks = total - footers - indexes - views;
        let reader = FileReader::new(objects, footers);
        let kept = settings.index_dir.map(|dir| KeptIndexes::new(dir, settings.index_dir_bytes));
        let engine = Engine {
            indexes: Indexes::new(reader.clone(), kept, indexes, threads),
            blocks: Blocks::new(reader.clone(), blocks, threads),
            reader,
            ahead_bytes: ahead::window(blocks),
        };
        Self { engine: Arc::new(engine), views: Arc::new(weighted(views, 256, ViewWeight)) }
    }

    /// Reads data files through the same footer cache.
    pub fn reader(&self) -> &FileReader {
        &self.engine.reader
    }

    /// How full the caches are.
    pub fn stats(&self) -> ViewStats {
        ViewStats {
            block_bytes: self.engine.blocks.bytes(),
            blocks_rendered: self.engine.blocks.rendered(),
            view_bytes: self.views.weight(),
        }
    }

    /// The view of a snapshot of a table; the same one as long as it stays in the cache.
    ///
    /// # Errors
    /// Those of [`Table::layout`] and of [`Self::open_layout`].
    pub async fn open(&self, table: &Table, snapshot: &Arc<Snapshot>) -> Result<Arc<CsvView>> {
        let key = (snapshot.path.clone(), columns_digest(&snapshot.schema));
        if let Some(view) = self.views.get(&key) {
            return Ok(view);
        }
        let layout = table.layout(snapshot).await?;
        self.open_layout(snapshot, &layout)
    }

    /// The view of a snapshot whose rows are in the order of `layout`.
    ///
    /// # Errors
    /// `Corrupt` if the layout does not fit the snapshot.
    pub fn open_layout(
        &self,
        snapshot: &Arc<Snapshot>,
        layout: &Arc<Layout>,
    ) -> Result<Arc<CsvView>> {
        let key = (snapshot.path.clone(), layout.columns.clone());
        if let Some(view) = self.views.get(&key) {
            return Ok(view);
        }
        let view = CsvView::new(self.engine.clone(), snapshot.clone(), layout)?;
        self.views.insert(key, view.clone());
        Ok(view)
    }
}

#[async_trait]
impl RowMeasure for Views {
    async fn bytes(&self, file: &DataFile, rows: Range<u32>, schema: &SchemaRef) -> Result<u64> {
        let source = self.engine.source(file, &Shown::new(schema)).await?;
        if rows.start > rows.end || rows.end > source.index.rows() {
            return Err(Error::internal("measure rows that the data file does not have")
                .with("path", &file.path));
        }
        let start = self.engine.start_of_row(&source, rows.start).await?;
        let end = self.engine.start_of_row(&source, rows.end).await?;
        Ok(end - start)
    }

    async fn block_bytes(&self, file: &DataFile, schema: &SchemaRef) -> Result<Arc<[u64]>> {
        let index = self.engine.indexes.get(file, &Shown::new(schema)).await?;
        Ok(index.lengths())
    }
}
