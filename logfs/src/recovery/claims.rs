//! Claims: file data that records map and that must be on the device for them to count.

use super::images::Images;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bento_api::{Device, Env, ReadRequest, Result};
use core::mem;
use logfs_format::le::Le32;
use logfs_format::log::WINDOW_CLAIMS_MAX;
use logfs_format::{BLOCK_BYTES, Layout};

/// Blocks read per request to the device.
const BATCH_BLOCKS: usize = 32;

/// The claims of the records so far that don't hold, where no later record has freed or claimed
/// the block again.
pub(super) struct Claims<'a, E: Env> {
    env: &'a E,
    layout: Layout,
    /// Blocks whose last claim does not hold.
    missing: BTreeSet<u64>,
    /// Those among them that the current record has claimed.
    fresh: Vec<u64>,
    /// Blocks claimed so far.
    count: usize,
    buffer: Vec<u8>,
}

impl<'a, E: Env> Claims<'a, E> {
    pub(super) fn new(env: &'a E, layout: Layout) -> Self {
        Claims {
            env,
            layout,
            missing: BTreeSet::new(),
            fresh: Vec::new(),
            count: 0,
            buffer: Vec::new(),
        }
    }

    /// Takes a claim of the current record.
    pub(super) fn add(&mut self, block: u64, checksums: &[Le32]) {
        self.count += checksums.len();
        let batches = checksums.chunks(BATCH_BLOCKS);
        for (start, sums) in (block..).step_by(BATCH_BLOCKS).zip(batches) {
            let mut buffer = mem::take(&mut self.buffer);
            buffer.resize(sums.len() * BLOCK_BYTES, 0);
            let is_read = self.read(start, &mut buffer);
            let blocks = buffer.chunks_exact(BLOCK_BYTES);
            for ((block, data), sum) in (start..).zip(blocks).zip(sums) {
                if is_read && self.env.crc32c(0, data) == sum.get() {
                    self.missing.remove(&block);
                } else if self.missing.insert(block) {
                    self.fresh.push(block);
                }
            }
            self.buffer = buffer;
        }
    }

    /// Reads blocks. Data that cannot be read is not there, like data that was never written.
    fn read(&self, start: u64, buffer: &mut [u8]) -> bool {
        let device = self.env.device();
        let Some(offset_bytes) = start.checked_mul(BLOCK_BYTES as u64) else {
            return false;
        };
        let end_bytes = offset_bytes.checked_add(buffer.len() as u64);
        if end_bytes.is_none_or(|end| end > device.geometry().size_bytes) {
            return false;
        }
        let request = ReadRequest {
            offset_bytes,
            buffer,
        };
        device.read(&mut [request]).is_ok()
    }

    /// Ends the current record, which has changed the headers of `segments`. Whether the records
    /// so far count: all that they claim is on the device, or no longer in use.
    pub(super) fn hold(
        &mut self,
        images: &Images<'_, E>,
        segments: &BTreeSet<u64>,
    ) -> Result<bool> {
        for block in mem::take(&mut self.fresh) {
            if !images.is_live(block)? {
                self.missing.remove(&block);
            }
        }
        for &segment in segments {
            let start = self.layout.segment_start(segment);
            let end = start + u64::from(self.layout.segment_blocks);
            let inside: Vec<u64> = self.missing.range(start..end).copied().collect();
            for block in inside {
                if !images.is_live(block)? {
                    self.missing.remove(&block);
                }
            }
        }
        Ok(self.missing.is_empty())
    }

    /// Whether there are more claims than any log can have: no file system wrote that.
    pub(super) fn are_too_many(&self) -> bool {
        self.count > WINDOW_CLAIMS_MAX
    }
}
