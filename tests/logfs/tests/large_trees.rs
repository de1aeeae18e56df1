//! Extent trees of several levels: which block lies where, against a plain array.
#![forbid(unsafe_code)]

use bento_api::{Errno, FallocateMode, FileSystem, Ino, MappingKind, Written};
use bento_sim::{Operation, Rng};
use logfs_tests::{Mounted, check_structure, fresh, pinned_file};
use std::collections::BTreeSet;

const BLOCK: u64 = 4096;

/// Enough for more leaves than one inner node can have, if every second block is an extent.
const BLOCKS: u64 = 150_000;

/// Of data that nobody reads.
static CHECKSUMS: [u32; BLOCKS as usize] = [0x1234_5678; BLOCKS as usize];

/// A file, and where on the device each block of it is.
struct File {
    sim: Mounted,
    ino: Ino,
    addresses: Vec<Option<u64>>,
}

impl File {
    fn new() -> File {
        let sim = fresh(2 << 30);
        let ino = pinned_file(&sim, b"file");
        let addresses = vec![None; BLOCKS as usize];
        File {
            sim,
            ino,
            addresses,
        }
    }

    /// What the page cache does with blocks that a program has written; the data itself never gets
    /// to the disk.
    fn write(&mut self, first: u64, count: u64) {
        self.write_all([(first, count)]);
    }

    /// The same with several ranges, which do not overlap and whose I/O ends together.
    fn write_all(&mut self, ranges: impl IntoIterator<Item = (u64, u64)>) {
        let mut placed = Vec::new();
        for (first, count) in ranges {
            self.place(first * BLOCK, (first + count) * BLOCK, &mut placed);
        }
        let fs = self.sim.fs();
        fs.written(self.ino, &parts_of(&placed), None).unwrap();
        self.sim.background_if_due();
    }

    /// Gives a range addresses, and adds the offset and length in bytes of each part to `placed`.
    fn place(&mut self, mut at: u64, end: u64, placed: &mut Vec<(u64, u64)>) {
        let fs = self.sim.fs();
        while at < end {
            let reserved = fs.reserve(self.ino, at, end - at).unwrap();
            let end = end.min(at + reserved.len_bytes);
            let mapping = fs.place(self.ino, at, end - at).unwrap();
            let MappingKind::Mapped { address_bytes } = mapping.kind else {
                panic!("{mapping:?}")
            };
            let len_bytes = mapping.len_bytes.min(end - at);
            for index in 0..len_bytes / BLOCK {
                let address = address_bytes + index * BLOCK;
                self.addresses[(at / BLOCK + index) as usize] = Some(address);
            }
            placed.push((at, len_bytes));
            at += len_bytes;
        }
    }

    fn punch(&mut self, first: u64, count: u64) {
        let (offset, len) = (first * BLOCK, count * BLOCK);
        let fs = self.sim.fs();
        fs.fallocate(self.ino, FallocateMode::Punch, offset, len)
            .unwrap();
        self.addresses[first as usize..(first + count) as usize].fill(None);
        self.sim.background_if_due();
    }

    /// Compares all of it.
    fn verify(&self) {
        let (mut at, end) = (0, BLOCKS * BLOCK);
        while at < end {
            let mapping = self.sim.fs().map(self.ino, at, end - at, false).unwrap();
            let len_bytes = mapping.len_bytes.min(end - at);
            for index in 0..len_bytes / BLOCK {
                let found = match mapping.kind {
                    MappingKind::Mapped { address_bytes } => Some(address_bytes + index * BLOCK),
                    _ => None,
                };
                let block = at / BLOCK + index;
                assert_eq!(found, self.addresses[block as usize], "block {block}");
            }
            at += len_bytes;
        }
    }

    /// Ends, and checks what is on the disk then.
    fn finish(self) {
        self.verify();
        self.sim.fs().forget(self.ino);
        check_structure(&self.sim.unmount().unwrap());
    }
}

/// What was placed, now that its I/O has ended.
fn parts_of(placed: &[(u64, u64)]) -> Vec<Written<'static>> {
    placed
        .iter()
        .map(|&(offset_bytes, len_bytes)| Written {
            offset_bytes,
            len_bytes,
            result: Ok(()),
            size_bytes: offset_bytes + len_bytes,
            checksums: &CHECKSUMS[..(len_bytes / BLOCK) as usize],
        })
        .collect()
}

/// A file of so many extents that its tree has three levels.
fn file_of_three_levels() -> File {
    let mut file = File::new();
    for block in (0..BLOCKS).step_by(2) {
        file.write(block, 1);
    }
    file
}

#[test]
fn holes_and_writes_of_all_sizes() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let mut file = file_of_three_levels();
        for _ in 0..8 {
            for _ in 0..40 {
                let magnitude = rng.below(15);
                let count = 1 + rng.below(1 << magnitude);
                let first = rng.below(BLOCKS - count);
                match rng.below(2) {
                    0 => file.punch(first, count),
                    _ => file.write(first, count),
                }
                // Many extents again, so that leaves split where others have gone.
                for _ in 0..60 {
                    let blocks = (0..rng.below(16)).map(|_| first + rng.below(count));
                    let blocks = BTreeSet::from_iter(blocks);
                    file.write_all(blocks.into_iter().map(|block| (block, 1)));
                }
            }
            file.verify();
        }
        file.finish();
    }
}

#[test]
fn what_was_below_the_first_branch_goes_and_comes_again() {
    // An inner node has about 84,000 blocks.
    for (first, count) in [(0, 90_000), (80_000, 60_000), (1, BLOCKS - 2)] {
        let mut file = file_of_three_levels();
        file.punch(first, count);
        for block in (first..first + count).step_by(3) {
            file.write(block, 1);
        }
        file.verify();
        for block in (first..first + count).rev().step_by(2) {
            file.write(block, 1);
        }
        file.finish();
    }
}

#[test]
fn a_leaf_that_cannot_be_read_fails_only_what_lies_there() {
    let mut file = File::new();
    for block in (0..4000).step_by(2) {
        file.write(block, 1);
    }
    // Each lies in a leaf of its own.
    let blocks = [0, 2000, 3998];
    // Everything is home then, and can be dropped from memory.
    file.sim.fs().freeze().unwrap();
    file.sim.fs().thaw();
    let before = file.addresses.clone();
    let free_blocks = file.sim.fs().statfs().unwrap().blocks_free;
    let mut placed = Vec::new();
    for block in blocks {
        file.place(block * BLOCK, (block + 1) * BLOCK, &mut placed);
    }
    while file.sim.fs().shrink(usize::MAX) > 0 {}
    // Brings all back to memory but the leaf in the middle.
    file.write(2, 1);
    file.write(3996, 1);
    let fs = file.sim.fs();
    file.sim.disk().fail(Operation::Read, 0, true);
    let written = fs.written(file.ino, &parts_of(&placed), None);
    assert_eq!(written, Err(Errno::EIO));
    file.sim.disk().heal();
    file.addresses[2000] = before[2000];
    fs.freeze().unwrap();
    fs.thaw();
    assert_eq!(fs.statfs().unwrap().blocks_free, free_blocks);
    file.finish();
}
