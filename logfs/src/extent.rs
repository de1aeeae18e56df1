//! Which blocks hold which part of a file: extents in the inode, or in a tree if they are more than
//! fit there.

use crate::LogFs;
use crate::inode::State;
use crate::overwrite::Neighbours;
use crate::tree::{Leaf, Tree};
use crate::tx::Tx;
use bento_api::{Env, Errno, Result};
use logfs_format::le::Le64;
use logfs_format::{BlockKind, Extent, INLINE_EXTENTS, InodeFlags, block};

/// Longest extent in blocks: lengths stay far from overflow.
const EXTENT_BLOCKS_MAX: u64 = 1 << 30;

fn has_tree(state: &State) -> bool {
    state.disk.flags.get() & InodeFlags::TREE != 0
}

fn tree_of(state: &State) -> Result<Tree> {
    let root: &Le64 = block::view(state.disk.inline(), 0).ok_or(Errno::EUCLEAN)?;
    Ok(Tree {
        root: root.get(),
        kind: BlockKind::ExtentNode,
        record_bytes: size_of::<Extent>(),
        owner: state.owner(),
        grown_blocks: 0,
    })
}

fn inline_extents(state: &State) -> Result<&[Extent]> {
    let flags = state.disk.flags.get();
    let count = usize::from(state.disk.extent_count.get());
    if flags & InodeFlags::INLINE != 0 || count > INLINE_EXTENTS {
        return Err(Errno::EUCLEAN);
    }
    block::array(state.disk.inline(), 0, count).ok_or(Errno::EUCLEAN)
}

/// Refuses an extent that came from the disk if it lies outside the segments or wraps.
pub(crate) fn check<E: Env>(fs: &LogFs<E>, state: &State, extent: &Extent) -> Result<()> {
    let (start, len) = (extent.start.get(), u64::from(extent.len.get()));
    let fits = len > 0
        && len <= EXTENT_BLOCKS_MAX
        && extent.file_block.get() < 1 << 52
        && start.checked_add(len - 1).is_some_and(|last| {
            fs.layout.segment_of(start).is_some() && fs.layout.segment_of(last).is_some()
        });
    if fits {
        return Ok(());
    }
    Err(fs.reporter.corrupt(format_args!(
        "inode {}: extent at file block {} says {len} blocks at {start}",
        state.ino,
        extent.file_block.get()
    )))
}

fn checked<E: Env>(fs: &LogFs<E>, state: &State, extent: Extent) -> Result<Extent> {
    check(fs, state, &extent).map(|()| extent)
}

/// Whether the second of two extents goes on where the first ends, in the file and on the device.
pub(crate) fn continues(left: &Extent, right: &Extent) -> bool {
    let len = u64::from(left.len.get());
    left.end() == right.file_block.get()
        && left.start.get() + len == right.start.get()
        && left.flags == right.flags
        && len + u64::from(right.len.get()) <= EXTENT_BLOCKS_MAX
}

/// Where the extents around a file block are.
pub(crate) enum Place {
    Inline,
    Leaf(Leaf),
}

/// Finds them; nothing for a file without a mapping.
pub(crate) fn place_of<E: Env>(
    fs: &LogFs<E>,
    state: &State,
    file_block: u64,
) -> Result<Option<Place>> {
    if state.disk.flags.get() & InodeFlags::INLINE != 0 {
        return Ok(None);
    }
    if !has_tree(state) {
        return Ok(Some(Place::Inline));
    }
    let leaf = tree_of(state)?.leaf(fs, file_block)?;
    Ok(leaf.map(Place::Leaf))
}

