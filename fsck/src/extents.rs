//! The blocks of files: extents in the inode or in a tree.

use crate::context::{Context, Owner};
use crate::data::Witness;
use crate::tree::{self, Purpose, Tree};
use crate::{Object, Problem};
use logfs_format::{BLOCK_BYTES, BlockKind, Extent, INLINE_EXTENTS, Inode, InodeFlags, block};

/// Files end before this block: offsets in bytes must fit into an `i64`.
const FILE_BLOCKS_MAX: u64 = i64::MAX as u64 / BLOCK_BYTES as u64 + 1;

/// What the extents of an inode come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mapped {
    /// Blocks in extents.
    pub(crate) blocks: u64,
    /// Blocks of tree nodes.
    pub(crate) nodes: u64,
    /// The file block behind the last extent.
    pub(crate) end: u64,
    /// There is an extent that is not written.
    pub(crate) has_unwritten: bool,
    /// Not all of them could be read, or some are wrong.
    pub(crate) damaged: bool,
}

/// Checks the extents of an inode and claims their blocks. `witness` compares them with the
/// summaries of data segments.
pub(crate) fn check(
    ctx: &mut Context<'_>,
    owner: Owner,
    inode: &Inode,
    mut witness: Option<&mut Witness>,
) -> Mapped {
    let mut mapped = Mapped::default();
    let damaged = each(ctx, owner, inode, Purpose::Check, &mut |ctx, extent| {
        if let Err(problem) = check_one(ctx, &mut mapped, extent) {
            ctx.found(Object::Inode(owner.ino), problem);
            mapped.damaged = true;
        } else if let Some(witness) = &mut witness {
            witness.check(ctx, owner, extent);
        }
    });
    mapped.nodes = damaged.nodes;
    mapped.damaged |= damaged.damaged;
    mapped
}

/// The extents of an inode that was checked before; of a damaged one those that make sense alone.
pub(crate) fn read(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Vec<Extent> {
    let mut extents = Vec::new();
    each(ctx, owner, inode, Purpose::Read, &mut |ctx, extent| {
        if is_in_one_segment(ctx, extent) {
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

type Visit<'v, 'c> = &'v mut dyn FnMut(&mut Context<'c>, &Extent);

fn each<'c>(
    ctx: &mut Context<'c>,
    owner: Owner,
    inode: &Inode,
    purpose: Purpose,
    visit: Visit<'_, 'c>,
) -> Mapped {
    if inode.flags.get() & InodeFlags::TREE == 0 {
        for extent in inline(inode) {
            visit(ctx, &extent);
        }
        return Mapped::default();
    }
    let mut root = [0; 8];
    root.copy_from_slice(&inode.inline[..8]);
    let tree = Tree {
        kind: BlockKind::ExtentNode,
        record_bytes: size_of::<Extent>(),
        owner,
        root: u64::from_le_bytes(root),
    };
    let walked = tree::walk(ctx, &tree, purpose, &mut |ctx, _, record| {
        if let Some(extent) = block::view(record, 0) {
            visit(ctx, extent);
        }
        true
    });
    if purpose == Purpose::Check {
        tree::report(ctx, owner, &walked);
    }
    Mapped {
        nodes: walked.nodes.len() as u64,
        damaged: walked.fault.is_some(),
        ..Mapped::default()
    }
}

/// Checks an extent against the one before it, and claims its blocks.
fn check_one(ctx: &mut Context<'_>, mapped: &mut Mapped, extent: &Extent) -> Result<(), Problem> {
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
    if extent.flags.get() & !Extent::UNWRITTEN != 0 {
        return wrong("has flags that are not known");
    }
    if file_block < mapped.end {
        return wrong("overlaps the one before it");
    }
    if !is_in_one_segment(ctx, extent) {
        return wrong("does not lie in one segment");
    }
    mapped.has_unwritten |= extent.is_unwritten();
    mapped.end = extent.end();
    for address in start..start + u64::from(len) {
        ctx.map
            .claim(address)
            .map_err(|refusal| tree::refused(address, refusal))?;
        mapped.blocks += 1;
    }
    Ok(())
}

fn is_in_one_segment(ctx: &Context<'_>, extent: &Extent) -> bool {
    let segment_of = |address| ctx.layout.segment_of(address).map(|(segment, _)| segment);
    let last = u64::from(extent.len.get())
        .checked_sub(1)
        .and_then(|rest| extent.start.get().checked_add(rest));
    let first = segment_of(extent.start.get());
    first.is_some() && first == last.and_then(segment_of)
}
