//! The C side: a copy of its sources, beside which Kbuild may put what it makes.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Copies C sources, headers and Kbuild files. What has not changed stays untouched, so that make
/// does not build it again.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let source = entry?.path();
        let Some(name) = source.file_name() else {
            continue;
        };
        let copy = to.join(name);
        if source.is_dir() {
            self::copy(&source, &copy)?;
        } else if is_source(&source) {
            let contents = fs::read(&source)?;
            if fs::read(&copy).ok().as_ref() != Some(&contents) {
                fs::write(&copy, contents)
                    .with_context(|| format!("cannot write {}", copy.display()))?;
            }
        }
    }
    Ok(())
}

fn is_source(path: &Path) -> bool {
    let is_c = path
        .extension()
        .is_some_and(|extension| extension == "c" || extension == "h");
    is_c || path.file_name().is_some_and(|name| name == "Kbuild")
}

#[cfg(test)]
mod tests {
    use super::copy;
    use std::fs;

    #[test]
    fn only_sources_are_copied_and_only_if_they_changed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("bento")).expect("mkdir");
        for file in ["Kbuild", "bento/a.c", "bento/a.o"] {
            fs::write(from.join(file), file).expect("write");
        }
        copy(&from, &to).expect("copy");
        assert!(to.join("Kbuild").exists() && to.join("bento/a.c").exists());
        assert!(!to.join("bento/a.o").exists());

        let modified = || {
            fs::metadata(to.join("bento/a.c"))
                .and_then(|data| data.modified())
                .ok()
        };
        let before = modified();
        copy(&from, &to).expect("copy");
        assert_eq!(modified(), before);
        fs::write(from.join("bento/a.c"), "changed").expect("write");
        copy(&from, &to).expect("copy");
        assert_eq!(
            fs::read_to_string(to.join("bento/a.c")).ok().as_deref(),
            Some("changed")
        );
    }
}
