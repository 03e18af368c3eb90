//! Finds places where the rests of two texts agree, however far apart they are.
//!
//! Records are sampled by their hash, so that equal records are sampled on both sides; the sample
//! is thinned out as it grows, which keeps memory constant. Of the records that occur once on
//! both sides, the longest chain in the same order gives the places.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use super::{Place, Text, each_piece, length};
use crate::csv::scan::RecordSplitter;
use crate::error::Result;

/// Hashes and offsets of the records of which the lowest `bits` of the hash are zero.
#[derive(Debug)]
struct Sample {
    most: usize,
    bits: u32,
    records: Vec<(u64, u64)>,
}

impl Sample {
    fn push(&mut self, hash: u64, offset: u64) {
        if !self.takes(hash) {
            return;
        }
        self.records.push((hash, offset));
        if self.records.len() > self.most {
            self.thin_out(self.bits + 1);
        }
    }

    fn takes(&self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.bits
    }

    fn thin_out(&mut self, bits: u32) {
        self.bits = bits.min(u64::BITS);
        self.records.retain(|(hash, _)| hash.trailing_zeros() >= bits);
    }
}

/// Places in ascending order at which records begin that both texts hold once, up to `ends`.
pub(super) fn anchors(
    [base, edited]: [&mut dyn Text; 2],
    from: Place,
    ends: Place,
    most: usize,
) -> Result<Vec<Place>> {
    let mut base = sample(base, from.base, ends.base, most)?;
    let mut edited = sample(edited, from.edited, ends.edited, most)?;
    let bits = base.bits.max(edited.bits);
    base.thin_out(bits);
    edited.thin_out(bits);
    let (base, edited) = (once(&base), once(&edited));
    let mut pairs: Vec<Place> = base
        .iter()
        .filter_map(|(hash, base)| edited.get(hash).map(|edited| (*base, *edited)))
        .map(|(base, edited)| Place { base, edited })
        .collect();
    pairs.sort_unstable_by_key(|pair| pair.base);
    Ok(longest_chain(&pairs))
}

fn sample(text: &mut dyn Text, from: u64, end: u64, most: usize) -> Result<Sample> {
    let mut sample = Sample { most, bits: 0, records: Vec::new() };
    let mut splitter = RecordSplitter::new();
    let mut hasher = DefaultHasher::new();
    let mut start = from;
    let mut offset = from;
    each_piece(text, from..end, &mut |piece| {
        let mut at = 0;
        while let Some(end) = splitter.next_end(piece.get(at..).unwrap_or_default()) {
            hasher.write(piece.get(at..at + end).unwrap_or_default());
            sample.push(std::mem::take(&mut hasher).finish(), start);
            at += end;
            start = offset + length(at);
        }
        hasher.write(piece.get(at..).unwrap_or_default());
        offset += length(piece.len());
    })?;
    Ok(sample)
}

/// Hashes that occur once, with their offsets.
fn once(sample: &Sample) -> HashMap<u64, u64> {
    let mut counts: HashMap<u64, (u64, u32)> = HashMap::with_capacity(sample.records.len());
    for (hash, offset) in &sample.records {
        counts.entry(*hash).or_insert((*offset, 0)).1 += 1;
    }
    let single = counts.into_iter().filter(|(_, (_, count))| *count == 1);
    single.map(|(hash, (offset, _))| (hash, offset)).collect()
}

/// Of pairs ascending in the base, the longest chain that ascends in the edited text as well.
fn longest_chain(pairs: &[Place]) -> Vec<Place> {
    // Patience sorting: `tails[n]` is the pair that ends the best chain of n + 1 pairs.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    let edited = |index: &usize| pairs.get(*index).map_or(0, |pair| pair.edited);
    for (index, pair) in pairs.iter().enumerate() {
        let rank = tails.partition_point(|tail| edited(tail) < pair.edited);
        before.push(rank.checked_sub(1).and_then(|rank| tails.get(rank)).copied());
        match tails.get_mut(rank) {
            Some(tail) => *tail = index,
            None => tails.push(index),
        }
    }
    let mut chain = Vec::with_capacity(tails.len());
    let mut next = tails.last().copied();
    while let Some(index) = next {
        chain.extend(pairs.get(index));
        next = before.get(index).copied().flatten();
    }
    chain.reverse();
    chain
}
