//! Segments: the table of all of them, each one's header with its bitmaps, and the summaries of
//! data segments.

use crate::block::BlockHeader;
use crate::le::{Le16, Le32, Le64};
use crate::{BLOCK_BYTES, HEADER_BYTES};
use bytemuck::{Pod, Zeroable};

/// Fewest blocks in a segment: 1 MiB.
pub const MIN_SEGMENT_BLOCKS: u32 = 256;

/// Most blocks in a segment: 32 MiB, so that both bitmaps fit into the header.
pub const MAX_SEGMENT_BLOCKS: u32 = 8192;

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SegmentKind {
    /// Nothing: no block of it is live, and its blocks hold nothing of worth, its header included.
    Free = 0,
    /// Metadata blocks other than inodes.
    Metadata = 1,
    /// Inode blocks.
    Inodes = 2,
    /// File data, each block described by a [`SummaryEntry`].
    Data = 3,
}

impl SegmentKind {
    /// The kind that a byte names.
    pub const fn from_byte(byte: u8) -> Option<SegmentKind> {
        match byte {
            0 => Some(SegmentKind::Free),
            1 => Some(SegmentKind::Metadata),
            2 => Some(SegmentKind::Inodes),
            3 => Some(SegmentKind::Data),
            _ => None,
        }
    }
}

/// Blocks at the start of a segment that its header and summaries take.
pub const fn header_blocks(kind: SegmentKind, segment_blocks: u32) -> u32 {
    match kind {
        SegmentKind::Free => 0,
        SegmentKind::Metadata | SegmentKind::Inodes => 1,
        SegmentKind::Data => 1 + segment_blocks.div_ceil(SUMMARIES_PER_BLOCK as u32),
    }
}

/// One segment in the segment table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SegmentEntry {
    /// A [`SegmentKind`].
    pub kind: u8,
    /// Zero.
    pub flags: u8,
    /// Zero.
    pub reserved: Le16,
    /// Live blocks, the header and summaries not counted. In an inode segment: blocks that hold
    /// initialised inodes.
    pub live_blocks: Le32,
    /// Transaction that last wrote data into the segment: how old its contents are. Of an inode
    /// segment: the number of inodes in use.
    pub age: Le64,
}

/// Segment entries in a block of the segment table.
pub const ENTRIES_PER_TABLE_BLOCK: usize = (BLOCK_BYTES - HEADER_BYTES) / size_of::<SegmentEntry>();

/// Bytes of one bitmap in a segment header.
const BITMAP_BYTES: usize = MAX_SEGMENT_BLOCKS as usize / 8;

/// First block of every segment in use.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SegmentHeader {
    /// Kind [`SegmentHeader`](crate::BlockKind::SegmentHeader).
    pub header: BlockHeader,
    /// Number of the segment.
    pub segment: Le64,
    /// A [`SegmentKind`], as in the table.
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 55],
    /// Bit `n` (of byte `n / 8`, from the lowest up): block `n` of the segment is live. The bits of
    /// the header and summary blocks are zero.
    pub live: [u8; BITMAP_BYTES],
    /// Inode segments only: every inode of the block is in use.
    pub full: [u8; BITMAP_BYTES],
}

impl SegmentHeader {
    /// Byte offset of `live` in the block.
    pub const LIVE_OFFSET: usize = core::mem::offset_of!(SegmentHeader, live);
    /// Byte offset of `full` in the block.
    pub const FULL_OFFSET: usize = core::mem::offset_of!(SegmentHeader, full);
}

/// Who a data block belongs to, and its checksum: the second witness of the extent that maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SummaryEntry {
    /// Inode.
    pub ino: Le64,
    /// Place in the file in blocks; bit 63 says that there is a checksum.
    place: Le64,
    /// CRC-32C of the block.
    pub checksum: Le32,
    /// Generation of the inode.
    pub generation: Le32,
}

const HAS_CHECKSUM: u64 = 1 << 63;

impl SummaryEntry {
    /// The entry of a block of a file.
    pub fn new(ino: u64, generation: u32, file_block: u64, checksum: Option<u32>) -> SummaryEntry {
        let flag = if checksum.is_some() { HAS_CHECKSUM } else { 0 };
        SummaryEntry {
            ino: ino.into(),
            place: (file_block | flag).into(),
            checksum: checksum.unwrap_or(0).into(),
            generation: generation.into(),
        }
    }

    /// Place in the file in blocks.
    pub fn file_block(&self) -> u64 {
        self.place.get() & !HAS_CHECKSUM
    }

    /// CRC-32C of the block, if known.
    pub fn checksum(&self) -> Option<u32> {
        (self.place.get() & HAS_CHECKSUM != 0).then(|| self.checksum.get())
    }
}

/// Summary entries in a block.
pub const SUMMARIES_PER_BLOCK: usize = (BLOCK_BYTES - HEADER_BYTES) / size_of::<SummaryEntry>();
