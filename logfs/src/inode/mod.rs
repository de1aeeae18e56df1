//! Inodes in memory.
//!
//! An inode is in memory as long as it is pinned. Its [`State`] holds the inode as the running
//! transaction sees it; every change is stored into the inode block at once ([`State::store`]), so
//! the block and the copy never differ at the end of an operation.
//!
//! Lock order: `namespace` (see `LogFs`), then directories from the root down, then other inodes by
//! number, then the locks of space and cache. A handle in the running transaction is opened before
//! any of them.

mod attr;
mod in_core;
mod in_use;
mod pending;
mod runs;

use crate::LogFs;
use crate::shrink::shrink;
use crate::tx::Tx;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, FileKind, Ino, Mutex, Result, RwLock};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use hashbrown::{DefaultHashBuilder, HashMap};
use logfs_format::dir::MAX_DIR_BLOCKS;
use logfs_format::{
    BLOCK_BYTES, BlockKind, InoAddress, Inode as DiskInode, InodeBlockHead, InodeFlags,
    SegmentHeader,
};

pub(crate) use attr::{from_time, now, to_time};
pub(crate) use in_core::InCore;
use in_use::InUse;
pub(crate) use pending::{Delayed, Piece, Placed};

/// Locks that the table is split over.
const SHARDS: usize = 64;

/// An inode in memory.
pub(crate) struct Inode<E: Env> {
    /// Its number.
    pub(crate) ino: u64,
    pins: AtomicU32,
    /// It is being freed, and not to be pinned again. Changes with its shard locked.
    leaving: AtomicBool,
    /// The last transaction that changed anything of it.
    changed: AtomicU64,
    /// The last transaction that changed its data, size or mapping.
    data_changed: AtomicU64,
    state: E::RwLock<State>,
}

/// What may change of an inode.
pub(crate) struct State {
    /// Its number.
    pub(crate) ino: u64,
    /// The inode as it is in its block.
    pub(crate) disk: InCore,
    in_use: Option<Box<InUse>>,
}

// With a kernel's lock, what an inode counts for itself and its count of users, it takes one of the 256 bytes
// that the kernel gives next.
const _: () = assert!(size_of::<State>() <= 168);

/// For reading an inode.
pub(crate) type ReadGuard<'a, E> = <<E as Env>::RwLock<State> as RwLock<State>>::Read<'a>;
/// For changing an inode.
pub(crate) type WriteGuard<'a, E> = <<E as Env>::RwLock<State> as RwLock<State>>::Write<'a>;

impl<E: Env> Inode<E> {
    fn new(state: State) -> Inode<E> {
        Inode {
            ino: state.ino,
            pins: AtomicU32::new(1),
            leaving: AtomicBool::new(false),
            changed: AtomicU64::new(0),
            data_changed: AtomicU64::new(0),
            state: RwLock::new(state),
        }
    }

    /// Shares the inode.
    pub(crate) fn read(&self) -> ReadGuard<'_, E> {
        self.state.read()
    }

    /// Takes the inode.
    pub(crate) fn write(&self) -> WriteGuard<'_, E> {
        self.state.write()
    }

    /// Notes that a transaction changed the inode, and whether data, size or mapping as well.
    pub(crate) fn touch(&self, tx: &Tx<'_, E>, data: bool) {
        self.changed.fetch_max(tx.sequence(), Ordering::AcqRel);
        if data {
            self.data_changed.fetch_max(tx.sequence(), Ordering::AcqRel);
        }
    }

    /// The transaction that has to be durable for the inode to be.
    pub(crate) fn last_change(&self, data_only: bool) -> u64 {
        let field = if data_only {
            &self.data_changed
        } else {
            &self.changed
        };
        field.load(Ordering::Acquire)
    }
}

impl State {
    /// An inode of which nothing is on its way.
    pub(crate) fn new(ino: u64, disk: InCore) -> State {
        State {
            ino,
            disk,
            in_use: None,
        }
    }

    /// Number and generation, as blocks of the inode carry them.
    pub(crate) fn owner(&self) -> (u64, u32) {
        (self.ino, self.disk.generation.get())
    }

    /// Stores the inode into its block.
    pub(crate) fn store<E: Env>(&self, tx: &Tx<'_, E>) -> Result<()> {
        let place = InoAddress::from_ino(self.ino).ok_or(Errno::EUCLEAN)?;
        tx.mark_changed();
        tx.write(
            place.block,
            BlockKind::Inodes,
            place.offset(),
            bytemuck::bytes_of(&self.disk.to_disk()),
        )
    }

