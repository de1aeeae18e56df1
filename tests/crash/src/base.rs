//! The disks that workloads start on.

use crate::model::Model;
use crate::op::{NumberOp, Op, PathOp, RangeOp, WholeOp};
use crate::run::{Base, Run};
use anyhow::{Context, Result, ensure};
use bento_api::Errno;
use bento_sim::{Change, Recording, SimDisk, SimEnv};
use mkfs_logfs::{Options, Plan, Sector};

/// The smallest disk that can be formatted, so that logs wrap and space runs out soon.
const SIZE_BYTES: u64 = 16 << 20;

const BLOCK_BYTES: u64 = 4096;

/// Log left before its end on the disk whose log is about to wrap.
const WRAP_BYTES: u64 = 24 << 10;

/// Space left on the full disk.
const LEFT_BLOCKS: u64 = 40;

/// All disks that workloads start on.
pub struct Bases {
    bases: Vec<Base>,
}

impl Bases {
    /// Makes them.
    pub fn new() -> Result<Bases> {
        let small = small()?;
        let wrap = wrap(&small)?;
        let full = full(&small)?;
        let aged = aged(&small)?;
        let bases = vec![small, wrap, full, aged];
        Ok(Bases { bases })
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Base> {
        self.bases.iter().find(|base| base.name == name)
    }
}

fn run_all(run: &mut Run, ops: &[Op]) -> Result<()> {
    for op in ops {
        run.apply(op)
            .with_context(|| format!("cannot prepare a disk: {op}"))?;
    }
    Ok(())
}

/// A few files and directories.
fn small() -> Result<Base> {
    let disk = SimDisk::new(SIZE_BYTES);
    let plan = Plan::new(
        SIZE_BYTES / BLOCK_BYTES,
        Sector::new(512),
        &Options::default(),
    )
    .context("cannot plan a file system")?;
    mkfs_logfs::format(&disk, &plan).context("cannot format a disk")?;
    let fresh = Base {
        name: "fresh",
        image: disk.image(),
        model: Model::default(),
        version: 0,
    };
    let mut run = Run::start(&fresh)?;
    run_all(
        &mut run,
        &[
            Op::path(PathOp::Mkdir, "A"),
            Op::path(PathOp::Mkdir, "B"),
            Op::path(PathOp::Create, "foo"),
            Op::range(RangeOp::Write, "foo", 0, 5000),
            Op::number(NumberOp::SetXattr, "foo", 200),
            Op::path(PathOp::Create, "A/foo"),
            Op::range(RangeOp::Write, "A/foo", 0, 10_000),
            Op::path(PathOp::Symlink, "lnk"),
        ],
    )?;
    Ok(run.into_base("small")?)
}

/// The next records go over the end of the log's ring.
fn wrap(small: &Base) -> Result<Base> {
    let superblock = logfs::recovery::read_superblock(&SimEnv::new(
        SimDisk::from_image(small.image.clone()),
        1,
    ))?;
    let start_bytes = superblock.log_start.get() * BLOCK_BYTES;
    let end_bytes = start_bytes + superblock.log_blocks.get() * BLOCK_BYTES;
    // The two checkpoint blocks stand before the ring.
    let ring = start_bytes + 2 * BLOCK_BYTES..end_bytes;
    let mut base = small.clone();
    loop {
        let mut run = Run::start(&base)?;
        let mut head = 0;
        for _ in 0..64 {
            let bytes = if ring.end - head.max(ring.start) > 256 << 10 {
                60_000
            } else {
                2_000
            };
            let op = Op::number(NumberOp::SetXattr, "B", bytes);
            run_all(&mut run, &[op, Op::Whole(WholeOp::Sync)])?;
            let now = log_head(&run.sim().disk().recording(), &ring);
            ensure!(now >= head, "the log wrapped before it was to");
            head = now;
            if ring.end - head < WRAP_BYTES {
                break;
            }
        }
        base = run.into_base("wrap")?;
        if ring.end - head < WRAP_BYTES {
            return Ok(base);
        }
    }
}

/// Where the last write to the log ended.
fn log_head(recording: &Recording, ring: &std::ops::Range<u64>) -> u64 {
    let mut ends = recording.changes.iter().filter_map(|change| match change {
        Change::Write {
            offset_bytes, data, ..
        } if ring.contains(offset_bytes) => Some(offset_bytes + data.len() as u64),
        _ => None,
    });
    ends.next_back().unwrap_or(ring.start)
}

/// Hardly any space is left.
fn full(small: &Base) -> Result<Base> {
    let mut run = Run::start(small)?;
    for index in 0.. {
        let path = format!("B/fill{index}");
        run_all(&mut run, &[Op::path(PathOp::Create, &path)])?;
        let left = bento_api::FileSystem::statfs(run.sim().fs())?.blocks_available;
        if left <= LEFT_BLOCKS {
            break;
        }
        let len = (left - LEFT_BLOCKS).min(512) * BLOCK_BYTES;
        match run.apply(&Op::range(RangeOp::Allocate, &path, 0, len)) {
            Ok(()) => {}
            Err(Errno::ENOSPC) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(run.into_base("full")?)
}

/// Every segment has been used, and has holes.
fn aged(small: &Base) -> Result<Base> {
    let mut run = Run::start(small)?;
    let paths: Vec<String> = (0..44).map(|index| format!("B/old{index}")).collect();
    for path in &paths {
        let len = 56 * BLOCK_BYTES;
        let fill = Op::range(RangeOp::Allocate, path, 0, len);
        run_all(&mut run, &[Op::path(PathOp::Create, path), fill])?;
    }
    for path in paths.iter().step_by(2) {
        run_all(&mut run, &[Op::path(PathOp::Unlink, path)])?;
    }
    Ok(run.into_base("aged")?)
}
