//! Contents of files for file systems that have no device.

use bento_api::Ino;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

/// Unit of storage; what was never written takes none and reads as zeros.
const PAGE_BYTES: usize = 4096;
const PAGE_BYTES_U64: u64 = PAGE_BYTES as u64;

type Pages = BTreeMap<u64, Box<[u8; PAGE_BYTES]>>;

#[derive(Default)]
pub(crate) struct MemoryFiles(Mutex<HashMap<Ino, Pages>>);

impl MemoryFiles {
    pub(crate) fn read(&self, ino: Ino, offset_bytes: u64, buffer: &mut [u8]) {
        let files = self.0.lock();
        let pages = files.get(&ino);
        let mut position = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (number, within) = (
                position / PAGE_BYTES_U64,
                (position % PAGE_BYTES_U64) as usize,
            );
            let (part, behind) = rest.split_at_mut(rest.len().min(PAGE_BYTES - within));
            match pages.and_then(|pages| pages.get(&number)) {
                Some(page) => part.copy_from_slice(&page[within..within + part.len()]),
                None => part.fill(0),
            }
            position += part.len() as u64;
            rest = behind;
        }
    }

    pub(crate) fn write(&self, ino: Ino, offset_bytes: u64, data: &[u8]) {
        let mut files = self.0.lock();
        let pages = files.entry(ino).or_default();
        let mut position = offset_bytes;
        let mut rest = data;
        while !rest.is_empty() {
            let (number, within) = (
                position / PAGE_BYTES_U64,
                (position % PAGE_BYTES_U64) as usize,
            );
            let (part, behind) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            let page = pages
                .entry(number)
                .or_insert_with(|| Box::new([0; PAGE_BYTES]));
            page[within..within + part.len()].copy_from_slice(part);
            position += part.len() as u64;
            rest = behind;
        }
    }

    /// Makes a range read as zeros and gives back the pages that lie wholly in it.
    pub(crate) fn zero(&self, ino: Ino, from_bytes: u64, to_bytes: u64) {
        let mut files = self.0.lock();
        let Some(pages) = files.get_mut(&ino) else {
            return;
        };
        let first = from_bytes / PAGE_BYTES_U64;
        let touched = first..to_bytes.div_ceil(PAGE_BYTES_U64);
        pages.retain(|number, page| {
            if !touched.contains(number) {
                return true;
            }
            let start_bytes = number * PAGE_BYTES_U64;
            let within =
                |bytes: u64| bytes.saturating_sub(start_bytes).min(PAGE_BYTES_U64) as usize;
            let (from, to) = (within(from_bytes), within(to_bytes));
            page[from..to].fill(0);
            to - from < PAGE_BYTES
        });
    }

    /// Whether something was written at an offset, and how far that answer holds.
    pub(crate) fn is_data(&self, ino: Ino, offset_bytes: u64) -> (bool, u64) {
        let files = self.0.lock();
        let number = offset_bytes / PAGE_BYTES_U64;
        let next = files
            .get(&ino)
            .and_then(|pages| pages.range(number..).next());
        match next {
            Some((found, _)) if *found == number => (true, (number + 1) * PAGE_BYTES_U64),
            Some((found, _)) => (false, found * PAGE_BYTES_U64),
            None => (false, u64::MAX),
        }
    }

    pub(crate) fn remove(&self, ino: Ino) {
        self.0.lock().remove(&ino);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INO: Ino = Ino(7);

    #[test]
    fn what_is_not_written_reads_as_zeros() {
        let files = MemoryFiles::default();
        files.write(INO, 4000, &[1; 200]);
        let mut buffer = [9; 400];
        files.read(INO, 3900, &mut buffer);
        assert!(buffer[..100].iter().all(|byte| *byte == 0));
        assert!(buffer[100..300].iter().all(|byte| *byte == 1));
        assert!(buffer[300..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn zeroing_gives_whole_pages_back() {
        let files = MemoryFiles::default();
        files.write(INO, 0, &[1; 3 * PAGE_BYTES]);
        files.zero(INO, 100, 2 * PAGE_BYTES_U64);
        assert_eq!(files.is_data(INO, 0), (true, 4096));
        assert_eq!(files.is_data(INO, 4096), (false, 8192));
        let mut buffer = [9; 200];
        files.read(INO, 0, &mut buffer);
        assert_eq!(buffer.iter().filter(|byte| **byte == 1).count(), 100);
        files.zero(INO, 0, u64::MAX);
        assert_eq!(files.is_data(INO, 0), (false, u64::MAX));
    }
}
