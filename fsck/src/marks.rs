//! Pass 5: what the segment headers and the segment table say is in use, against what is.

use crate::context::Context;
use crate::in_use::{Bits, InUse, bit, set_bit};
use crate::map::Kind;
use crate::segments::{edit_entry, edit_header, read_header};
use crate::{Failure, Object, Problem, allocate, contents};
use logfs_format::{
    BlockKind, ENTRIES_PER_TABLE_BLOCK, SegmentEntry, SegmentKind, block, header_blocks,
};

const PASS: u32 = 5;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let count = ctx.layout.segment_count;
    ctx.report.counts.blocks_total = count * u64::from(ctx.layout.segment_blocks);
    for segment in 0..count {
        if segment.is_multiple_of(ENTRIES_PER_TABLE_BLOCK as u64) {
            ctx.progress(PASS, segment, count)?;
        }
        if let Kind::Known(kind) = ctx.map.kind(segment) {
            check_segment(ctx, segment, kind);
        }
    }
    ctx.progress(PASS, count, count)
}

fn check_segment(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind) {
    let claimed = ctx.map.claimed(segment).map(InUse::to_bits);
    let kind = match kind {
        SegmentKind::Free => match claimed {
            Some(claimed) if count(&claimed) > 0 => free_but_used(ctx, segment, &claimed),
            _ => Some(kind),
        },
        _ => Some(kind),
    };
    let Some(kind) = kind else { return };
    let claimed = claimed.unwrap_or([0; size_of::<Bits>()]);
    // What the table should say by the marks as they are: they are compared on their own.
    let said = ctx.map.marked(segment).map(|marks| count(&marks.to_bits()));
    let live = if kind == SegmentKind::Free {
        0
    } else {
        let Some(marks) = check_marks(ctx, segment, kind, &claimed) else {
            return;
        };
        let heads = u64::from(header_blocks(kind, ctx.layout.segment_blocks));
        ctx.report.counts.blocks += u64::from(count(&marks)) + heads;
        count(&marks)
    };
    check_entry(ctx, segment, kind, live, said.unwrap_or(live));
}

/// A free segment has blocks in use: its header says what it is, if it says anything.
fn free_but_used(ctx: &mut Context<'_>, segment: u64, claimed: &Bits) -> Option<SegmentKind> {
    let (blocks, first) = (count(claimed), first_of(ctx, segment, claimed));
    let kind = read_header(ctx, segment)
        .ok()
        .and_then(|header| SegmentKind::from_byte(header.kind))
        .filter(|&kind| kind != SegmentKind::Inodes)
        .filter(|&kind| {
            let heads = header_blocks(kind, ctx.layout.segment_blocks);
            !(0..heads).any(|index| bit(claimed, index))
        });
    let object = Object::Segment(segment);
    let count = blocks;
    let kind = match kind {
        Some(kind) => {
            if !ctx.fix(object, Problem::SegmentFreeButUsed { count, first }) {
                return None;
            }
            kind
        }
        None => {
            if !ctx.fix(object, Problem::SegmentFreeAndUnknown { count, first }) {
                return None;
            }
            let kind = kind_for(ctx, segment, claimed);
            allocate::write_header(ctx, segment, kind);
            kind
        }
    };
    ctx.map.set_kind(segment, Kind::Known(kind));
    if let Ok(header) = read_header(ctx, segment) {
        ctx.map.set_marked(segment, &header.live);
    }
    Some(kind)
}

/// What a segment can be whose header says nothing: where its head would be, nothing is in use.
fn kind_for(ctx: &Context<'_>, segment: u64, claimed: &Bits) -> SegmentKind {
    let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
    let is_data = !(0..heads).any(|index| bit(claimed, index));
    match contents::guess(ctx, segment) {
        Some(SegmentKind::Metadata) => SegmentKind::Metadata,
        _ if is_data => SegmentKind::Data,
        _ => SegmentKind::Metadata,
    }
}

