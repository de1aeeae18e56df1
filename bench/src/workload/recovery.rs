//! What comes after a crash: mounting with a full log, and checking everything.

use crate::input::Input;
use crate::program::{program, run};
use crate::stage::{Stage, Work, drop_caches, sync_file_system};
use anyhow::{Context, Result};
use bench_sample::Unit;
use std::fs;
use std::path::Path;

/// XFS_IOC_GOINGDOWN with XFS_FSOP_GOING_FLAGS_NOLOGFLUSH.
const SHUT_DOWN: &str = r#"open(my $directory, "<", $ARGV[0]) or die "$!\n";
    my $flags = pack("L", 2);
    ioctl($directory, 0x8004587d, $flags) or die "shutdown: $!\n""#;

pub(super) fn mount_after_crash(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let count = stage.scaled(100_000, 2000);
    make_small_files(stage.directory(), count)?;
    sync_file_system(stage.directory())?;
    for number in (0..count).step_by(2) {
        let directory = stage.directory().join(format!("{}", number / 500));
        let (from, to) = (format!("f{number}"), format!("r{number}"));
        fs::rename(directory.join(from), directory.join(to))?;
    }
    // The log is full of what is not yet home, and durable.
    sync_file_system(stage.directory())?;
    // As a crash would stop it: all of these file systems know XFS's ioctl.
    run(program("perl", ["-e", SHUT_DOWN]).arg(stage.directory()))?;
    stage.unmount()?;
    drop_caches()?;
    // The program comes from elsewhere.
    run(&mut program("mount", ["--version"]))?;
    let device = stage.device().path().to_owned();
    let file_system = stage.file_system();
    stage.read(
        "mount",
        format!("{count} files, half renamed"),
        Work::Job,
        |root| file_system.mount(&device, root),
    )?;
    stage.mounted();
    let renamed = stage.directory().join("0/r0");
    fs::metadata(&renamed).with_context(|| format!("{} is lost", renamed.display()))?;
    Ok(())
}

pub(super) fn check(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    /// mke2fs makes one inode for so much of the disk; directories take some of them.
    const BYTES_PER_INODE: u64 = 16 << 10;
    let room = stage.device().size_bytes()? / BYTES_PER_INODE * 31 / 32;
    let count = stage.scaled(500_000, 5000).min(room as usize);
    make_small_files(stage.directory(), count)?;
    stage.unmount()?;
    drop_caches()?;
    run(&mut program(stage.file_system().checker()?, ["-V"]))?;
    let device = stage.device().path().to_owned();
    let file_system = stage.file_system();
    let mut peak_kib = 0;
    stage.read("fsck", format!("{count} files"), Work::Job, |_| {
        peak_kib = file_system.check(&device)?;
        Ok(())
    })?;
    stage.note("fsck-memory", peak_kib as f64 / 1024.0, Unit::Mebibytes);
    Ok(())
}

/// Makes files of a few bytes, 500 in a directory.
pub(super) fn make_small_files(root: &Path, count: usize) -> Result<()> {
    for number in 0..count {
        let directory = root.join(format!("{}", number / 500));
        if number % 500 == 0 {
            fs::create_dir(&directory)?;
        }
        fs::write(
            directory.join(format!("f{number}")),
            b"one of many small files",
        )?;
    }
    Ok(())
}
