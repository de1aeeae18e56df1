//! Directories: entries in the order in which they came, with a hash index over them.
//!
//! The functions here work on a locked directory; `docs/FORMAT.md` and [`logfs_format::dir`] have
//! the layout.

mod block;
mod index;

use crate::LogFs;
use crate::extent;
use crate::inode::State;
use crate::tx::Tx;
use alloc::sync::Arc;
use bento_api::{DirEntry, Env, Errno, FileKind, Ino, Result};
use logfs_format::dir::{self, ENTRY_ALIGN, MAX_DIR_BLOCKS};
use logfs_format::{BLOCK_BYTES, BlockHeader, BlockKind, Extent, HEADER_BYTES};

use crate::cache::Page;

/// Blocks with room that a directory remembers.
const ROOMY_MAX: usize = 32;

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The inode it names.
    pub(crate) ino: u64,
    /// Its `d_type`.
    pub(crate) dirent_type: u8,
    /// Where it stands.
    position: u32,
}

/// Blocks that a directory spans, holes included.
fn span_blocks(state: &State) -> u64 {
    state.disk.size_bytes.get() / BLOCK_BYTES as u64
}

fn split_position(position: u32) -> (u64, usize) {
    let bytes = u64::from(position) * ENTRY_ALIGN as u64;
    (
        bytes / BLOCK_BYTES as u64,
        (bytes % BLOCK_BYTES as u64) as usize,
    )
}

fn position(file_block: u64, offset: usize) -> u32 {
    ((file_block * BLOCK_BYTES as u64 + offset as u64) / ENTRY_ALIGN as u64) as u32
}

/// A block of a directory: its address and contents.
fn read_block<E: Env>(fs: &LogFs<E>, state: &State, file_block: u64) -> Result<(u64, Arc<Page>)> {
    let extent = extent::at_or_after(fs, state, file_block)?;
    let Some(extent) = extent.filter(|extent| extent.file_block.get() <= file_block) else {
        return Err(malformed(fs, state, file_block, 0));
    };
    let address = extent.start.get() + (file_block - extent.file_block.get());
    let page = fs.cache.read(address, BlockKind::Directory)?;
    let header: &BlockHeader = page.view(0)?;
    if (header.owner.get(), header.owner_generation.get()) != state.owner() {
        let (ino, owner) = (state.ino, header.owner.get());
        return Err(fs.reporter.corrupt(format_args!(
            "directory {ino}: block {file_block} belongs to inode {owner}"
        )));
    }
    Ok((address, page))
}

fn malformed<E: Env>(fs: &LogFs<E>, state: &State, file_block: u64, offset: usize) -> Errno {
    let ino = state.ino;
    fs.reporter.corrupt(format_args!(
        "directory {ino}: block {file_block}, offset {offset}: malformed"
    ))
}

/// Finds a name.
pub(crate) fn lookup<E: Env>(fs: &LogFs<E>, state: &State, name: &[u8]) -> Result<Option<Found>> {
    if state.disk.dir_index.get() != 0 {
        return index::lookup(fs, state, name);
    }
    for file_block in 0..span_blocks(state) {
        let (_, page) = read_block(fs, state, file_block)?;
        for entry in dir::entries(page.bytes()) {
            let entry = entry.map_err(|offset| malformed(fs, state, file_block, offset))?;
            if entry.ino != 0 && entry.name == name {
                let position = position(file_block, entry.offset);
                return Ok(Some(Found {
                    ino: entry.ino,
                    dirent_type: entry.dirent_type,
                    position,
                }));
            }
        }
    }
    Ok(None)
}

/// Adds a name that is not there yet.
pub(crate) fn insert<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    name: &[u8],
    ino: u64,
    dirent_type: u8,
) -> Result<()> {
    let position = place(fs, tx, state, name, ino, dirent_type)?;
    if state.disk.dir_index.get() != 0 {
        index::insert(fs, tx, state, name, position)?;
    } else if span_blocks(state) > 1 {
        index::build(fs, tx, state)?;
    }
    let entries = state.disk.dir_entries.get().saturating_add(1);
    state.disk.dir_entries.set(entries);
    Ok(())
}

/// Puts an entry into a block with room for it, a new one if need be.
fn place<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    name: &[u8],
    ino: u64,
    dirent_type: u8,
) -> Result<u32> {
    let last = span_blocks(state).checked_sub(1);
    let candidates = state
        .in_use()
        .roomy
        .iter()
        .map(|&block| u64::from(block))
        .chain(last);
    for file_block in candidates.collect::<alloc::vec::Vec<_>>() {
        let Ok(block) = read_block(fs, state, file_block) else {
            continue;
        };
        let known = state.in_use().packed;
        let known = known.filter(|(packed, _)| *packed == file_block);
        let mut packed = known.map_or(HEADER_BYTES, |(_, offset)| offset);
        let placed = block::insert(tx, block, &mut packed, name, ino, dirent_type)
            .map_err(|fault| fault.report(fs, state, file_block))?;
        if let Some(offset) = placed {
            state.in_use_mut().packed = Some((file_block, packed));
            return Ok(position(file_block, offset));
        }
        state
            .in_use_mut()
            .roomy
            .retain(|&block| u64::from(block) != file_block);
    }
    let file_block = append_block(fs, tx, state)?;
    let block = read_block(fs, state, file_block)?;
    let mut packed = HEADER_BYTES;
    let placed = block::insert(tx, block, &mut packed, name, ino, dirent_type)
        .map_err(|fault| fault.report(fs, state, file_block))?;
    state.in_use_mut().packed = Some((file_block, packed));
    placed
        .map(|offset| position(file_block, offset))
        .ok_or(Errno::EUCLEAN)
}

