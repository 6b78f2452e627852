//! Arithmetic on byte ranges of one object: merge what lies close together, cut what is too long, find a range again in
//! what was fetched. Pure; no I/O.

use std::ops::Range;

use bytes::Bytes;

/// Ranges closer than this are fetched in one request, and the bytes between them dropped.
///
/// A request costs some 30 ms before its first byte and a connection moves 50 to 90 MB/s, so a gap of 1 MiB takes less time than a
/// request of its own, and saves its price.
pub const MAX_GAP: u64 = 1 << 20;

/// A longer range is read in parts side by side, none longer than this (and so none shorter than half of it).
///
/// AWS names 8 to 16 MiB as the part size at which one connection reaches its full rate; a broken part costs at most
/// this much to read again.
pub const MAX_PART: u64 = 16 << 20;

/// The fewest ranges that cover `ranges` without bridging a gap of more than `max_gap` bytes; sorted and disjoint.
///
/// Empty ranges need no bytes, so nothing covers them. The input may be in any order and may overlap.
#[must_use]
pub fn coalesce(ranges: &[Range<u64>], max_gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges
        .iter()
        .filter(|range| !range.is_empty())
        .cloned()
        .collect();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(max_gap) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Cuts `range` into the fewest near-equal parts of at most `max` bytes, in order; none for an empty range.
#[must_use]
pub fn split(range: &Range<u64>, max: u64) -> Vec<Range<u64>> {
    let length = range.end.saturating_sub(range.start);
    let count = length.div_ceil(max.max(1));
    let Some(each) = length.checked_div(count) else {
        return Vec::new();
    };
    // The first `longer` parts take one byte more, so that the parts add up.
    let longer = length % count;
    let mut start = range.start;
    (0..count)
        .map(|part| {
            let end = start + each + u64::from(part < longer);
            std::mem::replace(&mut start, end)..end
        })
        .collect()
}

/// The bytes of `range`, out of buffers that hold `fetched` (as [`coalesce`] made them); shares them, copies nothing.
///
/// `None` if no buffer holds all of it. An empty range is held by all.
#[must_use]
pub fn slice(fetched: &[(Range<u64>, Bytes)], range: &Range<u64>) -> Option<Bytes> {
    if range.is_empty() {
        return Some(Bytes::new());
    }
    let before = fetched.partition_point(|(held, _)| held.start <= range.start);
    let (held, bytes) = fetched.get(before.checked_sub(1)?)?;
    let from = usize::try_from(range.start - held.start).ok()?;
    let to = usize::try_from(range.end - held.start).ok()?;
    (to <= bytes.len()).then(|| bytes.slice(from..to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pairs: &[(u64, u64)]) -> Vec<Range<u64>> {
        pairs.iter().map(|&(start, end)| start..end).collect()
    }

    #[test]
    fn coalesce_cases() {
        const END: u64 = u64::MAX;
        let cases = [
            (of(&[]), 10, of(&[])),
            (of(&[(5, 5)]), 10, of(&[])),
            (of(&[(20, 30), (0, 10)]), 9, of(&[(0, 10), (20, 30)])),
            (of(&[(20, 30), (0, 10)]), 10, of(&[(0, 30)])),
            (of(&[(0, 100), (10, 20)]), 0, of(&[(0, 100)])),
            (of(&[(END - 1, END), (0, 1)]), END, of(&[(0, END)])),
        ];
        for (ranges, gap, want) in cases {
            assert_eq!(coalesce(&ranges, gap), want, "{ranges:?} with gap {gap}");
        }
    }

    #[test]
    fn split_cases() {
        let cases = [
            ((3, 3), of(&[])),
            ((3, 13), of(&[(3, 13)])),
            ((0, 11), of(&[(0, 6), (6, 11)])),
            // Reversed, as a careless caller may send it.
            ((9, 3), of(&[])),
        ];
        for ((start, end), want) in cases {
            assert_eq!(split(&(start..end), 10), want, "{start}..{end}");
        }
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec(
            (0_u64..500, 0_u64..40).prop_map(|(start, length)| start..start + length),
            0..20,
        )
    }

    proptest! {
        #[test]
        fn coalesced_ranges_cover_and_stay_apart(ranges in ranges(), gap in 0_u64..50) {
            let merged = coalesce(&ranges, gap);
            for pair in merged.windows(2) {
                prop_assert!(pair[0].end + gap < pair[1].start, "sorted, disjoint, merged where allowed: {merged:?}");
            }
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                prop_assert!(merged.iter().any(|m| m.start <= range.start && range.end <= m.end), "{range:?} in {merged:?}");
            }
            // No gap that was not asked for is longer than allowed: walk each merged range byte by byte.
            for m in &merged {
                let mut idle = 0;
                for byte in m.clone() {
                    idle = if ranges.iter().any(|range| range.contains(&byte)) { 0 } else { idle + 1 };
                    prop_assert!(idle <= gap, "bridges {idle} > {gap} at {byte}");
                }
                prop_assert_eq!(idle, 0, "ends with asked bytes");
            }
        }

        #[test]
        fn slices_are_what_was_asked(ranges in ranges(), gap in 0_u64..50) {
            let byte = |at: u64| u8::try_from(at % 251).unwrap();
            let fetched: Vec<_> = coalesce(&ranges, gap).into_iter().map(|r| (r.clone(), r.map(byte).collect::<Bytes>())).collect();
            for range in &ranges {
                let want: Bytes = range.clone().map(byte).collect();
                prop_assert_eq!(slice(&fetched, range), Some(want));
            }
        }

        #[test]
        fn parts_add_up(start in 0_u64..1000, length in 0_u64..1000, max in 1_u64..100) {
            let parts = split(&(start..start + length), max);
            let mut at = start;
            for part in &parts {
                prop_assert_eq!(part.start, at);
                prop_assert!(!part.is_empty() && part.end - part.start <= max);
                prop_assert!(parts.len() < 2 || (part.end - part.start) * 2 >= max, "no crumbs: {parts:?}");
                at = part.end;
            }
            prop_assert_eq!(at, start + length);
        }
    }
}
