//! The demo in the kernel that is running here, on disks in files.

use super::{Ended, scripts};
use crate::command::cannot_run;
use crate::deps::{self, Dependency, dependency};
use crate::kmod::{self, Target};
use crate::tools;
use crate::vm::console::taint_faults;
use crate::vm::disk::Disk;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const NEEDED: &[Dependency] = &[
    dependency("modprobe", "kmod"),
    dependency("dmsetup", "dmsetup"),
    dependency("losetup", "mount"),
    dependency("unshare", "util-linux"),
];

const OTHER_KERNELS: &str = "or use --kernel stock or uml, which bring a kernel of their own";

/// What runs scripts here.
pub(super) struct Host {
    /// To be loaded for a script and removed after it, each behind those it depends on.
    modules: Vec<PathBuf>,
    path: OsString,
}

impl Host {
    /// Makes sure that this kernel can do it, and builds the modules for it if they are wanted;
    /// `dir` is for what goes away with the demo.
    pub(super) fn prepare(workspace: &Workspace, wants_modules: bool, dir: &Path) -> Result<Host> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "loading modules and making disks needs root; run it as root, {OTHER_KERNELS}"
        );
        deps::need(NEEDED)?;
        if wants_modules {
            takes_modules()?;
        }
        has_loop_devices()?;
        has_log_writes()?;
        let modules = if wants_modules {
            build_modules(workspace)?
        } else {
            Vec::new()
        };
        Ok(Host {
            modules,
            path: path_with_tools(workspace, &dir.join("tools"))?,
        })
    }

    /// Runs a command with these disks, in mounts of its own. Whatever it does, disks and modules are
    /// gone when it has ended; files for them and the exchange are below `dir`.
    pub(super) fn run(&self, dir: &Path, disks: &[Disk], command: &[OsString]) -> Result<Ended> {
        let exchange = dir.join("exchange");
        fs::create_dir_all(&exchange)
            .with_context(|| format!("cannot make {}", exchange.display()))?;
        let files = TempDir::with_prefix_in("disks-", dir)?;
        let mut shell = Command::new("bash");
        shell
            .args(["-c", scripts::ON_HOST, "bash"])
            .args(&self.modules);
        for (index, disk) in disks.iter().enumerate() {
            shell.arg(disk.open(&files.path().join(format!("disk{index}")))?);
        }
        shell
            .arg("--")
            .args(command)
            .env("PATH", &self.path)
            .env("EXCHANGE", &exchange)
            .stdin(Stdio::null());
        let tainted = tainted_now()?;
        let output = shell.output().with_context(|| cannot_run(&shell))?;
        let faults = taint_faults(tainted_now()? & !tainted);
        Ok(Ended {
            succeeded: output.status.success(),
            faults: faults.into_iter().map(str::to_owned).collect(),
            stdout: output.stdout,
            stderr: output.stderr,
            console: String::new(),
        })
    }
}

/// The kernel's memory of what went wrong, as bits.
fn tainted_now() -> Result<u64> {
    let text = fs::read_to_string("/proc/sys/kernel/tainted")?;
    Ok(text.trim().parse()?)
}

fn takes_modules() -> Result<()> {
    ensure!(
        Path::new("/proc/modules").exists(),
        "the running kernel takes no modules (CONFIG_MODULES is not set); boot one that does, {OTHER_KERNELS}"
    );
    let disabled = fs::read_to_string("/proc/sys/kernel/modules_disabled").unwrap_or_default();
    ensure!(
        disabled.trim() != "1",
        "the running kernel takes no more modules (kernel.modules_disabled is 1); boot it without that setting, {OTHER_KERNELS}"
    );
    Ok(())
}

fn has_loop_devices() -> Result<()> {
    load("loop");
    ensure!(
        Path::new("/dev/loop-control").exists(),
        "the running kernel has no loop devices (module loop, CONFIG_BLK_DEV_LOOP); boot one that has, {OTHER_KERNELS}"
    );
    Ok(())
}

fn has_log_writes() -> Result<()> {
    load("dm-log-writes");
    let targets = Command::new("dmsetup").arg("targets").output();
    let targets = targets.context("cannot run dmsetup")?.stdout;
    let targets = String::from_utf8_lossy(&targets);
    ensure!(
        targets.lines().any(|line| line.starts_with("log-writes")),
        "the running kernel lacks dm-log-writes (module dm-log-writes, CONFIG_DM_LOG_WRITES); boot one that has it, {OTHER_KERNELS}"
    );
    Ok(())
}

/// Loads one of the kernel's own modules. Failure shows when what it brings is missing: it may
/// well be built in.
fn load(module: &str) {
    let _ = Command::new("modprobe")
        .args(["--quiet", module])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

fn build_modules(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let modules = kmod::build(workspace, Target::Host, &["logfs".to_owned()])?;
    for name in modules.iter().flat_map(|module| &module.depends) {
        load(name);
    }
    for name in ["logfs", "bento"] {
        if Path::new("/sys/module").join(name).exists() {
            bail!("a module {name} is loaded; unload it first (umount, then rmmod {name})");
        }
    }
    Ok(modules.into_iter().map(|module| module.file).collect())
}

/// Our PATH, with a directory before it in which the tools have their names.
fn path_with_tools(workspace: &Workspace, dir: &Path) -> Result<OsString> {
    fs::create_dir_all(dir)?;
    for (name, program) in tools::build(workspace)? {
        symlink(program, dir.join(name))?;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let dirs = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs.chain(system))?)
}
