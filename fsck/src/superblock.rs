//! Finding the superblock, and checking its copies.

use crate::context::{Context, Images, RUN_BLOCKS};
use crate::{Failure, Object, Problem};
use bento_api::{Device, ReadRequest};
use logfs_format::{
    BLOCK_BYTES, BLOCK_MAGIC, BlockKind, FORMAT_VERSION, Fault, Layout, MAX_SEGMENT_BLOCKS,
    MIN_SEGMENT_BLOCKS, SIGNATURE, SUPERBLOCK_ADDRESS, Superblock, block,
};

/// Blocks that are searched for a copy: of a file system that was made without a wish for the size
/// of the log, the first copy is well before the end of this GiB.
const SCAN_BLOCKS_MAX: u64 = 1 << 18;

/// A superblock, what is wrong with it and its copies, and how they should be.
pub(crate) struct Located {
    pub(crate) superblock: Superblock,
    pub(crate) findings: Vec<(Object, Problem)>,
    pub(crate) images: Images,
}

/// Reports what is wrong with superblocks, and puts those in place that are to be written.
pub(crate) fn report(ctx: &mut Context<'_>, located: Located) {
    for (object, problem) in located.findings {
        let Object::Superblock(address) = object else {
            continue;
        };
        if ctx.fix(object, problem)
            && let Some(image) = located.images.get(&address)
        {
            ctx.replace(address, image.clone());
        }
    }
}

/// Puts the superblock as it is now in place of all copies.
pub(crate) fn rewrite(ctx: &mut Context<'_>) {
    let [one, other] = ctx.layout.backups;
    for address in [SUPERBLOCK_ADDRESS, one, other] {
        let mut image = vec![0; BLOCK_BYTES];
        ctx.superblock.write_to(&mut image, address);
        ctx.replace(address, image.into());
    }
}

/// Finds a valid superblock: at `place`, else the first one, else a copy.
pub(crate) fn locate(device: &dyn Device, place: Option<u64>) -> Result<Located, Failure> {
    let device_blocks = device.geometry().size_bytes / BLOCK_BYTES as u64;
    if device_blocks <= SUPERBLOCK_ADDRESS {
        return Err(Failure::Foreign);
    }
    let first = read(device, SUPERBLOCK_ADDRESS)?;
    let parsed = Superblock::parse(&first, SUPERBLOCK_ADDRESS);
    let superblock = match (place, &parsed) {
        (Some(place), _) => parse_at(device, place)?,
        (None, Ok(superblock)) => outvote(device, device_blocks, superblock),
        (None, Err(_)) if first.iter().all(|&byte| byte == 0) => {
            from_afar(device, device_blocks).ok_or(Failure::Foreign)?
        }
        (None, Err(_)) if !is_ours(&first) => {
            let copy = candidates(device_blocks)
                .into_iter()
                .find(|&address| parse_at(device, address).is_ok());
            return Err(copy.map_or(Failure::Foreign, |copy| Failure::Overwritten { copy }));
        }
        (None, Err(fault)) => from_copy(device, device_blocks, fault)?,
    };
    let total_blocks = superblock.total_blocks.get();
    if total_blocks > device_blocks {
        return Err(Failure::Truncated {
            total_blocks,
            device_blocks,
        });
    }
    let mut located = Located {
        superblock,
        findings: Vec::new(),
        images: Images::new(),
    };
    let damaged = |fault: String| Some(Problem::SuperblockDamaged { fault });
    let problem = match parsed {
        Ok(found) if is_same(&found, &superblock) => None,
        Ok(_) => damaged("differs from its copies".to_owned()),
        Err(_) if first.iter().all(|&byte| byte == 0) => Some(Problem::SuperblockErased {}),
        Err(fault) => damaged(fault.to_string()),
    };
    if let Some(problem) = problem {
        located.replace(SUPERBLOCK_ADDRESS, problem);
    }
    located.check_copies(device)?;
    Ok(located)
}

impl Located {
    fn check_copies(&mut self, device: &dyn Device) -> Result<(), Failure> {
        let mut right = vec![0; BLOCK_BYTES];
        for address in self.superblock.layout().backups {
            let stored = read(device, address)?;
            self.superblock.write_to(&mut right, address);
            if stored == right {
                continue;
            }
            let problem = match Superblock::parse(&stored, address) {
                Ok(_) => Problem::SuperblockCopyDiffers {},
                Err(fault) => Problem::SuperblockCopyDamaged {
                    fault: fault.to_string(),
                },
            };
            self.replace(address, problem);
        }
        Ok(())
    }

    fn replace(&mut self, address: u64, problem: Problem) {
        let mut image = vec![0; BLOCK_BYTES];
        self.superblock.write_to(&mut image, address);
        self.images.insert(address, image.into());
        self.findings.push((Object::Superblock(address), problem));
    }
}

/// Whether a block was a superblock before it was damaged. If it wasn't, a copy further back may
/// be left from a file system that is no longer there.
fn is_ours(image: &[u8]) -> bool {
    let magic = block::header(image).map(|header| header.magic.get());
    let signature = image.get(64..64 + SIGNATURE.len());
    magic == Some(BLOCK_MAGIC) || signature == Some(&SIGNATURE)
}

