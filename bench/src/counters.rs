//! What the kernel counts.

use anyhow::{Context, Result};
use bench_sample::DeviceWork;
use std::fs;
use std::path::Path;

/// `/proc/stat` counts in hundredths of a second (USER_HZ, which never changes).
const TICKS_PER_SECOND: f64 = 100.0;

/// The size of a sector in `/sys/block`, whatever the device's is.
const SECTOR_BYTES: u64 = 512;

/// What a device has been asked for since the machine started; `stat_file` is its
/// `/sys/block/DEVICE/stat`.
pub(crate) fn device_work(stat_file: &Path) -> Result<DeviceWork> {
    let text = fs::read_to_string(stat_file)
        .with_context(|| format!("cannot read {}", stat_file.display()))?;
    parse_device_work(&text).with_context(|| format!("{}: `{text}`", stat_file.display()))
}

/// Fields as Documentation/block/stat.rst of the kernel has them.
fn parse_device_work(text: &str) -> Option<DeviceWork> {
    let fields: Vec<u64> = text
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    Some(DeviceWork {
        read_bytes: fields.get(2)? * SECTOR_BYTES,
        writes: *fields.get(4)?,
        written_bytes: fields.get(6)? * SECTOR_BYTES,
        flushes: *fields.get(15)?,
    })
}

/// What was done between two counts.
pub(crate) fn difference(before: DeviceWork, after: DeviceWork) -> DeviceWork {
    DeviceWork {
        flushes: after.flushes.saturating_sub(before.flushes),
        writes: after.writes.saturating_sub(before.writes),
        written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
        read_bytes: after.read_bytes.saturating_sub(before.read_bytes),
    }
}

/// Processor time that the machine has used so far, in seconds.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse_cpu_seconds(&text).context("/proc/stat has no line of all processors")
}

fn parse_cpu_seconds(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _wait, irq, softirq, ..] = ticks[..] else {
        return None;
    };
    Some((user + nice + system + irq + softirq) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::{parse_cpu_seconds, parse_device_work};

    #[test]
    fn a_device_s_fields_are_found() {
        let text = "9 0 16 5 7 1 24 8 0 10 13 0 0 0 0 3 2\n";
        let work = parse_device_work(text).expect("all fields");
        assert_eq!((work.flushes, work.writes), (3, 7));
        assert_eq!((work.read_bytes, work.written_bytes), (8192, 12288));
        assert!(parse_device_work("1 2 3").is_none());
    }

    #[test]
    fn waiting_and_idling_take_no_processor_time() {
        let text = "cpu  100 10 200 5000 900 20 30 0 0 0\ncpu0 1 1 1 1 1 1 1\n";
        assert_eq!(parse_cpu_seconds(text), Some(3.6));
        assert_eq!(parse_cpu_seconds("cpu0 1 2 3"), None);
    }
}
