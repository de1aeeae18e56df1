//! The crash explorer on the real module: workloads are done in the running kernel on a disk whose
//! writes dm-log-writes keeps, and what power cuts could have left of them is judged.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use bento_api::FileKind;
use bento_sim::{Change, Image, Recording, Rng};
use clap::Parser;
use log_writes::{Event, Log};
use logfs_crash::base::Bases;
use logfs_crash::host_tree;
use logfs_crash::judge::Judge;
use logfs_crash::op::{Op, PathOp, RangeOp};
use logfs_crash::run::{Base, History, Run};
use logfs_crash::state::{Builder, CrashState, enumerate};
use logfs_crash::syscalls::Mount;
use logfs_crash::workload::{Catalogue, Class, Workload};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The device that keeps the writes.
const MAPPER: &str = "logfs-crash";

/// Do workloads on logfs in the running kernel, keep every write, and judge what power cuts could
/// have left of the disk.
///
/// Each disk is checked and recovered from by the same code in user space; some are checked by
/// fsck.logfs and mounted in the kernel. What is on DEVICE, LOG and SCRATCH is lost. Needs root.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The disk to work on, 16 MiB or more
    device: PathBuf,

    /// The disk that keeps the writes, 1 GiB or more
    log: PathBuf,

    /// The disk to mount crash states from, as large as the first
    scratch: PathBuf,

    /// Where to mount
    #[arg(long, value_name = "DIR", default_value = "/mnt")]
    dir: PathBuf,

    /// How many workloads
    #[arg(long, value_name = "N", default_value_t = 20)]
    workloads: u64,

    /// Where chance starts from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Crash states to judge of each workload, besides those at every flush and durable write
    #[arg(long, value_name = "N", default_value_t = 300)]
    states: u64,

    /// Crash states to mount in the kernel of each workload
    #[arg(long, value_name = "N", default_value_t = 3)]
    mounts: u64,
}

