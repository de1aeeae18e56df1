//! Extents: which blocks hold which part of a file.

use crate::le::{Le32, Le64};
use crate::tree;
use bytemuck::{Pod, Zeroable};

/// A run of blocks of a file that lie side by side on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Extent {
    /// First block in the file: the key of the extent tree.
    pub file_block: Le64,
    /// First block on the device.
    pub start: Le64,
    /// Length in blocks, not 0.
    pub len: Le32,
    /// Bits [`UNWRITTEN`](Extent::UNWRITTEN) and [`SHARED`](Extent::SHARED).
    pub flags: Le32,
}

impl Extent {
    /// The blocks are set aside and read as zeros.
    pub const UNWRITTEN: u32 = 1;
    /// The blocks may belong to other files too; the reference count tree says to how many.
    /// Reserved for reflinks: no version writes it yet.
    pub const SHARED: u32 = 2;

    /// An extent of written blocks.
    pub fn new(file_block: u64, start: u64, len: u32) -> Extent {
        Extent {
            file_block: file_block.into(),
            start: start.into(),
            len: len.into(),
            flags: 0.into(),
        }
    }

    /// The first file block behind it.
    pub fn end(&self) -> u64 {
        self.file_block.get().saturating_add(self.len.get().into())
    }

    /// Whether its blocks read as zeros.
    pub fn is_unwritten(&self) -> bool {
        self.flags.get() & Extent::UNWRITTEN != 0
    }
}

/// Extents in a leaf of an extent tree.
pub const EXTENTS_PER_NODE: usize = tree::leaf_capacity(size_of::<Extent>());
