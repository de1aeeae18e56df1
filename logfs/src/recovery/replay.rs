//! Replay: the records of the log, and the blocks as they leave them.
//!
//! The log is read once: what is known to be durable is applied on the way, the records behind it
//! wait in memory. It is read again for those that don't fit there, and, if some at the end don't
//! count, to apply the others alone.

use super::claims::Claims;
use super::images::Images;
use super::reader::{Reader, Record};
use crate::journal::Ring;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bento_api::{Env, Errno, Result};
use logfs_format::le::Le32;
use logfs_format::log::{Item, LOG_IMAGES_MAX};
use logfs_format::{BLOCK_BYTES, Superblock};

/// Bytes of records that wait in memory until it is known whether they are durable: an eighth of what
/// the blocks that they change may take.
const WAITING_BYTES_MAX: usize = LOG_IMAGES_MAX * BLOCK_BYTES / 8;

/// What the records make of the blocks.
pub(super) struct Replayed<'a, E: Env> {
    pub(super) images: Images<'a, E>,
    /// Records that are whole.
    pub(super) found: usize,
    /// Those of them that count.
    pub(super) kept: usize,
    /// Where the last that counts ends.
    pub(super) end: u64,
}

/// Replays the records from position `tail` on, the first of which has the number `first`.
pub(super) fn replay<'a, E: Env>(
    env: &'a E,
    superblock: &Superblock,
    tail: u64,
    first: u64,
) -> Result<Replayed<'a, E>> {
    let mut reader = Reader::new(env, Ring::new(superblock), superblock.header.uuid);
    let mut images = Images::new(env, superblock);
    let (mut records, applied) = apply_durable(&mut reader, &mut images, tail, first)?;
    let kept = applied + apply_claimed(&mut reader, &mut images, records.iter_mut().skip(applied))?;
    if kept < records.len() {
        images = Images::new(env, superblock);
        for record in records.iter_mut().take(kept) {
            apply(&mut reader, &mut images, record, |_, _| ())?;
        }
    }
    let last = records.get(..kept).and_then(|kept| kept.last());
    Ok(Replayed {
        images,
        found: records.len(),
        kept,
        end: last.map_or(tail, |record| record.end_position),
    })
}

/// Finds the records that are whole, and applies those that are known to be durable, whatever data
/// they claim. Returns all, and how many were applied.
fn apply_durable<E: Env>(
    reader: &mut Reader<'_, E>,
    images: &mut Images<'_, E>,
    tail: u64,
    first: u64,
) -> Result<(Vec<Record>, usize)> {
    let mut records: Vec<Record> = Vec::new();
    let (mut applied, mut durable, mut waiting_bytes) = (0, 0, 0);
    let (mut position, mut sequence) = (tail, first);
    let ring_end = tail + reader.granules();
    while let Some(record) = reader.record(
        position,
        sequence,
        ring_end,
        WAITING_BYTES_MAX - waiting_bytes,
    )? {
        position = record.end_position;
        sequence += 1;
        durable = durable.max(record.durable_sequence);
        waiting_bytes += record.kept_bytes();
        records.push(record);
        let waiting = records.iter_mut().skip(applied);
        for record in waiting.take_while(|record| record.sequence <= durable) {
            waiting_bytes -= record.kept_bytes();
            apply(reader, images, record, |_, _| ())?;
            applied += 1;
        }
    }
    if planted!(ReplayStopsEarly) {
        records.pop();
    }
    Ok((records, applied))
}

/// Applies records that are not known to be durable. Returns how many of them count: as many as there
/// are without one at the end whose data never arrived.
fn apply_claimed<'r, E: Env>(
    reader: &mut Reader<'_, E>,
    images: &mut Images<'_, E>,
    records: impl Iterator<Item = &'r mut Record>,
) -> Result<usize> {
    let mut claims = Claims::new(images.env(), images.layout());
    let mut valid = 0;
    for (index, record) in records.enumerate() {
        let segments = apply(reader, images, record, |block, checksums| {
            claims.add(block, checksums);
        })?;
        if claims.are_too_many() {
            break;
        }
        if claims.hold(images, &segments)? {
            valid = index + 1;
        }
    }
    Ok(valid)
}

/// Applies a record to the images and passes its claims on. Returns the segments whose headers it
/// changes.
fn apply<E: Env>(
    reader: &mut Reader<'_, E>,
    images: &mut Images<'_, E>,
    record: &mut Record,
    mut claim: impl FnMut(u64, &[Le32]),
) -> Result<BTreeSet<u64>> {
    let mut segments = BTreeSet::new();
    let body = reader.take_body(record)?;
    for item in logfs_format::log::items(&body) {
        match item.map_err(|_| Errno::EUCLEAN)? {
            Item::Change {
                block,
                zero_first,
                offset,
                data,
            } => {
                images.change(block, zero_first, offset, data)?;
                if let Some((segment, 0)) = images.layout().segment_of(block) {
                    segments.insert(segment);
                }
            }
            Item::Claim { block, checksums } => claim(block, checksums),
        }
    }
    Ok(segments)
}
