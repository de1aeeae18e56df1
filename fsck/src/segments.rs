//! Pass 1: the segment table and the headers of the segments in use.

use crate::context::{Context, RUN_BLOCKS, Unusable};
use crate::map::Kind;
use crate::{Counts, Failure, Object, Problem};
use bento_api::{Device, Errno, ReadRequest};
use logfs::recovery::Recovered;
use logfs_format::{
    BLOCK_BYTES, BlockKind, ENTRIES_PER_TABLE_BLOCK, Fault, HEADER_BYTES, Layout, SegmentEntry,
    SegmentHeader, SegmentKind, Superblock, block, header_blocks,
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
                ctx.found(
                    Object::TableBlock(address),
                    Problem::TableBlockDamaged { fault },
                );
                ctx.gaps.blocks = true;
                ctx.gaps.inodes = true;
                ctx.gaps.names = true;
                (0..segments).for_each(|_| ctx.map.push_kind(Kind::Unknown));
            }
        }
    }
    Ok(())
}

fn check_entries(
    ctx: &mut Context<'_>,
    image: &[u8],
    first: u64,
    count: u64,
) -> Result<(), Failure> {
    let entries: Vec<SegmentEntry> = block::array(image, HEADER_BYTES, count as usize)
        .map(<[SegmentEntry]>::to_vec)
        .unwrap_or_default();
    for (segment, entry) in (first..).zip(entries) {
        let Some(kind) = SegmentKind::from_byte(entry.kind) else {
            let kind = entry.kind;
            ctx.found(
                Object::Segment(segment),
                Problem::SegmentKindUnknown { kind },
            );
            ctx.gaps.blocks = true;
            ctx.gaps.inodes = true;
            ctx.gaps.names = true;
            ctx.map.push_kind(Kind::Unknown);
            continue;
        };
        ctx.map.push_kind(Kind::Known(kind));
        if kind != SegmentKind::Free {
            check_header(ctx, segment, kind);
        }
    }
    Ok(())
}

/// Checks the header of a segment that the table says is in use.
fn check_header(ctx: &mut Context<'_>, segment: u64, kind: SegmentKind) {
    let header = match read_header(ctx, segment) {
        Ok(header) => header,
        Err(why) => {
            // Of other kinds, the last pass knows whether it can be made anew.
            if kind == SegmentKind::Inodes {
                let fault = why.to_string();
                ctx.found(
                    Object::Segment(segment),
                    Problem::InodeSegmentHeaderDamaged { fault },
                );
                ctx.gaps.blocks = true;
                ctx.gaps.inodes = true;
                ctx.gaps.names = true;
            }
            return;
        }
    };
    ctx.map.set_marked(segment, Box::new(header.live));
    if header.kind != kind as u8
        && let Some(stored) = SegmentKind::from_byte(header.kind)
    {
        let problem = Problem::SegmentKindDiffers {
            table: kind as u8,
            header: header.kind,
        };
        ctx.found(Object::Segment(segment), problem);
        ctx.map.set_kind(segment, Kind::Known(stored));
    }
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
pub(crate) fn counts(device: &dyn Device, superblock: &Superblock, log: &Recovered) -> Counts {
    let layout = superblock.layout();
    let mut counts = Counts {
        blocks_total: layout.segment_count * u64::from(layout.segment_blocks),
        ..Counts::default()
    };
    let per_block = ENTRIES_PER_TABLE_BLOCK as u64;
    for index in 0..layout.segment_count.div_ceil(per_block) {
        let address = layout.table_start + index;
        let mut home = vec![0; BLOCK_BYTES];
        let image = match log.blocks.get(&address) {
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
