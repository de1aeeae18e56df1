//! A mounted file system: how it starts and stops, and what it offers.

use crate::cache::Cache;
use crate::cleaner::{self, Cleaner};
use crate::corrupt::{OnError, Reporter};
use crate::inode::InodeTable;
use crate::journal::{Journal, Start};
use crate::options::Options;
use crate::orphan::{Orphan, Orphans};
use crate::recovery;
use crate::space::Space;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{
    Attr, Counter, Created, Device, DirEntry, Env, Errno, FallocateMode, FileKind, FileSystem, Ino,
    Level, Mapping, MountOptions, Moved, Mutex, NewInode, RenameFlags, Renamed, Result, RwLock,
    SetAttr, SetXattr, StatFs, Time, Unlinked, Written,
};
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use logfs_format::{BLOCK_BYTES, Checkpoint, Layout, NAME_MAX, OrphanSlot, Superblock};

/// How often the background looks whether something is due, in milliseconds.
const BACKGROUND_MS: u64 = 1000;

/// Inodes that `statfs` claims there can be at most.
const INODES_SHOWN_MAX: u64 = 1 << 40;

/// A mounted logfs.
pub struct LogFs<E: Env> {
    pub(crate) env: E,
    pub(crate) layout: Layout,
    pub(crate) hash_key: [u64; 2],
    pub(crate) reporter: Arc<Reporter<E>>,
    pub(crate) cache: Box<Cache<E>>,
    pub(crate) journal: Box<Journal<E>>,
    pub(crate) space: Box<Space<E>>,
    pub(crate) inodes: InodeTable<E>,
    pub(crate) orphans: Orphans<E>,
    /// See `namei`.
    pub(crate) namespace: E::RwLock<()>,
    superblock: Box<Superblock>,
    options: E::Mutex<Options>,
    /// Orphans that a crash has left and that nobody has finished with: a read-only mount must not.
    unfinished: E::Mutex<Vec<Orphan>>,
    /// When the running transaction was last committed for its age.
    last_commit_ns: E::Mutex<u64>,
    pub(crate) cleaner: E::Mutex<Cleaner>,
    pub(crate) cleaning: cleaner::Counters,
    /// Somebody has used the file system since the last step of cleaning.
    pub(crate) used: AtomicBool,
}

/// What a mount knows before it builds anything.
struct Prepared {
    options: Options,
    superblock: Superblock,
    read_only: bool,
    start: Start,
}

impl<E: Env> LogFs<E> {
    /// What the log says, brought home if it says anything.
    #[inline(never)]
    fn recover(
        env: &E,
        superblock: &Superblock,
        options: &Options,
        read_only: bool,
    ) -> Result<Start> {
        let device_read_only = env.device().geometry().read_only;
        if options.no_recovery {
            if !read_only {
                env.log(Level::Error, format_args!("norecovery needs ro"));
                return Err(Errno::EINVAL);
            }
            let number = recovery::read_checkpoint(env, superblock)?.number.get();
            return Ok(Start {
                sequence: 1,
                position: 0,
                checkpoint_number: number,
            });
        }
        let recovered = recovery::read_log(env, superblock)?;
        recovery::check_end(env, superblock, &recovered)?;
        if recovered.has_errors {
            env.log(
                Level::Warning,
                format_args!("was damaged when last used; run fsck.logfs"),
            );
        }
        if recovered.transactions > 0 {
            if device_read_only {
                env.log(
                    Level::Error,
                    format_args!(
                        "the log must be recovered but the device is read-only; \
                         mount with ro,norecovery to see what is home"
                    ),
                );
                return Err(Errno::EROFS);
            }
            env.log(
                Level::Info,
                format_args!(
                    "recovering {} transactions, {} blocks",
                    recovered.transactions,
                    recovered.blocks.len()
                ),
            );
        }
        if recovered.transactions > 0 || recovered.dropped > 0 {
            if device_read_only {
                return Ok(recovered.into_start());
            }
            recovery::write_home(env, superblock, &recovered)?;
            let mut start = recovered.into_start();
            start.checkpoint_number += 1;
            return Ok(start);
        }
        Ok(recovered.into_start())
    }

    /// Reads what has to be known before anything can be built, and recovers.
    ///
    /// Kernel stacks are small: the steps of a mount are functions of their own, and what is large
    /// goes from one to the next in a box.
    #[inline(never)]
    fn prepare(env: &E, mount: &MountOptions<'_>) -> Result<Box<Prepared>> {
        let options = Options::default().parse(env, mount.options)?;
        let superblock = recovery::read_superblock(env)?;
        let read_only = mount.read_only;
        if !read_only && env.device().geometry().read_only {
            env.log(
                Level::Error,
                format_args!("the device is read-only; mount with ro"),
            );
            return Err(Errno::EROFS);
        }
        // mount(8) takes this for an answer, and mounts with ro unless it was told rw.
        if !read_only && superblock.must_be_read_only() {
            env.log(
                Level::Error,
                format_args!("has features this version can only read; mount with ro"),
            );
            return Err(Errno::EROFS);
        }
        let start = Self::recover(env, &superblock, &options, read_only)?;
        Ok(Box::new(Prepared {
            options,
            superblock,
            read_only,
            start,
        }))
    }

