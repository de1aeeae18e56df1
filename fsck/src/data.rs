//! File data: what the summaries of data segments say about it, and its checksums.

use crate::context::{Context, Owner, RUN_BLOCKS};
use crate::map::Kind;
use crate::{Object, Problem};
use logfs_format::{BLOCK_BYTES, BlockKind, Extent, SegmentKind, SummaryEntry, block};
use std::collections::HashMap;

/// Summary blocks kept in memory: files written one after the other share them.
const CACHED_MAX: usize = 4096;

/// CRC-32C of a block.
pub(crate) type Checksum<'a> = &'a dyn Fn(&[u8]) -> u32;

/// The second witness of each data extent.
pub(crate) struct Witness<'a> {
    /// `None` if data is not to be read.
    checksum: Option<Checksum<'a>>,
    /// Sound summary blocks; `None` for a damaged one.
    cache: HashMap<u64, Option<Box<[u8]>>>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(checksum: Option<Checksum<'a>>) -> Witness<'a> {
        Witness {
            checksum,
            cache: HashMap::new(),
        }
    }

    /// Compares an extent of a file with the summaries, and its data with their checksums.
    pub(crate) fn check(&mut self, ctx: &mut Context<'_>, owner: Owner, extent: &Extent) {
        let start = extent.start.get();
        let Some((segment, _)) = ctx.layout.segment_of(start) else {
            return;
        };
        if ctx.map.kind(segment) != Kind::Known(SegmentKind::Data) {
            return;
        }
        let mut checksums = Vec::new();
        for index in 0..u64::from(extent.len.get()) {
            let file_block = extent.file_block.get() + index;
            let entry = self.entry(ctx, start + index);
            checksums.push(entry.and_then(|entry| entry.checksum()));
            if let Some(entry) = entry {
                check_entry(ctx, owner, start + index, file_block, &entry);
            }
        }
        if self.checksum.is_some() && !extent.is_unwritten() {
            self.check_data(ctx, owner, extent, &checksums);
        }
    }

    fn entry(&mut self, ctx: &mut Context<'_>, address: u64) -> Option<SummaryEntry> {
        let (summary, offset) = ctx.layout.summary_entry(address)?;
        if self.cache.len() >= CACHED_MAX {
            self.cache.clear();
        }
        let image = self.cache.entry(summary).or_insert_with(|| {
            match ctx.read(summary, BlockKind::Summary) {
                Ok(image) => Some(image),
                Err(why) => {
                    let (segment, _) = ctx.layout.segment_of(summary).unwrap_or_default();
                    let problem = Problem::SummaryDamaged {
                        address: summary,
                        fault: why.to_string(),
                    };
                    ctx.found(Object::Segment(segment), problem);
                    None
                }
            }
        });
        block::view(image.as_deref()?, offset).copied()
    }

    fn check_data(
        &self,
        ctx: &mut Context<'_>,
        owner: Owner,
        extent: &Extent,
        checksums: &[Option<u32>],
    ) {
        let Some(checksum) = self.checksum else {
            return;
        };
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
            for ((bytes, stored), file_block) in
                data.chunks(BLOCK_BYTES).zip(known).zip(file_block..)
            {
                let computed = checksum(bytes);
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
}

fn check_entry(
    ctx: &mut Context<'_>,
    owner: Owner,
    address: u64,
    file_block: u64,
    entry: &SummaryEntry,
) {
    let same = entry.ino.get() == owner.ino
        && entry.generation.get() == owner.generation
        && entry.file_block() == file_block;
    if !same {
        let problem = Problem::SummaryDiffers {
            address,
            ino: entry.ino.get(),
            generation: entry.generation.get(),
            file_block: entry.file_block(),
        };
        ctx.found(Object::Inode(owner.ino), problem);
    }
}