impl Place {
    /// Whether they are in the inode.
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self, Place::Inline)
    }

    /// The extents.
    pub(crate) fn neighbours<'a>(&'a self, state: &'a State) -> Result<Neighbours<'a>> {
        match self {
            Place::Inline => Ok(Neighbours {
                extents: inline_extents(state)?,
                is_first: true,
                high: None,
            }),
            Place::Leaf(leaf) => Ok(Neighbours {
                extents: extents_of(leaf)?,
                is_first: leaf.low.is_none(),
                high: leaf.high,
            }),
        }
    }

    /// Puts others in the place of some of them.
    pub(crate) fn put<E: Env>(
        self,
        tx: &Tx<'_, E>,
        state: &mut State,
        (from, to): (usize, usize),
        extents: &[Extent],
    ) -> Result<()> {
        tx.mark_changed();
        match self {
            Place::Inline => {
                let mut all = inline_extents(state)?.to_vec();
                all.splice(from..to, extents.iter().copied());
                set_inline(state, &all)?;
                Ok(())
            }
            Place::Leaf(leaf) => {
                let records = bytemuck::cast_slice(extents);
                tree_of(state)?.replace(tx, leaf, (from, to), records)
            }
        }
    }
}

fn extents_of(leaf: &Leaf) -> Result<&[Extent]> {
    block::array(leaf.records()?, 0, leaf.count).ok_or(Errno::EUCLEAN)
}

/// The extent that holds a file block, or else the first one behind it.
pub(crate) fn at_or_after<E: Env>(
    fs: &LogFs<E>,
    state: &State,
    file_block: u64,
) -> Result<Option<Extent>> {
    if state.disk.flags.get() & InodeFlags::INLINE != 0 {
        return Ok(None);
    }
    if !has_tree(state) {
        let extents = inline_extents(state).map_err(|_| {
            fs.reporter
                .corrupt(format_args!("inode {}: extent count", state.ino))
        })?;
        let found = extents.iter().find(|extent| extent.end() > file_block);
        return found.map(|extent| checked(fs, state, *extent)).transpose();
    }
    let tree = tree_of(state)?;
    let Some(leaf) = tree.leaf(fs, file_block)? else {
        return Ok(None);
    };
    let extents = extents_of(&leaf)?;
    // One leaf nearly always knows both sides; where there is a hole that saves the second way down. Of a
    // damaged leaf, which is out of order, the search may find anything.
    let starts_before = |extent: &Extent| extent.file_block.get() <= file_block;
    let index = extents.partition_point(starts_before);
    let before = index.checked_sub(1).and_then(|index| extents.get(index));
    let before = before.filter(|extent| starts_before(extent));
    if let Some(extent) = before.filter(|extent| extent.end() > file_block) {
        return checked(fs, state, *extent).map(Some);
    }
    // Where the leaf begins behind the block, one that is in another leaf may reach as far as here.
    let is_known_before = before.is_some() || leaf.low.is_none();
    let behind = extents.get(index).filter(|extent| !starts_before(extent));
    if let Some(extent) = behind.filter(|_| is_known_before) {
        return checked(fs, state, *extent).map(Some);
    }
    let before: Option<Extent> = tree.seek_back(fs, file_block)?;
    if let Some(extent) = before.filter(|extent| extent.end() > file_block) {
        return checked(fs, state, extent).map(Some);
    }
    let next: Option<Extent> = tree.seek(fs, file_block)?;
    next.map(|extent| checked(fs, state, extent)).transpose()
}

/// The last extent that starts at or before a file block.
fn at_or_before<E: Env>(fs: &LogFs<E>, state: &State, file_block: u64) -> Result<Option<Extent>> {
    if !has_tree(state) {
        let extents = inline_extents(state)?;
        return extents
            .iter()
            .rev()
            .find(|e| e.file_block.get() <= file_block)
            .map(|extent| checked(fs, state, *extent))
            .transpose();
    }
    tree_of(state)?
        .seek_back(fs, file_block)?
        .map(|extent| checked(fs, state, extent))
        .transpose()
}

/// Adds an extent where nothing is mapped; joins it with what lies before and behind if it goes on
/// there.
pub(crate) fn insert<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    extent: Extent,
) -> Result<()> {
    let mut extent = extent;
    if let Some(before) = at_or_before(fs, state, extent.file_block.get())?
        && continues(&before, &extent)
    {
        let len = before.len.get() + extent.len.get();
        extent = Extent {
            len: len.into(),
            ..before
        };
    }
    if let Some(behind) = at_or_after(fs, state, extent.end())?
        && continues(&extent, &behind)
    {
        remove_key(fs, tx, state, behind.file_block.get())?;
        extent.len.set(extent.len.get() + behind.len.get());
    }
    put(fs, tx, state, extent)
}

