//! Checkpoint blocks and log: the file system was in use when its power was cut.

use crate::harness::try_fsck;
use crate::healthy::{Mounted, formatted, pattern, walk};
use bento_sim::{Image, SimDisk};
use fsck_logfs::Mode;
use logfs_format::log::{CHECKPOINT_BLOCKS, RECORD_MAGIC, RecordHead};
use logfs_format::{BLOCK_BYTES, Checkpoint, Superblock, block};
use std::collections::BTreeMap;

/// Files that were written and fsynced, one transaction each.
const FILES: u64 = 12;

/// A case: what is done to the log, what is found, and how many of the files are there afterwards.
pub(crate) struct Case {
    name: &'static str,
    damage: fn(&mut Crashed),
    pub(crate) finds: &'static [&'static str],
    files: u64,
    /// Checkpoints have brought the files home, and the log has been used on.
    has_gone_on: bool,
}

/// A file system whose log holds all of its files.
struct Crashed {
    image: Image,
    superblock: Superblock,
}

/// The number of the checkpoint in a block; 0 if it is not valid.
fn checkpoint_number(image: &Image, superblock: &Superblock, address: u64) -> u64 {
    let mut data = vec![0; BLOCK_BYTES];
    image.read(address * BLOCK_BYTES as u64, &mut data);
    let checkpoint = Checkpoint::parse(&data, &superblock.header.uuid, address);
    checkpoint.map_or(0, |checkpoint| checkpoint.number.get())
}

/// Fills the log until it has gone so far that the older checkpoint does not tell what it holds.
fn churn(sim: &Mounted, superblock: &Superblock) {
    loop {
        for _ in 0..20 {
            sim.write_file(b"/churn", &pattern(1, 5000)).unwrap();
            sim.fsync_path(b"/churn").unwrap();
            sim.unlink(b"/churn").unwrap();
            sim.sync().unwrap();
        }
        let mut crashed = Crashed {
            image: sim.disk().crash_image(1),
            superblock: *superblock,
        };
        crashed.wipe(crashed.newer_checkpoint());
        let disk = SimDisk::from_image(crashed.image);
        let report = try_fsck(&disk, Mode::Check).unwrap();
        if report.totals.contains_key("checkpoint-lost") {
            return;
        }
    }
}

impl Crashed {
    fn new(has_gone_on: bool) -> Crashed {
        let (disk, superblock) = formatted();
        let sim = Mounted::mount(disk, 1).unwrap();
        for index in 0..FILES {
            let path = format!("/file-{index}");
            sim.write_file(path.as_bytes(), &pattern(index, 5000))
                .unwrap();
            sim.fsync_path(path.as_bytes()).unwrap();
        }
        if has_gone_on {
            churn(&sim, &superblock);
        }
        Crashed {
            image: sim.disk().crash_image(1),
            superblock,
        }
    }

    fn checkpoints(&self) -> [u64; 2] {
        let start = self.superblock.log_start.get();
        [start, start + 1]
    }

    fn newer_checkpoint(&self) -> u64 {
        let number = |address: &u64| checkpoint_number(&self.image, &self.superblock, *address);
        self.checkpoints().into_iter().max_by_key(number).unwrap()
    }

    fn wipe(&mut self, address: u64) {
        let offset_bytes = address * BLOCK_BYTES as u64;
        self.image.write(offset_bytes, &[0xa5; BLOCK_BYTES]);
    }

    /// Where records start in bytes, by their numbers.
    fn records(&self) -> BTreeMap<u64, u64> {
        let start = self.superblock.log_start.get() + CHECKPOINT_BLOCKS;
        let end = self.superblock.log_start.get() + self.superblock.log_blocks.get();
        let places = start * BLOCK_BYTES as u64..end * BLOCK_BYTES as u64;
        let mut records = BTreeMap::new();
        for at in places.step_by(512) {
            let mut sector = [0; 512];
            self.image.read(at, &mut sector);
            let head: &RecordHead = block::view(&sector, 0).unwrap();
            if head.magic.get() == RECORD_MAGIC {
                records.insert(head.sequence.get(), at);
            }
        }
        records
    }

