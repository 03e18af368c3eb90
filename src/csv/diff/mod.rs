//! What changed between two CSV texts, record by record, in constant memory.
//!
//! Equal bytes are skipped at memory speed, or not read at all where the edited text knows that
//! they are the base's. At a difference, four tries of growing cost look for the place where the
//! texts agree again: a few records, windows of some megabytes, and at last records sampled from
//! all that is left of both texts. However the texts agree again, the hunks are exact: applied to
//! the base they give the edited text byte for byte.
//!
//! Both sides always stand at the beginning of a record (as `scan` defines it), and everything
//! between two such places is read forward, so that quoted line ends never split a record.

mod far;
mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use super::scan::RecordSplitter;
use crate::error::{Error, Result};

/// How much is looked at, which bounds the memory; tests look at less to see every path.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// Bytes compared at a time, at first and at most.
    compare: [usize; 2],
    /// Bytes of the first look behind a difference: a few records.
    few: usize,
    /// Bytes of the windows that are tried one after the other.
    windows: [usize; 3],
    /// Records that a sample of the rest of a text keeps.
    sample: usize,
}

const REACH: Reach = Reach {
    compare: [16 * 1024, 1024 * 1024],
    few: 4 * 1024,
    windows: [64 * 1024, 512 * 1024, 4 * 1024 * 1024],
    sample: 1 << 16,
};

/// A text that is read in pieces.
pub trait Text {
    /// Bytes of the whole text, with its header.
    fn len(&self) -> u64;

    /// Whether there is no text at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `max` bytes from `offset` on; at least one if `offset` lies before the end.
    ///
    /// # Errors
    /// Those of the place where the text comes from.
    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes>;

    /// How many bytes from `offset` on are known to equal the other text at the same offset.
    /// Asked of the edited text.
    fn same_as_base(&mut self, offset: u64) -> u64 {
        let _ = offset;
        0
    }

    /// Start of the last record that begins at or before `offset`, if that is known without
    /// reading from the beginning. Asked of the base; without it `same_as_base` cannot be used,
    /// since only a record's beginning tells which quotes open and which close.
    ///
    /// # Errors
    /// Those of the place where the text comes from.
    fn record_start(&mut self, offset: u64) -> Result<Option<u64>> {
        let _ = offset;
        Ok(None)
    }
}

/// Records of the base that are replaced by records of the edited text; either may be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Bytes of the base, whole records.
    pub base: Range<u64>,
    /// How many records these are.
    pub base_records: u64,
    /// Bytes of the edited text, whole records.
    pub edited: Range<u64>,
    /// How many records these are.
    pub edited_records: u64,
}

/// Compares the records of two texts from the offsets behind their headers on.
///
/// Hunks come in ascending order and never touch each other; replacing each hunk's base bytes by
/// its edited bytes turns the base into the edited text. A last record without a newline counts
/// as a record, and differs from the same record with one.
///
/// # Errors
/// Those of reading and of `emit`; `Internal` if a text ends before its length.
pub fn diff(
    base: &mut dyn Text,
    base_body: u64,
    edited: &mut dyn Text,
    edited_body: u64,
    emit: &mut dyn FnMut(Hunk) -> Result<()>,
) -> Result<()> {
    diff_within(REACH, [base_body, edited_body], base, edited, emit)
}

fn diff_within(
    reach: Reach,
    [base_body, edited_body]: [u64; 2],
    base: &mut dyn Text,
    edited: &mut dyn Text,
    emit: &mut dyn FnMut(Hunk) -> Result<()>,
) -> Result<()> {
    let ends = Place { base: base.len().max(base_body), edited: edited.len().max(edited_body) };
    let at = Place { base: base_body, edited: edited_body };
    let mut walk = Walk { reach, base, edited, at, pending: None, emit };
    walk.region(ends, Far::Allowed)?;
    walk.flush()
}

/// A place in both texts, at the beginning of a record in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    base: u64,
    edited: u64,
}

/// Whether the rest of both texts may be sampled for places where they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Far {
    Allowed,
    Done,
}

struct Walk<'a> {
    reach: Reach,
    base: &'a mut dyn Text,
    edited: &'a mut dyn Text,
    at: Place,
    /// The last hunk, as long as the next one may touch it.
    pending: Option<Hunk>,
    emit: &'a mut dyn FnMut(Hunk) -> Result<()>,
}

