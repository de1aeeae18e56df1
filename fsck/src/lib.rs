//! Checking and repairing logfs file systems.
//!
//! [`check`] works on any [`Env`]: the command `fsck.logfs` gives it a device or an image file,
//! tests a simulated one. Nothing is written before everything has been looked at: the log and all
//! repairs are images in memory. The passes go over them, round after round, until one finds nothing
//! more to repair; then what was repaired goes home as one transaction of the log. With
//! [`Mode::Check`] all of that happens too, but nothing is written.
//!
//! The passes, each in its own file (`docs/FSCK.md` tells why and in which order):
//!
//! | pass | file | what it checks |
//! |---|---|---|
//! | 1 | `segments` | segment table and headers |
//! | 2 | `sweep`, `inode`, `extents`, `xattrs`, `data` | inodes and what belongs to them |
//! | | `mend`, `witness`, `mapping` | lost blocks of inodes, from the summaries |
//! | 3 | `directories`, `dir_block`, `index` | entries and hash indexes |
//! | 4 | `root`, `links`, `lost_found` | reachability and counts |
//! | 5 | `marks` | what is marked as in use |
#![forbid(unsafe_code)]

mod ahead;
mod allocate;
mod contents;
mod context;
mod data;
mod dir_block;
mod directories;
mod extents;
mod failure;
mod in_use;
mod index;
mod inode;
mod inode_stream;
mod inode_table;
mod links;
mod log;
mod lost_found;
mod map;
mod mapping;
mod marks;
mod mend;
mod orphans;
mod overlay;
mod paths;
mod plain_inodes;
mod problem;
mod record;
mod report;
mod ring;
mod root;
mod segments;
mod shared;
mod superblock;
mod sweep;
mod tree;
mod witness;
mod write;
mod xattrs;

pub use failure::Failure;
pub use problem::{Class, Problem, Remedy};
pub use report::{Counts, Finding, Object, Report, Scope, Tally};

use bento_api::{Device, Env, FileSystem, MountOptions};
use context::Context;
use data::Witness;
use log::{Log, State};
use logfs::LogFs;
use superblock::Located;

/// What is to become of problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is written: the report says what would be.
    #[default]
    Check,
    /// Repairs are written if they are all safe, none if one is not; the log is brought home.
    Preen,
    /// Repairs that the observer approves are written.
    Repair,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Check everything even if the file system says that it is clean.
    pub force: bool,
    /// What is to become of problems.
    pub mode: Mode,
    /// Read all file data and compare it with its checksums.
    pub check_data: bool,
    /// Where to find the superblock, if not in its place.
    pub superblock: Option<u64>,
}

/// Who watches a check.
pub trait Observer {
    /// Pass `pass` has done `current` of `max`.
    fn progress(&mut self, pass: u32, current: u64, max: u64) {
        let _ = (pass, current, max);
    }

    /// Whether to give up. Nothing has been written as long as this is asked.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Whether to put a problem right.
    fn approve(&mut self, finding: &Finding) -> bool {
        let _ = finding;
        true
    }
}

/// Watches without a word and approves everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Number of the last pass.
pub const PASSES: u32 = 5;

/// Rounds after which a check gives up: each repair leaves less to repair, so a handful will do.
const ROUNDS_MAX: u32 = 20;

/// Checks a file system.
pub fn check<E: Env>(
    env: &E,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let located = superblock::locate(env.device(), options.superblock)?;
    let mode = match env.device().geometry().read_only {
        true => Mode::Check,
        false => options.mode,
    };
    if mode != Mode::Check && located.superblock.must_be_read_only() {
        return Err(Failure::ReadOnlyFeatures(
            located.superblock.ro_compat.get(),
        ));
    }
    let mut log = log::open(env, &located.superblock);
    if matches!(log.state, State::Sound)
        && !options.force
        && !log.has_errors()
        && located.findings.is_empty()
    {
        return believe(env, &located, &mut log, mode);
    }
    check_all(env, options.check_data, located, log, mode, observer)
}

/// Believes what the file system says of itself, and brings the log home.
fn believe<E: Env>(
    env: &E,
    located: &Located,
    log: &mut Log,
    mode: Mode,
) -> Result<Report, Failure> {
    let mut report = Report::new(Scope::Believed);
    report.transactions = log.transactions();
    report.counts = segments::counts(env.device(), &located.superblock, &log.blocks());
    if !log.is_clean() {
        report.scope = Scope::LogOnly;
        if mode != Mode::Check {
            write::log_home(env, &located.superblock, log, false)?;
            report.written = true;
        }
    }
    Ok(report)
}

fn check_all<E: Env>(
    env: &E,
    check_data: bool,
    located: Located,
    mut log: Log,
    mode: Mode,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let crc32c = |data: &[u8]| env.crc32c(0, data);
    let report = Report::new(Scope::Full);
    let superblock = located.superblock;
    let mut ctx = Context::new(env.device(), &crc32c, superblock, report, observer);
    ctx.report.transactions = log.transactions();
    ctx.images = log.blocks();
    superblock::report(&mut ctx, located);
    let log_is_kept = log::report(&mut ctx, &log);
    if log_is_kept {
        run_rounds(&mut ctx, check_data)?;
    }
    let repairs = write::Repairs::new(&ctx, &log);
    let superblock = ctx.superblock;
    let mut report = ctx.report;
    let may_write = match mode {
        Mode::Check => false,
        Mode::Preen => !report.needs_consent(),
        Mode::Repair => true,
    };
    if may_write && log_is_kept && (report.fixed() > 0 || !log.is_clean() || log.has_errors()) {
        write::all(env, &superblock, &mut log, &repairs, report.left() > 0)?;
        report.written = true;
    }
    if may_write && report.counts.orphans > 0 && report.left() == 0 {
        free_orphans(env)?;
        report.orphans_freed = true;
    }
    Ok(report)
}

/// Frees the inodes on the orphan list, as every mount does.
fn free_orphans<E: Env>(env: &E) -> Result<(), Failure> {
    LogFs::mount(env.clone(), &MountOptions::default())
        .and_then(|fs| fs.unmount())
        .map_err(|error| Failure::Io {
            doing: "freeing inodes without names",
            error,
        })
}

/// Goes over everything until there is nothing more to repair: what is written has been found sound.
fn run_rounds(ctx: &mut Context<'_>, check_data: bool) -> Result<(), Failure> {
    for _ in 0..ROUNDS_MAX {
        ctx.begin_round();
        let fixed = ctx.report.fixed();
        run_passes(ctx, &mut Witness::new(check_data))?;
        shared::name_owners(ctx);
        paths::name_findings(ctx);
        if ctx.report.fixed() == fixed && !ctx.restart {
            return Ok(());
        }
    }
    let rounds = ROUNDS_MAX;
    ctx.found(Object::FileSystem, Problem::Unsettled { rounds });
    Ok(())
}

fn run_passes(ctx: &mut Context<'_>, witness: &mut Witness) -> Result<(), Failure> {
    segments::check(ctx)?;
    let orphans = orphans::read(ctx);
    sweep::check(ctx, witness)?;
    if ctx.restart {
        return Ok(());
    }
    directories::check(ctx)?;
    if ctx.restart {
        return Ok(());
    }
    links::check(ctx)?;
    orphans::check(ctx, &orphans);
    if ctx.restart {
        return Ok(());
    }
    marks::check(ctx)
}
