//! The kernels that logfs is run in.

pub(crate) mod host;
pub(crate) mod stock;
pub(crate) mod uml;

use anyhow::Result;
use clap::ValueEnum;
use std::fmt;
use std::path::PathBuf;
use uml::Flavour;

/// A kernel to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian's own 6.12 in QEMU: the kernel that users have; KVM where it works, else emulated
    Stock,
    /// User-mode Linux 6.12: boots in a second, one CPU, file systems at native speed
    Uml,
    /// The same with KASAN, lockdep and kmemleak: slow, and finds what tests do not see
    UmlDebug,
}

impl Kernel {
    /// The kernel's files, built or installed if need be.
    pub(crate) fn find(self) -> Result<Installed> {
        match self {
            Kernel::Stock => stock::find_or_install(),
            Kernel::Uml => uml::find_or_build(Flavour::Plain),
            Kernel::UmlDebug => uml::find_or_build(Flavour::Debug),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kernel::Stock => "stock",
            Kernel::Uml => "uml",
            Kernel::UmlDebug => "uml-debug",
        })
    }
}

/// A kernel that is there to be booted and to build modules for.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The file to boot.
    pub(crate) image: PathBuf,
    /// Where modules are built against.
    pub(crate) build_dir: PathBuf,
    /// What `uname -r` says.
    pub(crate) release: String,
}
