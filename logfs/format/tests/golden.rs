//! The format, byte by byte: each structure against bytes that are written out here.
//!
//! These bytes are on people's disks. A test that fails here means that the format has changed;
//! it is not to be made to pass by changing the bytes, but by a new feature bit or version.
#![forbid(unsafe_code)]

use bytemuck::{Pod, Zeroable, bytes_of};
use logfs_format::dir::{self, entries, hash_name, index_key};
use logfs_format::le::{Le16, Le32, Le64};
use logfs_format::log::{Item, ItemHead, RECORD_HEAD_BYTES, RecordHead, items};
use logfs_format::tree::Branch;
use logfs_format::xattr::{self, XattrHead};
use logfs_format::{
    BLOCK_BYTES, BlockHeader, BlockKind, Checkpoint, Extent, InoAddress, Inode, InodeBlockHead,
    InodeFlags, OrphanBlock, OrphanSlot, SegmentEntry, SegmentHeader, SegmentKind, SummaryEntry,
    Superblock, Timestamp, block,
};

const UUID: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// Bytes written as hexadecimal digits, with white space where it helps the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// A block that starts with these bytes and is zero behind them.
fn block_of(text: &str) -> Vec<u8> {
    let mut bytes = hex(text);
    bytes.resize(BLOCK_BYTES, 0);
    bytes
}

/// The structure that these bytes are, which must be the bytes that it is.
fn parsed<T: Pod>(bytes: &[u8]) -> T {
    let value: T = bytemuck::pod_read_unaligned(bytes);
    assert_eq!(bytes_of(&value), bytes);
    value
}

/// A header as each metadata block has it, its checksum zero.
const HEADER: &str = "
    4c674653                            magic
    00000000                            checksum
    0600                                kind
    0200                                level
    0f000000                            count
    00112233445566778899aabbccddeeff    uuid
    8877665544332211                    address
    0807060504030201                    owner
    78563412                            owner_generation
    000000000000000000000000            reserved";

/// The first words of all lines: what stands behind them names the field.
fn lines(text: &str) -> String {
    let words = text.lines().map(|line| {
        let mut words = line.split_whitespace();
        words.next().unwrap_or("").to_owned()
    });
    words.collect()
}

#[test]
fn block_header() {
    let header: BlockHeader = parsed(&hex(&lines(HEADER)));
    assert_eq!(header.magic.get(), u32::from_le_bytes(*b"LgFS"));
    assert_eq!(header.checksum.get(), 0);
    assert_eq!(header.kind.get(), BlockKind::Inodes as u16);
    assert_eq!(header.level.get(), 2);
    assert_eq!(header.count.get(), 15);
    assert_eq!(header.uuid, UUID);
    assert_eq!(header.address.get(), 0x1122_3344_5566_7788);
    assert_eq!(header.owner.get(), 0x0102_0304_0506_0708);
    assert_eq!(header.owner_generation.get(), 0x1234_5678);

    let mut built = BlockHeader::new(BlockKind::Inodes, UUID, 0x1122_3344_5566_7788)
        .owned(0x0102_0304_0506_0708, 0x1234_5678);
    built.level = 2.into();
    built.count = 15.into();
    assert_eq!(bytes_of(&built), hex(&lines(HEADER)));
}

#[test]
fn kinds_of_blocks() {
    let kinds = [
        (BlockKind::Superblock, 1),
        (BlockKind::Checkpoint, 2),
        (BlockKind::SegmentTable, 3),
        (BlockKind::SegmentHeader, 4),
        (BlockKind::Summary, 5),
        (BlockKind::Inodes, 6),
        (BlockKind::ExtentNode, 7),
        (BlockKind::Directory, 8),
        (BlockKind::DirIndex, 9),
        (BlockKind::Xattr, 10),
        (BlockKind::Orphans, 11),
    ];
    for (kind, number) in kinds {
        assert_eq!(kind as u16, number);
    }
}

#[test]
fn checksum_of_a_block() {
    // The CRC-32 of "123456789" is 0xcbf43926 (the check value of the algorithm).
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
    let mut image = block_of(&lines(HEADER));
    let plain = crc32fast::hash(&image);
    assert_eq!(block::checksum(&image), plain);
    block::seal(&mut image);
    assert_eq!(image[4..8], plain.to_le_bytes());
    assert_eq!(block::checksum(&image), plain);
}

