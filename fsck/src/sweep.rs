//! Pass 2: every inode, in one sweep over the inode segments.

use crate::context::{Context, NOBODY, RUN_BLOCKS, Unusable};
use crate::data::Witness;
use crate::map::{Bits, bit, set_bit};
use crate::segments::{edit_entry, edit_header, read_header};
use crate::{Failure, Object, Problem, inode, mend};
use logfs_format::{
    BLOCK_BYTES, BlockKind, INODES_PER_BLOCK, InoAddress, Inode, InodeBlockHead, SegmentEntry,
    SegmentHeader, SegmentKind, block,
};

const PASS: u32 = 2;

/// Checks all inodes. If blocks of some are in doubt, that is mended, and the round starts again.
pub(crate) fn check(ctx: &mut Context<'_>, witness: &mut Witness) -> Result<(), Failure> {
    let segments = ctx.map.of_kind(SegmentKind::Inodes);
    let max = segments.len() as u64;
    for (done, segment) in (0..).zip(segments) {
        ctx.progress(PASS, done, max)?;
        if let Ok(header) = read_header(ctx, segment) {
            check_segment(ctx, segment, &header, witness)?;
        }
    }
    ctx.progress(PASS, max, max)?;
    witness.check_rest(ctx);
    if !ctx.torn.is_empty() {
        mend::mend(ctx)?;
        ctx.restart = true;
    }
    Ok(())
}

fn check_segment(
    ctx: &mut Context<'_>,
    segment: u64,
    header: &SegmentHeader,
    witness: &mut Witness,
) -> Result<(), Failure> {
    let mut full = header.full;
    let mut inodes = 0;
    let mut wrong_marks = 0;
    let mut readable = true;
    let mut next = 1;
    while let Some((first, len)) = next_run(ctx, header, next) {
        ctx.progress(PASS, segment, ctx.layout.segment_count)?;
        let start = ctx.layout.segment_start(segment) + u64::from(first);
        let run = ctx.read_run(start, len.into()).ok();
        for index in first..first + len {
            let address = ctx.layout.segment_start(segment) + u64::from(index);
            // The marks say which blocks there are; there is nothing else to compare them with.
            let _ = ctx.map.claim_in(segment, index);
            let image = match &run {
                Some(run) => {
                    let from = (index - first) as usize * BLOCK_BYTES;
                    Ok(run.get(from..from + BLOCK_BYTES).unwrap_or(&[]).into())
                }
                None => ctx.read_raw(address),
            };
            let Some(image) = usable_block(ctx, address, image) else {
                ctx.gaps.everything();
                readable = false;
                continue;
            };
            let used = check_block(ctx, address, &image, witness);
            inodes += u64::from(used.count_ones());
            let is_full = used == InodeBlockHead::ALL_USED;
            if bit(&full, index) != is_full {
                wrong_marks += 1;
                set_bit(&mut full, index, is_full);
            }
        }
        next = first + len;
    }
    wrong_marks += clear_stray_marks(ctx, &mut full, header);
    let problem = Problem::FullMarks { count: wrong_marks };
    if wrong_marks > 0 && ctx.fix(Object::Segment(segment), problem) {
        edit_header(ctx, segment, |header| header.full = full);
    }
    if readable {
        check_inode_count(ctx, segment, inodes);
    }
    Ok(())
}

/// A block of inodes, repaired if need be; `None` if that is not wanted.
fn usable_block(
    ctx: &mut Context<'_>,
    address: u64,
    image: Result<Box<[u8]>, Unusable>,
) -> Option<Box<[u8]>> {
    let object = Object::InodeBlock(address);
    let (image, why) = match image {
        Ok(image) => match ctx.verify(&image, address, BlockKind::Inodes) {
            Ok(()) => return Some(image),
            Err(why) => (Some(image), why),
        },
        Err(why) => (None, why),
    };
    let fault = why.to_string();
    let is_one =
        |image: &[u8]| block::check_header(image, BlockKind::Inodes, &ctx.uuid(), address).is_ok();
    if let Some(image) = image.filter(|image| is_one(image)) {
        if !ctx.fix(object, Problem::InodeBlockChecksum { fault }) {
            return None;
        }
        ctx.replace(address, image.clone());
        return Some(image);
    }
    if !ctx.fix(object, Problem::InodeBlockDamaged { fault }) {
        return None;
    }
    let image = ctx.new_block(BlockKind::Inodes, address, NOBODY);
    ctx.replace(address, image.clone());
    ctx.torn.inode_blocks.insert(address);
    Some(image)
}

