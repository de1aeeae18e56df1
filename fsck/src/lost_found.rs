//! `/lost+found`: where inodes get a name that have lost theirs.

use crate::context::Context;
use crate::directories::hash_key;
use crate::inode_table::InodeInfo;
use crate::{Object, Problem, allocate, extents, index};
use bento_api::FileKind;
use logfs_format::dir::{
    ENTRY_ALIGN, ENTRY_HEAD_BYTES, Entry, EntryHead, entries, entry_bytes, hash_name, index_key,
};
use logfs_format::{
    BLOCK_BYTES, BlockKind, Extent, HEADER_BYTES, INLINE_EXTENTS, Inode, InodeFlags, block,
};

const NAME: &[u8] = b"lost+found";

const PERMISSIONS: u16 = 0o700;

/// The directory, found or made when first needed.
#[derive(Default)]
pub(crate) struct LostFound {
    state: State,
    /// Whether the root got an entry.
    is_new: bool,
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
    /// Gives an inode a name there.
    pub(crate) fn attach(&mut self, ctx: &mut Context<'_>, info: &InodeInfo) {
        let name = format!("#{}", info.ino);
        let put = self
            .directory(ctx)
            .filter(|&dir| add_entry(ctx, dir, name.as_bytes(), info).is_some());
        let problem = match put {
            Some(dir) => {
                adopt(ctx, dir, info.ino);
                Problem::Unreachable {}
            }
            None => Problem::UnreachableNoRoom {},
        };
        ctx.found(Object::Inode(info.ino), problem);
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
            if let Some(info) = ctx.inodes.get(dir).copied()
                && update_index(ctx, &info).is_none()
            {
                ctx.found(Object::Inode(dir), Problem::IndexNoRoom {});
            }
        }
    }

    fn directory(&mut self, ctx: &mut Context<'_>) -> Option<u64> {
        if let State::Unknown = self.state {
            let old = find(ctx);
            self.is_new = old.is_none();
            self.state = match old.or_else(|| make(ctx)) {
                Some(ino) => State::There(ino),
                None => State::Impossible,
            };
        }
        match self.state {
            State::There(ino) => Some(ino),
            _ => None,
        }
    }
}

/// Notes that an inode has a name in a directory. What follows from that is put right at once: it is
/// no problem of its own.
fn adopt(ctx: &mut Context<'_>, dir: u64, ino: u64) {
    let Some(info) = ctx.inodes.get_mut(ino) else {
        return;
    };
    info.names += 1;
    if !info.is_dir() {
        return;
    }
    info.found_in = dir;
    info.parent = dir;
    ctx.edit_inode(ino, |inode| inode.parent = dir.into());
    if let Some(dir) = ctx.inodes.get_mut(dir) {
        dir.subdirs += 1;
        dir.nlink = dir.nlink.saturating_add(1);
        let (ino, links) = (dir.ino, dir.nlink);
        ctx.edit_inode(ino, |inode| inode.nlink = links.into());
    }
}

/// The directory of this name in the root.
fn find(ctx: &mut Context<'_>) -> Option<u64> {
    let root = *ctx.inodes.get(ctx.superblock.root_ino.get())?;
    let inode = ctx.read_inode(root.ino)?;
    for (_, address) in blocks(ctx, &root, &inode) {
        let image = ctx
            .read_owned(address, BlockKind::Directory, root.owner())
            .ok()?;
        let entry = entries(&image)
            .filter_map(Result::ok)
            .find(|entry| entry.ino != 0 && entry.name == NAME);
        if let Some(entry) = entry {
            let is_dir = ctx.inodes.get(entry.ino).is_some_and(InodeInfo::is_dir);
            return is_dir.then_some(entry.ino);
        }
    }
    None
}

/// File block and address of each block of a directory.
fn blocks(ctx: &mut Context<'_>, info: &InodeInfo, inode: &Inode) -> Vec<(u64, u64)> {
    extents::read(ctx, info.owner(), inode)
        .into_iter()
        .flat_map(|extent| {
            let (file_block, start) = (extent.file_block.get(), extent.start.get());
            (0..u64::from(extent.len.get())).map(move |index| (file_block + index, start + index))
        })
        .collect()
}

