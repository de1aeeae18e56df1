//! `/lost+found`: where inodes get a name that have lost theirs.

use crate::context::{Context, Owner};
use crate::directories::printable;
use crate::inode_table::InodeInfo;
use crate::{Object, Problem, allocate, dir_block, extents, index};
use bento_api::FileKind;
use logfs_format::dir::{ENTRY_ALIGN, ENTRY_HEAD_BYTES, Entry, EntryHead, entries, entry_bytes};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, INLINE_EXTENTS, Inode, InodeFlags, InodeHead, block,
};
use std::collections::{HashMap, HashSet};

const NAME: &[u8] = b"lost+found";

const PERMISSIONS: u16 = 0o700;

/// The directory, found or made when first needed.
#[derive(Default)]
pub(crate) struct LostFound {
    state: State,
    /// Whether the root got an entry.
    is_new: bool,
    /// Names in it.
    names: HashSet<Box<[u8]>>,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Unknown,
    There(u64),
    /// There is none, and none can be made.
    Impossible,
}

impl LostFound {
    /// Gives an inode a name there, its old one if that is known.
    pub(crate) fn attach(
        &mut self,
        ctx: &mut Context<'_>,
        info: &InodeInfo,
        old_name: Option<Box<[u8]>>,
    ) {
        let object = Object::Inode(info.ino);
        let name = self.unused_name(info.ino, old_name);
        let shown = printable(&name);
        if !ctx.fix(object.clone(), Problem::Unreachable { name: shown }) {
            ctx.gaps.names = true;
            return;
        }
        let put = self
            .directory(ctx)
            .filter(|&dir| add_entry(ctx, dir, &name, info).is_some());
        match put {
            Some(dir) => {
                self.names.insert(name);
                adopt(ctx, dir, info.ino);
            }
            None => {
                self.state = State::Impossible;
                ctx.report.retract();
                ctx.found(object, Problem::UnreachableNoRoom {});
                ctx.gaps.names = true;
            }
        }
    }

    fn unused_name(&self, ino: u64, old_name: Option<Box<[u8]>>) -> Box<[u8]> {
        let number = format!("#{ino}").into_bytes().into_boxed_slice();
        let candidates = [old_name, Some(number)].into_iter().flatten();
        let more = (1u64..).map(|n| format!("#{ino}-{n}").into_bytes().into_boxed_slice());
        candidates
            .chain(more)
            .find(|name| !self.names.contains(name))
            .unwrap_or_default()
    }

    /// Brings the indexes of the directories up to date that got entries.
    pub(crate) fn finish(&self, ctx: &mut Context<'_>) {
        let State::There(ino) = self.state else {
            return;
        };
        let root = ctx.superblock.root_ino.get();
        for dir in [Some(ino), self.is_new.then_some(root)]
            .into_iter()
            .flatten()
        {
            if ctx.inodes.get(dir).is_some() {
                // Without room the next round finds that out.
                let _ = index::refresh(ctx, dir);
            }
        }
    }

    fn directory(&mut self, ctx: &mut Context<'_>) -> Option<u64> {
        if let State::Unknown = self.state {
            self.state = match self.find_or_make(ctx) {
                Some(ino) => State::There(ino),
                None => State::Impossible,
            };
        }
        match self.state {
            State::There(ino) => Some(ino),
            _ => None,
        }
    }

    /// Reads the names that are there before any is given.
    pub(crate) fn open(&mut self, ctx: &mut Context<'_>) {
        let root = ctx.superblock.root_ino.get();
        let there = all_entries(ctx, root);
        let dir = there.get(NAME).copied().filter(|&ino| is_dir(ctx, ino));
        if let Some(dir) = dir {
            self.state = State::There(dir);
            self.names = all_entries(ctx, dir).into_keys().collect();
        }
    }

    fn find_or_make(&mut self, ctx: &mut Context<'_>) -> Option<u64> {
        let root = ctx.superblock.root_ino.get();
        let there = all_entries(ctx, root);
        // Something else may have that name.
        let more = (1u64..).map(|n| format!("lost+found-{n}").into_bytes());
        let name = std::iter::once(NAME.to_vec())
            .chain(more)
            .find(|name| !there.contains_key(name.as_slice()))?;
        self.is_new = true;
        make(ctx, &name)
    }
}

fn is_dir(ctx: &Context<'_>, ino: u64) -> bool {
    ctx.inodes.get(ino).is_some_and(|info| info.is_dir())
}

/// The names in a directory, and what they name.
fn all_entries(ctx: &mut Context<'_>, dir: u64) -> HashMap<Box<[u8]>, u64> {
    let mut all = HashMap::new();
    let Some(inode) = ctx.read_inode(dir) else {
        return all;
    };
    let owner = Owner::of(dir, &inode);
    for (_, address) in dir_block::blocks(ctx, owner, &inode) {
        let Ok(image) = ctx.read_owned(address, BlockKind::Directory, owner) else {
            continue;
        };
        for entry in entries(&image).filter_map(Result::ok) {
            if entry.ino != 0 {
                all.insert(entry.name.into(), entry.ino);
            }
        }
    }
    all
}

