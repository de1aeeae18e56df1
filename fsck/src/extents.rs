//! The blocks of files: extents in the inode or in a tree.

use crate::context::{Context, Owner};
use crate::data::Witness;
use crate::inode::dir_blocks_ok;
use crate::map::{Kind, Refusal};
use crate::tree::{self, Purpose, Tree};
use crate::{Object, Problem};
use bento_api::FileKind;
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, INLINE_EXTENTS, Inode, InodeFlags, SegmentKind, block,
};

/// Files end before this block: offsets in bytes must fit into an `i64`.
pub(crate) const FILE_BLOCKS_MAX: u64 = i64::MAX as u64 / BLOCK_BYTES as u64 + 1;

/// What the extents of an inode come to.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    /// Blocks in extents.
    pub(crate) blocks: u64,
    /// Blocks of tree nodes.
    pub(crate) nodes: u64,
    /// The file block behind the last extent.
    pub(crate) end: u64,
    /// Something is wrong and is to be mended.
    pub(crate) is_torn: bool,
    /// Something is wrong and stays so.
    pub(crate) damaged: bool,
    /// Blocks that something else has claimed before.
    contested: Vec<u64>,
}

/// Checks the extents of an inode and claims their blocks. The blocks of files are compared with
/// the summaries of data segments. What is to be mended is noted in the context.
pub(crate) fn check(
    ctx: &mut Context<'_>,
    owner: Owner,
    inode: &Inode,
    kind: FileKind,
    witness: &mut Witness,
) -> Mapped {
    let mut mapped = Mapped::default();
    if inode.flags.get() & InodeFlags::INLINE != 0 {
        return mapped;
    }
    let walked = each(ctx, owner, inode, Purpose::Check, &mut |ctx, extent| {
        if let Err(problem) = check_one(ctx, &mut mapped, kind, extent) {
            found(ctx, owner, &mut mapped, problem);
        } else if kind == FileKind::Regular && !witness.check(ctx, owner, extent) {
            mapped.is_torn = true;
        }
    });
    mapped.nodes = walked.nodes.len() as u64;
    if let Some(fault) = walked.fault {
        if let Problem::BlockShared { address, .. } = fault {
            mapped.contested.push(address);
        }
        found(ctx, owner, &mut mapped, fault);
    }
    let object = Object::Inode(owner.ino);
    if mapped.damaged && ctx.report.is_given_up(&object) {
        ctx.found(object, Problem::MappingNoRoom {});
    }
    if mapped.is_torn {
        let pieces = pieces(ctx, owner, inode, kind);
        ctx.torn.inodes.insert(owner.ino, pieces);
    }
    mapped
}

fn found(ctx: &mut Context<'_>, owner: Owner, mapped: &mut Mapped, problem: Problem) {
    if ctx.fix(Object::Inode(owner.ino), problem) {
        mapped.is_torn = true;
        ctx.torn.contested.extend(mapped.contested.drain(..));
    } else {
        mapped.damaged = true;
        mapped.contested.clear();
    }
}

/// The extents of an inode that was checked before; of a damaged one those that make sense alone.
pub(crate) fn read(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Vec<Extent> {
    let mut extents = Vec::new();
    if inode.flags.get() & InodeFlags::INLINE != 0 {
        return extents;
    }
    each(ctx, owner, inode, Purpose::Read, &mut |ctx, extent| {
        if is_in_one_segment(ctx, extent) && extent.end() <= FILE_BLOCKS_MAX {
            extents.push(*extent);
        }
    });
    extents
}

/// The extents in an inode without a tree.
pub(crate) fn inline(inode: &Inode) -> Vec<Extent> {
    let count = usize::from(inode.extent_count.get()).min(INLINE_EXTENTS);
    block::array(&inode.inline, 0, count)
        .map(<[Extent]>::to_vec)
        .unwrap_or_default()
}

/// The root of an inode's extent tree.
pub(crate) fn tree_root(inode: &Inode) -> u64 {
    let mut root = [0; 8];
    root.copy_from_slice(&inode.inline[..8]);
    u64::from_le_bytes(root)
}

/// How many of the extents in an inode look like some, for a count that can't be.
pub(crate) fn plausible(ctx: &Context<'_>, inode: &Inode) -> u16 {
    let extents: &[Extent] = block::array(&inode.inline, 0, INLINE_EXTENTS).unwrap_or(&[]);
    let makes_sense = |extent: &&Extent| extent.len.get() > 0 && is_in_one_segment(ctx, extent);
    extents.iter().take_while(makes_sense).count() as u16
}

type Visit<'v, 'c> = &'v mut dyn FnMut(&mut Context<'c>, &Extent);

