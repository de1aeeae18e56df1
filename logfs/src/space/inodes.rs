//! Choosing inodes: one stream through inode segments, so that inodes made one after the other lie
//! side by side.

use super::{Space, State, bitmap};
use crate::tx::Tx;
use bento_api::{Env, Errno, Mutex, Result};
use logfs_format::{
    BlockHeader, BlockKind, InoAddress, Inode, InodeBlockHead, SegmentHeader, SegmentKind,
};

impl<E: Env> Space<E> {
    /// Takes a free inode: its number and the generation that it had last.
    pub(crate) fn place_inode(&self, tx: &Tx<'_, E>) -> Result<(u64, u32)> {
        let mut state = self.state.lock();
        loop {
            if let Some(block) = state.inode_block {
                if let Some(taken) = self.take_slot(tx, &mut state, block)? {
                    return Ok(taken);
                }
                state.inode_block = None;
            }
            let segment = match state.inode_segment {
                Some(segment) => segment,
                None => self.next_inode_segment(tx, &mut state)?,
            };
            state.inode_segment = Some(segment);
            state.inode_block = self.block_with_room(tx, &mut state, segment)?;
            if state.inode_block.is_none() {
                state.inode_segment = None;
                if let Some(entry) = state.segments.get_mut(segment as usize) {
                    entry.has_room = false;
                }
            }
        }
    }

    fn take_slot(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        block: u64,
    ) -> Result<Option<(u64, u32)>> {
        let page = tx.read(block, BlockKind::Inodes)?;
        let used = page.view::<InodeBlockHead>(0)?.used.get() | 1;
        let slot = used.trailing_ones();
        if slot > 15 {
            self.set_full(tx, block, true)?;
            return Ok(None);
        }
        let place = InoAddress {
            block,
            slot: slot as u8,
        };
        let old: &Inode = page.view(place.offset())?;
        if old.mode.get() != 0 {
            let ino = place.ino();
            return Err(self
                .reporter
                .corrupt(format_args!("inode {ino}: in use, but marked free")));
        }
        let used = used | 1 << slot;
        self.write_used(tx, block, used & InodeBlockHead::ALL_USED)?;
        if used == u16::MAX {
            self.set_full(tx, block, true)?;
        }
        self.count_inode(tx, state, block, true)?;
        Ok(Some((place.ino(), old.generation.get())))
    }

    fn write_used(&self, tx: &Tx<'_, E>, block: u64, used: u16) -> Result<()> {
        let bytes = used.to_le_bytes();
        tx.write(
            block,
            BlockKind::Inodes,
            InodeBlockHead::USED_OFFSET,
            &bytes,
        )
    }

    /// Says in the segment's header whether an inode block has no free slot.
    fn set_full(&self, tx: &Tx<'_, E>, block: u64, full: bool) -> Result<()> {
        let (segment, range) = self.locate((block, 1))?;
        let header = self.header(tx.cache(), segment)?;
        let stored: &SegmentHeader = header.view(0)?;
        let at = range.start as usize / 8;
        let mut byte = [stored.full.get(at).copied().ok_or(Errno::EUCLEAN)?];
        let bit = range.start % 8;
        // Setting what is set already does no harm: the bit is a hint for the search only.
        byte[0] = byte[0] & !(1 << bit) | u8::from(full) << bit;
        let address = self.layout.segment_start(segment.into());
        tx.write(
            address,
            BlockKind::SegmentHeader,
            SegmentHeader::FULL_OFFSET + at,
            &byte,
        )
    }

    fn count_inode(&self, tx: &Tx<'_, E>, state: &mut State, block: u64, more: bool) -> Result<()> {
        let (segment, _) = self.locate((block, 1))?;
        let change = |count: u64| {
            if more {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            }
        };
        state.inodes_used = change(state.inodes_used);
        if let Some(entry) = state.segments.get_mut(segment as usize) {
            entry.age = change(entry.age);
            entry.has_room |= !more;
        }
        self.write_entry(tx, state, segment)
    }

    /// An inode block of a segment with a free slot: an old one, or a new one behind the last.
    fn block_with_room(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        segment: u32,
    ) -> Result<Option<u64>> {
        let header = self.header(tx.cache(), segment)?;
        let stored: &SegmentHeader = header.view(0)?;
        let start = self.layout.segment_start(segment.into());
        let partly =
            |&index: &u32| bitmap::bit(&stored.live, index) && !bitmap::bit(&stored.full, index);
        if let Some(index) = (1..self.layout.segment_blocks).find(partly) {
            return Ok(Some(start + u64::from(index)));
        }
        let range = 1..self.layout.segment_blocks;
        let Some(free) = bitmap::find_run(&stored.live, None, range, 1) else {
            return Ok(None);
        };
        let block = start + u64::from(free.start);
        self.set_live(tx, state, &[(block, 1)], true)?;
        tx.create(&BlockHeader::new(BlockKind::Inodes, self.uuid, block))?;
        Ok(Some(block))
    }

    fn next_inode_segment(&self, tx: &Tx<'_, E>, state: &mut State) -> Result<u32> {
        let has_room = |entry: &super::Segment| entry.kind == SegmentKind::Inodes && entry.has_room;
        if let Some(index) = state.segments.iter().position(has_room) {
            return Ok(index as u32);
        }
        let cost = u64::from(self.layout.usable_blocks(SegmentKind::Data));
        if !state.balance.can_spare(cost) {
            return Err(Errno::ENOSPC);
        }
        let segment = self.next_clean(state).ok_or(Errno::ENOSPC)?;
        self.open_segment(tx, state, segment, SegmentKind::Inodes)?;
        Ok(segment)
    }

    /// Gives an inode back. Its slot keeps the generation.
    pub(crate) fn free_inode(&self, tx: &Tx<'_, E>, ino: u64) -> Result<()> {
        let place = InoAddress::from_ino(ino).ok_or(Errno::EUCLEAN)?;
        let mut state = self.state.lock();
        let page = tx.read(place.block, BlockKind::Inodes)?;
        let used = page.view::<InodeBlockHead>(0)?.used.get();
        let mask = 1u16 << place.slot;
        if used & mask == 0 {
            return Err(self
                .reporter
                .corrupt(format_args!("inode {ino}: freed but not in use")));
        }
        self.write_used(tx, place.block, used & !mask)?;
        if used == InodeBlockHead::ALL_USED {
            self.set_full(tx, place.block, false)?;
        }
        self.count_inode(tx, &mut state, place.block, false)
    }
}
