//! Names for the inodes that messages are about.

use crate::context::{Context, Owner};
use crate::directories::printable;
use crate::{Object, extents};
use logfs_format::BlockKind;
use logfs_format::dir::entries;
use std::collections::{BTreeSet, HashMap};

/// Deepest path that is followed: what is deeper, or goes round, is shown without its beginning.
const DEPTH_MAX: usize = 1000;

/// An inode's directory and its name there.
type Names = HashMap<u64, (u64, Box<[u8]>)>;

/// Adds a path to each finding about an inode that has one.
pub(crate) fn name_findings(ctx: &mut Context<'_>) {
    let inodes: BTreeSet<u64> = ctx
        .report
        .findings
        .iter()
        .filter_map(|finding| match finding.object {
            Object::Inode(ino) => Some(ino),
            _ => None,
        })
        .collect();
    if inodes.is_empty() {
        return;
    }
    let names = find_names(ctx, inodes);
    let root = ctx.superblock.root_ino.get();
    for finding in &mut ctx.report.findings {
        if let Object::Inode(ino) = finding.object {
            finding.path = path(&names, root, ino);
        }
    }
}

/// Reads all directories for the names of some inodes and of what they are in.
fn find_names(ctx: &mut Context<'_>, inodes: BTreeSet<u64>) -> Names {
    let mut names = Names::new();
    let mut wanted = inodes;
    // Where directories are is known already; where files are is not, so their directories
    // come in with a second look.
    while !wanted.is_empty() {
        let found = scan(ctx, &wanted);
        let mut next = BTreeSet::new();
        for (ino, (dir, name)) in found {
            names.insert(ino, (dir, name));
            for dir in ancestors(ctx, dir) {
                if !names.contains_key(&dir) && !wanted.contains(&dir) {
                    next.insert(dir);
                }
            }
        }
        next.retain(|ino| !names.contains_key(ino));
        wanted = next;
    }
    names
}

/// A directory and those above it.
fn ancestors(ctx: &Context<'_>, dir: u64) -> Vec<u64> {
    let root = ctx.superblock.root_ino.get();
    let mut out = Vec::new();
    let mut at = dir;
    while at != 0 && at != root && out.len() < DEPTH_MAX {
        out.push(at);
        at = ctx.inodes.get(at).map_or(0, |info| info.found_in);
    }
    out
}

fn scan(ctx: &mut Context<'_>, wanted: &BTreeSet<u64>) -> Names {
    let mut names = Names::new();
    for dir in ctx.inodes.directories() {
        let Some(inode) = ctx.read_inode(dir) else {
            continue;
        };
        let owner = Owner::of(dir, &inode);
        for extent in extents::read(ctx, owner, &inode) {
            for index in 0..u64::from(extent.len.get()) {
                let address = extent.start.get() + index;
                let Ok(image) = ctx.read_owned(address, BlockKind::Directory, owner) else {
                    continue;
                };
                for entry in entries(&image).filter_map(Result::ok) {
                    if wanted.contains(&entry.ino) {
                        names
                            .entry(entry.ino)
                            .or_insert_with(|| (dir, entry.name.into()));
                    }
                }
            }
        }
    }
    names
}

fn path(names: &Names, root: u64, ino: u64) -> Option<String> {
    if ino == root {
        return Some("/".to_owned());
    }
    let mut parts = Vec::new();
    let mut at = ino;
    while at != root && parts.len() < DEPTH_MAX {
        let Some((dir, name)) = names.get(&at) else {
            break;
        };
        parts.push(printable(name));
        at = *dir;
    }
    if parts.is_empty() {
        return None;
    }
    let start = if at == root { "" } else { "..." };
    parts.push(start.to_owned());
    parts.reverse();
    Some(parts.join("/"))
}
