//! Reading ahead: who goes through inodes or directories front to back finds the next blocks there.

use super::{Cache, Entry, Page};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Device, Env, ReadRequest, Result};
use core::sync::atomic::Ordering;
use logfs_format::{BLOCK_BYTES, BlockKind, block};

/// Blocks that are read at once: 128 KiB, as many as ext4 reads of its inode tables.
pub(super) const AHEAD_BLOCKS: u64 = 32;

/// A block that is being read, and how many blocks its shard had dropped before.
struct Awaited {
    address: u64,
    drops: u64,
    page: Page,
}

impl<E: Env> Cache<E> {
    /// Reads a block and those behind it if the one before it is cached: then it is probably not the last
    /// that is asked for. Of what is found, sound blocks of this kind are kept; whatever else lies there is
    /// none of our business, and whoever needs a block that could not be read will read it alone.
    pub(super) fn read_ahead(&self, address: u64, kind: BlockKind) -> Result<()> {
        let before = address.wrapping_sub(1);
        if !self.shard(before)?.map.contains_key(&before) {
            return Ok(());
        }
        let device_blocks = self.env.device().geometry().size_bytes / BLOCK_BYTES as u64;
        let end = address.saturating_add(AHEAD_BLOCKS).min(device_blocks);
        let mut awaited = Vec::new();
        for address in address..end {
            let shard = self.shard(address)?;
            if !shard.map.contains_key(&address) {
                awaited.push(Awaited {
                    address,
                    drops: shard.drops,
                    page: Page::zeroed(),
                });
            }
        }
        let mut requests: Vec<_> = awaited
            .iter_mut()
            .map(|block| ReadRequest {
                offset_bytes: block.address * BLOCK_BYTES as u64,
                buffer: block.page.bytes_mut(),
            })
            .collect();
        if self.env.device().read(&mut requests).is_err() {
            return Ok(());
        }
        awaited.into_iter().try_for_each(|block| {
            match block::verify(block.page.bytes(), kind, &self.uuid, block.address) {
                Ok(()) => self.keep(block),
                Err(_) => Ok(()),
            }
        })
    }

    /// Caches a block that was read, unless the cache has had a newer version since.
    fn keep(&self, block: Awaited) -> Result<()> {
        let mut shard = self.shard(block.address)?;
        let is_current = shard.drops == block.drops && !shard.map.contains_key(&block.address);
        if is_current && shard.map.try_reserve(1).is_ok() {
            let entry = Entry {
                // The first to go, if nobody asks for it.
                referenced: false,
                ..Entry::clean(Arc::new(block.page))
            };
            shard.map.insert(block.address, entry);
            self.blocks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