#[test]
fn superblock() {
    let mut image = block_of(&lines(
        "
        4c674653                            magic
        00000000                            checksum
        0100                                kind
        0000                                level
        00000000                            count
        00112233445566778899aabbccddeeff    uuid
        0100000000000000                    address
        0000000000000000                    owner
        00000000                            owner_generation
        000000000000000000000000            reserved
        6c6f6766732d3031        signature
        01000000                version
        0c000000                block_log2
        0000000000000080        compat
        0000000000000000        ro_compat
        0000000000000000        incompat
        6c6162656c0000000000000000000000    label
        00000000000000000000000000000000
        00000000000000000000000000000000
        00000000000000000000000000000000
        0064000000000000        total_blocks
        0200000000000000        table_start
        0100000000000000        table_blocks
        0300000000000000        log_start
        2003000000000000        log_blocks
        00020000                log_granule_bytes
        00010000                segment_blocks
        2403000000000000        segments_start
        6000000000000000        segment_count
        5132000000000000        root_ino
        2504000000000000        orphans
        0700000000000000        root_reserved_blocks
        2303000000000000        backups
        ff63000000000000        backups
        00ca9a3b00000000        created_seconds
        efcdab8967452301        hash_key
        1032547698badcfe        hash_key",
    ));
    assert_eq!(&image[64..72], b"logfs-01");
    block::seal(&mut image);
    let sb = Superblock::parse(&image, 1).unwrap();
    assert_eq!(sb.header.uuid, UUID);
    assert_eq!(sb.version.get(), 1);
    assert_eq!(sb.compat.get(), 1 << 63);
    assert_eq!(sb.label(), b"label");
    let layout = sb.layout();
    assert_eq!(layout.total_blocks, 25600);
    assert_eq!((layout.table_start, layout.table_blocks), (2, 1));
    assert_eq!((layout.log_start, layout.log_blocks), (3, 800));
    assert_eq!(sb.log_granule_bytes.get(), 512);
    assert_eq!(layout.segment_blocks, 256);
    assert_eq!((layout.segments_start, layout.segment_count), (804, 96));
    assert_eq!(sb.root_ino.get(), 805 << 4 | 1);
    assert_eq!(sb.orphans.get(), 1061);
    assert_eq!(sb.root_reserved_blocks.get(), 7);
    assert_eq!(layout.backups, [803, 25599]);
    assert_eq!(sb.created_seconds.get(), 1_000_000_000);
    assert_eq!(sb.hash_key[0].get(), 0x0123_4567_89ab_cdef);
    assert_eq!(sb.hash_key[1].get(), 0xfedc_ba98_7654_3210);

    let mut written = vec![0xff; BLOCK_BYTES];
    sb.write_to(&mut written, 1);
    assert_eq!(written, image);
    sb.write_to(&mut written, 803);
    assert_eq!(written[32..40], 803u64.to_le_bytes());
    assert!(Superblock::parse(&written, 803).is_ok());
    assert!(Superblock::parse(&written, 1).is_err());
}

#[test]
fn segment_entry() {
    let bytes = hex("03 00 0000 04030201 0807060504030201");
    let entry: SegmentEntry = parsed(&bytes);
    assert_eq!(SegmentKind::from_byte(entry.kind), Some(SegmentKind::Data));
    assert_eq!(entry.live_blocks.get(), 0x0102_0304);
    assert_eq!(entry.age.get(), 0x0102_0304_0506_0708);
    let kinds = [
        SegmentKind::Free,
        SegmentKind::Metadata,
        SegmentKind::Inodes,
        SegmentKind::Data,
    ];
    for (byte, kind) in (0..).zip(kinds) {
        assert_eq!(kind as u8, byte);
        assert_eq!(SegmentKind::from_byte(byte), Some(kind));
    }
    assert_eq!(SegmentKind::from_byte(4), None);
}

