//! Pass 4: how everything hangs together: reachability, parents, link counts, block counts.

use crate::context::Context;
use crate::inode_table::InodeInfo;
use crate::lost_found::LostFound;
use crate::{Failure, Object, Problem};
use logfs_format::InoAddress;
use std::collections::HashMap;

const PASS: u32 = 4;

/// How often progress is told, in inodes.
const STEP: usize = 4096;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    check_root(ctx);
    if !ctx.gaps.names && !ctx.gaps.inodes {
        attach_unreachable(ctx)?;
    }
    let max = ctx.inodes.len();
    for at in 0..max {
        if at % STEP == 0 {
            ctx.progress(PASS, at as u64, max as u64)?;
        }
        if let Some(info) = ctx.inodes.at(at) {
            check_counts(ctx, &info);
        }
    }
    ctx.progress(PASS, max as u64, max as u64)
}

fn check_root(ctx: &mut Context<'_>) {
    let ino = ctx.superblock.root_ino.get();
    let reason = match ctx.inodes.get(ino) {
        None if InoAddress::from_ino(ino).is_none() => Some("no inode has this number".to_owned()),
        None => Some("it does not exist".to_owned()),
        Some(info) if !info.is_dir() => Some("it is no directory".to_owned()),
        Some(_) => None,
    };
    if let Some(reason) = reason {
        ctx.found(Object::Inode(ino), Problem::RootWrong { reason });
        ctx.gaps.names = true;
        return;
    }
    if let Some(info) = ctx.inodes.get_mut(ino) {
        info.found_in = ino;
    }
}

/// Puts what no name leads to into lost+found.
fn attach_unreachable(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let mut lost_found = LostFound::default();
    let mut next = 0;
    // The table may grow: lost+found itself may be new.
    while let Some(info) = ctx.inodes.at(next) {
        next += 1;
        let is_lost = if info.is_dir() {
            info.found_in == 0
        } else {
            info.names == 0
        };
        if is_lost && !ctx.orphans.contains(&info.ino) {
            ctx.progress(PASS, next as u64, ctx.inodes.len() as u64)?;
            lost_found.attach(ctx, &info);
        }
    }
    lost_found.finish(ctx);
    report_loops(ctx);
    Ok(())
}

/// Reports directories from which the way up does not come to the root.
fn report_loops(ctx: &mut Context<'_>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        OnTheWay,
        Done,
    }
    let root = ctx.superblock.root_ino.get();
    let mut states: HashMap<u64, State> = HashMap::from([(root, State::Done)]);
    let dirs: Vec<u64> = ctx
        .inodes
        .iter()
        .filter(|info| info.is_dir())
        .map(|info| info.ino)
        .collect();
    for dir in dirs {
        let mut way = Vec::new();
        let mut at = dir;
        while at != 0 && !states.contains_key(&at) {
            states.insert(at, State::OnTheWay);
            way.push(at);
            at = ctx.inodes.get(at).map_or(0, |info| info.found_in);
        }
        if states.get(&at) == Some(&State::OnTheWay) {
            ctx.found(Object::Inode(at), Problem::DirectoryLoop {});
        }
        for ino in way {
            states.insert(ino, State::Done);
        }
    }
}

fn check_counts(ctx: &mut Context<'_>, info: &InodeInfo) {
    let object = Object::Inode(info.ino);
    if !info.damaged && info.blocks != info.counted {
        let (stored, counted) = (info.blocks, info.counted);
        ctx.found(object.clone(), Problem::BlockCount { stored, counted });
        ctx.edit_inode(info.ino, |inode| inode.blocks = counted.into());
    }
    if ctx.gaps.names || ctx.gaps.inodes {
        return;
    }
    if info.is_dir() && info.found_in != 0 && info.parent != info.found_in {
        let (stored, right) = (info.parent, info.found_in);
        ctx.found(object.clone(), Problem::Parent { stored, right });
        ctx.edit_inode(info.ino, |inode| inode.parent = right.into());
    }
    let (stored, counted) = (info.nlink, links_of(info));
    if stored != counted {
        ctx.found(object, Problem::LinkCount { stored, counted });
        ctx.edit_inode(info.ino, |inode| inode.nlink = counted.into());
    }
}

/// The link count that an inode should have. A directory without a name is one that was removed
/// while open.
fn links_of(info: &InodeInfo) -> u32 {
    if !info.is_dir() {
        info.names
    } else if info.found_in == 0 {
        0
    } else {
        info.subdirs.saturating_add(2)
    }
}
