//! Damage that is left: nothing can be done about it, or not as long as the device is full. It is named
//! every time, and nothing becomes worse.

use crate::harness::{Damaged, try_fsck};
use crate::healthy::{Mounted, healthy};
use crate::links::forget;
use bento_sim::{Image, Operation, SimDisk};
use fsck_logfs::{Failure, Mode};
use logfs_format::{BlockHeader, BlockKind, SegmentHeader, SegmentKind, block, header_blocks};
use std::collections::BTreeSet;
use std::sync::OnceLock;

pub(crate) struct Case {
    name: &'static str,
    damage: fn(&mut Damaged),
    /// What a first run finds.
    pub(crate) finds: &'static [&'static str],
    /// What those after it find.
    leaves: &'static [&'static str],
}

/// The healthy file system with all space for data taken.
fn full() -> &'static Image {
    static FULL: OnceLock<Image> = OnceLock::new();
    FULL.get_or_init(|| {
        let sim = Mounted::mount(SimDisk::from_image(healthy().image.clone()), 1).unwrap();
        let file = sim.create(b"/fill", 0o644).unwrap();
        let mut at = 0;
        while sim.write(&file, at, &[1; 4096]).is_ok() {
            at += 4096;
        }
        sim.close(file);
        sim.unmount().unwrap().image()
    })
}

/// Marks all blocks that metadata could have.
fn take_all(d: &mut Damaged) {
    let layout = d.layout();
    let uuid = d.superblock().header.uuid;
    for segment in 0..layout.segment_count {
        let address = layout.segment_start(segment);
        let (table, offset) = layout.table_entry(segment);
        let kind = SegmentKind::from_byte(d.read(table)[offset]).unwrap();
        if kind == SegmentKind::Free {
            d.edit_entry_of(segment, |entry| entry.kind = SegmentKind::Metadata as u8);
            d.edit(address, |data| {
                data.fill(0);
                let header: &mut SegmentHeader = block::view_mut(data, 0).unwrap();
                header.header = BlockHeader::new(BlockKind::SegmentHeader, uuid, address);
                header.segment = segment.into();
                header.kind = SegmentKind::Metadata as u8;
            });
        }
        if matches!(kind, SegmentKind::Free | SegmentKind::Metadata) {
            let heads = header_blocks(SegmentKind::Metadata, layout.segment_blocks);
            d.edit_header_of(segment, |header| {
                for index in heads as usize..layout.segment_blocks as usize {
                    header.live[index / 8] |= 1 << (index % 8);
                }
            });
            d.edit_entry_of(segment, |entry| {
                entry.live_blocks = (layout.segment_blocks - heads).into();
            });
        }
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "file data with a wrong checksum",
        damage: |d| d.spoil(d.extent("/file").start.get() + 2),
        finds: &["data-checksum"],
        leaves: &["data-checksum"],
    },
    Case {
        name: "an index is gone, and there is no room for a new one",
        damage: |d| {
            take_all(d);
            d.wipe(d.inode("/dir").dir_index.get());
        },
        finds: &["block-count", "index-no-room"],
        leaves: &["index-no-room"],
    },
    Case {
        name: "an index and a segment's header are gone, and there is no room",
        damage: |d| {
            take_all(d);
            d.wipe(d.inode("/dir").dir_index.get());
            let data = d.segment(SegmentKind::Data);
            d.wipe(d.layout().segment_start(data));
        },
        finds: &["block-count", "index-no-room", "segment-header-lost"],
        leaves: &["index-no-room", "segment-header-lost"],
    },
    Case {
        name: "an index and a name are gone, and there is no room",
        damage: |d| {
            take_all(d);
            d.wipe(d.inode("/dir").dir_index.get());
            forget(d, "/a", "small-7");
        },
        finds: &["block-count", "index-no-room", "unreachable-no-room"],
        leaves: &["index-no-room", "unreachable-no-room"],
    },
    Case {
        name: "an extent tree is gone, and there is no room for a new one",
        damage: |d| {
            take_all(d);
            d.wipe(d.tree_root("/sieve"));
        },
        finds: &["mapping-no-room", "node-damaged"],
        leaves: &["mapping-no-room", "node-damaged"],
    },
];

#[test]
fn it_is_named_and_nothing_gets_worse() {
    for case in CASES {
        let mut damaged = Damaged::new(full().clone());
        (case.damage)(&mut damaged);
        let disk = SimDisk::from_image(damaged.image);
        let runs = [
            (Mode::Check, true),
            (Mode::Repair, true),
            (Mode::Repair, false),
        ];
        for (mode, is_first) in runs {
            let report = try_fsck(&disk, mode).unwrap();
            let found: BTreeSet<&str> = report.totals.keys().copied().collect();
            let expected = if is_first { case.finds } else { case.leaves };
            let expected: BTreeSet<&str> = expected.iter().copied().collect();
            assert_eq!(found, expected, "{}: {:#?}", case.name, report.findings);
            assert_eq!(report.exit_code() & 4, 4, "{}", case.name);
        }
    }
}

/// What one read that fails can make of a healthy file system.
pub(crate) const BY_A_FAILED_READ: &[&str] = &["data-unreadable"];

#[test]
fn a_read_that_fails_is_named() {
    let mut found = BTreeSet::new();
    let disk = SimDisk::from_image(healthy().image.clone());
    let before = disk.counts().reads;
    try_fsck(&disk, Mode::Check).unwrap();
    let reads = disk.counts().reads - before;
    for read in 0..reads {
        let disk = disk.fork();
        disk.fail(Operation::Read, read, false);
        match try_fsck(&disk, Mode::Check) {
            Ok(report) => found.extend(report.totals.keys().copied()),
            Err(Failure::Io { .. }) => {}
            Err(other) => panic!("read {read}: {other}"),
        }
    }
    for id in BY_A_FAILED_READ {
        assert!(found.contains(id), "{found:?}");
    }
}
