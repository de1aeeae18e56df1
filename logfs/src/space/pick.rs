//! Choosing blocks.
//!
//! Each use fills one segment from front to back, the holes of an old one included, and then goes
//! on to another: a clean one as long as there are more than a few, else the old one with the most
//! room.

use super::{Cursor, Segment, Space, State, bitmap};
use crate::cache::Cache;
use crate::journal::Run;
use crate::tx::Tx;
use bento_api::{Env, Errno, Mutex, Result};
use logfs_format::{BlockHeader, SegmentHeader, SegmentKind, header_blocks};

/// Clean segments that data leaves to metadata and inodes.
pub(super) const CLEAN_KEPT: u32 = 4;

impl<E: Env> Space<E> {
    /// Places up to `want` blocks of data: they are busy until they are made live or released. At
    /// least one block was promised.
    pub(crate) fn place_data(&self, tx: &Tx<'_, E>, want: u32) -> Result<Run> {
        let mut state = self.state.lock();
        loop {
            if let Some(run) = self.take_data(tx.cache(), &mut state, want)? {
                return Ok(run);
            }
            let segment = match self.next_data_segment(tx, &mut state) {
                Err(Errno::ENOSPC) if state.victim.take().is_some() => continue,
                done => done?,
            };
            state.data = Some(Cursor { segment, next: 0 });
        }
    }

    /// The same in the segment that data goes to now; `None` if it is full.
    pub(crate) fn place_data_here(&self, cache: &Cache<E>, want: u32) -> Result<Option<Run>> {
        self.take_data(cache, &mut self.state.lock(), want)
    }

    fn take_data(&self, cache: &Cache<E>, state: &mut State, want: u32) -> Result<Option<Run>> {
        let Some(cursor) = state.data else {
            return Ok(None);
        };
        let Some((run, cursor)) = self.take(cache, state, cursor, want)? else {
            return Ok(None);
        };
        state.data = Some(cursor);
        let (segment, range) = self.locate(run)?;
        state.set_busy(&self.layout, segment, range, true);
        Ok(Some(run))
    }

    /// A live block for metadata with this header; its address is filled in.
    pub(crate) fn place_metadata(&self, tx: &Tx<'_, E>, header: BlockHeader) -> Result<u64> {
        let mut state = self.state.lock();
        tx.take_promise(&mut state.balance);
        let address = loop {
            let found = match state.metadata {
                Some(cursor) => self.take(tx.cache(), &mut state, cursor, 1)?,
                None => None,
            };
            if let Some((run, cursor)) = found {
                state.metadata = Some(cursor);
                self.set_live(tx, &mut state, &[run], true)?;
                break run.0;
            }
            let segment = match self.next_metadata_segment(tx, &mut state) {
                Err(Errno::ENOSPC) if state.victim.take().is_some() => continue,
                done => done?,
            };
            state.metadata = Some(Cursor { segment, next: 0 });
        };
        drop(state);
        tx.create(&BlockHeader {
            address: address.into(),
            uuid: self.uuid,
            ..header
        })?;
        Ok(address)
    }

    /// Free blocks of the segment that a cursor is in, from there on, and the cursor behind them.
    pub(super) fn take(
        &self,
        cache: &Cache<E>,
        state: &mut State,
        cursor: Cursor,
        want: u32,
    ) -> Result<Option<(Run, Cursor)>> {
        let Cursor { segment, next } = cursor;
        let Some(entry) = state.segments.get(segment as usize) else {
            return Ok(None);
        };
        let usable = self.layout.usable_blocks(entry.kind);
        if entry.kind == SegmentKind::Free || entry.live + entry.busy >= usable {
            return Ok(None);
        }
        let first = next.max(header_blocks(entry.kind, self.layout.segment_blocks));
        let header = self.header(cache, segment)?;
        let stored: &SegmentHeader = header.view(0)?;
        let range = first..self.layout.segment_blocks;
        if range.is_empty() {
            return Ok(None);
        }
        let found = bitmap::find_run(&stored.live, state.busy.get(&segment), range, want);
        if found.is_none() && next == 0 {
            // Going on would mean to choose the same segment again.
            return Err(self.reporter.corrupt(format_args!(
                "segment {segment}: has no free block, the segment table says {} are in use",
                entry.live
            )));
        }
        Ok(found.map(|range| {
            let start = self.layout.segment_start(segment.into()) + u64::from(range.start);
            let run = (start, range.end - range.start);
            (
                run,
                Cursor {
                    segment,
                    next: range.end,
                },
            )
        }))
    }

    fn next_data_segment(&self, tx: &Tx<'_, E>, state: &mut State) -> Result<u32> {
        if state.clean > CLEAN_KEPT
            && let Some(segment) = self.next_clean(state)
        {
            self.open_segment(tx, state, segment, SegmentKind::Data)?;
            return Ok(segment);
        }
        if let Some(segment) = self.roomiest(state, SegmentKind::Data) {
            return Ok(segment);
        }
        let segment = self.next_clean(state).ok_or(Errno::ENOSPC)?;
        self.open_segment(tx, state, segment, SegmentKind::Data)?;
        Ok(segment)
    }

    fn next_metadata_segment(&self, tx: &Tx<'_, E>, state: &mut State) -> Result<u32> {
        if let Some(segment) = self.roomiest(state, SegmentKind::Metadata) {
            return Ok(segment);
        }
        let cost = u64::from(self.layout.usable_blocks(SegmentKind::Data));
        if state.balance.can_spare(cost)
            && let Some(segment) = self.next_clean(state)
        {
            self.open_segment(tx, state, segment, SegmentKind::Metadata)?;
            return Ok(segment);
        }
        if let Some(segment) = self.roomiest(state, SegmentKind::Data) {
            return Ok(segment);
        }
        let segment = self.next_clean(state).ok_or(Errno::ENOSPC)?;
        self.open_segment(tx, state, segment, SegmentKind::Data)?;
        Ok(segment)
    }

    /// A clean segment: the next one behind the last that was taken, so that new data is laid out
    /// in the order of the device.
    pub(super) fn next_clean(&self, state: &mut State) -> Option<u32> {
        if state.clean == 0 {
            return None;
        }
        let in_use = state.in_use();
        let count = state.segments.len() as u32;
        let order = (state.clean_hint..count).chain(0..state.clean_hint.min(count));
        let is_free = |&segment: &u32| {
            let entry = state.segments.get(segment as usize);
            entry.is_some_and(State::is_clean) && !in_use.contains(&Some(segment))
        };
        let segment = order.into_iter().find(is_free)?;
        state.clean_hint = segment + 1;
        Some(segment)
    }

    /// The segment of a kind with the most free blocks.
    pub(super) fn roomiest(&self, state: &State, kind: SegmentKind) -> Option<u32> {
        let free = |entry: &Segment| {
            let (data, metadata) = State::free_of(&self.layout, entry);
            data + metadata
        };
        state
            .segments
            .iter()
            .enumerate()
            .filter(|&(index, entry)| entry.kind == kind && state.victim != Some(index as u32))
            .map(|(index, entry)| (free(entry), index as u32))
            .filter(|&(free, _)| free > 0)
            .max_by_key(|&(free, index)| (free, u32::MAX - index))
            .map(|(_, index)| index)
    }
}
