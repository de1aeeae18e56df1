//! Pass 4: how everything hangs together: reachability, parents, link counts, block counts.

use crate::context::Context;
use crate::inode_table::InodeInfo;
use crate::lost_found::LostFound;
use crate::{Failure, Object, Problem, dir_block, root, witness};
use std::collections::{BTreeSet, HashMap};

const PASS: u32 = 4;

/// How often progress is told, in inodes.
const STEP: usize = 4096;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    root::check(ctx)?;
    if ctx.restart {
        return Ok(());
    }
    if !ctx.gaps.names && !ctx.gaps.inodes {
        break_loops(ctx);
        attach_unreachable(ctx)?;
    }
    let inodes = ctx.inodes.notable();
    let max = inodes.len();
    for (at, ino) in inodes.into_iter().enumerate() {
        if at % STEP == 0 {
            ctx.progress(PASS, at as u64, max as u64)?;
        }
        if let Some(info) = ctx.inodes.get(ino) {
            check_counts(ctx, &info);
        }
    }
    ctx.progress(PASS, max as u64, max as u64)
}

fn is_lost(ctx: &Context<'_>, info: &InodeInfo) -> bool {
    let has_name = if info.is_dir() {
        info.found_in != 0
    } else {
        info.names > 0
    };
    !has_name && !ctx.orphans.contains(&info.ino)
}

/// Puts what no name leads to into lost+found.
fn attach_unreachable(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let notable = ctx.inodes.notable().into_iter();
    let lost: BTreeSet<u64> = notable
        .filter(|&ino| ctx.inodes.get(ino).is_some_and(|info| is_lost(ctx, &info)))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let mut names = witness::names(ctx, &lost)?;
    let mut lost_found = LostFound::default();
    lost_found.open(ctx);
    for (done, ino) in (0..).zip(&lost) {
        ctx.progress(PASS, done, lost.len() as u64)?;
        if let Some(info) = ctx.inodes.get(*ino) {
            let name = ctx.old_names.get(ino).cloned().or(names.remove(ino));
            lost_found.attach(ctx, &info, name);
        }
    }
    lost_found.finish(ctx);
    Ok(())
}

/// Takes one directory out of each ring of directories from which no way leads up to the root: it
/// is lost then.
fn break_loops(ctx: &mut Context<'_>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        OnTheWay,
        Done,
    }
    let root = ctx.superblock.root_ino.get();
    let mut states: HashMap<u64, State> = HashMap::from([(root, State::Done)]);
    for dir in ctx.inodes.directories() {
        let mut way = Vec::new();
        let mut at = dir;
        while at != 0 && !states.contains_key(&at) {
            states.insert(at, State::OnTheWay);
            way.push(at);
            at = ctx.inodes.get(at).map_or(0, |info| info.found_in);
        }
        if states.get(&at) == Some(&State::OnTheWay) {
            let start = way.iter().position(|&ino| ino == at).unwrap_or(0);
            break_loop(ctx, way.get(start..).unwrap_or(&[]));
        }
        for ino in way {
            states.insert(ino, State::Done);
        }
    }
}

/// The one that is taken out is one whose own idea of where it belongs is another, if there is one.
fn break_loop(ctx: &mut Context<'_>, members: &[u64]) {
    let strays = |ino: &&u64| {
        let info = ctx.inodes.get(**ino);
        info.is_some_and(|info| info.parent != info.found_in)
    };
    let Some(&ino) = members.iter().find(strays).or(members.first()) else {
        return;
    };
    if !ctx.fix(Object::Inode(ino), Problem::DirectoryLoop {}) {
        ctx.gaps.names = true;
        return;
    }
    let dir = ctx.inodes.update(ino, |info| {
        info.names = info.names.saturating_sub(1);
        std::mem::take(&mut info.found_in)
    });
    if let Some(dir) = dir {
        dir_block::remove_name(ctx, dir, ino);
        ctx.inodes.update(dir, |info| {
            info.subdirs = info.subdirs.saturating_sub(1);
        });
    }
}

fn check_counts(ctx: &mut Context<'_>, info: &InodeInfo) {
    let object = Object::Inode(info.ino);
    if !info.damaged && info.blocks != info.counted {
        let (stored, counted) = (info.blocks, info.counted);
        if ctx.fix(object.clone(), Problem::BlockCount { stored, counted }) {
            ctx.edit_inode(info.ino, |inode| inode.blocks = counted.into());
        }
    }
    if ctx.gaps.names || ctx.gaps.inodes {
        return;
    }
    if info.is_dir() && info.found_in != 0 && info.parent != info.found_in {
        let (stored, right) = (info.parent, info.found_in);
        if ctx.fix(object.clone(), Problem::Parent { stored, right }) {
            ctx.edit_inode(info.ino, |inode| inode.parent = right.into());
        }
    }
    let (stored, counted) = (info.nlink, links_of(info));
    if stored != counted && ctx.fix(object, Problem::LinkCount { stored, counted }) {
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
