//! The guest's root directory: the host's files, read-only, below a layer of memory that takes
//! every write and is gone afterwards.

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_move, unmount};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vm_init::{CONTROL_DIR, Mount, Spec};

/// Where the layer of memory is put together: a directory that every host has.
const STAGE: &str = "/tmp";

/// `MODULE_INIT_COMPRESSED_FILE` of `finit_module(2)`.
const COMPRESSED_FILE: i32 = 4;

/// Links that programs expect in `/dev` and devtmpfs does not make.
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Makes the machine ready for the command.
pub(crate) fn set_up(spec: &Spec) -> Result<()> {
    for module in &spec.early_modules {
        load_module(module)?;
    }
    let host_root = match &spec.host_root {
        Some(host_root) => {
            do_mount(host_root)?;
            host_root.target.as_path()
        }
        None => Path::new("/"),
    };
    enter_overlay(host_root, &spec.visible)?;
    mount_system_dirs()?;
    for share in &spec.shares {
        do_mount(share)?;
    }
    for module in &spec.modules {
        load_module(module)?;
    }
    for (name, file) in &spec.tools {
        let link = Path::new("/usr/sbin").join(name);
        let _ = fs::remove_file(&link);
        symlink(file, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(())
}

/// Makes the overlay of `host_root` and memory the root directory.
fn enter_overlay(host_root: &Path, visible: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(STAGE)?;
    tmpfs(Path::new(STAGE), 0o755)?;
    let stage = Path::new(STAGE);
    let [upper, work, root] = ["upper", "work", "root"].map(|name| stage.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    do_mount(&Mount {
        source: "root".to_owned(),
        kind: "overlay".to_owned(),
        options: format!(
            "lowerdir={},upperdir={},workdir={}",
            host_root.display(),
            upper.display(),
            work.display()
        ),
        target: root.clone(),
        read_only: false,
    })?;
    fresh_tmp(&root, visible)?;
    chdir(&root)?;
    mount_move(".", "/").context("cannot move the new root into its place")?;
    chroot(".").context("cannot change the root directory")?;
    chdir("/")?;
    Ok(())
}

/// Puts an empty `/tmp` over the host's, with the `visible` parts of the host's in it.
fn fresh_tmp(root: &Path, visible: &[PathBuf]) -> Result<()> {
    let in_root = |dir: &Path| root.join(dir.strip_prefix("/").unwrap_or(dir));
    let mut kept: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (index, dir) in visible.iter().enumerate() {
        if kept
            .iter()
            .any(|(_, outer)| in_root(dir).starts_with(outer))
        {
            continue;
        }
        let hold = Path::new(STAGE).join(format!("hold{index}"));
        fs::create_dir(&hold)?;
        mount_bind_recursive(in_root(dir), &hold)
            .with_context(|| format!("cannot keep {} visible", dir.display()))?;
        kept.push((hold, in_root(dir)));
    }
    let tmp = root.join("tmp");
    fs::create_dir_all(&tmp)?;
    tmpfs(&tmp, 0o1777)?;
    for (hold, dir) in kept {
        fs::create_dir_all(&dir)?;
        mount_move(&hold, &dir).with_context(|| format!("cannot show {}", dir.display()))?;
    }
    Ok(())
}

fn mount_system_dirs() -> Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        simple(kind, target, "")?;
    }
    simple("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666")?;
    simple("debugfs", "/sys/kernel/debug", "")?;
    tmpfs(Path::new("/dev/shm"), 0o1777)?;
    tmpfs(Path::new("/run"), 0o755)?;
    fs::create_dir_all("/run/lock")?;
    fs::create_dir_all("/mnt")?;
    fs::create_dir_all(CONTROL_DIR)?;
    for (target, link) in DEVICE_LINKS {
        let _ = symlink(target, link);
    }
    Ok(())
}

fn simple(kind: &str, target: &str, options: &str) -> Result<()> {
    do_mount(&Mount {
        source: kind.to_owned(),
        kind: kind.to_owned(),
        options: options.to_owned(),
        target: target.into(),
        read_only: false,
    })
}

fn tmpfs(target: &Path, mode: u32) -> Result<()> {
    do_mount(&Mount {
        source: "tmpfs".to_owned(),
        kind: "tmpfs".to_owned(),
        options: format!("mode={mode:o}"),
        target: target.to_path_buf(),
        read_only: false,
    })?;
    fs::set_permissions(target, Permissions::from_mode(mode))?;
    Ok(())
}

fn do_mount(what: &Mount) -> Result<()> {
    // In the read-only root of the host the directory is there already.
    let _ = fs::create_dir_all(&what.target);
    let flags = if what.read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let options = CString::new(what.options.as_str())?;
    mount(
        &what.source,
        &what.target,
        &what.kind,
        flags,
        options.as_c_str(),
    )
    .with_context(|| format!("cannot mount {} on {}", what.kind, what.target.display()))
}

fn load_module(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let is_plain = path.extension().is_some_and(|extension| extension == "ko");
    let flags = if is_plain { 0 } else { COMPRESSED_FILE };
    match finit_module(&file, c"", flags) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("the kernel refuses {}; its log says why", path.display())),
    }
}

/// Unmounts what the command has left mounted on top of `mounts_before`, as a shutdown would.
pub(crate) fn unmount_leftovers(mounts_before: usize) {
    let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let leftovers: Vec<_> = table.lines().skip(mounts_before).collect();
    for line in leftovers.into_iter().rev() {
        if let Some(target) = line.split(' ').nth(1) {
            let _ = unmount(target, UnmountFlags::empty());
        }
    }
}

/// How many file systems are mounted.
pub(crate) fn mount_count() -> usize {
    let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
    table.lines().count()
}