#[test]
fn segment_header() {
    let mut image = block_of(&lines(HEADER));
    image[64..73].copy_from_slice(&hex("0500000000000000 02"));
    image[128] = 0x06;
    image[128 + 1023] = 0x80;
    image[1152] = 0x02;
    let header: &SegmentHeader = block::view(&image, 0).unwrap();
    assert_eq!(header.segment.get(), 5);
    assert_eq!(
        SegmentKind::from_byte(header.kind),
        Some(SegmentKind::Inodes)
    );
    // Blocks 1, 2 and 8191 live, block 1 is full.
    assert_eq!(
        (header.live[0], header.live[1023], header.full[0]),
        (6, 0x80, 2)
    );
    assert_eq!(SegmentHeader::LIVE_OFFSET, 128);
    assert_eq!(SegmentHeader::FULL_OFFSET, 1152);
}

#[test]
fn summary_entry() {
    let bytes = hex("0807060504030201 0900000000000080 efbeadde 03000000");
    let entry: SummaryEntry = parsed(&bytes);
    assert_eq!(entry.ino.get(), 0x0102_0304_0506_0708);
    assert_eq!(entry.file_block(), 9);
    assert_eq!(entry.checksum(), Some(0xdead_beef));
    assert_eq!(entry.generation.get(), 3);
    let built = SummaryEntry::new(0x0102_0304_0506_0708, 3, 9, Some(0xdead_beef));
    assert_eq!(bytes_of(&built), bytes);
    let unknown = SummaryEntry::new(1, 3, 9, None);
    let bytes = hex("0100000000000000 0900000000000000 00000000 03000000");
    assert_eq!(bytes_of(&unknown), bytes);
    assert_eq!(unknown.checksum(), None);
}

#[test]
fn inode() {
    let mut bytes = hex(&lines(
        "
        a481                        mode
        0200                        flags
        02000000                    nlink
        e8030000                    uid
        64000000                    gid
        00000000                    rdev
        07000000                    generation
        0100000001000000            size_bytes
        0900000000000000            blocks
        010000000000000001000000    atime
        ffffffffffffffffffc99a3b    mtime
        030000000000000003000000    ctime
        040000000000000004000000    btime
        1111000000000000            xattrs
        2222000000000000            parent
        3333000000000000            dir_index
        44440000                    dir_entries
        0500                        extent_count
        0000                        reserved",
    ));
    bytes.extend((0..128).map(|byte| byte as u8));
    bytes.extend([0; 8]);
    let inode: Inode = parsed(&bytes);
    assert_eq!(inode.mode.get(), 0o100644);
    assert_eq!(inode.flags.get(), InodeFlags::TREE);
    assert_eq!(inode.nlink.get(), 2);
    assert_eq!((inode.uid.get(), inode.gid.get()), (1000, 100));
    assert_eq!(inode.rdev.get(), 0);
    assert_eq!(inode.generation.get(), 7);
    assert_eq!(inode.size_bytes.get(), (1 << 32) + 1);
    assert_eq!(inode.blocks.get(), 9);
    assert_eq!(inode.atime.seconds.get(), 1);
    assert_eq!(inode.mtime.seconds.get(), -1);
    assert_eq!(inode.mtime.nanoseconds.get(), 999_999_999);
    assert_eq!(inode.ctime.nanoseconds.get(), 3);
    assert_eq!(inode.btime.seconds.get(), 4);
    assert_eq!(inode.xattrs.get(), 0x1111);
    assert_eq!(inode.parent.get(), 0x2222);
    assert_eq!(inode.dir_index.get(), 0x3333);
    assert_eq!(inode.dir_entries.get(), 0x4444);
    assert_eq!(inode.extent_count.get(), 5);
    assert_eq!(inode.inline[127], 127);
    assert_eq!(
        (InodeFlags::INLINE, InodeFlags::TREE, InodeFlags::KNOWN),
        (1, 2, 3)
    );
}

#[test]
fn inode_numbers() {
    let place = InoAddress {
        block: 0x1234,
        slot: 5,
    };
    assert_eq!(place.ino(), 0x12345);
    assert_eq!(place.offset(), 5 * 256);
    assert_eq!(InoAddress::from_ino(0x12345), Some(place));
    assert_eq!(InoAddress::from_ino(0x12340), None);
}

