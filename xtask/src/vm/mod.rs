//! `cargo xtask vm`: one command in a kernel of its own.

pub(crate) mod console;
pub(crate) mod disk;
mod initramfs;
pub(crate) mod machine;
mod processor;
mod qemu;
mod streams;
mod uml;

use crate::kernel::{Kernel, stock};
use crate::kmod;
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use disk::{Disk, parse_size};
use machine::{Hardware, Machine, tail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The exit status if the machine or its kernel, not the command, is at fault.
const MACHINE_FAULT: u8 = 125;

/// Run a command in a kernel of its own, with logfs loaded and the host's files in view.
///
/// The guest sees the host's files, the current directory among them, but writes to them go to
/// memory and are gone afterwards; /tmp, /run and /dev/shm are fresh. Only $EXCHANGE (--exchange)
/// is written through to the host. The modules are loaded, and mkfs.logfs, fsck.logfs and
/// logfs-fuse are installed under these names. The command's standard streams are ours, its
/// environment is ours with DISK0, DISK1... added, and its exit status becomes ours: 125 says that
/// the machine failed, or the kernel reported a fault (its log is shown).
#[derive(Args)]
pub(crate) struct Arguments {
    /// The kernel to boot
    #[arg(long, value_enum, default_value_t = Kernel::Stock)]
    kernel: Kernel,

    /// Number of CPUs [default: 2; user-mode Linux has 1]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,

    /// Memory, with a unit K, M or G (powers of 1024)
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = parse_size)]
    mem: u64,

    /// Add a disk: an empty temporary one of this size (a number with K, M, G or T, powers of
    /// 1024), or an image file or block device, which keeps what is written. The command finds
    /// the first as $DISK0, the second as $DISK1 and so on
    #[arg(long, value_name = "SIZE|FILE")]
    disk: Vec<Disk>,

    /// Directory that the guest may write to, under the same path; made if need be [default:
    /// vm/exchange in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    exchange: Option<PathBuf>,

    /// Switch the machine off if the command takes longer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,

    /// Write the kernel's console to this file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,

    /// Load only this file system's module (beside bento.ko); can be given more than once
    /// [default: all]
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,

    /// Load no modules of ours, and build none
    #[arg(long, conflicts_with = "module")]
    no_modules: bool,

    /// The command and its arguments; for a shell's services say `sh -c '...'`
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let code = run_command(arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        MACHINE_FAULT
    });
    Ok(ExitCode::from(code))
}

fn run_command(arguments: Arguments) -> Result<u8> {
    let workspace = Workspace::find()?;
    let mut machine = Machine::prepare(&workspace, arguments.kernel)?;
    if !arguments.no_modules {
        machine.load_modules(&workspace, &arguments.module)?;
    }
    machine.hardware.mem_bytes = arguments.mem;
    machine.hardware.cpus = arguments.cpus.unwrap_or(machine.hardware.cpus);
    machine.disks = arguments.disk;
    machine.time_limit = Duration::from_secs(arguments.timeout);
    machine.console_log = arguments.console;
    if let Some(dir) = arguments.exchange {
        machine.exchange = std::path::absolute(&dir)
            .with_context(|| format!("{} is no directory", dir.display()))?;
    }
    let outcome = machine.run(&workspace, &arguments.command)?;
    if outcome.faults.is_empty() {
        return Ok(outcome.code);
    }
    eprintln!("{}", tail(&outcome.console));
    eprintln!("error: the kernel reported faults:");
    for fault in &outcome.faults {
        eprintln!("  {fault}");
    }
    Ok(if outcome.code == 0 {
        MACHINE_FAULT
    } else {
        outcome.code
    })
}

impl Machine {
    /// A machine without disks and modules, with the tools built.
    pub(crate) fn prepare(workspace: &Workspace, kernel: Kernel) -> Result<Machine> {
        if !cfg!(target_arch = "x86_64") {
            bail!("virtual machines are for x86-64 hosts so far");
        }
        let kernel = workspace.kernel(kernel);
        Ok(Machine {
            kernel,
            hardware: Hardware {
                cpus: match kernel {
                    Kernel::Stock => 2,
                    Kernel::Uml | Kernel::UmlDebug => 1,
                },
                mem_bytes: match kernel {
                    Kernel::Stock | Kernel::Uml => 2 << 30,
                    // KASAN has a byte for every eight, and keeps what was freed for a while.
                    Kernel::UmlDebug => 3 << 30,
                },
            },
            disks: Vec::new(),
            time_limit: Duration::from_secs(3600),
            exchange: workspace.target().join("vm/exchange"),
            console_log: None,
            modules: Vec::new(),
            tools: tools::build(workspace)?,
            capture: false,
        })
    }

    /// Builds our modules (or `only` some) for the kernel, to be loaded at boot.
    pub(crate) fn load_modules(&mut self, workspace: &Workspace, only: &[String]) -> Result<()> {
        if !kmod::is_there(workspace) {
            return Ok(());
        }
        let modules = kmod::build(workspace, self.kernel.into(), only)?;
        if self.kernel == Kernel::Stock {
            let depends = modules.iter().flat_map(|module| &module.depends);
            let others: Vec<_> = depends
                .map(String::as_str)
                .filter(|name| !modules.iter().any(|module| module.is_called(name)))
                .collect();
            self.modules = stock::module_files(&self.kernel.find()?.release, &others)?;
        }
        self.modules
            .extend(modules.into_iter().map(|module| module.file));
        Ok(())
    }
}