/// A copy in place of the superblock if both copies agree with each other and not with it: a valid
/// checksum over wrong contents.
fn outvote(device: &dyn Device, device_blocks: u64, superblock: &Superblock) -> Superblock {
    let copies: Vec<Superblock> = candidates(device_blocks)
        .into_iter()
        .chain(superblock.layout().backups)
        .filter_map(|address| parse_at(device, address).ok())
        .collect();
    let agreed = copies.iter().find(|copy| {
        let others = copy.layout().backups;
        !is_same(copy, superblock)
            && others
                .into_iter()
                .all(|address| parse_at(device, address).is_ok_and(|other| is_same(&other, copy)))
    });
    *agreed.unwrap_or(superblock)
}

/// Whether two superblocks are of one file system. Label, features and the like may differ, if a
/// tool was interrupted that changes them.
fn is_same(one: &Superblock, other: &Superblock) -> bool {
    one.header.uuid == other.header.uuid
        && one.layout() == other.layout()
        && one.root_ino == other.root_ino
        && one.orphans == other.orphans
        && one.hash_key == other.hash_key
        && one.log_granule_bytes == other.log_granule_bytes
}

fn parse_at(device: &dyn Device, address: u64) -> Result<Superblock, Failure> {
    let image = read(device, address)?;
    Superblock::parse(&image, address).map_err(|fault| Failure::Superblock {
        address,
        fault: fault.to_string(),
    })
}

/// Looks where mkfs puts copies. Not if the superblock is sound and just not for us.
fn from_copy(
    device: &dyn Device,
    device_blocks: u64,
    fault: &Fault,
) -> Result<Superblock, Failure> {
    match *fault {
        Fault::Features(bits) => return Err(Failure::Features(bits)),
        Fault::Field {
            name: "format version",
            value,
        } => {
            return Err(Failure::Version {
                found: value,
                known: FORMAT_VERSION,
            });
        }
        _ => {}
    }
    candidates(device_blocks)
        .into_iter()
        .find_map(|address| parse_at(device, address).ok())
        .ok_or_else(|| Failure::Superblock {
            address: SUPERBLOCK_ADDRESS,
            fault: fault.to_string(),
        })
}

/// A copy, wherever it lies, of a superblock that was erased: where mkfs puts them on a device of this
/// size, else anywhere near the start. Of a file system that has been made over since, the rest is
/// gone too: the segment table or a checkpoint has to be there.
fn from_afar(device: &dyn Device, device_blocks: u64) -> Option<Superblock> {
    let mut copies = candidates(device_blocks)
        .into_iter()
        .filter_map(|address| parse_at(device, address).ok());
    let near = copies.find(|copy| is_still_there(device, copy));
    near.or_else(|| scan(device, device_blocks))
}

fn is_still_there(device: &dyn Device, superblock: &Superblock) -> bool {
    let layout = superblock.layout();
    let places = [
        (layout.table_start, BlockKind::SegmentTable),
        (layout.log_start, BlockKind::Checkpoint),
        (layout.log_start + 1, BlockKind::Checkpoint),
    ];
    places.into_iter().any(|(address, kind)| {
        let image = read(device, address);
        image.is_ok_and(|image| {
            block::verify(&image, kind, &superblock.header.uuid, address).is_ok()
        })
    })
}

/// Looks for a copy block by block.
fn scan(device: &dyn Device, device_blocks: u64) -> Option<Superblock> {
    let end = device_blocks.min(SCAN_BLOCKS_MAX);
    let mut window = vec![0; RUN_BLOCKS as usize * BLOCK_BYTES];
    let mut start = SUPERBLOCK_ADDRESS + 1;
    while start < end {
        let blocks = RUN_BLOCKS.min(end - start);
        window.resize(blocks as usize * BLOCK_BYTES, 0);
        let request = ReadRequest {
            offset_bytes: start * BLOCK_BYTES as u64,
            buffer: &mut window,
        };
        if device.read(&mut [request]).is_ok() {
            let found = window
                .chunks(BLOCK_BYTES)
                .zip(start..)
                .filter_map(|(image, address)| Superblock::parse(image, address).ok())
                .find(|copy| is_still_there(device, copy));
            if found.is_some() {
                return found;
            }
        }
        start += blocks;
    }
    None
}

/// Where copies lie if mkfs was left to choose.
fn candidates(device_blocks: u64) -> Vec<u64> {
    let mut candidates = vec![device_blocks - 1];
    let mut segment_blocks = MIN_SEGMENT_BLOCKS;
    while segment_blocks <= MAX_SEGMENT_BLOCKS {
        let layout = Layout::plan(device_blocks, Some(segment_blocks), None);
        candidates.extend(layout.map(|layout| layout.backups[0]));
        segment_blocks *= 2;
    }
    candidates
}

fn read(device: &dyn Device, address: u64) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; BLOCK_BYTES];
    let offset_bytes = address
        .checked_mul(BLOCK_BYTES as u64)
        .ok_or(Failure::Foreign)?;
    device
        .read(&mut [ReadRequest {
            offset_bytes,
            buffer: &mut buffer,
        }])
        .map_err(|error| Failure::Io {
            doing: "reading a superblock",
            error,
        })?;
    Ok(buffer)
}
