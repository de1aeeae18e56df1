//! File contents, sequential and random.

use crate::file_system::FileSystem;
use crate::input::Input;
use crate::memory::{ALIGNMENT_BYTES, aligned};
use crate::stage::{Stage, Work, drop_caches};
use crate::threads;
use anyhow::{Context, Result};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 1 << 20;

/// Of all files together.
const TOTAL_BYTES: usize = 512 << 20;

/// What random steps read or write, with small blocks.
const RANDOM_BYTES: usize = 64 << 20;

pub(super) fn buffered_1(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, false, 1)
}

pub(super) fn buffered_8(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, false, 8)
}

pub(super) fn direct_1(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, true, 1)
}

pub(super) fn direct_8(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, true, 8)
}

/// In which order blocks are visited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Sequential,
    Random,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// One step: which bytes are touched, and how.
#[derive(Clone, Copy)]
struct Access {
    name: &'static str,
    direction: Direction,
    order: Order,
    block_bytes: usize,
    /// Whether it works on files that the step makes, beside those that are there.
    on_new_files: bool,
}

const fn access(
    name: &'static str,
    direction: Direction,
    order: Order,
    block_bytes: usize,
) -> Access {
    Access {
        name,
        direction,
        order,
        block_bytes,
        on_new_files: false,
    }
}

const WRITE_NEW_SMALL: Access = Access {
    on_new_files: true,
    ..access("write-4k", Direction::Write, Order::Sequential, SMALL_BYTES)
};

const STEPS: &[Access] = &[
    access("write-1m", Direction::Write, Order::Sequential, LARGE_BYTES),
    access("read-1m", Direction::Read, Order::Sequential, LARGE_BYTES),
    access("read-4k", Direction::Read, Order::Sequential, SMALL_BYTES),
    access(
        "overwrite-1m",
        Direction::Write,
        Order::Sequential,
        LARGE_BYTES,
    ),
    access(
        "random-read-4k",
        Direction::Read,
        Order::Random,
        SMALL_BYTES,
    ),
    access(
        "random-read-1m",
        Direction::Read,
        Order::Random,
        LARGE_BYTES,
    ),
    access(
        "random-write-4k",
        Direction::Write,
        Order::Random,
        SMALL_BYTES,
    ),
    access(
        "random-write-1m",
        Direction::Write,
        Order::Random,
        LARGE_BYTES,
    ),
    access(
        "read-1m-after",
        Direction::Read,
        Order::Sequential,
        LARGE_BYTES,
    ),
    WRITE_NEW_SMALL,
];

/// Files of the same size, one for each thread; of `raw`, parts of the device.
struct Files {
    paths: Vec<(PathBuf, u64)>,
    file_bytes: usize,
    is_direct: bool,
}

/// The size of each file: whole blocks of any size that a step may use, since one step reads what another
/// has written.
fn file_bytes(total_bytes: usize, files: usize) -> usize {
    total_bytes / files / LARGE_BYTES * LARGE_BYTES
}

fn play(stage: &mut Stage<'_>, is_direct: bool, thread_count: usize) -> Result<()> {
    let total = stage.scaled(TOTAL_BYTES >> 20, 16) << 20;
    let is_raw = stage.file_system() == FileSystem::Raw;
    for step in STEPS {
        // The device has no room beside what the other steps use.
        if is_raw && step.on_new_files {
            continue;
        }
        if step.direction == Direction::Read {
            stage.cold()?;
        }
        let name = if step.on_new_files { "new" } else { "file" };
        let paths = (0..thread_count).map(|index| match is_raw {
            true => (
                stage.device().path().to_owned(),
                (index * file_bytes(total, thread_count)) as u64,
            ),
            false => (stage.directory().join(format!("{name}-{index}")), 0),
        });
        let files = Files {
            paths: paths.collect(),
            file_bytes: file_bytes(total, thread_count),
            is_direct,
        };
        let bytes = files.step_bytes(*step) * thread_count;
        let amount = format!("{} MiB", bytes >> 20);
        stage.read(step.name, amount, Work::Bytes(bytes as u64), |_| {
            threads::run(thread_count, |index| files.visit(index, *step))
        })?;
    }
    if is_raw {
        drop_caches()?;
    }
    Ok(())
}

impl Files {
    /// What a step touches of each file.
    fn step_bytes(&self, step: Access) -> usize {
        let share = self.file_bytes * RANDOM_BYTES / TOTAL_BYTES;
        match step.order {
            Order::Random if step.block_bytes == SMALL_BYTES => share.next_multiple_of(SMALL_BYTES),
            _ => self.file_bytes / step.block_bytes * step.block_bytes,
        }
    }

    fn visit(&self, index: usize, step: Access) -> Result<()> {
        let (path, offset_bytes) = &self.paths[index];
        let file = self.open(path, step.direction)?;
        let mut memory = vec![0; step.block_bytes + ALIGNMENT_BYTES];
        let buffer = aligned(&mut memory, step.block_bytes).context("memory is not aligned")?;
        let mut random = fastrand::Rng::with_seed(index as u64);
        random.fill(buffer);
        let mut blocks: Vec<_> = (0..self.file_bytes / step.block_bytes).collect();
        if step.order == Order::Random {
            random.shuffle(&mut blocks);
        }
        // No block twice: it would be in the cache.
        for block in blocks.iter().take(self.step_bytes(step) / step.block_bytes) {
            let place = offset_bytes + (block * step.block_bytes) as u64;
            match step.direction {
                Direction::Read => file.read_exact_at(buffer, place)?,
                Direction::Write => file.write_all_at(buffer, place)?,
            }
        }
        if step.direction == Direction::Write {
            file.sync_all()?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, direction: Direction) -> Result<File> {
        let is_write = direction == Direction::Write;
        let flags = if self.is_direct {
            OFlags::DIRECT
        } else {
            OFlags::empty()
        };
        OpenOptions::new()
            .read(true)
            .write(is_write)
            .create(is_write)
            .custom_flags(flags.bits() as i32)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, LARGE_BYTES, STEPS, TOTAL_BYTES, file_bytes};

    #[test]
    fn at_every_scale_and_with_every_number_of_threads_files_hold_whole_blocks() {
        for percent in 1..=100 {
            let total_bytes = ((TOTAL_BYTES >> 20) * percent / 100).max(16) << 20;
            for files in [1, 8] {
                let len = file_bytes(total_bytes, files);
                assert!(len > 0 && len.is_multiple_of(LARGE_BYTES));
                assert!(len * files <= total_bytes);
            }
        }
    }

    #[test]
    fn every_step_runs_on_what_the_ones_before_it_left() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for step in STEPS {
            let name = if step.on_new_files { "new" } else { "file" };
            let files = Files {
                paths: vec![(dir.path().join(name), 0)],
                file_bytes: 4 << 20,
                is_direct: false,
            };
            files.visit(0, *step).expect(step.name);
        }
        let size = |name: &str| dir.path().join(name).metadata().map(|data| data.len()).ok();
        assert_eq!((size("file"), size("new")), (Some(4 << 20), Some(4 << 20)));
    }
}
