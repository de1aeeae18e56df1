//! The root directory: it has to be there, whatever else is.

use crate::context::{Context, Owner};
use crate::directories::find_hidden;
use crate::mapping::{self, Mapping};
use crate::segments::edit_entry;
use crate::witness::{self, Wanted};
use crate::{Failure, Object, Problem, allocate, superblock};
use bento_api::FileKind;
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, InoAddress, InodeBlockHead, InodeHead, SegmentKind, Timestamp,
    block,
};
use std::collections::BTreeSet;

const PERMISSIONS: u16 = 0o755;

/// Checks that there is a root directory. Makes one if need be: then the round starts again.
pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let ino = ctx.superblock.root_ino.get();
    let reason = match ctx.inodes.get(ino) {
        None if InoAddress::from_ino(ino).is_none() => "no inode has this number",
        None => "it does not exist",
        Some(info) if !info.is_dir() => "it is no directory",
        Some(_) => {
            ctx.inodes.update(ino, |info| info.found_in = ino);
            return Ok(());
        }
    };
    if ctx.inodes.get(ino).is_none()
        && let Some(corrected) = find_hidden(ctx, ino)
    {
        ctx.restart = corrected;
        ctx.gaps.everything();
        return Ok(());
    }
    let reason = reason.to_owned();
    if ctx.gaps.inodes || !ctx.fix(Object::Inode(ino), Problem::RootWrong { reason }) {
        ctx.gaps.names = true;
        return Ok(());
    }
    ctx.restart = true;
    // A root is its own parent: if there is one, only its number was wrong.
    let other = ctx
        .inodes
        .iter()
        .find(|info| info.is_dir() && info.parent == info.ino)
        .map(|info| info.ino);
    if let Some(other) = other {
        set_root(ctx, other);
        return Ok(());
    }
    match free_slot(ctx, ino) {
        Some(place) => make_at(ctx, place),
        None => {
            if let Some((ino, generation)) = allocate::inode(ctx) {
                make(ctx, ino, generation.wrapping_add(1).max(1));
                set_root(ctx, ino);
            }
            Ok(())
        }
    }
}

fn set_root(ctx: &mut Context<'_>, ino: u64) {
    ctx.superblock.root_ino = ino.into();
    superblock::rewrite(ctx);
}

/// Where an inode of this number would be, if it can be and is not.
fn free_slot(ctx: &Context<'_>, ino: u64) -> Option<InoAddress> {
    let place = InoAddress::from_ino(ino)?;
    let (segment, _) = ctx.layout.segment_of(place.block)?;
    let is_inodes = ctx.map.of_kind(SegmentKind::Inodes).contains(&segment);
    let image = ctx.read(place.block, BlockKind::Inodes).ok()?;
    let head = block::view::<InodeBlockHead>(&image, 0)?;
    (is_inodes && head.used.get() & (1 << place.slot) == 0).then_some(place)
}

/// Makes the root in its old place, with the blocks that say they are its own.
fn make_at(ctx: &mut Context<'_>, place: InoAddress) -> Result<(), Failure> {
    let ino = place.ino();
    let wanted = Wanted {
        inode_blocks: BTreeSet::from([place.block]),
        ..Wanted::default()
    };
    let found = witness::sweep(ctx, &wanted)?;
    let last = found
        .iter()
        .rfind(|(key, found)| key.0 == ino && !found.directory.is_empty());
    let generation = last.map_or(1, |(key, _)| key.1);
    make(ctx, ino, generation);
    ctx.edit(place.block, |image| {
        if let Some(head) = block::view_mut::<InodeBlockHead>(image, 0) {
            head.used = (head.used.get() | 1 << place.slot).into();
        }
    });
    if let Some((segment, _)) = ctx.layout.segment_of(place.block) {
        edit_entry(ctx, segment, |entry| {
            entry.age = entry.age.get().saturating_add(1).into();
        });
    }
    let mut mapping = Mapping::default();
    for &address in last.map_or(&[][..], |(_, found)| &found.directory) {
        if ctx.map.claim(address).is_ok() {
            mapping.add(&Extent::new(mapping.end(), address, 1));
        }
    }
    let owner = Owner { ino, generation };
    let list = mapping.joined(ctx);
    if allocate::has_room(ctx, mapping::nodes_for(list.len()))
        && mapping::write(ctx, owner, &list).is_some()
    {
        let size_bytes = mapping.end() * BLOCK_BYTES as u64;
        ctx.edit_inode(ino, |inode| inode.size_bytes = size_bytes.into());
    }
    Ok(())
}

/// Writes an empty directory that is its own parent.
fn make(ctx: &mut Context<'_>, ino: u64, generation: u32) {
    let time = Timestamp {
        seconds: ctx.superblock.created_seconds,
        nanoseconds: 0.into(),
    };
    ctx.edit_inode(ino, |inode| {
        *inode = InodeHead {
            mode: (FileKind::Directory.mode_bits() | PERMISSIONS).into(),
            nlink: 2.into(),
            generation: generation.into(),
            parent: ino.into(),
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            ..bytemuck::Zeroable::zeroed()
        }
        .into();
    });
}
