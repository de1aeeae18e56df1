//! Pass 3: the entries of every directory, and its index.

use crate::context::{Context, Owner};
use crate::in_use::set_bit;
use crate::index::Keys;
use crate::inode_table::InodeInfo;
use crate::map::Kind;
use crate::segments::{self, edit_header};
use crate::{Failure, Object, Problem, ahead, dir_block, index};
use bento_api::FileKind;
use logfs_format::dir::{ENTRY_HEAD_BYTES, EntryHead, entries, hash_name, name_ok};
use logfs_format::{BlockKind, InoAddress, Inode, InodeBlockHead, SegmentKind, block};
use std::borrow::Cow;
use std::collections::HashSet;

const PASS: u32 = 3;

/// How often a big directory tells of progress, in directories.
const STEP: usize = 256;

/// Directories whose blocks are asked for at a time: two groups before they are checked, their indexes
/// one group before.
const AHEAD: usize = 16;

pub(crate) fn check(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let dirs = ctx.inodes.directories();
    let max = dirs.len();
    for (at, &dir) in dirs.iter().enumerate() {
        if at % STEP == 0 {
            ctx.progress(PASS, at as u64, max as u64)?;
        }
        if at % AHEAD == 0 {
            let group = |ahead| dirs.iter().skip(at + ahead * AHEAD).take(AHEAD).copied();
            ahead::directories(ctx, group(2));
            ahead::indexes(ctx, group(1));
        }
        if let Some(info) = ctx.inodes.get(dir) {
            check_one(ctx, &info);
            if ctx.restart {
                return Ok(());
            }
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
    let owner = Owner::of(info.ino, &inode);
    let mut walk = Walk {
        owner,
        hash_key: hash_key(ctx),
        seen: Seen::default(),
        sound: true,
        removed: 0,
        renamed: false,
    };
    let blocks = dir_block::blocks(ctx, owner, &inode);
    let fixed = ctx.report.fixed();
    let mut keys = index::keys_of(ctx, &blocks);
    walk.seen.ambiguous = hashes_of_several(&keys);
    for run in dir_block::runs(&blocks) {
        dir_block::load(ctx, run);
        for &(file_block, address) in run {
            walk.block(ctx, file_block, address);
            if ctx.restart {
                return;
            }
        }
    }
    if ctx.report.fixed() != fixed {
        keys = index::keys_of(ctx, &blocks);
    }
    let sound = walk.sound && !info.damaged;
    if !walk.sound {
        ctx.gaps.names = true;
    }
    if sound {
        check_entry_count(ctx, info.ino, &inode, keys.len(), walk.removed);
    }
    let is_changed = walk.removed > 0 || walk.renamed;
    let keys = Keys {
        keys,
        sound,
        is_changed,
    };
    let nodes = index::check(ctx, owner, &inode, keys);
    ctx.inodes.update(info.ino, |info| info.counted += nodes);
}

/// The hashes that more than one of these keys have.
fn hashes_of_several(keys: &[u64]) -> HashSet<u32> {
    let hashes = keys.iter().map(|key| (key >> 32) as u32);
    let pairs = hashes.clone().zip(hashes.skip(1));
    pairs
        .filter(|(one, other)| one == other)
        .map(|(one, _)| one)
        .collect()
}

fn check_entry_count(ctx: &mut Context<'_>, ino: u64, inode: &Inode, counted: usize, removed: u32) {
    let stored = inode.dir_entries.get();
    let counted = u32::try_from(counted).unwrap_or(u32::MAX);
    if stored == counted {
        return;
    }
    // What the check itself has removed is no problem of its own.
    let is_explained = stored == counted.saturating_add(removed);
    if is_explained || ctx.fix(Object::Inode(ino), Problem::EntryCount { stored, counted }) {
        ctx.edit_inode(ino, |inode| inode.dir_entries = counted.into());
    }
}

/// The way through the blocks of a directory.
struct Walk {
    owner: Owner,
    hash_key: [u64; 2],
    seen: Seen,
    /// All blocks and entries could be read.
    sound: bool,
    /// Entries that the check has removed.
    removed: u32,
    /// The check has changed names.
    renamed: bool,
}

/// The names of a directory so far, as far as they have to be known: those whose hash is another's too.
#[derive(Default)]
struct Seen {
    ambiguous: HashSet<u32>,
    names: HashSet<Box<[u8]>>,
}

impl Seen {
    /// Notes a name; answers whether it was not there before.
    fn is_new(&mut self, hash_key: [u64; 2], name: &[u8]) -> bool {
        self.ambiguous.is_empty()
            || !self.ambiguous.contains(&hash_name(hash_key, name))
            || self.names.insert(name.into())
    }
}

/// An entry and where it stands.
struct Place<'i> {
    address: u64,
    offset: usize,
    name: Cow<'i, [u8]>,
    ino: u64,
    dirent_type: u8,
}

impl Walk {
    fn fix(&self, ctx: &mut Context<'_>, problem: Problem) -> bool {
        ctx.fix(Object::Inode(self.owner.ino), problem)
    }

    fn block(&mut self, ctx: &mut Context<'_>, file_block: u64, address: u64) {
        let Some(mut image) = dir_block::open(ctx, self.owner, file_block, address) else {
            self.sound = false;
            return;
        };
        if let Some(Err(offset)) = entries(&image).find(Result::is_err) {
            if !self.fix(ctx, Problem::EntryMalformed { file_block, offset }) {
                self.sound = false;
                return;
            }
            dir_block::resync(ctx, address, offset);
            if let Ok(repaired) = ctx.read_raw(address) {
                image = repaired;
            }
            self.renamed = true;
        }
        for entry in entries(&image).filter_map(Result::ok) {
            if entry.ino == 0 {
                continue;
            }
            let mut place = Place {
                address,
                offset: entry.offset,
                name: Cow::Borrowed(entry.name),
                ino: entry.ino,
                dirent_type: entry.dirent_type,
            };
            if self.name(ctx, &mut place) {
                self.target(ctx, &place);
            }
            if ctx.restart {
                return;
            }
        }
    }

    fn remove(&mut self, ctx: &mut Context<'_>, place: &Place<'_>) {
        dir_block::remove(ctx, place.address, place.offset);
        self.removed += 1;
    }

    /// Checks a name. Answers whether the entry stays.
    fn name(&mut self, ctx: &mut Context<'_>, place: &mut Place<'_>) -> bool {
        if !name_ok(&place.name) {
            let name = printable(&place.name);
            if !self.fix(ctx, Problem::NameWrong { name }) {
                self.sound = false;
                return true;
            }
            let renamed = as_a_name(&place.name);
            if self.seen.names.contains(&renamed) {
                self.remove(ctx, place);
                return false;
            }
            let start = place.offset + ENTRY_HEAD_BYTES;
            ctx.edit(place.address, |image| {
                if let Some(bytes) = image.get_mut(start..start + renamed.len()) {
                    bytes.copy_from_slice(&renamed);
                }
            });
            self.renamed = true;
            place.name = Cow::Owned(renamed.into_vec());
        }
        if self.seen.is_new(self.hash_key, &place.name) {
            return true;
        }
        let name = printable(&place.name);
        if !self.fix(ctx, Problem::NameTwice { name }) {
            return true;
        }
        self.remove(ctx, place);
        false
    }

    /// Checks what an entry names, and counts the name.
    fn target(&mut self, ctx: &mut Context<'_>, place: &Place<'_>) {
        let (ino, dir) = (place.ino, self.owner.ino);
        let is_root = ino == ctx.superblock.root_ino.get();
        let Some(target) = ctx.inodes.get(ino) else {
            return self.dangling(ctx, place);
        };
        if target.is_dir() && (target.found_in != 0 || is_root) {
            let name = printable(&place.name);
            if !self.fix(ctx, Problem::DirectoryTwice { name, ino }) {
                ctx.gaps.names = true;
                return;
            }
            // The directory itself says which of the two is right.
            if is_root || target.parent != dir || target.found_in == dir {
                return self.remove(ctx, place);
            }
            dir_block::remove_name(ctx, target.found_in, ino);
            ctx.restart = true;
            return;
        }
        ctx.inodes.update(ino, |target| {
            target.names += 1;
            if target.is_dir() {
                target.found_in = dir;
            }
        });
        if target.is_dir() {
            ctx.inodes.update(dir, |info| info.subdirs += 1);
        }
        self.entry_type(ctx, place, target.mode);
    }

    fn entry_type(&self, ctx: &mut Context<'_>, place: &Place<'_>, mode: u16) {
        let stored = place.dirent_type;
        let Some(right) = FileKind::from_mode(mode).map(FileKind::dirent_type) else {
            return;
        };
        if right == stored {
            return;
        }
        let name = printable(&place.name);
        let problem = Problem::EntryType {
            name,
            stored,
            right,
        };
        if self.fix(ctx, problem) {
            ctx.edit(place.address, |image| {
                if let Some(head) = block::view_mut::<EntryHead>(image, place.offset) {
                    head.dirent_type = right;
                }
            });
        }
    }

    /// An entry names what the sweep has not found.
    fn dangling(&mut self, ctx: &mut Context<'_>, place: &Place<'_>) {
        if ctx.gaps.inodes {
            // In a damaged inode block it may exist.
            return;
        }
        if let Some(found) = find_hidden(ctx, place.ino) {
            ctx.restart = found;
            ctx.gaps.inodes |= !found;
            return;
        }
        let (name, ino) = (printable(&place.name), place.ino);
        if self.fix(ctx, Problem::EntryDangling { name, ino }) {
            self.remove(ctx, place);
        }
    }
}

/// Looks for an inode where its number says it is, although segment table or marks say that there are
/// no inodes. If it is there, answers whether they were corrected.
pub(crate) fn find_hidden(ctx: &mut Context<'_>, ino: u64) -> Option<bool> {
    let place = InoAddress::from_ino(ino)?;
    let (segment, index) = ctx.layout.segment_of(place.block)?;
    let image = ctx.read(place.block, BlockKind::Inodes).ok()?;
    let used = block::view::<InodeBlockHead>(&image, 0)?.used.get();
    if used & (1 << place.slot) == 0 {
        return None;
    }
    let object = Object::Segment(segment);
    match ctx.map.kind(segment) {
        Kind::Known(SegmentKind::Inodes) => {
            if ctx
                .map
                .marked(segment)
                .is_some_and(|marks| marks.has(index))
            {
                return None;
            }
            let address = place.block;
            let wanted = ctx.fix(object, Problem::InodeBlockNotMarked { address, ino });
            if wanted {
                edit_header(ctx, segment, |header| {
                    set_bit(&mut header.live, index, true)
                });
            }
            Some(wanted)
        }
        Kind::Known(kind) => {
            let kind = kind as u8;
            let wanted = ctx.fix(object, Problem::InodeSegmentHidden { ino, kind });
            if wanted {
                segments::rebuild_inode_header(ctx, segment);
                segments::set_kind(ctx, segment, SegmentKind::Inodes);
            }
            Some(wanted)
        }
        Kind::Unknown => None,
    }
}

/// A name of the same length that can be one.
pub(crate) fn as_a_name(name: &[u8]) -> Box<[u8]> {
    let is_dots = name == b"." || name == b"..";
    name.iter()
        .map(|&byte| match byte {
            0 | b'/' => b'_',
            b'.' if is_dots => b'_',
            other => other,
        })
        .collect()
}

/// A name as it can be shown.
pub(crate) fn printable(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
