//! The block cache: every metadata block that is in memory.
//!
//! A block has up to two versions. `page` is what operations see. `committed` is the block as the
//! last transaction that changed it left it, if that is not home yet: a checkpoint writes this one,
//! so that what a running transaction does never reaches its home before its log record.
//!
//! Invariants:
//! - A block with `changes` or `committed` stays in the cache.
//! - The first record of a block after each checkpoint's collection holds the whole block
//!   (`whole_logged`), so that replay never builds on a home write that was torn.
//! - A loader's lock is taken before any shard's, and alone is held while the device reads.

mod ahead;
mod changes;
mod page;

use crate::corrupt::Reporter;
use crate::shrink::shrink;
use crate::sort::sort_by_key;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Device, Env, Errno, Mutex, ReadRequest, Result};
use changes::Changes;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use hashbrown::{DefaultHashBuilder, HashMap};
use logfs_format::{BLOCK_BYTES, BlockHeader, BlockKind, HEADER_BYTES, block};

pub(crate) use changes::nonzero;
pub(crate) use page::Page;

/// Locks that the cache is split over.
const SHARDS: usize = 64;

/// Locks of those who load; see [`Cache::load`].
const LOADERS: usize = 64;

/// Blocks kept if nothing asks for memory: 256 MiB.
const BLOCKS_MAX: usize = 65_536;

/// A checkpoint is not worth its writes if it lets fewer blocks than this go: 1 MiB.
const HOMELESS_MIN: usize = 256;

/// A block of the running transaction, as the commit takes it.
pub(crate) struct Changed {
    /// Where it lives.
    pub(crate) address: u64,
    /// Its contents.
    pub(crate) page: Arc<Page>,
    /// What to log; nothing for the whole block.
    pub(crate) ranges: Option<Vec<(usize, usize)>>,
}

/// A block that a checkpoint writes home.
pub(crate) struct Homeless {
    /// Where it lives.
    pub(crate) address: u64,
    /// Its contents.
    pub(crate) page: Arc<Page>,
}

struct Entry {
    page: Arc<Page>,
    changes: Option<Changes>,
    committed: Option<Arc<Page>>,
    whole_logged: bool,
    referenced: bool,
}

impl Entry {
    fn clean(page: Arc<Page>) -> Entry {
        Entry {
            page,
            changes: None,
            committed: None,
            whole_logged: false,
            referenced: true,
        }
    }

    fn is_clean(&self) -> bool {
        self.changes.is_none() && self.committed.is_none()
    }
}

type Map = HashMap<u64, Entry, DefaultHashBuilder>;

#[derive(Default)]
struct Shard {
    map: Map,
    /// Blocks that the running transaction changed.
    changed: Vec<u64>,
    /// Counts the times that blocks were dropped.
    drops: u64,
    lookups: Lookups,
}

/// How often blocks were looked for. Counted where a lock is held anyway.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lookups {
    /// Blocks that were in memory.
    pub(crate) hits: u64,
    /// Blocks that had to be read from the device.
    pub(crate) misses: u64,
}

/// See the module.
pub(crate) struct Cache<E: Env> {
    env: E,
    uuid: [u8; 16],
    reporter: Arc<Reporter<E>>,
    shards: Vec<E::Mutex<Shard>>,
    loaders: Vec<E::Mutex<()>>,
    blocks: AtomicUsize,
    /// Blocks that the log holds since the last checkpoint's collection, or will hold when the
    /// running transaction is written. One that was forgotten still counts.
    logged: AtomicUsize,
    hand: AtomicUsize,
    /// Memory was asked for in vain, since most blocks have to be brought home first.
    is_short: AtomicBool,
}

/// Tells which bytes of a block will change, as start and end.
type Differs<'a> = dyn Fn(&[u8], &mut dyn FnMut(usize, usize)) + 'a;

/// Bytes of a block.
fn range_of(offset: usize, len: usize) -> Result<Range<usize>> {
    let end = offset.checked_add(len).filter(|&end| end <= BLOCK_BYTES);
    Ok(offset..end.ok_or(Errno::EUCLEAN)?)
}

impl<E: Env> Cache<E> {
    pub(crate) fn new(env: E, uuid: [u8; 16], reporter: Arc<Reporter<E>>) -> Cache<E> {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        let loaders = (0..LOADERS).map(|_| Mutex::new(())).collect();
        Cache {
            env,
            uuid,
            reporter,
            shards,
            loaders,
            blocks: AtomicUsize::new(0),
            logged: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            is_short: AtomicBool::new(false),
        }
    }

