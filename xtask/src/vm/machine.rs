//! A virtual machine that runs one command.

use super::console;
use super::disk::Disk;
use super::processor::Processor;
use super::streams::Streams;
use super::{qemu, uml};
use crate::command::{cannot_run, last_lines};
use crate::kernel::Kernel;
use crate::tools;
use crate::workspace::{Workspace, cache_dir};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, thread};
use tempfile::TempDir;
use vm_init::{CONTROL_DIR, STATUS_FILE, Spec, Status};

/// Directories of the system's own programs: not on everybody's PATH, but always on the guest's.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lines of the console that are shown when the kernel is at fault.
const CONSOLE_LINES: usize = 40;

/// What the machine is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hardware {
    pub(crate) cpus: u32,
    pub(crate) mem_bytes: u64,
}

/// A virtual machine that is ready to run commands.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) kernel: Kernel,
    pub(crate) hardware: Hardware,
    pub(crate) disks: Vec<Disk>,
    pub(crate) time_limit: Duration,
    /// The directory that both sides may write to.
    pub(crate) exchange: PathBuf,
    /// Where to keep the console's log, even if nothing is wrong.
    pub(crate) console_log: Option<PathBuf>,
    /// Modules to load.
    pub(crate) modules: Vec<PathBuf>,
    /// Programs to install.
    pub(crate) tools: Vec<tools::Tool>,
    /// Return the command's output instead of passing it on.
    pub(crate) capture: bool,
}

/// What a single run uses.
pub(super) struct Run {
    /// For what goes away with the machine.
    pub(super) dir: PathBuf,
    /// For what stays.
    pub(super) cache: PathBuf,
    /// The guest's first process.
    pub(super) init: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command's exit status, or 128 and the signal that ended it.
    pub(crate) code: u8,
    /// What the kernel did wrong, if anything; then the run failed whatever the command says.
    pub(crate) faults: Vec<String>,
    /// The command's standard output, if captured.
    pub(crate) stdout: Vec<u8>,
    /// The command's standard error, if captured.
    pub(crate) stderr: Vec<u8>,
    /// The console's log.
    pub(crate) console: String,
}

/// How much longer things may take in a kernel that watches itself.
const DEBUG_PATIENCE: u32 = 10;

/// What a kernel says when it starts its first process.
const FIRST_PROCESS: &str = "Run /init as init process";

/// Boots that are tried before a kernel counts as broken.
const BOOTS_MAX: u32 = 3;

/// The kernel died before its first process started: nothing of ours was in it yet. QEMU's emulated
/// processor does that to a healthy kernel now and then.
#[derive(Debug)]
struct LostAtBoot(String);

impl fmt::Display for LostAtBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel died while it booted; its last lines:\n{}",
            self.0
        )
    }
}

impl std::error::Error for LostAtBoot {}

impl Machine {
    /// Boots, runs the command and powers off.
    pub(crate) fn run(&self, workspace: &Workspace, command: &[OsString]) -> Result<Outcome> {
        let mut boots = 1;
        loop {
            match self.run_once(workspace, command) {
                Err(error) if error.is::<LostAtBoot>() && boots < BOOTS_MAX => {
                    eprintln!("The {} kernel died while it booted; once more", self.kernel);
                    boots += 1;
                }
                result => return result,
            }
        }
    }

