//! The write-ahead log.
//!
//! One *running* transaction collects all operations. Each operation holds a handle while it works;
//! [`Journal::begin`] makes sure that the log has room for it before it takes any lock. A *commit*
//! waits until no handle is open, takes the changed blocks (snapshots, no copies), lets the next
//! transaction start and writes one record. A transaction is *durable* when the device has been
//! flushed after that; it may be only *committed* before. A *checkpoint* writes what is durable
//! home and moves the log's tail.
//!
//! Freed space is not reused at once: data blocks wait until the free is durable, metadata blocks
//! until the tail has passed it, since replay would write old records over whatever took their
//! place.
//!
//! Lock order: `checkpoint`, `commit`, `state`; then the cache's locks.

mod checkpoint;
mod force;
mod group;
mod record;
mod ring;

use crate::cache::{Cache, Homeless};
use crate::corrupt::Reporter;
use crate::space::Space;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Event, Mutex, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use logfs_format::log::{LOG_IMAGES_MAX, WINDOW_CLAIMS_MAX};
use logfs_format::{BLOCK_BYTES, Superblock};

pub(crate) use checkpoint::write_checkpoint;
use group::Group;
pub(crate) use record::Claim;
use record::Record;
pub(crate) use ring::Ring;

/// Blocks that records change between two checkpoints. While a checkpoint is made, the log holds
/// what came before it and what comes after.
const IMAGES_MAX: usize = LOG_IMAGES_MAX / 2;

/// Bytes of log kept free besides what a transaction is known to need: claims and padding.
const SLACK_BYTES: u64 = 192 << 10;

/// Blocks that a handle can change for the first time with so much room in the log.
fn blocks_of(log_bytes: u64) -> usize {
    (log_bytes / BLOCK_BYTES as u64) as usize
}

/// A run of blocks: address and length.
pub(crate) type Run = (u64, u32);

/// What a transaction does besides changing blocks.
#[derive(Default)]
pub(crate) struct Pending {
    /// Freed data blocks.
    pub(crate) freed_data: Vec<Run>,
    /// Freed metadata blocks.
    pub(crate) freed_metadata: Vec<Run>,
    /// Data that is mapped and may not be durable.
    pub(crate) claims: Vec<Claim>,
    /// Data without checksums is mapped: it must be durable before the record is written.
    pub(crate) flush_first: bool,
    claimed_blocks: usize,
}

impl Pending {
    fn append(&mut self, mut other: Pending) {
        self.freed_data.append(&mut other.freed_data);
        self.freed_metadata.append(&mut other.freed_metadata);
        self.claimed_blocks += other
            .claims
            .iter()
            .map(|c| c.checksums.len())
            .sum::<usize>();
        self.claims.append(&mut other.claims);
        self.flush_first |= other.flush_first;
        if self.claimed_blocks > WINDOW_CLAIMS_MAX {
            self.flush_first = true;
            self.claims.clear();
        }
    }

    fn is_empty(&self) -> bool {
        self.freed_data.is_empty() && self.freed_metadata.is_empty() && self.claims.is_empty()
    }
}

struct State {
    /// The running transaction.
    sequence: u64,
    handles: u32,
    /// A commit waits for the handles: no new ones.
    draining: bool,
    /// Bytes of log that the transaction needs so far.
    bytes: u64,
    /// Bytes that open handles may yet need.
    reserved: u64,
    /// Bytes of the transaction that is being written and does not count as used yet.
    committing: u64,
    /// Who wants everything to be durable.
    group: Group,
    pending: Pending,
}

/// What the next record needs to know. Its lock is held for the length of a commit.
struct Head {
    /// Where the next record goes.
    position: u64,
    /// Where the oldest record that replay needs starts.
    tail: u64,
    /// Blocks claimed since the last flush.
    claimed_blocks: usize,
    /// Freed data, by the transaction that freed it.
    freed_data: VecDeque<(u64, Vec<Run>)>,
    /// Freed metadata, by the transaction that freed it.
    freed_metadata: VecDeque<(u64, Vec<Run>)>,
}

/// Where the log stands when a file system is mounted.
pub(crate) struct Start {
    /// Sequence number of the next transaction.
    pub(crate) sequence: u64,
    /// Position of its record.
    pub(crate) position: u64,
    /// Number of the last checkpoint.
    pub(crate) checkpoint_number: u64,
}

/// What a commit needs of the rest of the file system.
pub(crate) struct Parts<'a, E: Env> {
    pub(crate) cache: &'a Cache<E>,
    pub(crate) space: &'a Space<E>,
}

