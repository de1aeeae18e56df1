//! A mounted file system in memory, used by path.

use crate::name_locks::NameLocks;
use crate::{HostLocks, Locks, SimDisk, SimEnv};
use bento_api::{Env, FileSystem, Ino, MountOptions, Result};
use bento_host::FileIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// A file system of type `FS` mounted on a [`SimDisk`], with locks of the family `L`.
///
/// Paths are bytes from the root; symbolic links are not followed. Everything is done as root.
/// Directories are locked as the kernel locks them, and pins are counted exactly: unmounting while
/// a [`File`](crate::File) is open panics.
pub struct Sim<FS: FileSystem<SimEnv<L>>, L: Locks = HostLocks> {
    disk: SimDisk,
    pub(crate) env: SimEnv<L>,
    pub(crate) fs: Arc<FS>,
    pub(crate) io: FileIo<SimEnv<L>, FS>,
    pub(crate) pins: Mutex<HashMap<Ino, u64>>,
    pub(crate) names: NameLocks<L>,
    read_only: bool,
    options: Vec<u8>,
    /// Tells files of this mount from those of one before.
    pub(crate) mount_number: u64,
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Sim<FS, L> {
    /// Mounts what is on `disk`; clock and randomness start from `seed`.
    pub fn mount(disk: SimDisk, seed: u64) -> Result<Self> {
        Self::mount_with(disk, seed, &MountOptions::default())
    }

    /// Mounts with options.
    pub fn mount_with(disk: SimDisk, seed: u64, options: &MountOptions<'_>) -> Result<Self> {
        Self::mount_in(disk.clone(), SimEnv::with_locks(disk, seed), options, 0)
    }

    fn mount_in(
        disk: SimDisk,
        env: SimEnv<L>,
        options: &MountOptions<'_>,
        mount_number: u64,
    ) -> Result<Self> {
        let fs = Arc::new(FS::mount(env.clone(), options)?);
        Ok(Sim {
            disk,
            io: FileIo::new(env.clone(), Arc::clone(&fs))?,
            env,
            fs,
            pins: Mutex::default(),
            names: NameLocks::new(),
            read_only: options.read_only,
            options: options.options.to_vec(),
            mount_number,
        })
    }

    /// Unmounts. Every file must have been closed.
    pub fn unmount(self) -> Result<SimDisk> {
        self.end()?;
        Ok(self.disk)
    }

    /// Unmounts and mounts again with the same options.
    pub fn remount(&mut self) -> Result<()> {
        self.end()?;
        self.start_on(self.disk.clone(), self.env.random())
    }

    /// Cuts the power and mounts what is left of the disk, see
    /// [`Recording::crash`](crate::Recording::crash). Open files are gone.
    pub fn crash(&mut self, seed: u64) -> Result<()> {
        let left = SimDisk::from_image(self.disk.crash_image(seed));
        self.start_on(left, seed)
    }

    fn end(&self) -> Result<()> {
        let pins = self.pins.lock().clone();
        assert!(pins.is_empty(), "still pinned at unmount: {pins:?}");
        self.fs.unmount()
    }

    fn start_on(&mut self, disk: SimDisk, seed: u64) -> Result<()> {
        let options = MountOptions {
            read_only: self.read_only,
            options: &self.options,
        };
        let env = SimEnv::with_locks(disk.clone(), seed);
        *self = Self::mount_in(disk, env, &options, self.mount_number + 1)?;
        Ok(())
    }

    /// The mounted file system.
    pub fn fs(&self) -> &FS {
        &self.fs
    }

    /// Its environment.
    pub fn env(&self) -> &SimEnv<L> {
        &self.env
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Does what the file system wants done in the background if it has asked for it.
    pub fn background_if_due(&self) {
        if self.env.take_background_due() {
            self.fs.background();
        }
    }

    /// Does what the file system wants done in the background. Calls that change something do it
    /// by themselves when it was asked for.
    pub fn background(&self) {
        self.env.take_background_due();
        self.fs.background();
    }

    /// One step of cleaning; whether there is more to do. Calls must not overlap.
    pub fn clean(&self) -> bool {
        self.io.clean() < u64::MAX
    }
}
