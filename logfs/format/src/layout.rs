//! Where the parts of a file system lie, and how mkfs chooses that.

use crate::segment::{ENTRIES_PER_TABLE_BLOCK, MAX_SEGMENT_BLOCKS, MIN_SEGMENT_BLOCKS};
use crate::{BLOCK_BYTES, Fault, SegmentKind, header_blocks};
use core::fmt;

/// Smallest device that mkfs takes, in bytes.
pub const MIN_DEVICE_BYTES: u64 = 16 << 20;

/// Most blocks that a file system has (1 EiB): inode numbers keep four bits for the slot.
pub const MAX_BLOCKS: u64 = 1 << 48;

/// Fewest blocks of a log: a quarter of it must hold the largest transaction.
pub const LOG_BLOCKS_MIN: u64 = 512;

/// Segments that mkfs aims at, at least: fewer would leave too little choice to the allocator.
const SEGMENTS_AIM: u64 = 128;

/// Where everything lies.
///
/// ```text
/// | boot | superblock | segment table | log | superblock copy | segment 0 | 1 | ... | copy |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Size of the file system in blocks.
    pub total_blocks: u64,
    /// First block of the segment table.
    pub table_start: u64,
    /// Blocks of the segment table.
    pub table_blocks: u64,
    /// First block of the log.
    pub log_start: u64,
    /// Blocks of the log, its two checkpoint blocks included.
    pub log_blocks: u64,
    /// Blocks in a segment.
    pub segment_blocks: u32,
    /// First block of segment 0.
    pub segments_start: u64,
    /// Number of segments.
    pub segment_count: u64,
    /// Copies of the superblock: before the first segment, and in the last block.
    pub backups: [u64; 2],
}

/// Why a size can't be formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Below [`MIN_DEVICE_BYTES`].
    TooSmall,
    /// Above [`MAX_BLOCKS`].
    TooLarge,
    /// A segment size that is not a power of two in the range allowed.
    SegmentSize,
    /// A log that is too small to work or leaves no room.
    LogSize,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::TooSmall => {
                write!(
                    f,
                    "too small: logfs needs at least {} MiB",
                    MIN_DEVICE_BYTES >> 20
                )
            }
            LayoutError::TooLarge => write!(f, "too large: logfs ends at 1 EiB"),
            LayoutError::SegmentSize => write!(
                f,
                "segment size must be a power of two from {} to {} KiB",
                MIN_SEGMENT_BLOCKS * 4,
                MAX_SEGMENT_BLOCKS * 4
            ),
            LayoutError::LogSize => {
                write!(
                    f,
                    "log size must be at least 2 MiB and at most a quarter of the device"
                )
            }
        }
    }
}

impl core::error::Error for LayoutError {}

impl Layout {
    /// Plans a file system of `total_blocks`; sizes that are `None` are chosen.
    pub fn plan(
        total_blocks: u64,
        segment_blocks: Option<u32>,
        log_blocks: Option<u64>,
    ) -> Result<Layout, LayoutError> {
        if total_blocks < MIN_DEVICE_BYTES / BLOCK_BYTES as u64 {
            return Err(LayoutError::TooSmall);
        }
        if total_blocks > MAX_BLOCKS {
            return Err(LayoutError::TooLarge);
        }
        let segment_blocks = segment_blocks.unwrap_or_else(|| default_segment(total_blocks));
        if !segment_size_ok(segment_blocks) {
            return Err(LayoutError::SegmentSize);
        }
        // A 32nd of the device, from 2 MiB to 128 MiB.
        let log_blocks = log_blocks.unwrap_or((total_blocks / 32).clamp(LOG_BLOCKS_MIN, 32 << 10));
        if log_blocks < LOG_BLOCKS_MIN || log_blocks > total_blocks / 4 {
            return Err(LayoutError::LogSize);
        }
        let table_blocks =
            (total_blocks / u64::from(segment_blocks)).div_ceil(ENTRIES_PER_TABLE_BLOCK as u64);
        let table_start = crate::SUPERBLOCK_ADDRESS + 1;
        let log_start = table_start + table_blocks;
        let segments_start = log_start + log_blocks + 1;
        let room = total_blocks.saturating_sub(segments_start + 1);
        let layout = Layout {
            total_blocks,
            table_start,
            table_blocks,
            log_start,
            log_blocks,
            segment_blocks,
            segments_start,
            segment_count: room / u64::from(segment_blocks),
            backups: [segments_start - 1, total_blocks - 1],
        };
        if layout.segment_count < 4 {
            return Err(LayoutError::TooSmall);
        }
        Ok(layout)
    }

