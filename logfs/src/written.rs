//! Placed data whose I/O has ended becomes what the file maps.
//!
//! Random writes end in many small parts of a file: one transaction maps as many of them as are sure
//! to fit into what it has reserved of the log. Only its first piece may change the extent tree in
//! ways that take new nodes.

use crate::LogFs;
use crate::data::{MAP_BLOCKS_MAX, MAP_COST, UNMAP_EXTENTS_MAX, blocks_of};
use crate::extent;
use crate::inode::{Piece, State, from_time, to_time};
use crate::overwrite;
use crate::space::entries_of;
use crate::tx::Tx;
use crate::unmapped::free_overwritten;
use alloc::vec::Vec;
use bento_api::{Env, Ino, Result, Time, Written};
use logfs_format::{BLOCK_BYTES, Extent, Layout};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Extents that a piece other than a transaction's first unmaps at most.
const NEXT_UNMAP_MAX: usize = 16;

/// Metadata blocks that such a piece changes at most: a leaf, and for each extent that goes a header
/// and a table entry.
const NEXT_BLOCKS: u64 = 1 + 2 * NEXT_UNMAP_MAX as u64;

/// Metadata blocks that change for a run of new data, which lies in one segment and is no longer than
/// what one transaction maps: the header, a table entry, summaries.
const RUN_BLOCKS: u64 = 2 + MAP_BLOCKS_MAX.div_ceil(logfs_format::SUMMARIES_PER_BLOCK as u64) + 1;

/// How far mapping has come: all parts before `part`, and of that one the file blocks before `block`.
#[derive(Clone, Copy)]
struct Progress {
    part: usize,
    block: u64,
}

impl Progress {
    fn next_part(self) -> Progress {
        Progress {
            part: self.part + 1,
            block: 0,
        }
    }
}

/// What one transaction maps.
struct Batch<'w> {
    pieces: Vec<(Piece, &'w [u32])>,
    blocks: u64,
    /// Runs of blocks that the pieces make on the device.
    runs: u64,
    /// Extents, or parts of them, that are no longer mapped.
    gone: Vec<Extent>,
    /// The segments that those lie in.
    left_segments: Vec<u64>,
    /// Extents that may still be unmapped for the piece at hand.
    unmap: usize,
    /// Nothing has been tried yet, so there is room for any change of the tree.
    is_first: bool,
}

impl<'w> Batch<'w> {
    fn unmapped(&mut self, layout: &Layout, extent: Extent) {
        if let Some((segment, _)) = layout.segment_of(extent.start.get())
            && !self.left_segments.contains(&segment)
        {
            self.left_segments.push(segment);
        }
        self.gone.push(extent);
    }

    /// Whether the transaction can map one more piece beside what committing the batch changes: the
    /// inode, and what says that data is live or no longer.
    fn has_room<E: Env>(&self, tx: &Tx<'_, E>) -> bool {
        let commit = 1 + self.runs * RUN_BLOCKS + 2 * self.left_segments.len() as u64;
        tx.may_change(commit + RUN_BLOCKS + NEXT_BLOCKS)
    }

    fn push(&mut self, piece: Piece, sums: &'w [u32]) {
        let goes_on = self
            .pieces
            .last()
            .is_some_and(|(last, _)| follows(last, &piece));
        self.runs += u64::from(!goes_on);
        self.blocks += u64::from(piece.len);
        self.pieces.push((piece, sums));
    }
}

/// Whether a piece lies right behind another on the device.
fn follows(piece: &Piece, next: &Piece) -> bool {
    piece.start + u64::from(piece.len) == next.start && piece.in_place == next.in_place
}

