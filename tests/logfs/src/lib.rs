//! logfs on the simulator.
#![forbid(unsafe_code)]

pub mod damage;
pub mod hostile;

use bento_api::{FileSystem, Ino, NewInode};
use bento_sim::{Sim, SimDisk, SimEnv};
use logfs::LogFs;

/// logfs, mounted on a simulated disk.
pub type Mounted = Sim<LogFs<SimEnv>>;

/// A freshly formatted disk.
///
/// # Panics
/// If formatting fails: there is nothing to test then.
pub fn formatted(size_bytes: u64) -> SimDisk {
    formatted_with(size_bytes, &mkfs_logfs::Options::default())
}

/// A freshly formatted disk, with options.
///
/// # Panics
/// If formatting fails: there is nothing to test then.
pub fn formatted_with(size_bytes: u64, options: &mkfs_logfs::Options) -> SimDisk {
    let disk = SimDisk::new(size_bytes);
    let sector = mkfs_logfs::Sector::new(512);
    let plan = mkfs_logfs::Plan::new(size_bytes / 4096, sector, options)
        .expect("a size that can be formatted");
    mkfs_logfs::format(&disk, &plan).expect("the disk works");
    disk
}

/// A fresh file system.
///
/// # Panics
/// If it can't be mounted.
pub fn fresh(size_bytes: u64) -> Mounted {
    Sim::mount(formatted(size_bytes), 1).expect("a fresh file system mounts")
}

/// Makes an empty file in the root directory, and pins it.
///
/// # Panics
/// If that fails.
pub fn pinned_file(sim: &Mounted, name: &[u8]) -> Ino {
    let new = NewInode {
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: b"",
        xattrs: &[],
    };
    let root = sim.fs().root();
    sim.fs().load(root).expect("the root is there");
    let made = sim.fs().create(root, name, &new).expect("there is room");
    sim.fs().forget(root);
    made.inode.ino
}

/// Checks everything on a disk, file data included, as `fsck.logfs -fn` does.
///
/// # Panics
/// If anything is wrong.
pub fn check(disk: &SimDisk) {
    check_with(disk, true);
}

/// Checks everything but what files hold, as `fsck.logfs -fn` does without `--check-data`.
///
/// # Panics
/// If anything is wrong.
pub fn check_structure(disk: &SimDisk) {
    check_with(disk, false);
}

fn check_with(disk: &SimDisk, check_data: bool) {
    let env = SimEnv::new(disk.fork(), 0);
    let options = fsck_logfs::Options {
        force: true,
        check_data,
        ..Default::default()
    };
    let report = fsck_logfs::check(&env, &options, &mut fsck_logfs::Silent)
        .unwrap_or_else(|failure| panic!("fsck gives up: {failure}"));
    assert!(
        report.findings.is_empty(),
        "fsck finds {:#?}",
        report.findings
    );
}
