//! Superblocks and their copies.

use crate::harness::{Case, Damaged, NOTHING_LOST, run};
use logfs_format::{BLOCK_BYTES, SUPERBLOCK_ADDRESS, Superblock, block};

fn edit(damaged: &mut Damaged, address: u64, change: fn(&mut Superblock)) {
    damaged.edit(address, |data| change(block::view_mut(data, 0).unwrap()));
}

fn all(damaged: &mut Damaged, change: fn(&mut Superblock)) {
    let [one, other] = damaged.layout().backups;
    for address in [SUPERBLOCK_ADDRESS, one, other] {
        edit(damaged, address, change);
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "the superblock has a wrong checksum",
        damage: |d| d.spoil(SUPERBLOCK_ADDRESS),
        finds: &["superblock-damaged"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the superblock is all zeros",
        damage: |d| d.write(SUPERBLOCK_ADDRESS, &[0; BLOCK_BYTES]),
        finds: &["superblock-erased"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the superblock and its copy in front are gone",
        damage: |d| {
            d.write(SUPERBLOCK_ADDRESS, &[0; BLOCK_BYTES]);
            d.wipe(d.layout().backups[0]);
        },
        finds: &["superblock-copy-damaged", "superblock-erased"],
        ..NOTHING_LOST
    },
    Case {
        name: "the superblock and its copy at the end are gone",
        damage: |d| {
            d.write(SUPERBLOCK_ADDRESS, &[0; BLOCK_BYTES]);
            d.wipe(d.layout().backups[1]);
        },
        finds: &["superblock-copy-damaged", "superblock-erased"],
        ..NOTHING_LOST
    },
    Case {
        name: "both copies are gone",
        damage: |d| {
            d.layout()
                .backups
                .iter()
                .for_each(|&address| d.wipe(address))
        },
        finds: &["superblock-copy-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "a copy differs",
        damage: |d| edit(d, d.layout().backups[1], |sb| sb.label[0] ^= 0x20),
        finds: &["superblock-copy-differs"],
        ..NOTHING_LOST
    },
    Case {
        name: "the superblock has another size than its copies",
        damage: |d| edit(d, SUPERBLOCK_ADDRESS, |sb| sb.segment_count = 3.into()),
        finds: &["superblock-damaged"],
        ..NOTHING_LOST
    },
    Case {
        name: "the root's number is wrong in all superblocks",
        damage: |d| all(d, |sb| sb.root_ino = 16.into()),
        finds: &["root"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the root's number is that of a file in all superblocks",
        damage: |d| {
            let ino = d.ino("/file");
            let [one, other] = d.layout().backups;
            for address in [SUPERBLOCK_ADDRESS, one, other] {
                d.edit(address, |data| {
                    let superblock: &mut Superblock = block::view_mut(data, 0).unwrap();
                    superblock.root_ino = ino.into();
                });
            }
        },
        finds: &["root"],
        ..NOTHING_LOST
    },
    Case {
        name: "the place of the orphan list is wrong in all superblocks",
        damage: |d| all(d, |sb| sb.orphans = u64::MAX.into()),
        finds: &["blocks-marked", "orphan-block"],
        every_cut: true,
        ..NOTHING_LOST
    },
    Case {
        name: "the hash key is another in all superblocks",
        damage: |d| all(d, |sb| sb.hash_key[0] = 99.into()),
        finds: &["index"],
        ..NOTHING_LOST
    },
];

#[test]
fn superblocks() {
    run(CASES);
}
