//! What the check remembers of each inode.
//!
//! Most inodes are like each other: not a directory, one link, nothing wrong. Of those three bytes are
//! kept, in a record for each inode block; only of the others everything.

use bento_api::FileKind;
use logfs_format::{INODES_PER_BLOCK, InoAddress};
use std::cell::Cell;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeInfo {
    pub(crate) ino: u64,
    pub(crate) generation: u32,
    /// Of a plain inode only the kind is kept.
    pub(crate) mode: u16,
    /// Something about it is not understood: it is left alone, but it exists.
    pub(crate) damaged: bool,
    /// Link count as stored.
    pub(crate) nlink: u32,
    /// Names found.
    pub(crate) names: u32,
    /// Directories: directories found in it.
    pub(crate) subdirs: u32,
    /// Directories: parent as stored.
    pub(crate) parent: u64,
    /// Directories: the directory that its (first) name is in; 0 if none was found.
    pub(crate) found_in: u64,
    /// Block count as stored.
    pub(crate) blocks: u64,
    /// Blocks found.
    pub(crate) counted: u64,
}

impl InodeInfo {
    pub(crate) fn is_dir(&self) -> bool {
        FileKind::from_mode(self.mode) == Some(FileKind::Directory)
    }

    pub(crate) fn owner(&self) -> crate::context::Owner {
        crate::context::Owner {
            ino: self.ino,
            generation: self.generation,
        }
    }

    /// Whether a record of a block can hold it: then there is nothing to be said of it but its names.
    fn is_plain(&self) -> bool {
        FileKind::from_mode(self.mode).is_some()
            && !self.is_dir()
            && !self.damaged
            && self.nlink == 1
            && self.names <= 1
            && self.blocks == self.counted
            && u8::try_from(self.generation).is_ok()
    }
}

/// The plain inodes of a block.
#[derive(Clone, Copy, Debug)]
struct Plain {
    block: u64,
    /// Bit `s`: a name was found of the inode in slot `s`.
    named: u16,
    /// By slot: kind, 0 if there is no plain inode, and generation.
    slots: [(u8, u8); INODES_PER_BLOCK],
}

impl Plain {
    fn get(&self, slot: u8) -> Option<InodeInfo> {
        let &(kind, generation) = self.slots.get(usize::from(slot).checked_sub(1)?)?;
        (kind != 0).then(|| InodeInfo {
            ino: self.block << 4 | u64::from(slot),
            generation: generation.into(),
            mode: u16::from(kind) << 12,
            damaged: false,
            nlink: 1,
            names: u32::from(self.named >> slot & 1),
            subdirs: 0,
            parent: 0,
            found_in: 0,
            blocks: 0,
            counted: 0,
        })
    }

    fn set(&mut self, slot: u8, info: Option<&InodeInfo>) {
        let Some(place) = self.slots.get_mut(usize::from(slot).wrapping_sub(1)) else {
            return;
        };
        let names = info.map_or(0, |info| info.names);
        self.named = self.named & !(1 << slot) | (names as u16) << slot;
        *place = info.map_or((0, 0), |info| {
            ((info.mode >> 12) as u8, info.generation as u8)
        });
    }
}

/// All inodes in use.
#[derive(Debug, Default)]
pub(crate) struct InodeTable {
    /// By block.
    plain: Vec<Plain>,
    others: BTreeMap<u64, InodeInfo>,
    /// Where the last one was found: the next is mostly there too, or behind it.
    last: Cell<usize>,
}

impl InodeTable {
    /// Adds an inode. They come almost in order: the sweep goes over the device once.
    pub(crate) fn insert(&mut self, info: InodeInfo) {
        if self.get(info.ino).is_none() {
            self.put(info);
        }
    }

    fn put(&mut self, info: InodeInfo) {
        match InoAddress::from_ino(info.ino) {
            Some(place) if info.is_plain() => {
                let at = self.position(place.block).unwrap_or_else(|at| {
                    let empty = Plain {
                        block: place.block,
                        named: 0,
                        slots: [(0, 0); INODES_PER_BLOCK],
                    };
                    self.plain.insert(at, empty);
                    at
                });
                if let Some(plain) = self.plain.get_mut(at) {
                    plain.set(place.slot, Some(&info));
                }
            }
            _ => {
                self.others.insert(info.ino, info);
            }
        }
    }