/// Adds an empty block behind the last one, or in a hole if positions run out.
fn append_block<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State) -> Result<u64> {
    let mut file_block = span_blocks(state);
    if file_block >= MAX_DIR_BLOCKS {
        file_block = first_hole(fs, state)?;
    }
    let (ino, generation) = state.owner();
    let header = BlockHeader::new(BlockKind::Directory, [0; 16], 0).owned(ino, generation);
    let address = fs.space.place_metadata(tx, header)?;
    block::format(tx, address)?;
    extent::insert(fs, tx, state, Extent::new(file_block, address, 1))?;
    state.add_blocks(1);
    let span = span_blocks(state).max(file_block + 1);
    state.disk.size_bytes.set(span * BLOCK_BYTES as u64);
    Ok(file_block)
}

fn first_hole<E: Env>(fs: &LogFs<E>, state: &State) -> Result<u64> {
    let mut at = 0;
    while let Some(extent) = extent::at_or_after(fs, state, at)?
        && extent.file_block.get() <= at
    {
        at = extent.end();
    }
    if at < MAX_DIR_BLOCKS {
        Ok(at)
    } else {
        Err(Errno::ENOSPC)
    }
}

/// Removes an entry that was found.
pub(crate) fn remove<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    name: &[u8],
    found: Found,
) -> Result<()> {
    let (file_block, offset) = split_position(found.position);
    let (address, page) = read_block(fs, state, file_block)?;
    let free_from = block::remove(tx, address, page, offset)
        .map_err(|fault| fault.report(fs, state, file_block))?;
    if state.disk.dir_index.get() != 0 {
        index::remove(fs, tx, state, name, found.position)?;
    }
    let entries = state.disk.dir_entries.get().saturating_sub(1);
    state.disk.dir_entries.set(entries);
    let Some(free_from) = free_from else {
        return drop_block(fs, tx, state, file_block);
    };
    let in_use = state.in_use_mut();
    if let Some((_, packed)) = in_use.packed.as_mut().filter(|(it, _)| *it == file_block) {
        *packed = free_from.min(*packed);
    }
    let block = file_block as u32;
    if in_use.roomy.len() < ROOMY_MAX && !in_use.roomy.contains(&block) {
        in_use.roomy.push(block);
    }
    Ok(())
}

/// Frees a block without entries, and everything behind the last block that has some.
fn drop_block<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    file_block: u64,
) -> Result<()> {
    if let Some(in_use) = state.in_use_now() {
        in_use.roomy.retain(|&block| u64::from(block) != file_block);
        in_use.packed = None;
    }
    extent::remove(
        fs,
        tx,
        state,
        (file_block, file_block + 1),
        1,
        |state, extent| {
            state.add_blocks(-i64::from(extent.len.get()));
            fs.space
                .free(tx, &mut [(extent.start.get(), extent.len.get())], true)
        },
    )?;
    if file_block + 1 == span_blocks(state) {
        let span = extent::last(fs, state)?.map_or(0, |extent| extent.end());
        state.disk.size_bytes.set(span * BLOCK_BYTES as u64);
    }
    if span_blocks(state) <= 1 && state.disk.dir_index.get() != 0 {
        index::clear(fs, tx, state)?;
    }
    Ok(())
}

/// Makes an entry that was found name another inode.
pub(crate) fn replace<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &State,
    found: Found,
    ino: u64,
    dirent_type: u8,
) -> Result<()> {
    let (file_block, offset) = split_position(found.position);
    let (address, page) = read_block(fs, state, file_block)?;
    block::replace(tx, address, page, offset, ino, dirent_type)
        .map_err(|fault| fault.report(fs, state, file_block))
}

/// Frees the blocks of an empty directory.
pub(crate) fn clear<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State) -> Result<()> {
    extent::remove(fs, tx, state, (0, u64::MAX), usize::MAX, |state, extent| {
        state.add_blocks(-i64::from(extent.len.get()));
        fs.space
            .free(tx, &mut [(extent.start.get(), extent.len.get())], true)
    })?;
    index::clear(fs, tx, state)?;
    state.disk.size_bytes.set(0);
    Ok(())
}

/// Hands entries from a cookie on to `emit` until it answers false. A cookie is the position of
/// the entry to go on with.
pub(crate) fn read<E: Env>(
    fs: &LogFs<E>,
    state: &State,
    cookie: u64,
    emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
) -> Result<()> {
    let start = u32::try_from(cookie).unwrap_or(u32::MAX);
    let (mut file_block, mut from) = split_position(start);
    let end = span_blocks(state);
    while file_block < end {
        let Some(extent) = extent::at_or_after(fs, state, file_block)? else {
            return Ok(());
        };
        if extent.file_block.get() > file_block {
            (file_block, from) = (extent.file_block.get(), 0);
        }
        let (_, page) = read_block(fs, state, file_block)?;
        for entry in dir::entries(page.bytes()) {
            let entry = entry.map_err(|offset| malformed(fs, state, file_block, offset))?;
            if entry.offset < from || entry.ino == 0 {
                continue;
            }
            // What is not a name would be a path to whoever gets it.
            if !dir::name_ok(entry.name) || FileKind::from_dirent_type(entry.dirent_type).is_none()
            {
                return Err(malformed(fs, state, file_block, entry.offset));
            }
            let next = entry.offset + entry.entry_bytes;
            let next_cookie = (file_block * BLOCK_BYTES as u64 + next as u64) / ENTRY_ALIGN as u64;
            let (name, ino, dirent_type) = (entry.name, Ino(entry.ino), entry.dirent_type);
            if !emit(&DirEntry {
                name,
                ino,
                dirent_type,
                next_cookie,
            }) {
                return Ok(());
            }
        }
        (file_block, from) = (file_block + 1, 0);
    }
    Ok(())
}
