//! A log record while it is put together.

use super::ring::Ring;
use crate::cache::{Changed, nonzero};
use alloc::vec::Vec;
use bento_api::Device;
use bento_api::{Result, WriteRequest};
use logfs_format::le::Le32;
use logfs_format::log::{CLAIM_BLOCKS_MAX, ItemHead, RECORD_HEAD_BYTES, RECORD_MAGIC, RecordHead};

/// Records are built in pieces of this size, so that none needs much contiguous memory.
const PIECE_BYTES: usize = 16 << 10;

/// File data that a transaction maps and that may not be durable: address and checksums.
pub(crate) struct Claim {
    /// First block.
    pub(crate) block: u64,
    /// CRC-32C of each block.
    pub(crate) checksums: Vec<u32>,
}

/// The bytes of a record.
pub(super) struct Record {
    pieces: Vec<Vec<u8>>,
    len_bytes: usize,
    items: u32,
}

impl Record {
    pub(super) fn new() -> Record {
        let mut record = Record {
            pieces: Vec::new(),
            len_bytes: 0,
            items: 0,
        };
        record.push(&[0; RECORD_HEAD_BYTES]);
        record
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.len_bytes += bytes.len();
        while !bytes.is_empty() {
            let room = self
                .pieces
                .last()
                .map_or(0, |piece| PIECE_BYTES - piece.len());
            if room == 0 {
                self.pieces.push(Vec::with_capacity(PIECE_BYTES));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(piece) = self.pieces.last_mut() {
                piece.extend_from_slice(now);
            }
            bytes = later;
        }
    }

    fn push_item(&mut self, head: ItemHead, data: &[u8]) {
        self.push(bytemuck::bytes_of(&head));
        self.push(data);
        self.items += 1;
    }

    /// Adds what a transaction did to a block.
    pub(super) fn add_block(&mut self, changed: &Changed) {
        let bytes = changed.page.bytes();
        match &changed.ranges {
            Some(ranges) => {
                for &(start, end) in ranges {
                    self.add_range(changed.address, 0, bytes, start, end);
                }
            }
            None => {
                let mut flags = ItemHead::ZERO_FIRST;
                nonzero(bytes, |start, end| {
                    self.add_range(changed.address, flags, bytes, start, end);
                    flags = 0;
                });
            }
        }
    }

    fn add_range(&mut self, address: u64, flags: u64, bytes: &[u8], start: usize, end: usize) {
        if let Some(data) = bytes.get(start..end) {
            let head = ItemHead::new(address, flags, start as u16, data.len() as u16);
            self.push_item(head, data);
        }
    }

    /// Adds a claim on file data.
    pub(super) fn add_claim(&mut self, claim: &Claim) {
        let mut block = claim.block;
        for part in claim.checksums.chunks(CLAIM_BLOCKS_MAX) {
            let sums: Vec<Le32> = part.iter().map(|&sum| sum.into()).collect();
            let bytes: &[u8] = bytemuck::cast_slice(&sums);
            self.push_item(
                ItemHead::new(block, ItemHead::CLAIM, 0, bytes.len() as u16),
                bytes,
            );
            block += part.len() as u64;
        }
    }

    /// Fills in the head and pads the record to whole granules.
    pub(super) fn finish(
        &mut self,
        uuid: [u8; 16],
        sequence: u64,
        durable_sequence: u64,
        data_durable: bool,
        granule_bytes: usize,
    ) {
        let mut head = RecordHead {
            magic: RECORD_MAGIC.into(),
            checksum: 0.into(),
            uuid,
            sequence: sequence.into(),
            durable_sequence: durable_sequence.into(),
            len_bytes: (self.len_bytes as u32).into(),
            items: self.items.into(),
            flags: if data_durable {
                RecordHead::DATA_DURABLE
            } else {
                0
            }
            .into(),
            reserved: 0.into(),
        };
        self.set_head(&head);
        let mut hasher = crc32fast::Hasher::new();
        for piece in &self.pieces {
            hasher.update(piece);
        }
        head.checksum = hasher.finalize().into();
        self.set_head(&head);
        let padding = self.len_bytes.next_multiple_of(granule_bytes) - self.len_bytes;
        if let Some(piece) = self.pieces.last_mut() {
            piece.resize(piece.len() + padding, 0);
        }
    }

    fn set_head(&mut self, head: &RecordHead) {
        if let Some(place) = self
            .pieces
            .first_mut()
            .and_then(|p| p.get_mut(..RECORD_HEAD_BYTES))
        {
            place.copy_from_slice(bytemuck::bytes_of(head));
        }
    }

    /// Length with padding, in bytes.
    pub(super) fn padded_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Writes the finished record to the ring at a position.
    pub(super) fn write<D: Device>(&self, device: &D, ring: &Ring, position: u64) -> Result<()> {
        let mut position_bytes = position * ring.granule_bytes;
        let mut requests = Vec::with_capacity(self.pieces.len() + 1);
        for piece in &self.pieces {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let (offset_bytes, room) = ring.place(position_bytes);
                let (data, later) = rest.split_at(rest.len().min(room as usize));
                requests.push(WriteRequest { offset_bytes, data });
                position_bytes += data.len() as u64;
                rest = later;
            }
        }
        device.write(&requests)
    }
}
