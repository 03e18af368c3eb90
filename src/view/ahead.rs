//! Finds readers that go through a file from front to back, so that what they read next is
//! rendered before they ask.

use std::ops::Range;

/// Readers of one view that are told apart.
const READERS_MAX: usize = 16;
/// Bytes rendered ahead of a reader.
const WINDOW_BYTES: u64 = 6 << 20;
/// Requests of one reader may arrive out of order by this many bytes.
const DISORDER_BYTES: u64 = 2 << 20;

/// Bytes rendered ahead of a reader when the block cache holds `cache_bytes`.
pub(super) fn window(cache_bytes: u64) -> u64 {
    WINDOW_BYTES.min(cache_bytes / 8)
}

/// The readers of a view.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The one that read last is last.
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    /// End of the furthest read.
    end: u64,
    /// Reads that went on where an earlier one ended.
    steps: u32,
    /// Begin of what was not yet asked for ahead.
    asked: u64,
}

impl Readers {
    /// Notes a read; returns the range that should be rendered ahead of it, if any.
    pub(super) fn observe(&mut self, read: &Range<u64>, window: u64) -> Option<Range<u64>> {
        let found = self.readers.iter().rposition(|reader| {
            read.start <= reader.end.saturating_add(DISORDER_BYTES)
                && read.end.saturating_add(DISORDER_BYTES) >= reader.end
        });
        let mut reader = match found {
            Some(place) => self.readers.remove(place),
            None => {
                if self.readers.len() >= READERS_MAX {
                    self.readers.remove(0);
                }
                Reader { end: read.start, steps: 0, asked: 0 }
            }
        };
        if read.end > reader.end {
            reader.steps += u32::from(found.is_some());
            reader.end = read.end;
        }
        let wanted = reader.end.saturating_add(window);
        let from = reader.asked.max(reader.end);
        // Asked for in halves of the window: fewer, larger pieces of work.
        let ahead =
            (reader.steps > 0 && window > 0 && wanted - from >= window / 2).then_some(from..wanted);
        if let Some(ahead) = &ahead {
            reader.asked = ahead.end;
        }
        self.readers.push(reader);
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const WINDOW: u64 = 4 << 20;

    #[test]
    fn sequential_reader_is_served_ahead_from_its_second_read() {
        let mut readers = Readers::default();
        assert_eq!(readers.observe(&(0..128 * KIB), WINDOW), None);
        let ahead = readers.observe(&(128 * KIB..256 * KIB), WINDOW);
        assert_eq!(ahead, Some(256 * KIB..256 * KIB + WINDOW));
        assert_eq!(readers.observe(&(256 * KIB..384 * KIB), WINDOW), None);
        let mut next = 384 * KIB;
        let mut asked = 256 * KIB + WINDOW;
        for _ in 0..1000 {
            if let Some(ahead) = readers.observe(&(next..next + 128 * KIB), WINDOW) {
                assert_eq!(ahead.start, asked, "nothing is left out or asked for twice");
                asked = ahead.end;
            }
            next += 128 * KIB;
            assert!(asked >= next && asked <= next + WINDOW);
        }
    }

    #[test]
    fn random_reads_are_not_served_ahead() {
        let mut readers = Readers::default();
        for place in [0_u64, 900, 20, 500, 70, 300, 800, 10, 600, 400] {
            let start = place << 24;
            assert_eq!(readers.observe(&(start..start + 4096), WINDOW), None);
        }
    }

    #[test]
    fn readers_are_told_apart_and_bounded() {
        let mut readers = Readers::default();
        for reader in 0..100_u64 {
            assert_eq!(readers.observe(&(reader << 30..(reader << 30) + KIB), WINDOW), None);
        }
        assert_eq!(readers.readers.len(), READERS_MAX);
        let start = (99 << 30) + KIB;
        assert!(readers.observe(&(start..start + KIB), WINDOW).is_some());
    }
}
