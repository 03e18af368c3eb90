//! A set of byte ranges: which parts of a staged file were written.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-touching ranges in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// start -> end
    ranges: BTreeMap<u64, u64>,
    /// Length of all ranges together.
    bytes: u64,
}

impl Extents {
    /// Adds a range, merging it with those that it touches.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.bytes += self.missing(range.clone());
        let (mut start, mut end) = (range.start, range.end);
        let touching: Vec<u64> = self
            .ranges
            .range(..=end)
            .rev()
            .take_while(|(_, e)| **e >= start)
            .map(|(s, _)| *s)
            .collect();
        for key in touching {
            if let Some(old_end) = self.ranges.remove(&key) {
                start = start.min(key);
                end = end.max(old_end);
            }
        }
        self.ranges.insert(start, end);
    }

    /// Removes everything at and behind `size`.
    pub(super) fn truncate(&mut self, size: u64) {
        let behind: Vec<u64> = self.ranges.range(size..).map(|(s, _)| *s).collect();
        for start in behind {
            self.bytes -= self.ranges.remove(&start).map_or(0, |end| end - start);
        }
        if let Some((_, end)) = self.ranges.range_mut(..size).next_back() {
            self.bytes -= end.saturating_sub(size);
            *end = (*end).min(size);
        }
    }

    /// The written range that contains `offset`, or the unwritten gap up to the next one.
    pub(super) fn at(&self, offset: u64) -> Span {
        if let Some((_, end)) = self.ranges.range(..=offset).next_back()
            && *end > offset
        {
            return Span::Written(*end);
        }
        let next = self.ranges.range(offset..).next().map(|(start, _)| *start);
        Span::Gap(next.unwrap_or(u64::MAX))
    }

    /// Bytes written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of `range` that were not written.
    pub(super) fn missing(&self, range: Range<u64>) -> u64 {
        let mut at = range.start;
        let mut missing = 0;
        while at < range.end {
            match self.at(at) {
                Span::Written(end) => at = end,
                Span::Gap(end) => {
                    let end = end.min(range.end);
                    missing += end - at;
                    at = end;
                }
            }
        }
        missing
    }

    /// The ranges in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    /// Whether every byte of `range` was written.
    pub(super) fn covers(&self, range: Range<u64>) -> bool {
        range.is_empty() || matches!(self.at(range.start), Span::Written(end) if end >= range.end)
    }
}

/// What lies at an offset, and up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// Written, up to this offset.
    Written(u64),
    /// Not written, up to this offset.
    Gap(u64),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0_u64..200, 0_u64..60), 0..40)
        ) {
            let mut extents = Extents::default();
            let mut model = [false; 300];
            for (insert, start, len) in steps {
                let from = usize::try_from(start).expect("small");
                let to = usize::try_from(start + len).expect("small");
                if insert {
                    extents.insert(start..start + len);
                    model[from..to].fill(true);
                } else {
                    extents.truncate(start);
                    model[from..].fill(false);
                }
                for offset in 0..260_usize {
                    let run = model[offset..].iter().take_while(|b| **b == model[offset]).count();
                    let end = u64::try_from(offset + run).expect("small");
                    let expected = match (model[offset], offset + run == 300) {
                        (true, _) => Span::Written(end),
                        (false, true) => Span::Gap(u64::MAX),
                        (false, false) => Span::Gap(end),
                    };
                    prop_assert_eq!(extents.at(u64::try_from(offset).expect("small")), expected);
                }
                let bytes = model.iter().filter(|b| **b).count();
                prop_assert_eq!(extents.bytes(), u64::try_from(bytes).expect("small"));
            }
        }
    }
}
