//! `mkfs.logfs`: makes a logfs file system on a block device or in an image file.
#![forbid(unsafe_code)]

mod ask;
mod cli;
mod in_use;
mod populate;
mod random;
mod report;
mod signature;
mod size;
mod target;

use anyhow::{Context, Result, bail};
use clap::Parser;
use cli::Cli;
use mkfs_logfs::{Options, Plan};
use std::process::ExitCode;
use target::Target;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What can't be printed can't be helped.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mkfs.logfs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let name = cli.device.display();
    cli.check()?;
    if let Some(directory) = &cli.directory
        && !directory.is_dir()
    {
        bail!("{} is no directory", directory.display());
    }
    let target = Target::find(&cli.device, cli.size_blocks)?;
    let options = options(cli)?;
    let sector = target.sector(cli.sector_size)?;
    let plan = Plan::new(target.total_blocks, sector, &options)
        .with_context(|| format!("{name} ({} blocks)", target.total_blocks))?;
    let found = target.signature()?;
    if cli.dry_run {
        return report::show(cli, &plan, found);
    }
    if let Some(found) = found
        && !cli.force
        && !ask::proceed(&format!("{name} contains a {found}."))?
    {
        bail!("{name} is left as it was: use -f to overwrite what it contains");
    }
    let device = target.open()?;
    if cli.discard() {
        target::discard(&device, target.total_blocks);
    }
    mkfs_logfs::format(&device, &plan).with_context(|| format!("writing to {name}"))?;
    match &cli.directory {
        Some(directory) => populate::populate(device, directory).context("copying")?,
        None => drop(device),
    }
    report::show(cli, &plan, None)
}

/// The options of the file system itself.
fn options(cli: &Cli) -> Result<Options> {
    let uuid = match cli.uuid {
        Some(uuid) => uuid,
        None => random::uuid()?,
    };
    let hash_key = match cli.hash_seed {
        Some(seed) => {
            let (high, low) = uuid::Uuid::from_bytes(seed).as_u64_pair();
            [high, low]
        }
        None => random::key()?,
    };
    Ok(Options {
        uuid,
        label: cli.label_bytes().to_vec(),
        hash_key,
        now: random::now()?,
        segment_blocks: cli.segment_blocks()?,
        log_blocks: cli.log_blocks(),
        reserved_percent: cli.reserved_percent,
    })
}
