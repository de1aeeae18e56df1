//! The list of inodes that the next mount has to finish with.
//!
//! A sound list is nothing to repair: it is what an open file without names leaves behind when the
//! machine stops. Every mount frees such inodes, and a check does that by mounting. What is checked
//! here is that the list names none but such inodes.

use crate::context::{Context, NOBODY};
use crate::{Object, Problem, allocate, superblock};
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
    let mut chain = Vec::new();
    if let Err((address, fault)) = follow(ctx, &mut chain, &mut orphans) {
        let problem = Problem::OrphanBlock { fault };
        if ctx.fix(Object::OrphanBlock(address), problem) {
            match chain.last() {
                Some(&last) => ctx.edit(last, |image| {
                    if let Some(list) = block::view_mut::<OrphanBlock>(image, 0) {
                        list.next = 0.into();
                    }
                }),
                None => {
                    let _ = new_list(ctx);
                }
            }
        } else {
            ctx.gaps.blocks = true;
            ctx.gaps.names = true;
        }
    }
    for slot in &orphans.slots {
        if let Some(OrphanSlot::Unlinked(ino)) = OrphanSlot::decode(slot.raw) {
            ctx.orphans.insert(ino);
        }
    }
    ctx.report.counts.orphans = ctx.orphans.len() as u64;
    orphans
}

/// Goes along the chain to its end, or to the first block that is not one of it.
fn follow(
    ctx: &mut Context<'_>,
    chain: &mut Vec<u64>,
    orphans: &mut Orphans,
) -> Result<(), (u64, String)> {
    let mut at = ctx.superblock.orphans.get();
    // There is always a first block; no block comes twice, since each is claimed.
    loop {
        let image = ctx
            .read(at, BlockKind::Orphans)
            .map_err(|why| (at, why.to_string()))?;
        ctx.map
            .claim(at)
            .map_err(|refusal| (at, refusal.place().to_owned()))?;
        let list: &OrphanBlock =
            block::view(&image, 0).ok_or_else(|| (at, "too short".to_owned()))?;
        let used = list.slots.iter().enumerate();
        for (index, raw) in used.filter(|(_, raw)| raw.get() != 0) {
            orphans.slots.push(Slot {
                block: at,
                index,
                raw: raw.get(),
            });
        }
        chain.push(at);
        at = list.next.get();
        if at == 0 {
            return Ok(());
        }
    }
}

/// Makes the first block of the orphan list anew, elsewhere if its place is not to be had.
fn new_list(ctx: &mut Context<'_>) -> Option<()> {
    let old = ctx.superblock.orphans.get();
    let address = match ctx.map.claim(old) {
        Ok(()) => old,
        Err(_) => allocate::block(ctx, None)?,
    };
    let image = ctx.new_block(BlockKind::Orphans, address, NOBODY);
    ctx.replace(address, image);
    if address != old {
        ctx.superblock.orphans = address.into();
        superblock::rewrite(ctx);
    }
    Some(())
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
            if ctx.fix(Object::OrphanBlock(slot.block), problem) {
                ctx.edit(slot.block, |image| clear(image, slot.index));
            }
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