/// What the log has done since the mount. Each counts at most once per record, flush or block that
/// comes home.
#[derive(Default)]
pub(crate) struct Counters {
    /// Calls that wanted something durable that was not yet.
    pub(crate) force_requests: AtomicU64,
    /// Those of them that made it so; the others found that done when their turn came.
    pub(crate) forces: AtomicU64,
    pub(crate) flushes: AtomicU64,
    /// Writes that were durable by themselves.
    pub(crate) durable_writes: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) record_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// Blocks that checkpoints wrote home.
    pub(crate) home_blocks: AtomicU64,
}

/// Counts one more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// See the module.
pub(crate) struct Journal<E: Env> {
    env: E,
    uuid: [u8; 16],
    log_start: u64,
    ring: Ring,
    reporter: Arc<Reporter<E>>,
    state: E::Mutex<State>,
    /// A handle was closed, or a drain ended.
    changed: E::Event,
    /// A force has ended.
    forced: E::Event,
    /// All who were waited for before forcing have come.
    gathered: E::Event,
    /// How long the last force's flush took.
    flush_ns: AtomicU64,
    commit: E::Mutex<Head>,
    /// Number of the last checkpoint.
    checkpoint: E::Mutex<u64>,
    committed: AtomicU64,
    durable: AtomicU64,
    /// Granules between tail and head.
    used: AtomicU64,
    pub(crate) counters: Counters,
}

