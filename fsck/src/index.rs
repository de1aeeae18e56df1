//! The hash indexes of directories: compared with the entries, and made anew if they differ.

use crate::context::{Context, Owner, RUN_BLOCKS};
use crate::directories::{as_a_name, hash_key};
use crate::tree::{self, Purpose, Tree};
use crate::{Object, Problem, allocate, dir_block};
use logfs_format::dir::{ENTRY_ALIGN, KEYS_PER_NODE, entries, hash_name, index_key, name_ok};
use logfs_format::le::Le64;
use logfs_format::{BLOCK_BYTES, BlockKind, Inode};

/// The keys that the entries of a directory have.
pub(crate) struct Keys {
    /// In order.
    pub(crate) keys: Vec<u64>,
    /// They are all there are. If not, the index is only walked.
    pub(crate) sound: bool,
    /// The check has changed entries: that the index is no longer right is no problem of its own.
    pub(crate) is_changed: bool,
}

/// The keys that the index should have, in order.
pub(crate) fn keys_of(ctx: &Context<'_>, blocks: &[(u64, u64)]) -> Vec<u64> {
    let mut keys = Vec::new();
    let mut chunks = blocks.chunks(RUN_BLOCKS as usize).peekable();
    while let Some(chunk) = chunks.next() {
        let next = chunks.peek().copied().unwrap_or(&[]);
        ctx.read_ahead(next.iter().map(|(_, address)| *address));
        for run in dir_block::runs(chunk) {
            dir_block::load(ctx, run);
            for &(file_block, address) in run {
                keys_of_block(ctx, file_block, address, &mut keys);
            }
        }
    }
    keys.sort_unstable();
    keys
}

fn keys_of_block(ctx: &Context<'_>, file_block: u64, address: u64, keys: &mut Vec<u64>) {
    let Ok(image) = ctx.read_raw(address) else {
        return;
    };
    let used = entries(&image).map_while(Result::ok);
    keys.extend(used.filter(|entry| entry.ino != 0).map(|entry| {
        let bytes = file_block * BLOCK_BYTES as u64 + entry.offset as u64;
        let hash = match name_ok(entry.name) {
            true => hash_name(hash_key(ctx), entry.name),
            false => hash_name(hash_key(ctx), &as_a_name(entry.name)),
        };
        index_key(hash, (bytes / ENTRY_ALIGN as u64) as u32)
    }));
}

/// Checks the index of a directory against the keys that its entries have, and claims its nodes;
/// returns how many there are.
pub(crate) fn check(ctx: &mut Context<'_>, owner: Owner, inode: &Inode, entries: Keys) -> u64 {
    let Keys {
        keys,
        sound,
        is_changed,
    } = entries;
    let root = inode.dir_index.get();
    let wanted = inode.size_bytes.get() > BLOCK_BYTES as u64;
    let mut nodes = Vec::new();
    let mut reason = None;
    let mut expected = keys.iter();
    let mut same = true;
    if root != 0 {
        let tree = tree_of(owner, root);
        let walked = tree::walk(ctx, &tree, Purpose::Check, &mut |_, key, _| {
            same &= expected.next() == Some(&key);
            true
        });
        reason = walked.fault.as_ref().map(ToString::to_string);
        nodes = walked.nodes;
    }
    if !sound {
        ctx.gaps.blocks |= reason.is_some();
        return nodes.len() as u64;
    }
    same &= expected.next().is_none();
    if reason.is_none() {
        reason = match (root != 0, wanted) {
            (true, true) if !same => Some(difference(ctx, owner, root, &keys)),
            (false, true) => Some("missing".to_owned()),
            (true, false) => Some("not needed".to_owned()),
            _ => None,
        };
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
    keys: Vec<u64>,
) -> Option<(u64, u64)> {
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

/// How an index differs from the keys that it should have.
fn difference(ctx: &mut Context<'_>, owner: Owner, root: u64, keys: &[u64]) -> String {
    let mut found = Vec::new();
    tree::walk(
        ctx,
        &tree_of(owner, root),
        Purpose::Read,
        &mut |_, key, _| {
            found.push(key);
            true
        },
    );
    let not_in = |keys: &[u64], others: &[u64]| {
        let missing = keys.iter().filter(|key| others.binary_search(key).is_err());
        missing.count()
    };
    let (missing, stray) = (not_in(keys, &found), not_in(&found, keys));
    format!("{missing} entries are missing, {stray} are of no entry")
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
    let blocks = dir_block::blocks(ctx, owner, &inode);
    let keys = keys_of(ctx, &blocks);
    let (before, after) = replace(ctx, owner, &inode, keys)?;
    grow(ctx, dir, before, after);
    Some(())
}
