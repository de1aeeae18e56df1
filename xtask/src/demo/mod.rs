//! `cargo xtask demo`: the main job, end to end, in a real kernel.

mod host;
mod scripts;
mod table;

use crate::counts::Counts;
use crate::input::Input;
use crate::kernel::Kernel;
use crate::kmod::Target;
use crate::vm::disk::Disk;
use crate::vm::machine::{Machine, tail};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use host::Host;
use log_writes::Log;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

/// Show logfs in a real kernel: write, cut the power, check, verify, compare with ext4.
///
/// Makes logfs on a disk of 2 GiB, copies the kernel's source to it with fsync at points while git
/// clones a repository of it, and cuts the power at random points of that: writes that were not
/// flushed are dropped, or torn at a sector. After each cut it checks the disk, mounts it, and
/// verifies by checksum every file whose fsync had returned. Then it does the same work on logfs
/// and ext4 and compares. The exit status is 0 only if all of it held.
///
/// `--kernel host` does that in the kernel that is running here, as root: it loads the modules, works
/// on disks in sparse files below cargo's target directory, and removes all that afterwards.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The kernel to show it in
    #[arg(long, value_enum, default_value_t = Target::Stock)]
    kernel: Target,

    /// How many times to cut the power
    #[arg(long, value_name = "N", default_value_t = 20)]
    cuts: u32,

    /// Where chance starts from; the same number cuts at the same points of the same log [default:
    /// a new one each time, which is printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// The file system to cut the power of
    #[arg(long, value_enum, default_value_t = FileSystem::Logfs)]
    file_system: FileSystem,

    /// Leave out the comparison
    #[arg(long)]
    no_comparison: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileSystem {
    Logfs,
    /// To see that what is asked can be done
    Ext4,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            FileSystem::Logfs => "logfs",
            FileSystem::Ext4 => "ext4",
        }
    }
}

const DISK_BYTES: u64 = 2 << 30;

/// Sparse: only what is written takes space.
const LOG_BYTES: u64 = 32 << 30;

/// Power cuts that one machine verifies: booting takes about as long as one of them.
const CUTS_PER_MACHINE: usize = 5;

