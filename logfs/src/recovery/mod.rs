//! Recovery: what the log holds beyond what is home.
//!
//! Records are taken from the tail on as long as they are whole and their numbers follow each other.
//! The last of them may map file data that never reached the device: those behind the last that is
//! known to be durable count only if the data they claim is there. Replay is idempotent; a crash
//! in the middle of it changes nothing.

mod claims;
mod images;
mod reader;
mod replay;

use crate::journal::{self, Ring, Start};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bento_api::{Device, Env, Errno, Level, ReadRequest, Result, WriteRequest};
use core::fmt;
use logfs_format::log::CHECKPOINT_BLOCKS;
use logfs_format::{BLOCK_BYTES, Checkpoint, Fault, Superblock, block};
use reader::Reader;

/// No log gets this far: a number beyond it is damage, and must not overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// Blocks written home per request to the device.
const BATCH_BLOCKS: usize = 256;

/// What the log holds.
pub struct Recovered {
    /// Metadata blocks as they should be at home, sealed.
    pub blocks: BTreeMap<u64, Box<[u8]>>,
    /// Transactions that count.
    pub transactions: u64,
    /// Transactions at the end of the log that don't, since their data never arrived. Nobody was
    /// told that they were durable.
    pub dropped: u64,
    /// Whether the last checkpoint noted damage.
    pub has_errors: bool,
    /// Whether the last checkpoint was that of an unmount, with nothing after it.
    pub is_clean: bool,
    start: Start,
    /// Position of the first record.
    tail: u64,
}

impl Recovered {
    pub(crate) fn into_start(self) -> Start {
        self.start
    }
}

/// The newer of the two checkpoint blocks. `EUCLEAN` if neither is valid.
pub fn read_checkpoint<E: Env>(env: &E, superblock: &Superblock) -> Result<Checkpoint> {
    let uuid = &superblock.header.uuid;
    let mut newest: Option<Checkpoint> = None;
    for address in (superblock.log_start.get()..).take(CHECKPOINT_BLOCKS as usize) {
        let mut data = vec![0; BLOCK_BYTES];
        let offset_bytes = address * BLOCK_BYTES as u64;
        env.device().read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut data,
        }])?;
        if let Ok(found) = Checkpoint::parse(&data, uuid, address)
            && newest.is_none_or(|newest| found.number.get() > newest.number.get())
        {
            newest = Some(found);
        }
    }
    newest.ok_or_else(|| {
        env.log(
            Level::Error,
            format_args!("both checkpoint blocks are damaged; run fsck.logfs"),
        );
        Errno::EUCLEAN
    })
}

/// Reads the log and works out what it says. Writes nothing.
pub fn read_log<E: Env>(env: &E, superblock: &Superblock) -> Result<Recovered> {
    let checkpoint = read_checkpoint(env, superblock)?;
    let ring = Ring::new(superblock);
    let tail = checkpoint.tail_granule.get();
    let first = checkpoint.tail_sequence.get();
    let number = checkpoint.number.get();
    if tail >= ring.granules || first == 0 || first.max(number) > NUMBER_MAX {
        env.log(
            Level::Error,
            format_args!("the log's tail is outside of the log; run fsck.logfs"),
        );
        return Err(Errno::EUCLEAN);
    }
    let replay::Replayed {
        images,
        found,
        kept,
        end,
    } = replay::replay(env, superblock, tail, first)?;
    let flags = checkpoint.flags.get();
    Ok(Recovered {
        blocks: images.into_sealed(),
        transactions: kept as u64,
        dropped: (found - kept) as u64,
        has_errors: flags & Checkpoint::ERRORS != 0,
        is_clean: flags & Checkpoint::CLEAN != 0 && kept == 0,
        start: Start {
            // Beyond any record that may still lie behind the last one that counts.
            sequence: match planted!(NumbersReused) {
                true => first + kept as u64,
                false => first + found as u64 + ring.granules,
            },
            position: end,
            checkpoint_number: checkpoint.number.get(),
        },
        tail,
    })
}

/// Makes sure that the log ends where its records end: if a later record tells that the one which is
/// missing was durable, that one is damaged, and what follows is lost to a mount: `EUCLEAN`. Looks at
/// all of the log that no record was found in, but not if the last checkpoint is an unmount's and no
/// record was started since.
pub fn check_end<E: Env>(env: &E, superblock: &Superblock, recovered: &Recovered) -> Result<()> {
    let ring = Ring::new(superblock);
    let missing = recovered.start.sequence - ring.granules;
    let uuid = superblock.header.uuid;
    let mut reader = Reader::new(env, ring, uuid);
    let next = reader.head(recovered.start.position)?;
    if recovered.is_clean && !next.check(&uuid, missing, ring.bytes()) {
        return Ok(());
    }
    for position in recovered.start.position..recovered.tail + ring.granules {
        let head = reader.head(position)?;
        let sequence = head.sequence.get();
        // What is in the log from earlier rounds has smaller numbers.
        if sequence > missing
            && sequence - missing <= ring.granules
            && head.durable_sequence.get() >= missing
            && reader
                .record(position, sequence, position + ring.granules, 0)?
                .is_some()
        {
            env.log(
                Level::Error,
                format_args!(
                    "log: record {missing} is damaged, and record {sequence} needs it; \
                     run fsck.logfs"
                ),
            );
            return Err(Errno::EUCLEAN);
        }
    }
    Ok(())
}

