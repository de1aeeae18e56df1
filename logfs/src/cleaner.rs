//! The segment cleaner: moves what lives in segments full of holes together, so that there are clean
//! ones again. docs/CLEANER.md says when, and why nothing is lost.

use crate::LogFs;
use crate::data::{is_regular, on_device};
use crate::extent;
use crate::inode::{Inode, State};
use crate::journal::Run;
use crate::space::{Unsettled, Victim, entries_of};
use crate::tx::{Cost, Tx};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bento_api::{
    Device, Env, Errno, Ino, Level, MappingKind, Moved, Mutex, ReadRequest, Result, WriteRequest,
};
use core::sync::atomic::{AtomicU64, Ordering};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, SegmentHeader, SegmentKind, SummaryEntry, header_blocks,
};

/// Blocks that one step moves at most, and so the parts of files: `MOVED_MAX`.
const STEP_BLOCKS: usize = bento_api::MOVED_MAX;

/// The file system is idle when nobody has used it for so long. Programs pause: they compute, or wait for a
/// write that is on its way.
const IDLE_NS: u64 = 1_000_000_000;

/// Milliseconds between two steps while the file system is used.
const PAUSE_MS: u64 = 100;

/// The same while data goes into holes for want of clean segments.
const SHORT_PAUSE_MS: u64 = 10;

/// A pause is at least so many times as long as the step before it, however slow device and processor
/// are: users get four fifths of both.
const PAUSE_PER_STEP: u64 = 4;

/// Runs that one transaction moves at most.
const MOVE_RUNS_MAX: usize = 8;

/// Placing what is moved: see `data`.
const PLACE_COST: Cost = Cost::of(16, 0);

/// Moving runs: bitmaps and table entries of both segments, summaries, the tree.
const MOVE_COST: Cost = Cost::of(64, 12);

/// A run of blocks of one file, side by side on the device too.
#[derive(Clone, Debug)]
struct Piece {
    start: u64,
    ino: u64,
    generation: u32,
    file_block: u64,
    /// CRC-32C of each block, as the summary has it; none at all if it has none.
    checksums: Vec<u32>,
    len: u32,
}

impl Piece {
    fn end(&self) -> u64 {
        self.file_block + u64::from(self.len)
    }

    /// Whether an entry for the block behind the last goes on with this file.
    fn goes_on_with(&self, address: u64, entry: &SummaryEntry) -> bool {
        self.start + u64::from(self.len) == address
            && self.ino == entry.ino.get()
            && self.generation == entry.generation.get()
            && self.end() == entry.file_block()
            && self.checksums.is_empty() == entry.checksum().is_none()
    }
}

/// A piece with its file, and what it holds.
struct Loaded<E: Env> {
    piece: Piece,
    inode: Arc<Inode<E>>,
    /// CRC-32C of each block as read.
    sums: Vec<u32>,
}

/// Where cleaning stands.
#[derive(Default)]
pub(crate) struct Cleaner {
    runs: bool,
    victim: Option<Victim>,
    /// The block of the victim where the next step goes on.
    next: u32,
    /// Old places of what the last step has moved, or handed out to be settled.
    old: Vec<Run>,
    /// A write has failed: no more until the next mount.
    broken: bool,
    /// When a step last found that the file system had been used.
    used_ns: u64,
}

/// What cleaning has done since the mount.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) segments: AtomicU64,
    pub(crate) blocks: AtomicU64,
}

/// What a step has come to.
enum Step {
    /// There is more to do.
    More,
    /// Nothing moved, but what was overwritten is to be settled.
    Settle,
    /// Nothing can be done now.
    Nothing,
}

impl<E: Env> LogFs<E> {
    /// See `FileSystem::clean`.
    pub(crate) fn clean_step(&self, moved: &mut Vec<Moved>) -> u64 {
        let mut cleaner = self.cleaner.lock();
        let begun_ns = self.env.monotonic_ns();
        if self.used.swap(false, Ordering::Relaxed) {
            cleaner.used_ns = begun_ns;
        }
        let is_idle = begun_ns.saturating_sub(cleaner.used_ns) >= IDLE_NS;
        let step = self.clean_some(&mut cleaner, moved);
        let took_ms = self.env.monotonic_ns().saturating_sub(begun_ns) / 1_000_000;
        match step {
            Ok(Step::Settle) => 0,
            Ok(Step::More) if is_idle => 0,
            Ok(Step::More) => {
                let least_ms = match self.space.is_short_of_segments() {
                    true => SHORT_PAUSE_MS,
                    false => PAUSE_MS,
                };
                least_ms.max(took_ms * PAUSE_PER_STEP)
            }
            // Errors have been reported, or are the want of space or memory: later, perhaps.
            Ok(Step::Nothing) | Err(_) => {
                self.give_up(&mut cleaner, false);
                cleaner.runs = false;
                if cleaner.old.is_empty() {
                    u64::MAX
                } else {
                    PAUSE_MS
                }
            }
        }
    }

