//! Space: which blocks are free, promised, in use, or not yet to be used again.
//!
//! The bitmap in each segment's header says which blocks live. Blocks that are not live but must
//! not be given out are *busy*: placed data whose I/O is under way, and freed blocks whose free is
//! not durable yet (data) or still in the log (metadata), or that may still be read. Busy bits are
//! in memory only: after a crash those blocks are simply free.
//!
//! Metadata segments and data segments differ only in what is placed there: metadata goes into a
//! data segment if no clean segment is left. Inodes live in inode segments alone.

mod bitmap;
mod discard;
mod inodes;
mod pick;
mod reserve;
mod table;
mod unsettled;
mod victim;

use crate::cache::{Cache, Page};
use crate::corrupt::Reporter;
use crate::journal::Run;
use crate::sort::sort_by_key;
use crate::tx::Tx;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Mutex, Result};
use bitmap::Words;
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use hashbrown::HashMap;
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, Layout, SegmentEntry, SegmentHeader, SegmentKind,
    SummaryEntry, header_blocks,
};

pub(crate) use reserve::Balance;
use reserve::Caller;
pub(crate) use unsettled::Unsettled;
use victim::Stays;
pub(crate) use victim::Victim;

/// What is known of a segment without reading it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: SegmentKind,
    live: u32,
    busy: u32,
    age: u64,
    /// Inode segments: there may be a free slot.
    has_room: bool,
    /// Whether cleaning leaves it alone.
    stays: Stays,
}

/// Where the next block of a kind comes from.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: u32,
    next: u32,
}

struct State {
    segments: Vec<Segment>,
    busy: HashMap<u32, Words>,
    /// The bits of the segment that last had its last busy block released, all zero, for the next one that
    /// gets its first.
    spare_busy: Option<Words>,
    balance: Balance,
    /// Segments without live or busy blocks.
    clean: u32,
    /// Where the search for a clean segment goes on.
    clean_hint: u32,
    /// Segments without live blocks: clean as soon as nothing in them is busy.
    empty: u32,
    data: Option<Cursor>,
    metadata: Option<Cursor>,
    /// Where data goes that is moved.
    moved: Option<Cursor>,
    /// The segment that is being cleaned: nothing is placed there.
    victim: Option<u32>,
    /// Freed blocks that are busy until they were discarded.
    to_discard: Vec<Run>,
    /// Freed blocks that are busy because they may still be read.
    unsettled: Vec<Unsettled>,
    inode_segment: Option<u32>,
    /// An inode block with a free slot.
    inode_block: Option<u64>,
    inodes_used: u64,
}

/// What summaries say of a run of a file's blocks, of which `checksums` may be unknown.
pub(crate) fn entries_of(
    (ino, generation): (u64, u32),
    file_block: u64,
    len: u32,
    checksums: &[u32],
) -> impl Iterator<Item = SummaryEntry> {
    (0..u64::from(len)).map(move |index| {
        let checksum = checksums.get(index as usize).copied();
        SummaryEntry::new(ino, generation, file_block + index, checksum)
    })
}

/// See the module.
pub(crate) struct Space<E: Env> {
    env: E,
    layout: Layout,
    uuid: [u8; 16],
    reporter: Arc<Reporter<E>>,
    state: E::Mutex<State>,
    /// `discard`: what is freed is discarded.
    discards: AtomicBool,
}

impl<E: Env> Space<E> {
    /// The balance now.
    pub(crate) fn balance(&self) -> Balance {
        self.state.lock().balance
    }

