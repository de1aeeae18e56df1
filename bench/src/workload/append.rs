//! Small durable writes: what databases, mail servers and editors wait for.

use crate::input::Input;
use crate::stage::{Stage, Work};
use crate::threads;
use anyhow::Result;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

const BLOCK_BYTES: usize = 4096;

pub(super) fn by_1(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    append(stage, 1, stage.scaled(2000, 100))
}

pub(super) fn by_8(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    append(stage, 8, stage.scaled(4000, 200))
}

fn append(stage: &mut Stage<'_>, thread_count: usize, count: usize) -> Result<()> {
    let amount = format!("{count} x 4 KiB");
    stage.read(
        "append+fsync",
        amount,
        Work::Operations(count),
        |directory| {
            threads::run(thread_count, |index| {
                let mut file = File::create(directory.join(format!("log-{index}")))?;
                for _ in threads::share(count, index, thread_count) {
                    file.write_all(&[0x61; BLOCK_BYTES])?;
                    file.sync_all()?;
                }
                Ok(())
            })
        },
    )
}

pub(super) fn new_files(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let count = stage.scaled(2000, 100);
    let amount = format!("{count} files of 4 KiB");
    fs::create_dir(stage.directory().join("files"))?;
    stage.read(
        "create+fsync",
        amount,
        Work::Operations(count),
        |directory| {
            for number in 0..count {
                write_durably(&directory.join(format!("files/{number}")))?;
            }
            Ok(())
        },
    )
}

fn write_durably(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&[0x61; BLOCK_BYTES])?;
    file.sync_all()?;
    Ok(())
}
