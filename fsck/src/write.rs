//! Bringing repairs to the device, so that the power may go at any moment.
//!
//! 1. Superblocks that change: the copies first.
//! 2. The log as it was goes home, and the checkpoint says that a full check is due.
//! 3. File data is copied into blocks that were free.
//! 4. The repairs are written as one record of the log, and brought home by recovery.
//!
//! A cut before the record is whole leaves the damage as it was; one after it a log to be replayed.
//! Repairs that don't fit into the log go home in place, what pointers lead to before the pointers:
//! a cut leaves less damage than there was, and still the note that a check is due.

use crate::Failure;
use crate::context::{Context, Images};
use crate::log::{Log, State};
use crate::record;
use bento_api::{Device, Env, ReadRequest, Result, WriteRequest};
use logfs::recovery;
use logfs_format::log::CHECKPOINT_BLOCKS;
use logfs_format::{BLOCK_BYTES, BlockKind, SUPERBLOCK_ADDRESS, Superblock, block};
use std::collections::BTreeMap;

/// Blocks written per request to the device.
const BATCH_BLOCKS: usize = 256;

/// What a check has changed.
pub(crate) struct Repairs {
    superblocks: Images,
    images: Images,
    /// File data: to where, from where.
    copies: BTreeMap<u64, u64>,
}

impl Repairs {
    /// What differs from what the log says by itself.
    pub(crate) fn new(ctx: &Context<'_>, log: &Log) -> Repairs {
        let logged = log.recovered.as_ref().map(|log| &log.blocks);
        let is_logged = |address: u64, image: &[u8]| {
            logged
                .and_then(|blocks| blocks.get(&address))
                .is_some_and(|old| old.as_ref() == image)
        };
        let changed = ctx
            .images
            .iter()
            .filter(|(address, image)| !is_logged(**address, image))
            .map(|(address, image)| (*address, image.clone()));
        let is_superblock = |image: &[u8]| {
            let kind = block::header(image).map(|header| header.kind.get());
            kind == Some(BlockKind::Superblock as u16)
        };
        let (superblocks, images) = changed.partition(|(_, image)| is_superblock(image));
        Repairs {
            superblocks,
            images,
            copies: ctx.copies.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.images.is_empty() && self.copies.is_empty()
    }
}

/// Brings the log home and leaves it empty. `errors`: a full check is due.
pub(crate) fn log_home<E: Env>(
    env: &E,
    superblock: &Superblock,
    log: &mut Log,
    errors: bool,
) -> std::result::Result<(), Failure> {
    let written = match (&log.state, &mut log.recovered) {
        (State::Sound | State::Broken { .. }, Some(recovered)) => {
            recovered.has_errors = errors;
            recovery::write_home(env, superblock, recovered)
        }
        // Without a valid checkpoint nobody mounts it: a cut leaves it as damaged as it was.
        (_, recovered) => {
            let none = Images::new();
            let blocks = recovered.as_ref().map_or(&none, |log| &log.blocks);
            in_place(env.device(), blocks)
                .and_then(|()| wipe_checkpoints(env.device(), superblock))
                .and_then(|()| recovery::discard_log(env, superblock))
        }
    };
    written.map_err(failed)
}

/// Writes everything. `errors`: not everything could be repaired.
pub(crate) fn all<E: Env>(
    env: &E,
    superblock: &Superblock,
    log: &mut Log,
    repairs: &Repairs,
    errors: bool,
) -> std::result::Result<(), Failure> {
    superblocks(env.device(), &repairs.superblocks).map_err(failed)?;
    log_home(env, superblock, log, errors || !repairs.is_empty())?;
    if repairs.is_empty() {
        return Ok(());
    }
    repair(env, superblock, repairs, errors).map_err(failed)
}

/// Makes sure that no old checkpoint is in force.
fn wipe_checkpoints(device: &dyn Device, superblock: &Superblock) -> Result<()> {
    device.write(&[WriteRequest {
        offset_bytes: superblock.log_start.get() * BLOCK_BYTES as u64,
        data: &[0; CHECKPOINT_BLOCKS as usize * BLOCK_BYTES],
    }])?;
    device.flush()
}

fn failed(error: bento_api::Errno) -> Failure {
    Failure::Io {
        doing: "writing the file system",
        error,
    }
}

fn repair<E: Env>(env: &E, superblock: &Superblock, repairs: &Repairs, errors: bool) -> Result<()> {
    let device = env.device();
    for (&to, &from) in &repairs.copies {
        copy(device, from, to)?;
    }
    device.flush()?;
    if record::fits(superblock, repairs.images.len()) {
        let checkpoint = recovery::read_checkpoint(env, superblock)?;
        record::write(device, superblock, &checkpoint, &repairs.images)?;
    } else {
        // Inodes and what says where they are last: they lead to everything else.
        let leads = |image: &[u8]| {
            let kind = block::header(image).map(|header| header.kind.get());
            kind == Some(BlockKind::Inodes as u16) || kind == Some(BlockKind::SegmentTable as u16)
        };
        let images = || repairs.images.iter();
        in_place(device, images().filter(|(_, image)| !leads(image)))?;
        in_place(device, images().filter(|(_, image)| leads(image)))?;
    }
    let mut recovered = recovery::read_log(env, superblock)?;
    recovered.has_errors = errors;
    recovery::write_home(env, superblock, &recovered)
}

/// The superblock itself is last: until it is written, the copies may differ from it.
fn superblocks(device: &dyn Device, images: &Images) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let is_first = |address: u64| address == SUPERBLOCK_ADDRESS;
    in_place(
        device,
        images.iter().filter(|(address, _)| !is_first(**address)),
    )?;
    in_place(
        device,
        images.iter().filter(|(address, _)| is_first(**address)),
    )
}

fn in_place<'i>(
    device: &dyn Device,
    images: impl IntoIterator<Item = (&'i u64, &'i Box<[u8]>)>,
) -> Result<()> {
    let requests: Vec<WriteRequest<'_>> = images
        .into_iter()
        .map(|(address, data)| WriteRequest {
            offset_bytes: address * BLOCK_BYTES as u64,
            data,
        })
        .collect();
    for batch in requests.chunks(BATCH_BLOCKS) {
        device.write(batch)?;
    }
    device.flush()
}

fn copy(device: &dyn Device, from: u64, to: u64) -> Result<()> {
    let mut data = vec![0; BLOCK_BYTES];
    device.read(&mut [ReadRequest {
        offset_bytes: from * BLOCK_BYTES as u64,
        buffer: &mut data,
    }])?;
    device.write(&[WriteRequest {
        offset_bytes: to * BLOCK_BYTES as u64,
        data: &data,
    }])
}
