//! What was done to a disk, and what a power cut could have left of it.

use crate::{Image, Rng};
use std::sync::Arc;

/// A power cut tears writes at the boundaries of these.
const SECTOR_BYTES: u64 = 512;

/// One thing done to a disk.
#[derive(Clone, Debug)]
pub enum Change {
    /// A write.
    Write {
        /// Where, in bytes.
        offset_bytes: u64,
        /// What.
        data: Arc<[u8]>,
        /// It was durable when it returned (forced unit access).
        durable: bool,
    },
    /// A range was discarded: it reads as zeros.
    Discard {
        /// Where, in bytes.
        offset_bytes: u64,
        /// How far.
        len_bytes: u64,
    },
    /// All before it was made durable.
    Flush,
}

/// A disk and what was done to it since.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The disk before all changes.
    pub base: Image,
    /// The changes in the order in which they were done.
    pub changes: Vec<Change>,
}

impl From<&Image> for Recording {
    /// Nothing was done yet.
    fn from(base: &Image) -> Recording {
        Recording {
            base: base.clone(),
            changes: Vec::new(),
        }
    }
}

impl Recording {
    /// The disk after a power cut behind the first `count` changes. What was flushed and each
    /// durable write is there; of each other write `seed` decides whether all of it, some of its
    /// sectors or nothing is.
    pub fn crash(&self, count: usize, seed: u64) -> Image {
        let changes = &self.changes[..count.min(self.changes.len())];
        let flush = changes
            .iter()
            .rposition(|change| matches!(change, Change::Flush));
        let (flushed, unflushed) = changes.split_at(flush.map_or(0, |flush| flush + 1));
        let mut image = self.base.clone();
        flushed.iter().for_each(|change| change.apply(&mut image));
        let mut rng = Rng::new(seed);
        unflushed
            .iter()
            .for_each(|change| change.apply_torn(&mut image, &mut rng));
        image
    }
}

impl Change {
    /// Does it.
    pub fn apply(&self, image: &mut Image) {
        match self {
            Change::Write {
                offset_bytes, data, ..
            } => image.write(*offset_bytes, data),
            Change::Discard {
                offset_bytes,
                len_bytes,
            } => image.zero(*offset_bytes, *len_bytes),
            Change::Flush => {}
        }
    }

    fn apply_torn(&self, image: &mut Image, rng: &mut Rng) {
        match (self, rng.below(3)) {
            (Change::Write { durable: true, .. }, _) | (_, 0) => self.apply(image),
            (_, 1) => {}
            (
                Change::Write {
                    offset_bytes, data, ..
                },
                _,
            ) => {
                for (number, sector) in data.chunks(SECTOR_BYTES as usize).enumerate() {
                    if rng.below(2) == 0 {
                        image.write(offset_bytes + number as u64 * SECTOR_BYTES, sector);
                    }
                }
            }
            _ => self.apply(image),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset_bytes: u64, byte: u8, durable: bool) -> Change {
        Change::Write {
            offset_bytes,
            data: vec![byte; 4096].into(),
            durable,
        }
    }

    fn sectors(image: &Image, offset_bytes: u64) -> Vec<u8> {
        let mut bytes = [0; 4096];
        image.read(offset_bytes, &mut bytes);
        bytes.iter().step_by(512).copied().collect()
    }

    #[test]
    fn what_is_durable_survives_and_the_rest_may_be_torn() {
        let changes = vec![
            write(0, 1, false),
            Change::Flush,
            write(0, 2, false),
            write(8192, 3, true),
            write(4096, 4, false),
        ];
        let recording = Recording {
            base: Image::new(1 << 20),
            changes,
        };
        let mut seen = [false; 3];
        for seed in 0..100 {
            let image = recording.crash(5, seed);
            assert_eq!(image, recording.crash(5, seed));
            assert_eq!(sectors(&image, 8192), [3; 8]);
            let first = sectors(&image, 0);
            assert!(first.iter().all(|byte| [1, 2].contains(byte)));
            let kept = first.iter().filter(|byte| **byte == 2).count();
            seen[match kept {
                0 => 0,
                8 => 1,
                _ => 2,
            }] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(sectors(&recording.crash(2, 0), 0), [1; 8]);
        assert_eq!(sectors(&recording.crash(0, 0), 0), [0; 8]);
    }

    /// An older write of the cache may reach the disk when a newer one of the same place did not,
    /// but never after a durable one.
    #[test]
    fn a_durable_write_is_not_undone_by_an_older_one() {
        let changes = vec![write(0, 1, false), write(0, 2, true)];
        let recording = Recording {
            base: Image::new(1 << 20),
            changes,
        };
        assert!((0..50).all(|seed| sectors(&recording.crash(2, seed), 0) == [2; 8]));
    }
}
