//! Servers of three kinds, with the parameters that Filebench publishes for them
//! (<https://github.com/filebench/filebench>, `workloads/varmail.f` and `fileserver.f` 3.0 at ca9b7af,
//! `webserver.f` 3.1 at 692eaec, but that its log is empty at first): files, their size, how many of them
//! there are at first, threads, and what each thread does in turn. Instead of a minute, a fixed number of
//! turns is measured, so that device counters can be compared as well; and of the files the oldest is deleted.

use crate::input::Input;
use crate::stage::{Stage, Work};
use crate::threads;
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An append is of one byte up to this.
const APPEND_BYTES_MAX: usize = 16 << 10;

/// Whole files are read and written in pieces of this size.
const IO_BYTES: usize = 1 << 20;

pub(super) fn varmail(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    mail_server(stage, "turns")
}

/// `varmail` as a step of this name.
pub(super) fn mail_server(stage: &mut Stage<'_>, step: &str) -> Result<()> {
    let set = FileSet {
        files: 1000,
        there_percent: 80,
        file_bytes: 16 << 10,
        per_directory: usize::MAX,
    };
    let turns = stage.scaled(2000, 64);
    play(stage, step, set, 16, turns, |server, client| {
        let random = &mut client.random;
        server.delete()?;
        let mut file = server.create()?;
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
        there_percent: 80,
        file_bytes: 128 << 10,
        per_directory: 20,
    };
    play(
        stage,
        "turns",
        set,
        50,
        stage.scaled(10_000, 200),
        |server, client| {
            let random = &mut client.random;
            let mut file = server.create()?;
            server.write_whole(&mut file)?;
            let mut file = server.open(random)?;
            server.append(&mut file, random)?;
            server.read_whole(&mut server.open(random)?)?;
            server.delete()?;
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
        there_percent: 100,
        file_bytes: 16 << 10,
        per_directory: 20,
    };
    play(
        stage,
        "turns",
        set,
        100,
        stage.scaled(5000, 200),
        |server, client| {
            let random = &mut client.random;
            for _ in 0..10 {
                server.read_whole(&mut server.open(random)?)?;
            }
            // Stays open, as Filebench has it.
            let log = match &mut client.log {
                Some(log) => log,
                none => none.insert(server.open_log()?),
            };
            server.append(log, random)?;
            Ok(31)
        },
    )
}

/// The files that a server starts with.
#[derive(Clone, Copy)]
struct FileSet {
    files: usize,
    /// How many of them there are before it begins.
    there_percent: usize,
    file_bytes: usize,
    per_directory: usize,
}

/// What a thread has for itself.
struct Client {
    random: fastrand::Rng,
    log: Option<File>,
}

impl Client {
    fn new(seed: u64) -> Client {
        let random = fastrand::Rng::with_seed(seed);
        Client { random, log: None }
    }
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
    step: &str,
    set: FileSet,
    thread_count: usize,
    turns: usize,
    turn: impl Fn(&Server, &mut Client) -> Result<usize> + Sync,
) -> Result<()> {
    let server = Server {
        root: stage.directory().to_owned(),
        set,
        first: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
    };
    server.populate()?;
    // How many operations a turn has is known only afterwards: a first one tells.
    let per_turn = turn(&server, &mut Client::new(0))?;
    let amount = format!(
        "{} files of {} KiB, {thread_count} threads, {turns} turns of {per_turn} operations",
        set.files_there(),
        set.file_bytes >> 10
    );
    let work = Work::Operations(per_turn * turns);
    stage.write(step, amount, work, |_| {
        threads::run(thread_count, |index| {
            let mut client = Client::new(1 + index as u64);
            for _ in threads::share(turns, index, thread_count) {
                turn(&server, &mut client)?;
            }
            Ok(())
        })
    })
}

impl FileSet {
    fn files_there(self) -> usize {
        self.files * self.there_percent / 100
    }
}

impl Server {
    fn populate(&self) -> Result<()> {
        for _ in 0..self.set.files_there() {
            self.write_whole(&mut self.create()?)?;
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

    fn create(&self) -> Result<File> {
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
    fn delete(&self) -> Result<()> {
        let path = self.path(self.first.fetch_add(1, Ordering::Relaxed));
        fs::remove_file(path).or_else(gone)
    }

    fn append(&self, file: &mut File, random: &mut fastrand::Rng) -> Result<()> {
        let len_bytes = random.usize(1..=APPEND_BYTES_MAX);
        Ok(file.write_all(&vec![0x61; len_bytes])?)
    }

    fn open_log(&self) -> Result<File> {
        let mut options = OpenOptions::new();
        Ok(options
            .append(true)
            .create(true)
            .open(self.root.join("log"))?)
    }

    fn write_whole(&self, file: &mut File) -> Result<()> {
        let mut left_bytes = self.set.file_bytes;
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
