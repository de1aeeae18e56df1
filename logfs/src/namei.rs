//! Names: finding, making, linking and removing them. Moving them is in `rename`.
//!
//! These operations touch one directory and share the `namespace` lock.

use crate::LogFs;
use crate::dir::{self, Found};
use crate::extent;
use crate::inode::{Inode, State, now};
use crate::tx::{Cost, Tx};
use crate::xattr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Created, Env, Errno, FileKind, Ino, NewInode, Result, RwLock, Unlinked};
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, Extent, HEADER_BYTES, InodeFlags, InodeHead, OrphanSlot,
};

/// Most names of one inode, as XFS has it.
const NLINK_MAX: u32 = i32::MAX as u32;

/// Longest target of a symbolic link in bytes: `PATH_MAX` without its NUL.
const TARGET_MAX: usize = 4095;

/// Bytes of a target that a block holds.
const TARGET_PART_BYTES: usize = BLOCK_BYTES - HEADER_BYTES;

/// What making a name may need: an inode, an entry, and splits up the index.
const CREATE_COST: Cost = Cost::of(24, 16);

/// What removing a name may need.
const REMOVE_COST: Cost = Cost::privileged(24, 4);

pub(crate) fn is_dir(state: &State) -> bool {
    FileKind::from_mode(state.disk.mode.get()) == Some(FileKind::Directory)
}

pub(crate) fn dirent_type(state: &State) -> u8 {
    (state.disk.mode.get() >> 12) as u8
}

/// A directory that may get new names: not one that has been removed.
pub(crate) fn check_dir(state: &State) -> Result<()> {
    if !is_dir(state) {
        return Err(Errno::ENOTDIR);
    }
    if state.disk.nlink.get() == 0 {
        Err(Errno::ENOENT)
    } else {
        Ok(())
    }
}

pub(crate) fn add_links(state: &mut State, change: i32) {
    let nlink = state.disk.nlink.get().saturating_add_signed(change);
    state.disk.nlink.set(nlink);
}

impl<E: Env> LogFs<E> {
    pub(crate) fn find(&self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.note_use();
        let dir = self.inode(dir)?;
        let state = dir.read();
        if !is_dir(&state) {
            return Err(Errno::ENOTDIR);
        }
        dir::lookup(self, &state, name)?
            .map(|found| Ino(found.ino))
            .ok_or(Errno::ENOENT)
    }

    /// The contents of a changed directory's inode: times, and the block it lives in.
    pub(crate) fn store_dir(
        &self,
        tx: &Tx<'_, E>,
        inode: &Inode<E>,
        state: &mut State,
    ) -> Result<()> {
        let now = now(self);
        state.disk.mtime = now;
        state.disk.ctime = now;
        state.store(tx)?;
        inode.touch(tx, true);
        Ok(())
    }

    /// The contents of an inode whose names changed.
    pub(crate) fn store_child(
        &self,
        tx: &Tx<'_, E>,
        inode: &Inode<E>,
        state: &mut State,
    ) -> Result<()> {
        state.disk.ctime = now(self);
        state.store(tx)?;
        inode.touch(tx, false);
        Ok(())
    }