    fn clean_some(&self, cleaner: &mut Cleaner, moved: &mut Vec<Moved>) -> Result<Step> {
        self.reporter.check_writable()?;
        self.release_old(cleaner)?;
        if self.hand_out_overwritten(cleaner, moved) {
            return Ok(Step::Settle);
        }
        if cleaner.broken || !self.space.wants_cleaning(cleaner.runs) {
            return Ok(Step::Nothing);
        }
        cleaner.runs = true;
        let victim = match cleaner.victim {
            Some(victim) if self.space.is_victim(victim.segment) => victim,
            _ => {
                let chosen = self.space.choose_victim(self.journal.running());
                let Some(victim) = chosen else {
                    return Ok(Step::Nothing);
                };
                cleaner.next = header_blocks(SegmentKind::Data, self.layout.segment_blocks);
                *cleaner.victim.insert(victim)
            }
        };
        let pieces = self.live_pieces(victim, &mut cleaner.next)?;
        if pieces.is_empty() {
            self.cleaning.segments.fetch_add(1, Ordering::Relaxed);
            let cleaned = [("segment", victim.segment.into())];
            self.env.trace("segment_cleaned", &cleaned);
            self.give_up(cleaner, false);
            return Ok(Step::More);
        }
        let mut loaded = Vec::with_capacity(pieces.len());
        for piece in pieces {
            self.load_owner(piece, &mut loaded)?;
        }
        let result = self.move_loaded(cleaner, victim, &mut loaded, moved);
        for it in &loaded {
            self.unpin(Ino(it.inode.ino));
        }
        result
    }

    /// What the last step has moved is settled: its old places are free as soon as the running
    /// transaction is durable.
    fn release_old(&self, cleaner: &mut Cleaner) -> Result<()> {
        if cleaner.old.is_empty() {
            return Ok(());
        }
        self.transact_unnoticed(Cost::privileged(0, 0), |tx| {
            for run in cleaner.old.drain(..) {
                tx.freed(run, false);
            }
            Ok(())
        })
    }

    /// What was overwritten while reads were under way is settled like what has moved.
    fn hand_out_overwritten(&self, cleaner: &mut Cleaner, moved: &mut Vec<Moved>) -> bool {
        let unsettled = self.space.take_unsettled(bento_api::MOVED_MAX);
        for of_file in unsettled.chunk_by(|a, b| a.ino == b.ino) {
            cleaner.old.extend(of_file.iter().map(|freed| freed.run));
            let end = |freed: &Unsettled| freed.file_block + u64::from(freed.run.1);
            if let (Some(first), Some(end)) = (of_file.first(), of_file.iter().map(end).max()) {
                moved.push(part_of(first.ino, first.file_block, end));
            }
        }
        !unsettled.is_empty()
    }

    fn give_up(&self, cleaner: &mut Cleaner, damaged: bool) {
        if let Some(victim) = cleaner.victim.take() {
            self.space.give_up_victim(victim.segment, damaged);
        }
    }

