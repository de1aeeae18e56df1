//! What the check remembers of each inode.
//!
//! Most inodes are like each other: not a directory, one link, nothing wrong. Of those next to nothing
//! is kept; only of the others everything.

use crate::plain_inodes::{PlainInode, PlainInodes};
use bento_api::FileKind;
use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeInfo {
    pub(crate) ino: u64,
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

    fn plain(ino: u64, plain: PlainInode) -> InodeInfo {
        InodeInfo {
            ino,
            mode: plain.kind.mode_bits(),
            damaged: false,
            nlink: 1,
            names: plain.is_named.into(),
            subdirs: 0,
            parent: 0,
            found_in: 0,
            blocks: 0,
            counted: 0,
        }
    }

    /// Kind and name, if there is nothing else to be said of it.
    fn as_plain(&self) -> Option<PlainInode> {
        let kind = FileKind::from_mode(self.mode)?;
        let is_plain = kind != FileKind::Directory
            && !self.damaged
            && self.nlink == 1
            && self.names <= 1
            && self.blocks == self.counted;
        is_plain.then_some(PlainInode {
            kind,
            is_named: self.names == 1,
        })
    }
}

/// All inodes in use.
#[derive(Debug, Default)]
pub(crate) struct InodeTable {
    plain: PlainInodes,
    others: BTreeMap<u64, InodeInfo>,
}

impl InodeTable {
    /// Adds an inode.
    pub(crate) fn insert(&mut self, info: InodeInfo) {
        if self.get(info.ino).is_none() {
            self.put(info);
        }
    }

    fn put(&mut self, info: InodeInfo) {
        match info.as_plain() {
            Some(plain) => self.plain.set(info.ino, Some(plain)),
            None => {
                self.others.insert(info.ino, info);
            }
        }
    }

    pub(crate) fn get(&self, ino: u64) -> Option<InodeInfo> {
        let plain = self.plain.get(ino);
        plain
            .map(|plain| InodeInfo::plain(ino, plain))
            .or_else(|| self.others.get(&ino).copied())
    }

    /// Changes what is remembered of an inode, if there is one.
    pub(crate) fn update<T>(
        &mut self,
        ino: u64,
        change: impl FnOnce(&mut InodeInfo) -> T,
    ) -> Option<T> {
        let Some(plain) = self.plain.get(ino) else {
            return self.others.get_mut(&ino).map(change);
        };
        let mut info = InodeInfo::plain(ino, plain);
        let result = change(&mut info);
        let plain = info.as_plain();
        self.plain.set(ino, plain);
        if plain.is_none() {
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
        let nameless = self.plain.iter().filter(|(_, plain)| !plain.is_named);
        let others = self.others.keys().copied();
        nameless.map(|(ino, _)| ino).chain(others).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = InodeInfo> {
        let plain = self.plain.iter();
        plain
            .map(|(ino, plain)| InodeInfo::plain(ino, plain))
            .chain(self.others.values().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::{InodeInfo, InodeTable};

    fn info(ino: u64, mode: u16, nlink: u32) -> InodeInfo {
        InodeInfo {
            ino,
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
        assert_eq!(table.get(0x051).map(|info| info.is_dir()), Some(false));
        assert!(table.get(0x104).is_none() && table.get(0x100).is_none());
        table.update(0x105, |info| info.names += 1);
        assert_eq!(table.notable(), [0x051, 0x103]);
        table.update(0x105, |info| info.names += 1);
        assert_eq!(table.get(0x105).map(|info| info.names), Some(2));
        assert_eq!(table.notable(), [0x051, 0x103, 0x105]);
        assert_eq!(table.iter().count(), 3);
    }
}
