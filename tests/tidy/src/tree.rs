//! The source tree: its files and its packages.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of the workspace, as far as the checks care.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its directory below the top of the tree.
    pub dir: String,
    /// Directories of those packages of ours that it is built from (not those that only its tests
    /// use).
    pub built_from: Vec<String>,
    /// The source files that crates start in, below the top of the tree.
    pub crate_roots: Vec<String>,
}

/// The top of the source tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// All files that are in the repository or would be after `git add`.
///
/// # Errors
/// If git can't list them.
pub fn files(root: &Path) -> std::io::Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(std::io::Error::other(format!("git ls-files: {reason}")));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && root.join(name).is_file())
        .map(str::to_owned)
        .collect())
}

/// The packages of the workspace.
///
/// # Errors
/// If cargo can't describe it.
pub fn packages(root: &Path) -> cargo_metadata::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    Ok(packages_of(&metadata))
}

fn packages_of(metadata: &Metadata) -> Vec<Package> {
    let top = &metadata.workspace_root;
    let below_top = |path: &cargo_metadata::camino::Utf8Path| {
        path.strip_prefix(top).unwrap_or(path).to_string()
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Package {
            dir: package
                .manifest_path
                .parent()
                .map(below_top)
                .unwrap_or_default(),
            built_from: package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .filter_map(|dependency| dependency.path.as_deref().map(below_top))
                .collect(),
            crate_roots: package
                .targets
                .iter()
                .map(|target| below_top(&target.src_path))
                .collect(),
        })
        .collect()
}
