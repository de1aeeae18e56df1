//! File systems to work on.

use crate::{BLOCK, write_blocks};
use anyhow::{Context, Result};
use bento_api::{FileSystem, Ino, NewInode};
use bento_sim::{Sim, SimDisk, SimEnv};
use logfs::LogFs;
use mkfs_logfs::{Options, Plan, Sector};

/// Large enough that nothing is short of space unless it is meant to be.
const DISK_BYTES: u64 = 2 << 30;

/// A disk that is nearly full of files with holes.
const SMALL_DISK_BYTES: u64 = 128 << 20;

/// A mounted file system with a directory to work in.
pub(crate) struct Stage {
    sim: Sim<LogFs<SimEnv>>,
    dir: Ino,
}

/// The name of a file.
pub(crate) fn file_name(number: u64) -> Vec<u8> {
    format!("a-file-{number:013}").into_bytes()
}

impl Stage {
    fn new(disk_bytes: u64) -> Result<Stage> {
        let disk = SimDisk::new(disk_bytes);
        disk.forget();
        let plan = Plan::new(disk_bytes / BLOCK, Sector::new(512), &Options::default())
            .context("cannot plan a file system")?;
        mkfs_logfs::format(&disk, &plan).context("cannot format a disk")?;
        let sim: Sim<LogFs<SimEnv>> = Sim::mount(disk, 1)?;
        sim.mkdir(b"/dir", 0o755)?;
        let root = sim.fs().load(sim.fs().root())?.ino;
        let dir = sim.fs().lookup(root, b"dir")?;
        sim.fs().load(dir)?;
        Ok(Stage { sim, dir })
    }

    /// With files of these names, empty, in the directory.
    pub(crate) fn with_names(count: u64) -> Result<Stage> {
        let stage = Stage::new(DISK_BYTES)?;
        for number in 0..count {
            let ino = stage.create(&file_name(number))?;
            stage.fs().forget(ino);
            stage.background();
        }
        Ok(stage)
    }

    /// With a file of so many blocks.
    pub(crate) fn with_file(blocks: u64) -> Result<(Stage, Ino)> {
        let stage = Stage::new(DISK_BYTES)?;
        let ino = stage.create(b"file")?;
        stage.fill(ino, 0..blocks)?;
        Ok((stage, ino))
    }

    /// With a file whose every second block is a hole.
    pub(crate) fn with_extents(count: u64) -> Result<(Stage, Ino)> {
        let stage = Stage::new(DISK_BYTES)?;
        let ino = stage.create(b"file")?;
        stage.fill(ino, (0..count).map(|index| index * 2))?;
        Ok((stage, ino))
    }

    /// With a disk on which what is free are holes of a block, and an empty file.
    pub(crate) fn with_holes() -> Result<(Stage, Ino)> {
        let stage = Stage::new(SMALL_DISK_BYTES)?;
        let [kept, freed, file] = [b"kept", b"free", b"file"].map(|name| stage.create(name));
        let (kept, freed) = (kept?, freed?);
        let blocks = SMALL_DISK_BYTES / BLOCK * 3 / 8;
        for index in 0..blocks {
            stage.fill(kept, index..index + 1)?;
            stage.fill(freed, index * 2..index * 2 + 1)?;
        }
        // No segment stays clean, for such are taken first.
        let rest = stage.create(b"rest")?;
        let mut end_bytes = 0;
        while write_blocks(&stage, rest, [end_bytes]).is_ok() {
            stage.background();
            end_bytes += BLOCK;
        }
        stage.fs().unlink(stage.dir, b"free")?;
        stage.fs().forget(freed);
        stage.fs().sync(true)?;
        Ok((stage, file?))
    }

    fn fill(&self, ino: Ino, blocks: impl Iterator<Item = u64>) -> Result<()> {
        for block in blocks {
            write_blocks(self, ino, [block * BLOCK])?;
            self.background();
        }
        Ok(())
    }

    pub(crate) fn fs(&self) -> &LogFs<SimEnv> {
        self.sim.fs()
    }

    pub(crate) fn dir(&self) -> Ino {
        self.dir
    }

    /// Makes an empty file, which stays pinned.
    pub(crate) fn create(&self, name: &[u8]) -> Result<Ino> {
        let new = NewInode {
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: &[],
            xattrs: &[],
        };
        Ok(self.fs().create(self.dir, name, &new)?.inode.ino)
    }

    /// Lets the file system do in the background what it has asked for.
    pub(crate) fn background(&self) {
        self.sim.background_if_due();
    }
}
