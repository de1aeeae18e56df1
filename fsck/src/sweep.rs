//! Pass 2: every inode, in one sweep over the inode segments.

use crate::context::{Context, NOBODY};
use crate::data::Witness;
use crate::in_use::{Bits, bit, set_bit};
use crate::inode_stream::{Run, Stream};
use crate::segments::{edit_entry, edit_header, read_header};
use crate::{Failure, Object, Problem, inode, mend};
use logfs_format::{
    BLOCK_BYTES, BlockKind, INODES_PER_BLOCK, InoAddress, Inode, InodeBlockHead, InodeHead,
    SegmentEntry, SegmentHeader, SegmentKind, block,
};

const PASS: u32 = 2;

/// Checks all inodes. If blocks of some are in doubt, that is mended, and the round starts again.
pub(crate) fn check(ctx: &mut Context<'_>, witness: &mut Witness) -> Result<(), Failure> {
    let segments = ctx.map.of_kind(SegmentKind::Inodes);
    let max = segments.len() as u64;
    let mut stream = Stream::new(ctx, &segments);
    for (done, &segment) in (0..).zip(&segments) {
        let Ok(header) = read_header(ctx, segment) else {
            continue;
        };
        let mut tally = Tally::new(&header);
        while let Some(run) = stream.next_of(ctx, segment) {
            ctx.progress(PASS, done, max)?;
            check_run(ctx, run, &mut tally, witness);
        }
        finish(ctx, segment, tally, &header);
    }
    ctx.progress(PASS, max, max)?;
    witness.check_rest(ctx);
    if !ctx.torn.is_empty() {
        mend::mend(ctx)?;
        ctx.restart = true;
    }
    Ok(())
}

/// What comes of the blocks of a segment.
struct Tally {
    /// As it should be.
    full: Bits,
    wrong_marks: u32,
    inodes: u64,
    readable: bool,
}

impl Tally {
    fn new(header: &SegmentHeader) -> Tally {
        Tally {
            full: header.full,
            wrong_marks: 0,
            inodes: 0,
            readable: true,
        }
    }
}

fn check_run(ctx: &mut Context<'_>, mut run: Run, tally: &mut Tally, witness: &mut Witness) {
    let start = run.address(ctx);
    if let Some(images) = &mut run.images {
        ctx.apply_images(start, images);
    }
    // The marks say which blocks there are; there is nothing else to compare them with.
    let _ = ctx.map.claim_in(run.segment, run.first, run.len);
    for (address, index) in (start..).zip(run.first..run.first + run.len) {
        let from = (index - run.first) as usize * BLOCK_BYTES;
        let images = run.images.as_deref();
        let repaired;
        let image = match images.and_then(|images| images.get(from..from + BLOCK_BYTES)) {
            Some(image) if ctx.verify(image, address, BlockKind::Inodes).is_ok() => image,
            _ => {
                let Some(image) = usable_block(ctx, address) else {
                    ctx.gaps.everything();
                    tally.readable = false;
                    continue;
                };
                repaired = image;
                &repaired
            }
        };
        let used = check_block(ctx, address, image, witness);
        tally.inodes += u64::from(used.count_ones());
        let is_full = used == InodeBlockHead::ALL_USED;
        if bit(&tally.full, index) != is_full {
            tally.wrong_marks += 1;
            set_bit(&mut tally.full, index, is_full);
        }
    }
}

fn finish(ctx: &mut Context<'_>, segment: u64, mut tally: Tally, header: &SegmentHeader) {
    let count = tally.wrong_marks + clear_stray_marks(ctx, &mut tally.full, header);
    if count > 0 && ctx.fix(Object::Segment(segment), Problem::FullMarks { count }) {
        edit_header(ctx, segment, |header| header.full = tally.full);
    }
    if tally.readable {
        check_inode_count(ctx, segment, tally.inodes);
    }
}

/// A block of inodes, repaired if need be; `None` if that is not wanted.
fn usable_block(ctx: &mut Context<'_>, address: u64) -> Option<Box<[u8]>> {
    let object = Object::InodeBlock(address);
    let (image, why) = match ctx.read_raw(address) {
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
    let free = InodeHead {
        generation: inode.generation,
        ..bytemuck::Zeroable::zeroed()
    };
    *inode == Inode::from(free)
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
