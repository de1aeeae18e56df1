//! The segment table, segment headers and marks.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::{BlockHeader, SegmentKind, block};

fn header_of(d: &Damaged, kind: SegmentKind) -> u64 {
    d.layout().segment_start(d.segment(kind))
}

fn set_kind(d: &mut Damaged, kind: SegmentKind, to: u8) {
    let segment = d.segment(kind);
    d.edit_entry_of(segment, |entry| entry.kind = to);
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the segment table has a wrong checksum",
        damage: |d| d.spoil(d.layout().table_start),
        finds: &["inode-count", "table-damaged"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the segment table is gone",
        damage: |d| d.wipe(d.layout().table_start),
        finds: &["inode-count", "table-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "segment table and all headers but those of inodes are gone",
        damage: |d| {
            let (metadata, data) = (
                header_of(d, SegmentKind::Metadata),
                header_of(d, SegmentKind::Data),
            );
            d.wipe(metadata);
            d.wipe(data);
            d.wipe(d.layout().table_start);
        },
        finds: &[
            "inode-count",
            "live-count",
            "segment-header-damaged",
            "table-damaged",
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "segment table and the header of the inode segment are gone",
        damage: |d| {
            let inodes = header_of(d, SegmentKind::Inodes);
            d.wipe(inodes);
            d.wipe(d.layout().table_start);
        },
        finds: &[
            "inode-count",
            "inode-segment-header-damaged",
            "live-count",
            "table-damaged",
        ],
        ..NOTHING_LOST
    },
    Case {
        name: "the segment table says how many entries it has, wrongly",
        damage: |d| {
            d.edit(d.layout().table_start, |data| {
                let header: &mut BlockHeader = block::view_mut(data, 0).unwrap();
                header.count = 1.into();
            });
        },
        finds: &["table-field"],
        ..NOTHING_LOST
    },
    Case {
        name: "reserved fields of an entry are set",
        damage: |d| d.edit_entry_of(3, |entry| entry.flags = 1),
        finds: &["table-field"],
        ..NOTHING_LOST
    },
    Case {
        name: "the kind of a data segment is none in the table",
        damage: |d| set_kind(d, SegmentKind::Data, 77),
        finds: &["segment-kind"],
        ..NOTHING_LOST
    },
    Case {
        name: "the kind of the inode segment is none in the table",
        damage: |d| set_kind(d, SegmentKind::Inodes, 99),
        finds: &["segment-kind"],
        ..NOTHING_LOST
    },
    Case {
        name: "a metadata segment is one of data in the table",
        damage: |d| set_kind(d, SegmentKind::Metadata, 3),
        finds: &["segment-kind-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "an inode segment is one of metadata in its header",
        damage: |d| {
            let segment = d.segment(SegmentKind::Inodes);
            d.edit_header_of(segment, |header| header.kind = 1);
        },
        finds: &["segment-kind-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "a data segment is free in the table",
        damage: |d| set_kind(d, SegmentKind::Data, 0),
        finds: &["segment-free-but-used"],
        ..NOTHING_LOST
    },
    Case {
        name: "a data segment is free in the table, and its header gone",
        damage: |d| {
            let header = header_of(d, SegmentKind::Data);
            set_kind(d, SegmentKind::Data, 0);
            d.wipe(header);
        },
        finds: &["blocks-not-marked", "segment-free-and-unknown"],
        ..NOTHING_LOST
    },
    Case {
        name: "the inode segment is free in the table",
        damage: |d| set_kind(d, SegmentKind::Inodes, 0),
        finds: &["inode-segment-hidden"],
        ..NOTHING_LOST
    },
    Case {
        name: "the inode segment is one of metadata in table and header",
        damage: |d| {
            let segment = d.segment(SegmentKind::Inodes);
            set_kind(d, SegmentKind::Inodes, 1);
            d.edit_header_of(segment, |header| header.kind = 1);
        },
        finds: &["full-marks", "inode-segment-hidden"],
        ..NOTHING_LOST
    },
    Case {
        name: "the header of a data segment has a wrong checksum",
        damage: |d| d.spoil(header_of(d, SegmentKind::Data)),
        finds: &["segment-header-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "the header of a metadata segment is gone",
        damage: |d| d.wipe(header_of(d, SegmentKind::Metadata)),
        finds: &["segment-header-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "the header of the inode segment is gone",
        damage: |d| d.wipe(header_of(d, SegmentKind::Inodes)),
        finds: &["inode-segment-header-damaged"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "a header has the number of another segment",
        damage: |d| {
            let segment = d.segment(SegmentKind::Data);
            d.edit_header_of(segment, |header| header.segment = 5.into());
        },
        finds: &["segment-header-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "an inode block is not marked",
        damage: |d| {
            let (segment, index) = d.layout().segment_of(d.inode_block("/file")).unwrap();
            d.edit_header_of(segment, |header| {
                header.live[index as usize / 8] &= !(1 << (index % 8));
            });
        },
        finds: &["full-marks", "inode-block-not-marked", "inode-count"],
        ..NOTHING_LOST
    },
    Case {
        name: "blocks are marked that nobody uses",
        damage: |d| {
            let segment = d.segment(SegmentKind::Metadata);
            d.edit_header_of(segment, |header| header.live[20] = 0xff);
        },
        finds: &["blocks-marked"],
        ..NOTHING_LOST
    },
    Case {
        name: "no block of a data segment is marked",
        damage: |d| {
            let segment = d.segment(SegmentKind::Data);
            d.edit_header_of(segment, |header| header.live.fill(0));
        },
        finds: &["blocks-not-marked"],
        ..NOTHING_LOST
    },
    Case {
        name: "no block of a metadata segment is marked",
        damage: |d| {
            let segment = d.segment(SegmentKind::Metadata);
            d.edit_header_of(segment, |header| header.live.fill(0));
        },
        finds: &["blocks-not-marked"],
        ..NOTHING_LOST
    },
    Case {
        name: "a header marks itself, and blocks behind the segment",
        damage: |d| {
            let segment = d.segment(SegmentKind::Metadata);
            d.edit_header_of(segment, |header| {
                header.live[0] |= 1;
                header.live[1000] = 0xff;
            });
        },
        finds: &["head-marked"],
        ..NOTHING_LOST
    },
    Case {
        name: "full marks in a data segment",
        damage: |d| {
            let segment = d.segment(SegmentKind::Data);
            d.edit_header_of(segment, |header| header.full[3] = 3);
        },
        finds: &["full-marks"],
        ..NOTHING_LOST
    },
    Case {
        name: "full marks of inode blocks are wrong",
        damage: |d| {
            let segment = d.segment(SegmentKind::Inodes);
            d.edit_header_of(segment, |header| header.full[0] ^= 0x3e);
        },
        finds: &["full-marks"],
        ..NOTHING_LOST
    },
    Case {
        name: "live counts are wrong",
        damage: |d| {
            for kind in [
                SegmentKind::Data,
                SegmentKind::Metadata,
                SegmentKind::Inodes,
            ] {
                let segment = d.segment(kind);
                d.edit_entry_of(segment, |entry| entry.live_blocks = 7.into());
            }
        },
        finds: &["live-count"],
        ..NOTHING_LOST
    },
    Case {
        name: "the count of inodes is wrong",
        damage: |d| {
            let segment = d.segment(SegmentKind::Inodes);
            d.edit_entry_of(segment, |entry| entry.age = 3.into());
        },
        finds: &["inode-count"],
        ..NOTHING_LOST
    },
];

#[test]
fn space() {
    run(CASES);
}
