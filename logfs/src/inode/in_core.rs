//! The part of an inode in its block that memory keeps.

use alloc::boxed::Box;
use bento_api::{Errno, Result};
use core::ops::{Deref, DerefMut};
use logfs_format::{Extent, INLINE_BYTES, Inode as DiskInode, InodeFlags, InodeHead};

/// What most inodes have of contents: one extent, or the root of a tree.
const SHORT_BYTES: usize = size_of::<Extent>();

/// An inode as it is in its block, in less memory if it has one extent at most: there are as many of
/// these as inodes that the kernel keeps.
pub(crate) struct InCore {
    head: InodeHead,
    /// The first bytes of the contents, zeros behind them, unless there is `long`.
    short: [u8; SHORT_BYTES],
    long: Option<Box<[u8; INLINE_BYTES]>>,
}

impl InCore {
    /// Extents, or the address of a tree's root, or the target of a symbolic link; at least one
    /// extent's bytes. What is not there is zero.
    pub(crate) fn inline(&self) -> &[u8] {
        match &self.long {
            Some(long) => &long[..],
            None => &self.short,
        }
    }

    /// Replaces the contents; behind them come zeros. `EFBIG` if they are too long for an inode.
    pub(crate) fn set_inline(&mut self, bytes: &[u8]) -> Result<()> {
        let mut long = [0; INLINE_BYTES];
        let place = long.get_mut(..bytes.len()).ok_or(Errno::EFBIG)?;
        place.copy_from_slice(bytes);
        let short = &long[..SHORT_BYTES];
        self.short.copy_from_slice(short);
        self.long = (bytes.len() > SHORT_BYTES).then(|| Box::new(long));
        Ok(())
    }

    /// As it is in its block.
    pub(crate) fn to_disk(&self) -> DiskInode {
        let mut disk = DiskInode::from(self.head);
        let inline = self.inline();
        disk.inline[..inline.len()].copy_from_slice(inline);
        disk
    }
}

impl From<InodeHead> for InCore {
    /// An inode without contents.
    fn from(head: InodeHead) -> InCore {
        InCore {
            head,
            short: [0; SHORT_BYTES],
            long: None,
        }
    }
}

impl From<&DiskInode> for InCore {
    fn from(disk: &DiskInode) -> InCore {
        let mut core = InCore::from(disk.head);
        let (short, rest) = disk.inline.split_at(SHORT_BYTES);
        core.short.copy_from_slice(short);
        let is_target = disk.flags.get() & InodeFlags::INLINE != 0;
        let is_list = disk.extent_count.get() > 1;
        if is_target || is_list || rest.iter().any(|&byte| byte != 0) {
            core.long = Some(Box::new(disk.inline));
        }
        core
    }
}

impl Deref for InCore {
    type Target = InodeHead;

    fn deref(&self) -> &InodeHead {
        &self.head
    }
}

impl DerefMut for InCore {
    fn deref_mut(&mut self) -> &mut InodeHead {
        &mut self.head
    }
}

#[cfg(test)]
mod tests {
    use super::{InCore, SHORT_BYTES};
    use alloc::vec::Vec;
    use bento_api::Errno;
    use bytemuck::Zeroable;
    use logfs_format::{INLINE_BYTES, Inode as DiskInode, InodeFlags};

    #[test]
    fn what_was_read_is_stored_again() {
        for (extents, flags, last) in [
            (0, 0, 0),
            (1, 0, 0),
            (2, 0, 0),
            (0, InodeFlags::INLINE, 0),
            (1, 0, 7),
        ] {
            let mut disk = DiskInode::zeroed();
            disk.extent_count.set(extents);
            disk.flags.set(flags);
            disk.inline[..SHORT_BYTES].fill(3);
            disk.inline[INLINE_BYTES - 1] = last;
            let core = InCore::from(&disk);
            assert_eq!(core.to_disk(), disk);
            let is_short = extents < 2 && flags == 0 && last == 0;
            assert_eq!(core.inline().len() == SHORT_BYTES, is_short);
        }
    }

    #[test]
    fn contents_are_replaced_whole() {
        let mut core = InCore::from(&DiskInode::zeroed());
        let long: Vec<u8> = (1..=INLINE_BYTES as u8).collect();
        for len in [INLINE_BYTES, 1, SHORT_BYTES + 1, SHORT_BYTES, 0] {
            core.set_inline(&long[..len]).expect("room");
            let stored = core.to_disk().inline;
            assert_eq!(stored[..len], long[..len]);
            assert!(stored[len..].iter().all(|&byte| byte == 0));
        }
        assert_eq!(core.set_inline(&[0; INLINE_BYTES + 1]), Err(Errno::EFBIG));
    }
}