    /// Segments without anything in them, and all of them.
    pub(crate) fn segments(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.clean.into(), state.segments.len() as u64)
    }

    /// Blocks that hold something.
    pub(crate) fn live_blocks(&self) -> u64 {
        let state = self.state.lock();
        state
            .segments
            .iter()
            .map(|entry| u64::from(entry.live))
            .sum()
    }

    /// Blocks that can hold data or metadata, those in use included.
    pub(crate) fn capacity(&self) -> u64 {
        let state = self.state.lock();
        let blocks = |entry: &Segment| match entry.kind {
            SegmentKind::Inodes => entry.live,
            SegmentKind::Free => self.layout.usable_blocks(SegmentKind::Data),
            kind => self.layout.usable_blocks(kind),
        };
        state
            .segments
            .iter()
            .map(|entry| u64::from(blocks(entry)))
            .sum()
    }

    /// Inodes in use, and how many more there could be.
    pub(crate) fn inodes(&self) -> (u64, u64) {
        let state = self.state.lock();
        let slots = state
            .balance
            .available()
            .saturating_mul(logfs_format::INODES_PER_BLOCK as u64);
        (state.inodes_used, slots)
    }

    /// Whether a segment is one for inodes.
    pub(crate) fn holds_inodes(&self, segment: u64) -> bool {
        let state = self.state.lock();
        let entry = usize::try_from(segment)
            .ok()
            .and_then(|index| state.segments.get(index));
        entry.is_some_and(|entry| entry.kind == SegmentKind::Inodes)
    }

    /// Reserves as a user, and if that fails as whoever asks: most never come near the limit, so
    /// privileges are looked at only there.
    fn with_balance<T>(
        &self,
        mut reserve: impl FnMut(&mut Balance, Caller) -> Result<T>,
    ) -> Result<T> {
        let result = reserve(&mut self.state.lock().balance, Caller::User);
        if result.is_ok() || !self.env.may_use_reserve() {
            return result;
        }
        reserve(&mut self.state.lock().balance, Caller::Root)
    }

    /// Promises blocks to data that will be written; whether it `overwrites` data that is there.
    pub(crate) fn reserve_data(&self, blocks: u64, overwrites: bool) -> Result<()> {
        self.with_balance(|balance, caller| balance.reserve_data(blocks, overwrites, caller))
    }

    /// Takes a promise to data back.
    pub(crate) fn unreserve_data(&self, blocks: u64) {
        let balance = &mut self.state.lock().balance;
        balance.reserved_data = balance.reserved_data.saturating_sub(blocks);
    }

    /// Promises blocks to an operation's metadata; returns how many.
    pub(crate) fn reserve_metadata(&self, blocks: u64, privileged: bool) -> Result<u64> {
        self.with_balance(|balance, caller| balance.reserve_metadata(blocks, privileged, caller))
    }

    /// Takes a promise to metadata back.
    pub(crate) fn unreserve_metadata(&self, blocks: u64) {
        let balance = &mut self.state.lock().balance;
        balance.reserved_metadata = balance.reserved_metadata.saturating_sub(blocks);
    }

    /// The header of a segment.
    fn header(&self, cache: &Cache<E>, segment: u32) -> Result<Arc<Page>> {
        cache.read(
            self.layout.segment_start(segment.into()),
            BlockKind::SegmentHeader,
        )
    }

    /// Splits a run of blocks that lies in one segment into segment and places.
    fn locate(&self, run: Run) -> Result<(u32, Range<u32>)> {
        let (start, len) = run;
        let place = self.layout.segment_of(start).and_then(|(segment, index)| {
            let end = index.checked_add(len)?;
            (end <= self.layout.segment_blocks).then_some((segment as u32, index..end))
        });
        place.ok_or_else(|| {
            self.reporter.corrupt(format_args!(
                "blocks {start}+{len} are not inside a segment"
            ))
        })
    }

    /// Sets or clears live bits of runs that lie in one segment and in order, and keeps the segment
    /// table in step.
    fn set_live(&self, tx: &Tx<'_, E>, state: &mut State, runs: &[Run], live: bool) -> Result<()> {
        let (Some(&first_run), Some(&last_run)) = (runs.first(), runs.last()) else {
            return Ok(());
        };
        let (segment, Range { start, .. }) = self.locate(first_run)?;
        let (_, Range { end, .. }) = self.locate(last_run)?;
        let header = self.header(tx.cache(), segment)?;
        let stored: &SegmentHeader = header.view(0)?;
        let known = state.segments.get(segment as usize);
        let kind = known.ok_or(Errno::EUCLEAN)?.kind;
        let first = header_blocks(kind, self.layout.segment_blocks);
        let is_possible = start >= first && kind != SegmentKind::Free;
        let bytes = start / 8..end.div_ceil(8);
        let slice = stored.live.get(bytes.start as usize..bytes.end as usize);
        let mut copy = slice.ok_or(Errno::EUCLEAN)?.to_vec();
        // A page that somebody reads is copied when it changes.
        drop(header);
        let base = self.layout.segment_start(segment.into()) + u64::from(bytes.start) * 8;
        let mut changed = 0;
        for &(start, len) in runs {
            let at = start.saturating_sub(base) as u32;
            if !is_possible || bitmap::flip(&mut copy, at..at + len, live).is_none() {
                let verb = match live {
                    true => "already in use",
                    false => "freed but not in use",
                };
                let fault = format_args!("blocks {start}+{len}: {verb}");
                return Err(self.reporter.corrupt(fault));
            }
            changed += len;
        }
        state.account(&self.layout, segment, |entry| {
            entry.live = match live {
                true => entry.live + changed,
                false => entry.live.saturating_sub(changed),
            };
            if !live && entry.stays == Stays::ForNow {
                entry.stays = Stays::No;
            }
        });
        let address = self.layout.segment_start(segment.into());
        let offset = SegmentHeader::LIVE_OFFSET + bytes.start as usize;
        tx.write(address, BlockKind::SegmentHeader, offset, &copy)?;
        self.write_entry(tx, state, segment)
    }

    /// Stores what is known of a segment in the segment table.
    fn write_entry(&self, tx: &Tx<'_, E>, state: &State, segment: u32) -> Result<()> {
        let known = state.segments.get(segment as usize).ok_or(Errno::EUCLEAN)?;
        let entry = SegmentEntry {
            kind: known.kind as u8,
            flags: 0,
            reserved: 0.into(),
            live_blocks: known.live.into(),
            age: known.age.into(),
        };
        let (block, offset) = self.layout.table_entry(segment.into());
        tx.write(
            block,
            BlockKind::SegmentTable,
            offset,
            bytemuck::bytes_of(&entry),
        )
    }

    /// Gives a clean segment a use: writes its header, and empty summaries for data.
    fn open_segment(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        segment: u32,
        kind: SegmentKind,
    ) -> Result<()> {
        let start = self.layout.segment_start(segment.into());
        tx.create(&BlockHeader::new(
            BlockKind::SegmentHeader,
            self.uuid,
            start,
        ))?;
        let mut fields = [0; 16];
        fields[..8].copy_from_slice(&u64::from(segment).to_le_bytes());
        fields[8] = kind as u8;
        let offset = core::mem::offset_of!(SegmentHeader, segment);
        tx.write(start, BlockKind::SegmentHeader, offset, &fields)?;
        let summaries = if kind == SegmentKind::Data {
            header_blocks(kind, self.layout.segment_blocks)
        } else {
            1
        };
        for index in 1..summaries {
            let address = start + u64::from(index);
            tx.create(&BlockHeader::new(BlockKind::Summary, self.uuid, address))?;
        }
        state.account(&self.layout, segment, |entry| {
            *entry = Segment {
                kind,
                live: 0,
                busy: 0,
                age: 0,
                has_room: true,
                stays: Stays::No,
            };
        });
        let opened = [
            ("segment", segment.into()),
            ("kind", kind as u64),
            ("clean", state.clean.into()),
        ];
        self.env.trace("segment_opened", &opened);
        self.write_entry(tx, state, segment)
    }

    /// Makes placed data live, which `entries` say whose it is. `age` is the transaction that it was
    /// first written in.
    pub(crate) fn commit_data(
        &self,
        tx: &Tx<'_, E>,
        run: Run,
        age: u64,
        entries: &[SummaryEntry],
    ) -> Result<()> {
        let mut state = self.state.lock();
        let (segment, range) = self.locate(run)?;
        state.set_busy(&self.layout, segment, range, false);
        if let Some(entry) = state.segments.get_mut(segment as usize) {
            entry.age = entry.age.max(age);
        }
        self.set_live(tx, &mut state, &[run], true)?;
        drop(state);
        self.write_summaries(tx, run, entries)
    }

    /// Says in the summaries who owns a run of data blocks.
    pub(crate) fn write_summaries(
        &self,
        tx: &Tx<'_, E>,
        run: Run,
        entries: &[SummaryEntry],
    ) -> Result<()> {
        self.locate(run)?;
        let (mut at, mut rest) = (run.0, entries);
        while !rest.is_empty() {
            let (block, offset) = self.layout.summary_entry(at).ok_or(Errno::EUCLEAN)?;
            let room = (BLOCK_BYTES - offset) / size_of::<SummaryEntry>();
            let (here, behind) = rest.split_at(room.clamp(1, rest.len()));
            let bytes = bytemuck::cast_slice(here);
            tx.write(block, BlockKind::Summary, offset, bytes)?;
            at += here.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Frees live blocks of any kind but inodes, in any order. Each run lies in one segment.
    pub(crate) fn free(&self, tx: &Tx<'_, E>, runs: &mut [Run], is_metadata: bool) -> Result<()> {
        let early = match is_metadata {
            true => planted!(MetadataReusedEarly),
            false => planted!(DataReusedEarly),
        };
        sort_by_key(runs, |&run| run);
        let segment_of = |run: &Run| self.layout.segment_of(run.0).map(|(segment, _)| segment);
        let mut state = self.state.lock();
        for runs in runs.chunk_by(|a, b| segment_of(a) == segment_of(b)) {
            self.set_live(tx, &mut state, runs, false)?;
            for &run in runs.iter().filter(|_| !early) {
                let (segment, range) = self.locate(run)?;
                state.set_busy(&self.layout, segment, range, true);
                tx.freed(run, is_metadata);
            }
        }
        Ok(())
    }

    /// Freed or placed blocks can be given out again.
    pub(crate) fn release(&self, runs: &[Run]) {
        let mut state = self.state.lock();
        for &run in runs {
            if let Ok((segment, range)) = self.locate(run) {
                state.set_busy(&self.layout, segment, range, false);
            }
        }
    }
}

impl State {
    /// Free blocks of a segment, in its column of the balance.
    fn free_of(layout: &Layout, entry: &Segment) -> (u64, u64) {
        match entry.kind {
            SegmentKind::Free => (layout.usable_blocks(SegmentKind::Data).into(), 0),
            SegmentKind::Inodes => (0, 0),
            kind => {
                let usable = layout.usable_blocks(kind);
                let free = u64::from(usable.saturating_sub(entry.live + entry.busy));
                if kind == SegmentKind::Data {
                    (free, 0)
                } else {
                    (0, free)
                }
            }
        }
    }

    fn is_clean(entry: &Segment) -> bool {
        State::is_empty(entry) && entry.busy == 0
    }

    fn is_empty(entry: &Segment) -> bool {
        entry.kind != SegmentKind::Inodes && entry.live == 0
    }

    /// Changes a segment's entry and carries the difference over into the balance.
    fn account(&mut self, layout: &Layout, segment: u32, change: impl FnOnce(&mut Segment)) {
        let Some(entry) = self.segments.get_mut(segment as usize) else {
            return;
        };
        let (data, metadata) = State::free_of(layout, entry);
        let clean = u32::from(State::is_clean(entry));
        let empty = u32::from(State::is_empty(entry));
        change(entry);
        let after = State::free_of(layout, entry);
        self.clean = self.clean - clean + u32::from(State::is_clean(entry));
        self.empty = self.empty - empty + u32::from(State::is_empty(entry));
        self.balance.free_data = self.balance.free_data - data + after.0;
        self.balance.free_metadata = self.balance.free_metadata - metadata + after.1;
    }

    /// Marks blocks as not to be given out, or as available again.
    fn set_busy(&mut self, layout: &Layout, segment: u32, range: Range<u32>, busy: bool) {
        let words = self.busy.entry(segment).or_insert_with(|| {
            let words = self.spare_busy.take();
            words.unwrap_or_else(|| bitmap::empty(layout.segment_blocks))
        });
        let before = bitmap::count(words, range.clone());
        bitmap::fill(words, range.clone(), busy);
        let after = if busy { range.end - range.start } else { 0 };
        let mut left = 0;
        self.account(layout, segment, |entry| {
            entry.busy = entry.busy - before + after;
            left = entry.busy;
        });
        if left == 0 {
            let words = self.busy.remove(&segment);
            let is_zero = |words: &Words| words.iter().all(|&word| word == 0);
            debug_assert!(
                words.as_ref().is_none_or(is_zero),
                "busy blocks that were not counted"
            );
            self.spare_busy = words;
        }
    }
}