    /// Builds the parts.
    #[inline(never)]
    fn assemble(env: E, prepared: Box<Prepared>) -> Result<(LogFs<E>, Vec<Orphan>)> {
        let Prepared {
            options,
            superblock,
            read_only,
            start,
        } = &*prepared;
        let reporter = Arc::new(Reporter::new(env.clone(), options.on_error, *read_only));
        let uuid = superblock.header.uuid;
        let cache = Box::new(Cache::new(env.clone(), uuid, Arc::clone(&reporter)));
        let space = Space::load(&env, superblock, Arc::clone(&reporter))?;
        let (orphans, found) = Orphans::load(&cache, &reporter, superblock.orphans.get())?;
        let journal = Box::new(Journal::new(
            env.clone(),
            superblock,
            Arc::clone(&reporter),
            start,
        ));
        let now_ns = env.monotonic_ns();
        let fs = LogFs {
            layout: superblock.layout(),
            hash_key: superblock.hash_key.map(|word| word.get()),
            reporter,
            cache,
            journal,
            space,
            inodes: InodeTable::new(),
            orphans,
            namespace: RwLock::new(()),
            superblock: Box::new(*superblock),
            options: Mutex::new(*options),
            unfinished: Mutex::new(Vec::new()),
            last_commit_ns: Mutex::new(now_ns),
            cleaner: Mutex::new(Cleaner::default()),
            cleaning: cleaner::Counters::default(),
            used: AtomicBool::new(false),
            env,
        };
        Ok((fs, found))
    }

    fn start(env: E, mount: &MountOptions<'_>) -> Result<LogFs<E>> {
        let prepared = Self::prepare(&env, mount)?;
        let read_only = prepared.read_only;
        let (fs, found) = Self::assemble(env, prepared)?;
        *fs.unfinished.lock() = found;
        fs.check_root()?;
        let options = *fs.options.lock();
        fs.apply_discard(&options);
        if !read_only {
            fs.begin_writing()?;
        }
        Ok(fs)
    }

    /// Refuses a file system without a root directory, before anything is changed on it.
    fn check_root(&self) -> Result<()> {
        let ino = Ino(self.superblock.root_ino.get());
        let damaged = |why| {
            self.reporter
                .corrupt(format_args!("root directory {}: {why}", ino.0))
        };
        let root = self.pin(ino).map_err(|errno| match errno {
            Errno::ESTALE => damaged("no such inode"),
            errno => errno,
        })?;
        let mode = root.read().disk.mode.get();
        drop(root);
        self.unpin(ino);
        match FileKind::from_mode(mode) {
            Some(FileKind::Directory) => Ok(()),
            _ => Err(damaged("no directory")),
        }
    }

    fn apply_discard(&self, options: &Options) {
        let can = self.env.device().geometry().can_discard;
        if options.discard && !can {
            let level = Level::Warning;
            self.env
                .log(level, format_args!("the device can't discard"));
        }
        self.space.set_discards(options.discard && can);
    }

    /// Notes on the device that it is in use, and finishes what a crash has left to be done.
    fn begin_writing(&self) -> Result<()> {
        self.journal.checkpoint(&self.parts(), 0)?;
        let unfinished = core::mem::take(&mut *self.unfinished.lock());
        self.finish_orphans(&unfinished);
        Ok(())
    }

    /// Frees inodes without names and finishes truncations that a crash has cut off.
    #[inline(never)]
    fn finish_orphans(&self, found: &[Orphan]) {
        for &(orphan, slot) in found {
            let (OrphanSlot::Unlinked(ino) | OrphanSlot::Truncating(ino)) = orphan;
            let finished = self.pin_orphan(Ino(ino)).and_then(|inode| {
                inode.write().in_use_mut().orphan = Some(slot);
                let has_names = inode.read().disk.nlink.get() > 0;
                match orphan {
                    OrphanSlot::Truncating(_) if has_names => self.finish_truncation(&inode),
                    _ if has_names => Err(self
                        .reporter
                        .corrupt(format_args!("orphan {ino} has names"))),
                    // Ending the pin frees it.
                    _ => Ok(()),
                }
            });
            match finished {
                Ok(()) => {
                    self.unpin(Ino(ino));
                    self.env.trace("orphan_recovered", &[("ino", ino)]);
                }
                Err(errno) => {
                    self.env.log(
                        Level::Error,
                        format_args!("orphan {ino}: {errno}; run fsck.logfs"),
                    );
                }
            }
        }
    }