/// How long a single script may take, emulated.
const TIME_LIMIT: Duration = Duration::from_secs(3600);

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let workspace = Workspace::find()?;
    let demo = Demo::prepare(&workspace, arguments.kernel, arguments.file_system)?;
    demo.cut_power(arguments.file_system, arguments.cuts, seed)?;
    if !arguments.no_comparison {
        println!("{}", demo.comparison(arguments.file_system)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many power cuts the tests make.
const TEST_CUTS: u32 = 5;

/// Power cuts of logfs in the UML kernel, as a test.
pub(crate) fn power_cuts_uml(workspace: &Workspace) -> Result<Counts> {
    let demo = Demo::prepare(workspace, Target::Uml, FileSystem::Logfs)?;
    demo.cut_power(FileSystem::Logfs, TEST_CUTS, fastrand::u64(..))?;
    Ok(Counts {
        passed: u64::from(TEST_CUTS),
        failed: 0,
    })
}

/// Everything that the steps share.
struct Demo<'a> {
    workspace: &'a Workspace,
    input: Input,
    place: Place,
    dir: TempDir,
}

/// Where the steps run.
enum Place {
    /// The machine that every step has one like.
    Machine(Box<Machine>),
    Host(Host),
}

/// How a step ended.
struct Ended {
    succeeded: bool,
    faults: Vec<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    console: String,
}

impl<'a> Demo<'a> {
    fn prepare(
        workspace: &'a Workspace,
        target: Target,
        file_system: FileSystem,
    ) -> Result<Demo<'a>> {
        let dir = TempDir::with_prefix_in("demo-", workspace.target())?;
        let place = match target {
            Target::Stock => Place::machine(workspace, Kernel::Stock, dir.path())?,
            Target::Uml => Place::machine(workspace, Kernel::Uml, dir.path())?,
            Target::UmlDebug => Place::machine(workspace, Kernel::UmlDebug, dir.path())?,
            Target::Host => {
                let wants_modules = file_system == FileSystem::Logfs;
                Place::Host(Host::prepare(workspace, wants_modules, dir.path())?)
            }
        };
        Ok(Demo {
            workspace,
            input: Input::prepare()?,
            place,
            dir,
        })
    }

    /// Writes, and cuts the power at `cuts` points of that.
    fn cut_power(&self, file_system: FileSystem, cuts: u32, seed: u64) -> Result<()> {
        println!(
            "Writing to {} while every write is logged",
            file_system.name()
        );
        let log_path = self.dir.path().join("log");
        let disks = [
            Disk::Temporary {
                size_bytes: DISK_BYTES,
            },
            Disk::File(sparse(&log_path, LOG_BYTES)?),
        ];
        let points = self.run(file_system, &disks, scripts::WRITE_WITH_LOG, &[])?;
        let log = Log::open(&log_path)?;
        let start = log
            .behind_mark("made")
            .context("the log lacks its first mark")?;
        println!(
            "{} writes and flushes, fsync at {} points; cutting the power {cuts} times, --seed {seed}",
            log.len(),
            points.trim()
        );
        ensure!(log.len() > start, "nothing was written");
        let mut chance = fastrand::Rng::with_seed(seed);
        let cuts: Vec<usize> = (0..cuts).map(|_| chance.usize(start..=log.len())).collect();
        for cuts in cuts.chunks(CUTS_PER_MACHINE) {
            self.recover(file_system, &log, cuts, &mut chance)
                .with_context(|| format!("after power cuts of --seed {seed}"))?;
        }
        println!("Nothing that was fsynced is lost, nothing had to be repaired");
        Ok(())
    }

    /// Makes the disks as some power cuts leave them, and has them verified.
    fn recover(
        &self,
        file_system: FileSystem,
        log: &Log,
        cuts: &[usize],
        chance: &mut fastrand::Rng,
    ) -> Result<()> {
        let mut disks = Vec::new();
        let mut variables = vec![("COUNT".to_owned(), cuts.len().to_string())];
        for (index, &cut) in cuts.iter().enumerate() {
            let image = sparse(&self.dir.path().join(format!("disk{index}")), DISK_BYTES)?;
            let losses = log.cut_power(cut, &File::options().write(true).open(&image)?, chance)?;
            let synced: Vec<_> = log
                .marks(cut)
                .filter(|mark| mark.parse::<u32>().is_ok())
                .collect();
            println!(
                "  power cut at {cut} of {}: {} writes dropped, {} torn; verifying {} fsync points",
                log.len(),
                losses.dropped,
                losses.torn,
                synced.len()
            );
            variables.push((format!("SYNCED{index}"), synced.join(" ")));
            disks.push(Disk::File(image));
        }
        let outcome = self.run(file_system, &disks, scripts::RECOVER, &variables);
        if outcome.is_err()
            && let Err(error) = self.keep_failed_disk(cuts)
        {
            println!("The disk can't be kept: {error:#}");
        }
        outcome.map(drop)
    }

    /// Keeps the disk that the script for recovery came to.
    fn keep_failed_disk(&self, cuts: &[usize]) -> Result<()> {
        let index = std::fs::read_to_string(self.dir.path().join("exchange/disk"))?;
        let index: usize = index.trim().parse()?;
        let kept = self.workspace.target().join("demo-failed-disk");
        std::fs::rename(self.dir.path().join(format!("disk{index}")), &kept)?;
        println!(
            "The disk as it was after the cut at {} is kept in {}",
            cuts.get(index).context("no such disk")?,
            kept.display()
        );
        Ok(())
    }

    /// Does the same work on `file_system` and ext4.
    fn comparison(&self, file_system: FileSystem) -> Result<String> {
        let measure = |file_system: FileSystem| {
            println!("Timing the same work on {}", file_system.name());
            let disks = [Disk::Temporary {
                size_bytes: DISK_BYTES,
            }];
            table::read(&self.run(file_system, &disks, scripts::TIMED_WORK, &[])?)
        };
        let ours = measure(file_system)?;
        let theirs = measure(FileSystem::Ext4)?;
        Ok(table::compare(file_system.name(), &ours, &theirs))
    }

    /// Runs a script and returns its standard output.
    fn run(
        &self,
        file_system: FileSystem,
        disks: &[Disk],
        script: &str,
        variables: &[(String, String)],
    ) -> Result<String> {
        let mut command = vec!["env".into(), format!("FS={}", file_system.name()).into()];
        let paths = [
            ("SOURCE", &self.input.source),
            ("ARCHIVE", &self.input.archive),
            ("REPOSITORY", &self.input.repository),
        ];
        command.extend(paths.map(|(name, path)| format!("{name}={}", path.display()).into()));
        command.extend(
            variables
                .iter()
                .map(|(name, value)| format!("{name}={value}").into()),
        );
        command.extend(["bash".into(), "-c".into(), script.into()]);
        let ended = self
            .place
            .run(self.workspace, self.dir.path(), disks, &command)?;
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(
            ended.succeeded && ended.faults.is_empty(),
            "the step failed, kernel faults: {:?}\n{stdout}{}\nconsole:\n{}",
            ended.faults,
            String::from_utf8_lossy(&ended.stderr),
            tail(&ended.console)
        );
        Ok(stdout)
    }
}

impl Place {
    fn machine(workspace: &Workspace, kernel: Kernel, dir: &Path) -> Result<Place> {
        let mut machine = Machine::prepare(workspace, kernel)?;
        machine.load_modules(workspace, &["logfs".to_owned()])?;
        machine.time_limit = TIME_LIMIT;
        machine.capture = true;
        machine.exchange = dir.join("exchange");
        Ok(Place::Machine(Box::new(machine)))
    }

    /// Runs a command in a machine of its own, or here.
    fn run(
        &self,
        workspace: &Workspace,
        dir: &Path,
        disks: &[Disk],
        command: &[OsString],
    ) -> Result<Ended> {
        match self {
            Place::Machine(machine) => {
                let mut machine = machine.clone();
                machine.disks = disks.to_vec();
                let outcome = machine.run(workspace, command)?;
                Ok(Ended {
                    succeeded: outcome.code == 0,
                    faults: outcome.faults,
                    stdout: outcome.stdout,
                    stderr: outcome.stderr,
                    console: outcome.console,
                })
            }
            Place::Host(host) => host.run(dir, disks, command),
        }
    }
}

/// Makes an empty file of this size, in place of what was there.
fn sparse(path: &Path, size_bytes: u64) -> Result<std::path::PathBuf> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.set_len(size_bytes)?;
    Ok(path.to_path_buf())
}