impl<E: Env> Journal<E> {
    pub(crate) fn new(
        env: E,
        superblock: &Superblock,
        reporter: Arc<Reporter<E>>,
        start: &Start,
    ) -> Self {
        Journal {
            env,
            uuid: superblock.header.uuid,
            log_start: superblock.log_start.get(),
            ring: Ring::new(superblock),
            reporter,
            state: Mutex::new(State {
                sequence: start.sequence,
                handles: 0,
                draining: false,
                bytes: 0,
                reserved: 0,
                committing: 0,
                group: Group::default(),
                pending: Pending::default(),
            }),
            changed: Event::new(),
            forced: Event::new(),
            gathered: Event::new(),
            flush_ns: AtomicU64::new(0),
            commit: Mutex::new(Head {
                position: start.position,
                tail: start.position,
                claimed_blocks: 0,
                freed_data: VecDeque::new(),
                freed_metadata: VecDeque::new(),
            }),
            checkpoint: Mutex::new(start.checkpoint_number),
            committed: AtomicU64::new(start.sequence - 1),
            durable: AtomicU64::new(start.sequence - 1),
            used: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Bytes of log that one transaction may take.
    fn transaction_max(&self) -> u64 {
        self.ring.bytes() / 4
    }

    /// Bytes of the log that recovery would need now.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Acquire) * self.ring.granule_bytes
    }

    fn free_bytes(&self) -> u64 {
        (self.ring.granules - self.used.load(Ordering::Acquire)) * self.ring.granule_bytes
    }

    /// Whether a checkpoint should be made in the background.
    pub(crate) fn wants_checkpoint(&self, cache: &Cache<E>) -> bool {
        self.used.load(Ordering::Acquire) > self.ring.granules / 2
            || cache.logged_blocks() > IMAGES_MAX / 2
            || cache.is_short()
    }

    /// The number of the running transaction.
    pub(crate) fn running(&self) -> u64 {
        self.state.lock().sequence
    }

    /// The last durable transaction.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Whether anything is not durable yet.
    pub(crate) fn is_dirty(&self) -> bool {
        let state = self.state.lock();
        let running = state.bytes > 0 || !state.pending.is_empty();
        running || self.durable() < self.committed.load(Ordering::Acquire)
    }

    /// Opens a handle in the running transaction, with room in the log for `bytes`, and returns the
    /// transaction's number. May commit and checkpoint, so no lock may be held.
    pub(crate) fn begin(&self, parts: &Parts<'_, E>, bytes: u64) -> Result<u64> {
        loop {
            self.reporter.check_alive()?;
            let mut state = self.state.lock();
            if state.draining {
                let ticket = self.changed.ticket();
                drop(state);
                self.changed.wait(ticket);
                continue;
            }
            let taken = state.bytes + state.reserved;
            if taken > 0 && taken + bytes > self.transaction_max() {
                let sequence = state.sequence;
                drop(state);
                self.commit(parts, sequence)?;
            } else if taken + state.committing + bytes + SLACK_BYTES > self.free_bytes()
                || parts.cache.logged_blocks() + blocks_of(state.reserved + bytes) > IMAGES_MAX
            {
                drop(state);
                self.checkpoint(parts, 0)?;
            } else {
                state.handles += 1;
                state.reserved += bytes;
                return Ok(state.sequence);
            }
        }
    }

    /// Closes a handle: of the `reserved` bytes, `used` were needed.
    pub(crate) fn end(&self, reserved: u64, used: u64, pending: Pending) {
        let mut state = self.state.lock();
        state.handles -= 1;
        state.reserved -= reserved;
        state.bytes += used;
        state.pending.append(pending);
        let wake = state.draining && state.handles == 0;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Writes the record of a transaction, and of all before it, unless that has been done.
    pub(crate) fn commit(&self, parts: &Parts<'_, E>, sequence: u64) -> Result<()> {
        let mut head = self.commit.lock();
        if self.committed.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        self.write_running(parts, &mut head, None)
    }

    fn or_shut_down<T>(&self, what: &str, result: Result<T>) -> Result<T> {
        result.map_err(|errno| {
            self.reporter
                .shut_down(format_args!("{what} failed: {errno}"));
            Errno::EIO
        })
    }

    /// Ends the running transaction, starts the next, and writes the record of the one that ended.
    /// For a checkpoint, `homeless` gets the blocks to be brought home: they are collected before
    /// the next transaction starts, since from then on its records hold whole blocks and it has to
    /// count them so.
    fn write_running(
        &self,
        parts: &Parts<'_, E>,
        head: &mut Head,
        homeless: Option<&mut Vec<Homeless>>,
    ) -> Result<()> {
        self.reporter.check_alive()?;
        let mut state = self.state.lock();
        state.draining = true;
        while state.handles > 0 {
            let ticket = self.changed.ticket();
            drop(state);
            self.changed.wait(ticket);
            state = self.state.lock();
        }
        if let Err(errno) = self.reporter.check_alive() {
            // Whoever closed the last handle failed halfway: that must not be logged.
            state.draining = false;
            drop(state);
            self.changed.notify_all();
            return Err(errno);
        }
        let blocks = parts.cache.commit();
        if let Some(homeless) = homeless {
            *homeless = parts.cache.collect_homeless();
        }
        let pending = core::mem::take(&mut state.pending);
        let sequence = state.sequence;
        let nothing = blocks.is_empty() && pending.is_empty();
        if !nothing {
            state.sequence += 1;
        }
        state.committing = core::mem::take(&mut state.bytes);
        state.draining = false;
        drop(state);
        self.changed.notify_all();
        if nothing {
            return Ok(());
        }
        let mut record = Record::new();
        let left_out = usize::from(planted!(RecordCutShort) && blocks.len() > 1);
        let logged = blocks.iter().take(blocks.len() - left_out);
        logged.for_each(|block| record.add_block(block));
        drop(blocks);
        let result = self.write_record(parts, head, record, sequence, pending);
        self.state.lock().committing = 0;
        result
    }

    fn write_record(
        &self,
        parts: &Parts<'_, E>,
        head: &mut Head,
        mut record: Record,
        sequence: u64,
        pending: Pending,
    ) -> Result<()> {
        let claimed_blocks = head.claimed_blocks + pending.claimed_blocks;
        let unclaimed = pending.flush_first && !planted!(DirectUnflushed);
        let flush_first = unclaimed || claimed_blocks > WINDOW_CLAIMS_MAX;
        if flush_first {
            self.flush_log(parts, head)?;
        } else if !planted!(ClaimsForgotten) {
            head.claimed_blocks = claimed_blocks;
            pending
                .claims
                .iter()
                .for_each(|claim| record.add_claim(claim));
        }
        let mut durable = self.durable.load(Ordering::Acquire);
        if planted!(ClaimsBelieved) {
            durable = sequence;
        }
        let granule_bytes = self.ring.granule_bytes as usize;
        record.finish(self.uuid, sequence, durable, flush_first, granule_bytes);
        if record.padded_bytes() > self.free_bytes() {
            self.reporter.shut_down(format_args!(
                "a transaction of {} bytes does not fit into the log",
                record.padded_bytes()
            ));
            return Err(Errno::EIO);
        }
        let written = record.write(self.env.device(), &self.ring, head.position);
        self.or_shut_down("writing the log", written)?;
        let granules = record.padded_bytes() / self.ring.granule_bytes;
        head.position += granules;
        self.used.fetch_add(granules, Ordering::AcqRel);
        head.freed_data.push_back((sequence, pending.freed_data));
        head.freed_metadata
            .push_back((sequence, pending.freed_metadata));
        self.committed.store(sequence, Ordering::Release);
        if self.wants_checkpoint(parts.cache) {
            self.env.wake_background();
        }
        let counters = &self.counters;
        count(&counters.records);
        let bytes = record.padded_bytes();
        counters.record_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.env
            .trace("log_record", &[("sequence", sequence), ("bytes", bytes)]);
        Ok(())
    }
}
