//! File data: what the summaries of data segments say about it, and its checksums.

use crate::context::{Context, NOBODY, Owner, RUN_BLOCKS};
use crate::map::Kind;
use crate::{Object, Problem};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, SegmentKind, SummaryEntry, block, header_blocks,
};
use std::collections::HashMap;

/// Summary blocks kept in memory: files written one after the other share them.
const CACHED_MAX: usize = 128;

/// The second witness of each data extent.
pub(crate) struct Witness {
    /// Whether data is to be read.
    check_data: bool,
    /// Sound summary blocks; `None` for a damaged one that stays so.
    cache: HashMap<u64, Option<Box<[u8]>>>,
    /// Summary blocks that were looked at, one bit for each in a segment.
    seen: HashMap<u64, u64>,
}

impl Witness {
    pub(crate) fn new(check_data: bool) -> Witness {
        Witness {
            check_data,
            cache: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// Compares an extent of a file with the summaries, and its data with their checksums. Answers
    /// false if they differ, and that is to be mended.
    pub(crate) fn check(&mut self, ctx: &mut Context<'_>, owner: Owner, extent: &Extent) -> bool {
        let start = extent.start.get();
        let Some((segment, _)) = ctx.layout.segment_of(start) else {
            return true;
        };
        if ctx.map.kind(segment) != Kind::Known(SegmentKind::Data) {
            return true;
        }
        let mut same = true;
        let mut checksums = Vec::new();
        for index in 0..u64::from(extent.len.get()) {
            let (address, file_block) = (start + index, extent.file_block.get() + index);
            let entry = self.entry(ctx, address);
            checksums.push(entry.and_then(|entry| entry.checksum()));
            let summary = ctx
                .layout
                .summary_entry(address)
                .map(|(summary, _)| summary);
            if summary.is_some_and(|summary| ctx.rebuilt_summaries.contains(&summary)) {
                write_entry(ctx, owner, address, file_block, None);
            } else if let Some(entry) = entry
                && same
            {
                same = !differs(ctx, owner, address, file_block, &entry);
            }
        }
        if self.check_data && !extent.is_unwritten() {
            check_data(ctx, owner, extent, &checksums);
        }
        same
    }

    fn entry(&mut self, ctx: &mut Context<'_>, address: u64) -> Option<SummaryEntry> {
        let (summary, offset) = ctx.layout.summary_entry(address)?;
        let image = self.summary(ctx, summary)?;
        block::view(image, offset).copied()
    }

    /// A summary block if it is sound.
    fn summary(&mut self, ctx: &mut Context<'_>, summary: u64) -> Option<&[u8]> {
        if self.cache.len() >= CACHED_MAX {
            self.cache.clear();
        }
        let image = match self.cache.entry(summary) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let (segment, index) = ctx.layout.segment_of(summary).unwrap_or_default();
                *self.seen.entry(segment).or_default() |= 1 << (index & 63);
                entry.insert(match ctx.read(summary, BlockKind::Summary) {
                    Ok(image) => Some(image),
                    Err(why) => {
                        let problem = Problem::SummaryDamaged {
                            address: summary,
                            fault: why.to_string(),
                        };
                        if ctx.fix(Object::Segment(segment), problem) {
                            let image = ctx.new_block(BlockKind::Summary, summary, NOBODY);
                            ctx.replace(summary, image);
                            ctx.rebuilt_summaries.insert(summary);
                        }
                        None
                    }
                })
            }
        };
        image.as_deref()
    }

    /// Looks at the summaries that no file has led to.
    pub(crate) fn check_rest(&mut self, ctx: &mut Context<'_>) {
        let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
        for segment in ctx.map.of_kind(SegmentKind::Data) {
            let seen = self.seen.get(&segment).copied().unwrap_or(0);
            for index in (1..heads).filter(|index| seen & (1 << index) == 0) {
                let address = ctx.layout.segment_start(segment) + u64::from(index);
                let _ = self.summary(ctx, address);
            }
        }
    }
}

/// Writes a summary entry.
pub(crate) fn write_entry(
    ctx: &mut Context<'_>,
    owner: Owner,
    address: u64,
    file_block: u64,
    checksum: Option<u32>,
) {
    if let Some((summary, offset)) = ctx.layout.summary_entry(address) {
        ctx.edit(summary, |image| {
            if let Some(entry) = block::view_mut(image, offset) {
                *entry = SummaryEntry::new(owner.ino, owner.generation, file_block, checksum);
            }
        });
    }
}

fn check_data(ctx: &mut Context<'_>, owner: Owner, extent: &Extent, checksums: &[Option<u32>]) {
    let mut done = 0;
    for known in checksums.chunks(RUN_BLOCKS as usize) {
        let file_block = extent.file_block.get() + done;
        let data = match ctx.read_run(extent.start.get() + done, known.len() as u64) {
            Ok(data) => data,
            Err(why) => {
                let error = why.to_string();
                let problem = Problem::DataUnreadable { file_block, error };
                return ctx.found(Object::Inode(owner.ino), problem);
            }
        };
        for ((bytes, stored), file_block) in data.chunks(BLOCK_BYTES).zip(known).zip(file_block..) {
            let computed = (ctx.crc32c)(bytes);
            if let &Some(stored) = stored
                && stored != computed
            {
                let problem = Problem::DataChecksum {
                    file_block,
                    stored,
                    computed,
                };
                ctx.found(Object::Inode(owner.ino), problem);
            }
        }
        done += known.len() as u64;
    }
}

/// Whether a summary entry is of a certain place in a file.
pub(crate) fn is_of(entry: &SummaryEntry, owner: Owner, file_block: u64) -> bool {
    entry.ino.get() == owner.ino
        && entry.generation.get() == owner.generation
        && entry.file_block() == file_block
}

fn differs(
    ctx: &mut Context<'_>,
    owner: Owner,
    address: u64,
    file_block: u64,
    entry: &SummaryEntry,
) -> bool {
    if is_of(entry, owner, file_block) {
        return false;
    }
    let problem = Problem::SummaryDiffers {
        address,
        ino: entry.ino.get(),
        generation: entry.generation.get(),
        file_block: entry.file_block(),
    };
    ctx.fix(Object::Inode(owner.ino), problem)
}
