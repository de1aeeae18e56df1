//! What is on a disk: sparse, cheap to copy.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Unit of sharing between copies.
const PAGE_BYTES: usize = 4096;
/// Pages in a group: a copy of an image copies one pointer per group in use.
const GROUP_PAGES: u64 = 256;

type Page = [u8; PAGE_BYTES];
type Group = BTreeMap<u64, Arc<Page>>;

/// The contents of a disk. Copies share all pages that neither has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    size_bytes: u64,
    groups: BTreeMap<u64, Arc<Group>>,
}

impl Image {
    /// All zeros.
    pub fn new(size_bytes: u64) -> Image {
        Image {
            size_bytes,
            groups: BTreeMap::new(),
        }
    }

    /// From what is in a real disk's image.
    pub fn from_bytes(bytes: &[u8]) -> Image {
        let mut image = Image::new(bytes.len() as u64);
        for (number, page) in bytes.chunks(PAGE_BYTES).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                image.write((number * PAGE_BYTES) as u64, page);
            }
        }
        image
    }

    /// The size of the disk.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `buffer` with what is at `offset_bytes`.
    pub fn read(&self, offset_bytes: u64, buffer: &mut [u8]) {
        let mut position = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = (position % PAGE_BYTES as u64) as usize;
            let (part, behind) = rest.split_at_mut(rest.len().min(PAGE_BYTES - within));
            match self.page(position / PAGE_BYTES as u64) {
                Some(page) => part.copy_from_slice(&page[within..within + part.len()]),
                None => part.fill(0),
            }
            position += part.len() as u64;
            rest = behind;
        }
    }

    /// Puts `data` at `offset_bytes`.
    pub fn write(&mut self, offset_bytes: u64, data: &[u8]) {
        let mut position = offset_bytes;
        let mut rest = data;
        while !rest.is_empty() {
            let within = (position % PAGE_BYTES as u64) as usize;
            let (part, behind) = rest.split_at(rest.len().min(PAGE_BYTES - within));
            self.page_mut(position / PAGE_BYTES as u64)[within..within + part.len()]
                .copy_from_slice(part);
            position += part.len() as u64;
            rest = behind;
        }
    }

    /// Makes a range read as zeros.
    pub fn zero(&mut self, offset_bytes: u64, len_bytes: u64) {
        let mut position = offset_bytes;
        let end = offset_bytes.saturating_add(len_bytes).min(self.size_bytes);
        while position < end {
            let within = position % PAGE_BYTES as u64;
            let part = (PAGE_BYTES as u64 - within).min(end - position);
            let number = position / PAGE_BYTES as u64;
            if part == PAGE_BYTES as u64 {
                if let Some(group) = self.groups.get_mut(&(number / GROUP_PAGES)) {
                    Arc::make_mut(group).remove(&number);
                }
            } else if self.page(number).is_some() {
                self.page_mut(number)[within as usize..(within + part) as usize].fill(0);
            }
            position += part;
        }
    }

    /// All bytes, for a file that other tools can read.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size_bytes as usize];
        self.read(0, &mut bytes);
        bytes
    }

    /// What was ever written, in pieces: offset in bytes and contents. The rest is zeros.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let pages = self.groups.values().flat_map(|group| group.iter());
        pages.map(|(number, page)| (number * PAGE_BYTES as u64, page.as_slice()))
    }

    fn page(&self, number: u64) -> Option<&Page> {
        Some(self.groups.get(&(number / GROUP_PAGES))?.get(&number)?)
    }

    fn page_mut(&mut self, number: u64) -> &mut Page {
        let group = self.groups.entry(number / GROUP_PAGES).or_default();
        let page = Arc::make_mut(group).entry(number);
        Arc::make_mut(page.or_insert_with(|| Arc::new([0; PAGE_BYTES])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_do_not_see_each_other() {
        let mut image = Image::new(1 << 40);
        image.write(4000, &[1; 1000]);
        image.write((1 << 40) - 10, &[2; 10]);
        let copy = image.clone();
        image.write(4500, &[3; 10]);
        image.zero(0, 4200);

        let mut byte = [0; 1];
        let mut at = |image: &Image, offset| {
            image.read(offset, &mut byte);
            byte[0]
        };
        assert_eq!(
            [at(&image, 4100), at(&image, 4500), at(&image, 4300)],
            [0, 3, 1]
        );
        assert_eq!(
            [at(&copy, 4100), at(&copy, 4500), at(&copy, (1 << 40) - 1)],
            [1, 1, 2]
        );
    }

    #[test]
    fn bytes_go_in_and_out() {
        let mut bytes = vec![0; 20_000];
        bytes[9_000..9_100].fill(5);
        assert_eq!(Image::from_bytes(&bytes).to_bytes(), bytes);
    }
}
