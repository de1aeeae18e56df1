//! The rules that every case keeps.

use crate::healthy::{Healthy, Manifest, Mounted, healthy, walk};
use bento_sim::{Image, Rng, SimDisk, SimEnv};
use fsck_logfs::{Failure, Mode, Options, Report, Silent, check};
use logfs_format::dir::entries;
use logfs_format::{
    BLOCK_BYTES, Extent, InoAddress, Inode, Layout, SegmentEntry, SegmentHeader, SegmentKind,
    Superblock, block,
};
use std::collections::{BTreeMap, BTreeSet};

/// Power cuts tried in the repair of each case; all of them with the environment variable
/// `CORPUS_CUTS=all`.
const CUTS: u64 = 2;

/// A way to spoil the healthy file system.
pub(crate) struct Case {
    /// What it is called when it fails.
    pub(crate) name: &'static str,
    /// Spoils it.
    pub(crate) damage: fn(&mut Damaged),
    /// What the first run finds, each kind once.
    pub(crate) finds: &'static [&'static str],
    /// Paths that are gone afterwards, with all below them.
    pub(crate) lost: &'static [&'static str],
    /// Paths that have become others, with all below them.
    pub(crate) moved: &'static [(&'static str, &'static str)],
    /// Paths that are there, but not as they were.
    pub(crate) changed: &'static [&'static str],
    /// Every power cut of the repair is tried.
    pub(crate) every_cut: bool,
}

/// What a case doesn't say: nothing is lost.
pub(crate) const NOTHING_LOST: Case = Case {
    name: "",
    damage: |_| (),
    finds: &[],
    lost: &[],
    moved: &[],
    changed: &[],
    every_cut: false,
};

/// The file system that is spoilt.
pub(crate) struct Damaged {
    pub(crate) image: Image,
    healthy: &'static Healthy,
}

impl Damaged {
    /// An image with what the healthy file system has in its places.
    pub(crate) fn new(image: Image) -> Damaged {
        Damaged {
            image,
            healthy: healthy(),
        }
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.healthy.superblock
    }

    pub(crate) fn layout(&self) -> Layout {
        self.superblock().layout()
    }

    pub(crate) fn ino(&self, path: &str) -> u64 {
        self.healthy.inos[path]
    }

    pub(crate) fn read(&self, address: u64) -> Vec<u8> {
        let mut data = vec![0; BLOCK_BYTES];
        self.image.read(address * BLOCK_BYTES as u64, &mut data);
        data
    }

    pub(crate) fn write(&mut self, address: u64, data: &[u8]) {
        self.image.write(address * BLOCK_BYTES as u64, data);
    }

    /// Changes a metadata block and gives it a right checksum.
    pub(crate) fn edit(&mut self, address: u64, change: impl FnOnce(&mut [u8])) {
        let mut data = self.read(address);
        change(&mut data);
        block::seal(&mut data);
        self.write(address, &data);
    }

    /// Makes a block's checksum wrong, its header and most of its contents right.
    pub(crate) fn spoil(&mut self, address: u64) {
        let mut data = self.read(address);
        data[4095] ^= 0xff;
        self.write(address, &data);
    }

    /// Leaves nothing of a block.
    pub(crate) fn wipe(&mut self, address: u64) {
        self.write(address, &[0xa5; BLOCK_BYTES]);
    }

    pub(crate) fn inode(&self, path: &str) -> Inode {
        let place = InoAddress::from_ino(self.ino(path)).unwrap();
        *block::view(&self.read(place.block), place.offset()).unwrap()
    }

    pub(crate) fn edit_inode(&mut self, path: &str, change: impl FnOnce(&mut Inode)) {
        let place = InoAddress::from_ino(self.ino(path)).unwrap();
        self.edit(place.block, |data| {
            change(block::view_mut(data, place.offset()).unwrap());
        });
    }

    /// The block that an inode is in.
    pub(crate) fn inode_block(&self, path: &str) -> u64 {
        InoAddress::from_ino(self.ino(path)).unwrap().block
    }

    /// The first extent of a file that has them in its inode.
    pub(crate) fn extent(&self, path: &str) -> Extent {
        *block::view(&self.inode(path).inline, 0).unwrap()
    }