    /// The next live blocks of a segment, as its summaries say whose they are.
    fn live_pieces(&self, victim: Victim, next: &mut u32) -> Result<Vec<Piece>> {
        let start = self.layout.segment_start(victim.segment.into());
        let header = self.cache.read(start, BlockKind::SegmentHeader)?;
        let live = &header.view::<SegmentHeader>(0)?.live;
        let is_live = |index: u32| {
            let byte = live.get(index as usize / 8).copied().unwrap_or(0);
            byte >> (index % 8) & 1 != 0
        };
        let mut pieces: Vec<Piece> = Vec::new();
        let mut blocks = 0;
        while *next < self.layout.segment_blocks && blocks < STEP_BLOCKS {
            let index = *next;
            *next += 1;
            if !is_live(index) {
                continue;
            }
            let address = start + u64::from(index);
            let (block, offset) = self.layout.summary_entry(address).ok_or(Errno::EUCLEAN)?;
            let page = self.cache.read(block, BlockKind::Summary)?;
            let entry: &SummaryEntry = page.view(offset)?;
            blocks += 1;
            match pieces.last_mut() {
                Some(piece) if piece.goes_on_with(address, entry) => {
                    piece.len += 1;
                    piece.checksums.extend(entry.checksum());
                }
                _ => pieces.push(Piece {
                    start: address,
                    ino: entry.ino.get(),
                    generation: entry.generation.get(),
                    file_block: entry.file_block(),
                    checksums: entry.checksum().into_iter().collect(),
                    len: 1,
                }),
            }
        }
        Ok(pieces)
    }

    /// Pins the file of a piece and adds what of the piece is the file's.
    fn load_owner(&self, piece: Piece, loaded: &mut Vec<Loaded<E>>) -> Result<()> {
        let Ok(inode) = self.pin(Ino(piece.ino)) else {
            // A block of metadata, whose entry means nothing; or a file without a name, that will go.
            return self.reporter.check_writable();
        };
        let parts = {
            let state = inode.read();
            let is_owner = state.owner() == (piece.ino, piece.generation) && is_regular(&state);
            if is_owner {
                self.mapped_parts(&state, &piece)
            } else {
                Ok(Vec::new())
            }
        };
        for piece in parts.iter().flatten() {
            // Each entry has a pin of its own.
            if let Ok(inode) = self.pin(Ino(piece.ino)) {
                loaded.push(Loaded {
                    piece: piece.clone(),
                    inode,
                    sums: Vec::new(),
                });
            }
        }
        drop(inode);
        self.unpin(Ino(piece.ino));
        parts.map(drop)
    }

    /// The parts of a piece that a file maps where the piece is.
    fn mapped_parts(&self, state: &State, piece: &Piece) -> Result<Vec<Piece>> {
        let mut parts = Vec::new();
        let mut at = piece.file_block;
        while at < piece.end() {
            let found = on_device(self, state, at, piece.end())?;
            let len = found.len_bytes / BLOCK_BYTES as u64;
            let skipped = at - piece.file_block;
            let address_bytes = (piece.start + skipped) * BLOCK_BYTES as u64;
            if found.kind == (MappingKind::Mapped { address_bytes }) || planted!(MovedUnverified) {
                let range = skipped as usize..(skipped + len) as usize;
                parts.push(Piece {
                    start: piece.start + skipped,
                    file_block: at,
                    checksums: piece.checksums.get(range).unwrap_or(&[]).to_vec(),
                    len: len as u32,
                    ..*piece
                });
            }
            at += len;
        }
        Ok(parts)
    }

    fn move_loaded(
        &self,
        cleaner: &mut Cleaner,
        victim: Victim,
        loaded: &mut [Loaded<E>],
        moved: &mut Vec<Moved>,
    ) -> Result<Step> {
        let total: usize = loaded.iter().map(|it| it.piece.len as usize).sum();
        if total == 0 {
            return Ok(Step::More);
        }
        let Some(data) = self.read_pieces(loaded, total)? else {
            self.give_up(cleaner, true);
            return Ok(Step::More);
        };
        if !self.space.reserve_moved(total as u64) {
            return Ok(Step::Nothing);
        }
        let mut places = self.place_pieces(total as u32)?;
        if places.is_empty() {
            return Ok(Step::Nothing);
        }
        if let Err(errno) = self.write_places(&places, &data) {
            self.env.log(
                Level::Warning,
                format_args!("cleaning ends until the next mount: a write failed: {errno}"),
            );
            self.space.release(&places);
            cleaner.broken = true;
            return Ok(Step::Nothing);
        }
        let groups = loaded.chunk_by(|a, b| a.piece.ino == b.piece.ino);
        let groups = groups.flat_map(|group| group.chunks(MOVE_RUNS_MAX));
        for group in groups {
            let result = self.move_group(victim, group, &mut places, &mut cleaner.old, moved);
            if let Err(errno) = result {
                self.space.release(&places);
                return Err(errno);
            }
        }
        Ok(Step::More)
    }

