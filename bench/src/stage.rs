//! Where a workload plays: a fresh file system, and the clock and counters around each of its steps.

use crate::counters;
use crate::device::Device;
use crate::file_system::FileSystem;
use crate::program::{program, run};
use anyhow::{Context, Result};
use bench_sample::{Sample, Unit};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where file systems are mounted.
const MOUNT_POINT: &str = "/mnt";

/// How much a step did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// So many operations.
    Operations(usize),
    /// So many bytes.
    Bytes(u64),
    /// What only its time is told of.
    Job,
}

/// A file system that was just made, and what was measured on it.
pub(crate) struct Stage<'a> {
    device: &'a Device,
    file_system: FileSystem,
    scale_percent: u32,
    directory: PathBuf,
    is_mounted: bool,
    samples: Vec<Sample>,
}

impl<'a> Stage<'a> {
    /// Makes the file system and mounts it.
    pub(crate) fn open(
        device: &'a Device,
        file_system: FileSystem,
        scale_percent: u32,
    ) -> Result<Stage<'a>> {
        let mut stage = Stage {
            device,
            file_system,
            scale_percent,
            directory: MOUNT_POINT.into(),
            is_mounted: false,
            samples: Vec::new(),
        };
        file_system.make(device.path())?;
        stage.mount()?;
        Ok(stage)
    }

    /// Which file system it is.
    pub(crate) fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// The root of the file system; of `raw`, a directory that has nothing to do with the device.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// `count` at the scale of this run, but not less than `least`.
    pub(crate) fn scaled(&self, count: usize, least: usize) -> usize {
        (count * self.scale_percent as usize / 100).max(least)
    }

    /// Writes back everything and forgets what is cached, the file system's own memory as well. Files
    /// that are only in memory stay there.
    pub(crate) fn cold(&mut self) -> Result<()> {
        if !self.file_system.keeps_files() {
            return drop_caches();
        }
        self.unmount()?;
        drop_caches()?;
        self.mount()
    }

    /// Mounts it, if it is not.
    pub(crate) fn mount(&mut self) -> Result<()> {
        if !self.is_mounted {
            self.file_system
                .mount(self.device.path(), &self.directory)?;
            self.is_mounted = true;
        }
        Ok(())
    }

    /// Unmounts it, if it is mounted.
    pub(crate) fn unmount(&mut self) -> Result<()> {
        if self.is_mounted && self.file_system != FileSystem::Raw {
            run(&mut program("umount", [MOUNT_POINT]))?;
        }
        self.is_mounted = false;
        Ok(())
    }

    /// Times a step that changes the file system, until all of it is durable.
    pub(crate) fn write(
        &mut self,
        name: &str,
        amount: impl Into<String>,
        work: Work,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let is_raw = self.file_system == FileSystem::Raw;
        self.measure(name, amount.into(), work, |directory| {
            step(directory)?;
            if !is_raw {
                sync_file_system(directory)?;
            }
            Ok(())
        })
    }

    /// Times a step that reads, or that sees to durability itself.
    pub(crate) fn read(
        &mut self,
        name: &str,
        amount: impl Into<String>,
        work: Work,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.measure(name, amount.into(), work, step)
    }

    fn measure(
        &mut self,
        name: &str,
        amount: String,
        work: Work,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        // What an earlier step left to be written is not this one's.
        if self.is_mounted && self.file_system != FileSystem::Raw {
            sync_file_system(&self.directory)?;
        }
        let device_before = self.device.work()?;
        let cpu_before = counters::cpu_seconds()?;
        let started = Instant::now();
        step(&self.directory).with_context(|| name.to_owned())?;
        let seconds = started.elapsed().as_secs_f64();
        let (value, unit) = match work {
            Work::Operations(count) => (count as f64 / seconds, Unit::OperationsPerSecond),
            Work::Bytes(bytes) => (
                bytes as f64 / (1 << 20) as f64 / seconds,
                Unit::MebibytesPerSecond,
            ),
            Work::Job => (seconds, Unit::Seconds),
        };
        self.samples.push(Sample {
            row: name.to_owned(),
            amount,
            file_system: self.file_system.to_string(),
            run: 0,
            value,
            unit,
            seconds,
            cpu_seconds: counters::cpu_seconds()? - cpu_before,
            device: counters::difference(device_before, self.device.work()?),
        });
        Ok(())
    }

    /// Adds a figure that belongs to the last step: the same work, told in another unit.
    pub(crate) fn note(&mut self, name: &str, value: f64, unit: Unit) {
        if let Some(last) = self.samples.last() {
            let sample = Sample {
                row: name.to_owned(),
                value,
                unit,
                ..last.clone()
            };
            self.samples.push(sample);
        }
    }

    /// Tells the last step by another figure than its time.
    pub(crate) fn replace(&mut self, value: f64, unit: Unit) {
        if let Some(last) = self.samples.last_mut() {
            last.value = value;
            last.unit = unit;
        }
    }

    /// Says that a step has mounted it.
    pub(crate) fn mounted(&mut self) {
        self.is_mounted = true;
    }

    /// What the last step wrote to the device.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.samples
            .last()
            .map_or(0, |sample| sample.device.written_bytes)
    }

    /// Unmounts, and hands out what was measured.
    pub(crate) fn close(mut self) -> Result<Vec<Sample>> {
        self.unmount()?;
        Ok(self.samples)
    }
}

/// Makes all of a file system durable.
pub(crate) fn sync_file_system(directory: &Path) -> Result<()> {
    let directory = File::open(directory)?;
    rustix::fs::syncfs(&directory).context("syncfs")
}

/// Makes the kernel forget what it has cached of any file.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop caches; run it as root")
}
