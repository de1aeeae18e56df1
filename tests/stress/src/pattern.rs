//! Contents that say where they belong.
//!
//! Each eight bytes at a multiple of eight name the file, their own place in it, and which write of
//! the file put them there. Writes of one file that meet leave a mixture in which only the number of
//! the write differs; zeros are what was never written, or cut off, or punched out. Anything else
//! belongs elsewhere.

use std::sync::atomic::{AtomicU32, Ordering};

const WORD_BYTES: u64 = 8;

/// Digits of a word's parts, none of which is a zero: those stand for themselves.
const ID_DIGITS: u32 = 3;
const BASE: u32 = 255;

/// A file that ever was; never 0. Differs from every other's of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(u32);

impl FileId {
    /// One that no file has had.
    pub(crate) fn new() -> FileId {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(
            id < BASE.pow(ID_DIGITS),
            "files are numbered with three digits"
        );
        FileId(id)
    }

    /// As an attribute of the file keeps it.
    pub(crate) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// What the attribute says, if it is one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<FileId> {
        Some(FileId(u32::from_le_bytes(bytes.try_into().ok()?)))
    }

    fn word(self, version: u8, offset: u64) -> [u8; 8] {
        let index = (offset / WORD_BYTES) as u32;
        let digit = |number: u32, place: u32| (number / BASE.pow(place) % BASE) as u8 + 1;
        let id = |place| digit(self.0, place);
        let at = |place| digit(index, place);
        [version, id(0), id(1), id(2), at(0), at(1), at(2), at(3)]
    }

    /// What a write of this file puts at `offset`.
    pub(crate) fn fill(self, version: u8, offset: u64, bytes: &mut [u8]) {
        for (position, byte) in (offset..).zip(bytes) {
            *byte = self.word(version, position)[(position % WORD_BYTES) as usize];
        }
    }

    /// The first place in what was read at `offset` that holds what this file never held there.
    pub(crate) fn find_stranger(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let belongs = |(position, byte): &(u64, &u8)| {
            let within = position % WORD_BYTES;
            within == 0 || **byte == 0 || **byte == self.word(0, *position)[within as usize]
        };
        (offset..)
            .zip(bytes)
            .find(|place| !belongs(place))
            .map(|(position, _)| position)
    }
}

#[cfg(test)]
mod tests {
    use super::FileId;

    #[test]
    fn a_files_own_bytes_belong_wherever_they_are_cut() {
        let file = FileId::new();
        let mut bytes = [0; 1000];
        file.fill(3, 7, &mut bytes[7..500]);
        file.fill(4, 300, &mut bytes[300..1000]);
        assert_eq!(file.find_stranger(0, &bytes), None);
        assert_eq!(file.find_stranger(13, &bytes[13..]), None);
    }

    #[test]
    fn bytes_of_another_file_or_place_do_not_belong() {
        let (file, other) = (FileId::new(), FileId::new());
        let mut bytes = [0; 64];
        file.fill(1, 0, &mut bytes);
        assert!(other.find_stranger(0, &bytes).is_some());
        assert!(file.find_stranger(4096, &bytes).is_some());
        bytes[20] += 1;
        assert_eq!(file.find_stranger(0, &bytes), Some(20));
    }
}