impl<E: Env> LogFs<E> {
    pub(crate) fn finish_writes(
        &self,
        ino: Ino,
        parts: &[Written<'_>],
        mtime: Option<Time>,
    ) -> Result<()> {
        let inode = self.inode(ino)?;
        let writable = self.reporter.check_writable();
        for part in parts {
            let (first, end) = blocks_of(part.offset_bytes, part.len_bytes)?;
            if part.result.is_err() || writable.is_err() {
                self.drop_placed(&mut inode.write(), first, end);
            }
        }
        writable?;
        let mut at = Progress { part: 0, block: 0 };
        let mut failed = Ok(());
        while let Some(part) = parts.get(at.part) {
            if part.result.is_err() {
                at = at.next_part();
                continue;
            }
            let done = self.transact(MAP_COST, |tx| {
                let mut state = inode.write();
                let done = self.map_parts(tx, &mut state, parts, at)?;
                if let Some(time) = mtime {
                    state.disk.mtime = from_time(time);
                    // A change of attributes meanwhile has set a newer one, of which nobody tells again.
                    if to_time(state.disk.ctime) < time {
                        state.disk.ctime = from_time(time);
                    }
                }
                state.store(tx)?;
                inode.touch(tx, !planted!(FdatasyncForgetsWrites));
                Ok(done)
            });
            at = match done {
                Ok(done) => done,
                // Unless everything ends with this, it was the part at hand, and nothing has changed.
                Err(errno) => {
                    failed = failed.and(Err(errno));
                    let (first, end) = blocks_of(part.offset_bytes, part.len_bytes)?;
                    self.drop_placed(&mut inode.write(), first, end);
                    at.next_part()
                }
            };
        }
        failed
    }

    /// Maps parts of a file from `at` on, as many as fit; returns how far it came.
    fn map_parts(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        parts: &[Written<'_>],
        mut at: Progress,
    ) -> Result<Progress> {
        let parts_left = parts.len() - at.part.min(parts.len());
        let mut batch = Batch {
            pieces: Vec::with_capacity(parts_left),
            gone: Vec::with_capacity(parts_left),
            left_segments: Vec::with_capacity(parts_left),
            blocks: 0,
            runs: 0,
            unmap: UNMAP_EXTENTS_MAX,
            is_first: true,
        };
        while let Some(part) = parts.get(at.part) {
            if part.result.is_err() {
                at = at.next_part();
                continue;
            }
            let room = MAP_BLOCKS_MAX.saturating_sub(batch.blocks);
            if room == 0 {
                break;
            }
            let (first, end) = blocks_of(part.offset_bytes, part.len_bytes)?;
            let from = at.block.max(first);
            let until = end.min(from + room);
            let done = self.map_placed(tx, state, part, (from, until), &mut batch)?;
            let reached = if done == end { u64::MAX } else { done * BLOCK };
            let size = part.size_bytes.min(reached);
            let size = size.max(state.disk.size_bytes.get());
            state.disk.size_bytes.set(size);
            at = match done == end {
                true => at.next_part(),
                false => Progress { block: done, ..at },
            };
            if done == from {
                break;
            }
        }
        self.commit(tx, state, &batch)?;
        Ok(at)
    }

    /// Maps what was placed between two blocks; returns how far it came.
    fn map_placed<'w>(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        part: &Written<'w>,
        (from, until): (u64, u64),
        batch: &mut Batch<'w>,
    ) -> Result<u64> {
        let first = part.offset_bytes / BLOCK;
        while let Some(piece) = state.remove_placed(from, until) {
            let stopped = match batch.is_first || batch.has_room(tx) {
                true => self.map_piece(tx, state, piece, batch),
                false => Ok(piece.file_block),
            };
            let stopped = stopped.inspect_err(|_| state.in_use_mut().placed.insert(piece))?;
            batch.is_first = false;
            batch.unmap = NEXT_UNMAP_MAX;
            let done = (stopped - piece.file_block) as u32;
            if done > 0 {
                let skip = (piece.file_block - first) as usize;
                let sums = part.checksums.get(skip..skip + done as usize);
                batch.push(Piece { len: done, ..piece }, sums.unwrap_or(&[]));
            }
            if stopped < piece.end() {
                // Too much for one transaction: the rest waits for the next.
                state
                    .in_use_mut()
                    .placed
                    .insert(piece.part(stopped, piece.end()));
                return Ok(stopped);
            }
        }
        Ok(until)
    }

    /// Puts a piece, or the start of it, into the mapping; returns the block behind what it came to.
    fn map_piece(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        piece: Piece,
        batch: &mut Batch<'_>,
    ) -> Result<u64> {
        let (from, to) = (piece.file_block, piece.end());
        let (limit, is_first) = (batch.unmap, batch.is_first);
        let mut unmap = |state: &mut State, old: Extent| {
            batch.unmap -= 1;
            match piece.in_place {
                true => state.add_blocks(-i64::from(old.len.get())),
                false => batch.unmapped(&self.layout, old),
            }
            Ok(())
        };
        let extent = Extent::new(from, piece.start, piece.len);
        match overwrite::look(self, state, extent, limit) {
            Ok(Some(change)) => return change.apply(tx, state, &mut unmap),
            // It becomes the first of a transaction of its own, which may do more, and may fail.
            Ok(None) | Err(_) if !is_first => return Ok(from),
            looked => looked?,
        };
        let stopped = extent::remove(self, tx, state, (from, to), limit, &mut unmap)?;
        if stopped > from {
            let extent = Extent::new(from, piece.start, (stopped - from) as u32);
            extent::insert(self, tx, state, extent)?;
        }
        Ok(stopped)
    }

    /// Gives the file the pieces of a batch, whose extents are in its mapping, and frees what they
    /// have replaced.
    fn commit(&self, tx: &Tx<'_, E>, state: &mut State, batch: &Batch<'_>) -> Result<()> {
        free_overwritten(self, tx, state, &batch.gone)?;
        let owner = state.owner();
        let is_run = |(a, a_sums): &(Piece, &[u32]), (b, b_sums): &(Piece, &[u32])| {
            follows(a, b) && a_sums.is_empty() == b_sums.is_empty()
        };
        for pieces in batch.pieces.chunk_by(is_run) {
            let Some((first, _)) = pieces.first() else {
                continue;
            };
            let blocks: u32 = pieces.iter().map(|(piece, _)| piece.len).sum();
            let mut sums = Vec::with_capacity(blocks as usize);
            let mut entries = Vec::with_capacity(blocks as usize);
            for (piece, piece_sums) in pieces {
                sums.extend_from_slice(piece_sums);
                let new = entries_of(owner, piece.file_block, piece.len, piece_sums);
                entries.extend(new);
            }
            let run = (first.start, blocks);
            if first.in_place {
                self.space.write_summaries(tx, run, &entries)?;
            } else {
                self.space.commit_data(tx, run, tx.sequence(), &entries)?;
            }
            state.add_blocks(blocks.into());
            tx.claim(first.start, sums);
        }
        Ok(())
    }
}
