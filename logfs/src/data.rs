//! File data: where it lies, reserving space for it, placing it and mapping it.
//!
//! Data is written out of place: a block that is mapped is never overwritten (but for unwritten
//! extents, whose contents nobody has seen). A written range takes three steps: reserved
//! (`delayed`), given an address (`placed`), mapped. A crash before the last leaves the old
//! contents.

use crate::LogFs;
use crate::extent;
use crate::inode::{Inode, Piece, State, now};
use crate::journal::Run;
use crate::space::entries_of;
use crate::tx::{Cost, Tx};
use crate::unmapped::free_extents;
use alloc::vec::Vec;
use bento_api::{
    Attr, Env, Errno, FallocateMode, FileKind, Ino, Mapping, MappingKind, Result, SetAttr,
};
use logfs_format::{BLOCK_BYTES, Extent, InodeHead, OrphanSlot};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Blocks that one call reserves at most.
const RESERVE_BLOCKS_MAX: u64 = 8192;

/// Blocks that one transaction maps at most.
pub(crate) const MAP_BLOCKS_MAX: u64 = 1024;

/// Extents that one transaction unmaps at most.
pub(crate) const UNMAP_EXTENTS_MAX: usize = 24;

/// Mapping a range: bitmaps and table entries of what goes and comes, summaries, the tree.
pub(crate) const MAP_COST: Cost = Cost::privileged(64, 12);

/// Placing data: at most a new segment's header and summaries, of which the log holds little more
/// than their headers.
const PLACE_COST: Cost = Cost::privileged(16, 0);

/// Unmapping a range.
const UNMAP_COST: Cost = Cost::privileged(64, 4);

/// Largest file size in bytes.
const SIZE_MAX: u64 = i64::MAX as u64;

pub(crate) fn is_regular(state: &State) -> bool {
    FileKind::from_mode(state.disk.mode.get()) == Some(FileKind::Regular)
}

