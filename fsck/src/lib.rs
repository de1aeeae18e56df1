//! Checking and repairing logfs file systems.
//!
//! [`check`] works on any [`Env`]: the command `fsck.logfs` gives it a device or an image file,
//! tests a simulated one. Nothing is written before everything has been looked at: the log and all
//! repairs are images in memory, which go home together at the end, followed by a clean
//! checkpoint. With [`Options::write`] false nothing is written at all.
//!
//! The passes, each in its own file:
//!
//! | pass | file | what it checks |
//! |---|---|---|
//! | 1 | `segments` | segment table and headers |
//! | 2 | `sweep`, `inode`, `extents`, `xattrs`, `data` | inodes and what belongs to them |
//! | 3 | `directories`, `index` | entries and hash indexes |
//! | 4 | `links`, `lost_found` | reachability and counts |
//! | 5 | `marks` | what is marked as in use |
#![forbid(unsafe_code)]

mod allocate;
mod context;
mod data;
mod directories;
mod extents;
mod failure;
mod index;
mod inode;
mod inode_table;
mod links;
mod lost_found;
mod map;
mod marks;
mod orphans;
mod paths;
mod problem;
mod report;
mod segments;
mod shared;
mod superblock;
mod sweep;
mod tree;
mod xattrs;

pub use failure::Failure;
pub use problem::{Class, Problem, Remedy};
pub use report::{Counts, Finding, Object, Report, Scope};

use bento_api::{Device, Env, FileSystem, MountOptions};
use context::Context;
use data::Witness;
use logfs::LogFs;
use logfs::recovery::{self, Recovered};
use superblock::Located;

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Check everything even if the file system says that it is clean.
    pub force: bool,
    /// The log may be replayed, and repairs be made if the observer approves.
    pub write: bool,
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

    /// Whether to make the repairs.
    fn approve(&mut self, report: &Report) -> bool {
        let _ = report;
        true
    }
}

/// Watches without a word and approves everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Number of the last pass.
pub const PASSES: u32 = 5;

/// Checks a file system.
pub fn check<E: Env>(
    env: &E,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let located = superblock::locate(env.device(), options.superblock)?;
    let write = options.write && !env.device().geometry().read_only;
    if write && located.superblock.must_be_read_only() {
        return Err(Failure::ReadOnlyFeatures(
            located.superblock.ro_compat.get(),
        ));
    }
    let log = recovery::read_log(env, &located.superblock);
    if let Ok(log) = &log
        && !options.force
        && !log.has_errors
        && located.findings.is_empty()
    {
        return believe(env, &located, log, write);
    }
    check_all(env, options, located, log, write, observer)
}

/// Believes what the file system says of itself, and brings the log home.
fn believe<E: Env>(
    env: &E,
    located: &Located,
    log: &Recovered,
    write: bool,
) -> Result<Report, Failure> {
    let mut report = Report::new(Scope::Believed);
    report.transactions = log.transactions;
    report.counts = segments::counts(env.device(), &located.superblock, log);
    if !log.is_clean {
        report.scope = Scope::LogOnly;
        if write {
            write_home(env, located, log)?;
            report.written = true;
        }
    }
    Ok(report)
}

fn check_all<E: Env>(
    env: &E,
    options: &Options,
    located: Located,
    log: bento_api::Result<Recovered>,
    write: bool,
    observer: &mut dyn Observer,
) -> Result<Report, Failure> {
    let report = Report::new(Scope::Full);
    let mut ctx = Context::new(env.device(), located.superblock, report, observer);
    for (object, problem) in &located.findings {
        ctx.found(object.clone(), problem.clone());
    }
    match &log {
        Ok(log) => {
            ctx.report.transactions = log.transactions;
            ctx.images = log.blocks.clone();
        }
        Err(error) => {
            let error = error.to_string();
            ctx.found(Object::Log, Problem::LogDamaged { error });
        }
    }
    let checksum = |data: &[u8]| env.crc32c(0, data);
    let mut witness = Witness::new(options.check_data.then_some(&checksum));
    run_passes(&mut ctx, &mut witness)?;
    ctx.images.extend(located.images.clone());
    let Context {
        images,
        mut report,
        observer,
        ..
    } = ctx;
    let Ok(mut log) = log else {
        // Without the log nobody knows what is home and what isn't: nothing can be repaired yet.
        return Ok(report);
    };
    let approved = report.repairable() == 0 || observer.approve(&report);
    let is_due = !log.is_clean || log.has_errors || report.repairable() > 0;
    if write && approved && is_due {
        log.blocks = images;
        log.has_errors = report.left() > 0;
        write_home(env, &located, &log)?;
        report.written = true;
    }
    if write && report.counts.orphans > 0 && report.left() == 0 && approved {
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

fn run_passes(ctx: &mut Context<'_>, witness: &mut Witness<'_>) -> Result<(), Failure> {
    segments::check(ctx)?;
    let orphans = orphans::read(ctx);
    sweep::check(ctx, witness)?;
    directories::check(ctx)?;
    links::check(ctx)?;
    orphans::check(ctx, &orphans);
    marks::check(ctx)?;
    shared::name_owners(ctx);
    paths::name_findings(ctx);
    Ok(())
}

fn write_home<E: Env>(env: &E, located: &Located, log: &Recovered) -> Result<(), Failure> {
    recovery::write_home(env, &located.superblock, log).map_err(|error| Failure::Io {
        doing: "writing the file system",
        error,
    })
}
