//! The table of everything that can be wrong.
//!
//! One row per problem: its fields, a stable id for scripts, the part of the file system it is
//! about, what is done about it, and the message. The message does not name the object: that is
//! the [`Finding`](crate::Finding)'s.

use std::fmt;

/// What is done about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is put right; the word says how, in the past tense.
    Repair(&'static str),
    /// It takes judgement: it is left as it is.
    Leave,
}

/// The part of the file system that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Superblock and its copies.
    Superblock,
    /// Checkpoint blocks and log.
    Log,
    /// Segment table, segment headers and bitmaps.
    Space,
    /// Inodes and inode blocks.
    Inode,
    /// What an inode's blocks are.
    Blocks,
    /// Directories and their indexes.
    Directory,
    /// How directories and inodes hang together.
    Links,
    /// File data and its summaries.
    Data,
}

impl Class {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Superblock => "superblock",
            Class::Log => "log",
            Class::Space => "space",
            Class::Inode => "inode",
            Class::Blocks => "blocks",
            Class::Directory => "directory",
            Class::Links => "links",
            Class::Data => "data",
        }
    }
}

macro_rules! problems {
    ($(
        $name:ident { $($field:ident: $type:ty),* }
        $id:literal, $class:ident, $remedy:expr, $message:literal;
    )*) => {
        /// Something that is wrong. The message of each row of the table is its documentation.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Problem {
            $(
                #[doc = $message]
                $name {
                    $(#[doc = stringify!($field)] $field: $type),*
                },
            )*
        }

        impl Problem {
            /// A stable name for scripts.
            pub const fn id(&self) -> &'static str {
                match self { $(Problem::$name { .. } => $id,)* }
            }

            /// The part of the file system that it is about.
            pub const fn class(&self) -> Class {
                match self { $(Problem::$name { .. } => Class::$class,)* }
            }

            /// What is done about it.
            pub const fn remedy(&self) -> Remedy {
                match self { $(Problem::$name { .. } => $remedy,)* }
            }

            /// The ids of all problems that there are.
            pub const IDS: &'static [&'static str] = &[$($id),*];
        }

        impl fmt::Display for Problem {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Problem::$name { $($field),* } => write!(f, $message),)* }
            }
        }
    };
}

use Remedy::{Leave, Repair};

