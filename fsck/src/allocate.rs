//! Taking blocks and inodes for repairs.
//!
//! Only what is neither marked nor claimed is taken. Marks and counts are kept in step, so that the
//! last pass finds nothing wrong with what the check itself has done.

use crate::context::{Context, NOBODY};
use crate::in_use::{Bits, bit, set_bit};
use crate::map::Kind;
use crate::segments::{edit_entry, read_header};
use logfs_format::{
    BlockKind, INODES_PER_BLOCK, InoAddress, Inode, InodeBlockHead, SegmentEntry, SegmentHeader,
    SegmentKind, block, header_blocks,
};

/// Claims a free block for file data, in a segment with sound summaries. `None` if there is no room.
pub(crate) fn data_block(ctx: &mut Context<'_>) -> Option<u64> {
    for segment in ctx.map.of_kind(SegmentKind::Data) {
        if let Some(index) = free_index(ctx, segment) {
            return claim(ctx, segment, index);
        }
    }
    let segment = new_segment(ctx, SegmentKind::Data)?;
    let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
    for index in 1..heads {
        let address = ctx.layout.segment_start(segment) + u64::from(index);
        let image = ctx.new_block(BlockKind::Summary, address, NOBODY);
        ctx.replace(address, image);
    }
    claim(ctx, segment, heads)
}

/// Whether there are so many free blocks for metadata.
pub(crate) fn has_room(ctx: &Context<'_>, blocks: u64) -> bool {
    let per_segment = u64::from(ctx.layout.usable_blocks(SegmentKind::Metadata));
    let unclaimed = |segment: &u64| ctx.map.claimed(*segment).is_none();
    let free = ctx.map.of_kind(SegmentKind::Free);
    let mut room = free.into_iter().filter(unclaimed).count() as u64 * per_segment;
    for segment in ctx.map.of_kind(SegmentKind::Metadata) {
        if room >= blocks {
            return true;
        }
        if ctx.map.marked(segment).is_some() {
            let indexes = 1..ctx.layout.segment_blocks;
            room += indexes
                .filter(|&index| ctx.map.is_free(segment, index))
                .count() as u64;
        }
    }
    room >= blocks
}

/// Claims a free block for metadata, `wanted` if that is one. `None` if there is no room.
pub(crate) fn block(ctx: &mut Context<'_>, wanted: Option<u64>) -> Option<u64> {
    if let Some(address) = wanted
        && let Some((segment, index)) = ctx.layout.segment_of(address)
        && ctx.map.kind(segment) == Kind::Known(SegmentKind::Metadata)
        && ctx.map.is_free(segment, index)
        && let Some(address) = claim(ctx, segment, index)
    {
        return Some(address);
    }
    for segment in ctx.map.of_kind(SegmentKind::Metadata) {
        if let Some(index) = free_index(ctx, segment) {
            return claim(ctx, segment, index);
        }
    }
    let segment = new_segment(ctx, SegmentKind::Metadata)?;
    claim(ctx, segment, 1)
}

fn claim(ctx: &mut Context<'_>, segment: u64, index: u32) -> Option<u64> {
    let address = ctx.layout.segment_start(segment) + u64::from(index);
    ctx.map.claim(address).ok()?;
    mark(ctx, segment, index, true);
    Some(address)
}

/// Frees a block that was claimed.
pub(crate) fn give_back(ctx: &mut Context<'_>, address: u64) {
    ctx.map.release(address);
    if let Some((segment, index)) = ctx.layout.segment_of(address) {
        mark(ctx, segment, index, false);
    }
}

/// Changes a block's mark, and the count in the segment table with it.
fn mark(ctx: &mut Context<'_>, segment: u64, index: u32, value: bool) {
    if !ctx.map.mark(segment, index, value) {
        return;
    }
    ctx.edit(ctx.layout.segment_start(segment), |image| {
        if let Some(header) = block::view_mut::<SegmentHeader>(image, 0) {
            set_bit(&mut header.live, index, value);
        }
    });
    edit_entry(ctx, segment, |entry| {
        let live = entry.live_blocks.get();
        let live = if value {
            live.saturating_add(1)
        } else {
            live.saturating_sub(1)
        };
        entry.live_blocks = live.into();
    });
}