fn make(ctx: &mut Context<'_>) -> Option<u64> {
    let root = ctx.superblock.root_ino.get();
    let (ino, generation) = allocate::inode(ctx)?;
    let template = ctx.read_inode(root)?;
    let generation = generation.wrapping_add(1).max(1);
    let mode = FileKind::Directory.mode_bits() | PERMISSIONS;
    ctx.edit_inode(ino, |inode| {
        *inode = Inode {
            mode: mode.into(),
            nlink: 2.into(),
            generation: generation.into(),
            parent: root.into(),
            atime: template.mtime,
            mtime: template.mtime,
            ctime: template.mtime,
            btime: template.mtime,
            ..bytemuck::Zeroable::zeroed()
        };
    });
    let info = InodeInfo {
        ino,
        generation,
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
    add_entry(ctx, root, NAME, &info)?;
    adopt(ctx, root, ino);
    Some(ino)
}

/// Adds a name to a directory that is sound.
fn add_entry(ctx: &mut Context<'_>, dir: u64, name: &[u8], target: &InodeInfo) -> Option<()> {
    let info = *ctx.inodes.get(dir)?;
    let inode = ctx.read_inode(dir)?;
    if info.damaged {
        return None;
    }
    let last = blocks(ctx, &info, &inode).last().copied();
    let placed = last.and_then(|(_, address)| insert(ctx, address, name, target));
    if placed.is_none() {
        let address = append_block(ctx, &info, &inode)?;
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
        if rest > 0
            && let Some(head) = block::view_mut::<EntryHead>(image, at + need)
        {
            *head = free_space(rest);
        }
    });
    Some(())
}

fn free_space(bytes: usize) -> EntryHead {
    EntryHead {
        ino: 0.into(),
        entry_bytes: (bytes as u16).into(),
        name_len: 0,
        dirent_type: 0,
    }
}

/// Adds an empty block to a directory; returns its address. Only as long as the extents fit into the
/// inode: that is room for more names than anybody loses.
fn append_block(ctx: &mut Context<'_>, info: &InodeInfo, inode: &Inode) -> Option<u64> {
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
    let mut image = ctx.new_block(BlockKind::Directory, address, info.owner());
    if let Some(head) = block::view_mut::<EntryHead>(&mut image, HEADER_BYTES) {
        *head = free_space(BLOCK_BYTES - HEADER_BYTES);
    }
    ctx.replace(address, image);
    let bytes: &[u8] = bytemuck::cast_slice(&list);
    ctx.edit_inode(info.ino, |inode| {
        inode.size_bytes = ((file_block + 1) * BLOCK_BYTES as u64).into();
        inode.extent_count = (list.len() as u16).into();
        if let Some(place) = inode.inline.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    });
    grow(ctx, info.ino, 0, 1);
    Some(address)
}

/// The blocks of an inode have become other by the check's own doing.
fn grow(ctx: &mut Context<'_>, ino: u64, less: u64, more: u64) {
    let Some(info) = ctx.inodes.get_mut(ino) else {
        return;
    };
    info.counted = info.counted.saturating_sub(less).saturating_add(more);
    info.blocks = info.blocks.saturating_sub(less).saturating_add(more);
    let blocks = info.blocks;
    ctx.edit_inode(ino, |inode| inode.blocks = blocks.into());
}

/// Makes the index of a directory anew, if it has one or has become too large to be without.
fn update_index(ctx: &mut Context<'_>, info: &InodeInfo) -> Option<()> {
    let inode = ctx.read_inode(info.ino)?;
    if inode.size_bytes.get() <= BLOCK_BYTES as u64 {
        return Some(());
    }
    let mut keys = Vec::new();
    for (file_block, address) in blocks(ctx, info, &inode) {
        let image = ctx
            .read_owned(address, BlockKind::Directory, info.owner())
            .ok()?;
        for entry in entries(&image)
            .filter_map(Result::ok)
            .filter(|entry| entry.ino != 0)
        {
            let bytes = file_block * BLOCK_BYTES as u64 + entry.offset as u64;
            let hash = hash_name(hash_key(ctx), entry.name);
            keys.push(index_key(hash, (bytes / ENTRY_ALIGN as u64) as u32));
        }
    }
    let (before, after) = index::replace(ctx, info.owner(), &inode, keys)?;
    grow(ctx, info.ino, before, after);
    Some(())
}
