//! Requests for the contents of files and directories.

use crate::abi::{self, Args};
use crate::server::{Server, put};
use bento_api::{Env, Errno, FallocateMode, FileSystem, Ino, Result};
use bento_host::{FileDevice, HostEnv};
use bytemuck::Zeroable;

/// `fallocate(2)`'s modes.
const KEEP_SIZE: u32 = 0x01;
const PUNCH_HOLE: u32 = 0x02;
const ZERO_RANGE: u32 = 0x10;
/// `lseek(2)`'s.
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;
/// Directory offsets of `.` and `..`; those of the file system lie behind.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

const DIRECTORY_TYPE: u8 = bento_api::FileKind::Directory.dirent_type();

struct Entry {
    name: Vec<u8>,
    ino: Ino,
    dirent_type: u8,
    next_cookie: u64,
}

impl<FS: FileSystem<HostEnv<FileDevice>>> Server<FS> {
    pub(crate) fn read(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wish: abi::ReadIn = args.take()?;
        let start = out.len();
        out.resize(start + wish.size as usize, 0);
        let (_, buffer) = out.split_at_mut(start);
        let count = self.io.read(ino, wish.offset, buffer)?;
        out.truncate(start + count);
        self.accessed(ino)
    }

    /// What comes from the kernel's cache has its time from the kernel, by `SETATTR`.
    pub(crate) fn write(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wish: abi::WriteIn = args.take()?;
        let data = args.0.get(..wish.size as usize).ok_or(Errno::EINVAL)?;
        if wish.write_flags & abi::write::KILL_SUIDGID != 0 {
            self.drop_privileges(ino)?;
        }
        let from_cache = wish.write_flags & abi::write::CACHE != 0;
        let mtime = (!from_cache).then(|| self.env.now());
        let count = self
            .io
            .write(ino, wish.offset, data, mtime)
            .inspect_err(|&error| {
                if from_cache {
                    self.write_errors.note(ino, error);
                }
            })?;
        put(
            out,
            &abi::WriteOut {
                size: count as u32,
                padding: 0,
            },
        );
        Ok(())
    }

    pub(crate) fn fallocate(&self, ino: Ino, mut args: Args<'_>) -> Result<()> {
        let wish: abi::FallocateIn = args.take()?;
        let keep_size = wish.mode & KEEP_SIZE != 0;
        let mode = match wish.mode & !KEEP_SIZE {
            0 => FallocateMode::Allocate { keep_size },
            ZERO_RANGE => FallocateMode::Zero { keep_size },
            PUNCH_HOLE if keep_size => FallocateMode::Punch,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.io.fallocate(ino, mode, wish.offset, wish.length)
    }

    pub(crate) fn lseek(&self, ino: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wish: abi::LseekIn = args.take()?;
        let offset = match wish.whence {
            SEEK_DATA => self.io.seek_data(ino, wish.offset)?,
            SEEK_HOLE => self.io.seek_hole(ino, wish.offset)?,
            _ => return Err(Errno::EINVAL),
        };
        put(out, &abi::LseekOut { offset });
        Ok(())
    }

    pub(crate) fn fsync(&self, ino: Ino, mut args: Args<'_>) -> Result<()> {
        let wish: abi::FsyncIn = args.take()?;
        self.fs
            .fsync(ino, wish.fsync_flags & abi::FSYNC_FDATASYNC != 0)
    }

    pub(crate) fn readdir(&self, dir: Ino, mut args: Args<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wish: abi::ReadIn = args.take()?;
        let fixed_bytes = size_of::<abi::Dirent>();
        for entry in self.entries(dir, &wish, fixed_bytes)? {
            put_dirent(out, &entry);
        }
        Ok(())
    }

    /// `READDIR` that looks up each name too.
    pub(crate) fn readdirplus(
        &self,
        dir: Ino,
        mut args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let wish: abi::ReadIn = args.take()?;
        let fixed_bytes = size_of::<abi::EntryOut>() + size_of::<abi::Dirent>();
        for entry in self.entries(dir, &wish, fixed_bytes)? {
            // Node id 0 says nothing of the inode: `.` and `..` are not looked up, and a name may
            // have gone in the meantime.
            let looked_up = match entry.next_cookie {
                DOT | DOT_DOT => abi::EntryOut::zeroed(),
                _ => match self.fs.load(entry.ino) {
                    Ok(attr) => self.entry(&attr),
                    Err(_) => abi::EntryOut::zeroed(),
                },
            };
            put(out, &looked_up);
            put_dirent(out, &entry);
        }
        Ok(())
    }

    /// As many entries as fit in an answer, where each takes `fixed_bytes` and its name, rounded
    /// up. They are collected before anything else is asked of the file system.
    fn entries(&self, dir: Ino, wish: &abi::ReadIn, fixed_bytes: usize) -> Result<Vec<Entry>> {
        let mut room = wish.size as usize;
        let mut entries = Vec::new();
        let mut add = |entry: Entry| {
            let len = (fixed_bytes + entry.name.len()).next_multiple_of(8);
            let fits = len <= room;
            if fits {
                room -= len;
                entries.push(entry);
            }
            fits
        };
        let dots = [
            (DOT, b".".as_slice(), dir),
            (DOT_DOT, b"..", self.fs.parent(dir)?),
        ];
        for (next_cookie, name, ino) in dots {
            let entry = Entry {
                name: name.to_vec(),
                ino,
                dirent_type: DIRECTORY_TYPE,
                next_cookie,
            };
            if wish.offset < next_cookie && !add(entry) {
                return Ok(entries);
            }
        }
        let cookie = if wish.offset <= DOT_DOT {
            0
        } else {
            wish.offset
        };
        self.accessed(dir)?;
        self.fs.readdir(dir, cookie, &mut |entry| {
            add(Entry {
                name: entry.name.to_vec(),
                ino: entry.ino,
                dirent_type: entry.dirent_type,
                next_cookie: entry.next_cookie,
            })
        })?;
        Ok(entries)
    }
}

fn put_dirent(out: &mut Vec<u8>, entry: &Entry) {
    let header = abi::Dirent {
        ino: entry.ino.0,
        off: entry.next_cookie,
        namelen: entry.name.len() as u32,
        kind: u32::from(entry.dirent_type),
    };
    put(out, &header);
    out.extend_from_slice(&entry.name);
    out.resize(out.len().next_multiple_of(8), 0);
}