impl Walk<'_> {
    /// Compares everything up to `ends`, a record boundary of both texts, and stands there.
    fn region(&mut self, ends: Place, far: Far) -> Result<()> {
        loop {
            self.skip_equal(ends)?;
            if self.at.base == ends.base || self.at.edited == ends.edited {
                return self.replace_all(ends);
            }
            if self.few_records(ends)? || self.windows(ends)? {
                continue;
            }
            if far == Far::Done {
                return self.replace_all(ends);
            }
            let anchors = far::anchors(
                [&mut *self.base, &mut *self.edited],
                self.at,
                ends,
                self.reach.sample,
            )?;
            for anchor in anchors {
                if anchor.base >= self.at.base && anchor.edited >= self.at.edited {
                    self.region(anchor, Far::Done)?;
                }
            }
            return self.region(ends, Far::Done);
        }
    }

    /// Moves to the beginning of the first record that differs, or to `ends`.
    fn skip_equal(&mut self, ends: Place) -> Result<()> {
        let [mut size, size_max] = self.reach.compare;
        loop {
            if self.skip_known(ends)? {
                return Ok(());
            }
            let mut splitter = RecordSplitter::new();
            // Bytes that are equal behind the beginning of the record at hand.
            let mut ahead = 0_u64;
            loop {
                let left = Place {
                    base: ends.base - self.at.base - ahead,
                    edited: ends.edited - self.at.edited - ahead,
                };
                let room = left.base.min(left.edited);
                if room == 0 {
                    if left.base == left.edited {
                        self.at = ends;
                    }
                    return Ok(());
                }
                let room = usize::try_from(room).unwrap_or(usize::MAX).min(size);
                let one = read(self.base, self.at.base + ahead, room)?;
                let other = read(self.edited, self.at.edited + ahead, one.len())?;
                let common = one.len().min(other.len());
                let equal = equal_bytes(&one, &other);
                let last = splitter.last_end(one.get(..equal).unwrap_or_default());
                if let Some(last) = last {
                    self.at.base += ahead + length(last);
                    self.at.edited += ahead + length(last);
                    ahead = length(equal - last);
                } else {
                    ahead += length(equal);
                }
                if equal < common {
                    return Ok(());
                }
                size = (size * 2).min(size_max);
                if last.is_some() && self.at.base == self.at.edited {
                    break;
                }
            }
        }
    }

    /// Skips what the edited text knows to be the base's; whether the end was reached.
    fn skip_known(&mut self, ends: Place) -> Result<bool> {
        if self.at.base != self.at.edited {
            return Ok(false);
        }
        let known = self.edited.same_as_base(self.at.edited);
        let left = Place { base: ends.base - self.at.base, edited: ends.edited - self.at.edited };
        let known = known.min(left.base).min(left.edited);
        if known == 0 {
            return Ok(left.base == 0 && left.edited == 0);
        }
        if known == left.base && known == left.edited {
            self.at = ends;
            return Ok(true);
        }
        if let Some(start) = self.base.record_start(self.at.base + known)?
            && start >= self.at.base
            && start <= self.at.base + known
        {
            self.at = Place { base: start, edited: start };
        }
        Ok(false)
    }

    /// Makes one hunk of everything up to `ends`.
    fn replace_all(&mut self, ends: Place) -> Result<()> {
        let base_records = count_records(self.base, self.at.base..ends.base)?;
        let edited_records = count_records(self.edited, self.at.edited..ends.edited)?;
        self.replace(ends, base_records, edited_records)
    }

    /// Makes a hunk of everything up to `to` and stands there.
    fn replace(&mut self, to: Place, base_records: u64, edited_records: u64) -> Result<()> {
        let hunk = Hunk {
            base: self.at.base..to.base,
            base_records,
            edited: self.at.edited..to.edited,
            edited_records,
        };
        self.at = to;
        if hunk.base.is_empty() && hunk.edited.is_empty() {
            return Ok(());
        }
        match &mut self.pending {
            Some(last)
                if last.base.end == hunk.base.start && last.edited.end == hunk.edited.start =>
            {
                last.base.end = hunk.base.end;
                last.base_records += hunk.base_records;
                last.edited.end = hunk.edited.end;
                last.edited_records += hunk.edited_records;
                Ok(())
            }
            _ => {
                let result = self.flush();
                self.pending = Some(hunk);
                result
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.pending.take().map_or(Ok(()), |hunk| (self.emit)(hunk))
    }
}

/// Reads at least one byte.
fn read(text: &mut dyn Text, offset: u64, max: usize) -> Result<Bytes> {
    let bytes = text.read(offset, max)?;
    if bytes.is_empty() && max > 0 {
        return Err(Error::internal("text ends before its length").with("offset", offset));
    }
    Ok(bytes.slice(..bytes.len().min(max)))
}

/// Bytes of the pieces in which a text is only looked through.
const PIECE_BYTES: usize = 1024 * 1024;

/// Calls `see` with every piece of a range of a text.
fn each_piece(text: &mut dyn Text, range: Range<u64>, see: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let room = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = read(text, at, room)?;
        see(&piece);
        at += length(piece.len());
    }
    Ok(())
}

fn count_records(text: &mut dyn Text, range: Range<u64>) -> Result<u64> {
    let mut splitter = RecordSplitter::new();
    let mut records = 0;
    each_piece(text, range, &mut |piece| {
        let mut at = 0;
        while let Some(end) = splitter.next_end(piece.get(at..).unwrap_or_default()) {
            records += 1;
            at += end;
        }
    })?;
    Ok(records + u64::from(splitter.is_inside_record()))
}

/// How many bytes both begin with.
fn equal_bytes(one: &[u8], other: &[u8]) -> usize {
    let mut at = 0;
    for (left, right) in one.chunks(4_096).zip(other.chunks(4_096)) {
        if left != right {
            let same = left.iter().zip(right).take_while(|(left, right)| left == right);
            return at + same.count();
        }
        at += left.len();
    }
    at
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
