//! The hash indexes of directories: compared with the entries, and made anew if they differ.

use crate::context::{Context, Owner};
use crate::tree::{self, Purpose, Tree};
use crate::{Object, Problem, allocate};
use logfs_format::dir::KEYS_PER_NODE;
use logfs_format::le::Le64;
use logfs_format::tree::{BRANCHES_PER_NODE, Branch};
use logfs_format::{BLOCK_BYTES, BlockKind, HEADER_BYTES, Inode, block};

/// Checks the index of a directory against the keys that its entries have, and claims its nodes;
/// returns how many there are. With `sound` false the keys are not all there are, and the index is
/// only walked.
pub(crate) fn check(
    ctx: &mut Context<'_>,
    owner: Owner,
    inode: &Inode,
    mut keys: Vec<u64>,
    sound: bool,
) -> u64 {
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
    match exchange(ctx, owner, &nodes, &keys) {
        Some(count) => {
            ctx.found(object, Problem::IndexWrong { reason });
            count
        }
        None => {
            ctx.found(object, Problem::IndexNoRoom {});
            nodes.len() as u64
        }
    }
}

/// Makes an index over these keys in place of one that is sound. Returns how many nodes there were
/// and are.
pub(crate) fn replace(
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
    let mut built = Vec::new();
    let Some(root) = build(ctx, owner, keys, &mut built) else {
        built
            .iter()
            .for_each(|&address| allocate::give_back(ctx, address));
        return None;
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

/// Writes an index over sorted keys; returns its root. `None` if there is no room.
fn build(ctx: &mut Context<'_>, owner: Owner, keys: &[u64], built: &mut Vec<u64>) -> Option<u64> {
    if keys.is_empty() {
        return Some(0);
    }
    let mut level = 0;
    let mut below: Vec<Branch> = Vec::new();
    for keys in keys.chunks(KEYS_PER_NODE) {
        let records: Vec<Le64> = keys.iter().copied().map(Le64::new).collect();
        let address = node(
            ctx,
            owner,
            level,
            records.len(),
            bytemuck::cast_slice(&records),
            built,
        )?;
        below.push(Branch {
            key: keys.first().copied().unwrap_or(0).into(),
            child: address.into(),
        });
    }
    while below.len() > 1 {
        level += 1;
        // The lowest possible key, so that nothing is ever below the first branch.
        if let Some(first) = below.first_mut() {
            first.key = 0.into();
        }
        let mut above = Vec::new();
        for branches in below.chunks(BRANCHES_PER_NODE) {
            let bytes = bytemuck::cast_slice(branches);
            let address = node(ctx, owner, level, branches.len(), bytes, built)?;
            above.push(Branch {
                key: branches.first().map_or(0.into(), |branch| branch.key),
                child: address.into(),
            });
        }
        below = above;
    }
    below.first().map(|root| root.child.get())
}

fn node(
    ctx: &mut Context<'_>,
    owner: Owner,
    level: u16,
    count: usize,
    records: &[u8],
    built: &mut Vec<u64>,
) -> Option<u64> {
    let address = allocate::block(ctx, built.last().map(|last| last + 1))?;
    built.push(address);
    let mut image = ctx.new_block(BlockKind::DirIndex, address, owner);
    if let Some(header) = block::view_mut::<logfs_format::BlockHeader>(&mut image, 0) {
        header.level = level.into();
        header.count = (count as u32).into();
    }
    if let Some(place) = image.get_mut(HEADER_BYTES..HEADER_BYTES + records.len()) {
        place.copy_from_slice(records);
    }
    ctx.replace(address, image);
    Some(address)
}