/// Compares the marks of a segment in use with what was found; returns them as they should be,
/// `None` if they are not known.
fn check_marks(
    ctx: &mut Context<'_>,
    segment: u64,
    kind: SegmentKind,
    claimed: &Bits,
) -> Option<Bits> {
    let object = Object::Segment(segment);
    let Some(stored) = ctx.map.marked(segment).map(InUse::to_bits) else {
        return rebuild(ctx, segment, kind, claimed);
    };
    let mut marked = stored;
    let heads = header_blocks(kind, ctx.layout.segment_blocks);
    let outside = (0..heads).chain(ctx.layout.segment_blocks..size_of::<Bits>() as u32 * 8);
    for index in outside {
        set_bit(&mut marked, index, false);
    }
    let mut wanted = true;
    if marked != stored {
        wanted &= ctx.fix(object.clone(), Problem::HeadMarked {});
    }
    let missing = minus(claimed, &marked);
    if count(&missing) > 0 {
        let (count, first) = (count(&missing), first_of(ctx, segment, &missing));
        wanted &= ctx.fix(object.clone(), Problem::BlocksNotMarked { count, first });
    }
    let stray = minus(&marked, claimed);
    let right = if ctx.gaps.blocks {
        plus(&marked, claimed)
    } else {
        *claimed
    };
    if count(&stray) > 0 && !ctx.gaps.blocks {
        let (count, first) = (count(&stray), first_of(ctx, segment, &stray));
        wanted &= ctx.fix(object, Problem::BlocksMarked { count, first });
    }
    if !wanted {
        return None;
    }
    if right != stored {
        edit_header(ctx, segment, |header| header.live = right);
    }
    Some(right)
}

/// Makes the header anew of a segment without inodes.
fn rebuild(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind, claimed: &Bits) -> Option<Bits> {
    if kind == SegmentKind::Inodes {
        return None;
    }
    let fault = match read_header(ctx, segment) {
        Ok(_) => return None,
        Err(why) => why.to_string(),
    };
    let object = Object::Segment(segment);
    if ctx.gaps.blocks {
        ctx.found(object, Problem::SegmentHeaderLost { fault });
        return None;
    }
    if !ctx.fix(object, Problem::SegmentHeaderDamaged { fault }) {
        return None;
    }
    allocate::write_header(ctx, segment, kind);
    edit_header(ctx, segment, |header| header.live = *claimed);
    Some(*claimed)
}

/// Compares a segment's entry in the table with what is known: `counted` blocks in use, `said` by the
/// marks.
fn check_entry(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind, counted: u32, said: u32) {
    let (address, offset) = ctx.layout.table_entry(segment);
    let Ok(image) = ctx.read(address, BlockKind::SegmentTable) else {
        return;
    };
    let Some(entry) = block::view::<SegmentEntry>(&image, offset).copied() else {
        return;
    };
    let stored = entry.live_blocks.get();
    // A change of kind has been reported, and explains a wrong count.
    if entry.kind == kind as u8 && stored == counted {
        return;
    }
    let problem = Problem::LiveCount { stored, counted };
    let is_news = entry.kind == kind as u8 && stored != said;
    if !is_news || ctx.fix(Object::Segment(segment), problem) {
        edit_entry(ctx, segment, |entry| {
            entry.kind = kind as u8;
            entry.live_blocks = counted.into();
        });
    }
}

fn first_of(ctx: &Context<'_>, segment: u64, bits: &Bits) -> u64 {
    let index = (0..ctx.layout.segment_blocks).find(|&index| bit(bits, index));
    ctx.layout.segment_start(segment) + u64::from(index.unwrap_or(0))
}

pub(crate) fn count(bits: &Bits) -> u32 {
    bits.iter().map(|byte| byte.count_ones()).sum()
}

fn minus(bits: &Bits, other: &Bits) -> Bits {
    let mut out = *bits;
    out.iter_mut()
        .zip(other)
        .for_each(|(byte, other)| *byte &= !other);
    out
}

fn plus(bits: &Bits, other: &Bits) -> Bits {
    let mut out = *bits;
    out.iter_mut()
        .zip(other)
        .for_each(|(byte, other)| *byte |= other);
    out
}