fn check_regular(state: &State) -> Result<()> {
    if is_regular(state) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// The blocks that a byte range touches: first, and the one behind the last.
pub(crate) fn blocks_of(offset_bytes: u64, len_bytes: u64) -> Result<(u64, u64)> {
    let end = offset_bytes
        .checked_add(len_bytes)
        .filter(|&end| end <= SIZE_MAX)
        .ok_or(Errno::EFBIG)?;
    Ok((
        offset_bytes / BLOCK,
        end.div_ceil(BLOCK).max(offset_bytes / BLOCK + 1),
    ))
}

fn mapping(start: u64, end: u64, kind: MappingKind) -> Mapping {
    Mapping {
        offset_bytes: start * BLOCK,
        len_bytes: (end - start) * BLOCK,
        kind,
    }
}

fn kind_at(extent: &Extent, file_block: u64) -> MappingKind {
    let skipped = file_block - extent.file_block.get();
    let address_bytes = (extent.start.get() + skipped) * BLOCK;
    if extent.is_unwritten() {
        MappingKind::Unwritten { address_bytes }
    } else {
        MappingKind::Mapped { address_bytes }
    }
}

/// What lies on the device from `block` on, not beyond `end`.
pub(crate) fn on_device<E: Env>(
    fs: &LogFs<E>,
    state: &State,
    block: u64,
    end: u64,
) -> Result<Mapping> {
    match extent::at_or_after(fs, state, block)? {
        Some(extent) if extent.file_block.get() <= block => Ok(mapping(
            block,
            extent.end().min(end),
            kind_at(&extent, block),
        )),
        Some(extent) => Ok(mapping(
            block,
            extent.file_block.get().min(end),
            MappingKind::Hole,
        )),
        None => Ok(mapping(block, end, MappingKind::Hole)),
    }
}

impl<E: Env> LogFs<E> {
    pub(crate) fn map_range(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
        with_delayed: bool,
    ) -> Result<Mapping> {
        self.note_use();
        let inode = self.inode(ino)?;
        let state = inode.read();
        check_regular(&state)?;
        let (block, mut end) = blocks_of(offset, len.min(SIZE_MAX - offset.min(SIZE_MAX)))?;
        if with_delayed {
            if let Some((start, delayed_end, _)) = state.in_use().delayed.at_or_after(block) {
                if start <= block {
                    return Ok(mapping(block, delayed_end, MappingKind::Delayed));
                }
                end = end.min(start);
            }
            if let Some(piece) = state.in_use().placed.at_or_after(block) {
                if piece.file_block <= block {
                    return Ok(mapping(block, piece.end(), MappingKind::Delayed));
                }
                end = end.min(piece.file_block);
            }
        }
        on_device(self, &state, block, end)
    }

    pub(crate) fn reserve_range(&self, ino: Ino, offset: u64, len: u64) -> Result<Mapping> {
        self.note_use();
        self.reporter.check_writable()?;
        let inode = self.inode(ino)?;
        let (block, end) = blocks_of(offset, len)?;
        let end = end.min(block + RESERVE_BLOCKS_MAX);
        self.with_space(|| {
            let mut state = inode.write();
            check_regular(&state)?;
            let mut end = end;
            loop {
                match self.reserve_blocks(&mut state, block, end) {
                    // Less may fit: the caller goes on behind it.
                    Err(Errno::ENOSPC) if end - block > 1 => end = block + (end - block) / 2,
                    done => return done,
                }
            }
        })
    }

    fn reserve_blocks(&self, state: &mut State, block: u64, end: u64) -> Result<Mapping> {
        let mut found = on_device(self, state, block, end)?;
        // Space that was set aside needs no promise, unless it is being written already: then it
        // is no longer unwritten when this block is placed.
        let mut promised = true;
        if let MappingKind::Unwritten { .. } = found.kind {
            let placed = state.in_use().placed.at_or_after(block);
            promised = placed.is_some_and(|piece| piece.file_block <= block);
            let limit = placed.map_or(u64::MAX, |piece| {
                if promised {
                    piece.end()
                } else {
                    piece.file_block
                }
            });
            found.len_bytes = found.len_bytes.min((limit - block).saturating_mul(BLOCK));
        }
        let end = end.min(block + found.len_bytes / BLOCK);
        if promised {
            let overwrites = matches!(found.kind, MappingKind::Mapped { .. });
            let blocks = state.in_use().delayed.missing_blocks(block, end);
            self.space.reserve_data(blocks, overwrites)?;
        }
        let mut at = block;
        while let Some((from, to)) = state.in_use().delayed.first_missing(at, end) {
            state.in_use_mut().delayed.insert(from, to, promised);
            at = to;
        }
        Ok(found)
    }

    pub(crate) fn unreserve_range(&self, ino: Ino, offset: u64, len: u64) {
        let Ok(inode) = self.inodes.get(ino) else {
            return;
        };
        let Ok((block, end)) = blocks_of(offset, len) else {
            return;
        };
        self.space
            .unreserve_data(inode.write().remove_delayed(block, end));
    }

    pub(crate) fn place_range(&self, ino: Ino, offset: u64, len: u64) -> Result<Mapping> {
        self.note_use();
        self.reporter.check_writable()?;
        let inode = self.inode(ino)?;
        let range = blocks_of(offset, len)?;
        // Only a new segment is a change on the device, and needs a transaction.
        let here = |want| self.space.place_data_here(&self.cache, want);
        if let Some(placed) = self.place_delayed(&inode, range, here)? {
            return Ok(placed);
        }
        let placed = self.transact(PLACE_COST, |tx| {
            self.place_delayed(&inode, range, |want| {
                self.space.place_data(tx, want).map(Some)
            })
        })?;
        placed.ok_or(Errno::ENOSPC)
    }

    /// Gives what is delayed at the start of a range an address, from `pick` if space is promised to it.
    fn place_delayed(
        &self,
        inode: &Inode<E>,
        (block, end): (u64, u64),
        pick: impl FnOnce(u32) -> Result<Option<Run>>,
    ) -> Result<Option<Mapping>> {
        let mut state = inode.write();
        let delayed = state
            .in_use()
            .delayed
            .at_or_after(block)
            .filter(|&(start, ..)| start <= block);
        let Some((_, delayed_end, promised)) = delayed else {
            // Nothing was reserved here: the range was truncated or punched meanwhile.
            return Err(Errno::EAGAIN);
        };
        let end = end.min(delayed_end);
        let (start, len) = if promised {
            let want = u32::try_from(end - block).unwrap_or(u32::MAX);
            match pick(want)? {
                Some(run) => run,
                None => return Ok(None),
            }
        } else {
            let found = on_device(self, &state, block, end)?;
            let MappingKind::Unwritten { address_bytes } = found.kind else {
                return Err(Errno::EAGAIN);
            };
            let end = end.min(block + found.len_bytes / BLOCK);
            (address_bytes / BLOCK, (end - block) as u32)
        };
        let piece = Piece {
            file_block: block,
            start,
            len,
            in_place: !promised,
        };
        self.space
            .unreserve_data(state.remove_delayed(block, piece.end()));
        self.drop_placed(&mut state, block, piece.end());
        state.in_use_mut().placed.insert(piece);
        let kind = MappingKind::Mapped {
            address_bytes: piece.start * BLOCK,
        };
        Ok(Some(mapping(block, piece.end(), kind)))
    }

    /// Gives up what was placed in a range: nearly always that is nothing.
    pub(crate) fn drop_placed(&self, state: &mut State, block: u64, end: u64) {
        let Some(in_use) = state.in_use_now() else {
            return;
        };
        while in_use.placed.is_any_in(block, end)
            && let Some(piece) = in_use.placed.remove_first(block, end)
        {
            if !piece.in_place {
                self.space.release(&[(piece.start, piece.len)]);
            }
        }
    }

    pub(crate) fn set_attributes(&self, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let inode = self.inode(ino)?;
        if let Some(size) = set.size_bytes {
            check_regular(&inode.read())?;
            if size > SIZE_MAX {
                return Err(Errno::EFBIG);
            }
            return self.resize(&inode, size, set);
        }
        self.transact(Cost::privileged(2, 0), |tx| {
            let mut state = inode.write();
            state.set_attr(set, now(self));
            state.store(tx)?;
            inode.touch(tx, false);
            Ok(state.attr())
        })
    }

    /// Sets the size; what is beyond goes, in as many transactions as that takes. The first sets the
    /// size and puts the inode on the orphan list, the last takes it off.
    fn resize(&self, inode: &Inode<E>, size: u64, set: &SetAttr) -> Result<Attr> {
        let first = size.div_ceil(BLOCK);
        let mut at = self.transact(UNMAP_COST, |tx| {
            let mut state = inode.write();
            let shrinks = size < state.disk.size_bytes.get();
            self.space
                .unreserve_data(state.remove_delayed(first, u64::MAX));
            self.drop_placed(&mut state, first, u64::MAX);
            let at = self.unmap(tx, &mut state, first, u64::MAX)?;
            // Without names it is on the list already, and will lose everything.
            if at < u64::MAX && state.disk.nlink.get() > 0 {
                self.add_orphan(tx, &mut state, OrphanSlot::Truncating(inode.ino))?;
            }
            state.disk.size_bytes.set(size);
            let now = now(self);
            if shrinks && set.mtime.is_none() {
                state.disk.mtime = now;
            }
            state.set_attr(set, now);
            state.store(tx)?;
            inode.touch(tx, true);
            Ok(at)
        })?;
        while at < u64::MAX {
            at = self.transact(UNMAP_COST, |tx| {
                let mut state = inode.write();
                let at = self.unmap(tx, &mut state, at, u64::MAX)?;
                if at == u64::MAX && state.disk.nlink.get() > 0 {
                    self.remove_orphan(tx, &mut state)?;
                }
                state.store(tx)?;
                inode.touch(tx, true);
                Ok(at)
            })?;
        }
        Ok(inode.read().attr())
    }

    /// Unmaps and frees a range, or the start of it; returns how far it came.
    fn unmap(&self, tx: &Tx<'_, E>, state: &mut State, start: u64, end: u64) -> Result<u64> {
        let mut gone = Vec::new();
        let limit = UNMAP_EXTENTS_MAX;
        let at = extent::remove(self, tx, state, (start, end), limit, |_, extent| {
            gone.push(extent);
            Ok(())
        })?;
        free_extents(self, tx, state, &gone)?;
        Ok(at)
    }

    /// Frees an inode that has no name and that nobody uses.
    pub(crate) fn reclaim(&self, inode: &Inode<E>) -> Result<()> {
        let mut done = false;
        while !done {
            done = self.transact(UNMAP_COST, |tx| {
                let mut state = inode.write();
                self.space.unreserve_data(state.remove_delayed(0, u64::MAX));
                self.drop_placed(&mut state, 0, u64::MAX);
                if self.unmap(tx, &mut state, 0, u64::MAX)? < u64::MAX {
                    state.store(tx)?;
                    return Ok(false);
                }
                crate::xattr::clear(self, tx, &mut state)?;
                crate::dir::clear(self, tx, &mut state)?;
                self.remove_orphan(tx, &mut state)?;
                let free = InodeHead {
                    generation: state.disk.generation,
                    ..bytemuck::Zeroable::zeroed()
                };
                state.disk = free.into();
                state.store(tx)?;
                self.space.free_inode(tx, inode.ino)?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Goes on with a truncation that a crash has cut off.
    pub(crate) fn finish_truncation(&self, inode: &Inode<E>) -> Result<()> {
        let size = inode.read().disk.size_bytes.get();
        let mtime = Some(bento_api::SetTime::To(inode.read().attr().mtime));
        let ctime = Some(bento_api::SetTime::To(inode.read().attr().ctime));
        self.resize(
            inode,
            size,
            &SetAttr {
                mtime,
                ctime,
                ..SetAttr::default()
            },
        )?;
        self.transact(Cost::privileged(2, 0), |tx| {
            self.remove_orphan(tx, &mut inode.write())
        })
    }

    pub(crate) fn change_space(
        &self,
        ino: Ino,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<Attr> {
        let inode = self.inode(ino)?;
        check_regular(&inode.read())?;
        let (first, end) = blocks_of(offset, len)?;
        let byte_end = offset + len;
        // Blocks that lie wholly inside.
        let inner = (offset.div_ceil(BLOCK), byte_end / BLOCK);
        let keep_size = match mode {
            FallocateMode::Allocate { keep_size } => keep_size,
            FallocateMode::Punch => {
                self.punch(&inode, inner)?;
                true
            }
            FallocateMode::Zero { keep_size } => {
                self.punch(&inode, inner)?;
                keep_size
            }
        };
        if mode != FallocateMode::Punch {
            let mut at = first;
            while at < end {
                at = self.with_space(|| self.set_aside(&inode, at, end))?;
            }
        }
        self.transact(Cost::privileged(2, 0), |tx| {
            let mut state = inode.write();
            if !keep_size && byte_end > state.disk.size_bytes.get() {
                state.disk.size_bytes.set(byte_end);
            }
            let now = now(self);
            state.disk.mtime = now;
            state.disk.ctime = now;
            state.store(tx)?;
            inode.touch(tx, true);
            Ok(state.attr())
        })
    }

    fn punch(&self, inode: &Inode<E>, (first, end): (u64, u64)) -> Result<()> {
        let mut at = first;
        while at < end {
            at = self.transact(UNMAP_COST, |tx| {
                let mut state = inode.write();
                self.space.unreserve_data(state.remove_delayed(at, end));
                self.drop_placed(&mut state, at, end);
                let at = self.unmap(tx, &mut state, at, end)?;
                state.store(tx)?;
                inode.touch(tx, true);
                Ok(at)
            })?;
        }
        Ok(())
    }

    /// Fills the first hole of a range, or a part of it, with an unwritten extent; returns where to
    /// go on.
    fn set_aside(&self, inode: &Inode<E>, at: u64, end: u64) -> Result<u64> {
        let found = on_device(self, &inode.read(), at, end)?;
        let hole_end = at + found.len_bytes / BLOCK;
        if found.kind != MappingKind::Hole {
            return Ok(hole_end);
        }
        let want = (hole_end - at).min(MAP_BLOCKS_MAX);
        self.space.reserve_data(want, false)?;
        let mut promised = want;
        let result = self.transact(MAP_COST, |tx| {
            let mut state = inode.write();
            let run = self.space.place_data(tx, want as u32)?;
            promised -= u64::from(run.1);
            self.space.unreserve_data(run.1.into());
            let entries: Vec<_> = entries_of(state.owner(), at, run.1, &[]).collect();
            self.space.commit_data(tx, run, tx.sequence(), &entries)?;
            let extent = Extent {
                flags: Extent::UNWRITTEN.into(),
                ..Extent::new(at, run.0, run.1)
            };
            extent::insert(self, tx, &mut state, extent)?;
            state.add_blocks(run.1.into());
            state.store(tx)?;
            inode.touch(tx, true);
            Ok(at + u64::from(run.1))
        });
        self.space.unreserve_data(promised);
        result
    }
}