    /// Checks that the parts follow each other without overlap and end inside the device.
    pub fn check(&self) -> Result<(), Fault> {
        let field = |name, value| Err(Fault::Field { name, value });
        if !segment_size_ok(self.segment_blocks) {
            return field("segment_blocks", self.segment_blocks.into());
        }
        if self.total_blocks > MAX_BLOCKS {
            return field("total_blocks", self.total_blocks);
        }
        let table_needed = self.segment_count.div_ceil(ENTRIES_PER_TABLE_BLOCK as u64);
        if self.segment_count == 0 || self.table_blocks < table_needed {
            return field("segment_count", self.segment_count);
        }
        if self.log_blocks < LOG_BLOCKS_MIN {
            return field("log_blocks", self.log_blocks);
        }
        let in_order = self.table_start > crate::SUPERBLOCK_ADDRESS
            && follows(self.table_start, self.table_blocks, self.log_start)
            && follows(self.log_start, self.log_blocks, self.backups[0])
            && follows(self.backups[0], 1, self.segments_start)
            && self
                .segment_count
                .checked_mul(self.segment_blocks.into())
                .is_some_and(|blocks| follows(self.segments_start, blocks, self.backups[1]))
            && self.backups[1] < self.total_blocks;
        if in_order {
            Ok(())
        } else {
            field("segments_start", self.segments_start)
        }
    }

    /// The segment that holds a block and the block's place in it; `None` outside all segments.
    pub fn segment_of(&self, address: u64) -> Option<(u64, u32)> {
        let offset = address.checked_sub(self.segments_start)?;
        let segment = offset >> self.segment_blocks.trailing_zeros();
        let index = offset & u64::from(self.segment_blocks - 1);
        (segment < self.segment_count).then_some((segment, index as u32))
    }

    /// Address of a segment's first block.
    pub fn segment_start(&self, segment: u64) -> u64 {
        self.segments_start + (segment << self.segment_blocks.trailing_zeros())
    }

    /// The block of the segment table that holds a segment's entry, and the entry's byte offset
    /// in it.
    pub fn table_entry(&self, segment: u64) -> (u64, usize) {
        let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
        let index = (segment % per_block) as usize;
        (
            self.table_start + segment / per_block,
            crate::HEADER_BYTES + index * size_of::<crate::SegmentEntry>(),
        )
    }

    /// Blocks of a segment of this kind that can be given away.
    pub fn usable_blocks(&self, kind: SegmentKind) -> u32 {
        self.segment_blocks - header_blocks(kind, self.segment_blocks)
    }

    /// The summary entry of a block in a data segment: the block that holds it, and its byte offset
    /// there. `None` outside all segments.
    pub fn summary_entry(&self, address: u64) -> Option<(u64, usize)> {
        let (segment, index) = self.segment_of(address)?;
        let per_block = crate::SUMMARIES_PER_BLOCK as u32;
        let block = self.segment_start(segment) + 1 + u64::from(index / per_block);
        let slot = (index % per_block) as usize;
        Some((
            block,
            crate::HEADER_BYTES + slot * size_of::<crate::SummaryEntry>(),
        ))
    }
}

fn segment_size_ok(blocks: u32) -> bool {
    blocks.is_power_of_two() && (MIN_SEGMENT_BLOCKS..=MAX_SEGMENT_BLOCKS).contains(&blocks)
}

fn follows(start: u64, len: u64, next: u64) -> bool {
    len > 0 && start.checked_add(len).is_some_and(|end| end <= next)
}

fn default_segment(total_blocks: u64) -> u32 {
    let mut blocks = MAX_SEGMENT_BLOCKS;
    while blocks > MIN_SEGMENT_BLOCKS && total_blocks / u64::from(blocks) < SEGMENTS_AIM {
        blocks /= 2;
    }
    blocks
}