/// Gives up what the log holds and starts an empty one that a full check has to follow. For repair,
/// when no checkpoint tells where the log starts.
pub fn discard_log<E: Env>(env: &E, superblock: &Superblock) -> Result<()> {
    let ring = Ring::new(superblock);
    let mut reader = Reader::new(env, ring, superblock.header.uuid);
    let mut last = 0;
    for position in 0..ring.granules {
        let head = reader.head(position)?;
        let sequence = head.sequence.get();
        if sequence < NUMBER_MAX && head.check(&superblock.header.uuid, sequence, ring.bytes()) {
            last = last.max(sequence);
        }
    }
    let checkpoint = Checkpoint {
        number: 1.into(),
        // No old record may be taken for one that follows.
        tail_sequence: (last + 1 + ring.granules).into(),
        flags: (Checkpoint::CLEAN | Checkpoint::ERRORS).into(),
        ..bytemuck::Zeroable::zeroed()
    };
    journal::write_checkpoint(
        env.device(),
        superblock.header.uuid,
        superblock.log_start.get(),
        &checkpoint,
    )
}

/// Brings everything home and leaves the log empty and the file system clean.
pub fn write_home<E: Env>(env: &E, superblock: &Superblock, recovered: &Recovered) -> Result<()> {
    let device = env.device();
    let all: Vec<(&u64, &Box<[u8]>)> = recovered.blocks.iter().collect();
    for batch in all.chunks(BATCH_BLOCKS) {
        let requests: Vec<WriteRequest<'_>> = batch
            .iter()
            .map(|(address, data)| WriteRequest {
                offset_bytes: *address * BLOCK_BYTES as u64,
                data,
            })
            .collect();
        device.write(&requests)?;
    }
    if !planted!(ReplayUnflushed) {
        device.flush()?;
    }
    let errors = if recovered.has_errors {
        Checkpoint::ERRORS
    } else {
        0
    };
    write_checkpoint(env, superblock, recovered, Checkpoint::CLEAN | errors)?;
    let done = [
        ("transactions", recovered.transactions),
        ("blocks", recovered.blocks.len() as u64),
        ("dropped", recovered.dropped),
    ];
    env.trace("recovered", &done);
    Ok(())
}

/// Writes the checkpoint that follows the recovered one.
fn write_checkpoint<E: Env>(
    env: &E,
    superblock: &Superblock,
    recovered: &Recovered,
    flags: u64,
) -> Result<()> {
    let start = &recovered.start;
    let ring = Ring::new(superblock);
    let checkpoint = Checkpoint {
        number: (start.checkpoint_number + 1).into(),
        tail_sequence: start.sequence.into(),
        tail_granule: (start.position % ring.granules).into(),
        flags: flags.into(),
        ..bytemuck::Zeroable::zeroed()
    };
    journal::write_checkpoint(
        env.device(),
        superblock.header.uuid,
        superblock.log_start.get(),
        &checkpoint,
    )
}

/// Reads the superblock and checks it against the device.
pub fn read_superblock<E: Env>(env: &E) -> Result<Superblock> {
    let geometry = env.device().geometry();
    let address = logfs_format::SUPERBLOCK_ADDRESS;
    let mut data = vec![0; BLOCK_BYTES];
    let offset_bytes = address * BLOCK_BYTES as u64;
    if geometry.size_bytes < offset_bytes + BLOCK_BYTES as u64 {
        env.log(
            Level::Error,
            format_args!("the device is too small to hold a logfs"),
        );
        return Err(Errno::EINVAL);
    }
    env.device().read(&mut [ReadRequest {
        offset_bytes,
        buffer: &mut data,
    }])?;
    let is_logfs = block::header(&data).is_some_and(|h| h.magic.get() == block::BLOCK_MAGIC);
    let superblock = Superblock::parse(&data, address).map_err(|fault| {
        let log = |message: fmt::Arguments<'_>| env.log(Level::Error, message);
        match fault {
            _ if !is_logfs => {
                log(format_args!("no logfs on this device"));
                Errno::EINVAL
            }
            Fault::Features(_) => {
                log(format_args!("{fault}: it needs a newer version of logfs"));
                Errno::EINVAL
            }
            fault => {
                log(format_args!("superblock: {fault}; run fsck.logfs"));
                Errno::EUCLEAN
            }
        }
    })?;
    let bytes = superblock
        .total_blocks
        .get()
        .saturating_mul(BLOCK_BYTES as u64);
    if bytes > geometry.size_bytes {
        env.log(
            Level::Error,
            format_args!(
                "the file system has {bytes} bytes, the device only {}",
                geometry.size_bytes
            ),
        );
        return Err(Errno::EINVAL);
    }
    if superblock.log_granule_bytes.get() < geometry.sector_bytes {
        env.log(
            Level::Error,
            format_args!("the device's sectors are larger than those of the device it was made on"),
        );
        return Err(Errno::EINVAL);
    }
    Ok(superblock)
}
