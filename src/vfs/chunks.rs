//! A staged text in chunks of whole records, and the lines of places in it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::text::{BlockingText, Frozen};
use crate::csv::{RecordSplitter, Text};
use crate::error::{Error, Result};

/// Text parsed at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Number of line ends.
pub(super) fn count_lines(text: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', text).count()).unwrap_or(u64::MAX)
}

/// Line ends before places of a text; each part of it is looked through once for places that are
/// asked for in ascending order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Line ends before an offset.
    known: BTreeMap<u64, u64>,
}

impl Lines {
    /// Line ends before `end`, from a thread that may block.
    ///
    /// # Errors
    /// As reading the text.
    pub(super) fn before(&mut self, text: &mut BlockingText, end: u64) -> Result<u64> {
        let (mut at, mut lines) = self.nearest(end);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let part = text.read(at, wanted)?;
            if part.is_empty() {
                break;
            }
            lines += count_lines(&part);
            at += u64::try_from(part.len()).unwrap_or(u64::MAX);
        }
        self.known.insert(end, lines);
        Ok(lines)
    }

    /// [`Lines::before`] in a task.
    ///
    /// # Errors
    /// As reading the text.
    pub(super) async fn before_in(&mut self, text: &Frozen, end: u64) -> Result<u64> {
        let (mut at, mut lines) = self.nearest(end);
        let step = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        while at < end {
            let next = at.saturating_add(step).min(end);
            lines += text.read(at..next).await?.iter().map(|part| count_lines(part)).sum::<u64>();
            at = next;
        }
        self.known.insert(end, lines);
        Ok(lines)
    }

    fn nearest(&self, end: u64) -> (u64, u64) {
        self.known.range(..=end).next_back().map_or((0, 0), |(at, lines)| (*at, *lines))
    }
}

/// Reads a range of the text in chunks of whole records.
pub(super) struct Chunks {
    at: u64,
    end: u64,
    pending: Vec<u8>,
}

impl Chunks {
    /// Of the records in `range`.
    pub(super) fn new(range: Range<u64>) -> Self {
        Self { at: range.start, end: range.end, pending: Vec::new() }
    }

    /// Offset of the next chunk, and its bytes; `None` behind the last.
    ///
    /// # Errors
    /// As reading the text; `Internal` if it became shorter.
    pub(super) fn next(&mut self, text: &mut BlockingText) -> Result<Option<(u64, Vec<u8>)>> {
        let mut wanted = CHUNK;
        loop {
            while self.pending.len() < wanted && self.at < self.end {
                let left = usize::try_from(self.end - self.at).unwrap_or(CHUNK);
                let part = text.read(self.at, left.min(CHUNK))?;
                if part.is_empty() {
                    return Err(Error::internal("the staged text became shorter"));
                }
                self.at += u64::try_from(part.len()).unwrap_or(u64::MAX);
                self.pending.extend_from_slice(&part);
            }
            let start = self.at - u64::try_from(self.pending.len()).unwrap_or(0);
            if self.at >= self.end {
                let rest = std::mem::take(&mut self.pending);
                return Ok((!rest.is_empty()).then_some((start, rest)));
            }
            let whole = RecordSplitter::new().last_end(&self.pending).unwrap_or(0);
            if whole > 0 {
                let rest = self.pending.split_off(whole);
                return Ok(Some((start, std::mem::replace(&mut self.pending, rest))));
            }
            // A record longer than a chunk: take more.
            wanted = self.pending.len() + CHUNK;
        }
    }
}
