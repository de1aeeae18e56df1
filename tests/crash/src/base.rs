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

/// What stays of a file of half a megabyte that is cut off so that the full disk has some space.
const LEFT_BYTES: u64 = 50 * BLOCK_BYTES;

/// All disks that workloads start on.
pub struct Bases {
    bases: Vec<Base>,
}

impl Bases {
    /// Makes them.
    pub fn new() -> Result<Bases> {
        let small = small()?;
        let wrap = wrap(&small)?;
        let full_disk = full(&small, "full", false)?;
        let mixed = full(&small, "mixed", true)?;
        let aged = aged(&small)?;
        let holey = holey(&small)?;
        let bases = vec![small, wrap, full_disk, mixed, aged, holey];
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

/// Does something until there is no space for it; returns how often.
fn fill(run: &mut Run, op: impl Fn(u64) -> Vec<Op>) -> Result<u64> {
    for index in 0.. {
        for op in op(index) {
            match run.apply(&op) {
                Ok(()) => {}
                Err(Errno::ENOSPC) => return Ok(index),
                Err(errno) => return Err(errno).context(format!("cannot prepare a disk: {op}")),
            }
        }
    }
    Ok(0)
}

/// Hardly any space is left. With `mixed`, metadata lies among data.
fn full(small: &Base, name: &'static str, mixed: bool) -> Result<Base> {
    let mut run = Run::start(small)?;
    let path = |index: u64| format!("B/fill{index}");
    fill(&mut run, |index| {
        let len = 128 * BLOCK_BYTES;
        vec![
            Op::path(PathOp::Create, &path(index)),
            Op::range(RangeOp::Allocate, &path(index), 0, len),
        ]
    })?;
    if mixed {
        // Too little for a segment of its own.
        let room = [4, 5].map(|index| Op::number(NumberOp::Truncate, &path(index), LEFT_BYTES));
        run_all(&mut run, &room)?;
    }
    let values = fill(&mut run, |index| {
        vec![Op::number(NumberOp::SetXattr, &path(index), 60_000)]
    })?;
    ensure!(values > 3, "metadata had no space at all");
    let some_space = [
        Op::number(NumberOp::RemoveXattr, &path(values - 1), 0),
        Op::number(NumberOp::RemoveXattr, &path(values - 3), 0),
        Op::number(NumberOp::Truncate, &path(6), LEFT_BYTES),
    ];
    run_all(&mut run, &some_space)?;
    Ok(run.into_base(name)?)
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

/// Every segment holds data, blocks that are only set aside and hold what was there before, and
/// holes, so that there is something to clean.
fn holey(small: &Base) -> Result<Base> {
    let mut run = Run::start(small)?;
    let paths: Vec<String> = (0..44).map(|index| format!("B/old{index}")).collect();
    for path in &paths {
        let fill = Op::range(RangeOp::Write, path, 0, 56 * BLOCK_BYTES);
        let zero = Op::range(RangeOp::Zero, path, 8 * BLOCK_BYTES, 8 * BLOCK_BYTES);
        run_all(&mut run, &[Op::path(PathOp::Create, path), fill, zero])?;
    }
    for path in paths.iter().step_by(2) {
        run_all(&mut run, &[Op::path(PathOp::Unlink, path)])?;
    }
    let base = run.into_base("holey")?;
    let run = Run::start(&base)?;
    ensure!(run.sim().clean(), "there is nothing to clean");
    Ok(base)
}
