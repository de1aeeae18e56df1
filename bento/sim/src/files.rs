//! What is done with open files.

use crate::{Locks, Sim, SimEnv};
use bento_api::{Attr, Env, Errno, FallocateMode, FileKind, FileSystem, Ino, Result, SetAttr};

/// An open file; [`Sim::close`] ends it. One from before a crash answers `ESTALE`.
#[derive(Debug)]
#[must_use]
pub struct File {
    pub(crate) ino: Ino,
    pub(crate) mount_number: u64,
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Sim<FS, L> {
    /// Makes everything durable.
    pub fn sync(&self) -> Result<()> {
        self.fs.sync(true)
    }

    /// Opens the regular file at `path`.
    pub fn open(&self, path: &[u8]) -> Result<File> {
        let pin = self.resolve(path)?;
        match pin.attr.kind() {
            FileKind::Regular => Ok(pin.into_file()),
            FileKind::Directory => Err(Errno::EISDIR),
            FileKind::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    /// Closes a file.
    pub fn close(&self, file: File) {
        if file.mount_number == self.mount_number {
            self.unpin(file.ino);
        }
    }

    /// Attributes of an open file.
    pub fn fstat(&self, file: &File) -> Result<Attr> {
        self.fs.getattr(self.ino(file)?)
    }

    /// Up to `len` bytes from `offset_bytes` on.
    pub fn read(&self, file: &File, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        let count = self.io.read(self.ino(file)?, offset_bytes, &mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Writes, and returns how much there was space for.
    pub fn write(&self, file: &File, offset_bytes: u64, data: &[u8]) -> Result<usize> {
        let written = self
            .io
            .write(self.ino(file)?, offset_bytes, data, Some(self.env.now()));
        self.changed(written)
    }

    /// Sets the size of an open file.
    pub fn truncate(&self, file: &File, size_bytes: u64) -> Result<()> {
        let set = SetAttr {
            size_bytes: Some(size_bytes),
            ..SetAttr::default()
        };
        self.changed(self.io.setattr(self.ino(file)?, &set))
            .map(drop)
    }

    /// `fallocate(2)`.
    pub fn fallocate(
        &self,
        file: &File,
        mode: FallocateMode,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<()> {
        self.changed(
            self.io
                .fallocate(self.ino(file)?, mode, offset_bytes, len_bytes),
        )
    }

    /// `SEEK_DATA`.
    pub fn seek_data(&self, file: &File, offset_bytes: u64) -> Result<u64> {
        self.io.seek_data(self.ino(file)?, offset_bytes)
    }

    /// `SEEK_HOLE`.
    pub fn seek_hole(&self, file: &File, offset_bytes: u64) -> Result<u64> {
        self.io.seek_hole(self.ino(file)?, offset_bytes)
    }

    /// Makes an open file durable.
    pub fn fsync(&self, file: &File) -> Result<()> {
        self.changed(self.fs.fsync(self.ino(file)?, false))
    }

    /// Makes an open file's contents durable.
    pub fn fdatasync(&self, file: &File) -> Result<()> {
        self.changed(self.fs.fsync(self.ino(file)?, true))
    }

    /// Makes a directory, or anything else at `path`, durable.
    pub fn fsync_path(&self, path: &[u8]) -> Result<()> {
        let pin = self.resolve(path)?;
        self.changed(self.fs.fsync(pin.ino(), false))
    }

    /// All of the file at `path`.
    pub fn read_file(&self, path: &[u8]) -> Result<Vec<u8>> {
        let pin = self.resolve(path)?;
        let mut contents = vec![0; pin.attr.size_bytes as usize];
        let count = self.io.read(pin.ino(), 0, &mut contents)?;
        contents.truncate(count);
        Ok(contents)
    }

    /// Makes the file at `path`, or empties it, and writes `data`; `ENOSPC` if not all fits.
    pub fn write_file(&self, path: &[u8], data: &[u8]) -> Result<()> {
        let file = match self.open(path) {
            Err(Errno::ENOENT) => self.create(path, 0o644)?,
            opened => opened?,
        };
        let written = self
            .truncate(&file, 0)
            .and_then(|()| self.write(&file, 0, data));
        self.close(file);
        if written? < data.len() {
            Err(Errno::ENOSPC)
        } else {
            Ok(())
        }
    }
}
