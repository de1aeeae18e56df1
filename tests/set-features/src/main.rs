//! Sets feature bits in the superblock of an image, as a later version of logfs would.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use logfs_format::{BLOCK_BYTES, SUPERBLOCK_ADDRESS, Superblock};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Set feature bits in the superblock of an image and its copies.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The image
    image: PathBuf,

    /// Which feature word
    #[arg(value_enum)]
    word: Word,

    /// The bits, in hexadecimal after 0x
    #[arg(value_parser = parse_bits)]
    bits: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    Compat,
    RoCompat,
    Incompat,
}

fn parse_bits(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").context("bits start with 0x")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&arguments.image)
        .with_context(|| format!("cannot open {}", arguments.image.display()))?;
    let mut block = vec![0; BLOCK_BYTES];
    let offset_bytes = |address: u64| address * BLOCK_BYTES as u64;
    file.read_exact_at(&mut block, offset_bytes(SUPERBLOCK_ADDRESS))?;
    let mut superblock = Superblock::parse(&block, SUPERBLOCK_ADDRESS)
        .map_err(|fault| anyhow::anyhow!("{}: {fault}", arguments.image.display()))?;
    let word = match arguments.word {
        Word::Compat => &mut superblock.compat,
        Word::RoCompat => &mut superblock.ro_compat,
        Word::Incompat => &mut superblock.incompat,
    };
    word.set(word.get() | arguments.bits);
    let copies = superblock.backups.map(|address| address.get());
    for address in copies.into_iter().chain([SUPERBLOCK_ADDRESS]) {
        superblock.write_to(&mut block, address);
        file.write_all_at(&block, offset_bytes(address))?;
    }
    Ok(())
}