    /// Leaves the device as a clean unmount does; if damage was found, with a note of that.
    fn make_clean(&self) -> Result<()> {
        let flags = if self.reporter.is_damaged() {
            0
        } else {
            Checkpoint::CLEAN
        };
        self.journal.checkpoint(&self.parts(), flags)
    }

    /// Milliseconds until the running transaction is due, committing it if it is.
    fn commit_if_due(&self) -> Result<()> {
        let interval_ns = self
            .options
            .lock()
            .commit_seconds
            .saturating_mul(1_000_000_000);
        let now = self.env.monotonic_ns();
        let mut last = self.last_commit_ns.lock();
        if now.saturating_sub(*last) < interval_ns {
            return Ok(());
        }
        *last = now;
        drop(last);
        if self.journal.is_dirty() {
            self.journal.force_all(&self.parts())
        } else {
            Ok(())
        }
    }
}

impl<E: Env> FileSystem<E> for LogFs<E> {
    const NAME: &'static str = "logfs";
    const COUNTERS: &'static [Counter<Self>] = LogFs::SHOWN;

    fn mount(env: E, options: &MountOptions<'_>) -> Result<Self> {
        LogFs::start(env, options)
    }

    fn unmount(&self) -> Result<()> {
        if self.reporter.is_shut_down() || self.reporter.is_read_only() {
            return Ok(());
        }
        self.make_clean()
    }

    fn remount(&self, mount: &MountOptions<'_>) -> Result<()> {
        let options = self.options.lock().parse(&self.env, mount.options)?;
        let was_read_only = self.reporter.is_read_only();
        if mount.read_only && !was_read_only {
            self.make_clean()?;
            self.reporter.set_read_only(true);
        } else if !mount.read_only && was_read_only {
            self.reporter.check_alive()?;
            let refused = if self.reporter.is_damaged() {
                Some("it is damaged; run fsck.logfs")
            } else if options.no_recovery {
                Some("it was mounted with norecovery")
            } else if self.superblock.must_be_read_only() {
                Some("it has features this version can only read")
            } else if self.env.device().geometry().read_only {
                Some("the device is read-only")
            } else {
                None
            };
            if let Some(why) = refused {
                self.env
                    .log(Level::Error, format_args!("stays read-only: {why}"));
                return Err(Errno::EROFS);
            }
            self.reporter.set_read_only(false);
            self.begin_writing()?;
        }
        self.reporter.set_on_error(options.on_error);
        self.apply_discard(&options);
        *self.options.lock() = options;
        Ok(())
    }

    fn show_options(&self, out: &mut Vec<u8>) {
        let options = *self.options.lock();
        let errors: &[u8] = match self.reporter.on_error() {
            OnError::RemountReadOnly => b"errors=remount-ro",
            OnError::Shutdown => b"errors=shutdown",
            OnError::Continue => b"errors=continue",
        };
        out.extend_from_slice(errors);
        if options.no_recovery {
            out.extend_from_slice(b",norecovery");
        }
        if options.commit_seconds != Options::default().commit_seconds {
            out.extend_from_slice(alloc::format!(",commit={}", options.commit_seconds).as_bytes());
        }
        if options.discard {
            out.extend_from_slice(b",discard");
        }
        if self.reporter.is_shut_down() {
            out.extend_from_slice(b",shutdown");
        } else if self.reporter.is_stopped() {
            out.extend_from_slice(b",emergency_ro");
        }
    }

    fn root(&self) -> Ino {
        Ino(self.superblock.root_ino.get())
    }

    fn statfs(&self) -> Result<StatFs> {
        self.reporter.check_alive()?;
        let balance = self.space.balance();
        let (inodes_used, inodes_free) = self.space.inodes();
        let inodes_free = inodes_free.min(INODES_SHOWN_MAX);
        let uuid = self.superblock.header.uuid;
        let mut id = [0; 8];
        for (to, (a, b)) in id.iter_mut().zip(uuid.iter().zip(uuid.iter().skip(8))) {
            *to = a ^ b;
        }
        Ok(StatFs {
            block_bytes: BLOCK_BYTES as u32,
            blocks: self.space.capacity(),
            blocks_free: balance.unused(),
            blocks_available: balance.available_to_users(),
            inodes: inodes_used.saturating_add(inodes_free),
            inodes_free,
            fsid: u64::from_le_bytes(id),
            name_max: NAME_MAX as u32,
        })
    }

    fn sync(&self, wait: bool) -> Result<()> {
        self.reporter.check_alive()?;
        if self.reporter.is_read_only() || !wait {
            return Ok(());
        }
        self.journal.force_all(&self.parts())
    }