/// A free block of a segment whose header can be read.
fn free_index(ctx: &Context<'_>, segment: u64) -> Option<u32> {
    ctx.map.marked(segment)?;
    let Kind::Known(kind) = ctx.map.kind(segment) else {
        return None;
    };
    let first = header_blocks(kind, ctx.layout.segment_blocks);
    (first..ctx.layout.segment_blocks).find(|&index| ctx.map.is_free(segment, index))
}

/// Gives a free segment a use. Its header has no marks yet.
fn new_segment(ctx: &mut Context<'_>, kind: SegmentKind) -> Option<u64> {
    let segment = ctx
        .map
        .of_kind(SegmentKind::Free)
        .into_iter()
        .find(|&segment| ctx.map.claimed(segment).is_none())?;
    ctx.map.set_kind(segment, Kind::Known(kind));
    ctx.map.set_marked(segment, &[0; size_of::<Bits>()]);
    write_header(ctx, segment, kind);
    edit_entry(ctx, segment, |entry| {
        *entry = SegmentEntry {
            kind: kind as u8,
            ..bytemuck::Zeroable::zeroed()
        };
    });
    Some(segment)
}

/// Writes a header without marks.
pub(crate) fn write_header(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind) {
    let address = ctx.layout.segment_start(segment);
    let mut image = ctx.new_block(BlockKind::SegmentHeader, address, NOBODY);
    if let Some(header) = block::view_mut::<SegmentHeader>(&mut image, 0) {
        header.segment = segment.into();
        header.kind = kind as u8;
    }
    ctx.replace(address, image);
}

/// Takes a free inode: its number and the generation that it had last.
pub(crate) fn inode(ctx: &mut Context<'_>) -> Option<(u64, u32)> {
    let (segment, index) = match block_with_slot(ctx) {
        Some(found) => found,
        None => new_inode_block(ctx)?,
    };
    let address = ctx.layout.segment_start(segment) + u64::from(index);
    let image = ctx.read(address, BlockKind::Inodes).ok()?;
    let used = block::view::<InodeBlockHead>(&image, 0)?.used.get();
    let slot = (1..=INODES_PER_BLOCK as u8).find(|slot| used & (1 << slot) == 0)?;
    let place = InoAddress {
        block: address,
        slot,
    };
    let generation = block::view::<Inode>(&image, place.offset())?
        .generation
        .get();
    let used = used | 1 << slot;
    ctx.edit(address, |image| {
        if let Some(head) = block::view_mut::<InodeBlockHead>(image, 0) {
            head.used = used.into();
        }
    });
    count_inode(ctx, segment, index, used == InodeBlockHead::ALL_USED);
    Some((place.ino(), generation))
}

/// Keeps the segment's header and entry in step with one more inode.
fn count_inode(ctx: &mut Context<'_>, segment: u64, index: u32, is_full: bool) {
    if is_full {
        let start = ctx.layout.segment_start(segment);
        ctx.edit(start, |image| {
            if let Some(header) = block::view_mut::<SegmentHeader>(image, 0) {
                set_bit(&mut header.full, index, true);
            }
        });
    }
    edit_entry(ctx, segment, |entry| {
        entry.age = entry.age.get().saturating_add(1).into();
    });
}

fn block_with_slot(ctx: &Context<'_>) -> Option<(u64, u32)> {
    ctx.map
        .of_kind(SegmentKind::Inodes)
        .into_iter()
        .find_map(|segment| {
            let header = read_header(ctx, segment).ok()?;
            (1..ctx.layout.segment_blocks)
                .find(|&index| bit(&header.live, index) && !bit(&header.full, index))
                .map(|index| (segment, index))
        })
}

fn new_inode_block(ctx: &mut Context<'_>) -> Option<(u64, u32)> {
    let old = ctx
        .map
        .of_kind(SegmentKind::Inodes)
        .into_iter()
        .find_map(|segment| free_index(ctx, segment).map(|index| (segment, index)));
    let (segment, index) = match old {
        Some(found) => found,
        None => (new_segment(ctx, SegmentKind::Inodes)?, 1),
    };
    ctx.map.claim_in(segment, index, 1).ok()?;
    mark(ctx, segment, index, true);
    let address = ctx.layout.segment_start(segment) + u64::from(index);
    let image = ctx.new_block(BlockKind::Inodes, address, NOBODY);
    ctx.replace(address, image);
    Some((segment, index))
}