    /// Spoils the record that is this many before the last one.
    fn spoil_record(&mut self, from_end: usize) {
        let records = self.records();
        let (_, at) = records.iter().rev().nth(from_end).unwrap();
        self.image.write(at + 100, &[0x77; 8]);
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "both checkpoint blocks are gone",
        damage: |c| c.checkpoints().iter().for_each(|&address| c.wipe(address)),
        finds: &["checkpoints-damaged"],
        files: FILES,
        has_gone_on: false,
    },
    Case {
        name: "both checkpoint blocks and the oldest record are gone",
        damage: |c| {
            c.checkpoints().iter().for_each(|&address| c.wipe(address));
            c.spoil_record(c.records().len() - 1);
        },
        finds: &["checkpoints-damaged"],
        files: 0,
        has_gone_on: false,
    },
    Case {
        name: "a checkpoint names a tail outside of the log",
        damage: |c| {
            for address in c.checkpoints() {
                let mut data = vec![0; BLOCK_BYTES];
                let offset_bytes = address * BLOCK_BYTES as u64;
                c.image.read(offset_bytes, &mut data);
                if data.iter().any(|&byte| byte != 0) {
                    let checkpoint: &mut Checkpoint = block::view_mut(&mut data, 0).unwrap();
                    checkpoint.tail_granule = u64::MAX.into();
                    block::seal(&mut data);
                    c.image.write(offset_bytes, &data);
                }
            }
        },
        finds: &["log-unusable"],
        files: FILES,
        has_gone_on: false,
    },
    Case {
        name: "a record in the middle is damaged",
        damage: |c| c.spoil_record(5),
        finds: &["log-broken"],
        files: FILES - 6,
        has_gone_on: false,
    },
    Case {
        name: "the first record is damaged",
        damage: |c| c.spoil_record(c.records().len() - 1),
        finds: &["log-broken"],
        files: 0,
        has_gone_on: false,
    },
    Case {
        name: "the newer checkpoint block is gone, and the log has gone on",
        damage: |c| {
            let newer = c.newer_checkpoint();
            c.wipe(newer);
        },
        finds: &["checkpoint-lost"],
        files: FILES,
        has_gone_on: true,
    },
];

#[test]
fn logs() {
    let mut failed = Vec::new();
    for case in CASES {
        if std::panic::catch_unwind(|| run_one(case)).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

fn run_one(case: &Case) {
    let mut crashed = Crashed::new(case.has_gone_on);
    (case.damage)(&mut crashed);
    let name = case.name;
    let disk = SimDisk::from_image(crashed.image);
    let before = disk.image();
    let report = try_fsck(&disk, Mode::Check).unwrap();
    assert!(disk.image() == before, "{name}: a check has written");
    let found: Vec<&str> = report.totals.keys().copied().collect();
    assert_eq!(found, case.finds, "{name}: {:#?}", report.findings);
    let preened = try_fsck(&disk, Mode::Preen).unwrap();
    assert!(!preened.written && disk.image() == before, "{name}: preen");
    disk.record();
    let report = try_fsck(&disk, Mode::Repair).unwrap();
    assert_eq!(report.exit_code(), 1, "{name}: {:#?}", report.findings);
    let recording = disk.recording();
    judge(name, &disk, case.files);
    for cut in 0..recording.changes.len() {
        let disk = SimDisk::from_image(recording.crash(cut, cut as u64));
        let what = format!("{name}, power cut after {cut}");
        let again = try_fsck(&disk, Mode::Repair).unwrap();
        assert!(again.exit_code() <= 1, "{what}: {:#?}", again.findings);
        judge(&what, &disk, case.files);
    }
}

/// A second run finds nothing, and just the first files are there.
fn judge(what: &str, disk: &SimDisk, files: u64) {
    let second = try_fsck(disk, Mode::Check).unwrap();
    assert_eq!(second.exit_code(), 0, "{what}: {:#?}", second.findings);
    let sim = Mounted::mount(disk.clone(), 2).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut manifest = BTreeMap::new();
    walk(&sim, "", &mut manifest, &mut BTreeMap::new());
    assert_eq!(
        manifest.len() as u64,
        files,
        "{what}: {:?}",
        manifest.keys()
    );
    for index in 0..files {
        let there = &manifest[&format!("/file-{index}")];
        assert!(
            there.content == pattern(index, 5000),
            "{what}: file {index}"
        );
    }
    sim.write_file(b"/more", b"more").unwrap();
    let disk = sim.unmount().unwrap();
    let last = try_fsck(&disk, Mode::Check).unwrap();
    assert_eq!(last.exit_code(), 0, "{what}, used: {:#?}", last.findings);
}
