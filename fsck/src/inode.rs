//! One inode: what its fields say about each other, and what belongs to it.

use crate::context::{Context, Owner};
use crate::data::{Witness, is_of};
use crate::extents::{self, Mapped};
use crate::inode_table::InodeInfo;
use crate::mend::summary_of;
use crate::{Object, Problem, xattrs};
use bento_api::FileKind;
use logfs_format::{
    BLOCK_BYTES, BlockKind, HEADER_BYTES, INLINE_BYTES, INLINE_EXTENTS, Inode, InodeFlags,
    InodeHead, Timestamp, dir,
};

/// Longest target of a symbolic link, the NUL that the kernel puts behind it not counted.
const TARGET_MAX: u64 = BLOCK_BYTES as u64 - 1;

/// Bytes of a target in each of its blocks.
const TARGET_PART_BYTES: u64 = (BLOCK_BYTES - HEADER_BYTES) as u64;

/// Checks an inode and claims its blocks, those of a directory's index apart. `None` if it makes no
/// sense and was freed.
pub(crate) fn check(
    ctx: &mut Context<'_>,
    ino: u64,
    stored: &Inode,
    witness: &mut Witness,
) -> Option<InodeInfo> {
    let mut check = Check {
        ctx,
        ino,
        inode: *stored,
        damaged: false,
        is_wild: false,
    };
    let kind = check.kind();
    if let Some(kind) = kind {
        check.fields(kind);
    }
    let mapped = match kind {
        Some(kind) => check.blocks(kind, witness),
        None => Mapped::default(),
    };
    check.times();
    let (inode, damaged, is_wild) = (check.inode, check.damaged, check.is_wild);
    if is_wild {
        free(ctx, ino);
        return None;
    }
    if inode != *stored {
        ctx.edit_inode(ino, |place| *place = inode);
    }
    if damaged {
        ctx.gaps.blocks = true;
        ctx.gaps.names |= kind.is_none_or(|kind| kind == FileKind::Directory);
    }
    count(ctx, kind);
    Some(InodeInfo {
        ino,
        mode: inode.mode.get(),
        damaged,
        nlink: inode.nlink.get(),
        names: 0,
        subdirs: 0,
        parent: inode.parent.get(),
        found_in: 0,
        blocks: inode.blocks.get(),
        counted: mapped.blocks + mapped.nodes,
    })
}

/// Empties a slot: it keeps the generation.
fn free(ctx: &mut Context<'_>, ino: u64) {
    ctx.edit_inode(ino, |inode| {
        *inode = InodeHead {
            generation: inode.generation,
            ..bytemuck::Zeroable::zeroed()
        }
        .into();
    });
}

fn count(ctx: &mut Context<'_>, kind: Option<FileKind>) {
    let counts = &mut ctx.report.counts;
    counts.inodes += 1;
    match kind {
        Some(FileKind::Directory) => counts.directories += 1,
        Some(FileKind::Symlink) => counts.symlinks += 1,
        _ => {}
    }
}

/// What an inode looks like, its mode apart.
fn looks_like(inode: &Inode) -> Option<FileKind> {
    let is_dir = inode.parent.get() != 0 || inode.dir_index.get() != 0;
    let flags = inode.flags.get();
    if is_dir || inode.dir_entries.get() != 0 {
        Some(FileKind::Directory)
    } else if flags & InodeFlags::INLINE != 0 {
        Some(FileKind::Symlink)
    } else if inode.extent_count.get() != 0 || flags & InodeFlags::TREE != 0 {
        Some(FileKind::Regular)
    } else if inode.rdev.get() != 0 {
        Some(FileKind::CharDevice)
    } else if inode.nlink.get() != 0 || inode.size_bytes.get() != 0 {
        Some(FileKind::Regular)
    } else {
        None
    }
}

/// The kind of an inode by what its first block says of itself.
fn by_first_block(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Option<FileKind> {
    let first = extents::read(ctx, owner, inode).first().copied()?;
    let address = first.start.get();
    for (block, kind) in [
        (BlockKind::Directory, FileKind::Directory),
        (BlockKind::Symlink, FileKind::Symlink),
    ] {
        if ctx.read_owned(address, block, owner).is_ok() {
            return Some(kind);
        }
    }
    let entry = summary_of(ctx, address)?;
    is_of(&entry, owner, first.file_block.get()).then_some(FileKind::Regular)
}

/// What messages call a kind of inode.
pub(crate) const fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::BlockDevice => "block device",
        FileKind::CharDevice => "character device",
        FileKind::Fifo => "named pipe",
        FileKind::Socket => "socket",
    }
}

