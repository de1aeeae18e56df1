//! Looking through the whole ring of the log, for when no checkpoint says where it starts, or to see
//! whether it goes on behind its end.

use bento_api::{Device, ReadRequest};
use logfs_format::log::{CHECKPOINT_BLOCKS, Item, RECORD_HEAD_BYTES, RECORD_MAGIC, RecordHead};
use logfs_format::{BLOCK_BYTES, Superblock, block};
use std::collections::HashMap;

/// Bytes read at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Longest record that is read: a record holds no more than a quarter of the ring.
const RECORD_BYTES_MAX: u64 = 1 << 30;

/// What looks like a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) granule: u64,
    pub(crate) sequence: u64,
    pub(crate) durable_sequence: u64,
    len_bytes: u64,
}

/// The ring as it lies on the device.
pub(crate) struct RingView<'a> {
    device: &'a dyn Device,
    uuid: [u8; 16],
    start_bytes: u64,
    granule_bytes: u64,
    granules: u64,
}

impl<'a> RingView<'a> {
    pub(crate) fn new(device: &'a dyn Device, superblock: &Superblock) -> RingView<'a> {
        let block_bytes = BLOCK_BYTES as u64;
        let granule_bytes = u64::from(superblock.log_granule_bytes.get());
        let blocks = superblock.log_blocks.get() - CHECKPOINT_BLOCKS;
        RingView {
            device,
            uuid: superblock.header.uuid,
            start_bytes: (superblock.log_start.get() + CHECKPOINT_BLOCKS) * block_bytes,
            granule_bytes,
            granules: blocks * block_bytes / granule_bytes,
        }
    }

    fn bytes(&self) -> u64 {
        self.granules * self.granule_bytes
    }

    /// Everything that starts like a record, in the order of sequence numbers. What can't be read
    /// is passed over.
    pub(crate) fn heads(&self) -> Vec<Head> {
        let mut heads = Vec::new();
        let mut at = 0;
        while at < self.bytes() {
            let len = WINDOW_BYTES.min(self.bytes() - at);
            let mut window = vec![0; len as usize];
            if self.read(at, &mut window).is_some() {
                for (index, bytes) in window.chunks(self.granule_bytes as usize).enumerate() {
                    let granule = at / self.granule_bytes + index as u64;
                    heads.extend(self.head(granule, bytes));
                }
            }
            at += len;
        }
        heads.sort_by_key(|head| head.sequence);
        heads
    }

    fn head(&self, granule: u64, bytes: &[u8]) -> Option<Head> {
        let head: &RecordHead = block::view(bytes, 0)?;
        let sequence = head.sequence.get();
        let room = self.bytes().min(RECORD_BYTES_MAX);
        (head.magic.get() == RECORD_MAGIC && head.check(&self.uuid, sequence, room)).then(|| Head {
            granule,
            sequence,
            durable_sequence: head.durable_sequence.get(),
            len_bytes: head.len_bytes.get().into(),
        })
    }

    /// The granule behind a record.
    fn end(&self, head: &Head) -> u64 {
        (head.granule + head.len_bytes.div_ceil(self.granule_bytes)) % self.granules
    }

    /// A record's bytes if it is whole.
    pub(crate) fn whole(&self, head: &Head) -> Option<Vec<u8>> {
        let mut bytes = vec![0; head.len_bytes as usize];
        self.read(head.granule * self.granule_bytes, &mut bytes)?;
        let range = RecordHead::CHECKSUM_OFFSET..RecordHead::CHECKSUM_OFFSET + 4;
        let field = bytes.get_mut(range)?;
        let stored = u32::from_le_bytes(field.try_into().ok()?);
        field.fill(0);
        (crc32fast::hash(&bytes) == stored).then_some(bytes)
    }

    /// Reads bytes of the ring, which goes on at its start behind its end.
    fn read(&self, at: u64, out: &mut [u8]) -> Option<()> {
        let at = at % self.bytes();
        let room = (self.bytes() - at).min(out.len() as u64) as usize;
        let (first, second) = out.split_at_mut(room);
        for (at, part) in [(at, first), (0, second)] {
            if part.is_empty() {
                continue;
            }
            // Devices are read in whole sectors: granules are at least that.
            let whole = (part.len() as u64).next_multiple_of(self.granule_bytes);
            let mut buffer = vec![0; whole as usize];
            let offset_bytes = self.start_bytes + at;
            let buffer = &mut buffer;
            self.device
                .read(&mut [ReadRequest {
                    offset_bytes,
                    buffer,
                }])
                .ok()?;
            part.copy_from_slice(buffer.get(..part.len())?);
        }
        Some(())
    }

    /// The records that follow each other up to the last one of all, from the first on from which
    /// they can be replayed: no change there builds on a block that none of them holds.
    pub(crate) fn last_run(&self) -> Vec<Head> {
        let heads = self.heads();
        let is_whole = |head: &&Head| self.whole(head).is_some();
        let mut run: Vec<Head> = heads
            .iter()
            .rev()
            .find(is_whole)
            .copied()
            .into_iter()
            .collect();
        while let Some(next) = run.last() {
            let before = heads
                .iter()
                .filter(|head| head.sequence + 1 == next.sequence)
                .filter(|head| self.end(head) == next.granule)
                .find(is_whole);
            match before {
                Some(before) => run.push(*before),
                None => break,
            }
        }
        run.reverse();
        let start = self.first_replayable(&run);
        run.split_off(start.min(run.len()))
    }

    fn first_replayable(&self, run: &[Head]) -> usize {
        let mut start = 0;
        let mut held: HashMap<u64, usize> = HashMap::new();
        for (index, head) in run.iter().enumerate() {
            let Some(bytes) = self.whole(head) else {
                start = index + 1;
                continue;
            };
            let body = bytes.get(RECORD_HEAD_BYTES..).unwrap_or(&[]);
            for item in logfs_format::log::items(body) {
                match item {
                    Ok(Item::Change {
                        block,
                        zero_first: true,
                        ..
                    }) => {
                        held.insert(block, index);
                    }
                    Ok(Item::Change { block, .. })
                        if held.get(&block).is_none_or(|&at| at < start) =>
                    {
                        start = index + 1;
                    }
                    Ok(_) => {}
                    Err(_) => start = index + 1,
                }
            }
        }
        start
    }
}