    pub(crate) fn edit_extent(&mut self, path: &str, change: impl FnOnce(&mut Extent)) {
        self.edit_inode(path, |inode| {
            change(block::view_mut(&mut inode.inline, 0).unwrap());
        });
    }

    /// The root of an extent tree.
    pub(crate) fn tree_root(&self, path: &str) -> u64 {
        u64::from_le_bytes(self.inode(path).inline[..8].try_into().unwrap())
    }

    /// Where an entry stands: the block, and the offset in it. Directories with extents in their
    /// inode only.
    pub(crate) fn entry(&self, dir: &str, name: &str) -> (u64, usize) {
        let inode = self.inode(dir);
        let count = usize::from(inode.extent_count.get());
        let extents: &[Extent] = block::array(&inode.inline, 0, count).unwrap();
        for extent in extents {
            for address in (extent.start.get()..).take(extent.len.get() as usize) {
                let data = self.read(address);
                let found = entries(&data)
                    .map(Result::unwrap)
                    .find(|entry| entry.name == name.as_bytes());
                if let Some(entry) = found {
                    return (address, entry.offset);
                }
            }
        }
        panic!("no `{name}` in {dir}");
    }

    pub(crate) fn edit_entry_of(&mut self, segment: u64, change: impl FnOnce(&mut SegmentEntry)) {
        let (address, offset) = self.layout().table_entry(segment);
        self.edit(address, |data| {
            change(block::view_mut(data, offset).unwrap());
        });
    }

    pub(crate) fn edit_header_of(&mut self, segment: u64, change: impl FnOnce(&mut SegmentHeader)) {
        let address = self.layout().segment_start(segment);
        self.edit(address, |data| change(block::view_mut(data, 0).unwrap()));
    }

    /// The first segment of a kind.
    pub(crate) fn segment(&self, kind: SegmentKind) -> u64 {
        let is_it = |segment: &u64| {
            let (address, offset) = self.layout().table_entry(*segment);
            let data = self.read(address);
            let entry: &SegmentEntry = block::view(&data, offset).unwrap();
            entry.kind == kind as u8
        };
        (0..self.layout().segment_count).find(is_it).unwrap()
    }
}