    fn freeze(&self) -> Result<()> {
        if self.reporter.is_read_only() {
            Ok(())
        } else {
            self.make_clean()
        }
    }

    fn thaw(&self) {
        if self.reporter.check_alive().is_ok() && !self.reporter.is_read_only() {
            // A device that fails has shut the file system down and said so.
            let _ = self.begin_writing();
        }
    }

    fn background(&self) -> u64 {
        if self.reporter.check_writable().is_err() {
            return BACKGROUND_MS;
        }
        // An error has shut the file system down and said so.
        let _ = self.commit_if_due();
        let _ = self.journal.checkpoint_if_wanted(&self.parts());
        self.space.discard_freed();
        BACKGROUND_MS
    }

    fn trim(&self, range_bytes: Range<u64>, min_bytes: u64) -> Result<u64> {
        self.reporter.check_writable()?;
        let block = BLOCK_BYTES as u64;
        let blocks = range_bytes.start.div_ceil(block)..range_bytes.end / block;
        let trimmed = self
            .space
            .trim(&self.cache, blocks, min_bytes.div_ceil(block))?;
        Ok(trimmed * block)
    }

    fn clean(&self, moved: &mut Vec<Moved>) -> u64 {
        self.clean_step(moved)
    }

    fn shrink_count(&self) -> usize {
        self.cache.blocks()
    }

    fn shrink(&self, count: usize) -> usize {
        let dropped = self.cache.shrink(count);
        if self.cache.is_short() {
            self.env.wake_background();
        }
        dropped
    }

    fn shutdown(&self) {
        self.reporter.shut_down(format_args!("on request"));
    }

    fn load(&self, ino: Ino) -> Result<Attr> {
        self.note_use();
        self.reporter.check_alive()?;
        Ok(self.pin(ino)?.read().attr())
    }

    fn forget(&self, ino: Ino) {
        self.unpin(ino);
    }

    fn getattr(&self, ino: Ino) -> Result<Attr> {
        Ok(self.inode(ino)?.read().attr())
    }

    fn setattr(&self, ino: Ino, set: &SetAttr) -> Result<Attr> {
        self.set_attributes(ino, set)
    }

    fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.find(dir, name)
    }

    fn parent(&self, dir: Ino) -> Result<Ino> {
        Ok(Ino(self.inode(dir)?.read().disk.parent.get()))
    }

    fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Created> {
        self.make(dir, name, new)
    }

    fn tmpfile(&self, dir: Ino, new: &NewInode<'_>) -> Result<Attr> {
        self.make_unnamed(dir, new)
    }

    fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<Created> {
        self.add_name(ino, dir, name)
    }

    fn unlink(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.remove_name(dir, name, false)
    }

    fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.remove_name(dir, name, true)
    }

    fn rename(
        &self,
        from_dir: Ino,
        from_name: &[u8],
        to_dir: Ino,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> Result<Renamed> {
        self.move_name((from_dir, from_name), (to_dir, to_name), flags)
    }

    fn readdir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.note_use();
        let inode = self.inode(dir)?;
        crate::dir::read(self, &inode.read(), cookie, emit)
    }

    fn readlink(&self, ino: Ino, target: &mut Vec<u8>) -> Result<()> {
        self.read_target(ino, target)
    }

    fn getxattr(&self, ino: Ino, name: &[u8], value: &mut Vec<u8>) -> Result<()> {
        self.get_xattr(ino, name, value)
    }

    fn setxattr(&self, ino: Ino, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<Attr> {
        self.set_xattr(ino, name, value, how)
    }

    fn listxattr(&self, ino: Ino, emit: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.list_xattrs(ino, emit)
    }

    fn map(
        &self,
        ino: Ino,
        offset_bytes: u64,
        len_bytes: u64,
        with_delayed: bool,
    ) -> Result<Mapping> {
        self.map_range(ino, offset_bytes, len_bytes, with_delayed)
    }

    fn reserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        self.reserve_range(ino, offset_bytes, len_bytes)
    }

    fn unreserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) {
        self.unreserve_range(ino, offset_bytes, len_bytes);
    }

    fn place(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        self.place_range(ino, offset_bytes, len_bytes)
    }

    fn written(&self, ino: Ino, parts: &[Written<'_>], mtime: Option<Time>) -> Result<()> {
        self.finish_writes(ino, parts, mtime)
    }

    fn fallocate(&self, ino: Ino, mode: FallocateMode, offset: u64, len: u64) -> Result<Attr> {
        self.change_space(ino, mode, offset, len)
    }

    fn fsync(&self, ino: Ino, data_only: bool) -> Result<()> {
        if planted!(FsyncDoesNothing) {
            return Ok(());
        }
        let sequence = self.inode(ino)?.last_change(data_only);
        self.journal.force(&self.parts(), sequence)
    }
}
