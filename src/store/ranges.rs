//! Which byte ranges of an object are fetched together: fewer requests against fewer bytes.
//!
//! A cloud store answers a request after some ten milliseconds, in which a megabyte passes. The
//! usual rule (join whatever is less than a megabyte apart) fetches a whole file for two narrow
//! columns of a wide table. Here what is fetched in vain is bounded by what is wanted.

use std::ops::Range;

/// Gaps up to this length are always bridged: a request costs more than they do.
const GAP_SMALL: u64 = 64 << 10;
/// Longer gaps are bridged up to this length, and never for more than what is wanted so far.
const GAP_LARGE: u64 = 1 << 20;
/// A request that joins ranges is at most this long.
const FETCH_MAX: u64 = 16 << 20;

/// The ranges to fetch so that each of `wanted` that is not empty lies within one; sorted.
pub(super) fn joined(wanted: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = wanted.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut fetches: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    // Bytes of the last fetch that were bridged, and the rest of it.
    let (mut bridged, mut useful) = (0_u64, 0_u64);
    for range in sorted {
        let own = range.end.saturating_sub(range.start);
        if let Some(last) = fetches.last_mut() {
            let end = range.end.max(last.end);
            let gap = range.start.saturating_sub(last.end);
            let paid = bridged.saturating_add(gap) <= useful.saturating_add(own);
            let short = gap <= GAP_SMALL || (gap <= GAP_LARGE && paid);
            let overlaps = range.start < last.end;
            if overlaps || (short && end.saturating_sub(last.start) <= FETCH_MAX) {
                useful = useful.saturating_add(end.saturating_sub(last.end).saturating_sub(gap));
                bridged = bridged.saturating_add(gap);
                last.end = end;
                continue;
            }
        }
        (bridged, useful) = (0, own);
        fetches.push(range);
    }
    fetches
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn near_ranges_are_joined_and_far_ones_are_not() {
        assert_eq!(joined(&[]), []);
        assert_eq!(joined(&[10..20, 7..7, 0..5]), [0..20]);
        assert_eq!(joined(std::slice::from_ref(&(7..7))), []);
        assert_eq!(joined(&[0..1, GAP_SMALL + 1..GAP_SMALL + 2]), [0..GAP_SMALL + 2]);
        let far = GAP_SMALL + 2;
        assert_eq!(joined(&[0..1, far..far + 1]), [0..1, far..far + 1]);
    }

    #[test]
    fn two_narrow_columns_of_a_wide_table_do_not_fetch_all_of_it() {
        // Pages of 8 KiB, every 900 KiB: less than a megabyte apart each time.
        let wanted: Vec<_> = (0..100).map(|i| i * 900 * KIB..i * 900 * KIB + 8 * KIB).collect();
        assert_eq!(joined(&wanted), wanted);
    }

    #[test]
    fn a_gap_is_bridged_if_as_much_is_wanted() {
        let half = 512 * KIB;
        assert_eq!(joined(&[0..half, 2 * half..3 * half]), [0..3 * half]);
    }

    proptest! {
        #[test]
        fn every_range_is_covered_and_waste_is_bounded(
            pairs in prop::collection::vec((0_u64..64 << 20, 1_u64..300 << 10), 0..60)
        ) {
            let wanted: Vec<_> = pairs.iter().map(|(start, len)| *start..start + len).collect();
            let fetches = joined(&wanted);
            for range in &wanted {
                prop_assert!(fetches.iter().any(|f| f.start <= range.start && range.end <= f.end));
            }
            prop_assert!(fetches.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let total = |ranges: &[Range<u64>]| -> u64 {
                ranges.iter().map(|range| range.end - range.start).sum()
            };
            let most = 2 * total(&wanted) + GAP_SMALL * wanted.len() as u64;
            prop_assert!(total(&fetches) <= most);
        }
    }
}