#[test]
fn inode_block_head() {
    let mut bytes = hex(&lines(HEADER));
    bytes.extend(hex("fe ff"));
    bytes.resize(256, 0);
    let head: InodeBlockHead = parsed(&bytes);
    assert_eq!(head.used.get(), InodeBlockHead::ALL_USED);
    assert_eq!(InodeBlockHead::USED_OFFSET, 64);
}

#[test]
fn timestamp() {
    let time: Timestamp = parsed(&hex("feffffffffffffff 00000000"));
    assert_eq!(time.seconds.get(), -2);
}

#[test]
fn orphan_block() {
    let mut image = block_of(&lines(HEADER));
    image[64..88].copy_from_slice(&hex("0900000000000000 1132000000000000 1232000000000080"));
    let list: &OrphanBlock = block::view(&image, 0).unwrap();
    assert_eq!(list.next.get(), 9);
    let slot = |index: usize| OrphanSlot::decode(list.slots[index].get());
    assert_eq!(slot(0), Some(OrphanSlot::Unlinked(0x3211)));
    assert_eq!(slot(1), Some(OrphanSlot::Truncating(0x3212)));
    assert_eq!(slot(2), None);
    assert_eq!(OrphanSlot::Unlinked(0x3211).encode(), 0x3211);
    assert_eq!(OrphanSlot::Truncating(0x3212).encode(), 1 << 63 | 0x3212);
    assert_eq!(list.slots.len(), 503);
    assert_eq!(OrphanBlock::slot_offset(1), 80);
}

#[test]
fn extent() {
    let bytes = hex("0807060504030201 1817161514131211 24232221 01000000");
    let extent: Extent = parsed(&bytes);
    assert_eq!(extent.file_block.get(), 0x0102_0304_0506_0708);
    assert_eq!(extent.start.get(), 0x1112_1314_1516_1718);
    assert_eq!(extent.len.get(), 0x2122_2324);
    assert!(extent.is_unwritten());
    assert_eq!((Extent::UNWRITTEN, Extent::SHARED), (1, 2));
    let built = Extent::new(1, 2, 3);
    let bytes = hex("0100000000000000 0200000000000000 03000000 00000000");
    assert_eq!(bytes_of(&built), bytes);
}

#[test]
fn tree_nodes() {
    let branch: Branch = parsed(&hex("0100000000000000 0200000000000000"));
    assert_eq!((branch.key.get(), branch.child.get()), (1, 2));
    assert_eq!(logfs_format::EXTENTS_PER_NODE, 168);
    assert_eq!(logfs_format::tree::BRANCHES_PER_NODE, 252);
    assert_eq!(dir::KEYS_PER_NODE, 504);
}

#[test]
fn directory_entries() {
    let mut image = block_of(&lines(HEADER));
    let used = hex("1132000000000000 1000 04 08 6e616d65");
    image[64..80].copy_from_slice(&used);
    // The rest of the block is free: 4096 - 80 = 4016 = 0xfb0 bytes.
    image[80..92].copy_from_slice(&hex("0000000000000000 b00f 00 00"));
    let found: Vec<_> = entries(&image).map(Result::unwrap).collect();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].ino, found[0].name), (0x3211, &b"name"[..]));
    assert_eq!((found[0].offset, found[0].entry_bytes), (64, 16));
    assert_eq!(found[0].dirent_type, 8);
    assert_eq!((found[1].ino, found[1].entry_bytes), (0, 4016));
    assert_eq!(dir::entry_bytes(4), 16);
    assert_eq!(dir::entry_bytes(5), 24);
    assert_eq!(dir::entry_bytes(255), 272);
}

#[test]
fn directory_hash() {
    let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
    // SipHash-2-4 of the empty message is 0x726fdb47dd0e0e31 (the paper's reference vectors).
    assert_eq!(hash_name(key, b""), 0x726f_db47 ^ 0xdd0e_0e31);
    assert_eq!(index_key(0x0102_0304, 0x0506_0708), 0x0102_0304_0506_0708);
}