/// Notes that an inode has a name in a directory. What follows from that is put right at once: it is
/// no problem of its own.
fn adopt(ctx: &mut Context<'_>, dir: u64, ino: u64) {
    let is_dir = ctx.inodes.update(ino, |info| {
        info.names += 1;
        if info.is_dir() {
            info.found_in = dir;
            info.parent = dir;
        }
        info.is_dir()
    });
    if is_dir != Some(true) {
        return;
    }
    ctx.edit_inode(ino, |inode| inode.parent = dir.into());
    let links = ctx.inodes.update(dir, |info| {
        info.subdirs += 1;
        info.nlink = info.nlink.saturating_add(1);
        info.nlink
    });
    if let Some(links) = links {
        ctx.edit_inode(dir, |inode| inode.nlink = links.into());
    }
}

fn make(ctx: &mut Context<'_>, name: &[u8]) -> Option<u64> {
    let root = ctx.superblock.root_ino.get();
    let (ino, generation) = allocate::inode(ctx)?;
    let template = ctx.read_inode(root)?;
    let generation = generation.wrapping_add(1).max(1);
    let mode = FileKind::Directory.mode_bits() | PERMISSIONS;
    ctx.edit_inode(ino, |inode| {
        *inode = InodeHead {
            mode: mode.into(),
            nlink: 2.into(),
            generation: generation.into(),
            parent: root.into(),
            atime: template.mtime,
            mtime: template.mtime,
            ctime: template.mtime,
            btime: template.mtime,
            ..bytemuck::Zeroable::zeroed()
        }
        .into();
    });
    let info = InodeInfo {
        ino,
        mode,
        damaged: false,
        nlink: 2,
        names: 0,
        subdirs: 0,
        parent: root,
        found_in: 0,
        blocks: 0,
        counted: 0,
    };
    ctx.inodes.insert(info);
    add_entry(ctx, root, name, &info)?;
    adopt(ctx, root, ino);
    Some(ino)
}

/// Adds a name to a directory that is sound.
fn add_entry(ctx: &mut Context<'_>, dir: u64, name: &[u8], target: &InodeInfo) -> Option<()> {
    let info = ctx.inodes.get(dir)?;
    let inode = ctx.read_inode(dir)?;
    if info.damaged {
        return None;
    }
    let owner = Owner::of(dir, &inode);
    let last = dir_block::blocks(ctx, owner, &inode).last().copied();
    let placed = last.and_then(|(_, address)| insert(ctx, address, name, target));
    if placed.is_none() {
        let address = append_block(ctx, owner, &inode)?;
        insert(ctx, address, name, target)?;
    }
    ctx.edit_inode(dir, |inode| {
        let count = inode.dir_entries.get().saturating_add(1);
        inode.dir_entries = count.into();
    });
    Some(())
}

/// Puts an entry where there is room for it in a block; `None` if there is none.
fn insert(ctx: &mut Context<'_>, address: u64, name: &[u8], target: &InodeInfo) -> Option<()> {
    let image = ctx.read_raw(address).ok()?;
    let need = entry_bytes(name.len());
    let used = |entry: &Entry<'_>| match entry.ino {
        0 => 0,
        _ => entry_bytes(entry.name.len()),
    };
    let roomy = entries(&image)
        .filter_map(Result::ok)
        .find(|entry| entry.entry_bytes - used(entry) >= need)?;
    let (taken, at) = (used(&roomy), roomy.offset + used(&roomy));
    let rest = roomy.entry_bytes - taken - need;
    // What is left behind it is free space, if that can be said in an entry.
    let (len, rest) = if rest >= ENTRY_ALIGN * 2 {
        (need, rest)
    } else {
        (need + rest, 0)
    };
    let (start, entry) = (roomy.offset, target.ino);
    let dirent_type = FileKind::from_mode(target.mode)?.dirent_type();
    ctx.edit(address, |image| {
        if let Some(head) = block::view_mut::<EntryHead>(image, start)
            && taken > 0
        {
            head.entry_bytes = (taken as u16).into();
        }
        if let Some(head) = block::view_mut::<EntryHead>(image, at) {
            *head = EntryHead {
                ino: entry.into(),
                entry_bytes: (len as u16).into(),
                name_len: name.len() as u8,
                dirent_type,
            };
        }
        let name_at = at + ENTRY_HEAD_BYTES;
        if let Some(place) = image.get_mut(name_at..name_at + name.len()) {
            place.copy_from_slice(name);
        }
        if rest > 0 {
            dir_block::put_free(image, at + need, rest);
        }
    });
    Some(())
}

/// Adds an empty block to a directory; returns its address. Only as long as the extents fit into the
/// inode: that is room for more names than anybody loses.
fn append_block(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Option<u64> {
    if inode.flags.get() & InodeFlags::TREE != 0 {
        return None;
    }
    let mut list = extents::inline(inode);
    let file_block = inode.size_bytes.get() / BLOCK_BYTES as u64;
    let wanted = list
        .last()
        .map(|last| last.start.get() + u64::from(last.len.get()));
    let address = allocate::block(ctx, wanted)?;
    match list.last_mut() {
        Some(last) if wanted == Some(address) && last.end() == file_block => {
            last.len = (last.len.get() + 1).into();
        }
        _ => list.push(Extent::new(file_block, address, 1)),
    }
    if list.len() > INLINE_EXTENTS {
        allocate::give_back(ctx, address);
        return None;
    }
    let image = dir_block::empty(ctx, address, owner);
    ctx.replace(address, image);
    let bytes: &[u8] = bytemuck::cast_slice(&list);
    ctx.edit_inode(owner.ino, |inode| {
        inode.size_bytes = ((file_block + 1) * BLOCK_BYTES as u64).into();
        inode.extent_count = (list.len() as u16).into();
        if let Some(place) = inode.inline.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    });
    index::grow(ctx, owner.ino, 0, 1);
    Some(address)
}
