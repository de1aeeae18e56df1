//! User-mode Linux: built once from Debian's kernel source, then kept.

use super::Installed;
use crate::cache::built_once;
use crate::command::step;
use crate::deps::{self, Dependency, dependency};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Fast.
    Plain,
    /// With everything that finds faults.
    Debug,
}

impl Flavour {
    /// What its directory in the cache is called, before version and configuration.
    fn name(self) -> &'static str {
        match self {
            Flavour::Plain => "uml",
            Flavour::Debug => "uml-debug",
        }
    }

    /// The options that the kernel must have.
    fn options(self) -> &'static str {
        match self {
            Flavour::Plain => include_str!("../../kernels/uml.config"),
            Flavour::Debug => concat!(
                include_str!("../../kernels/uml.config"),
                include_str!("../../kernels/uml-debug.config")
            ),
        }
    }
}

/// The Debian package with the kernel's source, and the archive in it.
const SOURCE_PACKAGE: &str = "linux-source-6.12";
const SOURCE_ARCHIVE: &str = "/usr/src/linux-source-6.12.tar.xz";

const SOURCE: &[Dependency] = &[
    dependency(SOURCE_ARCHIVE, SOURCE_PACKAGE),
    dependency("xz", "xz-utils"),
    dependency("tar", "tar"),
];

/// What is changed in the source.
const PATCH: &str = include_str!("../../kernels/uml.patch");

const PATCHING: &[Dependency] = &[dependency("patch", "patch")];

/// What it takes to build a kernel from its source.
pub(crate) const BUILD: &[Dependency] = &[
    dependency("cc", "gcc"),
    dependency("make", "make"),
    dependency("flex", "flex"),
    dependency("bison", "bison"),
    dependency("bc", "bc"),
];

/// Finds the kernel, or builds it if this version and configuration has not been built before.
pub(crate) fn find_or_build(flavour: Flavour) -> Result<Installed> {
    deps::need(BUILD)?;
    let source = source()?;
    let options = flavour.options();
    let inputs = [options, PATCH].concat();
    let name = format!(
        "{}-{}-{:08x}",
        flavour.name(),
        source.version,
        crc32fast::hash(inputs.as_bytes())
    );
    let dir = built_once(&name, |dir| build(&patched(&source)?, options, dir))?;
    let release = fs::read_to_string(dir.join("include/config/kernel.release"))
        .with_context(|| format!("{} is damaged; delete it", dir.display()))?;
    Ok(Installed {
        image: dir.join("linux"),
        build_dir: dir,
        release: release.trim().to_owned(),
    })
}

/// The kernel's source.
pub(crate) struct Source {
    pub(crate) dir: PathBuf,
    /// The package's version, fit for a file name.
    pub(crate) version: String,
}

/// The unpacked source of the kernel, in the version of the Debian package that is installed.
pub(crate) fn source() -> Result<Source> {
    deps::need(SOURCE)?;
    let output = step(
        "Asking for the version of the kernel's source",
        Command::new("dpkg-query").args(["--show", "--showformat=${Version}", SOURCE_PACKAGE]),
    )?;
    let version: String = String::from_utf8_lossy(&output.stdout)
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let dir = built_once(&format!("linux-source-{version}"), |dir| {
        step(
            "Unpacking the kernel's source",
            Command::new("tar")
                .args(["--strip-components=1", "-xf", SOURCE_ARCHIVE, "-C"])
                .arg(dir),
        )
        .map(drop)
    })?;
    Ok(Source { dir, version })
}

/// The source with our patch: a copy that shares all other files with the original.
fn patched(source: &Source) -> Result<PathBuf> {
    deps::need(PATCHING)?;
    let hash = crc32fast::hash(PATCH.as_bytes());
    let name = format!("linux-source-{}-patched-{hash:08x}", source.version);
    built_once(&name, |dir| {
        let patch = dir.join("uml.patch");
        step(
            "Copying the kernel's source",
            Command::new("cp")
                .args(["--archive", "--link"])
                .arg(source.dir.join("."))
                .arg(dir),
        )?;
        fs::write(&patch, PATCH)?;
        step(
            "Patching user-mode Linux",
            Command::new("patch")
                .args(["--strip=1", "--directory"])
                .arg(dir)
                .arg("--input")
                .arg(&patch),
        )
        .map(drop)
    })
}

fn build(source: &Path, options: &str, dir: &Path) -> Result<()> {
    let fragment = dir.join("fragment.config");
    fs::write(&fragment, options)?;
    let make = || {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(source)
            .arg("ARCH=um")
            .arg(format!("O={}", dir.display()));
        make
    };
    step(
        "Configuring the UML kernel",
        make()
            .arg(format!("KCONFIG_ALLCONFIG={}", fragment.display()))
            .arg("allnoconfig"),
    )?;
    let config = fs::read_to_string(dir.join(".config"))?;
    if let Some(option) = options_that_do_not_hold(options, &config).first() {
        bail!(
            "{option} of xtask/kernels does not hold: it is unknown, or lacks what it depends on"
        );
    }
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    step(
        "Building the UML kernel (some minutes, once)",
        make().arg(format!("-j{jobs}")).args(["linux", "modules"]),
    )?;
    Ok(())
}

/// The settings of a fragment that the finished configuration does not have.
fn options_that_do_not_hold<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    fragment
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter(|option| !config.lines().any(|line| line == *option))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::options_that_do_not_hold;

    #[test]
    fn an_option_that_the_kernel_dropped_is_found() {
        let fragment = "# Why\nCONFIG_A=y\nCONFIG_B=\"x\"\nCONFIG_C=y\n";
        let config = "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\nCONFIG_D=y\n";
        assert_eq!(options_that_do_not_hold(fragment, config), ["CONFIG_C=y"]);
    }
}
