//! The hash index of a directory.

use super::{Found, malformed, read_block, span_blocks, split_position};
use crate::LogFs;
use crate::extent;
use crate::inode::State;
use crate::tree::Tree;
use crate::tx::Tx;
use bento_api::{Env, Result};
use logfs_format::BlockKind;
use logfs_format::dir::{self, hash_name, index_key};
use logfs_format::le::Le64;

fn tree_of(state: &State) -> Tree {
    Tree {
        root: state.disk.dir_index.get(),
        kind: BlockKind::DirIndex,
        record_bytes: size_of::<Le64>(),
        owner: state.owner(),
        grown_blocks: 0,
    }
}

fn with_tree(
    state: &mut State,
    change: impl FnOnce(&State, &mut Tree) -> Result<()>,
) -> Result<()> {
    let mut tree = tree_of(state);
    change(state, &mut tree)?;
    state.disk.dir_index.set(tree.root);
    state.add_blocks(tree.grown_blocks);
    Ok(())
}

/// Finds a name: looks at each entry with its hash.
pub(super) fn lookup<E: Env>(fs: &LogFs<E>, state: &State, name: &[u8]) -> Result<Option<Found>> {
    let hash = hash_name(fs.hash_key, name);
    let tree = tree_of(state);
    let mut from = index_key(hash, 0);
    while let Some(key) = tree.seek::<Le64, E>(fs, from)? {
        let key = key.get();
        if (key >> 32) as u32 != hash {
            return Ok(None);
        }
        let position = key as u32;
        let (file_block, offset) = split_position(position);
        let (_, page) = read_block(fs, state, file_block)?;
        let entry = dir::entry_at(page.bytes(), offset)
            .filter(|entry| entry.ino != 0)
            .ok_or_else(|| malformed(fs, state, file_block, offset))?;
        if entry.name == name {
            return Ok(Some(Found {
                ino: entry.ino,
                dirent_type: entry.dirent_type,
                position,
            }));
        }
        let Some(next) = key.checked_add(1) else {
            return Ok(None);
        };
        from = next;
    }
    Ok(None)
}

/// Adds the key of an entry.
pub(super) fn insert<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    name: &[u8],
    position: u32,
) -> Result<()> {
    let key = index_key(hash_name(fs.hash_key, name), position);
    with_tree(state, |_, tree| tree.insert(fs, tx, &key.to_le_bytes()))
}

/// Removes the key of an entry.
pub(super) fn remove<E: Env>(
    fs: &LogFs<E>,
    tx: &Tx<'_, E>,
    state: &mut State,
    name: &[u8],
    position: u32,
) -> Result<()> {
    let key = index_key(hash_name(fs.hash_key, name), position);
    with_tree(state, |state, tree| {
        if tree.remove(fs, tx, key)? {
            return Ok(());
        }
        let ino = state.ino;
        Err(fs.reporter.corrupt(format_args!(
            "directory {ino}: entry {position} is not in its index"
        )))
    })
}

/// Makes the index of a directory that has outgrown one block.
pub(super) fn build<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State) -> Result<()> {
    with_tree(state, |state, tree| {
        let mut file_block = 0;
        while file_block < span_blocks(state) {
            let Some(extent) = extent::at_or_after(fs, state, file_block)? else {
                break;
            };
            file_block = extent.file_block.get().max(file_block);
            let (_, page) = read_block(fs, state, file_block)?;
            for entry in dir::entries(page.bytes()) {
                let entry = entry.map_err(|offset| malformed(fs, state, file_block, offset))?;
                if entry.ino != 0 {
                    let position = super::position(file_block, entry.offset);
                    let key = index_key(hash_name(fs.hash_key, entry.name), position);
                    tree.insert(fs, tx, &key.to_le_bytes())?;
                }
            }
            file_block += 1;
        }
        Ok(())
    })
}

/// Frees the index.
pub(super) fn clear<E: Env>(fs: &LogFs<E>, tx: &Tx<'_, E>, state: &mut State) -> Result<()> {
    with_tree(state, |_, tree| tree.clear(fs, tx))
}
