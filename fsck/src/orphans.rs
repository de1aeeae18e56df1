//! The list of inodes that the next mount has to finish with.
//!
//! A sound list is nothing to repair: it is what an open file without names leaves behind when the
//! machine stops. Every mount frees such inodes, and a check does that by mounting. What is checked
//! here is that the list names none but such inodes.

use crate::context::Context;
use crate::tree::refused;
use crate::{Object, Problem};
use logfs_format::{BlockKind, ORPHANS_PER_BLOCK, OrphanBlock, OrphanSlot, block};
use std::collections::BTreeSet;

/// An entry of the list and where it stands.
struct Slot {
    block: u64,
    index: usize,
    raw: u64,
}

/// The entries of the list.
#[derive(Default)]
pub(crate) struct Orphans {
    slots: Vec<Slot>,
}

/// Reads the list and claims its blocks. Its inodes are known to the context from now on.
pub(crate) fn read(ctx: &mut Context<'_>) -> Orphans {
    let mut orphans = Orphans::default();
    let mut address = ctx.superblock.orphans.get();
    if let Err((address, problem)) = follow(ctx, &mut address, &mut orphans) {
        ctx.found(Object::OrphanBlock(address), problem);
        ctx.gaps.blocks = true;
        ctx.gaps.names = true;
    }
    for slot in &orphans.slots {
        if let Some(OrphanSlot::Unlinked(ino)) = OrphanSlot::decode(slot.raw) {
            ctx.orphans.insert(ino);
        }
    }
    ctx.report.counts.orphans = ctx.orphans.len() as u64;
    orphans
}

fn follow(
    ctx: &mut Context<'_>,
    address: &mut u64,
    orphans: &mut Orphans,
) -> Result<(), (u64, Problem)> {
    // There is always a first block; no block comes twice, since each is claimed.
    loop {
        let at = *address;
        ctx.map
            .claim(at)
            .map_err(|refusal| (at, refused(at, refusal)))?;
        let damaged = |fault: String| (at, Problem::OrphanBlock { fault });
        let image = ctx
            .read(at, BlockKind::Orphans)
            .map_err(|why| damaged(why.to_string()))?;
        let orphan_block: &OrphanBlock =
            block::view(&image, 0).ok_or_else(|| damaged("too short".to_owned()))?;
        let used = orphan_block.slots.iter().enumerate();
        for (index, raw) in used.filter(|(_, raw)| raw.get() != 0) {
            orphans.slots.push(Slot {
                block: at,
                index,
                raw: raw.get(),
            });
        }
        *address = orphan_block.next.get();
        if *address == 0 {
            return Ok(());
        }
    }
}

/// Clears the entries that make no sense, when names and inodes are known.
pub(crate) fn check(ctx: &mut Context<'_>, orphans: &Orphans) {
    if ctx.gaps.names {
        return;
    }
    let mut seen = BTreeSet::new();
    for slot in &orphans.slots {
        let wrong = match OrphanSlot::decode(slot.raw) {
            _ if !seen.insert(slot.raw) => Some("is there twice"),
            Some(OrphanSlot::Unlinked(ino)) => match ctx.inodes.get(ino) {
                None => Some("names an inode that does not exist"),
                Some(info) if info.names > 0 => Some("names an inode that has names"),
                Some(_) => None,
            },
            Some(OrphanSlot::Truncating(ino)) if ctx.inodes.get(ino).is_none() => {
                Some("names an inode that does not exist")
            }
            _ => None,
        };
        if let Some(reason) = wrong {
            let problem = Problem::OrphanSlotWrong {
                slot: slot.raw,
                reason,
            };
            ctx.found(Object::OrphanBlock(slot.block), problem);
            ctx.edit(slot.block, |image| clear(image, slot.index));
        }
    }
}

fn clear(image: &mut [u8], index: usize) {
    if index >= ORPHANS_PER_BLOCK {
        return;
    }
    let offset = OrphanBlock::slot_offset(index);
    if let Some(bytes) = image.get_mut(offset..offset + 8) {
        bytes.fill(0);
    }
}
