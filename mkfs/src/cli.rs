//! The command line.

use crate::random;
use crate::size::{parse_blocks, parse_bytes};
use anyhow::{Result, bail};
use clap::{ArgAction, Parser};
use logfs_format::{BLOCK_BYTES, LABEL_BYTES};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Make a logfs file system on a block device or in an image file.
#[derive(Debug, Parser)]
#[command(
    name = "mkfs.logfs",
    bin_name = "mkfs.logfs",
    version,
    args_override_self = true
)]
pub(crate) struct Cli {
    /// Overwrite what is on the device without asking
    #[arg(short = 'f', short_alias = 'F', long)]
    pub(crate) force: bool,

    /// Show what would be made, and write nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Print nothing but errors and questions
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Tell where the parts of the file system lie
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Print what was made (or would be) as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,

    /// Name of the file system, up to 64 bytes
    #[arg(short = 'L', long, value_parser = clap::builder::OsStringValueParser::new(), value_name = "NAME")]
    pub(crate) label: Option<OsString>,

    /// UUID of the file system: one, or `random`
    #[arg(short = 'U', long, value_parser = parse_uuid)]
    pub(crate) uuid: Option<[u8; 16]>,

    /// Block size: 4096 is the only one
    #[arg(short, long, value_parser = parse_block_size, default_value = "4096", value_name = "BYTES")]
    pub(crate) block_size: u64,

    /// Size of a segment: a power of two from 1M to 32M [default: by the size of the device]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    segment_size: Option<u64>,

    /// Size of the log, at least 2M [default: a 32nd of the device, at most 128M]
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    log_size: Option<u64>,

    /// Unit of log writes: 512, 1024, 2048 or 4096 [default: the device's sector size]
    #[arg(short, long, value_parser = parse_bytes, value_name = "BYTES")]
    pub(crate) sector_size: Option<u64>,

    /// Percentage of the blocks that only root may use
    #[arg(short = 'm', long, value_parser = clap::value_parser!(u8).range(0..=50), default_value = "0", value_name = "PERCENT")]
    pub(crate) reserved_percent: u8,

    /// Key of the directory hash, in the form of a UUID [default: random]
    #[arg(long, value_parser = parse_uuid, value_name = "UUID")]
    pub(crate) hash_seed: Option<[u8; 16]>,

    /// Copy what is in this directory into the new file system
    #[arg(short, long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// Don't discard the device's old contents
    #[arg(short = 'K', long, action = ArgAction::SetTrue)]
    no_discard: bool,

    /// The block device or image file
    pub(crate) device: PathBuf,

    /// Size of the file system in blocks of 4 KiB, or with K, M, G, T in bytes. An image file is
    /// made or grown as needed
    #[arg(value_parser = parse_blocks, value_name = "SIZE-IN-BLOCKS")]
    pub(crate) size_blocks: Option<u64>,
}

impl Cli {
    pub(crate) fn discard(&self) -> bool {
        !self.no_discard
    }

    pub(crate) fn label_bytes(&self) -> &[u8] {
        self.label.as_deref().map_or(&[], OsStr::as_bytes)
    }

    /// The segment size in blocks.
    pub(crate) fn segment_blocks(&self) -> Result<Option<u32>> {
        let Some(bytes) = self.segment_size else {
            return Ok(None);
        };
        // Left to the planner: what is wrong with a size that fits.
        match u32::try_from(bytes / BLOCK_BYTES as u64) {
            Ok(blocks) if bytes.is_multiple_of(BLOCK_BYTES as u64) => Ok(Some(blocks)),
            _ => bail!("segment size must be a power of two from 1M to 32M"),
        }
    }

    /// The log size in blocks.
    pub(crate) fn log_blocks(&self) -> Option<u64> {
        self.log_size.map(|bytes| bytes / BLOCK_BYTES as u64)
    }

    /// Checks what the parser can't.
    pub(crate) fn check(&self) -> Result<()> {
        if self.label_bytes().len() > LABEL_BYTES {
            bail!("the label is longer than {LABEL_BYTES} bytes");
        }
        Ok(())
    }
}

fn parse_uuid(text: &str) -> Result<[u8; 16], String> {
    if text == "random" {
        return random::uuid().map_err(|error| error.to_string());
    }
    let uuid = uuid::Uuid::try_parse(text).map_err(|_| format!("`{text}` is not a UUID"))?;
    if uuid.is_nil() {
        return Err("the UUID must not be zero".to_owned());
    }
    Ok(uuid.into_bytes())
}

fn parse_block_size(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        bytes if bytes == BLOCK_BYTES as u64 => Ok(bytes),
        bytes => Err(format!(
            "{bytes} bytes: logfs has blocks of 4096 bytes only"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
