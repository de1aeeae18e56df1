//! What logfs itself leaves behind: busy file systems whose power was cut. There is never anything
//! to repair.

use bento_api::{Errno, FallocateMode, RenameFlags, Result, SetXattr};
use bento_sim::{File, Rng, Sim, SimDisk, SimEnv};
use fsck_logfs::{Mode, Options, Report, Silent, check};
use logfs::LogFs;
use logfs_format::BLOCK_BYTES;
use mkfs_logfs::{Plan, Sector};

const SIZE_BYTES: u64 = 24 << 20;

/// Runs; more with the environment variable.
const RUNS: u64 = 12;

/// Changes between two looks.
const STEPS: u64 = 400;

/// Power cuts looked at after each run.
const CUTS: u64 = 12;

type Mounted = Sim<LogFs<SimEnv>>;

fn formatted() -> SimDisk {
    let disk = SimDisk::new(SIZE_BYTES);
    let blocks = SIZE_BYTES / BLOCK_BYTES as u64;
    let plan = Plan::new(blocks, Sector::new(512), &mkfs_logfs::Options::default()).unwrap();
    mkfs_logfs::format(&disk, &plan).unwrap();
    disk
}

fn run_check(disk: &SimDisk, write: bool, force: bool) -> Report {
    let env = SimEnv::new(disk.clone(), 1);
    let options = Options {
        force,
        mode: if write { Mode::Repair } else { Mode::Check },
        check_data: force,
        superblock: None,
    };
    check(&env, &options, &mut Silent).unwrap()
}

fn expect_clean(disk: &SimDisk, what: &str) {
    let report = run_check(disk, false, true);
    assert!(report.is_clean(), "{what}: {:#?}", report.findings);
}

/// A user who does this and that.
struct User {
    rng: Rng,
    /// Files that stay open, some after their last name has gone.
    open: Vec<File>,
}

impl User {
    fn path(&mut self) -> Vec<u8> {
        let dir = ["", "/a", "/b", "/a/c"][self.rng.below(4) as usize];
        format!("{dir}/{}", self.rng.below(40)).into_bytes()
    }

    /// Does one thing. That something is in the way, or there is no space, is part of life.
    fn step(&mut self, sim: &Mounted) -> Result<()> {
        let path = self.path();
        let other = self.path();
        let offset = self.rng.below(300_000);
        let len_max = [100, 5_000, 200_000][self.rng.below(3) as usize];
        let len = self.rng.below(len_max) as usize;
        match self.rng.below(20) {
            0..4 => {
                let file = sim.create(&path, 0o644)?;
                let result = sim.write(&file, 0, &vec![1; len]);
                self.close(sim, file);
                result.map(drop)
            }
            4..8 => self.on_file(sim, &path, |sim, file| {
                sim.write(file, offset, &vec![2; len]).map(drop)
            }),
            8 => self.on_file(sim, &path, |sim, file| sim.truncate(file, offset)),
            9 => {
                let modes = [
                    FallocateMode::Allocate { keep_size: true },
                    FallocateMode::Allocate { keep_size: false },
                    FallocateMode::Punch,
                    FallocateMode::Zero { keep_size: true },
                ];
                let mode = modes[self.rng.below(4) as usize];
                self.on_file(sim, &path, |sim, file| {
                    sim.fallocate(file, mode, offset, 1 + len as u64)
                })
            }
            10 => self.on_file(sim, &path, |sim, file| sim.fsync(file)),
            11..14 => sim.unlink(&path),
            14 => sim.rename(&path, &other, RenameFlags::Replace),
            15 => sim.link(&path, &other),
            16 => sim.symlink(&vec![b'x'; 1 + len % 1000], &path),
            17 => {
                let name = format!("user.{}", self.rng.below(3));
                let value = vec![3; len % 10_000];
                sim.setxattr(&path, name.as_bytes(), Some(&value), SetXattr::Any)
            }
            18 => self.crowd(sim),
            _ => {
                sim.background();
                Ok(())
            }
        }
    }

    fn on_file(
        &mut self,
        sim: &Mounted,
        path: &[u8],
        act: impl FnOnce(&Mounted, &File) -> Result<()>,
    ) -> Result<()> {
        let file = sim.open(path)?;
        let result = act(sim, &file);
        self.close(sim, file);
        result
    }

    fn close(&mut self, sim: &Mounted, file: File) {
        if self.rng.below(10) > 0 {
            return sim.close(file);
        }
        self.open.push(file);
        if self.open.len() > 5 {
            let oldest = self.open.remove(0);
            sim.close(oldest);
        }
    }

    /// Many names in one directory, or their end.
    fn crowd(&mut self, sim: &Mounted) -> Result<()> {
        let dir = self.rng.below(2);
        let start = self.rng.below(400);
        for index in start..start + 100 {
            let name = format!("/crowd{dir}/a-rather-long-name-of-a-file-{index}").into_bytes();
            if self.rng.below(2) == 0 {
                let file = sim.create(&name, 0o600)?;
                sim.close(file);
            } else {
                sim.unlink(&name)?;
            }
        }
        Ok(())
    }

    fn work(&mut self, sim: &Mounted) {
        for _ in 0..STEPS {
            if let Err(errno) = self.step(sim) {
                let expected = [
                    Errno::ENOENT,
                    Errno::EEXIST,
                    Errno::ENOSPC,
                    Errno::ELOOP,
                    Errno::EISDIR,
                    Errno::E2BIG,
                ];
                assert!(expected.contains(&errno), "{errno}");
            }
        }
    }
}

fn runs() -> u64 {
    let runs = std::env::var("CRASH_RUNS").ok();
    runs.and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

#[test]
fn a_power_cut_leaves_nothing_to_repair() {
    for seed in 0..runs() {
        let sim = Mounted::mount(formatted(), seed).unwrap();
        for dir in ["/a", "/b", "/a/c", "/crowd0", "/crowd1"] {
            sim.mkdir(dir.as_bytes(), 0o755).unwrap();
        }
        let mut user = User {
            rng: Rng::new(seed),
            open: Vec::new(),
        };
        let skipped = seed % 3;
        (0..skipped).for_each(|_| user.work(&sim));
        sim.sync().unwrap();
        sim.disk().record();
        user.work(&sim);
        let recording = sim.disk().recording();
        for cut in 0..CUTS {
            let count = user.rng.below(recording.changes.len() as u64 + 1) as usize;
            let what = format!("run {seed}, cut {cut} after {count} changes");
            look_after(&SimDisk::from_image(recording.crash(count, cut)), &what);
        }
        user.open.drain(..).for_each(|file| sim.close(file));
        let disk = sim.unmount().unwrap();
        expect_clean(&disk, &format!("run {seed}, unmounted"));
    }
}

/// Checks a disk after a power cut: as it is, after its log was replayed, and after a mount.
fn look_after(disk: &SimDisk, what: &str) {
    expect_clean(disk, what);
    let replayed = disk.fork();
    let report = run_check(&replayed, true, false);
    assert!(report.is_clean(), "{what}");
    expect_clean(&replayed, &format!("{what}, replayed"));
    let mounted = Mounted::mount(disk.fork(), 1).unwrap();
    let disk = mounted.unmount().unwrap();
    let report = run_check(&disk, false, true);
    assert!(report.is_clean(), "{what}, mounted: {:#?}", report.findings);
    assert_eq!(report.counts.orphans, 0, "{what}: orphans are left");
}
