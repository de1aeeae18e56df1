//! The inodes of which there is nothing to say but their kind and whether their name was found.
//!
//! Half a byte is kept of each, in a word for each inode block. Blocks that lie together and say
//! the same (all files with their names, say) share one word.

use bento_api::FileKind;
use logfs_format::InoAddress;
use std::cell::Cell;

/// Blocks in a group.
const GROUP_BLOCKS: usize = 64;

/// The kinds of plain inodes; what is kept of one is its kind's place here, from 1 on, and in the
/// lowest bit whether it has been named. 0 is no inode.
const KINDS: [FileKind; 6] = [
    FileKind::Regular,
    FileKind::Symlink,
    FileKind::Fifo,
    FileKind::Socket,
    FileKind::CharDevice,
    FileKind::BlockDevice,
];

/// What is kept of a plain inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainInode {
    pub(crate) kind: FileKind,
    pub(crate) is_named: bool,
}

impl PlainInode {
    fn from_bits(bits: u64) -> Option<PlainInode> {
        let place = (bits as usize >> 1).checked_sub(1)?;
        Some(PlainInode {
            kind: *KINDS.get(place)?,
            is_named: bits & 1 != 0,
        })
    }

    fn bits(self) -> u64 {
        let place = KINDS.iter().position(|kind| *kind == self.kind);
        place.map_or(0, |place| {
            (place as u64 + 1) << 1 | u64::from(self.is_named)
        })
    }
}

/// Neighbouring blocks: four bits a slot.
#[derive(Debug)]
enum Words {
    Same(u64),
    Each(Box<[u64; GROUP_BLOCKS]>),
}

impl Words {
    fn get(&self, index: usize) -> u64 {
        match self {
            Words::Same(word) => *word,
            Words::Each(words) => words.get(index).copied().unwrap_or(0),
        }
    }

    fn set(&mut self, index: usize, word: u64) {
        if let Words::Same(same) = *self {
            if same == word {
                return;
            }
            *self = Words::Each(Box::new([same; GROUP_BLOCKS]));
        }
        let Words::Each(words) = self else { return };
        if let Some(place) = words.get_mut(index) {
            *place = word;
        }
        // Mostly the neighbour tells that it is not worth looking at all.
        if words.get(index ^ 1) == Some(&word) && words.iter().all(|other| *other == word) {
            *self = Words::Same(word);
        }
    }
}

#[derive(Debug)]
struct Group {
    /// Address of the first block, in units of groups.
    number: u64,
    words: Words,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PlainInodes {
    /// In order.
    groups: Vec<Group>,
    /// Where the last one was found: the next is mostly there too, or behind it.
    last: Cell<usize>,
}

impl PlainInodes {
    pub(crate) fn get(&self, ino: u64) -> Option<PlainInode> {
        let place = Place::of(ino)?;
        let group = self.groups.get(self.position(place.group).ok()?)?;
        PlainInode::from_bits(group.words.get(place.index) >> place.shift & 15)
    }

    /// Adds an inode, changes it, or removes it.
    pub(crate) fn set(&mut self, ino: u64, inode: Option<PlainInode>) {
        let Some(place) = Place::of(ino) else { return };
        let at = self.position(place.group).unwrap_or_else(|at| {
            let group = Group {
                number: place.group,
                words: Words::Same(0),
            };
            self.groups.insert(at, group);
            at
        });
        if let Some(group) = self.groups.get_mut(at) {
            let rest = group.words.get(place.index) & !(15 << place.shift);
            let bits = inode.map_or(0, PlainInode::bits);
            group.words.set(place.index, rest | bits << place.shift);
        }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, PlainInode)> {
        let inos = self.groups.iter().flat_map(|group| {
            let first = group.number * GROUP_BLOCKS as u64;
            (first..first + GROUP_BLOCKS as u64).flat_map(|block| block << 4 | 1..=block << 4 | 15)
        });
        inos.filter_map(|ino| Some((ino, self.get(ino)?)))
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        let is_at = |at: &usize| {
            let group = self.groups.get(*at);
            group.is_some_and(|group| group.number == number)
        };
        let last = self.last.get();
        let found = [last, last + 1].into_iter().find(is_at);
        let position = match found {
            Some(at) => Ok(at),
            None => self
                .groups
                .binary_search_by_key(&number, |group| group.number),
        };
        if let Ok(at) = position {
            self.last.set(at);
        }
        position
    }
}

/// Where an inode's bits are.
struct Place {
    group: u64,
    index: usize,
    shift: u32,
}

impl Place {
    fn of(ino: u64) -> Option<Place> {
        let InoAddress { block, slot } = InoAddress::from_ino(ino)?;
        Some(Place {
            group: block / GROUP_BLOCKS as u64,
            index: (block % GROUP_BLOCKS as u64) as usize,
            shift: u32::from(slot) * 4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_there_and_likes_share_a_word() {
        let mut inodes = PlainInodes::default();
        let of = |kind, is_named| Some(PlainInode { kind, is_named });
        let blocks = 64..192;
        let inos: Vec<u64> = blocks
            .flat_map(|block| block << 4 | 1..=block << 4 | 15)
            .collect();
        for is_named in [false, true] {
            for &ino in inos.iter().rev() {
                inodes.set(ino, of(FileKind::Regular, is_named));
            }
            assert_eq!(inodes.iter().count(), inos.len());
            assert!(
                inos.iter()
                    .all(|&ino| inodes.get(ino) == of(FileKind::Regular, is_named))
            );
            let is_same = |group: &Group| matches!(group.words, Words::Same(_));
            assert!(inodes.groups.len() == 2 && inodes.groups.iter().all(is_same));
        }
        for (ino, kind) in (70 << 4 | 1..).zip(KINDS) {
            inodes.set(ino, of(kind, true));
            assert_eq!(inodes.get(ino), of(kind, true));
        }
        inodes.set(64 << 4 | 15, None);
        assert_eq!(inodes.get(64 << 4 | 15), None);
        assert_eq!(inodes.get(64 << 4 | 14), of(FileKind::Regular, true));
        assert_eq!(inodes.get(7), None);
        assert_eq!(inodes.iter().count(), inos.len() - 1);
    }
}
