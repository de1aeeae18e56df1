//! Ranges of a file on their way to the device, in file blocks.

use super::runs::Runs;

/// Blocks that have a promise of space, or that lie in unwritten extents and need none.
#[derive(Default)]
pub(crate) struct Delayed {
    /// From first block to the block behind the last, and whether space is promised. Ranges of one
    /// sort do not touch.
    ranges: Runs<(u64, bool)>,
}

impl Delayed {
    /// Nothing.
    pub(crate) const fn new() -> Delayed {
        Delayed { ranges: Runs::None }
    }

    /// The range that holds `block`, or the next one: start, end, whether space is promised.
    pub(crate) fn at_or_after(&self, block: u64) -> Option<(u64, u64, bool)> {
        let holds = |&(_, (end, _)): &(u64, (u64, bool))| end > block;
        let found = self.ranges.last_until(block).filter(holds);
        let found = found.or_else(|| self.ranges.first_from(block));
        found.map(|(start, (end, promised))| (start, end, promised))
    }

    /// The first part of a range that is not delayed yet.
    pub(crate) fn first_missing(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let mut at = start;
        while at < end {
            match self.at_or_after(at) {
                Some((from, to, _)) if from <= at => at = to,
                next => return Some((at, next.map_or(end, |(from, ..)| from.min(end)))),
            }
        }
        None
    }

    /// How many blocks of a range are not delayed yet.
    pub(crate) fn missing_blocks(&self, start: u64, end: u64) -> u64 {
        let mut blocks = 0;
        let mut at = start;
        while let Some((from, to)) = self.first_missing(at, end) {
            blocks += to - from;
            at = to;
        }
        blocks
    }

    /// Adds a range that is not delayed yet.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64, promised: bool) {
        if let Some((before, (to, sort))) = self.ranges.last_until(start)
            && to == start
            && sort == promised
        {
            start = before;
        }
        if let Some((behind, (to, sort))) = self.ranges.first_from(end)
            && behind == end
            && sort == promised
        {
            self.ranges.remove(end);
            end = to;
        }
        self.ranges.insert(start, (end, promised));
    }

    /// Removes a range and returns how many promised blocks were in it.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> u64 {
        let mut promises = 0;
        while let Some((from, to, promised)) = self.at_or_after(start)
            && from < end
        {
            self.ranges.remove(from);
            if from < start {
                self.ranges.insert(from, (start, promised));
            }
            if to > end {
                self.ranges.insert(end, (to, promised));
            }
            if promised {
                promises += to.min(end) - from.max(start);
            }
        }
        promises
    }

    /// All promised blocks.
    pub(crate) fn promised(&self) -> u64 {
        self.ranges.sum(|start, (end, promised)| match promised {
            true => end - start,
            false => 0,
        })
    }
}

/// A run of file blocks that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First block in the file.
    pub(crate) file_block: u64,
    /// First block on the device.
    pub(crate) start: u64,
    /// Length in blocks.
    pub(crate) len: u32,
    /// The address is that of the unwritten extent that lies there.
    pub(crate) in_place: bool,
}

impl Piece {
    /// The file block behind its last.
    pub(crate) fn end(&self) -> u64 {
        self.file_block + u64::from(self.len)
    }

    /// The part of it from one file block to before another.
    pub(crate) fn part(&self, from: u64, to: u64) -> Piece {
        Piece {
            file_block: from,
            start: self.start + (from - self.file_block),
            len: (to - from) as u32,
            ..*self
        }
    }
}

/// What is known of a run beside its first block in the file: see [`Piece`].
type Address = (u64, u32, bool);

/// Runs of file blocks that have an address and are being written.
#[derive(Default)]
pub(crate) struct Placed {
    pieces: Runs<Address>,
}

impl From<(u64, Address)> for Piece {
    fn from((file_block, (start, len, in_place)): (u64, Address)) -> Piece {
        Piece {
            file_block,
            start,
            len,
            in_place,
        }
    }
}

impl Placed {
    /// Nothing.
    pub(crate) const fn new() -> Placed {
        Placed { pieces: Runs::None }
    }

