//! fio: mapped files and asynchronous writes, which no safe code can do, and a second witness of our own
//! figures.

use crate::input::Input;
use crate::program::{program, run};
use crate::stage::{Stage, Work};
use anyhow::{Context, Result};
use bench_sample::Unit;
use std::path::Path;

const SMALL: &str = "4k";
const LARGE: &str = "1m";

/// MiB of all files together.
const TOTAL_MIB: usize = 256;

/// The same where they are mapped: 49,152 pages. In user-mode Linux, pages of a process that don't lie side by
/// side in memory are mappings of their own in the host, which allows a process 65,530 (`vm.max_map_count`):
/// one that needs more gets SIGSEGV.
const MAPPED_MIB: usize = 192;

/// MiB that steps of random access touch.
const RANDOM_MIB: usize = 64;

pub(super) fn mapped_1(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, "mmap", 1)
}

pub(super) fn mapped_8(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, "mmap", 8)
}

pub(super) fn buffered(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    play(stage, "psync", 1)
}

/// Direct access to one file by many at a time, as databases and virtual machines do it.
pub(super) fn one_file(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
    let total_mib = stage.scaled(TOTAL_MIB, 16);
    let touched_mib = stage.scaled(RANDOM_MIB, 8);
    let whole = Job {
        engine: "psync",
        pattern: "write",
        block: LARGE,
        jobs: 1,
        file_mib: total_mib,
        touched_mib: total_mib,
        access: Access::Buffered,
    };
    whole.run(stage.directory())?;
    let steps = [
        ("random-write-4k-8-jobs", "psync", "randwrite", 8, 1),
        ("random-write-4k-32-deep", "libaio", "randwrite", 1, 32),
        ("random-read-4k-32-deep", "libaio", "randread", 1, 32),
    ];
    for (name, engine, pattern, jobs, depth) in steps {
        let job = Job {
            engine,
            pattern,
            block: SMALL,
            jobs,
            touched_mib: touched_mib / jobs,
            access: Access::Direct { depth },
            ..whole
        };
        measure(stage, name, touched_mib, &job)?;
    }
    Ok(())
}

fn play(stage: &mut Stage<'_>, engine: &str, jobs: usize) -> Result<()> {
    let is_mapped = engine == "mmap";
    let all_mib = if is_mapped { MAPPED_MIB } else { TOTAL_MIB };
    let total_mib = stage.scaled(all_mib, 16);
    let random_mib = stage.scaled(RANDOM_MIB, 8);
    if is_mapped {
        // A mapping can't make a file longer.
        Job {
            engine: "psync",
            pattern: "write",
            block: LARGE,
            jobs,
            file_mib: total_mib / jobs,
            touched_mib: total_mib / jobs,
            access: Access::Buffered,
        }
        .run(stage.directory())?;
    }
    let first = if is_mapped {
        "overwrite-1m"
    } else {
        "write-1m"
    };
    let steps = [
        (first, "write", LARGE, total_mib),
        ("read-1m", "read", LARGE, total_mib),
        ("read-4k", "read", SMALL, total_mib),
        ("random-read-4k", "randread", SMALL, random_mib),
        ("random-write-4k", "randwrite", SMALL, random_mib),
        ("random-read-1m", "randread", LARGE, total_mib),
        ("random-write-1m", "randwrite", LARGE, total_mib),
        ("overwrite-4k", "write", SMALL, total_mib),
    ];
    for (name, pattern, block, touched_mib) in steps {
        if pattern.ends_with("read") {
            stage.cold()?;
        }
        let job = Job {
            engine,
            pattern,
            block,
            jobs,
            file_mib: total_mib / jobs,
            touched_mib: touched_mib / jobs,
            access: Access::Buffered,
        };
        measure(stage, name, touched_mib, &job)?;
    }
    Ok(())
}

fn measure(stage: &mut Stage<'_>, name: &str, touched_mib: usize, job: &Job<'_>) -> Result<()> {
    let mut mib_per_second = 0.0;
    stage.read(name, format!("{touched_mib} MiB"), Work::Job, |root| {
        mib_per_second = job.run(root)?;
        Ok(())
    })?;
    // Starting fio takes longer than some steps: its own clock counts.
    stage.replace(mib_per_second, Unit::MebibytesPerSecond);
    Ok(())
}

/// How jobs come to their files.
#[derive(Clone, Copy)]
enum Access {
    /// Through the page cache, a file each.
    Buffered,
    /// Past it, one file for all, so many requests of a job at a time.
    Direct { depth: usize },
}

#[derive(Clone, Copy)]
struct Job<'a> {
    engine: &'a str,
    pattern: &'a str,
    block: &'a str,
    jobs: usize,
    file_mib: usize,
    touched_mib: usize,
    access: Access,
}

impl Job<'_> {
    fn run(&self, root: &Path) -> Result<f64> {
        let mut fio = program("fio", ["--name=job", "--output-format=json", "--thread"]);
        fio.arg(format!("--directory={}", root.display()))
            .arg(format!("--ioengine={}", self.engine))
            .arg(format!("--rw={}", self.pattern))
            .arg(format!("--bs={}", self.block))
            .arg(format!("--numjobs={}", self.jobs))
            .arg(format!("--filesize={}m", self.file_mib))
            .arg(format!("--io_size={}m", self.touched_mib))
            .args(["--end_fsync=1", "--fallocate=none", "--invalidate=0"]);
        if let Access::Direct { depth } = self.access {
            fio.args(["--direct=1", "--filename=job.0.0"])
                .arg(format!("--iodepth={depth}"));
        }
        bandwidth(&run(&mut fio)?)
    }
}

/// MiB in a second of all jobs, until the last has ended; the time to write everything back included.
fn bandwidth(report: &[u8]) -> Result<f64> {
    let report: serde_json::Value = serde_json::from_slice(report).context("fio's report")?;
    let jobs = report["jobs"].as_array().context("fio names no jobs")?;
    let bytes: u64 = jobs
        .iter()
        .flat_map(|job| [&job["read"], &job["write"]])
        .filter_map(|direction| direction["io_bytes"].as_u64())
        .sum();
    let times_ms = jobs.iter().filter_map(|job| job["job_runtime"].as_u64());
    let longest_ms = times_ms.max().context("fio names no run time")?;
    let seconds = longest_ms.max(1) as f64 / 1000.0;
    Ok(bytes as f64 / f64::from(1 << 20) / seconds)
}

#[cfg(test)]
mod tests {
    use super::bandwidth;

    #[test]
    fn jobs_run_at_the_same_time() {
        let report = br#"{"jobs": [
            {"job_runtime": 2000, "read": {"io_bytes": 0}, "write": {"io_bytes": 4194304}},
            {"job_runtime": 1000, "read": {"io_bytes": 0}, "write": {"io_bytes": 4194304}}]}"#;
        assert_eq!(bandwidth(report).ok(), Some(4.0));
        assert!(bandwidth(b"{}").is_err());
        assert!(bandwidth(b"no report").is_err());
    }
}