/// What was looked at.
#[derive(Default)]
struct Counts {
    workloads: u64,
    writes: u64,
    judged: u64,
    mounted: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(counts) => {
            println!(
                "{} workloads with {} writes and flushes: {} crash states judged, {} mounted, \
                 nothing wrong; seed {}",
                counts.workloads, counts.writes, counts.judged, counts.mounted, arguments.seed
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Counts> {
    let bases = Bases::new()?;
    let catalogue = Catalogue::new(arguments.seed);
    let mut counts = Counts::default();
    let all = (0..).filter_map(|index| catalogue.get(Class::Long, index));
    for workload in all.take(arguments.workloads as usize) {
        // When space is short, the page cache and the simulator rightly differ in what fits.
        let Some(base) = bases.get(&workload.base).filter(|base| base.name != "full") else {
            continue;
        };
        explore(arguments, base, &workload, &mut counts).with_context(|| format!("{workload}"))?;
    }
    Ok(counts)
}

fn explore(
    arguments: &Arguments,
    base: &Base,
    workload: &Workload,
    counts: &mut Counts,
) -> Result<()> {
    put(&base.image, &arguments.device)?;
    let history = record(arguments, base, workload)?;
    let mut rng = Rng::new(arguments.seed);
    let chosen = choose(&history.recording, arguments.states, &mut rng);
    counts.workloads += 1;
    counts.writes += history.recording.changes.len() as u64;

    let judge = Judge::new(&history);
    let mut builder = Builder::new(&history.recording, 0);
    let mut seen = HashSet::new();
    let every = (chosen.len() as u64 / arguments.mounts.max(1)).max(1);
    let mut left = arguments.mounts;
    for (number, state) in (1..).zip(&chosen) {
        let draft = builder.draft(state);
        let oldest = history.oldest(state.returned(&history.recording));
        if !seen.insert((draft.hash, oldest)) {
            continue;
        }
        let image = draft.image();
        let judged = judge.disk(&image, oldest, None);
        counts.judged += 1;
        judged.map_err(|it| anyhow::anyhow!("at {state}: {}: {}", it.check, it.detail))?;
        if number % every == 0 && left > 0 {
            left -= 1;
            mount_and_judge(arguments, &judge, &image, oldest)
                .with_context(|| format!("at {state}, in the kernel"))?;
            counts.mounted += 1;
        }
    }
    Ok(())
}

/// Does a workload in the kernel and in the simulator, which says what it means.
fn record(arguments: &Arguments, base: &Base, workload: &Workload) -> Result<History> {
    let sectors = base.image.size_bytes() / 512;
    let (device, log) = (arguments.device.display(), arguments.log.display());
    let table = format!("0 {sectors} log-writes {device} {log}");
    call(
        "dmsetup",
        &["create", "--noudevsync", MAPPER, "--table", &table],
    )?;
    call("dmsetup", &["mknodes"])?;
    let mapped = format!("/dev/mapper/{MAPPER}");
    mount(&mapped, &arguments.dir)?;

    let mut kernel = Mount::open(&arguments.dir)?;
    let mut sim = Run::start(base)?;
    for op in &workload.ops {
        let Some(op) = adapted(op, &sim) else {
            continue;
        };
        let (version, promised) = (sim.version() + 1, sim.promised());
        let found = kernel.apply(&op, version)?;
        let expected = sim.apply(&op);
        ensure!(
            found.is_ok() == expected.is_ok(),
            "{op}: {found:?} in the kernel, {expected:?} in the simulator"
        );
        if sim.promised() > promised {
            mark(promised)?;
        }
    }
    kernel.apply(&Op::Whole(logfs_crash::op::WholeOp::Sync), 0)??;
    mark(sim.promised())?;
    drop(kernel);
    let history = sim.finish().map_err(anyhow::Error::msg)?;
    let live = host_tree::read(&arguments.dir)?;
    if let Some(last) = history.states.last()
        && live != last.tree
    {
        anyhow::bail!("without a crash: {}", live.difference(&last.tree));
    }
    unmount(&arguments.dir)?;
    call("dmsetup", &["remove", "--noudevsync", "--retry", MAPPER])?;
    let (recording, promised) = recorded(base, &arguments.log)?;
    Ok(history.elsewhere(recording, &promised))
}

/// An operation as it can be done both here and there. Data that waits in the page cache arrives when
/// the kernel likes, and few system calls work on a symbolic link itself.
fn adapted(op: &Op, sim: &Run) -> Option<Op> {
    let kind = |path: &str| {
        let attr = sim.sim().stat(path.as_bytes());
        attr.ok().map(|attr| attr.kind())
    };
    let is_link = |path: &str| kind(path) == Some(FileKind::Symlink);
    match op {
        Op::Range(_, path, _) | Op::Number(_, path, _) if is_link(path) => None,
        Op::Path(PathOp::Fsync | PathOp::Fdatasync | PathOp::UnlinkOpen, path) if is_link(path) => {
            None
        }
        // That the path is a directory is seen to before a file system is asked.
        Op::Path(PathOp::Tmpfile, path) if kind(path) != Some(FileKind::Directory) => None,
        Op::Path(PathOp::Writeback | PathOp::StartWriteback, _) => None,
        Op::Range(RangeOp::Buffer, path, range) => {
            Some(Op::Range(RangeOp::Write, path.clone(), *range))
        }
        op => Some(op.clone()),
    }
}

fn mark(promise: usize) -> Result<()> {
    call(
        "dmsetup",
        &["message", MAPPER, "0", "mark", &promise.to_string()],
    )
}

/// What the log says was done, and the changes before each mark.
fn recorded(base: &Base, log: &Path) -> Result<(Recording, Vec<usize>)> {
    let mut changes = Vec::new();
    let mut promised = Vec::new();
    for event in Log::open(log)?.events()? {
        changes.push(match event {
            Event::Flush => Change::Flush,
            Event::Write {
                offset_bytes,
                data,
                durable,
            } => Change::Write {
                offset_bytes,
                data: data.into(),
                durable,
            },
            Event::Discard {
                offset_bytes,
                len_bytes,
            } => Change::Discard {
                offset_bytes,
                len_bytes,
            },
            // Marks that are no numbers are the device's own.
            Event::Mark(name) => {
                let Ok(number) = name.parse::<usize>() else {
                    continue;
                };
                promised.resize(promised.len().max(number), usize::MAX);
                promised.push(changes.len());
                continue;
            }
        });
    }
    let base = base.image.clone();
    Ok((Recording { base, changes }, promised))
}

/// The states at every flush and durable write, and a sample of the others, in order.
fn choose(recording: &Recording, count: u64, rng: &mut Rng) -> Vec<CrashState> {
    let all = enumerate(recording, 0, rng);
    let is_barrier = |cut: usize| {
        matches!(
            recording.changes.get(cut),
            None | Some(Change::Flush | Change::Write { durable: true, .. })
        )
    };
    let total = all.len() as u64;
    all.into_iter()
        .filter(|state| {
            state.fates.is_empty() && is_barrier(state.cut) || rng.below(total.max(1)) < count
        })
        .collect()
}

fn mount_and_judge(
    arguments: &Arguments,
    judge: &Judge<'_>,
    image: &Image,
    oldest: usize,
) -> Result<()> {
    let scratch = arguments.scratch.to_string_lossy();
    put(image, &arguments.scratch)?;
    call("fsck.logfs", &["-f", "-n", &scratch])?;
    mount(&scratch, &arguments.dir)?;
    let tree = host_tree::read(&arguments.dir)?;
    unmount(&arguments.dir)?;
    let judged = judge.tree(&tree, oldest);
    judged.map_err(|it| anyhow::anyhow!("{}: {}", it.check, it.detail))?;
    call("fsck.logfs", &["-f", "-n", &scratch])
}

fn put(image: &Image, device: &Path) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut disk: File = OpenOptions::new().write(true).open(device)?;
        disk.write_all(&image.to_bytes())?;
        disk.sync_all()
    };
    write().with_context(|| format!("cannot write {}", device.display()))
}

fn mount(device: &str, dir: &Path) -> Result<()> {
    call("mount", &["-t", "logfs", device, &dir.to_string_lossy()])
}

fn unmount(dir: &Path) -> Result<()> {
    call("umount", &[&dir.to_string_lossy()])
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
