//! What a segment is by what it holds, for when table and header don't tell or don't agree.

use crate::context::{Context, RUN_BLOCKS};
use crate::segments::read_header;
use logfs_format::{BLOCK_BYTES, BlockKind, SegmentKind, block};

/// The kind of a segment: as its header says, else by its contents, else free.
pub(crate) fn kind_of(ctx: &Context<'_>, segment: u64) -> SegmentKind {
    read_header(ctx, segment)
        .ok()
        .and_then(|header| SegmentKind::from_byte(header.kind))
        .or_else(|| guess(ctx, segment))
        .unwrap_or(SegmentKind::Free)
}

/// The kind that the blocks behind a segment's header speak for, if any do.
///
/// A data segment starts with summaries. Of the other two, whichever kind has more blocks: old ones
/// may be left over from another use.
pub(crate) fn guess(ctx: &Context<'_>, segment: u64) -> Option<SegmentKind> {
    let start = ctx.layout.segment_start(segment);
    if ctx.read(start + 1, BlockKind::Summary).is_ok() {
        return Some(SegmentKind::Data);
    }
    let (mut inodes, mut others) = (0, 0);
    let mut index = 1;
    while index < u64::from(ctx.layout.segment_blocks) {
        let len = RUN_BLOCKS.min(u64::from(ctx.layout.segment_blocks) - index);
        let run = ctx.read_run(start + index, len).unwrap_or_default();
        for (image, address) in run.chunks(BLOCK_BYTES).zip(start + index..) {
            match sound_kind(ctx, image, address) {
                Some(kind) if kind == BlockKind::Inodes as u16 => inodes += 1,
                Some(_) => others += 1,
                None => {}
            }
        }
        index += len;
    }
    match (inodes, others) {
        (0, 0) => None,
        _ if inodes >= others => Some(SegmentKind::Inodes),
        _ => Some(SegmentKind::Metadata),
    }
}

/// The kind of a block if it is a metadata block of this file system in its own place.
pub(crate) fn sound_kind(ctx: &Context<'_>, image: &[u8], address: u64) -> Option<u16> {
    let header = block::header(image)?;
    let ours = header.magic.get() == logfs_format::BLOCK_MAGIC
        && header.uuid == ctx.uuid()
        && header.address.get() == address;
    (ours && block::verify_checksum(image).is_ok()).then(|| header.kind.get())
}
