//! The write-ahead log: two checkpoint blocks, then a ring of records.
//!
//! The ring is measured in granules (the device's sector size at mkfs). A record takes whole
//! granules and may run over the ring's end to its start. It holds one transaction: a
//! [`RecordHead`], then items back to back, each an [`ItemHead`] and its bytes. Replay starts at
//! the place that the newer valid checkpoint block names and takes records whose sequence numbers
//! follow each other, until one is not valid.

use crate::block::{self, BlockHeader, BlockKind};
use crate::le::{Le16, Le32, Le64};
use crate::{BLOCK_BYTES, Fault};
use bytemuck::{Pod, Zeroable};

/// Blocks before the ring: the two checkpoint blocks, written in turn.
pub const CHECKPOINT_BLOCKS: u64 = 2;

/// First four bytes of a record: `LgRC`.
pub const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"LgRC");

/// Where replay starts, and whether there is anything to replay.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Checkpoint {
    /// Kind [`BlockKind::Checkpoint`].
    pub header: BlockHeader,
    /// Counts checkpoints: the valid block with the higher number is in force. Checkpoint `n`
    /// lies in block `n % 2` of the log.
    pub number: Le64,
    /// Sequence number of the first record that replay needs.
    pub tail_sequence: Le64,
    /// Its place in the ring, in granules.
    pub tail_granule: Le64,
    /// Bits [`CLEAN`](Checkpoint::CLEAN) and [`ERRORS`](Checkpoint::ERRORS).
    pub flags: Le64,
}

impl Checkpoint {
    /// The file system was unmounted and the log holds nothing of worth.
    pub const CLEAN: u64 = 1;
    /// The file system found itself damaged: a full check is due.
    pub const ERRORS: u64 = 2;

    /// Reads and checks a checkpoint block.
    pub fn parse(data: &[u8], uuid: &[u8; 16], address: u64) -> Result<Checkpoint, Fault> {
        block::verify(data, BlockKind::Checkpoint, uuid, address)?;
        block::view(data, 0).copied().ok_or(Fault::Length)
    }

    /// Fills `block` with this checkpoint as it stands at `address`.
    pub fn write_to(&self, block: &mut [u8], uuid: [u8; 16], address: u64) {
        block.fill(0);
        if let Some(checkpoint) = block::view_mut::<Checkpoint>(block, 0) {
            *checkpoint = *self;
            checkpoint.header = BlockHeader::new(BlockKind::Checkpoint, uuid, address);
        }
        block::seal(block);
    }
}

/// Start of a record.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RecordHead {
    /// [`RECORD_MAGIC`].
    pub magic: Le32,
    /// CRC-32 (IEEE) of the record with this field zero, `len_bytes` long.
    pub checksum: Le32,
    /// The file system's uuid.
    pub uuid: [u8; 16],
    /// Sequence number of the transaction, one more than that of the record before.
    pub sequence: Le64,
    /// All transactions up to this one were durable when this record was written. Those behind it
    /// count only if the data that they [claim](Item::Claim) is on the device.
    pub durable_sequence: Le64,
    /// Length of the record in bytes, this head included, without the padding to a granule.
    pub len_bytes: Le32,
    /// Number of items.
    pub items: Le32,
    /// Bits [`DATA_DURABLE`](RecordHead::DATA_DURABLE).
    pub flags: Le32,
    /// Zero.
    pub reserved: Le32,
}

impl RecordHead {
    /// The data that the transaction maps was flushed before the record was written: it makes no
    /// claims.
    pub const DATA_DURABLE: u32 = 1;

    /// Byte offset of `checksum` in a record.
    pub const CHECKSUM_OFFSET: usize = core::mem::offset_of!(RecordHead, checksum);

    /// Checks a head, its checksum apart: that goes over the whole record.
    pub fn check(&self, uuid: &[u8; 16], sequence: u64, ring_bytes: u64) -> bool {
        self.magic.get() == RECORD_MAGIC
            && self.uuid == *uuid
            && self.sequence.get() == sequence
            && self.durable_sequence.get() < sequence
            && self.len_bytes.get() as usize >= size_of::<RecordHead>()
            && u64::from(self.len_bytes.get()) <= ring_bytes
    }
}

