//! What is known of a staged text against its base, so that a long rewrite that arrives in many
//! small writes is compared once and not anew after each of them.

use std::ops::Range;

use super::extents::Extents;

/// The outcome of comparing the written parts of a text with its base so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Below this offset every written byte equals the base's at the same offset.
    equal_until: u64,
    /// Offset of a written byte that differs.
    differs_at: Option<u64>,
}

impl Compared {
    /// Bytes were written.
    pub(super) fn note_write(&mut self, offset: u64, len: u64) {
        self.equal_until = self.equal_until.min(offset);
        self.differs_at = self.differs_at.filter(|at| *at < offset || *at - offset >= len);
    }

    /// The text was cut off or extended.
    pub(super) fn note_truncate(&mut self, size: u64) {
        self.equal_until = self.equal_until.min(size);
        self.differs_at = self.differs_at.filter(|at| *at < size);
    }

    /// Whether a written byte below `end` is known to differ.
    pub(super) fn differs(&self, end: u64) -> bool {
        self.differs_at.is_some_and(|at| at < end)
    }

    /// The written ranges below `end` of which nothing is known yet.
    pub(super) fn unknown(&self, extents: &Extents, end: u64) -> Vec<Range<u64>> {
        let open =
            extents.iter().map(|range| range.start.max(self.equal_until)..range.end.min(end));
        open.filter(|range| !range.is_empty()).collect()
    }

    /// All written bytes below `end` were found equal.
    pub(super) fn found_equal(&mut self, end: u64) {
        self.equal_until = self.equal_until.max(end);
    }

    /// The first written byte that differs is at `offset`.
    pub(super) fn found_difference(&mut self, offset: u64) {
        self.equal_until = self.equal_until.max(offset);
        self.differs_at = Some(offset);
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_grows_is_compared_once() {
        let mut extents = Extents::default();
        let mut compared = Compared::default();
        for at in (0..1000).step_by(10) {
            extents.insert(at..at + 10);
            compared.note_write(at, 10);
            assert_eq!(compared.unknown(&extents, 1000), [at..at + 10]);
            compared.found_equal(at + 10);
        }
        assert!(!compared.differs(1000));
    }

    #[test]
    fn what_is_written_again_is_compared_again() {
        let mut extents = Extents::default();
        let mut compared = Compared::default();
        extents.insert(0..100);
        compared.note_write(0, 100);
        compared.found_difference(40);
        assert!(compared.differs(41) && !compared.differs(40));
        compared.note_write(60, 10);
        assert!(compared.differs(100), "the difference is still there");
        compared.note_write(30, 11);
        assert!(!compared.differs(100));
        assert_eq!(compared.unknown(&extents, 100), [30..100]);
        compared.found_difference(90);
        compared.note_truncate(90);
        extents.truncate(90);
        assert!(!compared.differs(100));
        compared.found_equal(90);
        compared.note_truncate(20);
        compared.note_write(20, 5);
        extents.truncate(20);
        extents.insert(20..25);
        assert_eq!(compared.unknown(&extents, 100), [20..25]);
    }
}
