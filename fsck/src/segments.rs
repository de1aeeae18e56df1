//! Pass 1: the segment table and the headers of the segments in use.

use crate::context::{Context, Images, NOBODY, RUN_BLOCKS, Unusable};
use crate::in_use::{Bits, set_bit};
use crate::map::Kind;
use crate::{Counts, Failure, Object, Problem, allocate, contents, marks};
use bento_api::{Device, Errno, ReadRequest};
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, ENTRIES_PER_TABLE_BLOCK, Fault, HEADER_BYTES,
    InodeBlockHead, Layout, SegmentEntry, SegmentHeader, SegmentKind, Superblock, block,
    header_blocks,
};

const PASS: u32 = 1;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let count = ctx.layout.segment_count;
    let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
    let blocks = count.div_ceil(per_block);
    let mut first = 0;
    while first < blocks {
        ctx.progress(PASS, first, blocks)?;
        let run = RUN_BLOCKS.min(blocks - first);
        check_run(ctx, first, run)?;
        first += run;
    }
    ctx.progress(PASS, blocks, blocks)
}

/// Checks a run of blocks of the segment table, and the segments in them.
fn check_run(ctx: &mut Context<'_>, first: u64, run: u64) -> Result<(), Failure> {
    let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
    let start = ctx.layout.table_start + first;
    let images = ctx.read_run(start, run);
    for index in 0..run {
        let address = start + index;
        let image = match &images {
            Ok(images) => {
                let from = index as usize * BLOCK_BYTES;
                Ok(images.get(from..from + BLOCK_BYTES).unwrap_or(&[]).into())
            }
            Err(_) => ctx.read_raw(address),
        };
        let image = image.and_then(|image: Box<[u8]>| {
            ctx.verify(&image, address, BlockKind::SegmentTable)?;
            Ok(image)
        });
        let first_segment = (first + index) * per_block;
        let segments = per_block.min(ctx.layout.segment_count - first_segment);
        match image {
            Ok(image) => check_entries(ctx, &image, first_segment, segments)?,
            Err(why) => {
                let fault = why.to_string();
                let problem = Problem::TableBlockDamaged { fault };
                if ctx.fix(Object::TableBlock(address), problem) {
                    let image = rebuild_table(ctx, address, first_segment, segments);
                    check_entries(ctx, &image, first_segment, segments)?;
                } else {
                    ctx.gaps.everything();
                    (0..segments).for_each(|_| ctx.map.push_kind(Kind::Unknown));
                }
            }
        }
    }
    Ok(())
}

/// Makes a block of the segment table anew from what the segments say themselves.
fn rebuild_table(ctx: &mut Context<'_>, address: u64, first: u64, count: u64) -> Box<[u8]> {
    let mut image = ctx.new_block(BlockKind::SegmentTable, address, NOBODY);
    if let Some(header) = block::view_mut::<BlockHeader>(&mut image, 0) {
        header.count = (count as u32).into();
    }
    for segment in first..first + count {
        let kind = contents::kind_of(ctx, segment);
        let live = read_header(ctx, segment).map_or(0, |header| marks::count(&header.live));
        let (_, offset) = ctx.layout.table_entry(segment);
        if let Some(entry) = block::view_mut::<SegmentEntry>(&mut image, offset) {
            entry.kind = kind as u8;
            entry.live_blocks = if kind == SegmentKind::Free { 0 } else { live }.into();
        }
    }
    ctx.replace(address, image.clone());
    image
}

