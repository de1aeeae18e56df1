//! Threads that do everything to one tree while it is synced, frozen and remounted; all contents are
//! verified.
#![forbid(unsafe_code)]

mod disturbance;
mod open;
mod own;
mod pattern;
mod shared;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use own::Own;
use shared::Shared;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How many operations of a thread are shown when something is wrong.
const HISTORY: usize = 20;

/// Let threads do all kinds of operations in one tree, and verify what they find.
///
/// Each thread has a directory of its own, in which it knows every name and every byte, and works in
/// directories of all, where every file's contents say which file and place they belong to. They
/// write (through the page cache and past it), cut off, allocate, punch, rename, exchange, link,
/// unlink, use what is unlinked, set attributes, list, sync; meanwhile the system is synced, its
/// caches dropped, and the file system frozen and remounted. After each round everything is verified.
/// The exit status is 1 if anything is not as it must be; then the thread's last operations and the
/// seed are printed.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// An empty directory on the file system to be tested
    directory: PathBuf,

    /// How many threads
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: u64,

    /// How many times all threads work, are waited for, and verified
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u64,

    /// How many operations each thread does in a round
    #[arg(long, value_name = "N", default_value_t = 5000)]
    operations: u64,

    /// Where chance starts from; the same number gives the same operations, though when the threads
    /// meet is another matter [default: a new one each time, which is printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// How large files may get
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10,
          value_parser = clap::value_parser!(u64).range(65_536..=1 << 28))]
    max_size: u64,

    /// Where the file system is mounted: freeze it and remount it read-only meanwhile
    #[arg(long, value_name = "DIRECTORY")]
    mount_point: Option<PathBuf>,

    /// Do not disturb the threads at all
    #[arg(long)]
    undisturbed: bool,

    /// After each round run this in a shell, and verify everything once more
    #[arg(long, value_name = "COMMAND")]
    remount: Option<String>,
}

/// A thread's work.
struct Worker {
    number: u64,
    own: Own,
    shared: Shared,
    chance: fastrand::Rng,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    match stress(&arguments, seed) {
        Ok(()) => {
            let operations = arguments.threads * arguments.rounds * arguments.operations;
            println!("{operations} operations, seed {seed}: ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}; --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

fn stress(arguments: &Arguments, seed: u64) -> Result<()> {
    let shared_dir = arguments.directory.join("shared");
    let mut workers = (0..arguments.threads)
        .map(|number| Worker::new(arguments, &shared_dir, number, seed))
        .collect::<Result<Vec<_>>>()
        .context("cannot make directories")?;
    for round in 1..=arguments.rounds {
        work(arguments, &mut workers).with_context(|| format!("round {round}"))?;
        verify(&mut workers, &shared_dir).with_context(|| format!("after round {round}"))?;
        if let Some(command) = &arguments.remount {
            let status = Command::new("sh").args(["-c", command]).status()?;
            ensure!(status.success(), "`{command}` ended with {status}");
            verify(&mut workers, &shared_dir)
                .with_context(|| format!("after round {round} and `{command}`"))?;
        }
    }
    Ok(())
}

/// One round: all threads, and what disturbs them.
fn work(arguments: &Arguments, workers: &mut [Worker]) -> Result<()> {
    let (gate, finished) = (RwLock::new(()), AtomicBool::new(false));
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| worker.work(arguments.operations, &gate, &failed)))
            .collect();
        let disturber = (!arguments.undisturbed).then(|| {
            let mount_point = arguments.mount_point.as_deref();
            let (gate, finished) = (&gate, &finished);
            scope.spawn(move || {
                // Said at once: the threads may wait for ever for a thaw that has failed.
                disturbance::disturb(mount_point, gate, finished)
                    .inspect_err(|error| eprintln!("error: {error:#}"))
            })
        });
        let outcomes: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        finished.store(true, Ordering::Relaxed);
        let disturbed = disturber.map(|thread| thread.join());
        for outcome in outcomes.into_iter().chain(disturbed) {
            outcome.map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
        }
        Ok(())
    })
}

fn verify(workers: &mut [Worker], shared_dir: &Path) -> Result<()> {
    for worker in workers {
        let number = worker.number;
        let verified = worker.own.verify();
        verified.with_context(|| format!("what belongs to thread {number}"))?;
    }
    Shared::verify(shared_dir)
}

impl Worker {
    fn new(arguments: &Arguments, shared_dir: &Path, number: u64, seed: u64) -> Result<Worker> {
        let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(number));
        let max_bytes = usize::try_from(arguments.max_size)?;
        let dir = arguments.directory.join(format!("own{number}"));
        Ok(Worker {
            number,
            own: Own::new(&dir, max_bytes, chance.u64(..))?,
            shared: Shared::new(shared_dir, max_bytes, chance.u64(..))?,
            chance,
        })
    }

    /// Stops early when another one has failed.
    fn work(&mut self, operations: u64, gate: &RwLock<()>, failed: &AtomicBool) -> Result<()> {
        let mut history = Vec::new();
        for _ in 0..operations {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let _open = gate.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            let outcome = match self.chance.bool() {
                true => self.own.operate(&mut history),
                false => self.shared.operate(&mut history),
            };
            outcome
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))
                .with_context(|| {
                    let last = history.split_off(history.len().saturating_sub(HISTORY));
                    format!(
                        "thread {}, last operations:\n{}\n",
                        self.number,
                        last.join("\n")
                    )
                })?;
        }
        Ok(())
    }
}
