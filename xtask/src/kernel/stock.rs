//! Debian's own kernel, and what its modules need to be loaded.

use super::Installed;
use crate::deps::{self, Dependency, dependency};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The version that we build for.
const VERSION: &str = "6.12.";

/// The packages that bring it: Debian 12 names the version, for Debian 13 it is the default.
const PACKAGES: &[&[&str]] = &[
    &["linux-image-6.12-amd64", "linux-headers-6.12-amd64"],
    &["linux-image-amd64", "linux-headers-amd64"],
];

/// What boots it.
const QEMU: &[Dependency] = &[dependency("qemu-system-x86_64", "qemu-system-x86")];

/// Modules without which the guest does not get as far as the host's files, and its disks.
const NEEDED_TO_BOOT: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    "overlay",
];

/// Finds the kernel, or installs it.
pub(crate) fn find_or_install() -> Result<Installed> {
    deps::need(QEMU)?;
    if let Some(installed) = newest_installed() {
        return Ok(installed);
    }
    let mut outcome = Ok(());
    for packages in PACKAGES {
        outcome = deps::install(packages);
        if let (Ok(()), Some(installed)) = (&outcome, newest_installed()) {
            return Ok(installed);
        }
    }
    outcome?;
    bail!("Debian offers no kernel {VERSION}x here; use `--kernel uml`")
}

fn newest_installed() -> Option<Installed> {
    let releases = fs::read_dir("/lib/modules").ok()?;
    releases
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|release| release.starts_with(VERSION))
        .map(|release| Installed {
            image: Path::new("/boot").join(format!("vmlinuz-{release}")),
            build_dir: modules_dir(&release).join("build"),
            release,
        })
        .filter(|kernel| kernel.image.exists() && kernel.build_dir.exists())
        .max_by_key(|kernel| patch_level(&kernel.release))
}

/// The third number of a version.
fn patch_level(release: &str) -> u32 {
    let digits = release.split(['.', '-', '+']).nth(2);
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn modules_dir(release: &str) -> PathBuf {
    Path::new("/lib/modules").join(release)
}

/// The files of the modules that the guest needs first, each behind those it depends on.
pub(crate) fn boot_modules(release: &str) -> Result<Vec<PathBuf>> {
    module_files(release, NEEDED_TO_BOOT)
}

/// The files of the kernel's own modules of these names, each behind those it depends on.
pub(crate) fn module_files(release: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
    let dir = modules_dir(release);
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let files = in_order(names, &dep, &builtin)?;
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

/// Resolves module names by the text of `modules.dep`. Those in `builtin` need no file.
fn in_order<'a>(names: &[&str], dep: &'a str, builtin: &str) -> Result<Vec<&'a str>> {
    let mut files = Vec::new();
    for name in names {
        let name = module_name(name);
        let line = dep.lines().find(|line| {
            line.split(':')
                .next()
                .is_some_and(|file| module_name(file) == name)
        });
        let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else {
            if builtin.lines().any(|file| module_name(file) == name) {
                continue;
            }
            bail!("the kernel has no module {name}; reinstall its package");
        };
        // What a module needs directly stands first, and what that needs behind it.
        for file in needs.split_whitespace().rev().chain([file]) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// `9pnet_virtio` of `kernel/net/9p/9pnet_virtio.ko.xz`, with `-` and `_` alike.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{in_order, patch_level};

    const DEP: &str = "kernel/a/one.ko.xz: kernel/b/two-x.ko.xz kernel/c/three.ko.xz\n\
                       kernel/b/two-x.ko.xz: kernel/c/three.ko.xz\n\
                       kernel/c/three.ko.xz:\n";

    #[test]
    fn modules_come_behind_what_they_need_and_once() {
        let files = in_order(&["two-x", "one", "inside"], DEP, "kernel/d/inside.ko\n");
        let expected = [
            "kernel/c/three.ko.xz",
            "kernel/b/two-x.ko.xz",
            "kernel/a/one.ko.xz",
        ];
        assert_eq!(files.expect("all are known"), expected);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let error = in_order(&["four"], DEP, "").expect_err("there is no such module");
        assert!(error.to_string().contains("four"));
    }

    #[test]
    fn releases_are_compared_by_number() {
        assert!(patch_level("6.12.117+deb12-amd64") > patch_level("6.12.9-amd64"));
    }
}
