//! File data: what the summaries of data segments say about it, and its checksums.

use crate::context::{Context, NOBODY, Owner, RUN_BLOCKS};
use crate::extents::part;
use crate::map::Kind;
use crate::{Object, Problem};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, SegmentKind, SummaryEntry, block, header_blocks,
};
use std::collections::{HashMap, VecDeque};

/// Summary blocks kept in memory: files written one after the other share them.
const CACHED_MAX: usize = 16;

/// Summary blocks that are read at once.
const LOADED_MAX: u32 = 8;

/// The second witness of each data extent.
pub(crate) struct Witness {
    /// Whether data is to be read.
    check_data: bool,
    /// Summary blocks by address, the last one used in front.
    cache: VecDeque<(u64, Summary)>,
    /// Summary blocks that were looked at, one bit for each in a segment.
    seen: HashMap<u64, u64>,
}

/// A summary block if it is sound; `None` for a damaged one that stays so.
type Summary = Option<Box<[u8]>>;

impl Witness {
    pub(crate) fn new(check_data: bool) -> Witness {
        Witness {
            check_data,
            cache: VecDeque::new(),
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
        let reads_data = self.check_data && !extent.is_unwritten();
        let mut same = true;
        let mut checksums = Vec::new();
        let mut index = 0;
        while index < extent.len.get() {
            let Some((summary, offset)) = ctx.layout.summary_entry(start + u64::from(index)) else {
                break;
            };
            let slots = (BLOCK_BYTES - offset) / size_of::<SummaryEntry>();
            let rest = part(extent, index, extent.len.get() - index);
            let part = part(&rest, 0, rest.len.get().min(slots as u32));
            let len = part.len.get() as usize;
            let image = self.summary(ctx, summary);
            let entries = image.and_then(|image| block::array(image, offset, len));
            let entries: &[SummaryEntry] = entries.unwrap_or(&[]);
            if ctx.rebuilt_summaries.contains(&summary) {
                write_entries(ctx, owner, &part);
            } else if same {
                same = !differ(ctx, owner, &part, entries);
            }
            if reads_data {
                let known = entries.iter().map(SummaryEntry::checksum);
                checksums.extend(known.chain(std::iter::repeat(None)).take(len));
            }
            index += part.len.get();
        }
        if reads_data {
            check_data(ctx, owner, extent, &checksums);
        }
        same
    }

    /// A summary block if it is sound.
    fn summary(&mut self, ctx: &mut Context<'_>, address: u64) -> Option<&[u8]> {
        let cached = self.cache.iter().position(|(at, _)| *at == address);
        let entry = match cached.and_then(|at| self.cache.remove(at)) {
            Some(entry) => entry,
            None => {
                self.cache.truncate(CACHED_MAX - 1);
                (address, self.read(ctx, address))
            }
        };
        self.cache.push_front(entry);
        self.cache.front()?.1.as_deref()
    }

    fn read(&mut self, ctx: &mut Context<'_>, address: u64) -> Summary {
        let (segment, index) = ctx.layout.segment_of(address).unwrap_or_default();
        *self.seen.entry(segment).or_default() |= 1 << (index & 63);
        let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
        ctx.load(
            address,
            heads.saturating_sub(index).clamp(1, LOADED_MAX) as usize,
        );
        let why = match ctx.read(address, BlockKind::Summary) {
            Ok(image) => return Some(image),
            Err(why) => why,
        };
        let problem = Problem::SummaryDamaged {
            address,
            fault: why.to_string(),
        };
        if ctx.fix(Object::Segment(segment), problem) {
            let image = ctx.new_block(BlockKind::Summary, address, NOBODY);
            ctx.replace(address, image);
            ctx.rebuilt_summaries.insert(address);
        }
        None
    }

    /// Looks at the summaries that no file has led to.
    pub(crate) fn check_rest(&mut self, ctx: &mut Context<'_>) {
        let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
        for segment in ctx.map.of_kind(SegmentKind::Data) {
            let seen = self.seen.get(&segment).copied().unwrap_or(0);
            let start = ctx.layout.segment_start(segment);
            let unseen = (1..heads).filter(|index| seen & (1 << index) == 0);
            let unseen: Vec<u64> = unseen.map(|index| start + u64::from(index)).collect();
            ctx.read_ahead(unseen.iter().copied());
            for address in unseen {
                let _ = self.summary(ctx, address);
            }
        }
    }
}

fn write_entries(ctx: &mut Context<'_>, owner: Owner, extent: &Extent) {
    for index in 0..u64::from(extent.len.get()) {
        let (address, file_block) = (extent.start.get() + index, extent.file_block.get() + index);
        write_entry(ctx, owner, address, file_block, None);
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

/// Whether summary entries are not of the blocks of an extent; the first that isn't is reported.
fn differ(ctx: &mut Context<'_>, owner: Owner, extent: &Extent, entries: &[SummaryEntry]) -> bool {
    let mut pairs = (extent.file_block.get()..).zip(entries);
    let other = pairs.find(|(file_block, entry)| !is_of(entry, owner, *file_block));
    let Some((file_block, entry)) = other else {
        return false;
    };
    let problem = Problem::SummaryDiffers {
        address: extent.start.get() + (file_block - extent.file_block.get()),
        ino: entry.ino.get(),
        generation: entry.generation.get(),
        file_block: entry.file_block(),
    };
    ctx.fix(Object::Inode(owner.ino), problem)
}