/// Runs cases; all of them, so that one run tells of all that fail.
pub(crate) fn run(cases: &[Case]) {
    let mut failed = Vec::new();
    for case in cases {
        let result = std::panic::catch_unwind(|| run_one(case));
        if result.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

fn run_one(case: &Case) {
    let name = case.name;
    let mut damaged = Damaged::new(healthy().image.clone());
    (case.damage)(&mut damaged);
    let image = damaged.image;

    let disk = SimDisk::from_image(image.clone());
    let report = fsck(&disk, Mode::Check);
    assert!(disk.image() == image, "{name}: a check has written");
    assert_eq!(report.exit_code(), 4, "{name}: check");
    let found: BTreeSet<&str> = report.totals.keys().copied().collect();
    let finds: BTreeSet<&str> = case.finds.iter().copied().collect();
    let text = texts(&report);
    assert_eq!(found, finds, "{name}: {text:#?}");

    let disk = SimDisk::from_image(image.clone());
    let preened = fsck(&disk, Mode::Preen);
    assert_eq!(preened.written, !preened.needs_consent(), "{name}: preen");
    assert!(preened.written || disk.image() == image, "{name}: preen");

    let disk = SimDisk::from_image(image);
    disk.record();
    let report = fsck(&disk, Mode::Repair);
    assert_eq!(
        report.exit_code(),
        1,
        "{name}: repair {:#?}",
        texts(&report)
    );
    let recording = disk.recording();
    let expected = expected(case);
    judge(name, &disk, &expected, case);

    let count = recording.changes.len() as u64;
    let all = case.every_cut || std::env::var("CORPUS_CUTS").is_ok_and(|cuts| cuts == "all");
    let mut rng = Rng::new(count);
    let cuts: Vec<u64> = match all {
        true => (0..count).collect(),
        false => (0..CUTS).map(|_| rng.below(count)).collect(),
    };
    for cut in cuts {
        let left = recording.crash(cut as usize, rng.next_u64());
        let disk = SimDisk::from_image(left);
        let what = format!("{name}, power cut after {cut} of {count}");
        let again = fsck(&disk, Mode::Repair);
        assert!(again.exit_code() <= 1, "{what}: {:#?}", texts(&again));
        judge(&what, &disk, &expected, case);
    }
}

fn texts(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

pub(crate) fn try_fsck(disk: &SimDisk, mode: Mode) -> Result<Report, Failure> {
    let options = Options {
        force: true,
        mode,
        check_data: true,
        superblock: None,
    };
    check(&SimEnv::new(disk.clone(), 1), &options, &mut Silent)
}

fn fsck(disk: &SimDisk, mode: Mode) -> Report {
    try_fsck(disk, mode).unwrap()
}

/// What is to be there after the repair.
fn expected(case: &Case) -> Manifest {
    let below = |path: &str, top: &str| {
        path == top
            || path
                .strip_prefix(top)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let mut expected = Manifest::new();
    for (path, thing) in &healthy().manifest {
        if case.lost.iter().any(|lost| below(path, lost)) {
            continue;
        }
        let moved = case.moved.iter().find(|(from, _)| below(path, from));
        let path = match moved {
            Some((from, to)) => format!("{to}{}", &path[from.len()..]),
            None => path.clone(),
        };
        expected.insert(path, thing.clone());
    }
    expected
}

/// A second run finds nothing and what is to be there is. After a repair without a power cut the file
/// system is also used.
fn judge(what: &str, disk: &SimDisk, expected: &Manifest, case: &Case) {
    let second = fsck(disk, Mode::Check);
    assert_eq!(
        second.exit_code(),
        0,
        "{what}, second run: {:#?}",
        texts(&second)
    );
    let sim = Mounted::mount(disk.clone(), 2).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = Manifest::new();
    walk(&sim, "", &mut found, &mut BTreeMap::new());
    let lost_found = "/lost+found";
    let had = expected.contains_key(lost_found);
    found.retain(|path, _| path != lost_found || had);
    let names: Vec<&String> = found.keys().collect();
    let wanted: Vec<&String> = expected.keys().collect();
    if names != wanted {
        let (names, wanted): (BTreeSet<_>, BTreeSet<_>) =
            (names.into_iter().collect(), wanted.into_iter().collect());
        panic!(
            "{what}: missing {:?}, unexpected {:?}",
            wanted.difference(&names).collect::<Vec<_>>(),
            names.difference(&wanted).collect::<Vec<_>>()
        );
    }
    for (path, thing) in expected {
        if !case.changed.contains(&path.as_str()) {
            let same = found[path] == *thing;
            assert!(
                same,
                "{what}: {path} is not what it was: {:?}",
                differences(&found[path], thing)
            );
        }
    }
    if what != case.name {
        return;
    }
    use_it(&sim);
    let disk = sim.unmount().unwrap();
    let last = fsck(&disk, Mode::Check);
    assert_eq!(last.exit_code(), 0, "{what}, used: {:#?}", texts(&last));
}

fn differences(found: &crate::healthy::Thing, wanted: &crate::healthy::Thing) -> String {
    let first = found
        .content
        .iter()
        .zip(&wanted.content)
        .position(|(one, other)| one != other);
    format!(
        "mode {:o}/{:o}, {}/{} bytes, first difference at {first:?}, {}/{} attributes",
        found.mode,
        wanted.mode,
        found.content.len(),
        wanted.content.len(),
        found.xattrs.len(),
        wanted.xattrs.len()
    )
}

fn use_it(sim: &Mounted) {
    sim.mkdir(b"/new", 0o755).unwrap();
    for index in 0..40 {
        let path = format!("/new/{index}");
        sim.write_file(path.as_bytes(), &vec![index as u8; 9000])
            .unwrap();
    }
    sim.rename(b"/new/3", b"/new-name", bento_api::RenameFlags::Replace)
        .unwrap();
    sim.unlink(b"/new/4").unwrap();
    let names: Vec<_> = sim.readdir(b"/").unwrap();
    assert!(names.iter().any(|entry| entry.name == b"new-name"));
    sim.sync().unwrap();
}
