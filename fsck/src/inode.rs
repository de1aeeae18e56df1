//! One inode: what its fields say about each other, and what belongs to it.

use crate::context::{Context, Owner};
use crate::data::Witness;
use crate::extents::{self, Mapped};
use crate::inode_table::InodeInfo;
use crate::{Object, Problem, xattrs};
use bento_api::FileKind;
use logfs_format::{BLOCK_BYTES, INLINE_BYTES, INLINE_EXTENTS, Inode, InodeFlags, Timestamp, dir};

/// Longest target of a symbolic link, the NUL that the kernel puts behind it not counted.
const TARGET_MAX: u64 = BLOCK_BYTES as u64 - 1;

/// Checks an inode and claims its blocks, those of a directory's index apart.
pub(crate) fn check(
    ctx: &mut Context<'_>,
    ino: u64,
    inode: &Inode,
    witness: &mut Witness<'_>,
) -> InodeInfo {
    let owner = Owner {
        ino,
        generation: inode.generation.get(),
    };
    let kind = FileKind::from_mode(inode.mode.get());
    let mut check = Check {
        ctx,
        ino,
        inode,
        damaged: false,
    };
    check.fields(kind);
    let mut damaged = check.damaged;
    let witness = (kind == Some(FileKind::Regular)).then_some(witness);
    let mapped = extents::check(ctx, owner, inode, witness);
    damaged |= mapped.damaged;
    let mut check = Check {
        ctx,
        ino,
        inode,
        damaged,
    };
    check.size(kind, &mapped);
    damaged = check.damaged;
    let (xattr_blocks, sound) = xattrs::check(ctx, owner, inode.xattrs.get());
    damaged |= !sound;
    if damaged {
        ctx.gaps.blocks = true;
        ctx.gaps.names |= kind.is_none_or(|kind| kind == FileKind::Directory);
    }
    times(ctx, ino, inode);
    count(ctx, kind);
    InodeInfo {
        ino,
        generation: owner.generation,
        mode: inode.mode.get(),
        damaged,
        nlink: inode.nlink.get(),
        names: 0,
        subdirs: 0,
        parent: inode.parent.get(),
        found_in: 0,
        blocks: inode.blocks.get(),
        counted: mapped.blocks + mapped.nodes + xattr_blocks,
    }
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

struct Check<'i, 'c, 'a> {
    ctx: &'c mut Context<'a>,
    ino: u64,
    inode: &'i Inode,
    damaged: bool,
}

impl Check<'_, '_, '_> {
    fn wrong(&mut self, problem: Problem) {
        self.ctx.found(Object::Inode(self.ino), problem);
        self.damaged = true;
    }

    fn field(&mut self, name: &'static str, value: u64) {
        self.wrong(Problem::FieldWrong { name, value });
    }

    /// Everything but the size.
    fn fields(&mut self, kind: Option<FileKind>) {
        let inode = self.inode;
        let flags = inode.flags.get();
        if kind.is_none() {
            let mode = inode.mode.get();
            self.wrong(Problem::ModeUnknown { mode });
        }
        if flags & !InodeFlags::KNOWN != 0 {
            self.wrong(Problem::FlagsUnknown { flags });
        }
        let is_inline = flags & InodeFlags::INLINE != 0;
        let has_tree = flags & InodeFlags::TREE != 0;
        let extents = inode.extent_count.get();
        if is_inline && (has_tree || kind != Some(FileKind::Symlink)) {
            self.wrong(Problem::FlagsUnknown { flags });
        }
        if usize::from(extents) > INLINE_EXTENTS || (extents > 0 && (is_inline || has_tree)) {
            self.field("extent count", extents.into());
        }
        let is_device = matches!(kind, Some(FileKind::BlockDevice | FileKind::CharDevice));
        if kind.is_some() && !is_device && inode.rdev.get() != 0 {
            self.field("device number", inode.rdev.get().into());
        }
        if kind != Some(FileKind::Directory) && inode.dir_index.get() != 0 {
            self.field(
                "directory index of what is no directory",
                inode.dir_index.get(),
            );
        }
    }

    /// The size, by what is mapped.
    fn size(&mut self, kind: Option<FileKind>, mapped: &Mapped) {
        let size = self.inode.size_bytes.get();
        match kind {
            Some(FileKind::Regular) => {
                if i64::try_from(size).is_err() {
                    self.field("size", size);
                }
            }
            Some(FileKind::Directory) => {
                let blocks = size / BLOCK_BYTES as u64;
                let fits = size.is_multiple_of(BLOCK_BYTES as u64) && blocks <= dir::MAX_DIR_BLOCKS;
                // Of a damaged tree the end is not known.
                if !fits || (!mapped.damaged && (blocks != mapped.end || mapped.has_unwritten)) {
                    self.field("size of a directory", size);
                }
            }
            Some(FileKind::Symlink) => self.target(size, mapped),
            _ => {
                if size != 0 {
                    self.field("size of a special file", size);
                }
                if mapped.blocks != 0 {
                    self.field("number of blocks of a special file", mapped.blocks);
                }
            }
        }
    }

    fn target(&mut self, size: u64, mapped: &Mapped) {
        let is_inline = self.inode.flags.get() & InodeFlags::INLINE != 0;
        let longest = if is_inline {
            INLINE_BYTES as u64
        } else {
            TARGET_MAX
        };
        if size == 0 || size > longest {
            return self.field("size of a symbolic link", size);
        }
        let has_nul = |bytes: &[u8]| bytes.contains(&0);
        let target = self.inode.inline.get(..size as usize);
        if is_inline && target.is_none_or(has_nul) {
            self.wrong(Problem::SymlinkTarget {
                reason: "holds a NUL byte",
            });
        }
        if !is_inline && !mapped.damaged && (mapped.end != 1 || mapped.blocks != 1) {
            self.wrong(Problem::SymlinkTarget {
                reason: "is missing",
            });
        }
    }
}

fn times(ctx: &mut Context<'_>, ino: u64, inode: &Inode) {
    type Field = fn(&mut Inode) -> &mut Timestamp;
    let fields: [(&'static str, Field); 4] = [
        ("atime", |inode| &mut inode.atime),
        ("mtime", |inode| &mut inode.mtime),
        ("ctime", |inode| &mut inode.ctime),
        ("btime", |inode| &mut inode.btime),
    ];
    let mut copy = *inode;
    for (name, field) in fields {
        let nanoseconds = field(&mut copy).nanoseconds.get();
        if nanoseconds >= 1_000_000_000 {
            ctx.found(Object::Inode(ino), Problem::TimeWrong { name, nanoseconds });
            ctx.edit_inode(ino, |inode| field(inode).nanoseconds = 0.into());
        }
    }
}
