//! One block of a directory: making it usable, and changing its entries.

use crate::context::{Context, Owner, RUN_BLOCKS, Unusable};
use crate::{Object, Problem, extents, index};
use bento_api::FileKind;
use logfs_format::dir::{ENTRY_BYTES_MIN, Entry, EntryHead, entries, entry_at, name_ok};
use logfs_format::{BLOCK_BYTES, BlockHeader, BlockKind, HEADER_BYTES, Inode, block};

/// Reads a block of a directory, and repairs it if need be: a block whose header is its own is kept,
/// any other is emptied. `None` if that is not wanted.
pub(crate) fn open(
    ctx: &mut Context<'_>,
    owner: Owner,
    file_block: u64,
    address: u64,
) -> Option<Box<[u8]>> {
    let object = Object::Inode(owner.ino);
    let why = match ctx.read_owned(address, BlockKind::Directory, owner) {
        Ok(image) => return Some(image),
        Err(why) => why,
    };
    let fault = why.to_string();
    let raw = ctx.read_raw(address).ok();
    if let Some(mut image) = raw.filter(|image| is_its_own(ctx, image, address, &why)) {
        let problem = Problem::DirectoryBlockChecksum { file_block, fault };
        if !ctx.fix(object, problem) {
            return None;
        }
        if let Some(header) = block::view_mut::<BlockHeader>(&mut image, 0) {
            header.owner = owner.ino.into();
            header.owner_generation = owner.generation.into();
        }
        ctx.replace(address, image.clone());
        return Some(image);
    }
    if !ctx.fix(object, Problem::DirectoryBlock { file_block, fault }) {
        return None;
    }
    let image = empty(ctx, address, owner);
    ctx.replace(address, image.clone());
    Some(image)
}

/// Whether a block that something is wrong with is the directory's all the same. One that names
/// another inode that exists is that one's.
fn is_its_own(ctx: &Context<'_>, image: &[u8], address: u64, why: &Unusable) -> bool {
    let is_directory =
        block::check_header(image, BlockKind::Directory, &ctx.uuid(), address).is_ok();
    let is_anothers = match *why {
        Unusable::Foreign { owner, generation } => ctx
            .owner(owner)
            .is_some_and(|owner| owner.generation == generation),
        _ => false,
    };
    is_directory && !is_anothers
}

/// A block without entries.
pub(crate) fn empty(ctx: &Context<'_>, address: u64, owner: Owner) -> Box<[u8]> {
    let mut image = ctx.new_block(BlockKind::Directory, address, owner);
    put_free(&mut image, HEADER_BYTES, BLOCK_BYTES - HEADER_BYTES);
    image
}

/// Makes a range of a block free space.
pub(crate) fn put_free(image: &mut [u8], offset: usize, len_bytes: usize) {
    if let Some(head) = block::view_mut::<EntryHead>(image, offset) {
        *head = EntryHead {
            ino: 0.into(),
            entry_bytes: (len_bytes as u16).into(),
            name_len: 0,
            dirent_type: 0,
        };
    }
}

/// Repairs a block in which an entry is malformed: what is behind it and makes sense stays.
pub(crate) fn resync(ctx: &mut Context<'_>, address: u64, malformed: usize) {
    let Ok(mut image) = ctx.read_raw(address) else {
        return;
    };
    let mut at = malformed;
    while at < BLOCK_BYTES {
        // The shortest free space has this length.
        let next = (at + ENTRY_BYTES_MIN..BLOCK_BYTES)
            .step_by(logfs_format::dir::ENTRY_ALIGN)
            .find_map(|offset| entry_at(&image, offset).filter(|entry| is_plausible(ctx, entry)))
            .map(|entry| (entry.offset, entry.entry_bytes));
        let (offset, bytes) = next.unwrap_or((BLOCK_BYTES, 0));
        put_free(&mut image, at, offset - at);
        at = offset + bytes;
        while let Some(entry) = entry_at(&image, at).filter(|entry| is_plausible(ctx, entry)) {
            at += entry.entry_bytes;
        }
        if BLOCK_BYTES - at < ENTRY_BYTES_MIN && at < BLOCK_BYTES {
            // Too little for free space: the last entry takes it.
            if let Some(head) = block::view_mut::<EntryHead>(&mut image, offset) {
                head.entry_bytes = ((BLOCK_BYTES - offset) as u16).into();
            }
            at = BLOCK_BYTES;
        }
    }
    ctx.replace(address, image);
}

/// Whether bytes that can be read as an entry are one: the inode is there and of that kind.
fn is_plausible(ctx: &Context<'_>, entry: &Entry<'_>) -> bool {
    let kind = ctx
        .inodes
        .get(entry.ino)
        .and_then(|info| FileKind::from_mode(info.mode));
    name_ok(entry.name) && kind.is_some_and(|kind| kind.dirent_type() == entry.dirent_type)
}

/// Makes an entry free space, and remembers its name.
pub(crate) fn remove(ctx: &mut Context<'_>, address: u64, offset: usize) {
    let Ok(image) = ctx.read_raw(address) else {
        return;
    };
    let Some(entry) = entry_at(&image, offset) else {
        return;
    };
    if name_ok(entry.name) {
        ctx.old_names.insert(entry.ino, entry.name.into());
    }
    let len_bytes = entry.entry_bytes;
    ctx.edit(address, |image| put_free(image, offset, len_bytes));
}

/// File block and address of each block of a directory.
pub(crate) fn blocks(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Vec<(u64, u64)> {
    extents::read(ctx, owner, inode)
        .into_iter()
        .flat_map(|extent| {
            let (file_block, start) = (extent.file_block.get(), extent.start.get());
            (0..u64::from(extent.len.get())).map(move |index| (file_block + index, start + index))
        })
        .collect()
}

/// The runs of a directory's blocks that lie one behind the other.
pub(crate) fn runs(blocks: &[(u64, u64)]) -> impl Iterator<Item = &[(u64, u64)]> {
    let pieces = blocks.chunk_by(|one, next| one.1.checked_add(1) == Some(next.1));
    pieces.flat_map(|piece| piece.chunks(RUN_BLOCKS as usize))
}

pub(crate) fn load(ctx: &Context<'_>, run: &[(u64, u64)]) {
    if let Some((_, address)) = run.first() {
        ctx.load(*address, run.len());
    }
}

/// Removes the first entry of a directory that names an inode. Count and index follow.
pub(crate) fn remove_name(ctx: &mut Context<'_>, dir: u64, ino: u64) {
    let Some(inode) = ctx.read_inode(dir) else {
        return;
    };
    let owner = Owner::of(dir, &inode);
    for (_, address) in blocks(ctx, owner, &inode) {
        let Ok(image) = ctx.read_owned(address, BlockKind::Directory, owner) else {
            continue;
        };
        let found = entries(&image)
            .filter_map(Result::ok)
            .find(|entry| entry.ino == ino)
            .map(|entry| entry.offset);
        if let Some(offset) = found {
            remove(ctx, address, offset);
            ctx.edit_inode(dir, |inode| {
                let count = inode.dir_entries.get().saturating_sub(1);
                inode.dir_entries = count.into();
            });
            let _ = index::refresh(ctx, dir);
            return;
        }
    }
}
