//! A disk that was in use for long: filled to 80 %, then files replaced by others of other sizes again
//! and again.

use super::footprint::look_at_all;
use super::{names, personality, sql, tree};
use crate::input::Input;
use crate::stage::{Stage, Work, sync_file_system};
use anyhow::{Context, Result};
use bench_sample::Unit;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How full the disk is made, in percent, and how much of that is replaced afterwards.
const FULL_PERCENT: u64 = 80;
const CHURNED_PERCENT: u64 = 150;

/// Files have sizes from 4 KiB to 4 MiB, small ones far more often.
const SIZE_SHIFTS: std::ops::RangeInclusive<u32> = 12..=22;

pub(super) fn all(stage: &mut Stage<'_>, input: Option<&Input>) -> Result<()> {
    let capacity_bytes = stage.device().size_bytes()?;
    let mut tenants = Tenants {
        directory: stage.directory().join("tenants"),
        files: Vec::new(),
        used_bytes: 0,
        next: 0,
        random: fastrand::Rng::with_seed(80),
    };
    fs::create_dir(&tenants.directory)?;
    let full_bytes = capacity_bytes * FULL_PERCENT / 100;
    let churned_bytes = full_bytes * CHURNED_PERCENT / 100;
    stage.write("fill", mib(full_bytes), Work::Bytes(full_bytes), |_| {
        tenants.fill(full_bytes)
    })?;
    stage.write(
        "churn",
        mib(churned_bytes),
        Work::Bytes(churned_bytes),
        |_| tenants.churn(full_bytes, churned_bytes),
    )?;
    let amplification = stage.written_bytes() as f64 / churned_bytes as f64;
    stage.note("write-amplification", amplification, Unit::Amplification);
    let space = rustix::fs::statvfs(stage.directory())?;
    let free_bytes = space.f_bfree * space.f_frsize;
    let taken_bytes = capacity_bytes.saturating_sub(tenants.used_bytes + free_bytes);
    stage.note(
        "space-beside-data",
        taken_bytes as f64 / f64::from(1 << 20),
        Unit::Mebibytes,
    );
    files(stage, capacity_bytes / 20)?;
    programs(stage, input, free_bytes)?;
    tenants_go(stage, &tenants)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Data and names; files of `new_bytes` fit on the disk.
fn files(stage: &mut Stage<'_>, new_bytes: u64) -> Result<()> {
    let count = stage.scaled(2000, 100);
    stage.read(
        "append+fsync",
        format!("{count} x 4 KiB"),
        Work::Operations(count),
        |root| {
            let mut file = File::create(root.join("log"))?;
            for _ in 0..count {
                file.write_all(&[0x61; 4096])?;
                file.sync_all()?;
            }
            Ok(())
        },
    )?;
    let write = |root: &Path| write_file(&root.join("stream"), new_bytes);
    let read = |root: &Path| read_file(&root.join("stream"));
    let bytes = Work::Bytes(new_bytes);
    stage.write("write-1m", mib(new_bytes), bytes, write)?;
    stage.cold()?;
    stage.read("read-1m", mib(new_bytes), bytes, read)?;
    stage.write("overwrite-1m", mib(new_bytes), bytes, write)?;
    at_random(stage, new_bytes / 4096)?;
    stage.cold()?;
    stage.read("read-1m-after", mib(new_bytes), bytes, read)?;
    fs::remove_file(stage.directory().join("stream"))?;
    names::small(stage, 20_000)
}

/// A mail server, a database, and if there is room for it a source tree.
fn programs(stage: &mut Stage<'_>, input: Option<&Input>, free_bytes: u64) -> Result<()> {
    /// An unpacked tree, a clone with its objects, and a copy of a part, with some room.
    const TREES: u64 = 6;
    personality::mail_server(stage, "varmail")?;
    sql::sqlite(stage, "sqlite-rollback", "DELETE")?;
    sql::sqlite(stage, "sqlite-wal", "WAL")?;
    match input {
        Some(files) if files.archive_bytes * TREES <= free_bytes => tree::all(stage, input),
        _ => Ok(()),
    }
}

/// What has aged the disk, once more.
fn tenants_go(stage: &mut Stage<'_>, tenants: &Tenants) -> Result<()> {
    let count = tenants.files.len();
    stage.cold()?;
    stage.read(
        "stat-all",
        format!("{count} files"),
        Work::Operations(count),
        |_| look_at_all(&tenants.directory),
    )?;
    stage.write(
        "remove-all",
        format!("{count} files"),
        Work::Operations(count),
        |_| Ok(fs::remove_dir_all(&tenants.directory)?),
    )
}

/// Blocks of the stream, read and written at random.
fn at_random(stage: &mut Stage<'_>, blocks: u64) -> Result<()> {
    let count = stage.scaled(16384, 512);
    let amount = format!("{count} x 4 KiB");
    let places = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..count).map(move |_| random.u64(..blocks) * 4096)
    };
    stage.cold()?;
    stage.read(
        "random-read-4k",
        &*amount,
        Work::Operations(count),
        |root| {
            let file = File::open(root.join("stream"))?;
            Ok(places(2).try_for_each(|place| file.read_exact_at(&mut [0; 4096], place))?)
        },
    )?;
    stage.write(
        "random-write-4k",
        &*amount,
        Work::Operations(count),
        |root| {
            let file = File::options().write(true).open(root.join("stream"))?;
            Ok(places(3).try_for_each(|place| file.write_all_at(&[0x63; 4096], place))?)
        },
    )
}

