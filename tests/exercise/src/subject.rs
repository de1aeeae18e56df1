//! The file itself, opened twice: through the page cache and past it.

use anyhow::{Context, Result};
use rustix::fs::{Advice, FallocateFlags, OFlags, SeekFrom, fadvise, fallocate, seek};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The open file.
pub(crate) struct Subject {
    pub(crate) buffered: File,
    pub(crate) direct: File,
}

impl Subject {
    /// Opens a file that is there.
    pub(crate) fn open(path: &Path) -> Result<Subject> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits().cast_signed())
                .open(path)
                .with_context(|| format!("cannot open {} with {flags:?}", path.display()))
        };
        Ok(Subject {
            buffered: open(OFlags::empty())?,
            direct: open(OFlags::DIRECT)?,
        })
    }

    /// Forgets pages that are not dirty, so that reads have to ask the file system.
    pub(crate) fn drop_pages(&self) -> Result<()> {
        Ok(fadvise(&self.buffered, 0, None, Advice::DontNeed)?)
    }

    pub(crate) fn fallocate(
        &self,
        mode: FallocateFlags,
        offset: usize,
        len_bytes: usize,
    ) -> Result<()> {
        let (offset, len_bytes) = (offset as u64, len_bytes as u64);
        Ok(fallocate(&self.buffered, mode, offset, len_bytes)?)
    }

    pub(crate) fn size_bytes(&self) -> Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }

    /// The next hole's start and end at or behind `offset`, if there is one. The end of the file
    /// ends a hole.
    pub(crate) fn next_hole(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        let size_bytes = self.size_bytes()?;
        if offset >= size_bytes {
            return Ok(None);
        }
        let start = seek(&self.buffered, SeekFrom::Hole(offset))?;
        if start >= size_bytes {
            return Ok(None);
        }
        match seek(&self.buffered, SeekFrom::Data(start)) {
            Ok(end) => Ok(Some((start, end))),
            Err(Errno::NXIO) => Ok(Some((start, size_bytes))),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads until `bytes` is full or the file ends; returns how much was read.
pub(crate) fn read_full(file: &File, bytes: &mut [u8], offset: usize) -> Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], (offset + done) as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}