#[test]
fn xattrs() {
    let mut image = block_of(&lines(HEADER));
    image[64..72].copy_from_slice(&hex("0a00000000000000"));
    let head: &XattrHead = block::view(&image, 0).unwrap();
    assert_eq!(head.next.get(), 10);
    assert_eq!(xattr::PAYLOAD_OFFSET, 72);
    let payload = hex("03000000 0600 0000 757365722e61 616263
         00000000 0600 0000 757365722e62");
    let found: Vec<_> = xattr::entries(&payload).map(Result::unwrap).collect();
    assert_eq!(
        (found[0].name, found[0].value),
        (&b"user.a"[..], &b"abc"[..])
    );
    assert_eq!((found[1].name, found[1].value), (&b"user.b"[..], &b""[..]));
    assert_eq!(found.len(), 2);
}

#[test]
fn checkpoint() {
    let mut image = block_of(
        "4c674653 00000000 0200 0000 00000000
         00112233445566778899aabbccddeeff
         0400000000000000 0000000000000000 00000000 000000000000000000000000
         0300000000000000 1100000000000000 2200000000000000 0300000000000000",
    );
    block::seal(&mut image);
    let found = Checkpoint::parse(&image, &UUID, 4).unwrap();
    assert_eq!(found.number.get(), 3);
    assert_eq!(found.tail_sequence.get(), 17);
    assert_eq!(found.tail_granule.get(), 34);
    assert_eq!(found.flags.get(), Checkpoint::CLEAN | Checkpoint::ERRORS);
    let mut written = vec![0xff; BLOCK_BYTES];
    found.write_to(&mut written, UUID, 4);
    assert_eq!(written, image);
}

#[test]
fn record_head() {
    let bytes = hex("4c675243 78563412 00112233445566778899aabbccddeeff
         0900000000000000 0700000000000000 60000000 02000000 01000000 00000000");
    assert_eq!(bytes.len(), RECORD_HEAD_BYTES);
    let head: RecordHead = parsed(&bytes);
    assert_eq!(head.magic.get(), u32::from_le_bytes(*b"LgRC"));
    assert_eq!(head.checksum.get(), 0x1234_5678);
    assert_eq!(head.uuid, UUID);
    assert_eq!((head.sequence.get(), head.durable_sequence.get()), (9, 7));
    assert_eq!((head.len_bytes.get(), head.items.get()), (0x60, 2));
    assert_eq!(head.flags.get(), RecordHead::DATA_DURABLE);
    assert_eq!(RecordHead::CHECKSUM_OFFSET, 4);
    assert!(head.check(&UUID, 9, 1 << 20));
}

#[test]
fn record_items() {
    let body = hex("0500000000000000 4000 0300 aabbcc
         0600000000000080 0000 0000
         0700000000000040 0000 0800 01000000 02000000");
    let found: Vec<_> = items(&body).map(Result::unwrap).collect();
    assert_eq!(
        found,
        [
            Item::Change {
                block: 5,
                zero_first: false,
                offset: 64,
                data: &[0xaa, 0xbb, 0xcc]
            },
            Item::Change {
                block: 6,
                zero_first: true,
                offset: 0,
                data: &[]
            },
            Item::Claim {
                block: 7,
                checksums: &[Le32::new(1), Le32::new(2)]
            },
        ]
    );
    assert_eq!(bytes_of(&ItemHead::new(5, 0, 64, 3)), &body[..12]);
    assert_eq!(
        bytes_of(&ItemHead::new(6, ItemHead::ZERO_FIRST, 0, 0)),
        &body[15..27]
    );
    assert_eq!(
        bytes_of(&ItemHead::new(7, ItemHead::CLAIM, 0, 8)),
        &body[27..39]
    );
}

#[test]
fn integers_are_little_endian() {
    assert_eq!(bytes_of(&Le16::new(0x0102)), [2, 1]);
    assert_eq!(bytes_of(&Le32::new(0x0102_0304)), [4, 3, 2, 1]);
    assert_eq!(
        bytes_of(&Le64::new(0x0102_0304_0506_0708)),
        [8, 7, 6, 5, 4, 3, 2, 1]
    );
    assert_eq!(Le64::zeroed().get(), 0);
}