    /// Adds a run. What was placed there before has to be removed first.
    pub(crate) fn insert(&mut self, piece: Piece) {
        let address = (piece.start, piece.len, piece.in_place);
        self.pieces.insert(piece.file_block, address);
    }

    /// All blocks.
    pub(crate) fn blocks(&self) -> u64 {
        self.pieces.sum(|_, (_, len, in_place)| match in_place {
            true => 0,
            false => u64::from(len),
        })
    }

    /// The run that holds `block`, or the next one.
    pub(crate) fn at_or_after(&self, block: u64) -> Option<Piece> {
        let before = self.pieces.last_until(block).map(Piece::from);
        before
            .filter(|piece| piece.end() > block)
            .or_else(|| self.pieces.first_from(block).map(Piece::from))
    }

    /// Whether anything is placed in a range.
    pub(crate) fn is_any_in(&self, start: u64, end: u64) -> bool {
        let last = end.checked_sub(1);
        let last = last.and_then(|block| self.pieces.last_until(block));
        last.is_some_and(|run| Piece::from(run).end() > start)
    }

    /// Removes the first piece of a range, or what of it lies there.
    pub(crate) fn remove_first(&mut self, start: u64, end: u64) -> Option<Piece> {
        if start >= end {
            return None;
        }
        // Nearly always a piece is removed as it was inserted.
        let as_it_was = self.pieces.remove(start);
        let piece = match as_it_was.map(|address| Piece::from((start, address))) {
            Some(piece) => piece,
            None => {
                let found = self.at_or_after(start).filter(|p| p.file_block < end)?;
                self.pieces.remove(found.file_block);
                found
            }
        };
        if piece.file_block < start {
            self.insert(piece.part(piece.file_block, start));
        }
        if piece.end() > end {
            self.insert(piece.part(end, piece.end()));
        }
        Some(piece.part(piece.file_block.max(start), piece.end().min(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn delayed_ranges_join_split_and_count() {
        let mut delayed = Delayed::default();
        delayed.insert(10, 20, true);
        delayed.insert(20, 30, true);
        delayed.insert(30, 40, false);
        assert_eq!(delayed.at_or_after(15), Some((10, 30, true)));
        assert_eq!(delayed.first_missing(5, 50), Some((5, 10)));
        assert_eq!(delayed.first_missing(10, 50), Some((40, 50)));
        assert_eq!(delayed.first_missing(10, 40), None);
        assert_eq!(delayed.first_missing(2, 4), Some((2, 4)));
        assert_eq!(delayed.missing_blocks(5, 50), 15);
        assert_eq!(delayed.remove(15, 35), 15);
        assert_eq!(delayed.at_or_after(15), Some((35, 40, false)));
        assert_eq!(delayed.remove(10, 10), 0);
        assert_eq!(delayed.promised(), 5);
        assert_eq!(delayed.remove(0, u64::MAX), 5);
        assert_eq!(delayed.at_or_after(0), None);
    }

    #[test]
    fn placed_runs_are_cut_at_the_range() {
        let mut placed = Placed::default();
        placed.insert(Piece {
            file_block: 10,
            start: 100,
            len: 10,
            in_place: false,
        });
        placed.insert(Piece {
            file_block: 20,
            start: 500,
            len: 10,
            in_place: false,
        });
        let remove = |placed: &mut Placed, start: u64, end: u64| -> Vec<Piece> {
            core::iter::from_fn(|| placed.remove_first(start, end)).collect()
        };
        assert_eq!(
            remove(&mut placed, 15, 25),
            [
                Piece {
                    file_block: 15,
                    start: 105,
                    len: 5,
                    in_place: false
                },
                Piece {
                    file_block: 20,
                    start: 500,
                    len: 5,
                    in_place: false
                },
            ]
        );
        assert_eq!(placed.blocks(), 10);
        assert_eq!(placed.remove_first(10, 10), None);
        assert!(placed.is_any_in(14, 15) && !placed.is_any_in(15, 25) && placed.is_any_in(0, 26));
        assert_eq!(remove(&mut placed, 0, 100).len(), 2);
    }
}
