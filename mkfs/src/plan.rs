//! What the file system will look like.

use bento_api::Time;
use logfs_format::le::Le64;
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, FORMAT_VERSION, InoAddress, LABEL_BYTES, Layout,
    LayoutError, SIGNATURE, SUPERBLOCK_ADDRESS, Superblock,
};

/// The segment that the first inodes are in.
pub(crate) const INODE_SEGMENT: u64 = 0;

/// The segment that the first other metadata is in.
pub(crate) const METADATA_SEGMENT: u64 = 1;

/// What the user may choose. Sizes that are `None` are chosen by the size of the device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file system's uuid.
    pub uuid: [u8; 16],
    /// The file system's name, at most [`LABEL_BYTES`]; what is longer is cut off.
    pub label: Vec<u8>,
    /// Key of the directory hash: unpredictable, so that nobody can make names that collide.
    pub hash_key: [u64; 2],
    /// The time that everything is made at.
    pub now: Time,
    /// Size of a segment in blocks.
    pub segment_blocks: Option<u32>,
    /// Size of the log in blocks.
    pub log_blocks: Option<u64>,
    /// Share of the blocks that only root may use.
    pub reserved_percent: u8,
}

/// The device's unit of writing in bytes: a power of two from 512 to 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sector(u32);

impl Sector {
    /// The nearest size that the log can be written in.
    pub fn new(bytes: u32) -> Sector {
        Sector(bytes.clamp(512, BLOCK_BYTES as u32).next_power_of_two())
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

/// Everything that is decided before the first write.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The superblock, which says where everything lies.
    pub superblock: Superblock,
    /// The time that the root directory is made at.
    pub(crate) now: Time,
}

impl Plan {
    /// Plans a file system of `total_blocks` blocks.
    pub fn new(total_blocks: u64, sector: Sector, options: &Options) -> Result<Plan, LayoutError> {
        let layout = Layout::plan(total_blocks, options.segment_blocks, options.log_blocks)?;
        let root = InoAddress {
            block: layout.segment_start(INODE_SEGMENT) + 1,
            slot: 1,
        };
        let mut label = [0; LABEL_BYTES];
        for (to, from) in label.iter_mut().zip(&options.label) {
            *to = *from;
        }
        let percent = u64::from(options.reserved_percent.min(100));
        let superblock = Superblock {
            header: BlockHeader::new(BlockKind::Superblock, options.uuid, SUPERBLOCK_ADDRESS),
            signature: SIGNATURE,
            version: FORMAT_VERSION.into(),
            block_log2: BLOCK_BYTES.trailing_zeros().into(),
            compat: 0.into(),
            ro_compat: 0.into(),
            incompat: 0.into(),
            label,
            total_blocks: total_blocks.into(),
            table_start: layout.table_start.into(),
            table_blocks: layout.table_blocks.into(),
            log_start: layout.log_start.into(),
            log_blocks: layout.log_blocks.into(),
            log_granule_bytes: sector.bytes().into(),
            segment_blocks: layout.segment_blocks.into(),
            segments_start: layout.segments_start.into(),
            segment_count: layout.segment_count.into(),
            root_ino: root.ino().into(),
            orphans: (layout.segment_start(METADATA_SEGMENT) + 1).into(),
            root_reserved_blocks: (total_blocks / 100 * percent).into(),
            backups: layout.backups.map(Le64::new),
            created_seconds: options.now.seconds.into(),
            hash_key: options.hash_key.map(Le64::new),
        };
        Ok(Plan {
            superblock,
            now: options.now,
        })
    }
}
