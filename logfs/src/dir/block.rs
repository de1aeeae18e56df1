//! Changing one directory block.

use super::malformed;
use crate::LogFs;
use crate::cache::Page;
use crate::inode::State;
use crate::tx::Tx;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Result};
use core::mem::offset_of;
use logfs_format::dir::{self, ENTRY_BYTES_MIN, ENTRY_HEAD_BYTES, Entry, EntryHead, entry_bytes};
use logfs_format::{BLOCK_BYTES, BlockKind, HEADER_BYTES};

/// Why a block could not be changed.
pub(super) enum Fault {
    /// The block is malformed at this offset.
    Malformed(usize),
    /// The change failed.
    Failed(Errno),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Failed(errno)
    }
}

impl Fault {
    /// Names the directory and block in the log.
    pub(super) fn report<E: Env>(self, fs: &LogFs<E>, state: &State, file_block: u64) -> Errno {
        match self {
            Fault::Malformed(offset) => malformed(fs, state, file_block, offset),
            Fault::Failed(errno) => errno,
        }
    }
}

fn head(ino: u64, bytes: usize, name_len: usize, dirent_type: u8) -> EntryHead {
    EntryHead {
        ino: ino.into(),
        entry_bytes: (bytes as u16).into(),
        name_len: name_len as u8,
        dirent_type,
    }
}

fn write<E: Env>(tx: &Tx<'_, E>, address: u64, offset: usize, bytes: &[u8]) -> Result<()> {
    tx.write(address, BlockKind::Directory, offset, bytes)
}

fn write_len<E: Env>(tx: &Tx<'_, E>, address: u64, offset: usize, bytes: usize) -> Result<()> {
    let field = offset + offset_of!(EntryHead, entry_bytes);
    write(tx, address, field, &(bytes as u16).to_le_bytes())
}

/// Makes a new block one run of free space.
pub(super) fn format<E: Env>(tx: &Tx<'_, E>, address: u64) -> Result<()> {
    let free = head(0, BLOCK_BYTES - HEADER_BYTES, 0, 0);
    write(tx, address, HEADER_BYTES, bytemuck::bytes_of(&free))
}

/// Free space in a block.
struct Room {
    offset: usize,
    bytes: usize,
    /// The entry before it, which has given it away, and what that entry keeps.
    giver: Option<(usize, usize)>,
}

/// Looks for room behind the entries before `packed`, which have none to give, and tells how far that
/// holds.
fn find_room(
    page: &Page,
    packed: &mut usize,
    need: usize,
) -> core::result::Result<Option<Room>, Fault> {
    for entry in dir::entries_from(page.bytes(), *packed) {
        let entry = entry.map_err(Fault::Malformed)?;
        let taken = match entry.ino {
            0 => 0,
            _ => entry_bytes(entry.name.len()),
        };
        let bytes = entry.entry_bytes - taken;
        if bytes >= need {
            return Ok(Some(Room {
                offset: entry.offset + taken,
                bytes,
                giver: (taken > 0).then_some((entry.offset, taken)),
            }));
        }
        if bytes < ENTRY_BYTES_MIN && *packed == entry.offset {
            *packed += entry.entry_bytes;
        }
    }
    Ok(None)
}

/// Adds an entry if there is room for it, and returns its offset. Entries before `packed`, which is
/// moved on, have no room for any other. (The page of a block that is about
/// to be written is let go before, here and below: while somebody holds it, writing copies it.)
pub(super) fn insert<E: Env>(
    tx: &Tx<'_, E>,
    (address, page): (u64, Arc<Page>),
    packed: &mut usize,
    name: &[u8],
    ino: u64,
    dirent_type: u8,
) -> core::result::Result<Option<usize>, Fault> {
    let need = entry_bytes(name.len());
    let Some(room) = find_room(&page, packed, need)? else {
        return Ok(None);
    };
    drop(page);
    // What is left behind the new entry stays free if an entry fits there.
    let rest = room.bytes - need;
    let (bytes, rest) = match rest >= ENTRY_BYTES_MIN {
        true => (need, rest),
        false => (room.bytes, 0),
    };
    let mut image = Vec::with_capacity(need + ENTRY_HEAD_BYTES);
    let head_of_new = head(ino, bytes, name.len(), dirent_type);
    image.extend_from_slice(bytemuck::bytes_of(&head_of_new));
    image.extend_from_slice(name);
    if rest > 0 {
        image.resize(need, 0);
        image.extend_from_slice(bytemuck::bytes_of(&head(0, rest, 0, 0)));
    }
    write(tx, address, room.offset, &image)?;
    if let Some((offset, taken)) = room.giver {
        write_len(tx, address, offset, taken)?;
    }
    Ok(Some(room.offset))
}

/// Makes an entry free space and joins it with what is free before and behind it. Returns where that
/// starts, or nothing if the block has no entries left.
pub(super) fn remove<E: Env>(
    tx: &Tx<'_, E>,
    address: u64,
    page: Arc<Page>,
    offset: usize,
) -> core::result::Result<Option<usize>, Fault> {
    let (start, bytes) = freed_by(&page, offset)?;
    drop(page);
    let free = head(0, bytes, 0, 0);
    write(tx, address, start, bytemuck::bytes_of(&free))?;
    Ok((bytes < BLOCK_BYTES - HEADER_BYTES).then_some(start))
}

/// The free space, as offset and length, that there will be when an entry has gone.
fn freed_by(page: &Page, offset: usize) -> core::result::Result<(usize, usize), Fault> {
    let mut before: Option<Entry<'_>> = None;
    let mut entries = dir::entries(page.bytes());
    while let Some(entry) = entries.next().transpose().map_err(Fault::Malformed)? {
        if entry.offset != offset {
            before = Some(entry);
            continue;
        }
        let behind = entries.next().transpose().map_err(Fault::Malformed)?;
        let free_behind = behind.filter(|e| e.ino == 0).map_or(0, |e| e.entry_bytes);
        let free_before = before.filter(|e| e.ino == 0);
        let start = free_before.map_or(offset, |e| e.offset);
        return Ok((start, offset + entry.entry_bytes + free_behind - start));
    }
    Err(Fault::Malformed(offset))
}

/// Makes an entry name another inode.
pub(super) fn replace<E: Env>(
    tx: &Tx<'_, E>,
    address: u64,
    page: Arc<Page>,
    offset: usize,
    ino: u64,
    dirent_type: u8,
) -> core::result::Result<(), Fault> {
    let entry = dir::entry_at(page.bytes(), offset).ok_or(Fault::Malformed(offset))?;
    let new = head(ino, entry.entry_bytes, entry.name.len(), dirent_type);
    drop(page);
    Ok(write(tx, address, offset, bytemuck::bytes_of(&new))?)
}
