//! The hot code of logfs, one operation at a time, on the simulator: no kernel, no device, the same
//! instructions every time.
#![forbid(unsafe_code)]

mod stage;

use anyhow::{Context, Result};
use bento_api::{Errno, FileSystem, Ino, RenameFlags, SetAttr, Written};
use logfs_format::{BLOCK_BYTES, block, dir};
use stage::{Stage, file_name};
use std::hint::black_box;

/// Does an operation once more. What it needs was prepared; the number says which time it is.
pub type Step = Box<dyn FnMut(u64) -> Result<()>>;

/// An operation.
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Prepares it.
    pub prepare: fn() -> Result<Step>,
}

const fn operation(
    name: &'static str,
    about: &'static str,
    prepare: fn() -> Result<Step>,
) -> Operation {
    Operation {
        name,
        about,
        prepare,
    }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    operation("checksum", "the checksum of a metadata block", checksum),
    operation("hash-name", "the hash of a name of 20 bytes", hash_name),
    operation("look-up", "a name of a directory of 10,000", look_up),
    operation("map", "a block of a file of 8192 extents", map),
    operation(
        "place",
        "a block among holes of one block, given back",
        place,
    ),
    operation(
        "overwrite",
        "a block of a file: reserve, place, written",
        overwrite,
    ),
    operation(
        "overwrite-16",
        "the same with 16 blocks apart, whose I/O ends together",
        overwrite_16,
    ),
    operation("log-record", "a changed inode, and its record", log_record),
    operation("create-unlink", "a file made and removed", create_unlink),
    operation("rename", "a file renamed in a directory of 10,000", rename),
];

/// Finds the operation of this name.
///
/// # Errors
/// There is none.
pub fn find(name: &str) -> Result<&'static Operation> {
    let found = OPERATIONS.iter().find(|it| it.name == name);
    found.with_context(|| format!("there is no operation {name}"))
}

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Spreads numbers over `0..below`, the same way every time.
fn spread(number: u64, below: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below
}

fn checksum() -> Result<Step> {
    let block: Vec<u8> = (0..BLOCK_BYTES).map(|index| index as u8).collect();
    Ok(Box::new(move |_| {
        black_box(block::checksum(black_box(&block)));
        Ok(())
    }))
}

fn hash_name() -> Result<Step> {
    let name = file_name(0);
    Ok(Box::new(move |number| {
        black_box(dir::hash_name([number, 2], black_box(&name)));
        Ok(())
    }))
}

const NAMES: u64 = 10_000;

fn look_up() -> Result<Step> {
    let stage = Stage::with_names(NAMES)?;
    let names: Vec<_> = (0..NAMES).map(file_name).collect();
    Ok(Box::new(move |number| {
        let name = &names[spread(number, NAMES) as usize];
        black_box(stage.fs().lookup(stage.dir(), name)?);
        Ok(())
    }))
}

const EXTENTS: u64 = 8192;

fn map() -> Result<Step> {
    let (stage, ino) = Stage::with_extents(EXTENTS)?;
    Ok(Box::new(move |number| {
        let offset = spread(number, EXTENTS) * 2 * BLOCK;
        black_box(stage.fs().map(ino, offset, BLOCK, false)?);
        Ok(())
    }))
}

fn place() -> Result<Step> {
    let (stage, ino) = Stage::with_holes()?;
    Ok(Box::new(move |number| {
        let offset_bytes = (1 << 30) + spread(number, EXTENTS) * BLOCK;
        stage.fs().reserve(ino, offset_bytes, BLOCK)?;
        black_box(stage.fs().place(ino, offset_bytes, BLOCK)?);
        // Or the disk would be full after some thousand times.
        let failed = Written {
            offset_bytes,
            len_bytes: BLOCK,
            result: Err(Errno::EIO),
            size_bytes: 0,
            checksums: &[],
        };
        Ok(stage.fs().written(ino, &[failed], None)?)
    }))
}

/// What the page cache does with blocks that a program has written and whose I/O ends together.
fn write_blocks<const N: usize>(stage: &Stage, ino: Ino, offsets_bytes: [u64; N]) -> Result<()> {
    let fs = stage.fs();
    for offset_bytes in offsets_bytes {
        fs.reserve(ino, offset_bytes, BLOCK)?;
        fs.place(ino, offset_bytes, BLOCK)?;
    }
    let written = offsets_bytes.map(|offset_bytes| Written {
        offset_bytes,
        len_bytes: BLOCK,
        result: Ok(()),
        size_bytes: offset_bytes + BLOCK,
        checksums: &[0x1234_5678],
    });
    Ok(fs.written(ino, &written, None)?)
}

/// A file that gets very many extents by this.
const OVERWRITTEN_BLOCKS: u64 = 16_384;

fn overwrite() -> Result<Step> {
    let (stage, ino) = Stage::with_file(OVERWRITTEN_BLOCKS)?;
    Ok(Box::new(move |number| {
        let block = spread(number, OVERWRITTEN_BLOCKS);
        write_blocks(&stage, ino, [block * BLOCK])?;
        stage.background();
        Ok(())
    }))
}

fn overwrite_16() -> Result<Step> {
    /// Writeback goes through a file in order: every fifth block, say.
    const STEP_BLOCKS: u64 = 5;
    let (stage, ino) = Stage::with_file(OVERWRITTEN_BLOCKS)?;
    Ok(Box::new(move |number| {
        let first = spread(number, OVERWRITTEN_BLOCKS - 16 * STEP_BLOCKS);
        let blocks = core::array::from_fn::<u64, 16, _>(|index| first + index as u64 * STEP_BLOCKS);
        write_blocks(&stage, ino, blocks.map(|block| block * BLOCK))?;
        stage.background();
        Ok(())
    }))
}

fn log_record() -> Result<Step> {
    let (stage, ino) = Stage::with_file(1)?;
    Ok(Box::new(move |number| {
        let set = SetAttr {
            mode: Some(0o600 + (number as u16 & 7)),
            ..SetAttr::default()
        };
        stage.fs().setattr(ino, &set)?;
        stage.fs().fsync(ino, false)?;
        stage.background();
        Ok(())
    }))
}

fn create_unlink() -> Result<Step> {
    let stage = Stage::with_names(NAMES)?;
    let name = file_name(NAMES);
    Ok(Box::new(move |_| {
        let created = stage.create(&name)?;
        stage.fs().unlink(stage.dir(), &name)?;
        stage.fs().forget(created);
        stage.background();
        Ok(())
    }))
}

fn rename() -> Result<Step> {
    let stage = Stage::with_names(NAMES)?;
    let names: Vec<_> = (0..NAMES).map(file_name).collect();
    let others: Vec<_> = (NAMES..2 * NAMES).map(file_name).collect();
    Ok(Box::new(move |number| {
        let (round, index) = (number / NAMES, (number % NAMES) as usize);
        let (mut from, mut to) = (&names[index], &others[index]);
        if round % 2 == 1 {
            (from, to) = (to, from);
        }
        let dir = stage.dir();
        stage
            .fs()
            .rename(dir, from, dir, to, RenameFlags::Replace)?;
        stage.background();
        Ok(())
    }))
}
