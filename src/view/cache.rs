//! Rendered blocks of rows: bounded in bytes, shared by all snapshots that show the same file, and
//! never rendered twice at the same time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{FutureExt, Shared};
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use tokio::sync::{Semaphore, oneshot};

use super::index::{FileIndex, Shown};
use crate::csv;
use crate::error::{Error, ErrorKind, Result};
use crate::table::scan::{FetchedRows, FileReader};
use crate::table::snapshot::DataFile;

/// Most blocks that one task renders of a file whose pages can be found.
const RUN_BLOCKS_MAX: u32 = 8;
/// The same for files without page index: their column chunks are read whole each time.
const RUN_BLOCKS_MAX_UNPAGED: u32 = 32;
/// A task takes no further block when it has this much text.
const RUN_BYTES_MAX: u64 = 16 << 20;

/// A cache bounded by weight.
pub(super) fn weighted<K, V, W>(weight_max: u64, items: usize, weighter: W) -> Cache<K, V, W>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    W: Weighter<K, V> + Clone,
{
    // Few shards: an entry that is larger than its shard would never be kept.
    let options = OptionsBuilder::new()
        .shards(2)
        .estimated_items_capacity(items)
        .weight_capacity(weight_max)
        // Half for what came lately: what is read ahead must survive until it is read.
        .hot_allocation(0.5)
        .build();
    match options {
        Ok(options) => {
            Cache::with_options(options, weighter, Default::default(), Default::default())
        }
        Err(_) => Cache::with_weighter(items, weight_max, weighter),
    }
}

/// The CSV text of a block of rows.
#[derive(Debug)]
pub(super) struct Block {
    /// The text.
    pub(super) text: Bytes,
    /// End of each row in the text.
    pub(super) ends: Box<[u32]>,
}

impl Block {
    /// Begin of a row of the block; the text's end for the row behind the last.
    pub(super) fn start_of(&self, row: u32) -> u64 {
        let Some(before) = row.checked_sub(1) else { return 0 };
        let before = usize::try_from(before).unwrap_or(usize::MAX);
        self.ends.get(before).or(self.ends.last()).map_or(0, |end| u64::from(*end))
    }