    /// Adds to (or takes from) the count of blocks.
    pub(crate) fn add_blocks(&mut self, change: i64) {
        let blocks = self.disk.blocks.get().saturating_add_signed(change);
        self.disk.blocks.set(blocks);
    }
}

/// A part of the table.
struct Shard<E: Env> {
    inodes: HashMap<u64, Arc<Inode<E>>, DefaultHashBuilder>,
    /// The last transactions that changed anything, and data, of any inode that has left memory.
    /// Without this, fsync of an inode that was read again would believe that there is nothing to
    /// do. For all together: inodes leave when memory is short, and a list would need more of it.
    left: (u64, u64),
}

type ShardGuard<'a, E> = <<E as Env>::Mutex<Shard<E>> as Mutex<Shard<E>>>::Guard<'a>;

/// All inodes in memory.
pub(crate) struct InodeTable<E: Env> {
    shards: Vec<E::Mutex<Shard<E>>>,
}

impl<E: Env> InodeTable<E> {
    pub(crate) fn new() -> InodeTable<E> {
        let empty = || Shard {
            inodes: HashMap::default(),
            left: (0, 0),
        };
        InodeTable {
            shards: (0..SHARDS).map(|_| Mutex::new(empty())).collect(),
        }
    }

    fn shard(&self, ino: u64) -> Result<ShardGuard<'_, E>> {
        // The lowest four bits are the slot in a block: those who go through blocks side by side would meet.
        let index = (ino ^ ino >> 4) as usize % SHARDS;
        Ok(self.shards.get(index).ok_or(Errno::EIO)?.lock())
    }

    /// A pinned inode.
    pub(crate) fn get(&self, ino: Ino) -> Result<Arc<Inode<E>>> {
        self.shard(ino.0)?
            .inodes
            .get(&ino.0)
            .cloned()
            .ok_or(Errno::ESTALE)
    }

    /// Adds a new inode with its first pin.
    fn add(&self, state: State) -> Result<Arc<Inode<E>>> {
        let ino = state.ino;
        let mut shard = self.shard(ino)?;
        shard.inodes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let inode = Arc::new(Inode::new(state));
        shard.inodes.insert(ino, Arc::clone(&inode));
        Ok(inode)
    }
}

impl<E: Env> LogFs<E> {
    /// A pinned inode.
    pub(crate) fn inode(&self, ino: Ino) -> Result<Arc<Inode<E>>> {
        self.reporter.check_alive()?;
        self.inodes.get(ino)
    }

    /// Pins an inode with a name, reading it if need be.
    pub(crate) fn pin(&self, ino: Ino) -> Result<Arc<Inode<E>>> {
        self.pin_any(ino, false)
    }

    /// Pins an orphan that a crash has left.
    pub(crate) fn pin_orphan(&self, ino: Ino) -> Result<Arc<Inode<E>>> {
        self.pin_any(ino, true)
    }

