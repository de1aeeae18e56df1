//! A mounted file system that threads work on.

use crate::holes::{HOLEY_FILES, holey_contents, holey_path, is_kept};
use crate::{Promises, ScheduledLocks};
use bento_api::{FileSystem, Level, MountOptions, Result, SetXattr};
use bento_sim::{Image, Sim, SimDisk, SimEnv};
use logfs::{LogFs, recovery};
use logfs_format::Checkpoint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// logfs on locks that ask the scheduler.
pub type Mounted = Sim<LogFs<SimEnv<ScheduledLocks>>, ScheduledLocks>;

/// The smallest there is: its log is full soon.
const DISK_BYTES: u64 = 16 << 20;

/// The directories that a stage begins with.
pub(crate) const DIRS: [&str; 2] = ["/a", "/b"];

/// Two files that threads exchange again and again, and what is in them.
const PAIR: [(&str, &[u8]); 2] = [("/a/0pair", &[0x11; 6000]), ("/b/0pair", &[0x12; 100])];

/// A file whose attributes fill the log.
const FILLING: &[u8] = b"/a/0filling";

/// A file that fills the disk.
const BALLAST: &[u8] = b"/b/0ballast";

/// A power cut: what it leaves, and what had been promised before.
struct Cut {
    left: Image,
    promises: Promises,
}

/// See the module. Its own locks are never held where the scheduler may change threads.
pub struct Stage {
    sim: Mounted,
    promises: Mutex<Promises>,
    cuts: Mutex<Vec<Cut>>,
    fillings: AtomicU64,
    /// Unless it is left with less, since it began full.
    blocks_free: Option<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    /// Mounts a small disk with two directories and a file in each.
    ///
    /// # Panics
    /// If that fails.
    pub fn set(seed: u64) -> Stage {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        let mut stage = Stage::set_on(IMAGE.get_or_init(|| prepare(false)), seed);
        let statfs = stage.sim.fs().statfs().expect("statfs");
        stage.blocks_free = Some(statfs.blocks_free);
        stage
    }

    /// Mounts the same, full.
    ///
    /// # Panics
    /// If that fails.
    pub fn set_full(seed: u64) -> Stage {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        Stage::set_on(IMAGE.get_or_init(|| prepare(true)), seed)
    }

    fn set_on(image: &Image, seed: u64) -> Stage {
        let disk = SimDisk::from_image(image.clone());
        let sim = Sim::mount_with(disk, seed, &MountOptions::default());
        Stage {
            sim: sim.expect("a clean file system mounts"),
            promises: Mutex::default(),
            cuts: Mutex::default(),
            fillings: AtomicU64::new(0),
            blocks_free: None,
        }
    }

    /// Mounts the same, its segments full of holes: there is something to clean.
    ///
    /// # Panics
    /// If that fails, or if there is not.
    pub fn set_holey(seed: u64) -> Stage {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        let stage = Stage::set_on(IMAGE.get_or_init(prepare_holey), seed);
        assert!(stage.sim.clean(), "there is nothing to clean");
        stage
    }

    /// The mounted file system.
    pub fn sim(&self) -> &Mounted {
        &self.sim
    }

    /// What is promised now.
    pub fn promises(&self) -> MutexGuard<'_, Promises> {
        lock(&self.promises)
    }

    /// Notes what a power cut now would leave; what is on stays on.
    pub fn cut_power(&self, seed: u64) {
        let left = self.sim.disk().crash_image(seed);
        let promises = self.promises().clone();
        lock(&self.cuts).push(Cut { left, promises });
    }

    /// Makes the log fuller by a few percent of it.
    pub fn fill_log(&self) -> Result<()> {
        let stamp = self.fillings.fetch_add(1, Ordering::Relaxed) as u8;
        let value = [stamp; 60_000];
        self.sim
            .write_file(FILLING, b"")
            .and_then(|()| {
                self.sim
                    .setxattr(FILLING, b"user.filling", Some(&value), SetXattr::Any)
            })
            .and_then(|()| self.sim.sync())
    }

    /// Swaps the two files that are there for this.
    pub fn exchange(&self) -> Result<()> {
        let [(first, _), (second, _)] = PAIR;
        let flags = bento_api::RenameFlags::Exchange;
        self.sim.rename(first.as_bytes(), second.as_bytes(), flags)
    }

    /// Whether the device is as a clean unmount leaves it.
    ///
    /// # Panics
    /// If it can't be read.
    pub fn is_clean(&self) -> bool {
        let env = SimEnv::new(self.sim.disk().fork(), 0);
        let checkpoint = recovery::read_superblock(&env)
            .and_then(|superblock| recovery::read_checkpoint(&env, &superblock));
        checkpoint.expect("it can be read").flags.get() & Checkpoint::CLEAN != 0
    }

    /// Unmounts, or cuts the power, and checks what is left, and what each power cut meanwhile left.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn leave(self, seed: u64) {
        for (level, line) in self.sim.env().logged() {
            assert!(level > Level::Warning, "{line}");
        }
        self.leave_whatever_was_logged(seed);
    }

    /// Like [`leave`](Stage::leave), where warnings and errors are expected.
    ///
    /// # Panics
    /// As there.
    pub fn leave_whatever_was_logged(self, seed: u64) {
        self.cut_power(seed);
        let blocks_free = self.blocks_free;
        let promises = self.promises().clone();
        for cut in lock(&self.cuts).drain(..) {
            check_disk(SimDisk::from_image(cut.left), &cut.promises, None);
        }
        self.sim.disk().heal();
        let is_shut = self.sim.fs().statfs().is_err();
        let disk = self.sim.unmount().expect("it unmounts");
        if !is_shut {
            check_disk(disk, &promises, blocks_free);
        }
    }
}

