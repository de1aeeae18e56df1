//! Reading and writing files over mappings: what the page cache and iomap do in the kernel.
//!
//! A write reserves its blocks, fills up the partial ones from what lies there, writes all of them
//! to new places and then tells the file system. It is done when it returns, so nothing stays
//! reserved between calls, and what is on the device behind a file's end reads as zeros.

use crate::memory::MemoryFiles;
use bento_api::{
    Attr, Device, Env, Errno, FallocateMode, FileSystem, Ino, Mapping, MappingKind, ReadRequest,
    Result, RwLock, SetAttr, Time, WriteRequest, Written,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Locks for inodes, which share them by number: no call takes two.
const LOCKS: usize = 256;

/// The largest size of a file: that of `off_t`.
const MAX_SIZE_BYTES: u64 = i64::MAX as u64;

/// For work beside which others may read and write an inode.
type Shared<'a, E> = <<E as Env>::RwLock<()> as RwLock<()>>::Read<'a>;
/// For work beside which nothing happens to an inode.
type Exclusive<'a, E> = <<E as Env>::RwLock<()> as RwLock<()>>::Write<'a>;

/// File I/O on a mounted file system. Calls for one inode are serialised as far as they need it.
pub struct FileIo<E: Env, FS: FileSystem<E>> {
    env: E,
    fs: Arc<FS>,
    block_bytes: u64,
    locks: Vec<E::RwLock<()>>,
    /// The contents, where there is no device to keep them.
    memory: Option<MemoryFiles>,
}

/// The part of a mapping that was asked for.
#[derive(Clone, Copy)]
struct Piece {
    len_bytes: u64,
    kind: MappingKind,
}

/// A write that has its blocks reserved.
struct Reserved {
    /// The part of the write for which there is space.
    len_bytes: u64,
    /// What lies in its first and last block.
    first_block: MappingKind,
    last_block: MappingKind,
}

impl<E: Env, FS: FileSystem<E>> FileIo<E, FS> {
    /// File I/O on `fs`, which was mounted with `env`.
    pub fn new(env: E, fs: Arc<FS>) -> Result<Self> {
        let block_bytes = u64::from(fs.statfs()?.block_bytes);
        if !block_bytes.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let locks = (0..LOCKS).map(|_| RwLock::new(())).collect();
        let memory = (!FS::NEEDS_DEVICE).then(MemoryFiles::default);
        Ok(FileIo {
            env,
            fs,
            block_bytes,
            locks,
            memory,
        })
    }

    /// Reads into `buffer` and returns how much there was before the file's end.
    pub fn read(&self, ino: Ino, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize> {
        let _shared = self.share(ino);
        let size_bytes = self.fs.getattr(ino)?.size_bytes;
        let available = size_bytes
            .saturating_sub(offset_bytes)
            .min(buffer.len() as u64) as usize;
        let (mut rest, _) = buffer.split_at_mut(available);
        if let Some(memory) = &self.memory {
            memory.read(ino, offset_bytes, rest);
            return Ok(available);
        }
        let mut position = offset_bytes;
        while !rest.is_empty() {
            let piece = self.piece_at(ino, position, rest.len() as u64)?;
            let (part, behind) = rest.split_at_mut(piece.len_bytes as usize);
            self.read_piece(piece.kind, part)?;
            position += piece.len_bytes;
            rest = behind;
        }
        Ok(available)
    }

    /// Writes `data` and returns how much there was space for. `mtime` goes into the file with it;
    /// `None` where the caller sets the time itself.
    pub fn write(
        &self,
        ino: Ino,
        offset_bytes: u64,
        data: &[u8],
        mtime: Option<Time>,
    ) -> Result<usize> {
        if MAX_SIZE_BYTES.saturating_sub(offset_bytes) < data.len() as u64 {
            return Err(Errno::EFBIG);
        }
        let _exclusive = self.exclude(ino);
        self.write_locked(ino, offset_bytes, data, mtime)
    }

    /// Appends `data` at the file's end, wherever that is by now.
    pub fn append(&self, ino: Ino, data: &[u8], mtime: Option<Time>) -> Result<usize> {
        let _exclusive = self.exclude(ino);
        let offset_bytes = self.fs.getattr(ino)?.size_bytes;
        if MAX_SIZE_BYTES.saturating_sub(offset_bytes) < data.len() as u64 {
            return Err(Errno::EFBIG);
        }
        self.write_locked(ino, offset_bytes, data, mtime)
    }

    /// Changes attributes, the size among them.
    pub fn setattr(&self, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let Some(size_bytes) = set.size_bytes else {
            return self.fs.setattr(ino, set);
        };
        if size_bytes > MAX_SIZE_BYTES {
            return Err(Errno::EFBIG);
        }
        let _exclusive = self.exclude(ino);
        let old_size_bytes = self.fs.getattr(ino)?.size_bytes;
        if size_bytes < old_size_bytes {
            match &self.memory {
                Some(memory) => memory.zero(ino, size_bytes, u64::MAX),
                None => self.zero_part(ino, size_bytes, self.block_up(size_bytes))?,
            }
        }
        self.fs.setattr(ino, set)
    }

    /// `fallocate(2)`.
    pub fn fallocate(
        &self,
        ino: Ino,
        mode: FallocateMode,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<()> {
        let end_bytes = offset_bytes.checked_add(len_bytes).ok_or(Errno::EFBIG)?;
        if len_bytes == 0 {
            return Err(Errno::EINVAL);
        }
        if end_bytes > MAX_SIZE_BYTES {
            return Err(Errno::EFBIG);
        }
        let _exclusive = self.exclude(ino);
        match (&self.memory, mode) {
            (Some(_), FallocateMode::Allocate { .. }) => {}
            (Some(memory), _) => memory.zero(ino, offset_bytes, end_bytes),
            (None, _) => self.fallocate_blocks(ino, mode, offset_bytes, end_bytes)?,
        }
        let keep_size = match mode {
            FallocateMode::Punch => true,
            FallocateMode::Allocate { keep_size } | FallocateMode::Zero { keep_size } => keep_size,
        };
        if !keep_size && self.fs.getattr(ino)?.size_bytes < end_bytes {
            let size_bytes = Some(end_bytes);
            self.fs.setattr(
                ino,
                &SetAttr {
                    size_bytes,
                    ..SetAttr::default()
                },
            )?;
        }
        Ok(())
    }

    /// `SEEK_DATA`: where the first data at `offset_bytes` or behind it starts.
    pub fn seek_data(&self, ino: Ino, offset_bytes: u64) -> Result<u64> {
        self.seek(ino, offset_bytes, true)?.ok_or(Errno::ENXIO)
    }

    /// `SEEK_HOLE`: where the first hole at `offset_bytes` or behind it starts; the file's end is
    /// one.
    pub fn seek_hole(&self, ino: Ino, offset_bytes: u64) -> Result<u64> {
        let size_bytes = self.fs.getattr(ino)?.size_bytes;
        Ok(self.seek(ino, offset_bytes, false)?.unwrap_or(size_bytes))
    }

    /// One step of [`FileSystem::clean`]: when this returns, nobody reads at an address that was
    /// given up. Calls must not overlap.
    pub fn clean(&self) -> u64 {
        let mut moved = Vec::new();
        let next_ms = self.fs.clean(&mut moved);
        // Whoever reads or writes holds the lock for as long as it knows an address.
        for part in moved {
            drop(self.exclude(part.ino));
        }
        next_ms
    }

    /// Ends a pin, like [`FileSystem::forget`], and lets contents go with their inode.
    pub fn forget(&self, ino: Ino) {
        self.fs.forget(ino);
        if let Some(memory) = &self.memory {
            match self.fs.load(ino) {
                Ok(_) => self.fs.forget(ino),
                Err(_) => memory.remove(ino),
            }
        }
    }

    fn share(&self, ino: Ino) -> Shared<'_, E> {
        self.locks[ino.0 as usize % LOCKS].read()
    }

    fn exclude(&self, ino: Ino) -> Exclusive<'_, E> {
        self.locks[ino.0 as usize % LOCKS].write()
    }

    fn block_down(&self, bytes: u64) -> u64 {
        bytes - bytes % self.block_bytes
    }

    /// Below 2^63 this can't overflow.
    fn block_up(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.block_bytes)
    }

    /// What lies on the device at a position, for at most `len_bytes`.
    fn piece_at(&self, ino: Ino, position: u64, len_bytes: u64) -> Result<Piece> {
        let start = self.block_down(position);
        let end = self.block_up(position + len_bytes);
        let mapping = self.fs.map(ino, start, end - start, false)?;
        self.cut(mapping, position, position + len_bytes)
    }

    /// The part of a mapping from `position` up to `end`. A file system that answers with another
    /// range than the one asked for must not make us touch what isn't the file's.
    fn cut(&self, mapping: Mapping, position: u64, end: u64) -> Result<Piece> {
        let mapping_end = mapping.offset_bytes.checked_add(mapping.len_bytes);
        let skipped = position.checked_sub(mapping.offset_bytes);
        let (Some(mapping_end), Some(skipped)) = (mapping_end, skipped) else {
            return Err(Errno::EIO);
        };
        if mapping_end <= position {
            return Err(Errno::EIO);
        }
        let advance = |address_bytes: u64| address_bytes.checked_add(skipped).ok_or(Errno::EIO);
        let kind = match mapping.kind {
            MappingKind::Mapped { address_bytes } => MappingKind::Mapped {
                address_bytes: advance(address_bytes)?,
            },
            MappingKind::Unwritten { address_bytes } => MappingKind::Unwritten {
                address_bytes: advance(address_bytes)?,
            },
            kind => kind,
        };
        Ok(Piece {
            len_bytes: mapping_end.min(end) - position,
            kind,
        })
    }

    /// Fills `buffer` with what a piece holds, whose address need not be aligned to sectors.
    fn read_piece(&self, kind: MappingKind, buffer: &mut [u8]) -> Result<()> {
        let MappingKind::Mapped { address_bytes } = kind else {
            buffer.fill(0);
            return Ok(());
        };
        let sector_bytes = u64::from(self.env.device().geometry().sector_bytes);
        let before = address_bytes % sector_bytes;
        if before == 0 && (buffer.len() as u64).is_multiple_of(sector_bytes) {
            return self.env.device().read(&mut [ReadRequest {
                offset_bytes: address_bytes,
                buffer,
            }]);
        }
        let aligned_len = (before + buffer.len() as u64).next_multiple_of(sector_bytes);
        let mut aligned = vec![0; aligned_len as usize];
        let offset_bytes = address_bytes - before;
        self.env.device().read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut aligned,
        }])?;
        let (_, wanted) = aligned.split_at(before as usize);
        let (wanted, _) = wanted.split_at(buffer.len());
        buffer.copy_from_slice(wanted);

        Ok(())
    }

    fn write_locked(
        &self,
        ino: Ino,
        offset_bytes: u64,
        data: &[u8],
        mtime: Option<Time>,
    ) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let size_bytes = self.fs.getattr(ino)?.size_bytes;
        if let Some(memory) = &self.memory {
            memory.write(ino, offset_bytes, data);
            let written = Written {
                offset_bytes,
                len_bytes: data.len() as u64,
                result: Ok(()),
                size_bytes: offset_bytes + data.len() as u64,
                checksums: &[],
            };
            self.fs.written(ino, &[written], mtime)?;
            return Ok(data.len());
        }
        let reserved = self.reserve(ino, offset_bytes, data.len() as u64)?;
        let (data, _) = data.split_at(reserved.len_bytes as usize);
        let start = self.block_down(offset_bytes);
        let end = self.block_up(offset_bytes + reserved.len_bytes);
        let blocks = self.fill_up(offset_bytes, data, size_bytes, &reserved);
        let new_size_bytes = size_bytes.max(offset_bytes + reserved.len_bytes);
        let placed = blocks
            .and_then(|blocks| self.place_and_write(ino, start, &blocks, new_size_bytes, mtime));
        if placed.is_err() {
            // What was placed isn't reserved any more: only the rest is given back.
            self.fs.unreserve(ino, start, end - start);
        }
        placed.map(|()| data.len())
    }

    /// Reserves the blocks of a write, or as many of them from the first on as there is space for.
    fn reserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Reserved> {
        let start = self.block_down(offset_bytes);
        let end = self.block_up(offset_bytes + len_bytes);
        let mut position = start;
        let mut first_block = None;
        let mut last_block = MappingKind::Hole;
        while position < end {
            let piece = self
                .fs
                .reserve(ino, position, end - position)
                .and_then(|mapping| self.cut(mapping, position, end));
            match piece {
                Ok(piece) => {
                    first_block.get_or_insert(piece.kind);
                    last_block = last_block_of(piece, self.block_bytes);
                    position += piece.len_bytes;
                }
                Err(Errno::ENOSPC) if position > start => break,
                Err(error) => {
                    self.fs.unreserve(ino, start, position - start);
                    return Err(error);
                }
            }
        }
        Ok(Reserved {
            len_bytes: (position - offset_bytes).min(len_bytes),
            first_block: first_block.unwrap_or(MappingKind::Hole),
            last_block,
        })
    }

    /// The whole blocks of a write: `data`, with what lies around it in the first and last block.
    fn fill_up<'a>(
        &self,
        offset_bytes: u64,
        data: &'a [u8],
        size_bytes: u64,
        reserved: &Reserved,
    ) -> Result<Cow<'a, [u8]>> {
        let start = self.block_down(offset_bytes);
        let data_end = offset_bytes + data.len() as u64;
        let end = self.block_up(data_end);
        if start == offset_bytes && end == data_end {
            return Ok(Cow::Borrowed(data));
        }
        let block_bytes = self.block_bytes as usize;
        let mut blocks = vec![0; (end - start) as usize];
        if start < offset_bytes || end - start == self.block_bytes {
            let (first, _) = blocks.split_at_mut(block_bytes);
            self.read_old(reserved.first_block, start, size_bytes, first)?;
        }
        if end > data_end && end - start > self.block_bytes {
            let (_, last) = blocks.split_at_mut((end - start) as usize - block_bytes);
            self.read_old(
                reserved.last_block,
                end - self.block_bytes,
                size_bytes,
                last,
            )?;
        }
        let (_, written) = blocks.split_at_mut((offset_bytes - start) as usize);
        let (written, _) = written.split_at_mut(data.len());
        written.copy_from_slice(data);

        Ok(Cow::Owned(blocks))
    }

    /// The old contents of one block, with zeros behind the file's end.
    fn read_old(
        &self,
        kind: MappingKind,
        position: u64,
        size_bytes: u64,
        block: &mut [u8],
    ) -> Result<()> {
        let valid = size_bytes.saturating_sub(position).min(self.block_bytes) as usize;
        if valid > 0 {
            self.read_piece(kind, block)?;
        }
        let (_, behind) = block.split_at_mut(valid);
        behind.fill(0);

        Ok(())
    }

    /// Writes whole reserved blocks to the places that the file system gives them.
    fn place_and_write(
        &self,
        ino: Ino,
        start: u64,
        blocks: &[u8],
        size_bytes: u64,
        mtime: Option<Time>,
    ) -> Result<()> {
        let mut position = start;
        let mut rest = blocks;
        while !rest.is_empty() {
            let end = position + rest.len() as u64;
            let mapping = self.fs.place(ino, position, end - position)?;
            let piece = self.cut(mapping, position, end)?;
            let MappingKind::Mapped { address_bytes } = piece.kind else {
                return Err(Errno::EIO);
            };
            let (part, behind) = rest.split_at(piece.len_bytes as usize);
            let checksums: Vec<u32> = part
                .chunks(self.block_bytes as usize)
                .map(|block| self.env.crc32c(0, block))
                .collect();
            let request = WriteRequest {
                offset_bytes: address_bytes,
                data: part,
            };
            let result = self.env.device().write(&[request]);
            let part_end = position + piece.len_bytes;
            let written = Written {
                offset_bytes: position,
                len_bytes: piece.len_bytes,
                result,
                size_bytes: size_bytes.min(part_end),
                checksums: &checksums,
            };
            self.fs.written(ino, &[written], mtime)?;
            result?;
            position = part_end;
            rest = behind;
        }
        Ok(())
    }

    fn fallocate_blocks(
        &self,
        ino: Ino,
        mode: FallocateMode,
        offset_bytes: u64,
        end_bytes: u64,
    ) -> Result<()> {
        let (outer_start, outer_end) = (self.block_down(offset_bytes), self.block_up(end_bytes));
        if mode != FallocateMode::Punch {
            let allocate = FallocateMode::Allocate { keep_size: true };
            self.fs
                .fallocate(ino, allocate, outer_start, outer_end - outer_start)?;
        }
        if let FallocateMode::Allocate { .. } = mode {
            return Ok(());
        }
        let (inner_start, inner_end) = (self.block_up(offset_bytes), self.block_down(end_bytes));
        if inner_start > inner_end {
            return self.zero_part(ino, offset_bytes, end_bytes);
        }
        self.zero_part(ino, offset_bytes, inner_start)?;
        self.zero_part(ino, inner_end, end_bytes)?;
        if inner_start < inner_end {
            let mode = match mode {
                FallocateMode::Zero { .. } => FallocateMode::Zero { keep_size: true },
                mode => mode,
            };
            self.fs
                .fallocate(ino, mode, inner_start, inner_end - inner_start)?;
        }
        Ok(())
    }

    /// Zeroes a part of one block, if anything is there.
    fn zero_part(&self, ino: Ino, from_bytes: u64, to_bytes: u64) -> Result<()> {
        if from_bytes == to_bytes {
            return Ok(());
        }
        let size_bytes = self.fs.getattr(ino)?.size_bytes;
        let to_bytes = to_bytes.min(size_bytes);
        if from_bytes >= to_bytes {
            return Ok(());
        }
        let piece = self.piece_at(ino, from_bytes, to_bytes - from_bytes)?;
        if !matches!(piece.kind, MappingKind::Mapped { .. }) {
            return Ok(());
        }
        let zeros = vec![0; (to_bytes - from_bytes) as usize];
        self.write_locked(ino, from_bytes, &zeros, None)?;
        Ok(())
    }

    fn seek(&self, ino: Ino, offset_bytes: u64, for_data: bool) -> Result<Option<u64>> {
        let _shared = self.share(ino);
        let size_bytes = self.fs.getattr(ino)?.size_bytes;
        if offset_bytes >= size_bytes {
            return Err(Errno::ENXIO);
        }
        let mut position = offset_bytes;
        while position < size_bytes {
            let (is_data, end) = match &self.memory {
                Some(memory) => memory.is_data(ino, position),
                None => {
                    let piece = self.piece_at(ino, position, size_bytes - position)?;
                    let is_data = matches!(piece.kind, MappingKind::Mapped { .. });
                    (is_data, position + piece.len_bytes)
                }
            };
            if is_data == for_data {
                return Ok(Some(position));
            }
            position = end;
        }
        Ok(None)
    }
}

/// The kind of a piece's last block: its address is not that of the first.
fn last_block_of(piece: Piece, block_bytes: u64) -> MappingKind {
    let skipped = piece.len_bytes - block_bytes;
    match piece.kind {
        MappingKind::Mapped { address_bytes } => MappingKind::Mapped {
            address_bytes: address_bytes.saturating_add(skipped),
        },
        kind => kind,
    }
}