    fn run_once(&self, workspace: &Workspace, command: &[OsString]) -> Result<Outcome> {
        let parent = workspace.target().join("vm");
        fs::create_dir_all(&parent)?;
        let dir = TempDir::with_prefix_in("run-", &parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        fs::create_dir_all(&self.exchange)
            .with_context(|| format!("cannot make {}", self.exchange.display()))?;
        let kernel = self.kernel.find()?;
        let run = Run {
            dir: dir.path().to_path_buf(),
            cache: cache_dir()?,
            init: tools::build_init(workspace)?,
        };
        let control = run.dir.join("control");
        fs::create_dir(&control)?;
        let disks = self.open_disks(&run)?;
        let mut spec = self.spec(workspace, &control, command)?;
        // Claimed until the machine has ended.
        let processor;
        let mut machine = match self.kernel {
            Kernel::Uml | Kernel::UmlDebug => {
                processor = Processor::claim(&run.cache)?;
                uml::boot(&kernel, &self.hardware, &run, &processor, &disks, &spec)?
            }
            Kernel::Stock => {
                spec.host_root = Some(qemu::host_root());
                let shares = self
                    .shares(&control)
                    .map(|(tag, dir, _)| (tag.to_owned(), dir));
                qemu::boot(&kernel, &self.hardware, &run, &disks, &shares, &mut spec)?
            }
        };
        let console_log = run.dir.join("console.log");
        let messages = fs::File::create(run.dir.join("messages"))?;
        machine
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .process_group(0);
        let streams = Streams::attach(&mut machine, &console_log)?;
        let child = machine.spawn().with_context(|| cannot_run(&machine))?;
        drop(machine);
        let carriers = streams.carry(self.capture);
        let patience = match self.kernel {
            Kernel::Stock | Kernel::Uml => 1,
            Kernel::UmlDebug => DEBUG_PATIENCE,
        };
        let ended = wait(child, self.time_limit * patience);
        let (stdout, stderr) = carriers.finish();
        let console = fs::read(&console_log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).replace('\r', "");
        if let Some(path) = &self.console_log {
            fs::write(path, &console)
                .with_context(|| format!("cannot write the console's log {}", path.display()))?;
        }
        ended
            .map_err(|error| anyhow!("{error:#}; the console's last lines:\n{}", tail(&console)))?;
        let status = fs::read(control.join(STATUS_FILE)).ok();
        let status = status.and_then(|text| serde_json::from_slice(&text).ok());
        let (code, mut faults) = match status {
            Some(Status::Ended { code, tainted }) => (code, console::taint_faults(tainted)),
            Some(Status::Failed(reason)) => bail!(
                "the machine could not be set up: {reason}; the console's last lines:\n{}",
                tail(&console)
            ),
            None if self.kernel == Kernel::Stock && !console.contains(FIRST_PROCESS) => {
                return Err(LostAtBoot(tail(&console)).into());
            }
            None => {
                let messages = fs::read_to_string(run.dir.join("messages")).unwrap_or_default();
                bail!(
                    "the {} kernel died before the command ended; it said:\n{}\n{}",
                    self.kernel,
                    last_words(&console),
                    last_lines(&messages, 10)
                )
            }
        };
        faults.extend(console::faults(&console));
        let faults = faults.into_iter().map(str::to_owned).collect();
        Ok(Outcome {
            code,
            faults,
            stdout,
            stderr,
            console,
        })
    }

    fn open_disks(&self, run: &Run) -> Result<Vec<PathBuf>> {
        let disks = self.disks.iter().enumerate();
        disks
            .map(|(index, disk)| disk.open(&run.dir.join(format!("disk{index}"))))
            .collect()
    }

    fn device(&self, index: usize) -> Result<String> {
        match self.kernel {
            Kernel::Uml | Kernel::UmlDebug => uml::disk_device(index),
            Kernel::Stock => qemu::disk_device(index),
        }
    }

    /// The directories that the guest may write to: tag, directory here, directory there.
    fn shares(&self, control: &Path) -> [(&'static str, PathBuf, PathBuf); 2] {
        [
            ("control", control.to_path_buf(), CONTROL_DIR.into()),
            ("exchange", self.exchange.clone(), self.exchange.clone()),
        ]
    }

    fn spec(&self, workspace: &Workspace, control: &Path, command: &[OsString]) -> Result<Spec> {
        let current_dir = env::current_dir().context("the current directory is gone")?;
        let shares = self.shares(control);
        let cache = cache_dir()?;
        let visible = [workspace.root(), workspace.target(), &current_dir, &cache];
        Ok(Spec {
            early_modules: Vec::new(),
            host_root: None,
            visible: visible
                .into_iter()
                .filter(|dir| dir.starts_with("/tmp"))
                .map(Path::to_path_buf)
                .collect(),
            shares: shares
                .iter()
                .map(|(tag, dir, target)| match self.kernel {
                    Kernel::Uml | Kernel::UmlDebug => uml::share(dir, target),
                    Kernel::Stock => qemu::share(tag, target),
                })
                .collect(),
            modules: self.modules.clone(),
            tools: self.tools.clone(),
            command: command.to_vec(),
            environment: self.environment()?,
            current_dir,
            streams: match self.kernel {
                Kernel::Uml | Kernel::UmlDebug => uml::streams(),
                Kernel::Stock => qemu::streams(),
            },
        })
    }

    /// Our own environment, and where to find what the machine adds.
    fn environment(&self) -> Result<Vec<(OsString, OsString)>> {
        let ours = env::vars_os().filter(|(name, _)| name != "PATH" && name != "TMPDIR");
        let mut environment: Vec<_> = ours.collect();
        let path = env::var_os("PATH").unwrap_or_default();
        let mut full_path = path.clone();
        if !path.is_empty() {
            full_path.push(":");
        }
        full_path.push(SYSTEM_PATH);
        environment.push(("PATH".into(), full_path));
        environment.push(("EXCHANGE".into(), self.exchange.clone().into()));
        for index in 0..self.disks.len() {
            environment.push((format!("DISK{index}").into(), self.device(index)?.into()));
        }
        Ok(environment)
    }
}

/// What a kernel that died said first about it: behind that it may go on for long.
fn last_words(console: &str) -> String {
    match console::from_first_fault(console) {
        Some(fault) => fault
            .lines()
            .take(CONSOLE_LINES)
            .collect::<Vec<_>>()
            .join("\n"),
        None => tail(console),
    }
}

/// The end of a console's log.
pub(crate) fn tail(console: &str) -> String {
    last_lines(console, CONSOLE_LINES)
}

/// Waits until the machine has powered off; kills it if that takes too long.
fn wait(mut child: Child, time_limit: Duration) -> Result<()> {
    let started = Instant::now();
    let group = Pid::from_child(&child);
    while started.elapsed() < time_limit {
        if child.try_wait()?.is_some() {
            // Processes of the guest that are processes of the host must not stay behind.
            let _ = kill_process_group(group, Signal::KILL);
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    bail!(
        "the command did not end within {} s (--timeout); the machine was switched off",
        time_limit.as_secs()
    )
}
