//! What a file system takes besides time: memory while it is mounted, and making a very large one.

use super::recovery::make_small_files;
use crate::input::Input;
use crate::memory;
use crate::stage::{Stage, Work, drop_caches};
use anyhow::Result;
use bench_sample::Unit;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The size of the large file system, in bytes.
const LARGE_BYTES: u64 = 1 << 40;

/// Where its image is: in memory, with holes where nothing was written.
const LARGE_IMAGE: &str = "/tmp/bench-large";

/// Less memory than this can't be told from none.
const MEMORY_STEP_MIB: f64 = 0.25;

/// Files that are looked at to fill the caches.
const FILES: usize = 50_000;

pub(super) fn make_large(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let file_system = stage.file_system();
    let image = Path::new(LARGE_IMAGE);
    File::create(image)?.set_len(LARGE_BYTES)?;
    let made = stage.read("mkfs", "1 TiB", Work::Job, |_| {
        file_system.make_as_users_do(image)
    });
    // Blocks of stat(2) have 512 bytes.
    let written_mib = fs::metadata(image)?.blocks() as f64 / 2048.0;
    fs::remove_file(image)?;
    made?;
    stage.note("mkfs-written", written_mib, Unit::Mebibytes);
    Ok(())
}

pub(super) fn mounted_memory(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let count = stage.scaled(FILES, 2000);
    make_small_files(stage.directory(), count)?;
    // Whatever the first mount allocates once and for all is there now.
    stage.cold()?;
    stage.unmount()?;
    let before_mib = free_mib()?;
    stage.mount()?;
    let used_mib = |free_mib: f64| (before_mib - free_mib).max(MEMORY_STEP_MIB);
    let amount = format!("{count} files");
    stage.read("stat", amount, Work::Operations(count), look_at_all)?;
    let full_mib = used_mib(memory_free_mib()?);
    let kept_mib = used_mib(free_mib()?);
    stage.note("memory-in-use", full_mib, Unit::Mebibytes);
    stage.note("memory-kept", kept_mib, Unit::Mebibytes);
    Ok(())
}

/// Looks at all that is below a directory.
pub(super) fn look_at_all(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            look_at_all(&entry.path())?;
        }
    }
    Ok(())
}

/// Memory that nobody uses once all that can be given back was. Some is given back only a while later
/// (RCU), and memory of others comes and goes: it is awaited that nothing changes any more.
fn free_mib() -> Result<f64> {
    let mut before_mib = 0.0;
    loop {
        drop_caches()?;
        thread::sleep(Duration::from_millis(100));
        let now_mib = memory_free_mib()?;
        if now_mib - before_mib < MEMORY_STEP_MIB {
            return Ok(now_mib);
        }
        before_mib = now_mib;
    }
}

fn memory_free_mib() -> Result<f64> {
    Ok(memory::info_kib("MemFree")? as f64 / 1024.0)
}