    /// The row of the block that holds an offset of its text.
    pub(super) fn row_at(&self, offset: u64) -> u32 {
        let row = self.ends.partition_point(|end| u64::from(*end) <= offset);
        u32::try_from(row).unwrap_or(u32::MAX)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlockKey {
    path: Arc<str>,
    bytes: u64,
    columns: u128,
    block: u32,
}

#[derive(Debug, Clone)]
struct BlockWeight;

impl Weighter<BlockKey, Arc<Block>> for BlockWeight {
    fn weight(&self, key: &BlockKey, block: &Arc<Block>) -> u64 {
        let bytes = block.text.len() + block.ends.len() * 4 + key.path.len() + 200;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

type Rendered = std::result::Result<Arc<Block>, Arc<Error>>;
type Pending = Shared<oneshot::Receiver<Rendered>>;

/// A block that is there or being made.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Ready(Arc<Block>),
    Pending(Pending),
}

impl Wanted {
    /// Waits for the block.
    ///
    /// # Errors
    /// Those of reading and rendering it.
    pub(super) async fn block(self) -> Result<Arc<Block>> {
        let pending = match self {
            Self::Ready(block) => return Ok(block),
            Self::Pending(pending) => pending,
        };
        match pending.await {
            Ok(Ok(block)) => Ok(block),
            Ok(Err(error)) => Err(Error::new(error.kind(), "read rows").caused_by(error)),
            Err(_) => Err(Error::unavailable("the process is stopping")),
        }
    }
}

/// A file with what is needed to render its blocks.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: DataFile,
    pub(super) shown: Arc<Shown>,
    pub(super) index: Arc<FileIndex>,
}

impl Source {
    fn key(&self, block: u32) -> BlockKey {
        BlockKey {
            path: self.file.path.clone(),
            bytes: self.file.bytes,
            columns: self.shown.digest,
            block,
        }
    }
}

/// The block cache.
#[derive(Debug)]
pub(super) struct Blocks {
    reader: FileReader,
    cache: Cache<BlockKey, Arc<Block>, BlockWeight>,
    in_flight: Mutex<HashMap<BlockKey, Pending>>,
    /// One permit per core, so that what is decoded at once is bounded.
    cores: Arc<Semaphore>,
    core_count: usize,
    rendered: AtomicU64,
}

impl Blocks {
    pub(super) fn new(reader: FileReader, bytes_max: u64, cores: usize) -> Arc<Self> {
        let items = usize::try_from(bytes_max >> 18).unwrap_or(usize::MAX).max(16);
        Arc::new(Self {
            reader,
            cache: weighted(bytes_max, items, BlockWeight),
            in_flight: Mutex::new(HashMap::new()),
            cores: Arc::new(Semaphore::new(cores)),
            core_count: cores,
            rendered: AtomicU64::new(0),
        })
    }

    /// Bytes that the cached blocks take.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Blocks rendered so far.
    pub(super) fn rendered(&self) -> u64 {
        self.rendered.load(Ordering::Relaxed)
    }

    /// One block.
    ///
    /// # Errors
    /// Those of reading and rendering it.
    pub(super) async fn get(self: &Arc<Self>, source: &Source, block: u32) -> Result<Arc<Block>> {
        match self.want(source, block..block.saturating_add(1)).pop() {
            Some(wanted) => wanted.block().await,
            None => Err(Error::internal("no block asked for")),
        }
    }

    /// The blocks of a run, in order; those that are neither cached nor being made are begun, on
    /// several cores. Dropping what is returned does not stop them.
    pub(super) fn want(self: &Arc<Self>, source: &Source, blocks: Range<u32>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut jobs = Vec::new();
        for block in blocks {
            let key = source.key(block);
            if let Some(block) = self.cache.get(&key) {
                wanted.push(Wanted::Ready(block));
                continue;
            }
            let mut in_flight = self.in_flight();
            if let Some(pending) = in_flight.get(&key) {
                wanted.push(Wanted::Pending(pending.clone()));
                continue;
            }
            // A block that was finished since the first look is in the cache now.
            if let Some(block) = self.cache.peek(&key) {
                wanted.push(Wanted::Ready(block));
                continue;
            }
            let (sender, receiver) = oneshot::channel();
            let pending = receiver.shared();
            in_flight.insert(key, pending.clone());
            wanted.push(Wanted::Pending(pending));
            jobs.push(Job { block, sender });
        }
        self.begin(source, jobs);
        wanted
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashMap<BlockKey, Pending>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Splits the blocks into runs, one task each.
    fn begin(self: &Arc<Self>, source: &Source, jobs: Vec<Job>) {
        let share = jobs.len().div_ceil(self.core_count.max(1));
        let most = if source.index.paged { RUN_BLOCKS_MAX } else { RUN_BLOCKS_MAX_UNPAGED };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // A run of an unpaged file costs about as much as its whole row group.
        let most = if source.index.paged { most.min(share.max(1)) } else { most };
        let mut run: Vec<Job> = Vec::new();
        let mut bytes = 0;
        for job in jobs {
            let follows =
                run.last().is_some_and(|last| last.block.checked_add(1) == Some(job.block));
            let size = source.index.bytes_of(job.block);
            if !run.is_empty() && (!follows || run.len() >= most || bytes + size > RUN_BYTES_MAX) {
                self.spawn(source, std::mem::take(&mut run));
                bytes = 0;
            }
            bytes += size;
            run.push(job);
        }
        if !run.is_empty() {
            self.spawn(source, run);
        }
    }

    fn spawn(self: &Arc<Self>, source: &Source, jobs: Vec<Job>) {
        let (blocks, source) = (self.clone(), source.clone());
        let run = Run { blocks, source, jobs };
        tokio::spawn(run.work());
    }
}

/// A block that has to be made, and who waits for it.
#[derive(Debug)]
struct Job {
    block: u32,
    sender: oneshot::Sender<Rendered>,
}

/// Consecutive blocks that are made together; on drop nobody waits for them any more.
struct Run {
    blocks: Arc<Blocks>,
    source: Source,
    jobs: Vec<Job>,
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut in_flight = self.blocks.in_flight();
        for job in &self.jobs {
            in_flight.remove(&self.source.key(job.block));
        }
    }
}

impl Run {
    async fn work(mut self) {
        let rendered = self.render().await;
        let jobs = std::mem::take(&mut self.jobs);
        match rendered {
            Ok(blocks) => {
                for (job, block) in jobs.into_iter().zip(blocks) {
                    let key = self.source.key(job.block);
                    self.blocks.cache.insert(key.clone(), block.clone());
                    self.blocks.in_flight().remove(&key);
                    // Nobody may be waiting: read-ahead.
                    let _ = job.sender.send(Ok(block));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for job in jobs {
                    self.blocks.in_flight().remove(&self.source.key(job.block));
                    let _ = job.sender.send(Err(error.clone()));
                }
            }
        }
    }

    /// Fetches the rows of all blocks, then decodes and renders them on one core.
    async fn render(&self) -> Result<Vec<Arc<Block>>> {
        let Source { file, shown, index } = &self.source;
        let (Some(first), Some(last)) = (self.jobs.first(), self.jobs.last()) else {
            return Ok(Vec::new());
        };
        let rows = index.rows_of(first.block).start..index.rows_of(last.block).end;
        let fetched = self.blocks.reader.fetch(file, rows, &shown.schema).await?;
        let permit = self.blocks.cores.clone().acquire_owned().await;
        let (index, numbers) = (index.clone(), first.block..last.block.saturating_add(1));
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            render_run(fetched, &index, numbers)
        });
        let rendered = match work.await {
            Ok(rendered) => rendered,
            Err(error) if error.is_panic() => {
                Err(Error::new(ErrorKind::Corrupt, "decode data file"))
            }
            Err(error) => Err(Error::unavailable("the process is stopping").caused_by(error)),
        };
        let rendered = rendered.map_err(|error| error.with("path", &file.path))?;
        let count = u64::try_from(rendered.len()).unwrap_or_default();
        self.blocks.rendered.fetch_add(count, Ordering::Relaxed);
        Ok(rendered)
    }
}

fn render_run(
    fetched: FetchedRows,
    index: &FileIndex,
    blocks: Range<u32>,
) -> Result<Vec<Arc<Block>>> {
    let batch = fetched.decode()?;
    let mut rendered = Vec::new();
    let mut start = 0;
    for number in blocks {
        let rows = index.rows_of(number);
        let rows = usize::try_from(rows.end - rows.start).unwrap_or_default();
        let expected = index.bytes_of(number);
        // A damaged index must not make us take memory that the rows never need.
        let capacity = expected.min(RUN_BYTES_MAX);
        let mut text = Vec::with_capacity(usize::try_from(capacity).unwrap_or_default());
        let mut ends = Vec::with_capacity(rows);
        csv::render(&batch.slice(start, rows), &mut text, &mut ends)?;
        start += rows;
        if u64::try_from(text.len()) != Ok(expected) || ends.len() != rows {
            return Err(Error::corrupt(
                "text of rows has another length than the offset index says",
            )
            .with("block", number)
            .with("expected", expected)
            .with("found", text.len()));
        }
        rendered.push(Arc::new(Block { text: text.into(), ends: ends.into() }));
    }
    Ok(rendered)
}
