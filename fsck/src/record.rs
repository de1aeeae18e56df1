//! Repairs as a record of the log: recovery applies all of them or none.

use crate::context::Images;
use bento_api::{Device, Result, WriteRequest};
use logfs_format::log::{
    CHECKPOINT_BLOCKS, ITEM_HEAD_BYTES, ItemHead, RECORD_HEAD_BYTES, RECORD_MAGIC, RecordHead,
};
use logfs_format::{BLOCK_BYTES, Checkpoint, Superblock};

/// Bytes of a record that holds so many whole blocks, with its padding.
fn record_bytes(blocks: usize, granule_bytes: u64) -> u64 {
    let bytes = RECORD_HEAD_BYTES + blocks * (ITEM_HEAD_BYTES + BLOCK_BYTES);
    (bytes as u64).next_multiple_of(granule_bytes)
}

/// Where the ring lies: its first byte and its length.
fn ring(superblock: &Superblock) -> (u64, u64) {
    let block_bytes = BLOCK_BYTES as u64;
    let start = superblock.log_start.get() + CHECKPOINT_BLOCKS;
    let blocks = superblock.log_blocks.get() - CHECKPOINT_BLOCKS;
    (start * block_bytes, blocks * block_bytes)
}

/// Whether so many blocks fit into one record of an empty log.
pub(crate) fn fits(superblock: &Superblock, blocks: usize) -> bool {
    let granule_bytes = u64::from(superblock.log_granule_bytes.get());
    let (_, ring_bytes) = ring(superblock);
    let bytes = record_bytes(blocks, granule_bytes);
    bytes <= ring_bytes && u32::try_from(bytes).is_ok()
}

/// Writes blocks as the next record of a log in which nothing follows this checkpoint.
pub(crate) fn write(
    device: &dyn Device,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    images: &Images,
) -> Result<()> {
    let granule_bytes = u64::from(superblock.log_granule_bytes.get());
    let sequence = checkpoint.tail_sequence.get();
    let mut record = vec![0; RECORD_HEAD_BYTES];
    for (address, image) in images {
        let item = ItemHead::new(*address, ItemHead::ZERO_FIRST, 0, BLOCK_BYTES as u16);
        record.extend_from_slice(bytemuck::bytes_of(&item));
        record.extend_from_slice(image);
    }
    let head = RecordHead {
        magic: RECORD_MAGIC.into(),
        uuid: superblock.header.uuid,
        sequence: sequence.into(),
        durable_sequence: (sequence - 1).into(),
        len_bytes: (record.len() as u32).into(),
        items: (images.len() as u32).into(),
        flags: RecordHead::DATA_DURABLE.into(),
        ..bytemuck::Zeroable::zeroed()
    };
    if let Some(place) = record.get_mut(..RECORD_HEAD_BYTES) {
        place.copy_from_slice(bytemuck::bytes_of(&head));
    }
    let sum = crc32fast::hash(&record).to_le_bytes();
    let range = RecordHead::CHECKSUM_OFFSET..RecordHead::CHECKSUM_OFFSET + sum.len();
    if let Some(place) = record.get_mut(range) {
        place.copy_from_slice(&sum);
    }
    record.resize(record.len().next_multiple_of(granule_bytes as usize), 0);

    let (start_bytes, ring_bytes) = ring(superblock);
    let at = checkpoint.tail_granule.get() * granule_bytes % ring_bytes;
    let room = (ring_bytes - at).min(record.len() as u64) as usize;
    let (first, second) = record.split_at(room);
    device.write(&[WriteRequest {
        offset_bytes: start_bytes + at,
        data: first,
    }])?;
    if !second.is_empty() {
        device.write(&[WriteRequest {
            offset_bytes: start_bytes,
            data: second,
        }])?;
    }
    device.flush()
}
