//! Metadata blocks while the log is applied to them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Level, Result};
use logfs_format::log::LOG_IMAGES_MAX;
use logfs_format::{BLOCK_BYTES, BlockKind, Layout, SegmentHeader, Superblock, block};

/// See the module.
pub(super) struct Images<'a, E: Env> {
    env: &'a E,
    layout: Layout,
    uuid: [u8; 16],
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl<'a, E: Env> Images<'a, E> {
    pub(super) fn new(env: &'a E, superblock: &Superblock) -> Self {
        Images {
            env,
            layout: superblock.layout(),
            uuid: superblock.header.uuid,
            blocks: BTreeMap::new(),
        }
    }

    pub(super) fn env(&self) -> &'a E {
        self.env
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    fn damaged(&self, what: core::fmt::Arguments<'_>) -> Errno {
        self.env
            .log(Level::Error, format_args!("log: {what}; run fsck.logfs"));
        Errno::EUCLEAN
    }

    /// Whether a record may change a block: only the segment table and the segments are logged.
    fn may_change(&self, address: u64) -> bool {
        let table = self.layout.table_start..self.layout.table_start + self.layout.table_blocks;
        table.contains(&address) || self.layout.segment_of(address).is_some()
    }

    /// Applies an item.
    pub(super) fn change(
        &mut self,
        address: u64,
        zero_first: bool,
        offset: usize,
        data: &[u8],
    ) -> Result<()> {
        if !self.may_change(address) {
            return Err(self.damaged(format_args!(
                "a record changes block {address}, which is not logged"
            )));
        }
        if zero_first {
            self.clear(address)?;
        }
        // The first record of a block after a checkpoint holds all of it.
        let Some(image) = self.blocks.get_mut(&address) else {
            return Err(self.damaged(format_args!(
                "a record builds on block {address}, which none holds"
            )));
        };
        let place = image
            .get_mut(offset..offset + data.len())
            .ok_or(Errno::EUCLEAN)?;
        place.copy_from_slice(data);
        Ok(())
    }

    fn clear(&mut self, address: u64) -> Result<()> {
        if let Some(image) = self.blocks.get_mut(&address) {
            image.fill(0);
            return Ok(());
        }
        if self.blocks.len() >= LOG_IMAGES_MAX {
            return Err(self.damaged(format_args!(
                "the records change more than {LOG_IMAGES_MAX} blocks"
            )));
        }
        let mut image = Vec::new();
        image
            .try_reserve_exact(BLOCK_BYTES)
            .map_err(|_| Errno::ENOMEM)?;
        image.resize(BLOCK_BYTES, 0);
        self.blocks.insert(address, image.into_boxed_slice());
        Ok(())
    }

    /// Whether a block is in use.
    pub(super) fn is_live(&self, address: u64) -> Result<bool> {
        let Some((segment, index)) = self.layout.segment_of(address) else {
            return Ok(false);
        };
        let header_address = self.layout.segment_start(segment);
        // Without its header no record has freed it: data that was written into preallocated space
        // was live before.
        let Some(header) = self.blocks.get(&header_address) else {
            return Ok(true);
        };
        block::check_header(header, BlockKind::SegmentHeader, &self.uuid, header_address).map_err(
            |fault| self.damaged(format_args!("segment header {header_address}: {fault}")),
        )?;
        let header: &SegmentHeader = block::view(header, 0).ok_or(Errno::EUCLEAN)?;
        let byte = header.live.get(index as usize / 8).copied().unwrap_or(0);
        Ok(byte >> (index % 8) & 1 != 0)
    }

    /// All blocks, as they go home.
    pub(super) fn into_sealed(mut self) -> BTreeMap<u64, Box<[u8]>> {
        self.blocks
            .values_mut()
            .for_each(|image| block::seal(image));
        self.blocks
    }
}
