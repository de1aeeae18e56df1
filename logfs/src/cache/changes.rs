//! Which bytes of a block the running transaction has changed.

use alloc::vec::Vec;
use logfs_format::{BLOCK_BYTES, log::ITEM_HEAD_BYTES};

/// More ranges than this are not worth telling apart: the whole block is logged then.
const RANGES_MAX: usize = 48;

/// Changed ranges with fewer unchanged bytes than this between them cost less as one.
const GAP_MIN: usize = ITEM_HEAD_BYTES + 4;

/// Sorted ranges, apart by at least [`GAP_MIN`].
#[derive(Default)]
pub(crate) struct Changes {
    ranges: Vec<(u16, u16)>,
    /// Bytes of log that the ranges need.
    range_bytes: usize,
    whole: bool,
}

/// Bytes of log that a range needs.
fn log_bytes_of((start, end): (u16, u16)) -> usize {
    usize::from(end) - usize::from(start) + ITEM_HEAD_BYTES
}

impl Changes {
    /// The whole block.
    pub(crate) fn whole() -> Changes {
        Changes {
            whole: true,
            ..Changes::default()
        }
    }

    /// Whether the whole block is to be logged.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The ranges, as start and end.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.ranges
            .iter()
            .map(|&(start, end)| (start.into(), end.into()))
    }

    /// Bytes of log that the changes need at most.
    pub(crate) fn log_bytes(&self) -> usize {
        match self.whole {
            true => BLOCK_BYTES + ITEM_HEAD_BYTES,
            false => self.range_bytes,
        }
    }

    /// Adds a range that lies in a block.
    pub(crate) fn add(&mut self, start: usize, end: usize) {
        if self.whole {
            return;
        }
        let (mut start, mut end) = (start as u16, end as u16);
        let gap = GAP_MIN as u16;
        let first = self
            .ranges
            .partition_point(|r| r.1.saturating_add(gap) < start);
        let mut last = first;
        while let Some(range) = self.ranges.get(last)
            && range.0 <= end.saturating_add(gap)
        {
            start = start.min(range.0);
            end = end.max(range.1);
            self.range_bytes -= log_bytes_of(*range);
            last += 1;
        }
        self.range_bytes += log_bytes_of((start, end));
        match self.ranges.get_mut(first) {
            Some(range) if first < last => {
                *range = (start, end);
                self.ranges.drain(first + 1..last);
            }
            _ => self.ranges.insert(first, (start, end)),
        }
        if self.ranges.len() > RANGES_MAX {
            *self = Changes::whole();
        }
    }
}

/// Bytes that are told apart.
const WORD_BYTES: usize = 8;

/// A word as it is compared: comparing slices or arrays is a call.
type Word = [u8; WORD_BYTES];

/// Words that are compared in one go, with a bit for each.
const GROUP_WORDS: usize = u64::BITS as usize;

const _: () = assert!(WORD_BYTES < GAP_MIN && GAP_MIN <= 2 * WORD_BYTES);

/// A bit for each word (of at most [`GROUP_WORDS`]) that differs. One word that does not between two
/// that do counts as one of them: that is less than [`GAP_MIN`].
fn differing(old: &[Word], new: &[Word]) -> u64 {
    let pairs = old.iter().zip(new).rev();
    let words = pairs.fold(0, |words, (a, b)| {
        words << 1 | u64::from(u64::from_ne_bytes(*a) != u64::from_ne_bytes(*b))
    });
    words | words << 1 & words >> 1
}

/// Runs of bytes in which `new` differs from `old` (both of one length), as start and end; runs less
/// than [`GAP_MIN`] apart are one.
pub(crate) fn difference(old: &[u8], new: &[u8], mut emit: impl FnMut(usize, usize)) {
    let (old_words, old_end) = old.as_chunks::<WORD_BYTES>();
    let (new_words, new_end) = new.as_chunks::<WORD_BYTES>();
    let mut run: Option<(usize, usize)> = None;
    let mut differs = |start: usize, end: usize| {
        run = match run {
            Some((first, last)) if start - last < GAP_MIN => Some((first, end)),
            Some((first, last)) => {
                emit(first, last);
                Some((start, end))
            }
            None => Some((start, end)),
        };
    };
    let groups = old_words
        .chunks(GROUP_WORDS)
        .zip(new_words.chunks(GROUP_WORDS));
    for (group, (old, new)) in groups.enumerate() {
        let mut words = differing(old, new);
        while words != 0 {
            let first = words.trailing_zeros();
            let len = (words >> first).trailing_ones() as usize;
            let start = (group * GROUP_WORDS + first as usize) * WORD_BYTES;
            differs(start, start + len * WORD_BYTES);
            // The carry runs through the lowest run of ones.
            words &= words.wrapping_add(1 << first);
        }
    }
    if old_end.iter().zip(new_end).any(|(a, b)| a != b) {
        differs(old.len() - old_end.len(), old.len());
    }
    if let Some((first, last)) = run {
        emit(first, last);
    }
}

/// Runs of bytes that are not zero, as start and end; what a block of zeros lacks.
pub(crate) fn nonzero(bytes: &[u8], emit: impl FnMut(usize, usize)) {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    difference(&ZEROS, bytes, emit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn near_ranges_join_and_far_ones_stay_apart() {
        let mut changes = Changes::default();
        changes.add(100, 120);
        changes.add(400, 408);
        changes.add(122, 130);
        assert_eq!(
            changes.ranges().collect::<Vec<_>>(),
            [(100, 130), (400, 408)]
        );
        assert_eq!(changes.log_bytes(), 30 + 8 + 2 * ITEM_HEAD_BYTES);
        changes.add(90, 401);
        assert_eq!(changes.ranges().collect::<Vec<_>>(), [(90, 408)]);
        assert_eq!(changes.log_bytes(), 318 + ITEM_HEAD_BYTES);
    }

    #[test]
    fn too_many_ranges_become_the_whole_block() {
        let mut changes = Changes::default();
        for n in 0..=RANGES_MAX {
            assert!(!changes.is_whole());
            changes.add(n * 64, n * 64 + 8);
        }
        assert!(changes.is_whole());
    }

    #[test]
    fn difference_finds_every_changed_byte() {
        let old = vec![7u8; 4096];
        let mut new = old.clone();
        for place in [0, 9, 500, 4095] {
            new[place] = 0;
        }
        let mut patched = old.clone();
        let mut runs = 0;
        difference(&old, &new, |start, end| {
            patched[start..end].copy_from_slice(&new[start..end]);
            runs += 1;
        });
        assert_eq!(patched, new);
        assert_eq!(runs, 3);
    }

    #[test]
    fn difference_finds_any_one_byte_of_any_length() {
        for len in 1..=GROUP_WORDS * WORD_BYTES + 25 {
            let old = vec![7u8; len];
            difference(&old, &old, |_, _| unreachable!("nothing has changed"));
            for place in 0..len {
                let mut new = old.clone();
                new[place] = 8;
                let mut found = Vec::new();
                difference(&old, &new, |start, end| found.push(start..end));
                assert_eq!(found.len(), 1, "byte {place} of {len}");
                assert!(found[0].contains(&place) && found[0].end <= len);
            }
        }
    }
}