/// Unmaps file blocks from `start` to before `end`, at most `limit` extents of them, and hands each
/// piece to `emit`. Returns the block where it stopped: `end` if all is done.
pub(crate) fn remove<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    (start, end): (u64, u64),
    limit: usize,
    mut emit: impl FnMut(&mut State, Extent) -> Result<()>,
) -> Result<u64> {
    let mut at = start;
    for _ in 0..limit {
        let Some(extent) = at_or_after(fs, state, at)? else {
            return Ok(end);
        };
        if extent.file_block.get() >= end {
            return Ok(end);
        }
        let from = extent.file_block.get().max(start);
        let to = extent.end().min(end);
        remove_key(fs, tx, state, extent.file_block.get())?;
        if extent.file_block.get() < from {
            put(fs, tx, state, cut(extent, extent.file_block.get(), from))?;
        }
        if extent.end() > to {
            put(fs, tx, state, cut(extent, to, extent.end()))?;
        }
        emit(state, cut(extent, from, to))?;
        at = to;
        if at >= end {
            return Ok(end);
        }
    }
    Ok(at)
}

/// The part of an extent from one file block to before another.
pub(crate) fn cut(extent: Extent, from: u64, to: u64) -> Extent {
    let skipped = from - extent.file_block.get();
    Extent {
        file_block: from.into(),
        start: (extent.start.get() + skipped).into(),
        len: ((to - from) as u32).into(),
        flags: extent.flags,
    }
}

fn put<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State, extent: Extent) -> Result<()> {
    tx.mark_changed();
    if has_tree(state) {
        return with_tree(state, |tree| {
            tree.insert(fs, tx, bytemuck::bytes_of(&extent))
        });
    }
    let mut extents = inline_extents(state)?.to_vec();
    let key = extent.file_block.get();
    let at = extents.partition_point(|e| e.file_block.get() < key);
    if extents.get(at).is_some_and(|e| e.file_block.get() == key) {
        extents.remove(at);
    }
    extents.insert(at, extent);
    if extents.len() <= INLINE_EXTENTS {
        return set_inline(state, &extents);
    }
    let flags = state.disk.flags.get() | InodeFlags::TREE;
    state.disk.flags.set(flags);
    set_inline(state, &[])?;
    with_tree(state, |tree| {
        extents
            .iter()
            .try_for_each(|extent| tree.insert(fs, tx, bytemuck::bytes_of(extent)))
    })
}

fn remove_key<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State, key: u64) -> Result<()> {
    tx.mark_changed();
    if !has_tree(state) {
        let mut extents = inline_extents(state)?.to_vec();
        extents.retain(|extent| extent.file_block.get() != key);
        return set_inline(state, &extents);
    }
    with_tree(state, |tree| tree.remove(fs, tx, key).map(drop))?;
    if tree_of(state)?.root == 0 {
        let flags = state.disk.flags.get() & !InodeFlags::TREE;
        state.disk.flags.set(flags);
    }
    Ok(())
}

fn with_tree(state: &mut State, change: impl FnOnce(&mut Tree) -> Result<()>) -> Result<()> {
    let mut tree = tree_of(state)?;
    change(&mut tree)?;
    let root = Le64::from(tree.root);
    state.disk.set_inline(bytemuck::bytes_of(&root))?;
    state.add_blocks(tree.grown_blocks);
    Ok(())
}

fn set_inline(state: &mut State, extents: &[Extent]) -> Result<()> {
    state.disk.set_inline(bytemuck::cast_slice(extents))?;
    state.disk.extent_count.set(extents.len() as u16);
    Ok(())
}

/// The last extent.
pub(crate) fn last<E: Env>(fs: &LogFs<E>, state: &State) -> Result<Option<Extent>> {
    at_or_before(fs, state, u64::MAX)
}
