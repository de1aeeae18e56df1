//! Where things are: the source tree, what cargo builds, and what outlives a build.

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::path::Path;

/// The source tree and the directories that belong to it.
pub(crate) struct Workspace {
    metadata: Metadata,
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
        Ok(Workspace { metadata })
    }

    /// The top of the source tree.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }
}