struct Check<'c, 'a> {
    ctx: &'c mut Context<'a>,
    ino: u64,
    /// As it is to be.
    inode: Inode,
    /// Something is wrong and stays so.
    damaged: bool,
    /// It is to be freed.
    is_wild: bool,
}

impl Check<'_, '_> {
    fn fix(&mut self, problem: Problem) -> bool {
        let wanted = self.ctx.fix(Object::Inode(self.ino), problem);
        self.damaged |= !wanted;
        wanted
    }

    fn field(&mut self, name: &'static str, value: u64) -> bool {
        self.fix(Problem::FieldWrong { name, value })
    }

    /// The kind of file; of an inode without one, what it looks like.
    fn kind(&mut self) -> Option<FileKind> {
        let mode = self.inode.mode.get();
        if let Some(stored) = FileKind::from_mode(mode) {
            return Some(self.contradicted(stored).unwrap_or(stored));
        }
        let Some(kind) = looks_like(&self.inode) else {
            self.is_wild = self.fix(Problem::InodeWild { mode });
            return None;
        };
        let name = kind_name(kind);
        if !self.fix(Problem::ModeUnknown { mode, kind: name }) {
            return None;
        }
        // A mode that is gone as a whole says nothing of permissions either.
        let permissions = if mode == 0 { 0o600 } else { mode & 0o7777 };
        self.inode.mode = (kind.mode_bits() | permissions).into();
        Some(kind)
    }

    /// The kind that the blocks speak for, if other fields don't go with the mode's either.
    fn contradicted(&mut self, stored: FileKind) -> Option<FileKind> {
        let inode = &self.inode;
        let flags = inode.flags.get();
        let has_blocks = inode.extent_count.get() > 0 || flags & InodeFlags::TREE != 0;
        let like_a_directory = inode.parent.get() != 0 || inode.dir_entries.get() != 0;
        let is_strange = match stored {
            FileKind::Regular => like_a_directory,
            FileKind::Directory => inode.parent.get() == 0,
            _ => flags & InodeFlags::INLINE == 0 || like_a_directory,
        };
        if !has_blocks || !is_strange {
            return None;
        }
        let kind = by_first_block(self.ctx, self.owner(), &self.inode)?;
        let mode = inode.mode.get();
        let name = kind_name(kind);
        if kind == stored || !self.fix(Problem::ModeDiffers { mode, kind: name }) {
            return None;
        }
        self.inode.mode = (kind.mode_bits() | mode & 0o7777).into();
        Some(kind)
    }

    fn owner(&self) -> Owner {
        Owner::of(self.ino, &self.inode)
    }

    /// Everything that can be judged without the blocks.
    fn fields(&mut self, kind: FileKind) {
        let flags = self.inode.flags.get();
        let is_link = kind == FileKind::Symlink;
        let has_blocks = matches!(
            kind,
            FileKind::Regular | FileKind::Directory | FileKind::Symlink
        );
        let mut right = flags & InodeFlags::KNOWN;
        if right & InodeFlags::INLINE != 0 {
            right = if is_link {
                InodeFlags::INLINE
            } else {
                right & !InodeFlags::INLINE
            };
        }
        if !has_blocks {
            right = 0;
        }
        if right != flags && self.fix(Problem::FlagsWrong { flags }) {
            self.inode.flags = right.into();
        }
        let flags = self.inode.flags.get();
        let has_list = has_blocks && flags & (InodeFlags::INLINE | InodeFlags::TREE) == 0;
        let count = self.inode.extent_count.get();
        if !has_list && count > 0 && self.field("extent count", count.into()) {
            self.inode.extent_count = 0.into();
        } else if usize::from(count) > INLINE_EXTENTS && self.field("extent count", count.into()) {
            self.inode.extent_count = extents::plausible(self.ctx, &self.inode).into();
        }
        let is_device = matches!(kind, FileKind::BlockDevice | FileKind::CharDevice);
        let rdev = self.inode.rdev.get();
        if !is_device && rdev != 0 && self.field("device number", rdev.into()) {
            self.inode.rdev = 0.into();
        }
        if kind != FileKind::Directory {
            self.no_directory();
        }
        if (self.inode.reserved != [0; 2] || self.inode.reserved2 != [0; 8])
            && self.field("a reserved field", 1)
        {
            self.inode.reserved = [0; 2];
            self.inode.reserved2 = [0; 8];
        }
    }

