//! The bytes of a file as they are at one moment: a snapshot's CSV, or staged content over one.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::scratch::SharedFile;
use super::staged::{Content, Part};
use crate::csv;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::CsvView;

/// Longest part that is read at once.
const STEP: u64 = 1 << 20;

/// Content frozen at a moment. Later writes to the same offsets may show; the callers hold the
/// slot's lock where that matters.
#[derive(Debug, Clone)]
pub(super) struct Frozen {
    content: Content,
    data: Arc<File>,
    base: Option<Arc<CsvView>>,
}

impl Frozen {
    /// Freezes `file`, which lies over `base`.
    pub(super) fn new(file: &SharedFile, base: Option<Arc<CsvView>>) -> Self {
        let file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Self { content: file.content().clone(), data: file.data(), base }
    }

    /// A snapshot's text as it is.
    ///
    /// # Errors
    /// As opening the file of no bytes, which stands for what is staged.
    pub(super) fn of(view: &Arc<CsvView>) -> Result<Self> {
        let size = view.len();
        Ok(Self {
            content: Content { size, base_limit: size, ..Content::default() },
            data: Arc::new(File::open("/dev/null")?),
            base: Some(Arc::clone(view)),
        })
    }

    /// Size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.content.size
    }

    /// Where the bytes come from.
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Whether the last written byte ends no line.
    pub(super) fn ends_in_mid_line(&self) -> bool {
        let Some(last) = self.content.size.checked_sub(1) else { return false };
        match self.content.parts(last..self.content.size).first() {
            Some(Part::Staged(start, end)) => {
                self.read_staged(*start, *end).is_ok_and(|byte| byte[..] != b"\n"[..])
            }
            _ => false,
        }
    }

    /// Reads `range`, clamped to the size.
    ///
    /// # Errors
    /// As the base's, or the local file system's.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>> {
        let mut bytes = Vec::new();
        for part in self.content.parts(range) {
            match part {
                Part::Staged(start, end) => bytes.push(self.read_staged(start, end)?),
                Part::Base(start, end) => match &self.base {
                    Some(base) => bytes.extend(base.read_at(start..end).await?),
                    None => bytes.push(zeros(end - start)?),
                },
                Part::Zero(len) => bytes.push(zeros(len)?),
            }
        }
        Ok(bytes)
    }

    /// Reads `range` into one buffer.
    ///
    /// # Errors
    /// As [`Frozen::read`].
    pub(super) async fn read_all(&self, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self.read(range).await?.concat())
    }

    fn read_staged(&self, start: u64, end: u64) -> Result<Bytes> {
        let len = usize::try_from(end - start)
            .map_err(|_| Error::new(ErrorKind::TooLarge, "read too much at once"))?;
        let mut buffer = vec![0_u8; len];
        self.data.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

fn zeros(len: u64) -> Result<Bytes> {
    let len = usize::try_from(len)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "read too much at once"))?;
    Ok(vec![0_u8; len].into())
}

/// A text for [`csv::diff()`], read from a thread that may block.
#[derive(Clone)]
pub(super) struct BlockingText {
    source: Source,
    runtime: tokio::runtime::Handle,
    /// Whether unwritten parts are the other text's bytes.
    same_base: bool,
}

#[derive(Clone)]
enum Source {
    View(Arc<CsvView>),
    Frozen(Frozen),
}

impl BlockingText {
    /// A snapshot's text.
    pub(super) fn view(view: Arc<CsvView>) -> Self {
        Self {
            source: Source::View(view),
            runtime: tokio::runtime::Handle::current(),
            same_base: false,
        }
    }

    /// Staged text; with `same_base` its unwritten parts equal the text it is compared with.
    pub(super) fn staged(frozen: Frozen, same_base: SameBase) -> Self {
        Self {
            source: Source::Frozen(frozen),
            runtime: tokio::runtime::Handle::current(),
            same_base: same_base == SameBase::Yes,
        }
    }
}

/// Whether a staged text lies over the very snapshot that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SameBase {
    /// It does.
    Yes,
    /// It lies over another one or over nothing.
    No,
}

impl csv::Text for BlockingText {
    fn len(&self) -> u64 {
        match &self.source {
            Source::View(view) => view.len(),
            Source::Frozen(frozen) => frozen.len(),
        }
    }

    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes> {
        let end = offset.saturating_add(u64::try_from(max).unwrap_or(STEP).min(STEP));
        let parts = match &self.source {
            Source::View(view) => self.runtime.block_on(view.read_at(offset..end))?,
            Source::Frozen(frozen) => self.runtime.block_on(frozen.read(offset..end))?,
        };
        let mut parts: Vec<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(match parts.len() {
            0 => Bytes::new(),
            1 => parts.swap_remove(0),
            _ => parts.concat().into(),
        })
    }

    fn record_start(&mut self, offset: u64) -> Result<Option<u64>> {
        let Source::View(view) = &self.source else { return Ok(None) };
        let header = u64::try_from(view.header().len()).unwrap_or(u64::MAX);
        if offset < header || view.rows() == 0 {
            return Ok(None);
        }
        let inside = offset.min(view.len().saturating_sub(1));
        Ok(Some(self.runtime.block_on(view.row_at(inside))?.start))
    }

    fn same_as_base(&mut self, offset: u64) -> u64 {
        match &self.source {
            Source::Frozen(frozen) if self.same_base => frozen.content().unwritten_from(offset),
            _ => 0,
        }
    }
}
