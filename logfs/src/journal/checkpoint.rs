//! Checkpoints: bringing blocks home and moving the tail of the log.

use super::{Journal, Parts, count};
use crate::cache::{Homeless, Page};
use alloc::vec::Vec;
use bento_api::{Device, Env, Mutex, Result, WriteRequest};
use core::sync::atomic::Ordering;
use logfs_format::log::CHECKPOINT_BLOCKS;
use logfs_format::{BLOCK_BYTES, Checkpoint};

/// Blocks written home per request to the device.
const BATCH_BLOCKS: usize = 256;

impl<E: Env> Journal<E> {
    /// Makes everything durable, writes it home and empties the log. `flags` are those of
    /// [`Checkpoint::flags`].
    pub(crate) fn checkpoint(&self, parts: &Parts<'_, E>, flags: u64) -> Result<()> {
        self.checkpoint_after(&mut self.checkpoint.lock(), parts, flags)
    }

    /// Makes a checkpoint unless somebody else has made it: the last one before a device becomes
    /// read-only must stay the last.
    pub(crate) fn checkpoint_if_wanted(&self, parts: &Parts<'_, E>) -> Result<()> {
        let mut number = self.checkpoint.lock();
        if self.wants_checkpoint(parts.cache) {
            self.checkpoint_after(&mut number, parts, 0)
        } else {
            Ok(())
        }
    }

    /// Makes the checkpoint after that of this `number`.
    fn checkpoint_after(&self, number: &mut u64, parts: &Parts<'_, E>, flags: u64) -> Result<()> {
        self.env
            .trace("checkpoint_begin", &[("number", *number + 1)]);
        let (target, tail, blocks) = {
            let mut head = self.commit.lock();
            let mut blocks = Vec::new();
            self.write_running(parts, &mut head, Some(&mut blocks))?;
            if self.durable.load(Ordering::Acquire) < self.committed.load(Ordering::Acquire) {
                self.flush_log(parts, &mut head)?;
            }
            (
                self.committed.load(Ordering::Acquire),
                head.position,
                blocks,
            )
        };
        if planted!(TailBeforeHome) {
            self.write_checkpoint(*number + 1, target + 1, tail, flags)?;
            *number += 1;
        }
        self.bring_home(&blocks)?;
        blocks.iter().for_each(|block| parts.cache.came_home(block));
        self.write_checkpoint(*number + 1, target + 1, tail, flags)?;
        *number += 1;
        count(&self.counters.checkpoints);
        let home = [("number", *number), ("blocks", blocks.len() as u64)];
        self.env.trace("checkpoint_end", &home);

        let mut head = self.commit.lock();
        self.used.fetch_sub(tail - head.tail, Ordering::AcqRel);
        head.tail = tail;
        let mut freed = Vec::new();
        while head
            .freed_metadata
            .front()
            .is_some_and(|(sequence, _)| *sequence <= target)
        {
            freed.extend(
                head.freed_metadata
                    .pop_front()
                    .map(|(_, runs)| runs)
                    .unwrap_or_default(),
            );
        }
        drop(head);
        for &(start, len) in &freed {
            (start..start + u64::from(len)).for_each(|address| parts.cache.forget(address));
        }
        parts.space.release_freed(&freed);
        Ok(())
    }

    fn bring_home(&self, blocks: &[Homeless]) -> Result<()> {
        let device = self.env.device();
        for batch in blocks.chunks(BATCH_BLOCKS) {
            let pages: Vec<(u64, Page)> = batch
                .iter()
                .map(|block| (block.address, block.page.sealed()))
                .collect();
            let requests: Vec<WriteRequest<'_>> = pages
                .iter()
                .map(|(address, page)| WriteRequest {
                    offset_bytes: address * BLOCK_BYTES as u64,
                    data: page.bytes(),
                })
                .collect();
            self.or_shut_down("writing metadata", device.write(&requests))?;
        }
        let home = &self.counters.home_blocks;
        home.fetch_add(blocks.len() as u64, Ordering::Relaxed);
        if !blocks.is_empty() && !planted!(CheckpointUnflushed) {
            count(&self.counters.flushes);
            self.or_shut_down("flushing the device", device.flush())?;
        }
        Ok(())
    }

    fn write_checkpoint(
        &self,
        number: u64,
        tail_sequence: u64,
        tail: u64,
        flags: u64,
    ) -> Result<()> {
        let damaged = if self.reporter.is_damaged() {
            Checkpoint::ERRORS
        } else {
            0
        };
        let checkpoint = Checkpoint {
            number: number.into(),
            tail_sequence: tail_sequence.into(),
            tail_granule: (tail % self.ring.granules).into(),
            flags: (flags | damaged).into(),
            ..bytemuck::Zeroable::zeroed()
        };
        count(&self.counters.durable_writes);
        let written = write_checkpoint(self.env.device(), self.uuid, self.log_start, &checkpoint);
        self.or_shut_down("writing a checkpoint", written)
    }
}

/// Writes a checkpoint to its place in the log; when this returns, it is durable.
pub(crate) fn write_checkpoint<D: Device>(
    device: &D,
    uuid: [u8; 16],
    log_start: u64,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let address = log_start + checkpoint.number.get() % CHECKPOINT_BLOCKS;
    let mut page = Page::zeroed();
    checkpoint.write_to(page.bytes_mut(), uuid, address);
    device.write_durable(&WriteRequest {
        offset_bytes: address * BLOCK_BYTES as u64,
        data: page.bytes(),
    })
}