    /// Reads pieces, one behind the other, and compares them with their checksums. `None` if one is
    /// damaged.
    fn read_pieces(&self, loaded: &mut [Loaded<E>], total: usize) -> Result<Option<Vec<u8>>> {
        let mut data = Vec::new();
        let len_bytes = total * BLOCK_BYTES;
        data.try_reserve_exact(len_bytes)
            .map_err(|_| Errno::ENOMEM)?;
        data.resize(len_bytes, 0);
        let mut rest = data.as_mut_slice();
        let mut requests = Vec::with_capacity(loaded.len());
        for it in loaded.iter() {
            let (buffer, behind) = rest.split_at_mut(it.piece.len as usize * BLOCK_BYTES);
            requests.push(ReadRequest {
                offset_bytes: it.piece.start * BLOCK_BYTES as u64,
                buffer,
            });
            rest = behind;
        }
        if let Err(errno) = self.env.device().read(&mut requests) {
            self.report_unreadable(loaded, errno);
            return Ok(None);
        }
        let mut blocks = data.chunks(BLOCK_BYTES);
        for it in loaded.iter_mut() {
            let own = blocks.by_ref().take(it.piece.len as usize);
            it.sums = own.map(|block| self.env.crc32c(0, block)).collect();
            let expected = it.piece.checksums.iter().zip(&it.sums);
            let Some(index) = expected.into_iter().position(|(a, b)| a != b) else {
                continue;
            };
            // It may have been freed meanwhile, and discarded.
            let file_block = it.piece.file_block + index as u64;
            let still = self.mapped_parts(&it.inode.read(), &it.piece)?;
            let holds = |part: &Piece| (part.file_block..part.end()).contains(&file_block);
            if still.iter().any(holds) {
                self.reporter.bad_data(format_args!(
                    "inode {}: block {file_block} at {} is not what its checksum says",
                    it.piece.ino,
                    it.piece.start + index as u64
                ));
                return Ok(None);
            }
        }
        Ok(Some(data))
    }

    /// Names the block that can't be read: the device has told only that one of them can't. If now it can,
    /// the first.
    fn report_unreadable(&self, loaded: &[Loaded<E>], errno: Errno) {
        let mut buffer = vec![0; BLOCK_BYTES];
        let blocks_of = |it: &Loaded<E>| {
            let (ino, file_block, start) = (it.piece.ino, it.piece.file_block, it.piece.start);
            (0..u64::from(it.piece.len)).map(move |at| (ino, file_block + at, start + at))
        };
        let blocks: Vec<_> = loaded.iter().flat_map(blocks_of).collect();
        let mut is_bad = |address: u64| {
            let offset_bytes = address * BLOCK_BYTES as u64;
            let buffer = &mut buffer;
            let request = ReadRequest {
                offset_bytes,
                buffer,
            };
            self.env.device().read(&mut [request]).is_err()
        };
        let found = blocks.iter().find(|&&(.., address)| is_bad(address));
        if let Some((ino, block, address)) = found.or(blocks.first()) {
            self.reporter.bad_data(format_args!(
                "inode {ino}: block {block} at {address} can't be read: {errno}"
            ));
        }
    }

    /// Places for so many promised blocks, in order; none if there is no room for all.
    fn place_pieces(&self, total: u32) -> Result<Vec<Run>> {
        let mut places = Vec::new();
        let mut left = total;
        while left > 0 {
            let placed = self.transact_unnoticed(PLACE_COST, |tx| self.space.place_moved(tx, left));
            match placed {
                Ok(Some(run)) => {
                    self.space.unreserve_data(run.1.into());
                    left -= run.1;
                    places.push(run);
                }
                none => {
                    self.space.unreserve_data(left.into());
                    self.space.release(&places);
                    return none.map(|_| Vec::new());
                }
            }
        }
        Ok(places)
    }

    fn write_places(&self, places: &[Run], data: &[u8]) -> Result<()> {
        let mut rest = data;
        let mut requests = Vec::with_capacity(places.len());
        for &(start, len) in places {
            let (data, behind) = rest.split_at(len as usize * BLOCK_BYTES);
            requests.push(WriteRequest {
                offset_bytes: start * BLOCK_BYTES as u64,
                data,
            });
            rest = behind;
        }
        self.env.device().write(&requests)
    }

