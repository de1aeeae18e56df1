//! A stock kernel in QEMU: the host's files by 9p, its streams by virtio.

use super::initramfs::Initramfs;
use super::machine::{Hardware, Run};
use super::streams::{CONSOLE_FD, STDERR_FD, STDIN_FD, STDOUT_FD};
use crate::kernel::{Installed, stock};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use vm_init::{Mount, SPEC_PARAMETER, Spec, Streams};

/// How long a kernel may take to boot and power off under KVM before KVM counts as unusable; the
/// emulation needs about as long.
const KVM_TRIAL: Duration = Duration::from_secs(10);

const KVM: [&str; 4] = ["-accel", "kvm", "-cpu", "host"];

/// One thread for all CPUs: with one each, a CPU has been seen to run into the breakpoint that
/// another one was patching away (an int3 oops, about one boot in ten with QEMU 7.2). QEMU computes
/// the CRC instruction bit by bit; without it the kernel uses tables, which are much faster there.
/// It clears and copies memory byte by byte where a processor says that it is fast at that (ERMS);
/// otherwise the kernel asks for eight at a time.
const EMULATION: [&str; 4] = [
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "max,-sse4.2,-pclmulqdq,-erms",
];

/// Where the initial file system holds the host's root directory.
const HOST_ROOT: &str = "/host";

const NINE_P_OPTIONS: &str = "trans=virtio,version=9p2000.L,msize=512000";

/// The ports that carry the command's streams.
pub(super) fn streams() -> Streams {
    Streams {
        stdin: "/dev/vport0p1".into(),
        stdout: "/dev/vport0p2".into(),
        stderr: "/dev/vport0p3".into(),
    }
}

/// The device of a disk.
pub(super) fn disk_device(index: usize) -> Result<String> {
    let letters: Vec<char> = ('a'..='p').collect();
    match letters.get(index) {
        Some(letter) => Ok(format!("/dev/vd{letter}")),
        None => bail!("there is room for {} disks; use fewer", letters.len()),
    }
}

/// The host's root directory. Nobody changes it under the guest that the guest would have to
/// notice, so that it may cache.
pub(super) fn host_root() -> Mount {
    Mount {
        source: "root".to_owned(),
        kind: "9p".to_owned(),
        options: format!("{NINE_P_OPTIONS},cache=loose"),
        target: HOST_ROOT.into(),
        read_only: true,
    }
}

/// A directory of the host, to be written to.
pub(super) fn share(tag: &str, target: &Path) -> Mount {
    Mount {
        source: tag.to_owned(),
        kind: "9p".to_owned(),
        options: NINE_P_OPTIONS.to_owned(),
        target: target.to_path_buf(),
        read_only: false,
    }
}

/// The command that is the machine. `shares` are tags and directories.
pub(super) fn boot(
    kernel: &Installed,
    hardware: &Hardware,
    run: &Run,
    disks: &[PathBuf],
    shares: &[(String, PathBuf)],
    spec: &mut Spec,
) -> Result<Command> {
    let archive = run.dir.join("initramfs");
    fs::write(&archive, initramfs(kernel, run, spec)?)?;
    let mut command = qemu(hardware, kernel, &archive, kvm_works(kernel, run));
    command
        .arg("-serial")
        .arg(format!("file:/dev/fd/{CONSOLE_FD}"))
        .args(["-device", "virtio-serial-pci"]);
    let ports = [
        format!("socket,id=stdin,fd={STDIN_FD}"),
        format!("file,id=stdout,path=/dev/fd/{STDOUT_FD}"),
        format!("file,id=stderr,path=/dev/fd/{STDERR_FD}"),
    ];
    for ((number, port), name) in (1..).zip(&ports).zip(["stdin", "stdout", "stderr"]) {
        command.args(["-chardev", port]);
        command
            .arg("-device")
            .arg(format!("virtserialport,chardev={name},nr={number}"));
    }
    export(&mut command, "root", Path::new("/"), true);
    for (tag, dir) in shares {
        export(&mut command, tag, dir, false);
    }
    for (index, disk) in disks.iter().enumerate() {
        let file = option_value(disk);
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk{index},format=raw,discard=unmap,file={file}"
            ))
            .arg("-device")
            .arg(format!("virtio-blk-pci,drive=disk{index}"));
    }
    Ok(command)
}

/// What every machine has.
fn qemu(hardware: &Hardware, kernel: &Installed, initramfs: &Path, kvm: bool) -> Command {
    // The process must not outlive us, however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(if kvm { KVM } else { EMULATION })
        .arg("-smp")
        .arg(hardware.cpus.to_string())
        .arg("-m")
        .arg(format!("{}M", hardware.mem_bytes >> 20))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!(
            "console=ttyS0 panic=-1 {SPEC_PARAMETER}=/spec.json"
        ));
    command
}

fn export(command: &mut Command, tag: &str, dir: &Path, read_only: bool) {
    let read_only = if read_only { ",readonly=on" } else { "" };
    let path = option_value(dir);
    command
        .arg("-fsdev")
        .arg(format!(
            "local,id={tag},path={path},security_model=none,multidevs=remap{read_only}"
        ))
        .arg("-device")
        .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
}

/// A path as the value of one of QEMU's options, in which a comma has to be doubled.
fn option_value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The initial file system: the first process, what it is to do, and the modules that it needs to
/// reach the host's files.
fn initramfs(kernel: &Installed, run: &Run, spec: &mut Spec) -> Result<Vec<u8>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Initramfs::default();
    for dir in ["dev", "modules", "tmp", &HOST_ROOT[1..]] {
        archive.dir(dir)?;
    }
    archive.file("init", &read(&run.init)?)?;
    spec.early_modules.clear();
    for module in stock::boot_modules(&kernel.release)? {
        let file = module.file_name().unwrap_or_default().display();
        let name = format!("modules/{file}");
        archive.file(&name, &read(&module)?)?;
        spec.early_modules.push(Path::new("/").join(name));
    }
    archive.file("spec.json", &serde_json::to_vec(spec)?)?;
    archive.finish()
}

/// Whether this kernel boots under KVM. That `/dev/kvm` is there does not say so: nested in some
/// other virtual machine, guests have been seen to hang.
fn kvm_works(kernel: &Installed, run: &Run) -> bool {
    if fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return false;
    }
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let remembered = run.cache.join(format!("kvm-{}", kernel.release));
    let answer = |works: bool| format!("{} {works}\n", boot_id.trim());
    match fs::read_to_string(&remembered) {
        Ok(text) if text == answer(true) => return true,
        Ok(text) if text == answer(false) => return false,
        _ => {}
    }
    let works = boots_under_kvm(kernel, run).unwrap_or(false);
    let _ = fs::write(&remembered, answer(works));
    works
}

/// Boots with nothing but the first process, which finds no task and powers off.
fn boots_under_kvm(kernel: &Installed, run: &Run) -> Result<bool> {
    let mut archive = Initramfs::default();
    archive.file("init", &fs::read(&run.init)?)?;
    let path = run.dir.join("kvm-trial");
    fs::write(&path, archive.finish()?)?;
    let hardware = Hardware {
        cpus: 1,
        mem_bytes: 512 << 20,
    };
    let mut child = qemu(&hardware, kernel, &path, true)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let started = Instant::now();
    while started.elapsed() < KVM_TRIAL {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
