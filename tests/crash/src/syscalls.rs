//! The operations of workloads as system calls on a mounted file system.

use crate::op::{NumberOp, Op, PairOp, PathOp, Range, RangeOp, WholeOp};
use crate::stamp;
use crate::tree::BLOCK_BYTES;
use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags, fallocate, fdatasync, fstat,
    fsync, ftruncate, linkat, lremovexattr, lsetxattr, mkdirat, openat, renameat_with, symlinkat,
    syncfs, unlinkat,
};
use rustix::io::{Errno, pread, pwrite};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

const XATTR: &str = "user.crash";

/// Memory that starts on a block: O_DIRECT wants that.
#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// A mounted file system, and what is held open in it.
pub struct Mount {
    dir: PathBuf,
    root: OwnedFd,
    held: Vec<OwnedFd>,
}

impl Mount {
    /// The one that is mounted on a directory.
    ///
    /// # Errors
    /// If the directory can't be opened.
    pub fn open(dir: &Path) -> Result<Mount> {
        let root = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
            .with_context(|| format!("cannot open {}", dir.display()))?;
        Ok(Mount {
            dir: dir.to_owned(),
            root,
            held: Vec::new(),
        })
    }

    /// Does an operation, whose data is that of write number `version`. Data has left the page cache
    /// when this returns: there is no telling otherwise in what order it will.
    ///
    /// # Errors
    /// Outer: the machine is at fault; inner: the operation failed.
    pub fn apply(&mut self, op: &Op, version: u32) -> Result<Result<(), Errno>> {
        Ok(match op {
            Op::Range(op, path, range) => self.range(*op, path, range, version),
            Op::Path(op, path) => self.path(*op, path, version),
            Op::Pair(op, from, to) => self.pair(*op, from, to),
            Op::Number(op, path, number) => self.number(*op, path, *number, version),
            Op::Whole(WholeOp::Sync) => syncfs(&self.root),
            Op::Whole(WholeOp::Checkpoint) => {
                for flag in ["-f", "-u"] {
                    let status = Command::new("fsfreeze").arg(flag).arg(&self.dir).status();
                    let status = status.context("cannot run fsfreeze")?;
                    ensure!(status.success(), "fsfreeze {flag} failed");
                }
                Ok(())
            }
            Op::Whole(WholeOp::Wait | WholeOp::Clean) => Ok(()),
        })
    }

    fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW;
        openat(&self.root, path, flags, Mode::from_raw_mode(0o600))
    }

    fn range(&self, op: RangeOp, path: &str, range: &Range, version: u32) -> Result<(), Errno> {
        let Range { offset, len } = *range;
        let file = self.file(path, OFlags::RDWR)?;
        let size = fstat(&file)?.st_size as u64;
        let change = |flags| fallocate(&file, flags, offset, len);
        match op {
            RangeOp::Write | RangeOp::Buffer => {
                pwrite(&file, &stamp::fill(version, offset, len as usize), offset).map(drop)?;
            }
            RangeOp::Direct => self.write_direct(path, offset, len, version)?,
            RangeOp::Allocate => change(FallocateFlags::empty())?,
            RangeOp::AllocateBeyond => change(FallocateFlags::KEEP_SIZE)?,
            RangeOp::Punch => change(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE)?,
            RangeOp::Zero => change(FallocateFlags::ZERO_RANGE)?,
        }
        self.settle(path, size.min(offset), offset + len)
    }

    fn write_direct(&self, path: &str, offset: u64, len: u64, version: u32) -> Result<(), Errno> {
        let file = self.file(path, OFlags::RDWR | OFlags::DIRECT)?;
        let data = stamp::fill(version, offset, len as usize);
        for (index, part) in data.chunks(BLOCK_BYTES).enumerate() {
            let mut block = Block([0; BLOCK_BYTES]);
            block.0[..part.len()].copy_from_slice(part);
            pwrite(&file, &block.0, offset + (index * BLOCK_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Makes what is dirty in a range leave the page cache without making it durable: a direct read
    /// waits for that.
    fn settle(&self, path: &str, start: u64, end: u64) -> Result<(), Errno> {
        let file = self.file(path, OFlags::RDONLY | OFlags::DIRECT)?;
        let end = end.min(fstat(&file)?.st_size as u64);
        let mut block = Block([0; BLOCK_BYTES]);
        for number in start / BLOCK_BYTES as u64..end.div_ceil(BLOCK_BYTES as u64) {
            pread(&file, &mut block.0, number * BLOCK_BYTES as u64)?;
        }
        Ok(())
    }

    fn path(&mut self, op: PathOp, path: &str, version: u32) -> Result<(), Errno> {
        let mode = |bits| Mode::from_raw_mode(bits);
        match op {
            PathOp::Create => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
                openat(&self.root, path, flags, mode(0o644)).map(drop)
            }
            PathOp::Mkdir => mkdirat(&self.root, path, mode(0o755)),
            PathOp::Symlink => symlinkat("x".repeat(20), &self.root, path),
            PathOp::LongSymlink => symlinkat("x".repeat(1000), &self.root, path),
            PathOp::Tmpfile => {
                let flags = OFlags::TMPFILE | OFlags::RDWR;
                let file = openat(&self.root, path, flags, mode(0o600))?;
                let written = pwrite(&file, &stamp::fill(version, 0, 3 * BLOCK_BYTES), 0);
                self.held.push(file);
                written.map(drop)
            }
            PathOp::Unlink => unlinkat(&self.root, path, AtFlags::empty()),
            PathOp::UnlinkOpen => {
                let file = self.file(path, OFlags::RDONLY)?;
                self.held.push(file);
                unlinkat(&self.root, path, AtFlags::empty())
            }
            PathOp::Rmdir => unlinkat(&self.root, path, AtFlags::REMOVEDIR),
            PathOp::Fsync => fsync(self.file(path, OFlags::RDONLY)?),
            PathOp::Fdatasync => fdatasync(self.file(path, OFlags::RDONLY)?),
            PathOp::Writeback | PathOp::StartWriteback => Ok(()),
        }
    }

    fn pair(&self, op: PairOp, from: &str, to: &str) -> Result<(), Errno> {
        let (root, other) = (self.root.as_fd(), self.root.as_fd());
        match op {
            PairOp::Link => linkat(root, from, other, to, AtFlags::empty()),
            PairOp::Rename => renameat_with(root, from, other, to, RenameFlags::empty()),
            PairOp::Exchange => renameat_with(root, from, other, to, RenameFlags::EXCHANGE),
        }
    }

    fn number(&self, op: NumberOp, path: &str, number: u64, version: u32) -> Result<(), Errno> {
        let whole = self.dir.join(path);
        match op {
            NumberOp::Truncate => {
                let file = self.file(path, OFlags::WRONLY)?;
                let size = fstat(&file)?.st_size as u64;
                ftruncate(&file, number)?;
                self.settle(path, size.min(number), size.max(number))
            }
            NumberOp::Chmod => {
                let mode = Mode::from_raw_mode(number as u32);
                rustix::fs::chmodat(&self.root, path, mode, AtFlags::empty())
            }
            NumberOp::SetXattr => {
                let value = stamp::fill(version, 0, number as usize);
                lsetxattr(&whole, XATTR, &value, XattrFlags::empty())
            }
            NumberOp::RemoveXattr => lremovexattr(&whole, XATTR),
        }
    }
}
