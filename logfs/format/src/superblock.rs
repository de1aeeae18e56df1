//! The superblock: what never changes while a file system is mounted.

use crate::block::{self, BlockHeader, BlockKind};
use crate::le::{Le32, Le64, Le64s};
use crate::{BLOCK_BYTES, Fault, Layout};
use bytemuck::{Pod, Zeroable};

/// Address of the first superblock. Block 0 is left to boot loaders.
pub const SUPERBLOCK_ADDRESS: u64 = 1;

/// Version of the format that this crate describes.
pub const FORMAT_VERSION: u32 = 1;

/// Incompatible features that this version knows: none yet.
pub const INCOMPAT_KNOWN: u64 = 0;

/// Features that a version which doesn't know them may read but not write: none yet.
pub const RO_COMPAT_KNOWN: u64 = 0;

/// The signature in every superblock.
pub const SIGNATURE: [u8; 8] = *b"logfs-01";

/// Room for the label in bytes, padded with NUL.
pub const LABEL_BYTES: usize = 64;

/// Block 1, with copies at [`Layout::backups`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Superblock {
    /// Kind [`BlockKind::Superblock`]; carries the uuid. A copy has the address it lies at.
    pub header: BlockHeader,
    /// `logfs-01`: a second magic that is easily seen in a dump, at byte 64.
    pub signature: [u8; 8],
    /// [`FORMAT_VERSION`].
    pub version: Le32,
    /// log2 of the block size: 12.
    pub block_log2: Le32,
    /// Features that any version may ignore.
    pub compat: Le64,
    /// Features that forbid writing to those who do not know them.
    pub ro_compat: Le64,
    /// Features that forbid mounting to those who do not know them.
    pub incompat: Le64,
    /// The user's name for the file system, NUL padded.
    pub label: [u8; LABEL_BYTES],
    /// Size of the file system in blocks.
    pub total_blocks: Le64,
    /// First block of the segment table.
    pub table_start: Le64,
    /// Length of the segment table in blocks.
    pub table_blocks: Le64,
    /// First block of the log: two checkpoint blocks, then the ring.
    pub log_start: Le64,
    /// Length of the log in blocks, checkpoint blocks included.
    pub log_blocks: Le64,
    /// Unit of log writes in bytes: the device's sector size at mkfs.
    pub log_granule_bytes: Le32,
    /// Blocks in a segment: a power of two.
    pub segment_blocks: Le32,
    /// First block of segment 0.
    pub segments_start: Le64,
    /// Number of segments.
    pub segment_count: Le64,
    /// Inode number of the root directory.
    pub root_ino: Le64,
    /// First block of the chain of orphan blocks.
    pub orphans: Le64,
    /// Blocks that only root may use.
    pub root_reserved_blocks: Le64,
    /// Addresses of the two copies of the superblock.
    pub backups: [Le64; 2],
    /// When mkfs ran, seconds since 1970.
    pub created_seconds: Le64s,
    /// Key of the directory hash: random, so that nobody can make names that collide.
    pub hash_key: [Le64; 2],
}

impl Superblock {
    /// Reads and checks a superblock that lies at `address`.
    pub fn parse(data: &[u8], address: u64) -> Result<Superblock, Fault> {
        let sb: &Superblock = block::view(data, 0).ok_or(Fault::Length)?;
        if sb.signature != SIGNATURE {
            return Err(Fault::Magic(sb.header.magic.get()));
        }
        block::verify(data, BlockKind::Superblock, &sb.header.uuid, address)?;
        sb.check()?;
        Ok(*sb)
    }

    /// Checks what the fields say about each other.
    fn check(&self) -> Result<(), Fault> {
        if self.incompat.get() & !INCOMPAT_KNOWN != 0 {
            return Err(Fault::Features(self.incompat.get() & !INCOMPAT_KNOWN));
        }
        let field = |name, value| Err(Fault::Field { name, value });
        if self.version.get() != FORMAT_VERSION {
            return field("format version", self.version.get().into());
        }
        if 1u64.checked_shl(self.block_log2.get()) != Some(BLOCK_BYTES as u64) {
            return field("block_log2", self.block_log2.get().into());
        }
        let granule = self.log_granule_bytes.get();
        if !granule.is_power_of_two() || !(512..=4096).contains(&granule) {
            return field("log_granule_bytes", granule.into());
        }
        self.layout().check()
    }

    /// Where everything lies.
    pub fn layout(&self) -> Layout {
        Layout {
            total_blocks: self.total_blocks.get(),
            table_start: self.table_start.get(),
            table_blocks: self.table_blocks.get(),
            log_start: self.log_start.get(),
            log_blocks: self.log_blocks.get(),
            segment_blocks: self.segment_blocks.get(),
            segments_start: self.segments_start.get(),
            segment_count: self.segment_count.get(),
            backups: [self.backups[0].get(), self.backups[1].get()],
        }
    }

    /// Whether there are features that forbid writing to this version.
    pub fn must_be_read_only(&self) -> bool {
        self.ro_compat.get() & !RO_COMPAT_KNOWN != 0
    }

    /// The label without its padding.
    pub fn label(&self) -> &[u8] {
        let end = self
            .label
            .iter()
            .position(|&b| b == 0)
            .unwrap_or(LABEL_BYTES);
        self.label.get(..end).unwrap_or(&[])
    }

    /// Fills `block` with this superblock as it stands at `address`.
    pub fn write_to(&self, block: &mut [u8], address: u64) {
        block.fill(0);
        if let Some(sb) = block::view_mut::<Superblock>(block, 0) {
            *sb = *self;
            sb.header.address = address.into();
        }
        block::seal(block);
    }
}
