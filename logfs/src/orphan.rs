//! Orphans: inodes that recovery has to finish with, because they have no name any more but may
//! still be open, or because a truncation of theirs takes several transactions.

use crate::LogFs;
use crate::corrupt::Reporter;
use crate::inode::State;
use crate::tx::Tx;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Mutex, Result};
use core::mem::offset_of;
use logfs_format::le::Le64;
use logfs_format::{BlockHeader, BlockKind, ORPHANS_PER_BLOCK, OrphanBlock, OrphanSlot, block};

/// An entry of the list, and the block and slot that it is in.
pub(crate) type Orphan = (OrphanSlot, (u64, u32));

/// The free slots of the orphan list.
pub(crate) struct Orphans<E: Env> {
    slots: E::Mutex<Slots>,
}

struct Slots {
    free: Vec<(u64, u32)>,
    used: u64,
    last_block: u64,
}

impl<E: Env> Orphans<E> {
    /// Reads the list: the inodes in it with their slots.
    pub(crate) fn load(
        cache: &crate::cache::Cache<E>,
        reporter: &Arc<Reporter<E>>,
        first: u64,
    ) -> Result<(Orphans<E>, Vec<Orphan>)> {
        let mut found = Vec::new();
        let mut slots = Slots {
            free: Vec::new(),
            used: 0,
            last_block: first,
        };
        let mut address = first;
        let mut seen = BTreeSet::new();
        while seen.insert(address) {
            let page = cache.read(address, BlockKind::Orphans)?;
            let orphans: &OrphanBlock = block::view(page.bytes(), 0).ok_or(Errno::EUCLEAN)?;
            for (index, raw) in (0u32..).zip(&orphans.slots) {
                match OrphanSlot::decode(raw.get()) {
                    Some(orphan) => found.push((orphan, (address, index))),
                    None => slots.free.push((address, index)),
                }
            }
            slots.last_block = address;
            if orphans.next.get() == 0 {
                slots.free.reverse();
                slots.used = found.len() as u64;
                return Ok((
                    Orphans {
                        slots: Mutex::new(slots),
                    },
                    found,
                ));
            }
            address = orphans.next.get();
        }
        Err(reporter.corrupt(format_args!("orphan list: block {address} is in it twice")))
    }

    /// Inodes on the list.
    pub(crate) fn count(&self) -> u64 {
        self.slots.lock().used
    }
}

impl<E: Env> LogFs<E> {
    /// Puts an inode on the list, unless it is there.
    pub(crate) fn add_orphan(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        orphan: OrphanSlot,
    ) -> Result<()> {
        let slot = match state.in_use().orphan {
            Some(slot) => slot,
            None => self.free_slot(tx)?,
        };
        state.in_use_mut().orphan = Some(slot);
        if planted!(OrphanForgotten) {
            return Ok(());
        }
        write_slot(tx, slot, orphan.encode())
    }

    /// Takes an inode off the list.
    pub(crate) fn remove_orphan(&self, tx: &Tx<'_, E>, state: &mut State) -> Result<()> {
        let slot = state.in_use_now().and_then(|in_use| in_use.orphan.take());
        let Some(slot) = slot else {
            return Ok(());
        };
        tx.mark_changed();
        write_slot(tx, slot, 0)?;
        let mut slots = self.orphans.slots.lock();
        slots.free.push(slot);
        slots.used = slots.used.saturating_sub(1);
        Ok(())
    }

    fn free_slot(&self, tx: &Tx<'_, E>) -> Result<(u64, u32)> {
        let mut slots = self.orphans.slots.lock();
        if let Some(slot) = slots.free.pop() {
            slots.used += 1;
            return Ok(slot);
        }
        let header = BlockHeader::new(BlockKind::Orphans, [0; 16], 0);
        let address = self.space.place_metadata(tx, header)?;
        let next = offset_of!(OrphanBlock, next);
        tx.write(
            slots.last_block,
            BlockKind::Orphans,
            next,
            &address.to_le_bytes(),
        )?;
        slots.last_block = address;
        slots.used += 1;
        slots.free.extend(
            (1..ORPHANS_PER_BLOCK as u32)
                .rev()
                .map(|slot| (address, slot)),
        );
        Ok((address, 0))
    }
}

fn write_slot<E: Env>(tx: &Tx<'_, E>, (address, slot): (u64, u32), raw: u64) -> Result<()> {
    let offset = OrphanBlock::slot_offset(slot as usize);
    tx.write(
        address,
        BlockKind::Orphans,
        offset,
        bytemuck::bytes_of(&Le64::new(raw)),
    )
}