/// Size of a [`RecordHead`] in bytes.
pub const RECORD_HEAD_BYTES: usize = size_of::<RecordHead>();

/// Start of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ItemHead {
    /// A block, and in the upper bits [`ZERO_FIRST`](ItemHead::ZERO_FIRST) or
    /// [`CLAIM`](ItemHead::CLAIM).
    place: Le64,
    /// Offset in the block.
    pub offset: Le16,
    /// Number of bytes that follow. May be 0 if the block is filled with zeros.
    pub len: Le16,
}

/// Size of an [`ItemHead`] in bytes.
pub const ITEM_HEAD_BYTES: usize = size_of::<ItemHead>();

/// Most blocks that one claim covers.
pub const CLAIM_BLOCKS_MAX: usize = 1024;

/// Most blocks that the records behind the last that is durable claim together: recovery reads no
/// more, 64 MiB.
pub const WINDOW_CLAIMS_MAX: usize = 16_384;

/// Most blocks that all records together change: recovery keeps no more in memory, 256 MiB.
pub const LOG_IMAGES_MAX: usize = 65_536;

impl ItemHead {
    /// The block is filled with zeros before the bytes are put into it.
    pub const ZERO_FIRST: u64 = 1 << 63;
    /// The item is an [`Item::Claim`].
    pub const CLAIM: u64 = 1 << 62;

    /// An item for `len` bytes at `offset` of `block`, with flags.
    pub fn new(block: u64, flags: u64, offset: u16, len: u16) -> ItemHead {
        ItemHead {
            place: (block | flags).into(),
            offset: offset.into(),
            len: len.into(),
        }
    }

    /// The block.
    pub fn block(&self) -> u64 {
        self.place.get() & !(Self::ZERO_FIRST | Self::CLAIM)
    }

    fn has(&self, flag: u64) -> bool {
        self.place.get() & flag != 0
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes to be put into a metadata block.
    Change {
        /// The block.
        block: u64,
        /// Whether it is filled with zeros first.
        zero_first: bool,
        /// Where in the block the bytes go.
        offset: usize,
        /// The bytes.
        data: &'a [u8],
    },
    /// File data that the transaction maps, which was not flushed before the record was written:
    /// the transaction counts only if the data is there. A claim on a block that is no longer live
    /// afterwards, or that a later record claims again, says nothing.
    Claim {
        /// The first block.
        block: u64,
        /// CRC-32C of each block from there on.
        checksums: &'a [Le32],
    },
}

/// Walks over the items of a record's body (what follows the head). A malformed item ends the walk
/// with its offset as the error.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    body: &'a [u8],
    offset: usize,
}

/// All items of a record's body.
pub fn items(body: &[u8]) -> Items<'_> {
    Items { body, offset: 0 }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        if offset >= self.body.len() {
            return None;
        }
        let parsed = parse_item(self.body, offset);
        self.offset = parsed.map_or(self.body.len(), |(_, end)| end);
        Some(parsed.map(|(item, _)| item).ok_or(offset))
    }
}

fn parse_item(body: &[u8], offset: usize) -> Option<(Item<'_>, usize)> {
    let head: &ItemHead = block::view(body, offset)?;
    let start = offset + ITEM_HEAD_BYTES;
    let end = start + usize::from(head.len.get());
    let data = body.get(start..end)?;
    if head.has(ItemHead::CLAIM) {
        let checksums = bytemuck::try_cast_slice(data).ok()?;
        return Some((
            Item::Claim {
                block: head.block(),
                checksums,
            },
            end,
        ));
    }
    let offset = usize::from(head.offset.get());
    if offset + data.len() > BLOCK_BYTES {
        return None;
    }
    let zero_first = head.has(ItemHead::ZERO_FIRST);
    Some((
        Item::Change {
            block: head.block(),
            zero_first,
            offset,
            data,
        },
        end,
    ))
}