    fn pin_any(&self, ino: Ino, allow_unnamed: bool) -> Result<Arc<Inode<E>>> {
        let mut shard = self.inodes.shard(ino.0)?;
        if !shard.inodes.contains_key(&ino.0) {
            // Whoever waits for the device must not keep others from inodes that they have. What counts is
            // read below, from the cache: it may have changed meanwhile.
            drop(shard);
            self.read_inode(ino.0)?;
            shard = self.inodes.shard(ino.0)?;
        }
        if let Some(inode) = shard.inodes.get(&ino.0) {
            if inode.leaving.load(Ordering::Relaxed) {
                return Err(Errno::ESTALE);
            }
            inode.pins.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::clone(inode));
        }
        let disk = self.read_inode(ino.0)?;
        if disk.nlink.get() == 0 && !allow_unnamed {
            return Err(Errno::ESTALE);
        }
        shard.inodes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let inode = Arc::new(Inode::new(State::new(ino.0, disk)));
        let (changed, data_changed) = shard.left;
        inode.changed.store(changed, Ordering::Release);
        inode.data_changed.store(data_changed, Ordering::Release);
        shard.inodes.insert(ino.0, Arc::clone(&inode));
        Ok(inode)
    }

    /// Pins an inode that has just been made.
    pub(crate) fn pin_new(&self, state: State) -> Result<Arc<Inode<E>>> {
        self.inodes.add(state)
    }

    /// Ends a pin. The last one of an inode without names frees it.
    pub(crate) fn unpin(&self, ino: Ino) {
        let inode = {
            let Ok(shard) = self.inodes.shard(ino.0) else {
                return;
            };
            match shard.inodes.get(&ino.0) {
                Some(inode) if inode.pins.fetch_sub(1, Ordering::AcqRel) == 1 => Arc::clone(inode),
                _ => return,
            }
        };
        let has_names = inode.read().disk.nlink.get() > 0;
        if !has_names && !self.reporter.is_unchangeable() {
            // The cleaner knows inodes by their blocks, not by name: it may have pinned this one
            // again, and then it is the cleaner's to free; or it has ended that pin too, and only
            // one of us may go on.
            if !self.leaves(&inode) {
                return;
            }
            // If this fails the orphan list keeps it for the next mount.
            if let Err(errno) = self.reclaim(&inode)
                && !self.reporter.is_shut_down()
            {
                let level = bento_api::Level::Warning;
                self.env.log(
                    level,
                    format_args!("inode {}: not freed yet: {errno}", ino.0),
                );
            }
        }
        // Meanwhile it may have been pinned again, and even have left and come back as another
        // object, which is not ours to remove.
        if let Ok(mut shard) = self.inodes.shard(ino.0)
            && inode.pins.load(Ordering::Acquire) == 0
            && shard
                .inodes
                .get(&ino.0)
                .is_some_and(|now| Arc::ptr_eq(now, &inode))
        {
            self.drop_promises(&inode);
            shard.inodes.remove(&ino.0);
            shrink(&mut shard.inodes);
            let (changed, data_changed) = shard.left;
            shard.left = (
                changed.max(inode.last_change(false)),
                data_changed.max(inode.last_change(true)),
            );
        }
    }

    /// Whether the caller is the one to free an inode without names: nobody pins it, and nobody will.
    fn leaves(&self, inode: &Inode<E>) -> bool {
        let Ok(_shard) = self.inodes.shard(inode.ino) else {
            return false;
        };
        inode.pins.load(Ordering::Acquire) == 0 && !inode.leaving.swap(true, Ordering::Relaxed)
    }

    /// Space that was promised or placed for data that nobody will write any more.
    fn drop_promises(&self, inode: &Inode<E>) {
        let mut state = inode.write();
        let promised = state.remove_delayed(0, u64::MAX);
        self.space.unreserve_data(promised);
        self.drop_placed(&mut state, 0, u64::MAX);
    }

    /// Reads an inode from its block and checks what can be checked without following it. `ESTALE`
    /// for a number that no inode has: it may come from an old file handle.
    fn read_inode(&self, ino: u64) -> Result<InCore> {
        let place = InoAddress::from_ino(ino).ok_or(Errno::ESTALE)?;
        if !self.is_inode_block(place.block)? {
            return Err(Errno::ESTALE);
        }
        let page = self.cache.read(place.block, BlockKind::Inodes)?;
        let used = page.view::<InodeBlockHead>(0)?.used.get();
        let disk: &DiskInode = page.view(place.offset())?;
        if used & (1 << place.slot) == 0 || disk.mode.get() == 0 {
            return Err(Errno::ESTALE);
        }
        if let Err((field, value)) = check_inode(disk) {
            return Err(self
                .reporter
                .corrupt(format_args!("inode {ino}: {field} is {value:#x}")));
        }
        Ok(InCore::from(disk))
    }

    fn is_inode_block(&self, address: u64) -> Result<bool> {
        let Some((segment, index)) = self.layout.segment_of(address) else {
            return Ok(false);
        };
        if !self.space.holds_inodes(segment) {
            return Ok(false);
        }
        let start = self.layout.segment_start(segment);
        let page = self.cache.read(start, BlockKind::SegmentHeader)?;
        let header: &SegmentHeader = page.view(0)?;
        let byte = header.live.get(index as usize / 8).copied().unwrap_or(0);
        Ok(byte >> (index % 8) & 1 != 0)
    }
}

/// The field of an inode that makes no sense, with its value.
fn check_inode(disk: &DiskInode) -> core::result::Result<(), (&'static str, u64)> {
    let kind = FileKind::from_mode(disk.mode.get()).ok_or(("mode", disk.mode.get().into()))?;
    let flags = disk.flags.get();
    if flags & !InodeFlags::KNOWN != 0 {
        return Err(("flags", flags.into()));
    }
    let size = disk.size_bytes.get();
    let size_ok = match kind {
        FileKind::Directory => {
            size.is_multiple_of(BLOCK_BYTES as u64) && size / BLOCK_BYTES as u64 <= MAX_DIR_BLOCKS
        }
        _ => size <= i64::MAX as u64,
    };
    if size_ok { Ok(()) } else { Err(("size", size)) }
}
