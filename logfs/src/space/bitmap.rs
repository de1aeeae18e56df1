//! Searching and changing the bitmaps of a segment.

use alloc::vec;
use alloc::vec::Vec;
use bitvec::prelude::{BitSlice, Lsb0};
use core::ops::Range;

/// A bitmap of a segment in memory, in words.
pub(super) type Words = Vec<u64>;

/// Zero bits for a segment of this many blocks.
pub(super) fn empty(blocks: u32) -> Words {
    vec![0; blocks.div_ceil(64) as usize]
}

/// Sets or clears a range of bits.
pub(super) fn fill(words: &mut Words, range: Range<u32>, value: bool) {
    let bits = BitSlice::<u64, Lsb0>::from_slice_mut(words);
    if let Some(bits) = bits.get_mut(range.start as usize..range.end as usize) {
        bits.fill(value);
    }
}

/// Bits set in a range.
pub(super) fn count(words: &Words, range: Range<u32>) -> u32 {
    let bits = BitSlice::<u64, Lsb0>::from_slice(words);
    bits.get(range.start as usize..range.end as usize)
        .map_or(0, |bits| bits.count_ones() as u32)
}

/// Sets or clears a range of bits of a bitmap that is stored as bytes. `None` if the range is not
/// inside, or if not all bits had the other value.
pub(super) fn flip(bytes: &mut [u8], range: Range<u32>, value: bool) -> Option<()> {
    let bits = BitSlice::<u8, Lsb0>::from_slice_mut(bytes);
    let bits = bits.get_mut(range.start as usize..range.end as usize)?;
    let as_expected = if value { bits.not_any() } else { bits.all() };
    as_expected.then(|| bits.fill(value))
}

/// Whether a bit of a bitmap that is stored as bytes is set.
pub(super) fn bit(bytes: &[u8], index: u32) -> bool {
    bytes
        .get(index as usize / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 != 0)
}

/// The first run of at most `want` bits in `range` that are zero in the stored bitmap and in
/// `busy`.
///
/// By words: `BitSlice::first_zero` is about twice as slow, and this is the allocator's inner loop.
pub(super) fn find_run(
    stored: &[u8],
    busy: Option<&Words>,
    range: Range<u32>,
    want: u32,
) -> Option<Range<u32>> {
    let word = |index: u32| -> u64 {
        let at = index as usize * 8;
        let mut bytes = [0xff; 8];
        if let Some(source) = stored.get(at..at + 8) {
            bytes.copy_from_slice(source);
        }
        let busy = busy
            .and_then(|words| words.get(index as usize))
            .copied()
            .unwrap_or(0);
        u64::from_le_bytes(bytes) | busy
    };
    let start = next_with(range.clone(), |index| !word(index))?;
    let limit = range.end.min(start.saturating_add(want));
    let end = next_with(start..limit, word).unwrap_or(limit);
    Some(start..end)
}

/// The first bit in `range` that is set in the words that `word` gives.
fn next_with(range: Range<u32>, word: impl Fn(u32) -> u64) -> Option<u32> {
    let mut index = range.start / 64;
    let mut bits = word(index) & (u64::MAX << (range.start % 64));
    while index * 64 < range.end {
        if bits != 0 {
            let found = index * 64 + bits.trailing_zeros();
            return (found < range.end).then_some(found);
        }
        index += 1;
        bits = word(index);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_avoid_both_bitmaps_and_end_where_asked() {
        let mut stored = [0u8; 32];
        flip(&mut stored, 0..10, true).unwrap();
        flip(&mut stored, 100..130, true).unwrap();
        let mut busy = empty(256);
        fill(&mut busy, 10..20, true);
        assert_eq!(find_run(&stored, Some(&busy), 0..256, 1000), Some(20..100));
        assert_eq!(find_run(&stored, Some(&busy), 0..256, 5), Some(20..25));
        assert_eq!(find_run(&stored, None, 0..256, 5), Some(10..15));
        assert_eq!(find_run(&stored, None, 100..256, 500), Some(130..256));
        assert_eq!(find_run(&stored, None, 100..130, 500), None);
        assert_eq!(find_run(&[0xff; 32], None, 0..256, 1), None);
    }

    #[test]
    fn flip_refuses_what_is_set_already() {
        let mut stored = [0u8; 32];
        assert!(flip(&mut stored, 8..16, true).is_some());
        assert!(flip(&mut stored, 15..17, true).is_none());
        assert!(flip(&mut stored, 8..17, false).is_none());
        assert!(flip(&mut stored, 200..300, true).is_none());
    }
}