/// The files that fill the disk.
struct Tenants {
    directory: PathBuf,
    files: Vec<(usize, u64)>,
    used_bytes: u64,
    next: usize,
    random: fastrand::Rng,
}

impl Tenants {
    fn fill(&mut self, full_bytes: u64) -> Result<()> {
        while self.used_bytes < full_bytes {
            self.add()?;
        }
        Ok(())
    }

    /// Replaces files until as much has been written; what was written is durable now and then, as it
    /// is on a disk in use.
    fn churn(&mut self, full_bytes: u64, churned_bytes: u64) -> Result<()> {
        let mut written_bytes = 0;
        let mut unsynced_bytes = 0;
        while written_bytes < churned_bytes {
            while self.used_bytes >= full_bytes {
                self.remove()?;
            }
            let added_bytes = self.add()?;
            written_bytes += added_bytes;
            unsynced_bytes += added_bytes;
            if unsynced_bytes > full_bytes / 20 {
                sync_file_system(&self.directory)?;
                unsynced_bytes = 0;
            }
        }
        Ok(())
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{}/{number}", number / 500))
    }

    fn add(&mut self) -> Result<u64> {
        let shift = self.random.u32(SIZE_SHIFTS);
        let len_bytes = self.random.u64(1 << (shift - 1)..1 << shift);
        let path = self.path(self.next);
        if self.next.is_multiple_of(500) {
            fs::create_dir(path.parent().context("a file is in a directory")?)?;
        }
        write_file(&path, len_bytes)?;
        self.files.push((self.next, len_bytes));
        self.used_bytes += len_bytes.next_multiple_of(4096);
        self.next += 1;
        Ok(len_bytes)
    }

    fn remove(&mut self) -> Result<()> {
        let index = self.random.usize(..self.files.len());
        let (number, len_bytes) = self.files.swap_remove(index);
        self.used_bytes -= len_bytes.next_multiple_of(4096);
        fs::remove_file(self.path(number)).context("removing a file")
    }
}

fn read_file(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

/// Writes a file, over what is there.
fn write_file(path: &Path, len_bytes: u64) -> Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let piece = vec![0x62; 1 << 20];
    let mut left = len_bytes as usize;
    while left > 0 {
        let part = left.min(piece.len());
        file.write_all(&piece[..part])
            .with_context(|| format!("writing {}", path.display()))?;
        left -= part;
    }
    Ok(())
}
