//! Sizes and offsets of everything on disk, asserted when the crate is compiled.

use crate::dir::EntryHead;
use crate::log::{ItemHead, RecordHead};
use crate::tree::Branch;
use crate::xattr::{self, XattrHead};
use crate::{
    BLOCK_BYTES, BlockHeader, Checkpoint, Extent, HEADER_BYTES, INLINE_EXTENTS, INODE_BYTES, Inode,
    InodeBlockHead, InodeHead, OrphanBlock, SegmentEntry, SegmentHeader, SummaryEntry, Superblock,
    Timestamp,
};
use core::mem::offset_of;

macro_rules! size {
    ($($type:ty = $bytes:expr;)*) => { $(const _: () = assert!(size_of::<$type>() == $bytes);)* };
}

macro_rules! offsets {
    ($type:ty { $($field:ident = $offset:expr;)* }) => {
        $(const _: () = assert!(offset_of!($type, $field) == $offset);)*
    };
}

size! {
    BlockHeader = HEADER_BYTES;
    Superblock = 296;
    SegmentEntry = 16;
    SegmentHeader = 2176;
    SummaryEntry = 24;
    InodeBlockHead = INODE_BYTES;
    Inode = INODE_BYTES;
    Timestamp = 12;
    OrphanBlock = BLOCK_BYTES;
    Extent = 24;
    Branch = 16;
    EntryHead = 12;
    XattrHead = xattr::PAYLOAD_OFFSET;
    xattr::EntryHead = 8;
    Checkpoint = 96;
    RecordHead = 56;
    ItemHead = 12;
}

offsets!(BlockHeader {
    magic = 0; checksum = 4; kind = 8; level = 10; count = 12; uuid = 16; address = 32;
    owner = 40; owner_generation = 48; reserved = 52;
});

offsets!(Superblock {
    header = 0; signature = 64; version = 72; block_log2 = 76; compat = 80; ro_compat = 88;
    incompat = 96; label = 104; total_blocks = 168; table_start = 176; table_blocks = 184;
    log_start = 192; log_blocks = 200; log_granule_bytes = 208; segment_blocks = 212;
    segments_start = 216; segment_count = 224; root_ino = 232; orphans = 240;
    root_reserved_blocks = 248; backups = 256; created_seconds = 272; hash_key = 280;
});

offsets!(SegmentEntry { kind = 0; flags = 1; reserved = 2; live_blocks = 4; age = 8; });

offsets!(SegmentHeader { header = 0; segment = 64; kind = 72; live = 128; full = 1152; });

offsets!(SummaryEntry { ino = 0; checksum = 16; generation = 20; });

offsets!(InodeBlockHead { used = 64; });

offsets!(Inode { head = 0; inline = 120; });

offsets!(InodeHead {
    mode = 0; flags = 2; nlink = 4; uid = 8; gid = 12; rdev = 16; generation = 20;
    size_bytes = 24; blocks = 32; atime = 40; mtime = 52; ctime = 64; btime = 76; xattrs = 88;
    parent = 96; dir_index = 104; dir_entries = 112; extent_count = 116;
});

offsets!(OrphanBlock { next = 64; slots = 72; });

offsets!(Extent { file_block = 0; start = 8; len = 16; flags = 20; });

offsets!(Branch { key = 0; child = 8; });

offsets!(EntryHead { ino = 0; entry_bytes = 8; name_len = 10; dirent_type = 11; });

offsets!(Checkpoint { number = 64; tail_sequence = 72; tail_granule = 80; flags = 88; });

offsets!(RecordHead {
    magic = 0; checksum = 4; uuid = 8; sequence = 24; durable_sequence = 32; len_bytes = 40;
    items = 44; flags = 48;
});

offsets!(ItemHead { offset = 8; len = 10; });

const _: () = assert!(INLINE_EXTENTS == 5);
