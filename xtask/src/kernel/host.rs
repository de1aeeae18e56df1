//! The kernel that is running here.

use super::Installed;
use crate::deps;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Finds what modules for it are built against, or installs that.
pub(crate) fn find_or_install() -> Result<Installed> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot learn the running kernel's release")?;
    let release = release.trim().to_owned();
    let build_dir = Path::new("/lib/modules").join(&release).join("build");
    if !build_dir.exists() {
        let headers = format!("linux-headers-{release}");
        deps::install(&[&headers]).with_context(|| {
            format!("no modules can be built for the running kernel {release}; use --kernel stock or uml")
        })?;
    }
    if !build_dir.exists() {
        bail!(
            "{} is missing; install the headers of the running kernel",
            build_dir.display()
        );
    }
    Ok(Installed {
        image: Path::new("/boot").join(format!("vmlinuz-{release}")),
        build_dir,
        release,
    })
}
