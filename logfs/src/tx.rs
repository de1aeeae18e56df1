//! One operation's part of the running transaction.

use crate::LogFs;
use crate::cache::{Cache, Page};
use crate::journal::{Claim, Parts, Pending, Run};
use crate::space::Balance;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Result};
use core::cell::{Cell, RefCell};
use core::ops::Range;
use core::sync::atomic::Ordering;
use logfs_format::log::ITEM_HEAD_BYTES;
use logfs_format::{BLOCK_BYTES, BlockHeader, BlockKind};

/// What an operation may need at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Metadata blocks that it changes.
    pub(crate) changed_blocks: u64,
    /// Metadata blocks that it takes.
    pub(crate) new_blocks: u64,
    /// It frees space, or completes what was promised: it may use the pool.
    pub(crate) privileged: bool,
}

impl Cost {
    /// An operation that must find its space.
    pub(crate) const fn of(changed_blocks: u64, new_blocks: u64) -> Cost {
        Cost {
            changed_blocks,
            new_blocks,
            privileged: false,
        }
    }

    /// An operation that must not fail for want of space.
    pub(crate) const fn privileged(changed_blocks: u64, new_blocks: u64) -> Cost {
        Cost {
            changed_blocks,
            new_blocks,
            privileged: true,
        }
    }

    fn log_bytes(self) -> u64 {
        (self.changed_blocks + self.new_blocks) * (BLOCK_BYTES + 2 * ITEM_HEAD_BYTES) as u64
    }
}

/// An open handle in the running transaction; dropping it closes it.
pub(crate) struct Tx<'a, E: Env> {
    fs: &'a LogFs<E>,
    sequence: u64,
    reserved_bytes: u64,
    used_bytes: Cell<u64>,
    promised_blocks: Cell<u64>,
    changed: Cell<bool>,
    pending: RefCell<Pending>,
}

impl<E: Env> LogFs<E> {
    /// What the journal needs of the rest.
    pub(crate) fn parts(&self) -> Parts<'_, E> {
        Parts {
            cache: &self.cache,
            space: &self.space,
        }
    }

    /// Does `work` as one operation: after a crash all of it is there or nothing. No lock may be
    /// held. If `work` fails after it has changed something, the file system shuts down: half an
    /// operation must never reach the device.
    pub(crate) fn transact<T>(
        &self,
        cost: Cost,
        work: impl FnOnce(&Tx<'_, E>) -> Result<T>,
    ) -> Result<T> {
        self.note_use();
        self.transact_unnoticed(cost, work)
    }

    /// Cleaning gives way to whoever uses the file system. A flag that is set already stays shared
    /// among processors.
    pub(crate) fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// [`transact`](LogFs::transact) for cleaning itself.
    pub(crate) fn transact_unnoticed<T>(
        &self,
        cost: Cost,
        work: impl FnOnce(&Tx<'_, E>) -> Result<T>,
    ) -> Result<T> {
        self.reporter.check_writable()?;
        let tx = self.begin(cost)?;
        let result = work(&tx);
        if let Err(errno) = &result
            && tx.changed.get()
        {
            self.reporter
                .shut_down(format_args!("an operation failed halfway: {errno}"));
        }
        result
    }

    fn begin(&self, cost: Cost) -> Result<Tx<'_, E>> {
        let promised = self.with_space(|| {
            self.space
                .reserve_metadata(cost.new_blocks, cost.privileged)
        })?;
        let reserved_bytes = cost.log_bytes();
        let sequence = self
            .journal
            .begin(&self.parts(), reserved_bytes)
            .inspect_err(|_| {
                self.space.unreserve_metadata(promised);
            })?;
        Ok(Tx {
            fs: self,
            sequence,
            reserved_bytes,
            used_bytes: Cell::new(0),
            promised_blocks: Cell::new(promised),
            changed: Cell::new(false),
            pending: RefCell::new(Pending::default()),
        })
    }

    /// Tries again if there is no space and freed blocks only wait to become free. No lock may be
    /// held.
    pub(crate) fn with_space<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        match attempt() {
            Err(Errno::ENOSPC) => {
                self.journal.checkpoint(&self.parts(), 0)?;
                self.space.discard_freed();
                attempt()
            }
            done => done,
        }
    }
}

impl<E: Env> Tx<'_, E> {
    /// The running transaction's number.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The cache that it changes blocks in.
    pub(crate) fn cache(&self) -> &Cache<E> {
        &self.fs.cache
    }

    /// Whether it may change so many more metadata blocks, whatever the changes are.
    pub(crate) fn may_change(&self, blocks: u64) -> bool {
        let bytes = Cost::of(blocks, 0).log_bytes();
        self.used_bytes.get() + bytes <= self.reserved_bytes
    }

    /// A snapshot of a metadata block.
    pub(crate) fn read(&self, address: u64, kind: BlockKind) -> Result<Arc<Page>> {
        self.fs.cache.read(address, kind)
    }

    /// Puts bytes into a metadata block.
    pub(crate) fn write(
        &self,
        address: u64,
        kind: BlockKind,
        offset: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let grown = self.fs.cache.write(address, kind, offset, bytes)?;
        self.grow(grown);
        Ok(())
    }

    /// Puts bytes in the place of others of a metadata block; what stands behind those, up to byte
    /// `end`, follows.
    pub(crate) fn splice(
        &self,
        address: u64,
        kind: BlockKind,
        gone: Range<usize>,
        end: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let grown = self.fs.cache.splice(address, kind, gone, end, bytes)?;
        self.grow(grown);
        Ok(())
    }

    /// Makes a metadata block of zeros behind this header.
    pub(crate) fn create(&self, header: &BlockHeader) -> Result<()> {
        let grown = self.fs.cache.create(header)?;
        self.grow(grown);
        Ok(())
    }

    /// What is in memory is about to differ from what the transaction has changed in blocks: if the
    /// operation fails now, it has failed halfway.
    pub(crate) fn mark_changed(&self) {
        self.changed.set(true);
    }

    fn grow(&self, bytes: usize) {
        if bytes > 0 {
            self.changed.set(true);
            self.used_bytes.set(self.used_bytes.get() + bytes as u64);
        }
    }

    /// Blocks were freed: they become available when that is safe.
    pub(crate) fn freed(&self, run: Run, is_metadata: bool) {
        let mut pending = self.pending.borrow_mut();
        if is_metadata {
            pending.freed_metadata.push(run);
        } else {
            pending.freed_data.push(run);
        }
    }

    /// Data was mapped that may not be durable. Without checksums the device has to be flushed
    /// before the transaction is logged.
    pub(crate) fn claim(&self, block: u64, checksums: Vec<u32>) {
        let mut pending = self.pending.borrow_mut();
        if checksums.is_empty() {
            pending.flush_first = true;
        } else {
            pending.claims.push(Claim { block, checksums });
        }
    }

    /// Uses one of the promised metadata blocks, if there is one left.
    pub(crate) fn take_promise(&self, balance: &mut Balance) {
        if let Some(left) = self.promised_blocks.get().checked_sub(1) {
            self.promised_blocks.set(left);
            balance.reserved_metadata = balance.reserved_metadata.saturating_sub(1);
        }
    }
}

impl<E: Env> Drop for Tx<'_, E> {
    fn drop(&mut self) {
        self.fs.space.unreserve_metadata(self.promised_blocks.get());
        let pending = self.pending.take();
        self.fs
            .journal
            .end(self.reserved_bytes, self.used_bytes.get(), pending);
    }
}
