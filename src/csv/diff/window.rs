//! Looks for the next place where two texts agree, in windows of bounded size.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use imara_diff::{Algorithm, Diff, InternedInput, TokenSource};

use super::{Place, Text, Walk, length, read};
use crate::csv::scan::RecordSplitter;
use crate::error::Result;

/// Records by which the texts may be shifted against each other in the first look.
const FEW_RECORDS: usize = 16;

/// Equal records in a row that make the first look trust a place.
const EQUAL_RUN: usize = 4;

/// A window is trusted if at least one of so many of its records is found on the other side.
const TRUSTED_SHARE: usize = 4;

/// Some records of one text.
struct Loaded {
    bytes: Bytes,
    /// Ends of the whole records among the bytes.
    ends: Vec<usize>,
    /// Whether these are all records up to the end.
    complete: bool,
}

impl Loaded {
    fn read(text: &mut dyn Text, range: Range<u64>, size: usize) -> Result<Self> {
        let room = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let wanted = room.min(size);
        let mut bytes = Bytes::new();
        while bytes.len() < wanted {
            let offset = range.start + length(bytes.len());
            let piece = read(text, offset, wanted - bytes.len())?;
            if bytes.is_empty() {
                bytes = piece;
            } else {
                let mut joined = BytesMut::with_capacity(wanted);
                joined.extend_from_slice(&bytes);
                joined.extend_from_slice(&piece);
                while joined.len() < wanted {
                    let offset = range.start + length(joined.len());
                    joined.extend_from_slice(&read(text, offset, wanted - joined.len())?);
                }
                bytes = joined.freeze();
            }
        }
        let mut ends = Vec::new();
        let mut splitter = RecordSplitter::new();
        let mut at = 0;
        while let Some(end) = splitter.next_end(bytes.get(at..).unwrap_or_default()) {
            at += end;
            ends.push(at);
        }
        let complete = wanted == room;
        if complete && splitter.is_inside_record() {
            ends.push(bytes.len());
        }
        Ok(Self { bytes, ends, complete })
    }

    fn record(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.start(index)..*self.ends.get(index)?)
    }

    /// Offset at which a record begins; the one behind the last gives the end of the last.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }
}

/// Records as tokens.
impl<'a> TokenSource for &'a Loaded {
    type Token = &'a [u8];
    type Tokenizer = Box<dyn Iterator<Item = &'a [u8]> + 'a>;

    fn tokenize(&self) -> Self::Tokenizer {
        let loaded = *self;
        Box::new((0..loaded.ends.len()).filter_map(|index| loaded.record(index)))
    }

    fn estimate_tokens(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }
}

impl Walk<'_> {
    /// Handles edits of a few records; whether it could.
    pub(super) fn few_records(&mut self, ends: Place) -> Result<bool> {
        let few = self.reach.few;
        let base = Loaded::read(self.base, self.at.base..ends.base, few)?;
        let edited = Loaded::read(self.edited, self.at.edited..ends.edited, few)?;
        if base.complete && edited.complete {
            // All that is left is in sight. The end of both texts is no agreement to run to: the
            // records before it may be equal too.
            return self.window(ends, &base, &edited);
        }
        let Some((removed, added)) = closest_agreement(&base, &edited) else { return Ok(false) };
        let to = Place {
            base: self.at.base + length(base.start(removed)),
            edited: self.at.edited + length(edited.start(added)),
        };
        self.replace(to, length(removed), length(added))?;
        Ok(true)
    }

    /// Compares windows of growing size; whether one of them agreed well enough to move on.
    pub(super) fn windows(&mut self, ends: Place) -> Result<bool> {
        for size in self.reach.windows {
            let base = Loaded::read(self.base, self.at.base..ends.base, size)?;
            let edited = Loaded::read(self.edited, self.at.edited..ends.edited, size)?;
            if self.window(ends, &base, &edited)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn window(&mut self, ends: Place, base: &Loaded, edited: &Loaded) -> Result<bool> {
        if base.ends.is_empty() || edited.ends.is_empty() {
            return Ok(false);
        }
        let input = InternedInput::new(base, edited);
        let diff = Diff::compute(Algorithm::Histogram, &input);
        let removals = usize::try_from(diff.count_removals()).unwrap_or(usize::MAX);
        let matched = base.ends.len().saturating_sub(removals);
        let complete = base.complete && edited.complete;
        let fewer = base.ends.len().min(edited.ends.len());
        if !complete && (matched == 0 || matched.saturating_mul(TRUSTED_SHARE) < fewer) {
            return Ok(false);
        }
        let origin = self.at;
        let place = |base_index: usize, edited_index: usize| Place {
            base: origin.base + length(base.start(base_index)),
            edited: origin.edited + length(edited.start(edited_index)),
        };
        // Equal records behind the last hunk, and hunks at the end of a window, are looked at
        // again with what follows them.
        for hunk in diff.hunks() {
            let [removed, added] =
                [&hunk.before, &hunk.after].map(|range| range.start as usize..range.end as usize);
            let last = removed.end == base.ends.len() || added.end == edited.ends.len();
            self.at = place(removed.start, added.start);
            if last && !complete {
                return Ok(self.at != origin);
            }
            let to = place(removed.end, added.end);
            self.replace(to, length(removed.len()), length(added.len()))?;
        }
        if complete {
            self.at = ends;
        }
        Ok(self.at != origin)
    }
}

/// The fewest records to remove and add until a run of records is equal.
fn closest_agreement(base: &Loaded, edited: &Loaded) -> Option<(usize, usize)> {
    for changed in 1..=FEW_RECORDS {
        for removed in 0..=changed {
            let added = changed - removed;
            if removed <= base.ends.len()
                && added <= edited.ends.len()
                && agrees(base, removed, edited, added)
            {
                return Some((removed, added));
            }
        }
    }
    None
}

fn agrees(base: &Loaded, removed: usize, edited: &Loaded, added: usize) -> bool {
    for index in 0..EQUAL_RUN {
        match (base.record(removed + index), edited.record(added + index)) {
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return base.complete && edited.complete,
            _ => return false,
        }
    }
    true
}
