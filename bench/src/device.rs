//! The device under test.

use crate::counters;
use crate::memory::{ALIGNMENT_BYTES, aligned};
use crate::program::{program, run};
use anyhow::{Context, Result};
use bench_sample::DeviceWork;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the device that makes flushes and writes cost something.
const SLOWED: &str = "bench-latency";

/// What is read at once when all of it is.
const PIECE_BYTES: usize = 1 << 20;

/// A block device, as it is or slowed.
pub(crate) struct Device {
    /// What file systems are made on.
    path: PathBuf,
    /// Counters of the device at the bottom: what reaches the hardware.
    stat_file: PathBuf,
    /// What stands before the names of rows: how the device was slowed.
    set_up: String,
    is_slowed: bool,
}

impl Device {
    /// Opens a device and, if flushes or writes are to cost something (in microseconds), puts another
    /// above it that waits that long before it passes them on.
    pub(crate) fn open(path: &Path, flush_cost_us: u32, write_cost_us: u32) -> Result<Device> {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no device {}", path.display()))?;
        let name = path.file_name().context("a device has a name")?;
        let stat_file = Path::new("/sys/class/block").join(name).join("stat");
        fs::metadata(&stat_file)
            .with_context(|| format!("{} is no block device", path.display()))?;
        if flush_cost_us == 0 && write_cost_us == 0 {
            return Ok(Device {
                path,
                stat_file,
                set_up: String::new(),
                is_slowed: false,
            });
        }
        let sectors = run(program("blockdev", ["--getsz"]).arg(&path))?;
        let sectors = String::from_utf8_lossy(&sectors);
        let table = format!(
            "0 {} latency {} {write_cost_us} {flush_cost_us}",
            sectors.trim(),
            path.display()
        );
        run(&mut program(
            "dmsetup",
            ["create", "--noudevsync", SLOWED, "--table", &table],
        ))
        .context("slowing the device needs the module latency.ko")?;
        run(&mut program("dmsetup", ["mknodes"]))?;
        Ok(Device {
            path: Path::new("/dev/mapper").join(SLOWED),
            stat_file,
            set_up: set_up_name(flush_cost_us, write_cost_us),
            is_slowed: true,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How it was slowed, to stand before the name of a row: `flush-1ms:`, or nothing.
    pub(crate) fn set_up(&self) -> &str {
        &self.set_up
    }

    /// Its size.
    pub(crate) fn size_bytes(&self) -> Result<u64> {
        use std::io::{Seek, SeekFrom};
        File::open(&self.path)
            .and_then(|mut file| file.seek(SeekFrom::End(0)))
            .with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// Reads all of it once, past the page cache. What is behind a virtual device was last used by
    /// another machine, and its host takes up to twice as long for the first access, which whoever is
    /// measured first would have to pay for.
    pub(crate) fn touch(&self) -> Result<()> {
        let device = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))?;
        let mut memory = vec![0_u8; PIECE_BYTES + ALIGNMENT_BYTES];
        let piece = aligned(&mut memory, PIECE_BYTES).context("memory is not aligned")?;
        let mut place = 0;
        loop {
            match device.read_at(piece, place).context("reading the device")? {
                0 => return Ok(()),
                bytes => place += bytes as u64,
            }
        }
    }

    /// What it has been asked for so far.
    pub(crate) fn work(&self) -> Result<DeviceWork> {
        counters::device_work(&self.stat_file)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_slowed {
            let remove = ["remove", "--noudevsync", "--retry", SLOWED];
            if let Err(error) = run(&mut program("dmsetup", remove)) {
                eprintln!("bench: {error:#}");
            }
        }
    }
}

fn set_up_name(flush_cost_us: u32, write_cost_us: u32) -> String {
    let cost = |name: &str, us: u32| match us {
        0 => None,
        us if us % 1000 == 0 => Some(format!("{name}-{}ms", us / 1000)),
        us => Some(format!("{name}-{us}us")),
    };
    let costs: Vec<_> = [cost("flush", flush_cost_us), cost("write", write_cost_us)]
        .into_iter()
        .flatten()
        .collect();
    format!("{}:", costs.join("-"))
}

#[cfg(test)]
mod tests {
    use super::set_up_name;

    #[test]
    fn rows_tell_how_the_device_was_slowed() {
        assert_eq!(set_up_name(1000, 0), "flush-1ms:");
        assert_eq!(set_up_name(1500, 20), "flush-1500us-write-20us:");
    }
}