problems! {
    SuperblockDamaged { fault: String }
        "superblock-damaged", Superblock, Repair("rewritten from a copy"),
        "{fault}";
    SuperblockCopyDamaged { fault: String }
        "superblock-copy-damaged", Superblock, Repair("rewritten"),
        "{fault}";
    SuperblockCopyDiffers {}
        "superblock-copy-differs", Superblock, Repair("rewritten"),
        "differs from the superblock";

    LogDamaged { error: String }
        "log-damaged", Log, Leave,
        "cannot be read: {error}";

    TableBlockDamaged { fault: String }
        "table-damaged", Space, Leave,
        "{fault}";
    SegmentKindUnknown { kind: u8 }
        "segment-kind", Space, Leave,
        "kind {kind} in the segment table is not known";
    SegmentKindDiffers { table: u8, header: u8 }
        "segment-kind-differs", Space, Repair("segment table corrected"),
        "kind is {table} in the segment table, {header} in the header";
    SegmentHeaderDamaged { fault: String }
        "segment-header-damaged", Space, Repair("header rebuilt"),
        "header: {fault}";
    SegmentHeaderLost { fault: String }
        "segment-header-lost", Space, Leave,
        "header: {fault}; it cannot be rebuilt as long as other damage hides what is in use";
    InodeSegmentHeaderDamaged { fault: String }
        "inode-segment-header-damaged", Space, Leave,
        "header of an inode segment: {fault}";
    SegmentFreeButUsed { count: u32, first: u64 }
        "segment-free-but-used", Space, Repair("segment table corrected"),
        "{count} blocks are in use (the first is {first}), but the segment table says it is free";
    SegmentFreeAndUnknown { count: u32, first: u64 }
        "segment-free-and-unknown", Space, Leave,
        "{count} blocks are in use (the first is {first}), but the segment table says it is free \
         and its header says nothing of use";
    BlocksNotMarked { count: u32, first: u64 }
        "blocks-not-marked", Space, Repair("marked"),
        "{count} blocks are in use but not marked so, the first is {first}";
    BlocksMarked { count: u32, first: u64 }
        "blocks-marked", Space, Repair("freed"),
        "{count} blocks are marked as in use but nothing uses them, the first is {first}";
    HeadMarked {}
        "head-marked", Space, Repair("cleared"),
        "marks are set for header or summary blocks";
    LiveCount { stored: u32, counted: u32 }
        "live-count", Space, Repair("corrected"),
        "segment table counts {stored} live blocks, there are {counted}";
    InodeCount { stored: u64, counted: u64 }
        "inode-count", Space, Repair("corrected"),
        "segment table counts {stored} inodes, there are {counted}";
    FullMarks { count: u32 }
        "full-marks", Space, Repair("corrected"),
        "{count} marks of full inode blocks are wrong";

    InodeBlockDamaged { fault: String }
        "inode-block-damaged", Inode, Leave,
        "{fault}";
    UsedMark { used: bool }
        "used-mark", Inode, Repair("corrected"),
        "in use: {used}, but its inode block says otherwise";
    UsedMarkOfHead {}
        "used-mark-of-head", Inode, Repair("cleared"),
        "the mark of slot 0 is set";
    ModeUnknown { mode: u16 }
        "mode", Inode, Leave,
        "mode {mode:o} says no kind of file";
    FlagsUnknown { flags: u16 }
        "inode-flags", Inode, Leave,
        "flags {flags:#x} are not known";
    FieldWrong { name: &'static str, value: u64 }
        "inode-field", Inode, Leave,
        "{name} is {value}";
    TimeWrong { name: &'static str, nanoseconds: u32 }
        "time", Inode, Repair("set to 0"),
        "{name} has {nanoseconds} nanoseconds";
    SymlinkTarget { reason: &'static str }
        "symlink", Inode, Leave,
        "target {reason}";
    BlockCount { stored: u64, counted: u64 }
        "block-count", Inode, Repair("corrected"),
        "block count is {stored}, should be {counted}";

    ExtentWrong { file_block: u64, start: u64, len: u32, reason: &'static str }
        "extent", Blocks, Leave,
        "extent {start}+{len} at file block {file_block} {reason}";
    NodeDamaged { what: &'static str, address: u64, fault: String }
        "node-damaged", Blocks, Leave,
        "{what} {address}: {fault}";
    BlockShared { address: u64, others: String }
        "block-shared", Blocks, Leave,
        "block {address} is used by {others} as well";
    BlockMisplaced { address: u64, place: &'static str }
        "block-misplaced", Blocks, Leave,
        "block {address} {place}";
    XattrsWrong { reason: String }
        "xattrs", Blocks, Leave,
        "extended attributes: {reason}";

    DirectoryBlock { file_block: u64, fault: String }
        "directory-block", Directory, Leave,
        "block {file_block}: {fault}";
    EntryMalformed { file_block: u64, offset: usize }
        "entry-malformed", Directory, Leave,
        "block {file_block}: malformed entry at byte {offset}";
    NameWrong { name: String }
        "name", Directory, Leave,
        "`{name}` is not a name";
    NameTwice { name: String }
        "name-twice", Directory, Leave,
        "there are two entries `{name}`";
    EntryDangling { name: String, ino: u64 }
        "entry-dangling", Directory, Leave,
        "entry `{name}` names inode {ino}, which does not exist";
    EntryType { name: String, stored: u8, right: u8 }
        "entry-type", Directory, Repair("corrected"),
        "entry `{name}` has type {stored}, should be {right}";
    DirectoryTwice { name: String, ino: u64 }
        "directory-twice", Directory, Leave,
        "entry `{name}` is a second name of directory inode {ino}";
    EntryCount { stored: u32, counted: u32 }
        "entry-count", Directory, Repair("corrected"),
        "entry count is {stored}, should be {counted}";
    IndexWrong { reason: String }
        "index", Directory, Repair("rebuilt"),
        "index: {reason}";
    IndexNoRoom {}
        "index-no-room", Directory, Leave,
        "index is wrong, and there is no room for a new one";

    RootWrong { reason: String }
        "root", Links, Leave,
        "cannot be the root directory: {reason}";
    Parent { stored: u64, right: u64 }
        "parent", Links, Repair("corrected"),
        "parent is inode {stored}, should be {right}";
    LinkCount { stored: u32, counted: u32 }
        "link-count", Links, Repair("corrected"),
        "link count is {stored}, should be {counted}";
    Unreachable {}
        "unreachable", Links, Repair("put into /lost+found"),
        "has no name";
    UnreachableNoRoom {}
        "unreachable-no-room", Links, Leave,
        "has no name, and there is no room for one in /lost+found";
    DirectoryLoop {}
        "directory-loop", Links, Leave,
        "is a directory that is in itself";
    OrphanBlock { fault: String }
        "orphan-block", Links, Leave,
        "{fault}";
    OrphanSlotWrong { slot: u64, reason: &'static str }
        "orphan-slot", Links, Repair("cleared"),
        "entry {slot:#x} {reason}";

    SummaryDamaged { address: u64, fault: String }
        "summary-damaged", Data, Leave,
        "segment summary {address}: {fault}";
    SummaryDiffers { address: u64, ino: u64, generation: u32, file_block: u64 }
        "summary-differs", Data, Leave,
        "block {address} is in the file, but its segment's summary says block {file_block} of \
         inode {ino}, generation {generation}";
    DataChecksum { file_block: u64, stored: u32, computed: u32 }
        "data-checksum", Data, Leave,
        "file block {file_block}: checksum {stored:#010x} stored, {computed:#010x} computed";
    DataUnreadable { file_block: u64, error: String }
        "data-unreadable", Data, Leave,
        "file block {file_block} and those behind it: {error}";
}

#[cfg(test)]
mod tests {
    use super::Problem;
    use std::collections::BTreeSet;

    #[test]
    fn each_problem_has_an_id_of_its_own() {
        let ids: BTreeSet<_> = Problem::IDS.iter().collect();
        assert_eq!(ids.len(), Problem::IDS.len());
    }

    #[test]
    fn messages_hold_the_fields() {
        let problem = Problem::LinkCount {
            stored: 3,
            counted: 2,
        };
        assert_eq!(problem.to_string(), "link count is 3, should be 2");
    }
}
