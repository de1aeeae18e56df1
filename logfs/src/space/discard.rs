//! Telling the device what is free: after each free with `-o discard`, or all at once for fstrim.
//!
//! Blocks are busy while they are discarded, so nobody writes to them meanwhile.

use super::{Space, State, bitmap};
use crate::cache::Cache;
use crate::journal::Run;
use crate::sort::sort_by_key;
use bento_api::{Device, Env, Errno, Level, Mutex, Result};
use core::ops::Range;
use core::sync::atomic::Ordering;
use logfs_format::{BLOCK_BYTES, BlockKind, SegmentHeader, SegmentKind, header_blocks};

impl<E: Env> Space<E> {
    /// Turns discarding of what is freed on or off.
    pub(crate) fn set_discards(&self, on: bool) {
        self.discards.store(on, Ordering::Relaxed);
    }

    /// Freed blocks may be used again, after they were discarded if that is wanted.
    pub(crate) fn release_freed(&self, runs: &[Run]) {
        if self.discards.load(Ordering::Relaxed) {
            self.state.lock().to_discard.extend_from_slice(runs);
        } else {
            self.release(runs);
        }
    }

    /// Discards what waits for it, and releases it.
    pub(crate) fn discard_freed(&self) {
        let mut runs = core::mem::take(&mut self.state.lock().to_discard);
        sort_by_key(&mut runs, |&run| run);
        let behind = |run: &Run| run.0 + u64::from(run.1);
        for joined in runs.chunk_by(|a, b| behind(a) == b.0) {
            if let (Some(first), Some(last)) = (joined.first(), joined.last()) {
                self.discard_or_stop(first.0, behind(last));
            }
            self.release(joined);
        }
    }

    fn discard(&self, start: u64, end: u64) -> Result<()> {
        self.env
            .trace("discard", &[("start", start), ("blocks", end - start)]);
        let block = BLOCK_BYTES as u64;
        let device = self.env.device();
        device.discard(start * block, (end - start) * block)
    }

    /// Discards blocks. Nothing depends on it: if the device can't, it isn't asked again.
    fn discard_or_stop(&self, start: u64, end: u64) {
        if let Err(errno) = self.discard(start, end) {
            self.set_discards(false);
            self.env.log(
                Level::Warning,
                format_args!("discarding {start}..{end} failed: {errno}; nodiscard from now on"),
            );
        }
    }

    /// Discards what is free between two blocks, in runs of at least `min` blocks; returns how many
    /// blocks that was. Ends at the first run that the device does not discard, with its error.
    pub(crate) fn trim(&self, cache: &Cache<E>, blocks: Range<u64>, min: u64) -> Result<u64> {
        let mut trimmed = 0;
        let count = self.state.lock().segments.len() as u32;
        for segment in 0..count {
            let start = self.layout.segment_start(segment.into());
            let from = blocks.start.saturating_sub(start);
            let until = blocks.end.saturating_sub(start);
            let within = |at: u64| at.min(self.layout.segment_blocks.into()) as u32;
            let range = within(from)..within(until);
            if range.is_empty() {
                continue;
            }
            let mut at = range.start;
            while let Some(run) = self.hide_free(cache, segment, at..range.end, min)? {
                let (first, end) = (u64::from(run.start), u64::from(run.end));
                let discarded = self.discard(start + first, start + end);
                self.show_free(segment, run.clone());
                discarded?;
                trimmed += end - first;
                at = run.end;
            }
        }
        Ok(trimmed)
    }

    /// Makes the next long run of free blocks of a segment busy. What is promised to others is left
    /// to them.
    fn hide_free(
        &self,
        cache: &Cache<E>,
        segment: u32,
        range: Range<u32>,
        min: u64,
    ) -> Result<Option<Range<u32>>> {
        let mut state = self.state.lock();
        let entry = *state.segments.get(segment as usize).ok_or(Errno::EUCLEAN)?;
        let found = match entry.kind {
            SegmentKind::Inodes => None,
            // Somebody else trims it.
            SegmentKind::Free if entry.busy > 0 => None,
            SegmentKind::Free => Some(range).filter(|run| run.len() as u64 >= min),
            kind => {
                let address = self.layout.segment_start(segment.into());
                let header = cache.read(address, BlockKind::SegmentHeader)?;
                let live = &header.view::<SegmentHeader>(0)?.live;
                let first = header_blocks(kind, self.layout.segment_blocks);
                let busy = state.busy.get(&segment);
                let mut at = range.start.max(first);
                loop {
                    let rest = at..range.end;
                    match bitmap::find_run(live, busy, rest, u32::MAX) {
                        Some(run) if (run.len() as u64) < min => at = run.end,
                        found => break found,
                    }
                }
            }
        };
        let Some(run) = found.filter(|run| !run.is_empty()) else {
            return Ok(None);
        };
        let hidden = self.hidden_by(entry.kind, &run);
        if state.balance.available_to_users() < hidden {
            return Ok(None);
        }
        if entry.kind == SegmentKind::Free {
            state.balance.reserved_data += hidden;
        }
        state.set_busy(&self.layout, segment, run.clone(), true);
        Ok(Some(run))
    }

    fn show_free(&self, segment: u32, run: Range<u32>) {
        let mut state = self.state.lock();
        let kind = state.segments.get(segment as usize).map(|entry| entry.kind);
        if let Some(SegmentKind::Free) = kind {
            let hidden = self.hidden_by(SegmentKind::Free, &run);
            let reserved = &mut state.balance.reserved_data;
            *reserved = reserved.saturating_sub(hidden);
        }
        State::set_busy(&mut state, &self.layout, segment, run, false);
    }

    /// Free blocks that can't be used while a run is busy: a segment is given a use as a whole.
    fn hidden_by(&self, kind: SegmentKind, run: &Range<u32>) -> u64 {
        match kind {
            SegmentKind::Free => self.layout.usable_blocks(SegmentKind::Data).into(),
            _ => run.len() as u64,
        }
    }
}
