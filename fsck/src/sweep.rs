//! Pass 2: every inode, in one sweep over the inode segments.

use crate::context::{Context, RUN_BLOCKS};
use crate::data::Witness;
use crate::map::{Bits, bit, set_bit};
use crate::segments::read_header;
use crate::{Failure, Object, Problem, inode};
use logfs_format::{
    BLOCK_BYTES, BlockKind, INODES_PER_BLOCK, InoAddress, Inode, InodeBlockHead, SegmentEntry,
    SegmentHeader, SegmentKind, block,
};

const PASS: u32 = 2;

pub(crate) fn check(ctx: &mut Context<'_>, witness: &mut Witness<'_>) -> Result<(), Failure> {
    let segments = ctx.map.of_kind(SegmentKind::Inodes);
    let max = segments.len() as u64;
    for (done, segment) in (0..).zip(segments) {
        ctx.progress(PASS, done, max)?;
        if let Ok(header) = read_header(ctx, segment) {
            check_segment(ctx, segment, &header, witness)?;
        }
    }
    ctx.progress(PASS, max, max)
}

fn check_segment(
    ctx: &mut Context<'_>,
    segment: u64,
    header: &SegmentHeader,
    witness: &mut Witness<'_>,
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
            let checked = image.and_then(|image: Box<[u8]>| {
                ctx.verify(&image, address, BlockKind::Inodes)?;
                Ok(image)
            });
            match checked {
                Ok(image) => {
                    let used = check_block(ctx, address, &image, witness);
                    inodes += u64::from(used.count_ones());
                    let is_full = used == InodeBlockHead::ALL_USED;
                    if bit(&full, index) != is_full {
                        wrong_marks += 1;
                        set_bit(&mut full, index, is_full);
                    }
                }
                Err(why) => {
                    let fault = why.to_string();
                    ctx.found(
                        Object::InodeBlock(address),
                        Problem::InodeBlockDamaged { fault },
                    );
                    ctx.gaps.blocks = true;
                    ctx.gaps.inodes = true;
                    ctx.gaps.names = true;
                    readable = false;
                }
            }
        }
        next = first + len;
    }
    wrong_marks += clear_stray_marks(ctx, &mut full, header);
    if wrong_marks > 0 {
        ctx.found(
            Object::Segment(segment),
            Problem::FullMarks { count: wrong_marks },
        );
        let address = ctx.layout.segment_start(segment);
        ctx.edit(address, |image| {
            if let Some(header) = block::view_mut::<SegmentHeader>(image, 0) {
                header.full = full;
            }
        });
    }
    if readable {
        check_inode_count(ctx, segment, inodes);
    }
    Ok(())
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
fn check_block(
    ctx: &mut Context<'_>,
    address: u64,
    image: &[u8],
    witness: &mut Witness<'_>,
) -> u16 {
    let stored = block::view::<InodeBlockHead>(image, 0).map_or(0, |head| head.used.get());
    let mut used = 0;
    if stored & 1 != 0 {
        ctx.found(Object::InodeBlock(address), Problem::UsedMarkOfHead {});
    }
    for slot in 1..=INODES_PER_BLOCK as u8 {
        let place = InoAddress {
            block: address,
            slot,
        };
        let Some(inode) = block::view::<Inode>(image, place.offset()) else {
            continue;
        };
        let in_use = inode.mode.get() != 0;
        if in_use {
            used |= 1 << slot;
        }
        if in_use != (stored & (1 << slot) != 0) {
            ctx.found(
                Object::Inode(place.ino()),
                Problem::UsedMark { used: in_use },
            );
        }
        if in_use {
            let info = inode::check(ctx, place.ino(), inode, witness);
            ctx.inodes.insert(info);
        }
    }
    if used != stored {
        ctx.edit(address, |image| {
            if let Some(head) = block::view_mut::<InodeBlockHead>(image, 0) {
                head.used = used.into();
            }
        });
    }
    used
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
    ctx.found(
        Object::Segment(segment),
        Problem::InodeCount { stored, counted },
    );
    ctx.edit(address, |image| {
        if let Some(entry) = block::view_mut::<SegmentEntry>(image, offset) {
            entry.age = counted.into();
        }
    });
}
