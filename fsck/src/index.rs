//! The hash indexes of directories: compared with the entries, and made anew if they differ.

use crate::context::{Context, Owner};
use crate::directories::hash_key;
use crate::tree::{self, Purpose, Tree};
use crate::{Object, Problem, allocate, dir_block};
use logfs_format::dir::{ENTRY_ALIGN, KEYS_PER_NODE, entries, hash_name, index_key};
use logfs_format::le::Le64;
use logfs_format::{BLOCK_BYTES, BlockKind, Inode};

/// The keys that the entries of a directory have.
pub(crate) struct Keys {
    pub(crate) keys: Vec<u64>,
    /// They are all there are. If not, the index is only walked.
    pub(crate) sound: bool,
    /// The check has changed entries: that the index is no longer right is no problem of its own.
    pub(crate) is_changed: bool,
}

/// Checks the index of a directory against the keys that its entries have, and claims its nodes;
/// returns how many there are.
pub(crate) fn check(ctx: &mut Context<'_>, owner: Owner, inode: &Inode, entries: Keys) -> u64 {
    let Keys {
        mut keys,
        sound,
        is_changed,
    } = entries;
    let root = inode.dir_index.get();
    let wanted = inode.size_bytes.get() > BLOCK_BYTES as u64;
    let mut found = Vec::new();
    let mut nodes = Vec::new();
    let mut reason = None;
    if root != 0 {
        let tree = tree_of(owner, root);
        let walked = tree::walk(ctx, &tree, Purpose::Check, &mut |_, key, _| {
            found.push(key);
            true
        });
        reason = walked.fault.as_ref().map(ToString::to_string);
        nodes = walked.nodes;
    }
    if !sound {
        ctx.gaps.blocks |= reason.is_some();
        return nodes.len() as u64;
    }
    keys.sort_unstable();
    if reason.is_none() {
        reason = compare(&found, &keys, root != 0, wanted);
    }
    let Some(reason) = reason else {
        return nodes.len() as u64;
    };
    let object = Object::Inode(owner.ino);
    let keys = if wanted { keys } else { Vec::new() };
    let leaves = keys.len().div_ceil(KEYS_PER_NODE) as u64;
    if !allocate::has_room(ctx, leaves + leaves / 100 + 3) {
        ctx.gaps.blocks = true;
        ctx.found(object, Problem::IndexNoRoom {});
        return nodes.len() as u64;
    }
    if !is_changed && !ctx.fix(object, Problem::IndexWrong { reason }) {
        ctx.gaps.blocks = true;
        return nodes.len() as u64;
    }
    exchange(ctx, owner, &nodes, &keys).unwrap_or(nodes.len() as u64)
}

/// Makes an index over these keys in place of one that is sound. Returns how many nodes there were
/// and are.
fn replace(
    ctx: &mut Context<'_>,
    owner: Owner,
    inode: &Inode,
    mut keys: Vec<u64>,
) -> Option<(u64, u64)> {
    keys.sort_unstable();
    let mut nodes = Vec::new();
    if inode.dir_index.get() != 0 {
        let tree = tree_of(owner, inode.dir_index.get());
        nodes = tree::walk(ctx, &tree, Purpose::Read, &mut |_, _, _| true).nodes;
    }
    let after = exchange(ctx, owner, &nodes, &keys)?;
    Some((nodes.len() as u64, after))
}

/// Writes an index over sorted keys and gives up the nodes of the old one. Returns the number of
/// nodes; `None`, and nothing changed, if there is no room.
fn exchange(ctx: &mut Context<'_>, owner: Owner, old: &[u64], keys: &[u64]) -> Option<u64> {
    let records: Vec<Le64> = keys.iter().copied().map(Le64::new).collect();
    let (root, built) = match keys {
        [] => (0, Vec::new()),
        _ => tree::build(
            ctx,
            BlockKind::DirIndex,
            owner,
            size_of::<Le64>(),
            bytemuck::cast_slice(&records),
        )?,
    };
    old.iter()
        .for_each(|&address| allocate::give_back(ctx, address));
    ctx.edit_inode(owner.ino, |inode| inode.dir_index = root.into());
    Some(built.len() as u64)
}

fn tree_of(owner: Owner, root: u64) -> Tree {
    Tree {
        kind: BlockKind::DirIndex,
        record_bytes: size_of::<Le64>(),
        owner,
        root,
    }
}

fn compare(found: &[u64], keys: &[u64], is_there: bool, wanted: bool) -> Option<String> {
    match (is_there, wanted) {
        (false, false) => None,
        (false, true) => Some("missing".to_owned()),
        (true, false) => Some("not needed".to_owned()),
        (true, true) if found == keys => None,
        (true, true) => {
            let missing = keys
                .iter()
                .filter(|key| found.binary_search(key).is_err())
                .count();
            let stray = found
                .iter()
                .filter(|key| keys.binary_search(key).is_err())
                .count();
            Some(format!(
                "{missing} entries are missing, {stray} are of no entry"
            ))
        }
    }
}

/// The blocks of an inode have become other by the check's own doing.
pub(crate) fn grow(ctx: &mut Context<'_>, ino: u64, less: u64, more: u64) {
    let blocks = ctx.inodes.update(ino, |info| {
        info.counted = info.counted.saturating_sub(less).saturating_add(more);
        info.blocks = info.blocks.saturating_sub(less).saturating_add(more);
        info.blocks
    });
    if let Some(blocks) = blocks {
        ctx.edit_inode(ino, |inode| inode.blocks = blocks.into());
    }
}

/// Makes the index of a directory anew, if it has one or has become too large to be without.
pub(crate) fn refresh(ctx: &mut Context<'_>, dir: u64) -> Option<()> {
    let inode = ctx.read_inode(dir)?;
    let owner = Owner::of(dir, &inode);
    if inode.size_bytes.get() <= BLOCK_BYTES as u64 {
        return Some(());
    }
    let mut keys = Vec::new();
    for (file_block, address) in dir_block::blocks(ctx, owner, &inode) {
        let image = ctx.read_owned(address, BlockKind::Directory, owner).ok()?;
        for entry in entries(&image)
            .filter_map(Result::ok)
            .filter(|entry| entry.ino != 0)
        {
            let bytes = file_block * BLOCK_BYTES as u64 + entry.offset as u64;
            let hash = hash_name(hash_key(ctx), entry.name);
            keys.push(index_key(hash, (bytes / ENTRY_ALIGN as u64) as u32));
        }
    }
    let (before, after) = replace(ctx, owner, &inode, keys)?;
    grow(ctx, dir, before, after);
    Some(())
}
