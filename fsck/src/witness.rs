//! What blocks say of themselves: summaries of file data, headers of metadata.
//!
//! One sweep over the device collects what belongs to inodes that have lost their own pointers.

use crate::contents::sound_kind;
use crate::context::{Context, NOBODY, Owner, RUN_BLOCKS};
use crate::in_use::{Bits, InUse, bit};
use crate::{Failure, extents};
use logfs_format::dir::{entries, name_ok};
use logfs_format::tree::leaf_capacity;
use logfs_format::xattr::XattrHead;
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, HEADER_BYTES, SUMMARIES_PER_BLOCK, SegmentKind, SummaryEntry,
    block, header_blocks,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The inodes that are looked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// These, in this generation.
    pub(crate) inodes: BTreeMap<u64, u32>,
    /// All inodes of these blocks, in whatever generation.
    pub(crate) inode_blocks: BTreeSet<u64>,
}

impl Wanted {
    fn has(&self, owner: Owner) -> bool {
        self.inode_blocks.contains(&(owner.ino >> 4))
            || self.inodes.get(&owner.ino) == Some(&owner.generation)
    }
}

/// What was found of an inode in one generation.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Runs of file data by the summaries.
    pub(crate) data: Vec<Extent>,
    /// Extents in leaves of the extent tree.
    pub(crate) mapped: Vec<Extent>,
    /// Blocks of a directory, in the order of their addresses.
    pub(crate) directory: Vec<u64>,
    /// Blocks of a symbolic link.
    pub(crate) symlink: Vec<u64>,
    /// Blocks of extended attributes, and what comes behind each.
    pub(crate) xattrs: BTreeMap<u64, u64>,
}

/// By inode and generation.
pub(crate) type AllFound = BTreeMap<(u64, u32), Found>;

/// Looks at everything that is marked as in use.
pub(crate) fn sweep(ctx: &mut Context<'_>, wanted: &Wanted) -> Result<AllFound, Failure> {
    let mut found = AllFound::new();
    for segment in ctx.map.of_kind(SegmentKind::Data) {
        ctx.progress(2, segment, ctx.layout.segment_count)?;
        summaries(ctx, segment, wanted, &mut found);
    }
    each_metadata_block(ctx, &mut |_, address, image| {
        note_block(wanted, &mut found, address, image);
    })?;
    Ok(found)
}

/// Names in directory blocks that no directory has, of inodes that have no other.
pub(crate) fn names(
    ctx: &mut Context<'_>,
    lost: &BTreeSet<u64>,
) -> Result<HashMap<u64, Box<[u8]>>, Failure> {
    let mut names = HashMap::new();
    each_metadata_block(ctx, &mut |ctx, address, image| {
        let kind = block::header(image).map_or(0, |header| header.kind.get());
        let is_claimed = ctx
            .layout
            .segment_of(address)
            .is_some_and(|(segment, index)| {
                ctx.map
                    .claimed(segment)
                    .is_some_and(|claimed| claimed.has(index))
            });
        if kind != BlockKind::Directory as u16 || is_claimed {
            return;
        }
        for entry in entries(image).filter_map(Result::ok) {
            if lost.contains(&entry.ino) && name_ok(entry.name) {
                names.insert(entry.ino, entry.name.into());
            }
        }
    })?;
    Ok(names)
}

/// The blocks of a segment that may be in use: all of them if the marks are not known.
fn live(ctx: &Context<'_>, segment: u64) -> Bits {
    ctx.map
        .marked(segment)
        .map_or([0xff; size_of::<Bits>()], InUse::to_bits)
}