    fn shard(&self, address: u64) -> Result<<E::Mutex<Shard> as Mutex<Shard>>::Guard<'_>> {
        let index = address as usize % SHARDS;
        Ok(self.shards.get(index).ok_or(Errno::EIO)?.lock())
    }

    /// A snapshot of a block, read from the device and checked if need be.
    pub(crate) fn read(&self, address: u64, kind: BlockKind) -> Result<Arc<Page>> {
        let mut shard = self.shard(address)?;
        let Shard { map, lookups, .. } = &mut *shard;
        if let Some(entry) = map.get_mut(&address) {
            lookups.hits += 1;
            entry.referenced = true;
            let page = Arc::clone(&entry.page);
            drop(shard);
            return self.expect_kind(page, address, kind);
        }
        lookups.misses += 1;
        drop(shard);
        self.load(address, kind)
    }

    /// A cached block, if it is what was asked for. Its address and uuid were checked when it came from
    /// the device, and nobody changes them.
    fn expect_kind(&self, page: Arc<Page>, address: u64, kind: BlockKind) -> Result<Arc<Page>> {
        match block::check_kind(page.bytes(), kind) {
            Ok(()) => Ok(page),
            Err(fault) => Err(self.damaged(address, kind, fault)),
        }
    }

    fn damaged(&self, address: u64, kind: BlockKind, fault: impl core::fmt::Display) -> Errno {
        self.reporter
            .corrupt(format_args!("{} {address}: {fault}", kind.name()))
    }

    /// Brings a block into the cache. One reads for all who want it, or a neighbour that is read with it:
    /// many threads that go through a directory miss the same blocks.
    fn load(&self, address: u64, kind: BlockKind) -> Result<Arc<Page>> {
        self.make_room();
        let loader = (address / ahead::AHEAD_BLOCKS) as usize % LOADERS;
        let _alone = self.loaders.get(loader).ok_or(Errno::EIO)?.lock();
        if let (Some(page), _) = self.cached(address)? {
            return self.expect_kind(page, address, kind);
        }
        self.read_ahead(address, kind)?;
        loop {
            let (found, drops) = self.cached(address)?;
            if let Some(page) = found {
                return self.expect_kind(page, address, kind);
            }
            let page = Arc::new(self.fetch(address, kind)?);
            let mut shard = self.shard(address)?;
            shard.map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            // Somebody may have read, and even changed, the block meanwhile: theirs is newer. It may
            // also have gone home and been dropped again: then what was read may be older.
            if shard.drops == drops && !shard.map.contains_key(&address) {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                shard.map.insert(address, Entry::clean(Arc::clone(&page)));
                return Ok(page);
            }
        }
    }

    /// A block if it is cached, and how many blocks its shard has dropped.
    fn cached(&self, address: u64) -> Result<(Option<Arc<Page>>, u64)> {
        let shard = self.shard(address)?;
        let page = shard.map.get(&address).map(|entry| Arc::clone(&entry.page));
        Ok((page, shard.drops))
    }

    /// Reads a block from the device and checks it.
    fn fetch(&self, address: u64, kind: BlockKind) -> Result<Page> {
        let offset_bytes = address
            .checked_mul(BLOCK_BYTES as u64)
            .ok_or(Errno::EUCLEAN)?;
        if offset_bytes >= self.env.device().geometry().size_bytes {
            return Err(self.damaged(address, kind, "beyond the device"));
        }
        let mut page = Page::zeroed();
        let buffer = page.bytes_mut();
        self.env.device().read(&mut [ReadRequest {
            offset_bytes,
            buffer,
        }])?;
        match block::verify(page.bytes(), kind, &self.uuid, address) {
            Ok(()) => Ok(page),
            Err(fault) => Err(self.damaged(address, kind, fault)),
        }
    }

    /// Puts `bytes` into a block, from byte `offset` on, as a part of the running transaction, and
    /// returns how many bytes the log needs more for that. Only bytes that differ are logged.
    pub(crate) fn write(
        &self,
        address: u64,
        kind: BlockKind,
        offset: usize,
        bytes: &[u8],
    ) -> Result<usize> {
        debug_assert!(offset >= block::CHECKSUM_RANGE.end);
        let range = range_of(offset, bytes.len())?;
        let differs = |page: &[u8], changed: &mut dyn FnMut(usize, usize)| {
            let old = page.get(range.clone()).unwrap_or(&[]);
            changes::difference(old, bytes, |from, to| changed(offset + from, offset + to));
        };
        self.change(address, kind, &differs, &|page| {
            if let Some(place) = page.get_mut(range.clone()) {
                place.copy_from_slice(bytes);
            }
        })
    }

    /// The same in the place of other bytes: what stands behind `gone`, up to byte `end`, follows.
    pub(crate) fn splice(
        &self,
        address: u64,
        kind: BlockKind,
        gone: Range<usize>,
        end: usize,
        bytes: &[u8],
    ) -> Result<usize> {
        debug_assert!(gone.start >= block::CHECKSUM_RANGE.end);
        let put = range_of(gone.start, bytes.len())?;
        let behind = end.checked_sub(gone.end).ok_or(Errno::EUCLEAN)?;
        let moved = range_of(put.end, behind)?;
        range_of(end, 0)?;
        let all = |_: &[u8], changed: &mut dyn FnMut(usize, usize)| {
            if !put.is_empty() || !moved.is_empty() {
                changed(put.start, moved.end);
            }
        };
        self.change(address, kind, &all, &|page| {
            page.copy_within(gone.end..end, moved.start);
            if let Some(place) = page.get_mut(put.clone()) {
                place.copy_from_slice(bytes);
            }
        })
    }

    /// Changes a block where `differs` says, if anywhere, and returns the bytes of log that takes.
    fn change(
        &self,
        address: u64,
        kind: BlockKind,
        differs: &Differs<'_>,
        apply: &dyn Fn(&mut [u8]),
    ) -> Result<usize> {
        loop {
            let mut shard = self.shard(address)?;
            let Shard {
                map,
                changed,
                lookups,
                ..
            } = &mut *shard;
            let Some(entry) = map.get_mut(&address) else {
                lookups.misses += 1;
                drop(shard);
                self.load(address, kind)?;
                continue;
            };
            lookups.hits += 1;
            if let Err(fault) = block::check_kind(entry.page.bytes(), kind) {
                drop(shard);
                return Err(self.damaged(address, kind, fault));
            }
            let first = entry.changes.is_none();
            let mut before = None;
            differs(entry.page.bytes(), &mut |from, to| {
                let changes = entry.changes.get_or_insert_default();
                before.get_or_insert_with(|| changes.log_bytes());
                changes.add(from, to);
            });
            let (Some(before), Some(changes)) = (before, &entry.changes) else {
                return Ok(0);
            };
            let mut grown = changes.log_bytes().saturating_sub(before);
            if first {
                changed.push(address);
                if !entry.whole_logged {
                    self.logged.fetch_add(1, Ordering::Relaxed);
                    grown = BLOCK_BYTES + logfs_format::log::ITEM_HEAD_BYTES;
                }
            }
            apply(Arc::make_mut(&mut entry.page).bytes_mut());
            return Ok(grown);
        }
    }

    /// Makes a new block of zeros with this header, as a part of the running transaction, whatever
    /// was there. Returns the bytes that the log needs for it at most.
    pub(crate) fn create(&self, header: &BlockHeader) -> Result<usize> {
        let address = header.address.get();
        let mut page = Page::zeroed();
        if let Some(place) = page.bytes_mut().get_mut(..HEADER_BYTES) {
            place.copy_from_slice(bytemuck::bytes_of(header));
        }
        self.make_room();
        let mut shard = self.shard(address)?;
        shard.map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let Shard { map, changed, .. } = &mut *shard;
        let page = Arc::new(page);
        match map.get_mut(&address) {
            Some(entry) => {
                if entry.changes.is_none() {
                    changed.push(address);
                    let is_first = usize::from(!entry.whole_logged);
                    self.logged.fetch_add(is_first, Ordering::Relaxed);
                }
                entry.page = page;
                entry.changes = Some(Changes::whole());
            }
            None => {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                self.logged.fetch_add(1, Ordering::Relaxed);
                changed.push(address);
                map.insert(
                    address,
                    Entry {
                        changes: Some(Changes::whole()),
                        ..Entry::clean(page)
                    },
                );
            }
        }
        Ok(BLOCK_BYTES + logfs_format::log::ITEM_HEAD_BYTES)
    }

    /// Takes what the running transaction has changed and makes it the committed version. Nobody
    /// may change blocks meanwhile.
    pub(crate) fn commit(&self) -> Vec<Changed> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { map, changed, .. } = &mut *shard;
            all.reserve(changed.len());
            for address in changed.drain(..) {
                let Some(entry) = map.get_mut(&address) else {
                    continue;
                };
                let Some(changes) = entry.changes.take() else {
                    continue;
                };
                let is_logged = entry.whole_logged || planted!(RangesWithoutBlock);
                let whole = changes.is_whole() || !is_logged;
                entry.whole_logged = true;
                entry.committed = Some(Arc::clone(&entry.page));
                all.push(Changed {
                    address,
                    page: Arc::clone(&entry.page),
                    ranges: (!whole).then(|| changes.ranges().collect()),
                });
            }
        }
        all
    }

    /// All committed blocks that are not home, in the order of their addresses. From now on the
    /// next record of each holds the whole block. No commit may run meanwhile.
    pub(crate) fn collect_homeless(&self) -> Vec<Homeless> {
        let mut all = Vec::new();
        self.logged.store(0, Ordering::Relaxed);
        self.is_short.store(false, Ordering::Relaxed);
        for shard in &self.shards {
            for (&address, entry) in &mut shard.lock().map {
                entry.whole_logged = false;
                if let Some(page) = &entry.committed {
                    all.push(Homeless {
                        address,
                        page: Arc::clone(page),
                    });
                }
            }
        }
        sort_by_key(&mut all, |block| block.address);
        all
    }

    /// The block is home, in this version.
    pub(crate) fn came_home(&self, block: &Homeless) {
        let Ok(mut shard) = self.shard(block.address) else {
            return;
        };
        let Some(entry) = shard.map.get_mut(&block.address) else {
            return;
        };
        if entry
            .committed
            .as_ref()
            .is_some_and(|page| Arc::ptr_eq(page, &block.page))
        {
            entry.committed = None;
        }
    }

    /// Drops a block whose place was freed and may now hold something else.
    pub(crate) fn forget(&self, address: u64) {
        let Ok(mut shard) = self.shard(address) else {
            return;
        };
        if shard
            .map
            .get(&address)
            .is_some_and(|entry| entry.changes.is_none())
        {
            shard.map.remove(&address);
            shard.drops += 1;
            self.blocks.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Blocks that the log holds since the last [collection](Self::collect_homeless), at least.
    pub(crate) fn logged_blocks(&self) -> usize {
        self.logged.load(Ordering::Relaxed)
    }

    /// Blocks in the cache.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Lookups since the mount.
    pub(crate) fn lookups(&self) -> Lookups {
        let mut sum = Lookups::default();
        for shard in &self.shards {
            let Lookups { hits, misses } = shard.lock().lookups;
            sum.hits += hits;
            sum.misses += misses;
        }
        sum
    }

    fn make_room(&self) {
        if self.blocks() >= BLOCKS_MAX {
            self.shrink(SHARDS);
        }
    }

    /// Drops up to `count` clean blocks, those first that have not been used since the last visit
    /// (second chance), and returns how many it was.
    pub(crate) fn shrink(&self, count: usize) -> usize {
        let mut dropped = 0;
        for _ in 0..SHARDS * 2 {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let Some(shard) = self.shards.get(index) else {
                break;
            };
            let mut budget = (count - dropped).min(count.div_ceil(SHARDS).max(16));
            let before = budget;
            let mut shard = shard.lock();
            shard.map.retain(|_, entry| {
                let keep =
                    budget == 0 || !entry.is_clean() || core::mem::take(&mut entry.referenced);
                budget -= usize::from(!keep);
                keep
            });
            shard.drops += u64::from(before > budget);
            shrink(&mut shard.map);
            dropped += before - budget;
            if dropped >= count {
                break;
            }
        }
        let left = self.blocks.fetch_sub(dropped, Ordering::Relaxed) - dropped;
        if dropped < count && self.logged_blocks() > HOMELESS_MIN.max(left / 2) {
            self.is_short.store(true, Ordering::Relaxed);
        }
        dropped
    }

    /// Whether a checkpoint would let blocks go whose memory others want.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }
}
