//! Servers of three kinds, with the parameters that Filebench publishes for them
//! (<https://github.com/filebench/filebench>, `workloads/varmail.f`, `fileserver.f`, `webserver.f`):
//! files, their sizes, threads, and what each thread does in turn. Instead of a minute, a fixed number
//! of turns is measured, so that device counters can be compared as well.

use crate::input::Input;
use crate::stage::{Stage, Work};
use crate::threads;
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sizes of files follow a gamma distribution of this shape, as in Filebench.
const GAMMA_SHAPE: f64 = 1.5;

/// An append is of one byte up to this.
const APPEND_BYTES_MAX: usize = 16 << 10;

/// Whole files are read and written in pieces of this size.
const IO_BYTES: usize = 1 << 20;

pub(super) fn varmail(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let set = FileSet {
        files: 1000,
        mean_bytes: 16 << 10,
        per_directory: usize::MAX,
    };
    play(stage, set, 16, stage.scaled(2000, 64), |server, random| {
        server.delete(random)?;
        let mut file = server.create(random)?;
        server.append(&mut file, random)?;
        file.sync_all()?;
        let mut file = server.open(random)?;
        server.read_whole(&mut file)?;
        server.append(&mut file, random)?;
        file.sync_all()?;
        server.read_whole(&mut server.open(random)?)?;
        Ok(13)
    })
}

pub(super) fn fileserver(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let set = FileSet {
        files: stage.scaled(10_000, 200),
        mean_bytes: 128 << 10,
        per_directory: 20,
    };
    play(
        stage,
        set,
        50,
        stage.scaled(10_000, 200),
        |server, random| {
            let mut file = server.create(random)?;
            server.write_whole(&mut file, random)?;
            let mut file = server.open(random)?;
            server.append(&mut file, random)?;
            server.read_whole(&mut server.open(random)?)?;
            server.delete(random)?;
            fs::metadata(server.existing(random)?)
                .map(drop)
                .or_else(gone)?;
            Ok(11)
        },
    )
}

pub(super) fn webserver(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let set = FileSet {
        files: 1000,
        mean_bytes: 16 << 10,
        per_directory: 20,
    };
    play(
        stage,
        set,
        100,
        stage.scaled(5000, 200),
        |server, random| {
            for _ in 0..10 {
                server.read_whole(&mut server.open(random)?)?;
            }
            let log = server.root.join("log");
            let mut log = OpenOptions::new().append(true).create(true).open(log)?;
            server.append(&mut log, random)?;
            Ok(31)
        },
    )
}

/// The files that a server starts with.
#[derive(Clone, Copy)]
struct FileSet {
    files: usize,
    mean_bytes: usize,
    per_directory: usize,
}

/// What all threads share. Files are numbered; those that there are form a window that moves on as
/// the oldest are deleted and new ones are made.
struct Server {
    root: PathBuf,
    set: FileSet,
    first: AtomicUsize,
    next: AtomicUsize,
}

/// Measures `turns` turns, shared by the threads; a turn returns how many operations it consists of.
fn play(
    stage: &mut Stage<'_>,
    set: FileSet,
    thread_count: usize,
    turns: usize,
    turn: impl Fn(&Server, &mut fastrand::Rng) -> Result<usize> + Sync,
) -> Result<()> {
    let server = Server {
        root: stage.directory().to_owned(),
        set,
        first: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
    };
    server.populate()?;
    let mut random = fastrand::Rng::with_seed(0);
    // How many operations a turn has is known only afterwards: a first one tells.
    let per_turn = turn(&server, &mut random)?;
    let amount = format!(
        "{} files of {} KiB, {thread_count} threads, {turns} turns of {per_turn} operations",
        set.files,
        set.mean_bytes >> 10
    );
    let work = Work::Operations(per_turn * turns);
    stage.write("turns", amount, work, |_| {
        threads::run(thread_count, |index| {
            let mut random = fastrand::Rng::with_seed(1 + index as u64);
            for _ in threads::share(turns, index, thread_count) {
                turn(&server, &mut random)?;
            }
            Ok(())
        })
    })
}

impl Server {
    fn populate(&self) -> Result<()> {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..self.set.files {
            let mut file = self.create(&mut random)?;
            self.write_whole(&mut file, &mut random)?;
        }
        crate::stage::sync_file_system(&self.root)
    }

    fn path(&self, number: usize) -> PathBuf {
        let directories = self.set.files.div_ceil(self.set.per_directory);
        let directory = number / self.set.per_directory % directories;
        self.root.join(format!("d{directory}/f{number}"))
    }

    fn existing(&self, random: &mut fastrand::Rng) -> Result<PathBuf> {
        let first = self.first.load(Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        Ok(self.path(random.usize(first..next.max(first + 1))))
    }

    fn create(&self, _: &mut fastrand::Rng) -> Result<File> {
        let path = self.path(self.next.fetch_add(1, Ordering::Relaxed));
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                Ok(File::create_new(&path)?)
            }
            file => file.with_context(|| format!("creating {}", path.display())),
        }
    }

    /// Opens any file. Another thread may have deleted it since it was chosen: then another one.
    fn open(&self, random: &mut fastrand::Rng) -> Result<File> {
        loop {
            let path = self.existing(random)?;
            let file = OpenOptions::new().read(true).append(true).open(&path);
            match file {
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                file => return file.with_context(|| format!("opening {}", path.display())),
            }
        }
    }

    /// Deletes the oldest file.
    fn delete(&self, _: &mut fastrand::Rng) -> Result<()> {
        let path = self.path(self.first.fetch_add(1, Ordering::Relaxed));
        fs::remove_file(path).or_else(gone)
    }

    fn append(&self, file: &mut File, random: &mut fastrand::Rng) -> Result<()> {
        let len_bytes = random.usize(1..=APPEND_BYTES_MAX);
        Ok(file.write_all(&vec![0x61; len_bytes])?)
    }

    fn write_whole(&self, file: &mut File, random: &mut fastrand::Rng) -> Result<()> {
        let mut left_bytes = gamma(random, self.set.mean_bytes);
        while left_bytes > 0 {
            let piece_bytes = left_bytes.min(IO_BYTES);
            file.write_all(&vec![0x62; piece_bytes])?;
            left_bytes -= piece_bytes;
        }
        Ok(())
    }

    fn read_whole(&self, file: &mut File) -> Result<()> {
        let mut buffer = vec![0; IO_BYTES];
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

/// Takes it as done if the file is gone: another thread was faster.
fn gone(error: std::io::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    }
}

/// A size from a gamma distribution of this mean (Marsaglia and Tsang, "A Simple Method for Generating
/// Gamma Variables", 2000); never 0.
fn gamma(random: &mut fastrand::Rng, mean_bytes: usize) -> usize {
    let d = GAMMA_SHAPE - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = normal(random);
        let v = (1.0 + c * normal).powi(3);
        let u = random.f64();
        if v > 0.0 && u.ln() < 0.5 * normal * normal + d - d * v + d * v.ln() {
            let bytes = d * v / GAMMA_SHAPE * mean_bytes as f64;
            return (bytes as usize).max(1);
        }
    }
}

/// From the standard normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let (u, v) = (1.0 - random.f64(), random.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::gamma;

    #[test]
    fn sizes_have_their_mean() {
        let mut random = fastrand::Rng::with_seed(1);
        let count = 100_000;
        let total: usize = (0..count).map(|_| gamma(&mut random, 16384)).sum();
        let mean = total / count;
        assert!((15_900..16_900).contains(&mean), "{mean}");
    }
}
