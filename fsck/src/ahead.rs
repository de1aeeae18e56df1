//! What a pass will read soon: the device is asked for it while something else is checked.
//!
//! Nothing here has been checked yet. What is wrong leads to blocks that nobody needs, and no further.

use crate::context::{Context, RUN_BLOCKS};
use crate::extents;
use bento_api::FileKind;
use logfs_format::tree::Branch;
use logfs_format::{
    BLOCK_BYTES, BlockKind, HEADER_BYTES, INODES_PER_BLOCK, InoAddress, Inode, InodeFlags, block,
};

/// Asks for the blocks that inodes lead to and pass 2 reads: summaries of file data, roots of trees,
/// attributes, symbolic links.
pub(crate) fn inodes(ctx: &Context<'_>, inode_blocks: &[u8]) {
    let mut wanted = Vec::new();
    for image in inode_blocks.chunks(BLOCK_BYTES) {
        let first = InoAddress { block: 0, slot: 1 }.offset();
        let inodes: &[Inode] = block::array(image, first, INODES_PER_BLOCK).unwrap_or(&[]);
        for inode in inodes {
            note_inode(ctx, inode, &mut wanted);
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    ctx.read_ahead(wanted);
}

fn note_inode(ctx: &Context<'_>, inode: &Inode, wanted: &mut Vec<u64>) {
    let Some(kind) = FileKind::from_mode(inode.mode.get()) else {
        return;
    };
    if inode.xattrs.get() != 0 {
        wanted.push(inode.xattrs.get());
    }
    let flags = inode.flags.get();
    if flags & InodeFlags::TREE != 0 {
        wanted.push(extents::tree_root(inode));
    } else if flags & InodeFlags::INLINE == 0 {
        for extent in extents::inline(inode) {
            let (start, len) = (extent.start.get(), u64::from(extent.len.get()));
            match kind {
                FileKind::Regular if extents::is_in_one_segment(ctx, &extent) => {
                    let summary_of = |address| Some(ctx.layout.summary_entry(address)?.0);
                    let (first, last) = (summary_of(start), summary_of(start + len - 1));
                    let known = wanted.last().copied();
                    let summaries = first.unwrap_or(1)..=last.unwrap_or(0);
                    wanted.extend(summaries.filter(|&summary| known != Some(summary)));
                }
                FileKind::Symlink => wanted.push(start),
                _ => {}
            }
        }
    }
}

/// Asks for the first blocks of directories.
pub(crate) fn directories(ctx: &Context<'_>, dirs: impl Iterator<Item = u64>) {
    let mut wanted = Vec::new();
    for inode in dirs.filter_map(|dir| ctx.read_inode(dir)) {
        if inode.flags.get() & InodeFlags::TREE != 0 {
            wanted.push(extents::tree_root(&inode));
        } else {
            let extents = extents::inline(&inode).into_iter();
            let blocks = extents.flat_map(|extent| {
                let start = extent.start.get();
                start..start.saturating_add(extent.len.get().into())
            });
            wanted.extend(blocks.take(RUN_BLOCKS as usize));
        }
        wanted.push(inode.dir_index.get());
    }
    wanted.sort_unstable();
    ctx.read_ahead(wanted);
}

/// Asks for what is below the roots of directories' indexes.
pub(crate) fn indexes(ctx: &Context<'_>, dirs: impl Iterator<Item = u64>) {
    for inode in dirs.filter_map(|dir| ctx.read_inode(dir)) {
        let root = inode.dir_index.get();
        let image = (root != 0).then(|| ctx.read(root, BlockKind::DirIndex));
        if let Some(Ok(image)) = image
            && let Some(header) = block::header(&image)
            && header.level.get() > 0
        {
            let count = header.count.get() as usize;
            let branches: &[Branch] = block::array(&image, HEADER_BYTES, count).unwrap_or(&[]);
            ctx.read_ahead(branches.iter().map(|branch| branch.child.get()));
        }
    }
}