fn prepare(fill: bool) -> Image {
    let disk = SimDisk::new(DISK_BYTES);
    let plan = mkfs_logfs::Plan::new(
        DISK_BYTES / 4096,
        mkfs_logfs::Sector::new(512),
        &mkfs_logfs::Options::default(),
    );
    let plan = plan.expect("a size that can be formatted");
    mkfs_logfs::format(&disk, &plan).expect("the disk works");
    let sim: Sim<LogFs<SimEnv>> = Sim::mount(disk, 1).expect("a fresh file system mounts");
    for dir in DIRS {
        sim.mkdir(dir.as_bytes(), 0o755)
            .expect("a directory can be made");
    }
    for (path, contents) in PAIR {
        let written = sim.write_file(path.as_bytes(), contents);
        written.expect("a file can be written");
    }
    if fill {
        let file = sim.create(BALLAST, 0o644).expect("a file can be made");
        let mut size = 0;
        while let Ok(count @ 1..) = sim.write(&file, size, &[0x13; 65_536]) {
            size += count as u64;
        }
        sim.close(file);
    }
    sim.unmount().expect("it unmounts").image()
}

/// With files of [`holes`](crate::holes), and holes between them.
fn prepare_holey() -> Image {
    let image = prepare(false);
    let sim: Sim<LogFs<SimEnv>> =
        Sim::mount(SimDisk::from_image(image), 1).expect("a clean file system mounts");
    for index in 0..HOLEY_FILES {
        let written = sim.write_file(holey_path(index).as_bytes(), &holey_contents(index));
        written.expect("there is space");
    }
    for index in (0..HOLEY_FILES).filter(|&index| !is_kept(index)) {
        sim.unlink(holey_path(index).as_bytes())
            .expect("it is there");
    }
    sim.unmount().expect("it unmounts").image()
}

/// Mounts a disk with locks of its own, and checks what is on it: also after that mount. If everything
/// but what a stage begins with is deleted, `blocks_free` must be free.
fn check_disk(disk: SimDisk, promises: &Promises, blocks_free: Option<u64>) {
    let mut sim: Sim<LogFs<SimEnv>> = Sim::mount(disk, 1).expect("what is left mounts");
    promises.check(&sim);
    check_pair(&sim);
    sim.remount().expect("it unmounts and mounts");
    fsck(sim.disk());
    let Some(blocks_free) = blocks_free else {
        return;
    };
    for dir in DIRS {
        empty(&sim, dir);
    }
    sim.remount().expect("it unmounts and mounts");
    let now_free = sim.fs().statfs().expect("statfs").blocks_free;
    fsck(sim.disk());
    // Directories and the table of inodes keep the blocks that they have grown by.
    assert!(
        now_free + 8 >= blocks_free,
        "{now_free} blocks are free, at first {blocks_free}"
    );
}

fn check_pair(sim: &Sim<LogFs<SimEnv>>) {
    let mut found = PAIR.map(|(path, _)| sim.read_file(path.as_bytes()));
    if found[0].as_deref() != Ok(PAIR[0].1) {
        found.reverse();
    }
    let are_there = found
        .iter()
        .zip(PAIR)
        .all(|(found, (_, contents))| found.as_deref() == Ok(contents));
    assert!(are_there, "the exchanged files are not what they were");
}

fn empty(sim: &Sim<LogFs<SimEnv>>, dir: &str) {
    for entry in sim
        .readdir(dir.as_bytes())
        .expect("a directory can be listed")
    {
        let path = format!("{dir}/{}", String::from_utf8_lossy(&entry.name));
        if PAIR.iter().any(|(kept, _)| path == *kept) {
            continue;
        }
        let removed = match entry.kind {
            bento_api::FileKind::Directory => sim.rmdir(path.as_bytes()),
            _ => sim.unlink(path.as_bytes()),
        };
        removed.unwrap_or_else(|errno| panic!("{path} can't be deleted: {errno}"));
    }
}

fn fsck(disk: &SimDisk) {
    let options = fsck_logfs::Options {
        force: true,
        check_data: true,
        ..Default::default()
    };
    let env = SimEnv::new(disk.fork(), 0);
    let report = fsck_logfs::check(&env, &options, &mut fsck_logfs::Silent);
    let report = report.unwrap_or_else(|failure| panic!("fsck gives up: {failure}"));
    assert!(
        report.findings.is_empty(),
        "fsck finds {:#?}",
        report.findings
    );
}
