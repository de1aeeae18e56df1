//! Pass 3: the entries of every directory, and its index.

use crate::context::{Context, Owner};
use crate::inode_table::InodeInfo;
use crate::{Failure, Object, Problem, extents, index};
use bento_api::FileKind;
use logfs_format::dir::{ENTRY_ALIGN, EntryHead, entries, hash_name, index_key, name_ok};
use logfs_format::{BLOCK_BYTES, BlockKind, Inode, block};
use std::collections::HashSet;

const PASS: u32 = 3;

/// How often a big directory tells of progress, in directories.
const STEP: usize = 256;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let max = ctx.inodes.len();
    for at in 0..max {
        if at % STEP == 0 {
            ctx.progress(PASS, at as u64, max as u64)?;
        }
        if let Some(info) = ctx.inodes.at(at)
            && info.is_dir()
        {
            check_one(ctx, &info);
        }
    }
    ctx.progress(PASS, max as u64, max as u64)
}

/// The hash key in the superblock.
pub(crate) fn hash_key(ctx: &Context<'_>) -> [u64; 2] {
    ctx.superblock.hash_key.map(|half| half.get())
}

fn check_one(ctx: &mut Context<'_>, info: &InodeInfo) {
    let Some(inode) = ctx.read_inode(info.ino) else {
        return;
    };
    if info.damaged {
        // Which blocks are its own is not sure: what can be read of it still counts.
        ctx.gaps.names = true;
    }
    let mut walk = Walk {
        owner: info.owner(),
        hash_key: hash_key(ctx),
        seen: HashSet::new(),
        keys: Vec::new(),
        sound: true,
    };
    for extent in extents::read(ctx, info.owner(), &inode) {
        for index in 0..u64::from(extent.len.get()) {
            let (file_block, address) =
                (extent.file_block.get() + index, extent.start.get() + index);
            walk.block(ctx, file_block, address);
        }
    }
    if !walk.sound {
        ctx.gaps.names = true;
    }
    if walk.sound && !info.damaged {
        check_entry_count(ctx, info.ino, &inode, walk.keys.len());
    }
    let nodes = index::check(
        ctx,
        info.owner(),
        &inode,
        walk.keys,
        walk.sound && !info.damaged,
    );
    if let Some(info) = ctx.inodes.get_mut(info.ino) {
        info.counted += nodes;
    }
}

fn check_entry_count(ctx: &mut Context<'_>, ino: u64, inode: &Inode, counted: usize) {
    let stored = inode.dir_entries.get();
    let counted = u32::try_from(counted).unwrap_or(u32::MAX);
    if stored != counted {
        ctx.found(Object::Inode(ino), Problem::EntryCount { stored, counted });
        ctx.edit_inode(ino, |inode| inode.dir_entries = counted.into());
    }
}

/// The way through the blocks of a directory.
struct Walk {
    owner: Owner,
    hash_key: [u64; 2],
    seen: HashSet<Box<[u8]>>,
    /// The keys that the index should have.
    keys: Vec<u64>,
    /// All blocks and entries could be read.
    sound: bool,
}

impl Walk {
    fn block(&mut self, ctx: &mut Context<'_>, file_block: u64, address: u64) {
        let object = Object::Inode(self.owner.ino);
        let image = match ctx.read_owned(address, BlockKind::Directory, self.owner) {
            Ok(image) => image,
            Err(why) => {
                let fault = why.to_string();
                ctx.found(object, Problem::DirectoryBlock { file_block, fault });
                self.sound = false;
                return;
            }
        };
        for entry in entries(&image) {
            match entry {
                Ok(entry) if entry.ino == 0 => {}
                Ok(entry) => {
                    let place = Place {
                        address,
                        offset: entry.offset,
                    };
                    let bytes = file_block * BLOCK_BYTES as u64 + entry.offset as u64;
                    let position = (bytes / ENTRY_ALIGN as u64) as u32;
                    let hash = hash_name(self.hash_key, entry.name);
                    self.keys.push(index_key(hash, position));
                    self.name(ctx, entry.name);
                    self.target(ctx, &place, entry.name, entry.ino, entry.dirent_type);
                }
                Err(offset) => {
                    ctx.found(object, Problem::EntryMalformed { file_block, offset });
                    self.sound = false;
                    return;
                }
            }
        }
    }

    fn name(&mut self, ctx: &mut Context<'_>, name: &[u8]) {
        let object = Object::Inode(self.owner.ino);
        if !name_ok(name) {
            let name = printable(name);
            ctx.found(object, Problem::NameWrong { name });
        } else if !self.seen.insert(name.into()) {
            let name = printable(name);
            ctx.found(object, Problem::NameTwice { name });
        }
    }

    /// Checks what an entry names, and counts the name.
    fn target(&mut self, ctx: &mut Context<'_>, place: &Place, name: &[u8], ino: u64, stored: u8) {
        let object = Object::Inode(self.owner.ino);
        let dir = self.owner.ino;
        let is_root = ino == ctx.superblock.root_ino.get();
        let Some(target) = ctx.inodes.get_mut(ino) else {
            // In a damaged inode block it may exist.
            if !ctx.gaps.inodes {
                let name = printable(name);
                ctx.found(object, Problem::EntryDangling { name, ino });
            }
            return;
        };
        target.names += 1;
        let is_dir = target.is_dir();
        let kind = FileKind::from_mode(target.mode);
        if is_dir && (target.found_in != 0 || is_root) {
            let name = printable(name);
            ctx.found(object.clone(), Problem::DirectoryTwice { name, ino });
            ctx.gaps.names = true;
        } else if is_dir {
            target.found_in = dir;
        }
        if is_dir && let Some(info) = ctx.inodes.get_mut(dir) {
            info.subdirs += 1;
        }
        if let Some(right) = kind.map(FileKind::dirent_type)
            && right != stored
        {
            let name = printable(name);
            ctx.found(
                object,
                Problem::EntryType {
                    name,
                    stored,
                    right,
                },
            );
            ctx.edit(place.address, |image| {
                if let Some(head) = block::view_mut::<EntryHead>(image, place.offset) {
                    head.dirent_type = right;
                }
            });
        }
    }
}

/// Where an entry stands.
struct Place {
    address: u64,
    offset: usize,
}

/// A name as it can be shown.
pub(crate) fn printable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