    fn position(&self, block: u64) -> Result<usize, usize> {
        let is_at = |at: &usize| {
            self.plain
                .get(*at)
                .is_some_and(|plain| plain.block == block)
        };
        let last = self.last.get();
        let found = [last, last + 1].into_iter().find(is_at);
        let position = match (found, self.plain.last()) {
            (Some(at), _) => Ok(at),
            (None, Some(end)) if end.block < block => Err(self.plain.len()),
            _ => self.plain.binary_search_by_key(&block, |plain| plain.block),
        };
        if let Ok(at) = position {
            self.last.set(at);
        }
        position
    }

    pub(crate) fn get(&self, ino: u64) -> Option<InodeInfo> {
        let place = InoAddress::from_ino(ino)?;
        let plain = self.position(place.block).ok();
        plain
            .and_then(|at| self.plain.get(at)?.get(place.slot))
            .or_else(|| self.others.get(&ino).copied())
    }

    /// Changes what is remembered of an inode, if there is one.
    pub(crate) fn update<T>(
        &mut self,
        ino: u64,
        change: impl FnOnce(&mut InodeInfo) -> T,
    ) -> Option<T> {
        let place = InoAddress::from_ino(ino)?;
        let plain = self.position(place.block).ok();
        let plain = plain.and_then(|at| self.plain.get_mut(at));
        let Some((plain, mut info)) = plain.and_then(|plain| {
            let info = plain.get(place.slot)?;
            Some((plain, info))
        }) else {
            return self.others.get_mut(&ino).map(change);
        };
        let result = change(&mut info);
        let is_plain = info.is_plain();
        plain.set(place.slot, is_plain.then_some(&info));
        if !is_plain {
            self.put(info);
        }
        Some(result)
    }

    /// The numbers of all directories, in order.
    pub(crate) fn directories(&self) -> Vec<u64> {
        let dirs = self.others.values().filter(|info| info.is_dir());
        dirs.map(|info| info.ino).collect()
    }

    /// The numbers of all inodes of which there is more to say than that they have one link and one
    /// name.
    pub(crate) fn notable(&self) -> Vec<u64> {
        let nameless = self.each_plain().filter(|info| info.names != 1);
        let others = self.others.keys().copied();
        nameless.map(|info| info.ino).chain(others).collect()
    }

    fn each_plain(&self) -> impl Iterator<Item = InodeInfo> {
        self.plain
            .iter()
            .flat_map(|plain| (1..=INODES_PER_BLOCK as u8).filter_map(|slot| plain.get(slot)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = InodeInfo> {
        self.each_plain().chain(self.others.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::{InodeInfo, InodeTable};

    fn info(ino: u64, mode: u16, nlink: u32) -> InodeInfo {
        InodeInfo {
            ino,
            generation: 7,
            mode,
            damaged: false,
            nlink,
            names: 0,
            subdirs: 0,
            parent: 0,
            found_in: 0,
            blocks: 3,
            counted: 3,
        }
    }

    #[test]
    fn plain_or_not_all_are_there() {
        let mut table = InodeTable::default();
        table.insert(info(0x105, 0o100644, 1));
        table.insert(info(0x103, 0o040755, 2));
        table.insert(info(0x051, 0o100600, 1));
        table.insert(info(0x051, 0o040600, 1));
        assert_eq!(table.directories(), [0x103]);
        assert_eq!(table.get(0x051).map(|info| info.generation), Some(7));
        assert!(table.get(0x104).is_none() && table.get(0x100).is_none());
        table.update(0x105, |info| info.names += 1);
        assert_eq!(table.notable(), [0x051, 0x103]);
        table.update(0x105, |info| info.names += 1);
        assert_eq!(table.get(0x105).map(|info| info.names), Some(2));
        assert_eq!(table.notable(), [0x051, 0x103, 0x105]);
        assert_eq!(table.iter().count(), 3);
    }
}