    pub(crate) fn make(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Created> {
        check_new(new)?;
        let dir = self.inode(dir)?;
        self.with_space(|| {
            self.transact(make_cost(new), |tx| {
                let _namespace = self.namespace.read();
                let mut parent = dir.write();
                check_dir(&parent)?;
                if dir::lookup(self, &parent, name)?.is_some() {
                    return Err(Errno::EEXIST);
                }
                if parent.disk.nlink.get() >= NLINK_MAX {
                    return Err(Errno::EMLINK);
                }
                let mut state = self.new_inode(tx, new, parent.ino, 1)?;
                let child_is_dir = is_dir(&state);
                if child_is_dir {
                    state.disk.nlink.set(2);
                    state.store(tx)?;
                    add_links(&mut parent, 1);
                }
                dir::insert(self, tx, &mut parent, name, state.ino, dirent_type(&state))?;
                self.store_dir(tx, &dir, &mut parent)?;
                let inode = state.attr();
                self.pin_new(state)?.touch(tx, true);
                let dir = parent.attr();
                Ok(Created { inode, dir })
            })
        })
    }

    pub(crate) fn make_unnamed(&self, dir: Ino, new: &NewInode<'_>) -> Result<bento_api::Attr> {
        check_new(new)?;
        self.inode(dir)?;
        self.with_space(|| {
            self.transact(make_cost(new), |tx| {
                let mut state = self.new_inode(tx, new, dir.0, 0)?;
                let orphan = OrphanSlot::Unlinked(state.ino);
                self.add_orphan(tx, &mut state, orphan)?;
                let attr = state.attr();
                self.pin_new(state)?.touch(tx, true);
                Ok(attr)
            })
        })
    }

    /// Takes a free inode and fills it.
    fn new_inode(&self, tx: &Tx<'_, E>, new: &NewInode<'_>, dir: u64, nlink: u32) -> Result<State> {
        let (ino, generation) = self.space.place_inode(tx)?;
        let now = now(self);
        let kind = FileKind::from_mode(new.mode).ok_or(Errno::EINVAL)?;
        let disk = InodeHead {
            mode: new.mode.into(),
            nlink: nlink.into(),
            uid: new.uid.into(),
            gid: new.gid.into(),
            rdev: new.rdev.into(),
            generation: generation.wrapping_add(1).max(1).into(),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            parent: if kind == FileKind::Directory { dir } else { 0 }.into(),
            ..bytemuck::Zeroable::zeroed()
        };
        let mut state = State::new(ino, disk.into());
        if kind == FileKind::Symlink {
            self.store_target(tx, &mut state, new.target)?;
        }
        if !new.xattrs.is_empty() {
            xattr::init(self, tx, &mut state, new.xattrs)?;
        }
        state.store(tx)?;
        Ok(state)
    }

    /// Puts the target of a symbolic link into the inode, or into a block of its own.
    fn store_target(&self, tx: &Tx<'_, E>, state: &mut State, target: &[u8]) -> Result<()> {
        state.disk.size_bytes.set(target.len() as u64);
        state.disk.flags.set(InodeFlags::INLINE);
        if state.disk.set_inline(target).is_ok() {
            return Ok(());
        }
        state.disk.flags.set(0);
        let (ino, generation) = state.owner();
        for (file_block, part) in (0u64..).zip(target.chunks(TARGET_PART_BYTES)) {
            let header = BlockHeader::new(BlockKind::Symlink, [0; 16], 0).owned(ino, generation);
            let address = self.space.place_metadata(tx, header)?;
            tx.write(address, BlockKind::Symlink, HEADER_BYTES, part)?;
            state.add_blocks(1);
            extent::insert(self, tx, state, Extent::new(file_block, address, 1))?;
        }
        Ok(())
    }

    pub(crate) fn read_target(&self, ino: Ino, target: &mut Vec<u8>) -> Result<()> {
        let inode = self.inode(ino)?;
        let state = inode.read();
        let disk = &state.disk;
        target.clear();
        if FileKind::from_mode(disk.mode.get()) != Some(FileKind::Symlink) {
            return Err(Errno::EINVAL);
        }
        let bad = || {
            self.reporter
                .corrupt(format_args!("symbolic link {}: size", ino.0))
        };
        let len = usize::try_from(disk.size_bytes.get()).map_err(|_| bad())?;
        if disk.flags.get() & InodeFlags::INLINE != 0 {
            target.extend_from_slice(disk.inline().get(..len).ok_or_else(bad)?);
            return Ok(());
        }
        if len > TARGET_MAX {
            return Err(bad());
        }
        for file_block in 0..len.div_ceil(TARGET_PART_BYTES) as u64 {
            let extent = extent::at_or_after(self, &state, file_block)?.ok_or_else(bad)?;
            let skipped = file_block
                .checked_sub(extent.file_block.get())
                .ok_or_else(bad)?;
            let page = self
                .cache
                .read(extent.start.get() + skipped, BlockKind::Symlink)?;
            let wanted = len - target.len().min(len);
            let part = page.bytes().get(HEADER_BYTES..).unwrap_or(&[]);
            target.extend_from_slice(part.get(..wanted.min(part.len())).unwrap_or(&[]));
        }
        Ok(())
    }

    pub(crate) fn add_name(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<Created> {
        let (inode, dir) = (self.inode(ino)?, self.inode(dir)?);
        if inode.ino == dir.ino {
            return Err(Errno::EPERM);
        }
        self.transact(CREATE_COST, |tx| {
            let _namespace = self.namespace.read();
            let mut parent = dir.write();
            check_dir(&parent)?;
            let mut state = inode.write();
            if is_dir(&state) {
                return Err(Errno::EPERM);
            }
            // An inode without names may get one only if it was made without (O_TMPFILE), which
            // the back end checks.
            if state.disk.nlink.get() >= NLINK_MAX {
                return Err(Errno::EMLINK);
            }
            if dir::lookup(self, &parent, name)?.is_some() {
                return Err(Errno::EEXIST);
            }
            dir::insert(self, tx, &mut parent, name, ino.0, dirent_type(&state))?;
            add_links(&mut state, 1);
            self.remove_orphan(tx, &mut state)?;
            self.store_child(tx, &inode, &mut state)?;
            self.store_dir(tx, &dir, &mut parent)?;
            Ok(Created {
                inode: state.attr(),
                dir: parent.attr(),
            })
        })
    }

    /// Removes a name from a directory (`want_dir`: and the directory it names).
    pub(crate) fn remove_name(&self, dir: Ino, name: &[u8], want_dir: bool) -> Result<Unlinked> {
        let dir = self.inode(dir)?;
        let mut pinned = None;
        let result = self.transact(REMOVE_COST, |tx| {
            let _namespace = self.namespace.read();
            let mut parent = dir.write();
            check_dir(&parent)?;
            let found = dir::lookup(self, &parent, name)?.ok_or(Errno::ENOENT)?;
            let inode = self.pin_child(&parent, found)?;
            pinned = Some(Ino(found.ino));
            let mut state = inode.write();
            match (is_dir(&state), want_dir) {
                (true, false) => return Err(Errno::EISDIR),
                (false, true) => return Err(Errno::ENOTDIR),
                (true, true) if state.disk.dir_entries.get() > 0 => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            dir::remove(self, tx, &mut parent, name, found)?;
            self.drop_link(tx, &inode, &mut state)?;
            if want_dir {
                add_links(&mut parent, -1);
            }
            self.store_dir(tx, &dir, &mut parent)?;
            Ok(Unlinked {
                inode: state.attr(),
                dir: parent.attr(),
            })
        });
        // The last pin frees the inode, which is an operation of its own.
        if let Some(ino) = pinned {
            self.unpin(ino);
        }
        result
    }

    /// Takes one name (of a directory: all) from an inode; without names it is an orphan.
    pub(crate) fn drop_link(
        &self,
        tx: &Tx<'_, E>,
        inode: &Inode<E>,
        state: &mut State,
    ) -> Result<()> {
        if is_dir(state) {
            state.disk.nlink.set(0);
        } else {
            add_links(state, -1);
        }
        if state.disk.nlink.get() == 0 {
            let orphan = OrphanSlot::Unlinked(state.ino);
            self.add_orphan(tx, state, orphan)?;
        }
        self.store_child(tx, inode, state)
    }

    /// Pins what an entry names. An entry that names its own directory would lock it twice.
    pub(crate) fn pin_child(&self, parent: &State, found: Found) -> Result<Arc<Inode<E>>> {
        let report = |why: &str| {
            let (dir, ino) = (parent.ino, found.ino);
            self.reporter.corrupt(format_args!(
                "directory {dir}: entry for inode {ino}, {why}"
            ))
        };
        if found.ino == parent.ino {
            return Err(report("the directory itself"));
        }
        match self.pin(Ino(found.ino)) {
            Err(Errno::ESTALE) => Err(report("which does not exist")),
            other => other,
        }
    }
}

fn check_new(new: &NewInode<'_>) -> Result<()> {
    let kind = FileKind::from_mode(new.mode).ok_or(Errno::EINVAL)?;
    if kind == FileKind::Symlink && new.target.is_empty() {
        return Err(Errno::ENOENT);
    }
    if new.target.len() > TARGET_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    xattr::check(new.xattrs)
}

fn make_cost(new: &NewInode<'_>) -> Cost {
    let bytes: usize = new
        .xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 8)
        .sum();
    let blocks = bytes.div_ceil(logfs_format::xattr::PAYLOAD_BYTES) as u64;
    Cost {
        new_blocks: CREATE_COST.new_blocks + blocks,
        ..CREATE_COST
    }
}
