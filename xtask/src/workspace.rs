//! Where things are: the source tree, what cargo builds, and what outlives a build.

use crate::kernel::Kernel;
use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The source tree and the directories that belong to it.
pub(crate) struct Workspace {
    metadata: Metadata,
    /// Whether tests that ask for UML get the kernel with KASAN, lockdep and kmemleak.
    debug_kernel: bool,
}

impl Workspace {
    /// The workspace that this tool was built from.
    pub(crate) fn find() -> Result<Workspace> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .no_deps()
            .exec()
            .with_context(|| format!("cannot read the workspace of {}", manifest.display()))?;
        Ok(Workspace {
            metadata,
            debug_kernel: false,
        })
    }

    /// The same, but [`Kernel::UmlDebug`] takes the place of [`Kernel::Uml`].
    pub(crate) fn with_debug_kernel(self) -> Workspace {
        Workspace {
            debug_kernel: true,
            ..self
        }
    }

    /// The kernel to boot where `wanted` is asked for.
    pub(crate) fn kernel(&self, wanted: Kernel) -> Kernel {
        match wanted {
            Kernel::Uml if self.debug_kernel => Kernel::UmlDebug,
            kernel => kernel,
        }
    }

    /// The top of the source tree.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// The names of all packages of the workspace.
    pub(crate) fn package_names(&self) -> impl Iterator<Item = &str> {
        let packages = self.metadata.workspace_packages();
        packages.into_iter().map(|package| package.name.as_str())
    }

    /// The names of all programs of the workspace.
    pub(crate) fn programs(&self) -> Vec<String> {
        let packages = self.metadata.workspace_packages();
        let targets = packages.iter().flat_map(|package| &package.targets);
        targets
            .filter(|target| target.is_bin())
            .map(|target| target.name.clone())
            .collect()
    }
}

/// Where kernels and other things that take long to make are kept between runs and checkouts.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(
            env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set; set one")?,
        )
        .join(".cache"),
    };
    let dir = base.join("logfs");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}
