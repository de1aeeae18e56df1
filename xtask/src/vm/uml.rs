//! User-mode Linux as a machine: one process whose root directory is the host's.

use super::machine::{Hardware, Run};
use super::processor::Processor;
use super::streams::{CONSOLE_FD, STDERR_FD, STDIN_FD, STDOUT_FD};
use crate::kernel::Installed;
use anyhow::{Result, bail};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use vm_init::{Mount, SPEC_PARAMETER, Spec, Streams};

/// The serial lines that carry the command's streams; the console has a line of its own.
pub(super) fn streams() -> Streams {
    Streams {
        stdin: "/dev/ttyS0".into(),
        stdout: "/dev/ttyS2".into(),
        stderr: "/dev/ttyS3".into(),
    }
}

/// The device of a disk.
pub(super) fn disk_device(index: usize) -> Result<String> {
    let letters: Vec<char> = ('a'..='p').collect();
    match letters.get(index) {
        Some(letter) => Ok(format!("/dev/ubd{letter}")),
        None => bail!("user-mode Linux takes {} disks; use fewer", letters.len()),
    }
}

/// A directory of the host, to be written to.
pub(super) fn share(dir: &Path, target: &Path) -> Mount {
    Mount {
        source: "none".to_owned(),
        kind: "hostfs".to_owned(),
        options: dir.display().to_string(),
        target: target.to_path_buf(),
        read_only: false,
    }
}

/// The command that is the machine.
pub(super) fn boot(
    kernel: &Installed,
    hardware: &Hardware,
    run: &Run,
    processor: &Processor,
    disks: &[PathBuf],
    spec: &Spec,
) -> Result<Command> {
    if hardware.cpus != 1 {
        bail!("user-mode Linux has one CPU; leave --cpus out, or use --kernel stock");
    }
    let spec_file = run.dir.join("spec.json");
    std::fs::write(&spec_file, serde_json::to_vec(spec)?)?;
    // The process must not outlive us, however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list"]);
    command.arg(processor.number.to_string()).arg(&kernel.image);
    command
        .arg(format!("mem={}M", hardware.mem_bytes >> 20))
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
        .arg(format!("init={}", run.init.display()))
        .arg(format!("{SPEC_PARAMETER}={}", spec_file.display()))
        .arg(format!("uml_dir={}", run.dir.display()))
        .args(["umid=uml", "con=null", "ssl=null", "console=ttyS1"])
        .arg(format!("ssl0=fd:{STDIN_FD}"))
        .arg(format!("ssl1=null,fd:{CONSOLE_FD}"))
        .arg(format!("ssl2=null,fd:{STDOUT_FD}"))
        .arg(format!("ssl3=null,fd:{STDERR_FD}"));
    for (index, disk) in disks.iter().enumerate() {
        // A comma or colon in the file's own name would mean something.
        let link = run.dir.join(format!("ubd{index}"));
        symlink(disk, &link)?;
        command.arg(format!("ubd{index}={}", link.display()));
    }
    Ok(command)
}