fn check_entries(
    ctx: &mut Context<'_>,
    image: &[u8],
    first: u64,
    count: u64,
) -> Result<(), Failure> {
    let (address, _) = ctx.layout.table_entry(first);
    let stored = block::header(image).map_or(0, |header| header.count.get());
    if u64::from(stored) != count {
        let (name, value) = ("number of entries", stored.into());
        if ctx.fix(
            Object::TableBlock(address),
            Problem::TableField { name, value },
        ) {
            ctx.edit(address, |image| {
                if let Some(header) = block::view_mut::<BlockHeader>(image, 0) {
                    header.count = (count as u32).into();
                }
            });
        }
    }
    let entries: Vec<SegmentEntry> = block::array(image, HEADER_BYTES, count as usize)
        .map(<[SegmentEntry]>::to_vec)
        .unwrap_or_default();
    let used = (first..)
        .zip(&entries)
        .filter(|(_, entry)| entry.kind != SegmentKind::Free as u8);
    ctx.read_ahead(used.map(|(segment, _)| ctx.layout.segment_start(segment)));
    for (segment, entry) in (first..).zip(entries) {
        let kind = known_kind(ctx, segment, &entry);
        check_reserved(ctx, segment, &entry);
        ctx.map.push_kind(kind.map_or(Kind::Unknown, Kind::Known));
        if let Some(kind) = kind
            && kind != SegmentKind::Free
        {
            check_header(ctx, segment, kind);
        }
    }
    Ok(())
}

/// The kind in an entry; if that is none, what the segment says itself.
fn known_kind(ctx: &mut Context<'_>, segment: u64, entry: &SegmentEntry) -> Option<SegmentKind> {
    let stored = SegmentKind::from_byte(entry.kind);
    if stored.is_some() {
        return stored;
    }
    let kind = entry.kind;
    let problem = Problem::SegmentKindUnknown { kind };
    if !ctx.fix(Object::Segment(segment), problem) {
        ctx.gaps.everything();
        return None;
    }
    let kind = contents::kind_of(ctx, segment);
    edit_entry(ctx, segment, |entry| entry.kind = kind as u8);
    Some(kind)
}

fn check_reserved(ctx: &mut Context<'_>, segment: u64, entry: &SegmentEntry) {
    let fields = [
        ("flags of an entry", u64::from(entry.flags)),
        ("a reserved field", entry.reserved.get().into()),
    ];
    for (name, value) in fields {
        let problem = Problem::TableField { name, value };
        if value != 0 && ctx.fix(Object::Segment(segment), problem) {
            edit_entry(ctx, segment, |entry| {
                entry.flags = 0;
                entry.reserved = 0.into();
            });
        }
    }
}

pub(crate) fn edit_entry(
    ctx: &mut Context<'_>,
    segment: u64,
    change: impl FnOnce(&mut SegmentEntry),
) {
    let (table, offset) = ctx.layout.table_entry(segment);
    ctx.edit(table, |image| {
        if let Some(entry) = block::view_mut(image, offset) {
            change(entry);
        }
    });
}

/// Checks the header of a segment that the table says is in use.
fn check_header(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind) {
    let object = Object::Segment(segment);
    let header = match read_header(ctx, segment) {
        Ok(header) => header,
        Err(why) => {
            // Of other kinds, the last pass makes it anew.
            let fault = why.to_string();
            let problem = Problem::InodeSegmentHeaderDamaged { fault };
            if kind == SegmentKind::Inodes {
                if ctx.fix(object, problem) {
                    rebuild_inode_header(ctx, segment);
                } else {
                    ctx.gaps.everything();
                }
            }
            return;
        }
    };
    ctx.map.set_marked(segment, &header.live);
    if header.kind != kind as u8 {
        let problem = Problem::SegmentKindDiffers {
            table: kind as u8,
            header: header.kind,
        };
        let stored = SegmentKind::from_byte(header.kind).unwrap_or(kind);
        let right = contents::guess(ctx, segment).unwrap_or(stored);
        if !ctx.fix(object, problem) {
            ctx.map.set_kind(segment, Kind::Unknown);
            return ctx.gaps.everything();
        }
        set_kind(ctx, segment, right);
    } else if kind != SegmentKind::Inodes && header.full.iter().any(|&byte| byte != 0) {
        let count = marks::count(&header.full);
        if ctx.fix(object, Problem::FullMarks { count }) {
            edit_header(ctx, segment, |header| header.full.fill(0));
        }
    }
}

