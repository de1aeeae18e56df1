//! Things that take long to make, made once.

use crate::workspace::cache_dir;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The directory `name` in the cache. If there is none yet, `build` fills one under another name,
/// so that it is complete whenever it is there; of several at once, one builds and all wait.
pub(crate) fn built_once(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let dir = cache.join(name);
    if dir.exists() {
        return Ok(dir);
    }
    let lock = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("cannot make {}", lock.display()))?;
    lock.lock().context("cannot lock the cache")?;
    if dir.exists() {
        return Ok(dir);
    }
    let unfinished = cache.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    build(&unfinished)?;
    fs::rename(&unfinished, &dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
