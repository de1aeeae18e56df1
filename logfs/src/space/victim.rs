//! What the cleaner needs to know of segments: when to clean, which one, and where to.

use super::pick::CLEAN_KEPT;
use super::{Cursor, Segment, Space, State};
use crate::journal::Run;
use crate::tx::Tx;
use bento_api::{Env, Mutex, Result};
use logfs_format::SegmentKind;

/// Cleaning starts when fewer than this part of all segments are empty.
const LOW_PART: u32 = 32;

/// Clean segments that data which is moved leaves to others.
const CLEAN_LEFT: u32 = 1;

/// Ages above this count as this.
const AGE_MAX: u64 = 1 << 32;

/// Whether cleaning leaves a segment alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    /// No.
    No,
    /// Until something in it is freed: what lives in it can't be moved.
    ForNow,
    /// Until the next mount: it is damaged.
    ForGood,
}

/// A segment to be cleaned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    /// Its number.
    pub(crate) segment: u32,
    /// The transaction that last wrote data into it.
    pub(crate) age: u64,
}

impl State {
    /// Segments that are written to, or cleaned.
    pub(super) fn in_use(&self) -> [Option<u32>; 4] {
        let segment = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.segment);
        [
            segment(self.data),
            segment(self.metadata),
            segment(self.moved),
            self.victim,
        ]
    }
}

impl<E: Env> Space<E> {
    /// Whether there are so few empty segments that cleaning should start, or go on if it `runs`.
    pub(crate) fn wants_cleaning(&self, runs: bool) -> bool {
        let state = self.state.lock();
        let low = (state.segments.len() as u32 / LOW_PART).max(CLEAN_KEPT + 2);
        // More than what is free can't be had.
        let free = state.balance.available_to_users();
        let possible = free / u64::from(self.layout.usable_blocks(SegmentKind::Data)) * 3 / 4;
        let high = possible.min(u64::from(low * 2)) as u32;
        state.empty < if runs { high } else { low.min(high) }
    }

    /// Whether data goes into the holes of old segments, for want of clean ones.
    pub(crate) fn is_short_of_segments(&self) -> bool {
        self.state.lock().clean <= CLEAN_KEPT
    }

    /// The data segment that is best cleaned: cost and benefit as in "The Design and Implementation
    /// of a Log-Structured File System". `now` is the running transaction. Nothing is placed in it
    /// until it is given up.
    pub(crate) fn choose_victim(&self, now: u64) -> Option<Victim> {
        let mut state = self.state.lock();
        let usable = self.layout.usable_blocks(SegmentKind::Data);
        let in_use = state.in_use();
        let is_worth_it = |entry: &Segment| {
            entry.kind == SegmentKind::Data
                && (1..=usable / 8 * 7).contains(&entry.live)
                && entry.busy == 0
                && entry.stays == Stays::No
        };
        let worth = |entry: &Segment| {
            let age = (now.saturating_sub(entry.age) + 1).min(AGE_MAX);
            ((u64::from(usable - entry.live) * age) << 16) / u64::from(usable + entry.live)
        };
        let (segment, entry) = state
            .segments
            .iter()
            .zip(0..)
            .filter(|&(entry, index)| is_worth_it(entry) && !in_use.contains(&Some(index)))
            .max_by_key(|&(entry, index)| (worth(entry), u32::MAX - index))
            .map(|(entry, index)| (index, *entry))?;
        state.victim = Some(segment);
        Some(Victim {
            segment,
            age: entry.age,
        })
    }

    /// Whether nothing has been placed in a segment since it was chosen.
    pub(crate) fn is_victim(&self, segment: u32) -> bool {
        self.state.lock().victim == Some(segment)
    }

    /// Ends the cleaning of a segment. If something is left in it, that is so until something in it
    /// is freed, or until the next mount if it is `damaged`.
    pub(crate) fn give_up_victim(&self, segment: u32, damaged: bool) {
        let mut state = self.state.lock();
        state.victim = None;
        if let Some(entry) = state.segments.get_mut(segment as usize) {
            entry.stays = if damaged {
                Stays::ForGood
            } else {
                Stays::ForNow
            };
        }
    }

    /// Promises blocks to data that is moved, unless users may soon want them.
    pub(crate) fn reserve_moved(&self, blocks: u64) -> bool {
        let balance = &mut self.state.lock().balance;
        let has_room = balance.available_to_users() >= 4 * blocks;
        if has_room {
            balance.reserved_data += blocks;
        }
        has_room
    }

    /// Places up to `want` promised blocks of data that is moved. `None` if there is no room outside
    /// of what is cleaned.
    pub(crate) fn place_moved(&self, tx: &Tx<'_, E>, want: u32) -> Result<Option<Run>> {
        let mut state = self.state.lock();
        loop {
            let found = match state.moved {
                Some(cursor) => self.take(tx.cache(), &mut state, cursor, want)?,
                None => None,
            };
            if let Some((run, cursor)) = found {
                state.moved = Some(cursor);
                let (segment, range) = self.locate(run)?;
                state.set_busy(&self.layout, segment, range, true);
                return Ok(Some(run));
            }
            state.moved = None;
            let clean = if state.clean > CLEAN_LEFT {
                self.next_clean(&mut state)
            } else {
                None
            };
            let segment = if let Some(segment) = clean {
                self.open_segment(tx, &mut state, segment, SegmentKind::Data)?;
                segment
            } else if let Some(segment) = self.roomiest(&state, SegmentKind::Data) {
                // Into the holes of others, until this has made clean ones.
                segment
            } else {
                return Ok(None);
            };
            state.moved = Some(Cursor { segment, next: 0 });
        }
    }
}
