//! The table of everything that can be wrong.
//!
//! One row per problem: its fields, a stable id for scripts, the part of the file system it is
//! about, what is done about it, and the message. The message does not name the object: that is
//! the [`Finding`](crate::Finding)'s. `docs/FSCK.md` tells how the remedies work.

use std::fmt;

/// What is done about a problem. The words say it in the past tense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// What is right is known for sure, and nothing that a user has made can be lost: `-p` does it.
    Safe(&'static str),
    /// Of two witnesses one is believed, or names change: somebody has to agree.
    Consent(&'static str),
    /// Somebody has to agree, since something that a user has made may be gone afterwards.
    Loss(&'static str),
    /// Nothing can be done, or nothing has to.
    Leave,
}

impl Remedy {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Remedy::Safe(_) => "safe",
            Remedy::Consent(_) => "consent",
            Remedy::Loss(_) => "loss",
            Remedy::Leave => "none",
        }
    }

    /// What was done.
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Remedy::Safe(action) | Remedy::Consent(action) | Remedy::Loss(action) => Some(action),
            Remedy::Leave => None,
        }
    }
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
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

use Remedy::{Consent, Leave, Loss, Safe};

problems! {
    SuperblockDamaged { fault: String }
        "superblock-damaged", Superblock, Safe("rewritten from a copy"),
        "{fault}";
    SuperblockErased {}
        "superblock-erased", Superblock, Consent("rewritten from a copy"),
        "is all zeros";
    SuperblockCopyDamaged { fault: String }
        "superblock-copy-damaged", Superblock, Safe("rewritten"),
        "{fault}";
    SuperblockCopyDiffers {}
        "superblock-copy-differs", Superblock, Safe("rewritten"),
        "differs from the superblock";

    CheckpointsDamaged { transactions: u64 }
        "checkpoints-damaged", Log, Consent("the log starts anew"),
        "neither checkpoint block is valid; {transactions} transactions found in the log are \
         applied";
    CheckpointLost { transactions: u64 }
        "checkpoint-lost", Log, Consent("the log starts anew"),
        "the newer checkpoint block is damaged, and the log has gone on since the older one; \
         {transactions} transactions found in it are applied";
    LogBroken { lost: u64 }
        "log-broken", Log, Loss("applied up to the damage"),
        "a record is damaged; {lost} transactions that were durable are lost with it";
    LogUnusable { error: String }
        "log-unusable", Log, Loss("the log starts anew, what it held is lost"),
        "cannot be applied: {error}";

    TableBlockDamaged { fault: String }
        "table-damaged", Space, Consent("rebuilt from the segments' headers"),
        "{fault}";
    TableField { name: &'static str, value: u64 }
        "table-field", Space, Safe("corrected"),
        "{name} is {value}";
    SegmentKindUnknown { kind: u8 }
        "segment-kind", Space, Consent("taken from the segment"),
        "kind {kind} in the segment table is not known";
    SegmentKindDiffers { table: u8, header: u8 }
        "segment-kind-differs", Space, Consent("decided by what the segment holds"),
        "kind is {table} in the segment table, {header} in the header";
    SegmentHeaderDamaged { fault: String }
        "segment-header-damaged", Space, Safe("header rebuilt"),
        "header: {fault}";
    SegmentHeaderLost { fault: String }
        "segment-header-lost", Space, Leave,
        "header: {fault}; it cannot be rebuilt as long as other damage hides what is in use";
    InodeSegmentHeaderDamaged { fault: String }
        "inode-segment-header-damaged", Space, Consent("rebuilt from the inode blocks"),
        "header of an inode segment: {fault}";
    InodeSegmentHidden { ino: u64, kind: u8 }
        "inode-segment-hidden", Space, Consent("segment table and header corrected"),
        "a name leads to inode {ino} in it, which is there, but its kind is {kind}";
    InodeBlockNotMarked { address: u64, ino: u64 }
        "inode-block-not-marked", Space, Consent("marked"),
        "a name leads to inode {ino}, which is there, but its block {address} is not marked";
    SegmentFreeButUsed { count: u32, first: u64 }
        "segment-free-but-used", Space, Safe("segment table corrected"),
        "{count} blocks are in use (the first is {first}), but the segment table says it is free";
    SegmentFreeAndUnknown { count: u32, first: u64 }
        "segment-free-and-unknown", Space, Consent("header made anew"),
        "{count} blocks are in use (the first is {first}), but the segment table says it is free \
         and its header says nothing of use";
    BlocksNotMarked { count: u32, first: u64 }
        "blocks-not-marked", Space, Safe("marked"),
        "{count} blocks are in use but not marked so, the first is {first}";
    BlocksMarked { count: u32, first: u64 }
        "blocks-marked", Space, Safe("freed"),
        "{count} blocks are marked as in use but nothing uses them, the first is {first}";
    HeadMarked {}
        "head-marked", Space, Safe("cleared"),
        "marks are set for header or summary blocks, or behind the end";
    LiveCount { stored: u32, counted: u32 }
        "live-count", Space, Safe("corrected"),
        "segment table counts {stored} live blocks, there are {counted}";
    InodeCount { stored: u64, counted: u64 }
        "inode-count", Space, Safe("corrected"),
        "segment table counts {stored} inodes, there are {counted}";
    FullMarks { count: u32 }
        "full-marks", Space, Safe("corrected"),
        "{count} marks of full inode blocks are wrong";

    InodeBlockChecksum { fault: String }
        "inode-block-checksum", Inode, Consent("kept, each inode checked"),
        "{fault}";
    InodeBlockDamaged { fault: String }
        "inode-block-damaged", Inode, Loss("made anew, inodes rebuilt from what names them"),
        "{fault}";
    InodeRebuilt { kind: &'static str, blocks: u64 }
        "inode-rebuilt", Inode, Loss("rebuilt"),
        "is gone, but {blocks} blocks say that they are its own: made a {kind} again";
    UsedMark { used: bool }
        "used-mark", Inode, Safe("corrected"),
        "in use: {used}, but its inode block says otherwise";
    UsedMarkOfHead {}
        "used-mark-of-head", Inode, Safe("cleared"),
        "the mark of slot 0 is set";
    ModeUnknown { mode: u16, kind: &'static str }
        "mode", Inode, Consent("made what it looks like"),
        "mode {mode:o} says no kind of file; it looks like a {kind}";
    ModeDiffers { mode: u16, kind: &'static str }
        "mode-differs", Inode, Consent("corrected"),
        "mode is {mode:o}, but its blocks are those of a {kind}";
    InodeWild { mode: u16 }
        "inode-wild", Inode, Loss("freed"),
        "mode {mode:o} says no kind of file, and nothing else tells";
    FlagsWrong { flags: u16 }
        "inode-flags", Inode, Consent("corrected"),
        "flags {flags:#x} are not known, or not for such an inode";
    FieldWrong { name: &'static str, value: u64 }
        "inode-field", Inode, Consent("cleared"),
        "{name} is {value}";
    SizeWrong { name: &'static str, stored: u64, right: u64 }
        "size", Inode, Consent("corrected"),
        "{name} is {stored}, should be {right}";
    TimeWrong { name: &'static str, nanoseconds: u32 }
        "time", Inode, Safe("set to 0"),
        "{name} has {nanoseconds} nanoseconds";
    SymlinkTarget { reason: &'static str }
        "symlink", Inode, Loss("freed"),
        "target {reason}";
    BlockCount { stored: u64, counted: u64 }
        "block-count", Inode, Safe("corrected"),
        "block count is {stored}, should be {counted}";

    ExtentWrong { file_block: u64, start: u64, len: u32, reason: &'static str }
        "extent", Blocks, Loss("blocks taken from the summaries"),
        "extent {start}+{len} at file block {file_block} {reason}";
    NodeDamaged { what: &'static str, address: u64, fault: String }
        "node-damaged", Blocks, Loss("tree rebuilt from its leaves and the summaries"),
        "{what} {address}: {fault}";
    BlockShared { address: u64, others: String }
        "block-shared", Blocks, Loss("given to one"),
        "block {address} is used by {others} as well";
    BlockMisplaced { address: u64, place: &'static str }
        "block-misplaced", Blocks, Loss("blocks taken from the summaries"),
        "block {address} {place}";
    BlocksFound { blocks: u64 }
        "blocks-found", Blocks, Consent("mapped again"),
        "{blocks} blocks are its own by the summaries or their headers";
    BlocksCopied { blocks: u64 }
        "blocks-copied", Blocks, Consent("copied"),
        "{blocks} blocks were another file's too, and nothing tells whose";
    BlocksLost { blocks: u64, file_block: u64 }
        "blocks-lost", Blocks, Loss("a hole is left"),
        "{blocks} blocks are lost, the first is file block {file_block}";
    MappingNoRoom {}
        "mapping-no-room", Blocks, Leave,
        "its mapping is damaged, and there is no room for a new one";
    XattrsWrong { reason: String }
        "xattrs", Blocks, Loss("what is readable kept"),
        "extended attributes: {reason}";

    DirectoryBlock { file_block: u64, fault: String }
        "directory-block", Directory, Loss("emptied"),
        "block {file_block}: {fault}";
    DirectoryBlockChecksum { file_block: u64, fault: String }
        "directory-block-checksum", Directory, Consent("kept, each entry checked"),
        "block {file_block}: {fault}";
    EntryMalformed { file_block: u64, offset: usize }
        "entry-malformed", Directory, Loss("entries behind it kept if they make sense"),
        "block {file_block}: malformed entry at byte {offset}";
    NameWrong { name: String }
        "name", Directory, Consent("renamed or removed"),
        "`{name}` is not a name";
    NameTwice { name: String }
        "name-twice", Directory, Consent("second one removed"),
        "there are two entries `{name}`";
    EntryDangling { name: String, ino: u64 }
        "entry-dangling", Directory, Loss("removed"),
        "entry `{name}` names inode {ino}, which does not exist";
    EntryType { name: String, stored: u8, right: u8 }
        "entry-type", Directory, Safe("corrected"),
        "entry `{name}` has type {stored}, should be {right}";
    DirectoryTwice { name: String, ino: u64 }
        "directory-twice", Directory, Consent("removed"),
        "entry `{name}` is a second name of directory inode {ino}";
    EntryCount { stored: u32, counted: u32 }
        "entry-count", Directory, Safe("corrected"),
        "entry count is {stored}, should be {counted}";
    IndexWrong { reason: String }
        "index", Directory, Safe("rebuilt"),
        "index: {reason}";
    IndexNoRoom {}
        "index-no-room", Directory, Leave,
        "index is wrong, and there is no room for a new one";

    RootWrong { reason: String }
        "root", Links, Loss("made anew"),
        "cannot be the root directory: {reason}";
    Parent { stored: u64, right: u64 }
        "parent", Links, Safe("corrected"),
        "parent is inode {stored}, should be {right}";
    LinkCount { stored: u32, counted: u32 }
        "link-count", Links, Safe("corrected"),
        "link count is {stored}, should be {counted}";
    Unreachable { name: String }
        "unreachable", Links, Consent("put into /lost+found"),
        "has no name; it becomes `{name}`";
    UnreachableNoRoom {}
        "unreachable-no-room", Links, Leave,
        "has no name, and there is no room for one in /lost+found";
    DirectoryLoop {}
        "directory-loop", Links, Consent("taken out of it, put into /lost+found"),
        "is a directory that is in itself";
    OrphanBlock { fault: String }
        "orphan-block", Links, Consent("list ends there; what it named is put into /lost+found"),
        "{fault}";
    OrphanSlotWrong { slot: u64, reason: &'static str }
        "orphan-slot", Links, Safe("cleared"),
        "entry {slot:#x} {reason}";

    SummaryDamaged { address: u64, fault: String }
        "summary-damaged", Data, Safe("rebuilt from the inodes, without checksums"),
        "segment summary {address}: {fault}";
    SummaryDiffers { address: u64, ino: u64, generation: u32, file_block: u64 }
        "summary-differs", Data, Consent("decided by what else the summaries say"),
        "block {address} is in the file, but its segment's summary says block {file_block} of \
         inode {ino}, generation {generation}";
    DataChecksum { file_block: u64, stored: u32, computed: u32 }
        "data-checksum", Data, Leave,
        "file block {file_block}: checksum {stored:#010x} stored, {computed:#010x} computed";
    DataUnreadable { file_block: u64, error: String }
        "data-unreadable", Data, Leave,
        "file block {file_block} and those behind it: {error}";

    Unsettled { rounds: u32 }
        "unsettled", Links, Leave,
        "repairs have led to more repairs {rounds} times: run fsck.logfs again";
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