    /// Maps pieces of one file to their new places, those that are still mapped to the old ones.
    fn move_group(
        &self,
        victim: Victim,
        group: &[Loaded<E>],
        places: &mut Vec<Run>,
        old: &mut Vec<Run>,
        moved: &mut Vec<Moved>,
    ) -> Result<()> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        self.transact_unnoticed(MOVE_COST, |tx| {
            let mut state = first.inode.write();
            let mut changed = false;
            for it in group {
                let copies = take_places(places, it.piece.len);
                // Since it was given up, other data may have come to the same addresses.
                let parts = if self.space.is_victim(victim.segment) {
                    self.mapped_parts(&state, &it.piece)?
                } else {
                    Vec::new()
                };
                changed |= !parts.is_empty();
                self.move_piece(tx, &mut state, victim.age, it, &parts, &copies, old)?;
            }
            if changed {
                state.store(tx)?;
                let blocks = |it: &Loaded<E>| (it.piece.file_block, it.piece.end());
                let start = group.iter().map(|it| blocks(it).0).min().unwrap_or(0);
                let end = group.iter().map(|it| blocks(it).1).max().unwrap_or(0);
                moved.push(part_of(first.piece.ino, start, end));
            }
            Ok(())
        })
    }

    /// Maps the `parts` of a piece to its copies, and drops what of the copies is of no use.
    #[expect(clippy::too_many_arguments, reason = "one loop of move_group")]
    fn move_piece(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        age: u64,
        it: &Loaded<E>,
        parts: &[Piece],
        copies: &[Run],
        old: &mut Vec<Run>,
    ) -> Result<()> {
        let mut file_block = it.piece.file_block;
        for &(start, len) in copies {
            let end = file_block + u64::from(len);
            let mut dropped_to = file_block;
            for part in parts {
                let (from, to) = (part.file_block.max(file_block), part.end().min(end));
                if from >= to {
                    continue;
                }
                self.drop_copy(start + (dropped_to - file_block), from - dropped_to);
                dropped_to = to;
                let copy = (start + (from - file_block), (to - from) as u32);
                self.map_copy(tx, state, age, it, (from, to), copy, old)?;
            }
            self.drop_copy(start + (dropped_to - file_block), end - dropped_to);
            file_block = end;
        }
        Ok(())
    }

    fn drop_copy(&self, start: u64, len: u64) {
        if len > 0 {
            self.space.release(&[(start, len as u32)]);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one loop of move_piece")]
    fn map_copy(
        &self,
        tx: &Tx<'_, E>,
        state: &mut State,
        age: u64,
        it: &Loaded<E>,
        (from, to): (u64, u64),
        copy: Run,
        old: &mut Vec<Run>,
    ) -> Result<()> {
        let skipped = (from - it.piece.file_block) as usize;
        let range = skipped..skipped + copy.1 as usize;
        let sums = it.sums.get(range.clone()).ok_or(Errno::EIO)?;
        let stored = it.piece.checksums.get(range).unwrap_or(&[]);
        extent::remove(self, tx, state, (from, to), usize::MAX, |_, extent| {
            let run = (extent.start.get(), extent.len.get());
            self.space.free_moved(tx, run)?;
            if !planted!(MovedReusedEarly) {
                old.push(run);
            }
            Ok(())
        })?;
        let entries: Vec<_> = entries_of(state.owner(), from, copy.1, stored).collect();
        self.space.commit_data(tx, copy, age, &entries)?;
        if !planted!(MovedUnclaimed) {
            tx.claim(copy.0, sums.to_vec());
        }
        let blocks = &self.cleaning.blocks;
        blocks.fetch_add(copy.1.into(), Ordering::Relaxed);
        extent::insert(self, tx, state, Extent::new(from, copy.0, copy.1))
    }
}

/// From one block of a file to before another.
fn part_of(ino: u64, start: u64, end: u64) -> Moved {
    Moved {
        ino: Ino(ino),
        offset_bytes: start * BLOCK_BYTES as u64,
        len_bytes: (end - start) * BLOCK_BYTES as u64,
    }
}

/// Takes the first `len` blocks of places.
fn take_places(places: &mut Vec<Run>, len: u32) -> Vec<Run> {
    let mut taken = Vec::new();
    let mut left = len;
    while left > 0 && !places.is_empty() {
        let (start, available) = places.remove(0);
        let now = available.min(left);
        taken.push((start, now));
        if now < available {
            places.insert(0, (start + u64::from(now), available - now));
        }
        left -= now;
    }
    taken
}