/// Makes table, header and map agree on a segment's kind.
pub(crate) fn set_kind(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind) {
    ctx.map.set_kind(segment, Kind::Known(kind));
    edit_entry(ctx, segment, |entry| entry.kind = kind as u8);
    edit_header(ctx, segment, |header| header.kind = kind as u8);
}

pub(crate) fn edit_header(
    ctx: &mut Context<'_>,
    segment: u64,
    change: impl FnOnce(&mut SegmentHeader),
) {
    let address = ctx.layout.segment_start(segment);
    ctx.edit(address, |image| {
        if let Some(header) = block::view_mut(image, 0) {
            change(header);
        }
    });
}

/// Makes the header of an inode segment anew: an inode block is one for ever, so whatever says that
/// it is one is in use.
pub(crate) fn rebuild_inode_header(ctx: &mut Context<'_>, segment: u64) {
    let start = ctx.layout.segment_start(segment);
    let (mut live, mut full) = ([0; size_of::<Bits>()], [0; size_of::<Bits>()]);
    for index in 1..ctx.layout.segment_blocks {
        let address = start + u64::from(index);
        let Ok(image) = ctx.read_raw(address) else {
            continue;
        };
        let is_one = block::check_header(&image, BlockKind::Inodes, &ctx.uuid(), address).is_ok();
        let used = block::view::<InodeBlockHead>(&image, 0).map_or(0, |head| head.used.get());
        set_bit(&mut live, index, is_one);
        set_bit(&mut full, index, is_one && used == InodeBlockHead::ALL_USED);
    }
    allocate::write_header(ctx, segment, SegmentKind::Inodes);
    edit_header(ctx, segment, |header| {
        header.live = live;
        header.full = full;
    });
    ctx.map.set_marked(segment, &live);
}

/// Reads a segment's header and checks what it says of itself.
pub(crate) fn read_header(ctx: &Context<'_>, segment: u64) -> Result<SegmentHeader, Unusable> {
    let address = ctx.layout.segment_start(segment);
    let image = ctx.read(address, BlockKind::SegmentHeader)?;
    let header: &SegmentHeader = block::view(&image, 0).ok_or(Unusable::Unreadable(Errno::EIO))?;
    let field = |name, value| Err(Unusable::Faulty(Fault::Field { name, value }));
    if header.segment.get() != segment {
        return field("segment number", header.segment.get());
    }
    match SegmentKind::from_byte(header.kind) {
        None | Some(SegmentKind::Free) => field("kind", header.kind.into()),
        Some(_) => Ok(*header),
    }
}

/// What the segment table counts, without checking it.
pub(crate) fn counts(device: &dyn Device, superblock: &Superblock, images: &Images) -> Counts {
    let layout = superblock.layout();
    let mut counts = Counts {
        blocks_total: layout.segment_count * u64::from(layout.segment_blocks),
        ..Counts::default()
    };
    let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
    for index in 0..layout.segment_count.div_ceil(per_block) {
        let address = layout.table_start + index;
        let mut home = vec![0; BLOCK_BYTES];
        let image = match images.get(&address) {
            Some(image) => image,
            None => {
                let offset_bytes = address * BLOCK_BYTES as u64;
                let buffer = &mut home;
                let request = ReadRequest {
                    offset_bytes,
                    buffer,
                };
                if device.read(&mut [request]).is_err() {
                    return counts;
                }
                home.as_slice()
            }
        };
        let entries = per_block.min(layout.segment_count - index * per_block) as usize;
        for entry in block::array::<SegmentEntry>(image, HEADER_BYTES, entries).unwrap_or(&[]) {
            count_entry(&mut counts, &layout, entry);
        }
    }
    counts
}

fn count_entry(counts: &mut Counts, layout: &Layout, entry: &SegmentEntry) {
    let kind = SegmentKind::from_byte(entry.kind).unwrap_or(SegmentKind::Free);
    let heads = header_blocks(kind, layout.segment_blocks);
    counts.blocks += u64::from(heads) + u64::from(entry.live_blocks.get());
    if kind == SegmentKind::Inodes {
        counts.inodes = counts.inodes.saturating_add(entry.age.get());
    }
}