/// Clears the marks of blocks that hold no inodes; returns how many there were.
fn clear_stray_marks(ctx: &Context<'_>, full: &mut Bits, header: &SegmentHeader) -> u32 {
    let mut count = 0;
    for index in 0..size_of::<Bits>() as u32 * 8 {
        let may_be = (1..ctx.layout.segment_blocks).contains(&index) && bit(&header.live, index);
        if !may_be && bit(full, index) {
            set_bit(full, index, false);
            count += 1;
        }
    }
    count
}

/// The next run of live blocks: first and length.
fn next_run(ctx: &Context<'_>, header: &SegmentHeader, from: u32) -> Option<(u32, u32)> {
    let end = ctx.layout.segment_blocks;
    let first = (from..end).find(|&index| bit(&header.live, index))?;
    let last = (first..end)
        .take(RUN_BLOCKS as usize)
        .take_while(|&index| bit(&header.live, index))
        .count() as u32;
    Some((first, last))
}

/// Checks the inodes of a block; returns which slots are in use.
fn check_block(ctx: &mut Context<'_>, address: u64, image: &[u8], witness: &mut Witness) -> u16 {
    let stored = block::view::<InodeBlockHead>(image, 0).map_or(0, |head| head.used.get());
    let mut used = stored;
    if stored & 1 != 0 && ctx.fix(Object::InodeBlock(address), Problem::UsedMarkOfHead {}) {
        used &= !1;
    }
    for slot in 1..=INODES_PER_BLOCK as u8 {
        let place = InoAddress {
            block: address,
            slot,
        };
        let Some(inode) = block::view::<Inode>(image, place.offset()) else {
            continue;
        };
        let (bit, ino) = (1 << slot, place.ino());
        let is_marked = stored & bit != 0;
        let is_used = inode.mode.get() != 0 || (is_marked && !is_empty(inode));
        if is_used != is_marked && ctx.fix(Object::Inode(ino), Problem::UsedMark { used: is_used })
        {
            used ^= bit;
        }
        if is_used {
            match inode::check(ctx, ino, inode, witness) {
                Some(info) => ctx.inodes.insert(info),
                None => used &= !bit,
            }
        }
    }
    if used != stored {
        ctx.edit(address, |image| {
            if let Some(head) = block::view_mut::<InodeBlockHead>(image, 0) {
                head.used = used.into();
            }
        });
    }
    used & !1
}

/// Whether nothing but the generation is left in a slot, as in a free one.
fn is_empty(inode: &Inode) -> bool {
    let free = Inode {
        generation: inode.generation,
        ..bytemuck::Zeroable::zeroed()
    };
    *inode == free
}

/// Of an inode segment, the table's age is the number of its inodes.
fn check_inode_count(ctx: &mut Context<'_>, segment: u64, counted: u64) {
    let (address, offset) = ctx.layout.table_entry(segment);
    let Ok(image) = ctx.read(address, BlockKind::SegmentTable) else {
        return;
    };
    let Some(entry) = block::view::<SegmentEntry>(&image, offset) else {
        return;
    };
    let stored = entry.age.get();
    if stored == counted {
        return;
    }
    let problem = Problem::InodeCount { stored, counted };
    if ctx.fix(Object::Segment(segment), problem) {
        edit_entry(ctx, segment, |entry| entry.age = counted.into());
    }
}