fn summaries(ctx: &mut Context<'_>, segment: u64, wanted: &Wanted, found: &mut AllFound) {
    let start = ctx.layout.segment_start(segment);
    let live = live(ctx, segment);
    let heads = header_blocks(SegmentKind::Data, ctx.layout.segment_blocks);
    for summary in 1..heads {
        let address = start + u64::from(summary);
        let Ok(image) = ctx.read(address, BlockKind::Summary) else {
            continue;
        };
        if ctx.rebuilt_summaries.contains(&address) {
            continue;
        }
        let list: &[SummaryEntry] =
            block::array(&image, HEADER_BYTES, SUMMARIES_PER_BLOCK).unwrap_or(&[]);
        let first = (summary - 1) * SUMMARIES_PER_BLOCK as u32;
        for (index, entry) in (first..).zip(list) {
            let owner = Owner {
                ino: entry.ino.get(),
                generation: entry.generation.get(),
            };
            let is_data = (heads..ctx.layout.segment_blocks).contains(&index)
                && bit(&live, index)
                && entry.file_block() < extents::FILE_BLOCKS_MAX;
            if !is_data || owner.ino == 0 || !wanted.has(owner) {
                continue;
            }
            let address = start + u64::from(index);
            let found = found.entry((owner.ino, owner.generation)).or_default();
            match found.data.last_mut() {
                Some(last)
                    if last.start.get() + u64::from(last.len.get()) == address
                        && last.end() == entry.file_block() =>
                {
                    last.len = (last.len.get() + 1).into();
                }
                _ => found.data.push(Extent::new(entry.file_block(), address, 1)),
            }
        }
    }
}

/// Hands on every sound metadata block in use that is not at the head of a segment. In data segments
/// those that file data was found in are left out.
fn each_metadata_block(
    ctx: &mut Context<'_>,
    visit: &mut dyn FnMut(&Context<'_>, u64, &[u8]),
) -> Result<(), Failure> {
    for kind in [SegmentKind::Metadata, SegmentKind::Data] {
        for segment in ctx.map.of_kind(kind) {
            ctx.progress(2, segment, ctx.layout.segment_count)?;
            let live = live(ctx, segment);
            let start = ctx.layout.segment_start(segment);
            let claimed = ctx.map.claimed(segment);
            let is_wanted = |index: u32| {
                let is_data =
                    kind == SegmentKind::Data && claimed.is_some_and(|claimed| claimed.has(index));
                bit(&live, index) && !is_data
            };
            let mut index = header_blocks(kind, ctx.layout.segment_blocks);
            while index < ctx.layout.segment_blocks {
                let len = (index..ctx.layout.segment_blocks)
                    .take(RUN_BLOCKS as usize)
                    .take_while(|&index| is_wanted(index))
                    .count();
                let at = start + u64::from(index);
                let run = match len {
                    0 => Vec::new(),
                    _ => ctx.read_run(at, len as u64).unwrap_or_default(),
                };
                for (image, address) in run.chunks(BLOCK_BYTES).zip(at..) {
                    if sound_kind(ctx, image, address).is_some() {
                        visit(ctx, address, image);
                    }
                }
                index += (len as u32).max(1);
            }
        }
    }
    Ok(())
}

fn note_block(wanted: &Wanted, found: &mut AllFound, address: u64, image: &[u8]) {
    let Some(header) = block::header(image) else {
        return;
    };
    let owner = Owner {
        ino: header.owner.get(),
        generation: header.owner_generation.get(),
    };
    if owner == NOBODY || !wanted.has(owner) {
        return;
    }
    let found = found.entry((owner.ino, owner.generation)).or_default();
    let kind = header.kind.get();
    if kind == BlockKind::Directory as u16 {
        found.directory.push(address);
    } else if kind == BlockKind::Symlink as u16 {
        found.symlink.push(address);
    } else if kind == BlockKind::Xattr as u16 {
        let next = block::view::<XattrHead>(image, 0).map_or(0, |head| head.next.get());
        found.xattrs.insert(address, next);
    } else if kind == BlockKind::ExtentNode as u16 && header.level.get() == 0 {
        let count = (header.count.get() as usize).min(leaf_capacity(size_of::<Extent>()));
        let list: &[Extent] = block::array(image, HEADER_BYTES, count).unwrap_or(&[]);
        found.mapped.extend_from_slice(list);
    }
}

/// Whether an extent found in a leaf can be taken at its word.
pub(crate) fn makes_sense(ctx: &Context<'_>, extent: &Extent) -> bool {
    extents::is_in_one_segment(ctx, extent)
        && extent.end() <= extents::FILE_BLOCKS_MAX
        && extent.flags.get() & !Extent::UNWRITTEN == 0
}