fn each<'c>(
    ctx: &mut Context<'c>,
    owner: Owner,
    inode: &Inode,
    purpose: Purpose,
    visit: Visit<'_, 'c>,
) -> tree::Walked {
    if inode.flags.get() & InodeFlags::TREE == 0 {
        for extent in inline(inode) {
            visit(ctx, &extent);
        }
        return tree::Walked::default();
    }
    let tree = Tree {
        kind: BlockKind::ExtentNode,
        record_bytes: size_of::<Extent>(),
        owner,
        root: tree_root(inode),
    };
    tree::walk(ctx, &tree, purpose, &mut |ctx, _, record| {
        if let Some(extent) = block::view(record, 0) {
            visit(ctx, extent);
        }
        true
    })
}

/// Checks an extent against the one before it, and claims its blocks.
fn check_one(
    ctx: &mut Context<'_>,
    mapped: &mut Mapped,
    kind: FileKind,
    extent: &Extent,
) -> Result<(), Problem> {
    let (file_block, start, len) = (
        extent.file_block.get(),
        extent.start.get(),
        extent.len.get(),
    );
    let wrong = |reason| {
        Err(Problem::ExtentWrong {
            file_block,
            start,
            len,
            reason,
        })
    };
    if len == 0 {
        return wrong("is empty");
    }
    if extent.end() > FILE_BLOCKS_MAX {
        return wrong("lies behind the end of the largest file");
    }
    if kind == FileKind::Directory && !dir_blocks_ok(extent.end()) {
        return wrong("lies behind the end of the largest directory");
    }
    if !is_in_one_segment(ctx, extent) {
        return wrong("does not lie in one segment");
    }
    let is_data = kind == FileKind::Regular;
    let claimed = claim(ctx, mapped, is_data, extent);
    if extent.flags.get() & !Extent::UNWRITTEN != 0 {
        return wrong("has flags that are not known");
    }
    if extent.is_unwritten() && !is_data {
        return wrong("is not written, but of no file");
    }
    if file_block < mapped.end {
        return wrong("overlaps the one before it");
    }
    mapped.end = extent.end();
    claimed
}

/// Claims the blocks of an extent.
fn claim(
    ctx: &mut Context<'_>,
    mapped: &mut Mapped,
    is_data: bool,
    extent: &Extent,
) -> Result<(), Problem> {
    let (start, len) = (extent.start.get(), extent.len.get());
    if may_have(ctx, is_data, start).is_ok() && ctx.map.claim_run(start, len).is_ok() {
        mapped.blocks += u64::from(len);
        return Ok(());
    }
    let mut result = Ok(());
    for address in start..start + u64::from(len) {
        let claimed = may_have(ctx, is_data, address).and_then(|()| ctx.map.claim(address));
        match claimed {
            Ok(()) => mapped.blocks += 1,
            Err(refusal) => {
                if refusal == Refusal::Taken {
                    mapped.contested.push(address);
                }
                result = result.and(Err(tree::refused(address, refusal)));
            }
        }
    }
    result
}

/// Whether a block is where those of a file, or of something else, can be.
fn may_have(ctx: &Context<'_>, is_data: bool, address: u64) -> Result<(), Refusal> {
    let (segment, _) = ctx.map.place(address)?;
    if is_data && ctx.map.kind(segment) == Kind::Known(SegmentKind::Metadata) {
        return Err(Refusal::Metadata);
    }
    Ok(())
}

/// The parts of a damaged mapping that make sense, whoever else claims their blocks.
fn pieces(ctx: &mut Context<'_>, owner: Owner, inode: &Inode, kind: FileKind) -> Vec<Extent> {
    let is_data = kind == FileKind::Regular;
    let mut pieces = Vec::new();
    for extent in read(ctx, owner, inode) {
        if kind == FileKind::Directory && !dir_blocks_ok(extent.end()) {
            continue;
        }
        let flags = if is_data {
            extent.flags.get() & Extent::UNWRITTEN
        } else {
            0
        };
        let mut piece: Option<Extent> = None;
        for index in 0..extent.len.get() {
            let address = extent.start.get() + u64::from(index);
            if may_have(ctx, is_data, address).is_err() {
                pieces.extend(piece.take());
                continue;
            }
            let grown = piece.map_or(0, |piece| piece.len.get()) + 1;
            piece = Some(Extent {
                flags: flags.into(),
                ..part(&extent, index + 1 - grown, grown)
            });
        }
        pieces.extend(piece);
    }
    pieces
}

/// A part of an extent.
pub(crate) fn part(extent: &Extent, first: u32, len: u32) -> Extent {
    Extent {
        file_block: (extent.file_block.get() + u64::from(first)).into(),
        start: (extent.start.get() + u64::from(first)).into(),
        len: len.into(),
        flags: extent.flags,
    }
}

pub(crate) fn is_in_one_segment(ctx: &Context<'_>, extent: &Extent) -> bool {
    let segment_of = |address| ctx.layout.segment_of(address).map(|(segment, _)| segment);
    let last = u64::from(extent.len.get())
        .checked_sub(1)
        .and_then(|rest| extent.start.get().checked_add(rest));
    let first = segment_of(extent.start.get());
    first.is_some() && first == last.and_then(segment_of)
}