    /// The fields that only directories have.
    fn no_directory(&mut self) {
        let index = self.inode.dir_index.get();
        if index != 0 && self.field("directory index of what is no directory", index) {
            self.inode.dir_index = 0.into();
        }
        let entries = self.inode.dir_entries.get();
        if entries != 0 && self.field("entry count of what is no directory", entries.into()) {
            self.inode.dir_entries = 0.into();
        }
        let parent = self.inode.parent.get();
        if parent != 0 && self.field("parent of what is no directory", parent) {
            self.inode.parent = 0.into();
        }
    }

    /// Extents, size and extended attributes; claims the blocks.
    fn blocks(&mut self, kind: FileKind, witness: &mut Witness) -> Mapped {
        let owner = self.owner();
        let inode = self.inode;
        let mut mapped = extents::check(self.ctx, owner, &inode, kind, witness);
        self.damaged |= mapped.damaged;
        if !mapped.damaged && !mapped.is_torn {
            self.size(kind, owner, &mapped);
        }
        let xattrs = xattrs::check(self.ctx, owner, &mut self.inode);
        self.damaged |= xattrs.damaged;
        mapped.blocks += xattrs.blocks;
        mapped
    }

    fn size(&mut self, kind: FileKind, owner: Owner, mapped: &Mapped) {
        let stored = self.inode.size_bytes.get();
        let mapped_bytes = mapped.end.saturating_mul(BLOCK_BYTES as u64);
        let (name, right) = match kind {
            FileKind::Regular if i64::try_from(stored).is_err() => ("size", mapped_bytes),
            FileKind::Regular => return,
            FileKind::Directory => ("size of a directory", mapped_bytes),
            FileKind::Symlink => {
                let right = self.target_len(owner, stored);
                if right == 0 {
                    let reason = "is missing";
                    self.is_wild = self.fix(Problem::SymlinkTarget { reason });
                    return;
                }
                ("size of a symbolic link", right)
            }
            _ => ("size of a special file", 0),
        };
        let problem = Problem::SizeWrong {
            name,
            stored,
            right,
        };
        if stored != right && self.fix(problem) {
            self.inode.size_bytes = right.into();
        }
    }

    /// The length of a symbolic link's target: to its end, but not over a NUL.
    fn target_len(&mut self, owner: Owner, stored: u64) -> u64 {
        let inode = self.inode;
        let (text, longest) = if inode.flags.get() & InodeFlags::INLINE != 0 {
            (inode.inline.to_vec(), INLINE_BYTES as u64)
        } else {
            (target(self.ctx, owner, &inode), TARGET_MAX)
        };
        let end = if stored == 0 || stored > longest {
            longest
        } else {
            stored
        };
        let text = text.get(..end as usize).unwrap_or(&text);
        let nul = text.iter().position(|&byte| byte == 0);
        nul.unwrap_or(text.len()) as u64
    }

    fn times(&mut self) {
        type Field = fn(&mut Inode) -> &mut Timestamp;
        let fields: [(&'static str, Field); 4] = [
            ("atime", |inode| &mut inode.atime),
            ("mtime", |inode| &mut inode.mtime),
            ("ctime", |inode| &mut inode.ctime),
            ("btime", |inode| &mut inode.btime),
        ];
        for (name, field) in fields {
            let nanoseconds = field(&mut self.inode).nanoseconds.get();
            if nanoseconds >= 1_000_000_000 && self.fix(Problem::TimeWrong { name, nanoseconds }) {
                field(&mut self.inode).nanoseconds = 0.into();
            }
        }
    }
}

/// What can be read of a long symbolic link's target, zeros behind its end included.
fn target(ctx: &mut Context<'_>, owner: Owner, inode: &Inode) -> Vec<u8> {
    let mut text = Vec::new();
    for extent in extents::read(ctx, owner, inode) {
        for index in 0..u64::from(extent.len.get()) {
            let at = (extent.file_block.get() + index) * TARGET_PART_BYTES;
            let address = extent.start.get() + index;
            let Ok(image) = ctx.read_owned(address, BlockKind::Symlink, owner) else {
                return text;
            };
            if text.len() as u64 != at || at > TARGET_MAX {
                return text;
            }
            text.extend_from_slice(image.get(HEADER_BYTES..).unwrap_or(&[]));
        }
    }
    text
}

/// Whether a directory may span so many blocks.
pub(crate) const fn dir_blocks_ok(blocks: u64) -> bool {
    blocks <= dir::MAX_DIR_BLOCKS
}
