//! The ring of log records on the device.

use logfs_format::log::CHECKPOINT_BLOCKS;
use logfs_format::{BLOCK_BYTES, Superblock};

/// Where the ring lies. Positions count granules and only ever grow: the place in the ring is the
/// position modulo its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// First byte on the device.
    pub(crate) start_bytes: u64,
    /// Unit of writes.
    pub(crate) granule_bytes: u64,
    /// Length in granules.
    pub(crate) granules: u64,
}

impl Ring {
    pub(crate) fn new(superblock: &Superblock) -> Ring {
        let block_bytes = BLOCK_BYTES as u64;
        let granule_bytes = u64::from(superblock.log_granule_bytes.get());
        let blocks = superblock.log_blocks.get() - CHECKPOINT_BLOCKS;
        Ring {
            start_bytes: (superblock.log_start.get() + CHECKPOINT_BLOCKS) * block_bytes,
            granule_bytes,
            granules: blocks * block_bytes / granule_bytes,
        }
    }

    /// Length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.granules * self.granule_bytes
    }

    /// The device address of a byte position, and the bytes from there to the end of the ring.
    pub(crate) fn place(&self, position_bytes: u64) -> (u64, u64) {
        let within = position_bytes % self.bytes();
        (self.start_bytes + within, self.bytes() - within)
    }
}
